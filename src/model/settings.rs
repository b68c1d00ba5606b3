//! The parsed settings of the policy. Every value is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::object_ref::{Kind, ObjectRef};
use crate::model::reference::{InvalidReference, Reference};
use crate::model::registry_layout::RegistryLayout;
use crate::model::release::{InvalidRelease, Release, Variant};

/// A request to stage a version, until a given time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrepareRequest {
    /// Version to stage.
    pub version: PrepareVersion,
    /// When the request ends.
    pub until: Timestamp,
}

/// The parsed `spec` of an ImageSetPolicy, as far as decisions require it. Access to registries (credentials, certificates,
/// mirrors) is not part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Whether the controller writes ImageSets at all.
    pub mode: Mode,
    /// Whether nothing but the status is written.
    pub suspend: bool,
    /// The Deployment to watch.
    pub operator: OperatorLocation,
    /// Settings that are used until an Installation exists.
    pub installation: InstallationSettings,
    /// Operator versions to stage ahead.
    pub prepare: Vec<PrepareVersion>,
    /// Versions that an annotation requests, also expired ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requested: Vec<PrepareRequest>,
    /// Discovery of newer versions to stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discover: Option<Discover>,
    /// How the gate treats an operator image for which no set is stored.
    pub gate: Gate,
    /// What happens to a set if an image that nothing requires is missing.
    pub on_missing: OnMissing,
    /// Names to leave out. A name that a release does not know is ignored; one that it requires is rejected.
    pub exclude: BTreeSet<ImageName>,
    /// Digests that replace those of the registry's tags, for instance of a hardened rebuild. Each is verified in the registry
    /// like any other.
    pub digests: BTreeMap<ImageName, Digest>,
    /// What happens if a tag resolves to another digest than the pinned one.
    pub tag_moved: TagMoved,
    /// Whether the controller may take ownership of an unmanaged ImageSet.
    pub take_ownership: bool,
    /// Number of previous sets that are kept for a rollback.
    pub retain: u32,
    /// How often pinned digests are compared with the registry, without jitter.
    #[serde(with = "seconds")]
    pub recheck_interval: Duration,
    /// Whether an unknown operator image may be run to print its list.
    pub inspection_enabled: bool,
    /// Namespace of inspection Jobs.
    pub inspection_namespace: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            suspend: false,
            operator: OperatorLocation::default(),
            installation: InstallationSettings::default(),
            prepare: Vec::new(),
            requested: Vec::new(),
            discover: None,
            gate: Gate::default(),
            on_missing: OnMissing::default(),
            exclude: BTreeSet::new(),
            digests: BTreeMap::new(),
            tag_moved: TagMoved::default(),
            take_ownership: false,
            retain: 3,
            recheck_interval: Duration::from_secs(60 * 60),
            inspection_enabled: true,
            inspection_namespace: "imageset-inspection".to_owned(),
        }
    }
}

/// Whether the controller shows the plan (Observe) or carries it out (Apply).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Only the status is written.
    #[default]
    Observe,
    /// Sets and records are written.
    Apply,
}

/// Settings for the discovery of newer operator releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discover {
    /// Range of newer versions.
    pub channel: Channel,
    /// Number of the newest versions that are staged.
    pub limit: usize,
    /// How often the tags are listed, without jitter.
    #[serde(with = "seconds")]
    pub interval: Duration,
}

/// The range of newer versions to discover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// Of the same minor version.
    Patch,
    /// Of the same major version.
    Minor,
}

/// How the gate treats an operator image for which no set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Gate {
    /// There is no gate.
    #[default]
    Disabled,
    /// Admits it with a warning.
    Warn,
    /// Rejects it. In mode Observe, admits it with a warning.
    Deny,
}

/// What happens to a set if the registry lacks one of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum OnMissing {
    /// The whole set waits.
    #[default]
    Hold,
    /// An image that nothing in the cluster requires is left out; a required one still holds the set.
    OmitUnneeded,
}

/// What happens if a tag moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TagMoved {
    /// The stored digest stays; the difference is a finding.
    #[default]
    Hold,
    /// The new digest is stored.
    Repin,
}

/// Location of the operator's Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorLocation {
    /// Namespace of the Deployment and of the Installation's pull secrets.
    pub namespace: String,
    /// Name of the Deployment.
    pub deployment: String,
    /// Name of the operator's container in it.
    pub container: String,
}

impl Default for OperatorLocation {
    fn default() -> Self {
        let name = || "tigera-operator".to_owned();
        Self { namespace: name(), deployment: name(), container: name() }
    }
}

impl OperatorLocation {
    /// Returns a reference to the Deployment.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(Kind::Deployment, &self.namespace, &self.deployment)
    }
}

/// The settings that determine which references are pulled: of the effective Installation, or of the policy until one exists.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationSettings {
    /// Calico or Enterprise.
    pub variant: Variant,
    /// `registry`, `imagePath`, `imagePrefix`.
    pub layout: RegistryLayout,
    /// Whether FIPS images replace the normal ones.
    pub fips: bool,
    /// Names of pull secrets in the operator's namespace, in the order in which they are tried.
    pub image_pull_secrets: Vec<String>,
}

/// An entry of `prepare.versions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrepareVersion {
    /// An upstream release, pulled from the repository of the running operator.
    Release(Release),
    /// A full operator reference, for forks and private builds.
    Operator(Reference),
}

impl PrepareVersion {
    /// Returns the release that the entry names, if it names one. A tag next to a digest does not count.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        match self {
            Self::Release(release) => Some(*release),
            Self::Operator(reference) if reference.digest().is_some() => None,
            Self::Operator(reference) => reference.tag().and_then(|tag| tag.parse().ok()),
        }
    }
}

/// The error for a text that is neither a release nor a full reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum InvalidPrepareVersion {
    /// The text has no slash, and is not a release.
    Release(#[from] InvalidRelease),
    /// The text has a slash, and is not a reference.
    Reference(#[from] InvalidReference),
}

impl FromStr for PrepareVersion {
    type Err = InvalidPrepareVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(release) => Ok(Self::Release(release)),
            Err(_) if text.contains('/') => Ok(Self::Operator(text.parse()?)),
            Err(invalid) => Err(InvalidPrepareVersion::Release(invalid)),
        }
    }
}

as_text!(PrepareVersion);

impl std::fmt::Display for PrepareVersion {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Release(release) => release.fmt(formatter),
            Self::Operator(reference) => reference.fmt(formatter),
        }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}
