//! The gate in the cluster: a ValidatingAdmissionPolicy and its binding, compared with the template beside this file and set
//! when it was decided. Owned by the policy object, so that it goes when that goes.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::FIELD_MANAGER;
use super::observe::read;
use crate::api::{ImageSetPolicy, POLICY_NAME};
use crate::model::gate::{Enforcement, SeenGate};
use crate::model::read::Read;
use crate::yaml;

/// Name of both objects.
pub(super) const NAME: &str = "imageset-controller-gate";
const TEMPLATE: &str = include_str!("gate.yaml");
/// In the order in which they are set; taken away in the other.
pub(super) const KINDS: [(&str, &str); 2] = [
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
];

/// The API resource of one of them.
pub(super) fn resource((kind, plural): (&str, &str)) -> ApiResource {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    ApiResource::from_gvk_with_plural(&kind, plural)
}

fn api(client: &Client, kind: (&str, &str)) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &resource(kind))
}

/// Both objects as they should be. The template is ours and is tested, so that nothing of it can fail.
fn objects(enforcement: Enforcement) -> Vec<Value> {
    let documents: Vec<Value> = yaml::documents(TEMPLATE).unwrap_or_default();
    documents
        .into_iter()
        .map(|mut object| {
            if let Some(actions) = object.pointer_mut("/spec/validationActions") {
                *actions = Value::from(vec![format!("{enforcement:?}")]);
            }
            object
        })
        .collect()
}

/// How the gate stands. `owner` is the uid of the policy object: a gate of one that was there before would not go with it.
pub(super) async fn seen(client: &Client, owner: Option<&str>) -> Read<SeenGate> {
    let [policy, binding] = KINDS.map(async |kind| {
        let what = format!("get {}.admissionregistration.k8s.io {NAME}", kind.1);
        read(&what, api(client, kind).get_opt(NAME)).await
    });
    match futures::join!(policy, binding) {
        (Read::Known(policy), Read::Known(binding)) => Read::Known(compared(&[policy, binding], owner)),
        (Read::Failed(failure), _) | (_, Read::Failed(failure)) => Read::Failed(failure),
        (Read::KindMissing, _) | (_, Read::KindMissing) => Read::KindMissing,
    }
}

fn compared(found: &[Option<DynamicObject>], owner: Option<&str>) -> SeenGate {
    if found.iter().all(Option::is_none) {
        return SeenGate::Absent;
    }
    if found.iter().flatten().any(|object| !is_managed(object)) {
        return SeenGate::NotManaged;
    }
    let as_wanted = |enforcement: Enforcement| {
        let wanted = objects(enforcement);
        wanted.len() == found.len()
            && wanted.iter().zip(found).all(|(wanted, found)| {
                found
                    .as_ref()
                    .is_some_and(|found| owned(found, owner) && contains(&found.data["spec"], &wanted["spec"]))
            })
    };
    let enforcement = [Enforcement::Warn, Enforcement::Deny].into_iter().find(|enforcement| as_wanted(*enforcement));
    enforcement.map_or(SeenGate::Differs, |enforcement| Some(enforcement).into())
}

/// Whether the controller created an object of the gate's name. An edit takes away one mark, not all of them.
fn is_managed(object: &DynamicObject) -> bool {
    let labelled = object.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == FIELD_MANAGER);
    let owned = object.owner_references().iter().any(|owner| owner.kind == "ImageSetPolicy");
    let written = object.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    labelled || owned || written
}

