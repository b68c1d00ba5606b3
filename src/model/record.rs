//! What was resolved, kept: a rollback, a swap of a same-name set, a restart or an edited set is served from here and
//! no registry is asked. One record per operator release (or operator image digest), variant, FIPS and registry layout.

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

/// Which set a record is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordKey {
    /// The operator version.
    pub operator: Release,
    /// Calico or Enterprise.
    pub variant: Variant,
    /// FIPS images or normal ones.
    pub fips: bool,
    /// Where they are pulled from.
    pub layout: RegistryLayout,
    /// Digest of the operator image, where the list is its own word and not the catalogue's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Digest>,
}

impl RecordKey {
    /// The record for this operator version in a cluster with these settings.
    #[must_use]
    pub fn new(operator: Release, installation: &InstallationSettings) -> Self {
        let layout = installation.layout.clone();
        Self { operator, variant: installation.variant, fips: installation.fips, layout, build: None }
    }

    /// Name of the ConfigMap: readable, and different for every key.
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
    /// Which set it is for.
    pub key: RecordKey,
    /// When the newest of its answers was given.
    pub resolved_at: Timestamp,
    /// What each reference resolved to.
    pub images: BTreeMap<Reference, ResolvedImage>,
    /// References that the registry did not have, of images that nothing needed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<Reference>,
    /// What the operator took under the set's name before this content stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<BTreeMap<ImageName, Digest>>,
    /// An operator build refused this content. It is not written for that build again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// What an operator said against a content that is right for its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refused {
    /// The operator's image, as it was written.
    pub image: String,
    /// Names that it does not take.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unexpected: BTreeSet<ImageName>,
    /// Names that it wants and that are in no list of ours.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<ImageName>,
}

impl Refused {
    /// Whether a content has nothing of what was refused, and all that was missed.
    #[must_use]
    pub fn takes(&self, entries: &BTreeMap<ImageName, Digest>) -> bool {
        self.unexpected.iter().all(|name| !entries.contains_key(name))
            && self.missing.iter().all(|name| entries.contains_key(name))
    }
}
