//! Everything that was observed, failures included: the one input of a decision. A snapshot can be written to a file
//! and read back, so that a bug report is a test scenario.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::answer::Answers;
use super::discovery::Discovery;
use super::finding::{ConditionType, Finding};
use super::gate::SeenGate;
use super::inspection::Inspections;
use super::pods::SeenPods;
use super::record::Record;
use super::report::Swap;
use super::required::Feature;
use super::retention::Retained;
use super::settings::{InstallationSettings, Settings};
use super::{Digest, Platform, Release, UnknownNode};

/// One look at the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// When it was taken.
    pub observed_at: Timestamp,
    /// `metadata.generation` of the policy.
    pub generation: i64,
    /// What the policy asks for.
    pub settings: Settings,
    /// What could not be parsed or is not supported in the policy, or was wrong with what it points to (a pull secret
    /// that is missing or malformed, a CA bundle that is not there).
    pub objections: Vec<Finding>,
    /// Value of the annotation that asks to check everything now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
    /// What the policy's own status said before this pass.
    pub remembered: Remembered,
    /// The operator Deployment; absent is a normal state.
    pub operator: Read<Option<OperatorDeployment>>,
    /// Its pods.
    pub operator_pods: Read<Vec<OperatorPod>>,
    /// The effective Installation; absent is a normal state.
    pub installation: Read<Option<Installation>>,
    /// All ImageSets of the cluster.
    pub image_sets: Read<Vec<StoredImageSet>>,
    /// All TigeraStatus objects.
    pub component_statuses: Read<Vec<ComponentStatus>>,
    /// Objects that make the operator insist on further images. A kind that does not exist has no objects.
    pub features: Read<BTreeSet<Feature>>,
    /// Platforms of the cluster's nodes with the number of nodes.
    pub nodes: Read<BTreeMap<Platform, u32>>,
    /// Nodes of a platform for which no images are built: each is a warning and holds nothing up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_nodes: Vec<UnknownNode>,
    /// DaemonSets and Deployments that the operator manages.
    pub workloads: Read<Vec<Workload>>,
    /// What pods in these namespaces pull and run.
    pub pods: Read<SeenPods>,
    /// The upgrade gate as it stands.
    pub gate: Read<SeenGate>,
    /// What was resolved before, and kept.
    pub records: Read<Vec<Record>>,
    /// Names of records that exist and are not used: damaged, or written by somebody else.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unusable_records: BTreeSet<String>,
    /// What operator images said of themselves, and who is being asked.
    pub inspections: Inspections,
    /// What the registries answered.
    pub answers: Answers,
    /// Whether the pinned digests are to be compared with the registry in this pass.
    pub recheck_due: bool,
    /// Whether newer releases are to be looked for in this pass.
    pub discovery_due: bool,
    /// How often sets of ours were put back in the last ten minutes, by name.
    pub put_back: BTreeMap<String, u32>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            observed_at: Timestamp::UNIX_EPOCH,
            generation: 1,
            settings: Settings::default(),
            objections: Vec::new(),
            refresh: None,
            remembered: Remembered::default(),
            operator: Read::default(),
            operator_pods: Read::default(),
            installation: Read::default(),
            image_sets: Read::default(),
            component_statuses: Read::default(),
            features: Read::default(),
            nodes: Read::default(),
            unknown_nodes: Vec::new(),
            workloads: Read::default(),
            pods: Read::default(),
            gate: Read::default(),
            records: Read::default(),
            unusable_records: BTreeSet::new(),
            inspections: Inspections::default(),
            answers: Answers::default(),
            recheck_due: false,
            discovery_due: false,
            put_back: BTreeMap::new(),
        }
    }
}

impl Snapshot {
    /// The failed read without which a question about the cluster has no answer.
    pub(super) fn unread(&self, concern: ConditionType) -> Option<&ReadFailure> {
        match concern {
            ConditionType::Drifted => self.image_sets.failure().or(self.installation.failure()),
            ConditionType::OperatorDegraded => self.component_statuses.failure(),
            ConditionType::ImagePullFailing => self.pods.failure(),
            _ => None,
        }
    }
}

/// The result of one read from the cluster. A failure is a value: it takes away only what needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Read<T> {
    /// The answer.
    Known(T),
    /// The kind is not installed in the cluster (yet).
    KindMissing,
    /// The read failed.
    Failed(ReadFailure),
}

