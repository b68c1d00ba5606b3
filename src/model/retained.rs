//! A set of a previous version that is kept.

use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// A set of a previous version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retained {
    /// Its name.
    pub image_set: String,
    /// The operator version that it was made for.
    pub operator: Release,
    /// That operator's image by tag and digest, as far as the digest is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_image: Option<String>,
}
