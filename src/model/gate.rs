//! The admission gate: its enforcement, and its state in the cluster.

use serde::{Deserialize, Serialize};

/// How the gate treats an operator image for which no set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    /// Admits it with a warning in the response.
    Warn,
    /// Rejects it.
    Deny,
}

/// State of the gate in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GateState {
    /// No object of the gate exists.
    #[default]
    Absent,
    /// All objects are as the controller writes them to warn.
    Warns,
    /// All objects are as the controller writes them to reject.
    Denies,
    /// Objects are missing or differ.
    Differs,
    /// An object of the gate's name exists that the controller did not create.
    NotManaged,
}

impl From<Option<Enforcement>> for GateState {
    fn from(enforcement: Option<Enforcement>) -> Self {
        match enforcement {
            None => Self::Absent,
            Some(Enforcement::Warn) => Self::Warns,
            Some(Enforcement::Deny) => Self::Denies,
        }
    }
}
