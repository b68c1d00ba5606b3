//! The status of an `ImageSetPolicy`: what a person, a pipeline or the gate needs to know now. Types only; each reconcile
//! computes the content once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `observedGeneration` that the API server sets until the controller has written a status. Without it, kstatus, and so Flux,
/// would treat a new policy as done.
pub const NOT_OBSERVED: i64 = -1;

/// What the controller found and did. All but `conditions` is of the generation in `observedGeneration`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({"observedGeneration": NOT_OBSERVED})))]
pub struct ImageSetPolicyStatus {
    /// The generation of the spec that this status is about; -1 until the controller has looked at the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The operator that runs and the one that the Deployment asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorStatus>,
    /// The ImageSet of the operator that the Deployment asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<CurrentSet>,
    /// What was made ready for operator versions that may come next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub prepared: Vec<PreparedSet>,
    /// What the last look for newer operator releases found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryStatus>,
    /// Previous operators that can be rolled back to because their ImageSet exists, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub retained: Vec<RetainedSet>,
    /// The last time that the content of a set was swapped for that of another operator version of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_swap: Option<SwapStatus>,
    /// What the controller would change; in Apply what it waits to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What the gate admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateStatus>,
    /// What each TigeraStatus says; cut at 64 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub components: Vec<ComponentStatus>,
    /// What is not as it should be, the worst first; cut at 64 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub findings: Vec<Finding>,
    /// Value of the latest refresh annotation that was acted upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_refresh: Option<String>,
    /// Answers to one question each. Ready, Reconciling and Stalled follow kstatus; VersionKnown, Resolved, Applied,
    /// Prepared and Adopted are True when all is well; Drifted, OperatorDegraded and ImagePullFailing are True when
    /// something is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

impl ImageSetPolicyStatus {
    /// Whether the controller has written the status.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.observed_generation != Some(NOT_OBSERVED)
    }
}

/// What is known about the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorStatus {
    /// Image that the Deployment asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Image of the operator that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_image: Option<String>,
    /// Digest of the image that the Deployment asks for, as verified in its registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The image to write into the Deployment to pin the operator itself, by tag and digest; absent where it is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Version of the operator that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Version of the operator that the Deployment asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Version of Calico (or of Calico Enterprise) that the target installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calico_version: Option<String>,
    /// Whether the Deployment names the image by digest.
    #[serde(default)]
    pub pinned: bool,
}

/// The ImageSet that the target version needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CurrentSet {
    /// Name of the ImageSet.
    pub image_set: String,
    /// Whether it is stored and right.
    #[serde(default)]
    pub stored: bool,
    /// How many images it lists.
    #[serde(default)]
    pub images: i32,
    /// Images that were left out because the policy says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub omitted: Vec<String>,
    /// Whether the operator selected it, every managed template carries the pinned digests and all roll-outs are done.
    #[serde(default)]
    pub adopted: bool,
    /// How far the Calico workloads are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadProgress>,
    /// When the digests were last compared with the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verified_time: Option<Time>,
}

/// How far the DaemonSets and Deployments that the operator manages are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadProgress {
    /// All workloads with Calico images.
    pub total: i32,
    /// Those whose template names the pinned digests.
    pub pinned: i32,
    /// Those that are pinned and rolled out.
    pub complete: i32,
    /// How far those are that are not complete; cut at 64 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub pending: Vec<PendingWorkload>,
}

/// A workload that does not run the set everywhere yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingWorkload {
    /// Kind, namespace and name, such as DaemonSet calico-system/calico-node.
    pub workload: String,
    /// Whether its template names the pinned digests.
    #[serde(default)]
    pub pinned: bool,
    /// Pods of the current template, in percent of those that are wanted, in whole tens.
    #[serde(default)]
    pub percent: i32,
}

