//! Swaps of a set's content between two operator versions that use the same name.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// The swap of a set's content for that of another operator version, whose rollout had completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Swap {
    /// Name of the set.
    pub image_set: String,
    /// Operator version of the previous content.
    pub from: Release,
    /// Operator version of the new content.
    pub operator: Release,
    /// When the content was written.
    pub at: Timestamp,
    /// Upper bound of the time that the operator was Ready without its content, in whole seconds.
    pub gap_seconds: i64,
}
