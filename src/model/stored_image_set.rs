//! An ImageSet as it is stored in the cluster.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An ImageSet in the cluster, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredImageSet {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`, which every write of ours carries.
    pub resource_version: String,
    /// It has our label.
    pub ours: bool,
    /// From what we made it (annotations), where it is ours.
    pub origin: Option<crate::model::image_set::Origin>,
    /// The entries as they are stored, unparsed: a foreign set may hold anything.
    pub images: Vec<StoredImage>,
    /// Field manager that wrote it last, for telling who owns it.
    pub manager: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

/// An entry of a stored ImageSet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredImage {
    /// The key.
    pub image: String,
    /// What is pinned.
    pub digest: String,
}