/// What was made ready for one operator version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreparedSet {
    /// The operator version, or the full reference that the policy names.
    pub operator_version: String,
    /// Name of its ImageSet, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_set: Option<String>,
    /// How far it is.
    pub state: PreparedState,
    /// How many images the set lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<i32>,
    /// Whether it was found by discovery and isn't listed in the policy.
    #[serde(default)]
    pub discovered: bool,
    /// Until when the annotation imageset-controller.io/prepare asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_until: Option<Time>,
    /// Its operator image by tag and digest, for a Deployment that pins the operator itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_image: Option<String>,
    /// Why it is in this state, if it isn't Staged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far the set of a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PreparedState {
    /// Stored.
    Staged,
    /// Ready; stored by one write when its operator has taken over, or when the policy says Apply.
    Waiting,
    /// Ready in a record, but its name is in use with a content that the running operator needs.
    Conflict,
    /// Not ready: an image is missing, or something else that the message tells.
    Held,
    /// The version is not known; it needs to be listed in the policy to be inspected.
    NeedsInspection,
}

/// What the last look for newer operator releases found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiscoveryStatus {
    /// When the registry was asked for the tags of the operator image's repository.
    pub last_checked_time: Time,
    /// The operator version from which it was looked.
    pub operator_version: String,
    /// Newer releases of the channel, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub releases: Vec<String>,
}

/// One swap of a content for another under one name, after the operator had taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SwapStatus {
    /// Name of the ImageSet.
    pub image_set: String,
    /// The operator version whose content stood there.
    pub from_operator_version: String,
    /// The operator version whose content stands there since.
    pub operator_version: String,
    /// When it was written.
    pub time: Time,
    /// The most that the new operator can have been Ready without its content, in whole seconds.
    pub gap_seconds: i64,
}

/// A previous operator that can be rolled back to because its set exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedSet {
    /// Name of its ImageSet; the one in use may be that of a previous operator, too.
    pub image_set: String,
    /// Version of the operator.
    pub operator_version: String,
    /// Its image from the registry where it ran, with its digest as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_image: Option<String>,
}

/// What would change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Changes of ImageSets, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub changes: Vec<PlannedChange>,
    /// Workloads whose pods the operator would roll because of them, as kind/namespace/name; cut at 64 entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rollouts: Vec<String>,
    /// What stands in the way of a complete plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub waits_for: Vec<String>,
}

/// A change of one ImageSet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedChange {
    /// What would be done.
    pub action: PlanAction,
    /// Name of the ImageSet.
    pub image_set: String,
    /// Why, and what of it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What would be done to an ImageSet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PlanAction {
    /// It would be created.
    Create,
    /// Its content would be replaced.
    Update,
    /// It would be deleted.
    Delete,
    /// It would become ours with the content it has.
    TakeOver,
}

/// What the gate admits; the parameter of the ValidatingAdmissionPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Operator images that a set is ready for: by tag, by tag and digest, and by digest, in every spelling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub admitted_images: Vec<String>,
}

/// One component of the operator, as its TigeraStatus says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Name of the TigeraStatus, such as calico.
    pub name: String,
    /// Whether its condition Available is True.
    #[serde(default)]
    pub available: bool,
    /// Whether its condition Progressing is True.
    #[serde(default)]
    pub progressing: bool,
    /// Whether its condition Degraded is True; a finding tells the cause.
    #[serde(default)]
    pub degraded: bool,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// One of the documented reasons.
    pub reason: String,
    /// The object concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<FindingObject>,
    /// What was found.
    pub message: String,
    /// What is there, where it can be put beside what should be; digests are cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<String>,
    /// What should be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub want: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
    /// Since when it is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
}

/// An object of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingObject {
    /// Kind of the object.
    pub kind: String,
    /// Its namespace, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl std::fmt::Display for FindingObject {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(formatter, "{} {namespace}/{}", self.kind, self.name),
            None => write!(formatter, "{} {}", self.kind, self.name),
        }
    }
}
