//! What the last lookup of newer operator releases found.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// What the last look at the tags found. Kept in the status, so that a restart asks nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discovery {
    /// When the registry gave the list.
    pub asked_at: Timestamp,
    /// The version that was the target then.
    pub operator: Release,
    /// Newer releases of the channel, as seen from that version.
    pub releases: BTreeSet<Release>,
}
