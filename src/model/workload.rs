//! DaemonSets and Deployments that the operator manages.

use serde::{Deserialize, Serialize};

use crate::model::object_ref::{Kind, ObjectRef};

/// A DaemonSet or Deployment in a namespace that the operator manages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// `DaemonSet` or `Deployment`.
    pub kind: Kind,
    /// Namespace of the workload.
    pub namespace: String,
    /// Name of the workload.
    pub name: String,
    /// Images of all containers and init containers of its template.
    pub images: Vec<String>,
    /// Whether its controller has observed this template, and all pods have it and are available.
    #[serde(default)]
    pub rolled_out: bool,
    /// Number of pods of the current template.
    #[serde(default)]
    pub updated: u32,
    /// Number of desired pods.
    #[serde(default)]
    pub desired: u32,
}

impl Workload {
    /// Returns a reference to the workload.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(self.kind.clone(), &self.namespace, &self.name)
    }
}
