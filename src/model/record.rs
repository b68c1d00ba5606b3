//! Records of resolved images. A rollback, the swap of a set that two versions share, a restart and the restoration of an edited
//! set use a record in place of a lookup. There is one record per operator release (or digest of the operator image), variant,
//! FIPS mode and registry layout.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::reference::Reference;
use crate::model::registry_layout::RegistryLayout;
use crate::model::release::{Release, Variant};
use crate::model::resolved_image::ResolvedImage;
use crate::model::settings::InstallationSettings;

/// Identifies the set that a record is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordKey {
    /// Version of the operator.
    pub operator: Release,
    /// Calico or Enterprise.
    pub variant: Variant,
    /// Whether the set has FIPS images.
    pub fips: bool,
    /// Registry, path and prefix that the images are pulled from.
    pub layout: RegistryLayout,
    /// Digest of the operator image, if the list comes from an inspection and not from the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Digest>,
}

impl RecordKey {
    /// Returns the key for an operator version in a cluster with these settings.
    #[must_use]
    pub fn new(operator: Release, installation: &InstallationSettings) -> Self {
        let layout = installation.layout.clone();
        Self { operator, variant: installation.variant, fips: installation.fips, layout, build: None }
    }

    /// Returns the name of the ConfigMap: readable, and unique per key.
    #[must_use]
    pub fn name(&self) -> String {
        let build = self.build.map(|digest| digest.to_string()).unwrap_or_default();
        let parts = format!("{:?}{build}", (self.variant, self.fips, &self.layout));
        let hash: String = Digest::of(parts.as_bytes()).to_string().chars().skip("sha256:".len()).take(10).collect();
        format!("record-{}-{}-{hash}", self.operator, self.variant.image_set_prefix())
    }
}

/// The content of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// The set that the record is for.
    pub key: RecordKey,
    /// When the newest of its images was looked up.
    pub resolved_at: Timestamp,
    /// Resolved image by reference.
    pub images: BTreeMap<Reference, ResolvedImage>,
    /// References of unneeded images that the registry does not have.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<Reference>,
    /// Entries that the operator accepted under the set's name before this content was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<BTreeMap<ImageName, Digest>>,
    /// Rejection of this content by an operator build. The content is not written for that build again.
    #[serde(default, rename = "refused", skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RejectedContent>,
}

/// Content that an operator build rejected although it is right for its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RejectedContent {
    /// The operator's image, as written.
    pub image: String,
    /// Names that the operator does not accept.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unexpected: BTreeSet<ImageName>,
    /// Names that the operator requires and that no known list has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<ImageName>,
}

impl RejectedContent {
    /// Whether `entries` has none of the unexpected names and all of the missing ones.
    #[must_use]
    pub fn takes(&self, entries: &BTreeMap<ImageName, Digest>) -> bool {
        self.unexpected.iter().all(|name| !entries.contains_key(name))
            && self.missing.iter().all(|name| entries.contains_key(name))
    }
}
