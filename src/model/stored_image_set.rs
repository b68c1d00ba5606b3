//! ImageSets as the cluster stores them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An ImageSet of the cluster, managed or unmanaged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredImageSet {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`, which every write of the controller carries.
    pub resource_version: String,
    /// Whether the set has the controller's label.
    #[serde(rename = "ours")]
    pub managed: bool,
    /// What the set was made from (annotations), if it is managed.
    pub origin: Option<crate::model::image_set::Origin>,
    /// The entries as stored, unparsed: an unmanaged set may hold anything.
    pub images: Vec<StoredImage>,
    /// Field manager of the last write, to show who owns the set.
    pub manager: Option<String>,
    /// When that write was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
}

impl StoredImageSet {
    /// Returns who wrote the set last, for messages.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.manager.as_deref().unwrap_or("somebody else")
    }
}

/// An entry of a stored ImageSet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredImage {
    /// Name of the image.
    pub image: String,
    /// Pinned digest.
    pub digest: String,
}
