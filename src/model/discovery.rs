//! Newer operator releases in the registry.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// The result of the last discovery of newer releases. The status keeps it, so that a restart repeats no lookup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// When the registry returned the list of tags.
    #[serde(rename = "askedAt")]
    pub checked_at: Timestamp,
    /// The target version at that time.
    pub operator: Release,
    /// Releases of the channel that are newer than that version.
    pub releases: BTreeSet<Release>,
}
