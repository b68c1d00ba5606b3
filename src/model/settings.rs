//! What the policy asks for, parsed: no text is left that could still turn out to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::object_ref::{Kind, ObjectRef};
use crate::model::reference::{InvalidReference, Reference};
use crate::model::registry_layout::RegistryLayout;
use crate::model::release::{InvalidRelease, Release, Variant};

/// A version that is staged as if the policy named it, until its time is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requested {
    /// What is asked for.
    pub version: PrepareVersion,
    /// From then on nobody asks for it.
    pub until: Timestamp,
}

/// The parsed `spec` of an ImageSetPolicy, as far as decisions need it. How registries are reached (credentials,
/// certificates, mirrors) is the registry edge's matter and not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// Whether we write ImageSets at all.
    pub mode: Mode,
    /// Nothing is written but status while this is true.
    pub suspend: bool,
    /// The Deployment to watch.
    pub operator: OperatorLocation,
    /// Used until an Installation exists.
    pub installation: InstallationSettings,
    /// Operator versions to stage ahead.
    pub prepare: Vec<PrepareVersion>,
    /// Versions that an annotation asks for; which of them still count is a question of time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requested: Vec<Requested>,
    /// The search for newer versions to stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discover: Option<Discover>,
    /// What an operator image meets that no set is ready for.
    pub gate: Gate,
    /// What a missing, unneeded image does to its set.
    pub on_missing: OnMissing,
    /// Names to leave out; ignored where a release does not know them, refused where it requires them.
    pub exclude: BTreeSet<ImageName>,
    /// Entries to replace (a hardened rebuild). Each is verified in the registry like any other.
    pub digests: BTreeMap<ImageName, Digest>,
    /// What a tag that resolves to another digest than the pinned one leads to.
    pub tag_moved: TagMoved,
    /// May an ImageSet that somebody else made be taken over?
    pub take_ownership: bool,
    /// Previous sets that are kept for a rollback.
    pub retain: u32,
    /// How often the registry is asked whether pinned digests still stand. Jitter is added by the edge.
    #[serde(with = "seconds")]
    pub recheck_interval: Duration,
    /// May an unknown operator image be run to ask it for its list?
    pub inspection_enabled: bool,
    /// Where it is run.
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

/// Observe shows the plan; Apply carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Status only.
    #[default]
    Observe,
    /// Sets and records are written.
    Apply,
}

/// The search for newer operator releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Discover {
    /// Which newer versions are meant.
    pub channel: Channel,
    /// How many of the newest are staged.
    pub limit: usize,
    /// How often the tags are listed. Jitter is added by the edge.
    #[serde(with = "seconds")]
    pub interval: Duration,
}

/// Which newer versions are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Channel {
    /// Of the same minor version.
    Patch,
    /// Of the same major version.
    Minor,
}

/// What an operator image meets that no set is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Gate {
    /// Nothing.
    #[default]
    Disabled,
    /// A warning.
    Warn,
    /// A refusal; a warning while the policy only observes.
    Deny,
}

/// What an image that the registry lacks does to its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnMissing {
    /// The whole set waits.
    #[default]
    Hold,
    /// An image that nothing in the cluster needs is left out; a needed one still holds the set.
    OmitUnneeded,
}

/// What a moved tag leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TagMoved {
    /// The stored digest stays; the difference is a finding.
    #[default]
    Hold,
    /// The new digest is stored.
    Repin,
}

/// Where the operator runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorLocation {
    /// Namespace of the Deployment; the Installation's pull secrets live there too.
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
    /// The Deployment.
    #[must_use]
    pub fn object(&self) -> ObjectRef {
        ObjectRef::namespaced(Kind::Deployment, &self.namespace, &self.deployment)
    }
}

/// What decides which references are pulled: an Installation's effective spec, or the policy's stand-in for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct InstallationSettings {
    /// Calico or Enterprise.
    pub variant: Variant,
    /// `registry`, `imagePath`, `imagePrefix`.
    pub layout: RegistryLayout,
    /// FIPS images instead of the normal ones.
    pub fips: bool,
    /// Names of pull secrets in the operator's namespace, in the order in which they are tried.
    pub image_pull_secrets: Vec<String>,
}

/// One entry of `prepare.versions`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum PrepareVersion {
    /// An upstream release, pulled from where the running operator is pulled from.
    Release(Release),
    /// A full operator reference, for forks and private builds.
    Operator(Reference),
}

impl PrepareVersion {
    /// The release that is meant, where that is written; beside a digest a tag says nothing.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        match self {
            Self::Release(release) => Some(*release),
            Self::Operator(reference) if reference.digest().is_some() => None,
            Self::Operator(reference) => reference.tag().and_then(|tag| tag.parse().ok()),
        }
    }
}

/// The text is neither a release nor a full reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum InvalidPrepareVersion {
    /// It has no slash, and is no release.
    Release(#[from] InvalidRelease),
    /// It has one, and is no reference.
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
