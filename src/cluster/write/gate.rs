//! Creates, updates or deletes the gate.

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;

use super::Written;
use crate::api::{ImageSetPolicy, POLICY_NAME};
use crate::cluster::FIELD_MANAGER;
use crate::cluster::gate::{GateKind, NAME, is_managed, objects};
use crate::model::Enforcement;

/// Why the gate could not be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetError {
    /// The API server's response.
    #[error("{0}")]
    Kube(#[from] kube::Error),
    /// An object of its name exists that the controller did not create.
    #[error("a {0} of this name exists that the controller did not create; it is left as it is")]
    NotManaged(&'static str),
}

/// The object of this kind as it stands, if the controller created it.
async fn managed(client: &Client, kind: GateKind) -> Result<Option<DynamicObject>, SetError> {
    match kind.api(client).get_opt(NAME).await? {
        Some(object) if !is_managed(&object) => Err(SetError::NotManaged(kind.name())),
        found => Ok(found),
    }
}

/// Creates or updates the gate; deletes it without an enforcement. Objects of its name that the controller did not create are left as
/// they are.
pub(super) async fn set(
    client: &Client,
    enforcement: Option<Enforcement>,
    written: &mut Vec<Written>,
) -> Result<(), SetError> {
    let [policy, binding] = GateKind::ALL.map(|kind| managed(client, kind));
    let (policy, binding) = (policy.await?, binding.await?);
    let Some(enforcement) = enforcement else {
        for (kind, found) in GateKind::ALL.into_iter().zip([policy, binding]).rev() {
            let Some(found) = found else { continue };
            let this_one = Preconditions { uid: found.uid(), resource_version: None };
            match kind.api(client).delete(NAME, &DeleteParams::default().preconditions(this_one)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted?),
            }
            written.push(Written::NoGate(kind));
        }
        return Ok(());
    };
    let policies: Api<ImageSetPolicy> = Api::all(client.clone());
    let owner = policies.get_metadata(POLICY_NAME).await?;
    for (mut object, kind) in objects(enforcement).into_iter().zip(GateKind::ALL) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            let reference = [
                ("apiVersion", ImageSetPolicy::api_version(&()).into_owned()),
                ("kind", ImageSetPolicy::kind(&()).into_owned()),
                ("name", POLICY_NAME.to_owned()),
                ("uid", owner.uid().unwrap_or_default()),
            ];
            let reference = reference.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value)));
            metadata.insert("ownerReferences".to_owned(), Value::from(vec![Value::Object(reference.collect())]));
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let object = kind.api(client).patch(NAME, &parameters, &Patch::Apply(&object)).await?;
        written.push(Written::Gate(kind, Box::new(object)));
    }
    Ok(())
}
