//! The admission gate: what it should do, and how it stands in the cluster.

use serde::{Deserialize, Serialize};

/// What an image that no set is ready for meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// A warning at whoever changes the Deployment.
    Warn,
    /// A refusal.
    Deny,
}

/// What stands in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SeenGate {
    /// Nothing.
    #[default]
    Absent,
    /// All of it, as we would write it to warn.
    Warns,
    /// All of it, as we would write it to refuse.
    Denies,
    /// Something of it, or something else.
    Differs,
    /// An object of its name that the controller did not create.
    NotManaged,
}

impl From<Option<Enforcement>> for SeenGate {
    fn from(enforcement: Option<Enforcement>) -> Self {
        match enforcement {
            None => Self::Absent,
            Some(Enforcement::Warn) => Self::Warns,
            Some(Enforcement::Deny) => Self::Denies,
        }
    }
}
