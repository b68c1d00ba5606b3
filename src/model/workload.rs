//! A DaemonSet or Deployment that the operator manages.

use serde::{Deserialize, Serialize};

use crate::model::object_ref::{Kind, ObjectRef};

/// A DaemonSet or Deployment in a namespace that the operator manages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// `DaemonSet` or `Deployment`.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Images of all containers and init containers of its template.
    pub images: Vec<String>,
    /// Its controller has seen this template and all pods are of it and available.
    #[serde(default)]
    pub rolled_out: bool,
    /// Pods of the current template.
    #[serde(default)]
    pub updated: u32,
    /// Pods wanted.
    #[serde(default)]
    pub desired: u32,
}

impl Workload {
    /// The object.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(self.kind.clone(), &self.namespace, &self.name)
    }
}
