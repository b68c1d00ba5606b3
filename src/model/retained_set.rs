//! Previous operators whose set still exists.

use serde::{Deserialize, Serialize};

use crate::model::release::Release;

/// A previous operator that can be rolled back to, because its set exists. Several may use one set, also the one in use now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retained {
    /// Name of its set.
    pub image_set: String,
    /// Version of the operator.
    pub operator: Release,
    /// Its image where it ran, with the digest as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_image: Option<String>,
}
