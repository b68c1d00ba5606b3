//! Results of reads from the cluster.

use serde::{Deserialize, Serialize};

/// The result of one read from the cluster. A failure is a value, so that it affects only rules that require the read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Read<T> {
    /// The objects that were read.
    Known(T),
    /// The cluster does not have the kind.
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
    /// Returns the value; `None` if the kind is missing or the read failed.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::KindMissing | Self::Failed(_) => None,
        }
    }

    /// Returns the failure, if the read failed.
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
    /// Whether the API server denied the read.
    pub forbidden: bool,
    /// Response of the API server, escaped and cut.
    pub message: String,
}
