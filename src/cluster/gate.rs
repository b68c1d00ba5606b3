//! The gate in the cluster: a ValidatingAdmissionPolicy and its binding, compared with the template beside this file and set
//! when it was decided. Owned by the policy object, so that it goes when that goes.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde::Deserialize as _;
use serde_json::Value;

use super::FIELD_MANAGER;
use super::observe::read;
use crate::api::{ImageSetPolicy, POLICY_NAME};
use crate::domain::gate::{Enforcement, SeenGate};
use crate::domain::snapshot::Read;

/// Name of both objects.
const NAME: &str = "imageset-controller-gate";
const TEMPLATE: &str = include_str!("gate.yaml");
/// In the order in which they are set; taken away in the other.
const KINDS: [(&str, &str); 2] = [
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
];

fn api(client: &Client, (kind, plural): (&str, &str)) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
}

/// Both objects as they should be. The template is ours and is tested, so that nothing of it can fail.
fn objects(enforcement: Enforcement) -> Vec<Value> {
    let documents = serde_yaml_ng::Deserializer::from_str(TEMPLATE).filter_map(|one| Value::deserialize(one).ok());
    documents
        .map(|mut object| {
            if let Some(actions) = object.pointer_mut("/spec/validationActions") {
                *actions = Value::from(vec![format!("{enforcement:?}")]);
            }
            object
        })
        .collect()
}

/// How the gate stands.
pub(super) async fn seen(client: &Client) -> Read<SeenGate> {
    let [policy, binding] = KINDS.map(async |kind| {
        let what = format!("get {}.admissionregistration.k8s.io {NAME}", kind.1);
        read(&what, api(client, kind).get_opt(NAME)).await
    });
    match futures::join!(policy, binding) {
        (Read::Known(policy), Read::Known(binding)) => Read::Known(compared(&[policy, binding])),
        (Read::Failed(failure), _) | (_, Read::Failed(failure)) => Read::Failed(failure),
        (Read::KindMissing, _) | (_, Read::KindMissing) => Read::KindMissing,
    }
}

fn compared(found: &[Option<DynamicObject>]) -> SeenGate {
    if found.iter().all(Option::is_none) {
        return SeenGate::Absent;
    }
    let as_wanted = |enforcement: Enforcement| {
        let wanted = objects(enforcement);
        wanted.len() == found.len()
            && wanted.iter().zip(found).all(|(wanted, found)| {
                found.as_ref().is_some_and(|found| contains(&found.data["spec"], &wanted["spec"]))
            })
    };
    let enforcement = [Enforcement::Warn, Enforcement::Deny].into_iter().find(|enforcement| as_wanted(*enforcement));
    enforcement.map_or(SeenGate::Differs, |enforcement| Some(enforcement).into())
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

/// Sets the gate, or takes it away.
pub(super) async fn set(client: &Client, enforcement: Option<Enforcement>) -> Result<(), kube::Error> {
    let Some(enforcement) = enforcement else {
        for kind in KINDS.iter().rev() {
            match api(client, *kind).delete(NAME, &DeleteParams::default()).await {
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
    use super::*;

    fn found(enforcement: Enforcement) -> Vec<Option<DynamicObject>> {
        let object = |object: Value| Some(serde_json::from_value(object).unwrap());
        objects(enforcement).into_iter().map(object).collect()
    }

    #[test]
    fn the_template_is_two_objects_that_are_recognised() {
        assert_eq!(objects(Enforcement::Deny).len(), KINDS.len());
        for enforcement in [Enforcement::Warn, Enforcement::Deny] {
            assert_eq!(compared(&found(enforcement)), Some(enforcement).into());
        }
        assert_eq!(compared(&[None, None]), SeenGate::Absent);
        let mut half = found(Enforcement::Deny);
        half[1] = None;
        assert_eq!(compared(&half), SeenGate::Differs);
    }

    #[test]
    fn an_edit_is_seen_and_a_default_is_none() {
        let mut edited = found(Enforcement::Deny);
        let policy = edited[0].as_mut().unwrap();
        policy.data["spec"]["auditAnnotations"] = Value::Null;
        assert_eq!(compared(&edited), SeenGate::Denies);
        let policy = edited[0].as_mut().unwrap();
        policy.data["spec"]["validations"][0]["expression"] = Value::from("true");
        assert_eq!(compared(&edited), SeenGate::Differs);
    }
}
