//! The gate in the cluster: a ValidatingAdmissionPolicy and its binding, compared with the template beside this file. Owned by the
//! policy object, so that it goes when that goes.

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::FIELD_MANAGER;
use crate::model::{Enforcement, GateState, object_ref::GATE_NAME};

/// Name of both objects.
pub(super) const NAME: &str = GATE_NAME;
const TEMPLATE: &str = include_str!("gate.yaml");

/// The objects that the gate is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateKind {
    /// ValidatingAdmissionPolicy.
    Policy,
    /// ValidatingAdmissionPolicyBinding.
    Binding,
}

impl GateKind {
    /// Both, in the order in which they are created; they are deleted in the reverse order.
    pub const ALL: [Self; 2] = [Self::Policy, Self::Binding];

    /// The kind as the API names it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Policy => "ValidatingAdmissionPolicy",
            Self::Binding => "ValidatingAdmissionPolicyBinding",
        }
    }

    /// The kind in request paths and rights.
    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Policy => "validatingadmissionpolicies",
            Self::Binding => "validatingadmissionpolicybindings",
        }
    }

    /// Its API.
    pub(super) fn api(self, client: &Client) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", self.name());
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, self.plural()))
    }
}

/// Both objects as they should be. The template is tested, so that parsing it cannot fail.
pub(super) fn objects(enforcement: Enforcement) -> Vec<Value> {
    let documents: Vec<Value> = crate::yaml::documents(TEMPLATE).unwrap_or_default();
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

/// What is kept of one of the objects.
#[derive(Debug, Clone, PartialEq)]
pub struct GateObject {
    /// The controller created it. An edit takes away one mark, not all of them.
    is_managed: bool,
    /// UIDs of its owners.
    owners: Vec<String>,
    spec: Value,
}

impl GateObject {
    /// What is kept of this object.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        Self {
            is_managed: is_managed(object),
            owners: object.owner_references().iter().map(|owner| owner.uid.clone()).collect(),
            spec: object.data.get("spec").cloned().unwrap_or_default(),
        }
    }

    /// Whether it goes when the policy with this uid goes. A policy that nobody has stored owns nothing.
    fn is_owned_by(&self, owner: Option<&str>) -> bool {
        owner.is_none_or(|owner| self.owners.iter().any(|one| one == owner))
    }
}

/// How the gate stands, by its objects in the order of [`GateKind::ALL`]. `owner` is the uid of the policy object: a gate of one that was
/// there before would not go with it.
pub(super) fn compared(found: &[Option<GateObject>], owner: Option<&str>) -> GateState {
    if found.iter().all(Option::is_none) {
        return GateState::Absent;
    }
    if found.iter().flatten().any(|object| !object.is_managed) {
        return GateState::NotManaged;
    }
    let as_wanted = |enforcement: Enforcement| {
        let wanted = objects(enforcement);
        wanted.len() == found.len()
            && wanted.iter().zip(found).all(|(wanted, found)| {
                found.as_ref().is_some_and(|found| found.is_owned_by(owner) && contains(&found.spec, &wanted["spec"]))
            })
    };
    let enforcement = [Enforcement::Warn, Enforcement::Deny].into_iter().find(|enforcement| as_wanted(*enforcement));
    enforcement.map_or(GateState::Differs, |enforcement| Some(enforcement).into())
}

pub(super) fn is_managed(object: &DynamicObject) -> bool {
    let labelled = object.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == FIELD_MANAGER);
    let owned = object.owner_references().iter().any(|owner| owner.kind == "ImageSetPolicy");
    let written = object.managed_fields().iter().any(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    labelled || owned || written
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compared(found: &[Option<DynamicObject>], owner: Option<&str>) -> GateState {
        let found: Vec<_> = found.iter().map(|object| object.as_ref().map(GateObject::of)).collect();
        super::compared(&found, owner)
    }

    fn found(enforcement: Enforcement) -> Vec<Option<DynamicObject>> {
        let object = |object: Value| Some(serde_json::from_value(object).unwrap());
        objects(enforcement).into_iter().map(object).collect()
    }

    #[test]
    fn the_template_is_two_objects_that_are_recognised() {
        assert_eq!(objects(Enforcement::Deny).len(), GateKind::ALL.len());
        for enforcement in [Enforcement::Warn, Enforcement::Deny] {
            assert_eq!(compared(&found(enforcement), None), Some(enforcement).into());
        }
        assert_eq!(compared(&[None, None], None), GateState::Absent);
        let mut half = found(Enforcement::Deny);
        half[1] = None;
        assert_eq!(compared(&half, None), GateState::Differs);
    }

    #[test]
    fn a_gate_of_another_policy_object_is_set_again() {
        let mut of_before = found(Enforcement::Deny);
        assert_eq!(compared(&of_before, Some("now")), GateState::Differs, "nobody owns it");
        for (object, uid) in of_before.iter_mut().zip(["now", "before"]) {
            let reference = serde_json::from_value(serde_json::json!({
                "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "name": "default", "uid": uid,
            }));
            object.as_mut().unwrap().metadata.owner_references = Some(vec![reference.unwrap()]);
        }
        assert_eq!(compared(&of_before, Some("now")), GateState::Differs, "one of both is of the policy before");
        of_before[1] = of_before[0].clone().map(|mut first| {
            first.data = found(Enforcement::Deny)[1].clone().unwrap().data;
            first
        });
        assert_eq!(compared(&of_before, Some("now")), GateState::Denies);
    }

    #[test]
    fn objects_that_others_created_are_not_managed() {
        let mut taken = found(Enforcement::Deny);
        taken[0].as_mut().unwrap().metadata.labels = None;
        assert_eq!(compared(&taken, None), GateState::NotManaged);
        taken[1] = None;
        assert_eq!(compared(&taken, None), GateState::NotManaged);
        let owner = json!([{ "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "name": "default", "uid": "a" }]);
        taken[0].as_mut().unwrap().metadata.owner_references = serde_json::from_value(owner).unwrap();
        assert_eq!(
            compared(&taken, None),
            GateState::Differs,
            "its label is gone, and it is the controller's all the same"
        );
    }

    #[test]
    fn an_edit_is_seen_and_a_default_is_none() {
        let mut edited = found(Enforcement::Deny);
        let policy = edited[0].as_mut().unwrap();
        policy.data["spec"]["auditAnnotations"] = Value::Null;
        assert_eq!(compared(&edited, None), GateState::Denies);
        let policy = edited[0].as_mut().unwrap();
        policy.data["spec"]["validations"][0]["expression"] = Value::from("true");
        assert_eq!(compared(&edited, None), GateState::Differs);
    }
}
