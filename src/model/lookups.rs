//! Lookups in registries that decisions require, and their results. `cluster` and the CLI carry them out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::platform::Platform;
use crate::model::reference::Reference;
use crate::model::registry_failure::RegistryFailure;
use crate::model::release::Release;
use crate::model::resolved_image::ResolvedImage;

/// Lookups that a decision requires.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lookups {
    /// Images whose digest and platforms are required.
    pub images: BTreeSet<Reference>,
    /// Operator images whose `version` label is required.
    pub operators: BTreeSet<Reference>,
    /// Operator images whose repository's releases are listed. Nothing waits for these.
    pub releases: BTreeSet<Reference>,
    /// Operator images whose digest is looked up; the results are in [`LookupResults::operators`]. Nothing waits for these.
    pub digests: BTreeSet<Reference>,
    /// What makes lookups cheaper or more precise. Hints alone cause no lookup.
    pub hints: Hints,
}

/// Known facts that lookups use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hints {
    /// Earlier results by reference. If the registry still names that digest, nothing is fetched again.
    pub known: BTreeMap<Reference, ResolvedImage>,
    /// The platforms of the nodes. For an index, the lookup checks that the manifests for these exist.
    pub platforms: BTreeSet<Platform>,
}

impl Lookups {
    /// Whether no lookup is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks_no_write() && self.releases.is_empty() && self.digests.is_empty()
    }

    /// Whether no lookup is required that a write has to wait for.
    #[must_use]
    pub fn blocks_no_write(&self) -> bool {
        self.images.is_empty() && self.operators.is_empty()
    }
}

/// Results of lookups. Each reference that was looked up has an entry, also while the lookup is pending.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LookupResults {
    /// Images, by the reference that was looked up.
    pub images: BTreeMap<Reference, LookupResult<ResolvedImage>>,
    /// Operator images, by the reference that was looked up.
    pub operators: BTreeMap<Reference, LookupResult<OperatorImage>>,
    /// Releases, by the operator reference whose repository was listed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub releases: BTreeMap<Reference, LookupResult<BTreeSet<Release>>>,
}

/// The result of one lookup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LookupResult<T> {
    /// The lookup is still pending.
    Pending,
    /// The verified response of the registry.
    Known(T),
    /// The lookup failed. Its retry class says when it is retried.
    Failed(RegistryFailure),
}

impl<T> LookupResult<T> {
    /// Returns the response; `None` while the lookup is pending and after a failure.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Pending | Self::Failed(_) => None,
        }
    }
}

impl<T> From<Result<T, RegistryFailure>> for LookupResult<T> {
    fn from(result: Result<T, RegistryFailure>) -> Self {
        result.map_or_else(Self::Failed, Self::Known)
    }
}

/// An operator image, as its registry serves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorImage {
    /// Digest that the reference resolves to.
    pub digest: Digest,
    /// `LABEL version` of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Platforms that it has.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<Platform>,
}
