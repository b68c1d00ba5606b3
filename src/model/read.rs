//! The result of one read from the cluster.

use serde::{Deserialize, Serialize};

/// The result of one read from the cluster. A failure is a value: it takes away only what needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Read<T> {
    /// The answer.
    Known(T),
    /// The kind is not installed in the cluster (yet).
    KindMissing,
    /// The read failed.
    Failed(ReadFailure),
}

impl<T: Default> Default for Read<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T> Read<T> {
    /// The answer, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::KindMissing | Self::Failed(_) => None,
        }
    }

    /// The failure, if there is one.
    pub const fn failure(&self) -> Option<&ReadFailure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Known(_) | Self::KindMissing => None,
        }
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadFailure {
    /// What was read, such as `list tigerastatuses.operator.tigera.io`.
    pub what: String,
    /// The apiserver denied it: a right is missing.
    pub forbidden: bool,
    /// What the apiserver answered, escaped and cut.
    pub message: String,
}
