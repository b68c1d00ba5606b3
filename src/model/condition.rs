//! A condition of the policy: the answer to one question about the cluster.

use serde::{Deserialize, Serialize};

use crate::model::reason::{ConditionType, Reason};

/// A condition without its time, which is the status writer's to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Which question it answers.
    pub r#type: ConditionType,
    /// The answer.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
