//! The swap of one set's content for that of another operator version.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// One set's content was swapped for that of another operator version, which had taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Swap {
    /// The set.
    pub image_set: String,
    /// The operator version whose content stood there.
    pub from: Release,
    /// The operator version whose content stands there now.
    pub operator: Release,
    /// When it was written.
    pub at: Timestamp,
    /// The most that the operator can have been Ready without its content, in whole seconds.
    pub gap_seconds: i64,
}
