//! The Kubernetes objects that the product reads and writes: its own kind [`ImageSetPolicy`] and hand-written subsets of the
//! operator's kinds. Types, schemas and their texts only: nothing here accesses a cluster or decides anything.

pub mod image_set_policy;
pub mod interval;
pub mod openshift;
pub mod operator;
pub mod policy_status;
pub mod registry_access;
pub mod requests;
mod schema_text;
pub mod workload;

use kube::CustomResourceExt;

pub use image_set_policy::{
    Channel, Discover, FipsMode, ImageRules, ImageSetPolicy, ImageSetPolicySpec, InspectionRules, InstallationDefaults,
    InstallationVariant, ObjectName, OperatorDeployment, Prepare, Recheck,
};
pub use interval::{Interval, InvalidInterval};
pub use policy_status::{
    ComponentStatus, CurrentSet, DiscoveryStatus, Finding, FindingObject, GateStatus, ImageSetPolicyStatus,
    OperatorStatus, PendingWorkload, Plan, PlanAction, PlannedChange, PreparedSet, PreparedState, RetainedSet,
    SwapStatus, WorkloadProgress,
};
pub use registry_access::{CaBundle, Credentials, ObjectKey, Provider, RegistryAccess, SecretKey};

/// The API group of the project's kinds, and the prefix of its labels and annotations.
pub const GROUP: &str = "imageset-controller.io";

/// The only name that a policy may have: a cluster has one operator.
pub const POLICY_NAME: &str = crate::model::object_ref::POLICY_NAME;

/// The label of every object that the controller manages, with the policy's name as value. An ImageSet without it is unmanaged.
pub const POLICY_LABEL: &str = "imageset-controller.io/policy";

/// The field manager of everything that the controller applies.
pub const FIELD_MANAGER: &str = "imageset-controller";

const GENERATED: &str = "# Generated from src/api by `imageset-controller crds`; don't edit.\n";

/// The CustomResourceDefinitions of this product as YAML, ready for `kubectl apply`.
///
/// # Errors
/// The schema cannot be written as YAML, which is a bug in the types of this module.
pub fn crds_yaml() -> Result<String, crate::yaml::WriteError> {
    Ok(format!("{GENERATED}{}", crate::yaml::to_string(&ImageSetPolicy::crd())?))
}

#[cfg(test)]
mod tests;
