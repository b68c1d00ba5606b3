//! The conditions of the policy, as the rules compute them.

use serde::{Deserialize, Serialize};

use crate::model::condition_type::ConditionType;
use crate::model::reason::Reason;

/// A condition without its transition time, which the status writer adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Type of the condition.
    pub r#type: ConditionType,
    /// Whether the condition is true.
    pub status: Status,
    /// Why the condition has this status.
    pub reason: Reason,
    /// Message for people.
    pub message: String,
}

/// Status of a condition: `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// The condition is true.
    True,
    /// The condition is false.
    False,
    /// The controller could not determine it.
    Unknown,
}

impl Status {
    /// Returns the status as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
