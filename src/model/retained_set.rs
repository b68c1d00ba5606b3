//! Kept sets of previous versions.

use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// A kept set of a previous version, for a rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retained {
    /// Name of the set.
    pub image_set: String,
    /// Operator version that it was made for.
    pub operator: Release,
    /// That operator's image by tag and digest, as far as the digest is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_image: Option<String>,
}