impl<T: Default> Default for Read<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T> Read<T> {
    /// The answer, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::KindMissing | Self::Failed(_) => None,
        }
    }

    /// The failure, if there is one.
    pub const fn failure(&self) -> Option<&ReadFailure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Known(_) | Self::KindMissing => None,
        }
    }
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadFailure {
    /// What was read, such as `list tigerastatuses.operator.tigera.io`.
    pub what: String,
    /// The apiserver denied it: a right is missing.
    pub forbidden: bool,
    /// What the apiserver answered, escaped and cut.
    pub message: String,
}

/// What survives a pass, from the policy's status: facts about the past that nothing else in the cluster tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Remembered {
    /// Image of the operator pod that was Ready last.
    pub running_image: Option<String>,
    /// Version of the operator pod that was Ready last.
    pub running_version: Option<String>,
    /// Image that the Deployment's template had last.
    pub target_image: Option<String>,
    /// Version that the Deployment's template, or a first install, aimed at last.
    pub target_version: Option<String>,
    /// ImageSet that was reported as current.
    pub current_image_set: Option<String>,
    /// When all digests of the current set were last compared with the registry.
    pub last_verified: Option<Timestamp>,
    /// Operator images by tag and digest, as the status told them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned_operators: Vec<String>,
    /// What the gate admits; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_images: Option<Vec<String>>,
    /// Sets of previous versions, the one used last in front.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Retained>,
    /// What the last look for newer releases found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// What was told last: what a check against the registry found holds until the next one, and what is told again is no news.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The value of the refresh annotation that was acted upon last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_refresh: Option<String>,
    /// The last swap of a content for another under one name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_swap: Option<Swap>,
    /// Since when every workload has run the current set, if they did at the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted_since: Option<Timestamp>,
    /// The conditions as they stand, for telling what is new.
    pub conditions: Vec<super::report::Condition>,
}

impl Remembered {
    /// The version of this image, if it ran or was to run.
    #[must_use]
    pub fn version_of(&self, image: &str) -> Option<Release> {
        let pairs = [(&self.running_image, &self.running_version), (&self.target_image, &self.target_version)];
        let known = pairs.into_iter().find(|(known, _)| known.as_deref() == Some(image));
        known.and_then(|(_, version)| version.as_ref()).and_then(|version| version.parse().ok())
    }
}

/// The operator Deployment's template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorDeployment {
    /// The container's image as written; `None` if the template has no container of the configured name.
    pub image: Option<String>,
    /// `TIGERA_OPERATOR_INIT_IMAGE_VERSION`, a hint that never decides alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_image_version: Option<String>,
    /// The annotation that breaks the gate's glass; its value is the image that it admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// An operator pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorPod {
    /// Its name.
    pub name: String,
    /// The container's image as the pod's spec has it.
    pub image: String,
    /// Digest of what really runs, where the runtime tells a repository digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
    /// Condition Ready is True, whether the pod is being deleted or not.
    #[serde(default)]
    pub ready: bool,
    /// Since when condition Ready is as it is, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Timestamp>,
}

/// The effective Installation: `default` with `overlay` merged over it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Installation {
    /// What decides the references.
    pub settings: InstallationSettings,
    /// `status.imageSet`: which set the operator selected at the end of its last good reconcile.
    pub selected_image_set: Option<String>,
    /// `status.calicoVersion`.
    pub calico_version: Option<String>,
}

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
    pub origin: Option<super::imageset::Origin>,
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

/// A TigeraStatus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentStatus {
    /// `calico`, `apiserver`, `ippools`, …
    pub name: String,
    /// Condition Available is True.
    pub available: bool,
    /// Condition Progressing is True.
    pub progressing: bool,
    /// Condition Degraded is True: its reason and message. Releases up to v1.25 put the text into the reason.
    pub degraded: Option<Degraded>,
}

/// What a degraded component says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Degraded {
    /// `reason` as it is.
    pub reason: String,
    /// `message` as it is, cut.
    pub message: String,
}

/// A DaemonSet or Deployment in a namespace that the operator manages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workload {
    /// `DaemonSet` or `Deployment`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Images of all containers and init containers of its template.
    pub images: Vec<String>,
    /// Its controller has seen this template and all pods are of it and available.
    #[serde(default)]
    pub rolled_out: bool,
    /// Pods of the current template.
    #[serde(default)]
    pub updated: u32,
    /// Pods wanted.
    #[serde(default)]
    pub desired: u32,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