/// Why the gate could not be set.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetError {
    /// The API server's answer.
    #[error("{0}")]
    Kube(#[from] kube::Error),
    /// An object of its name is somebody else's.
    #[error("a {0} of this name exists that the controller did not create; it is left as it is")]
    NotManaged(&'static str),
}

/// The object of this kind as it stands, if the controller created it.
async fn managed(client: &Client, kind: (&'static str, &str)) -> Result<Option<DynamicObject>, SetError> {
    match api(client, kind).get_opt(NAME).await? {
        Some(object) if !is_managed(&object) => Err(SetError::NotManaged(kind.0)),
        found => Ok(found),
    }
}

/// Whether an object goes when the policy with this uid goes. A policy that nobody has stored owns nothing.
fn owned(object: &DynamicObject, owner: Option<&str>) -> bool {
    owner.is_none_or(|owner| object.owner_references().iter().any(|reference| reference.uid == owner))
}

/// Whether an object has all that is wanted of it; the API server adds defaults.
fn contains(has: &Value, wanted: &Value) -> bool {
    match (has, wanted) {
        (Value::Object(has), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| has.get(key).is_some_and(|has| contains(has, wanted)))
        }
        (Value::Array(has), Value::Array(wanted)) => {
            has.len() == wanted.len() && has.iter().zip(wanted).all(|(has, wanted)| contains(has, wanted))
        }
        (has, wanted) => has == wanted,
    }
}

/// Sets the gate, or takes it away. Objects of its name that the controller did not create are left as they are.
pub(super) async fn set(client: &Client, enforcement: Option<Enforcement>) -> Result<(), SetError> {
    let [policy, binding] = KINDS.map(|kind| managed(client, kind));
    let (policy, binding) = (policy.await?, binding.await?);
    let Some(enforcement) = enforcement else {
        for (kind, found) in KINDS.iter().zip([policy, binding]).rev() {
            let Some(found) = found else { continue };
            let this_one = Preconditions { uid: found.uid(), resource_version: None };
            match api(client, *kind).delete(NAME, &DeleteParams::default().preconditions(this_one)).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => drop(deleted?),
            }
        }
        return Ok(());
    };
    let policies: Api<ImageSetPolicy> = Api::all(client.clone());
    let owner = policies.get_metadata(POLICY_NAME).await?;
    for (mut object, kind) in objects(enforcement).into_iter().zip(KINDS) {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            let reference = [
                ("apiVersion", "imageset-controller.io/v1alpha1".to_owned()),
                ("kind", "ImageSetPolicy".to_owned()),
                ("name", POLICY_NAME.to_owned()),
                ("uid", owner.uid().unwrap_or_default()),
            ];
            let reference = reference.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value)));
            metadata.insert("ownerReferences".to_owned(), Value::from(vec![Value::Object(reference.collect())]));
        }
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api(client, kind).patch(NAME, &parameters, &Patch::Apply(&object)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(enforcement: Enforcement) -> Vec<Option<DynamicObject>> {
        let object = |object: Value| Some(serde_json::from_value(object).unwrap());
        objects(enforcement).into_iter().map(object).collect()
    }

    #[test]
    fn the_template_is_two_objects_that_are_recognised() {
        assert_eq!(objects(Enforcement::Deny).len(), KINDS.len());
        for enforcement in [Enforcement::Warn, Enforcement::Deny] {
            assert_eq!(compared(&found(enforcement), None), Some(enforcement).into());
        }
        assert_eq!(compared(&[None, None], None), SeenGate::Absent);
        let mut half = found(Enforcement::Deny);
        half[1] = None;
        assert_eq!(compared(&half, None), SeenGate::Differs);
    }

    #[test]
    fn a_gate_of_another_policy_object_is_set_again() {
        let mut of_before = found(Enforcement::Deny);
        assert_eq!(compared(&of_before, Some("now")), SeenGate::Differs, "nobody owns it");
        for (object, uid) in of_before.iter_mut().zip(["now", "before"]) {
            let reference = serde_json::from_value(serde_json::json!({
                "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "name": "default", "uid": uid,
            }));
            object.as_mut().unwrap().metadata.owner_references = Some(vec![reference.unwrap()]);
        }
        assert_eq!(compared(&of_before, Some("now")), SeenGate::Differs, "one of both is of the policy before");
        of_before[1] = of_before[0].clone().map(|mut first| {
            first.data = found(Enforcement::Deny)[1].clone().unwrap().data;
            first
        });
        assert_eq!(compared(&of_before, Some("now")), SeenGate::Denies);
    }

    #[test]
    fn what_somebody_else_created_is_not_managed() {
        let mut taken = found(Enforcement::Deny);
        taken[0].as_mut().unwrap().metadata.labels = None;
        assert_eq!(compared(&taken, None), SeenGate::NotManaged);
        taken[1] = None;
        assert_eq!(compared(&taken, None), SeenGate::NotManaged);
        let owner = json!([{ "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "name": "default", "uid": "a" }]);
        taken[0].as_mut().unwrap().metadata.owner_references = serde_json::from_value(owner).unwrap();
        assert_eq!(
            compared(&taken, None),
            SeenGate::Differs,
            "its label is gone, and it is the controller's all the same"
        );
    }

    #[test]
    fn an_edit_is_seen_and_a_default_is_none() {
        let mut edited = found(Enforcement::Deny);
        let policy = edited[0].as_mut().unwrap();
        policy.data["spec"]["auditAnnotations"] = Value::Null;
        assert_eq!(compared(&edited, None), SeenGate::Denies);
        let policy = edited[0].as_mut().unwrap();
        policy.data["spec"]["validations"][0]["expression"] = Value::from("true");
        assert_eq!(compared(&edited, None), SeenGate::Differs);
    }
}
