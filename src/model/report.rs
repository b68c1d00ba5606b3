//! The report of a reconcile. The status of the policy, its events and the metrics are made from this value.

use jiff::Timestamp;
use serde::Serialize;

use crate::model::action::Action;
use crate::model::adoption::Progress;
use crate::model::condition::Condition;
use crate::model::decision::GoalState;
use crate::model::digest::Digest;
use crate::model::discovery::Discovery;
use crate::model::event::Event;
use crate::model::finding::Finding;
use crate::model::image_set_swap::Swap;
use crate::model::object_ref::ObjectRef;
use crate::model::retained_set::Retained;
use crate::model::settings::PrepareVersion;

/// Maximum number of findings, of components and of pending workloads in a status.
pub const MOST_FINDINGS: usize = 64;

/// Everything that a reconcile reports.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Generation of the policy that the report is about.
    pub generation: i64,
    /// A read failed that versions and sets depend on: the previously reported state is kept.
    #[serde(rename = "blind")]
    pub inputs_unreadable: bool,
    /// The operator versions.
    pub operator: OperatorReport,
    /// The target version's set.
    pub current: Option<CurrentReport>,
    /// One entry per version of `prepare.versions`, then those that an annotation requests, then the discovered ones.
    pub prepared: Vec<PreparedReport>,
    /// Operator images that the gate admits; `None` without a gate.
    pub admitted_images: Option<Vec<String>>,
    /// Kept sets of previous versions, the most recently used first.
    pub retained: Vec<Retained>,
    /// Result of the last discovery of newer releases.
    pub discovery: Option<Discovery>,
    /// Value of the refresh annotation that this reconcile handled.
    pub handled_refresh: Option<String>,
    /// Last swap of a set's content for that of another operator version.
    pub last_swap: Option<Swap>,
    /// State of each TigeraStatus; `None` if they could not be read.
    pub components: Option<Vec<ComponentReport>>,
    /// Outstanding writes and what they wait for.
    pub plan: PlanReport,
    /// Findings, the worst first, without those of severity Normal.
    pub findings: Vec<Finding>,
    /// One condition per [`ConditionType`](crate::model::ConditionType), in its order.
    pub conditions: Vec<Condition>,
    /// Events about what is new since the previous reconcile.
    pub events: Vec<Event>,
}

/// The operator versions, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorReport {
    /// Image that the Deployment names.
    pub image: Option<String>,
    /// Digest of that image, if known.
    pub digest: Option<Digest>,
    /// That image by tag and digest, if the Deployment names it by tag only.
    pub pin: Option<String>,
    /// Image of the running operator.
    pub running_image: Option<String>,
    /// Version of the running operator.
    pub version: Option<String>,
    /// Version that the Deployment names, or that a first install will run.
    pub target: Option<String>,
    /// Product version that the target deploys.
    pub product_version: Option<String>,
    /// Whether the Deployment names its image by digest.
    pub pinned: bool,
}

/// The target version's set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentReport {
    /// Name of the set.
    pub image_set: String,
    /// Whether it is stored with the right content.
    pub stored: bool,
    /// Number of images that it lists.
    pub images: usize,
    /// Names that it leaves out.
    pub omitted: Vec<String>,
    /// Whether the operator selected the set, every workload carries it, and all rollouts are complete.
    pub adopted: bool,
    /// Workloads with images of this set.
    pub workloads: Progress,
    /// When all its digests were last compared with the registry, or were first resolved.
    pub last_verified: Option<Timestamp>,
}

/// The state of one TigeraStatus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Name of the component, such as `calico`.
    pub name: String,
    /// Condition Available is True.
    pub available: bool,
    /// Condition Progressing is True.
    pub progressing: bool,
    /// Condition Degraded is True.
    pub degraded: bool,
}

/// A version that is staged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedReport {
    /// The version, as the policy names it.
    pub version: PrepareVersion,
    /// Name of its set, if known.
    pub image_set: Option<String>,
    /// Number of images that the set lists.
    pub images: usize,
    /// How far the set is; `None` for an unknown version.
    pub state: Option<GoalState>,
    /// Why the set is not stored.
    pub message: Option<String>,
    /// Whether the version was discovered in the repository of the operator image, and the policy does not name it.
    pub discovered: bool,
    /// Until when an annotation requests the version.
    pub requested_until: Option<Timestamp>,
    /// Operator image by tag and digest, or by digest, if known.
    pub operator_image: Option<String>,
}

/// Outstanding writes and what they wait for.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// Writes in their order.
    pub changes: Vec<Action>,
    /// Workloads that would roll.
    pub rollouts: Vec<ObjectRef>,
    /// Sentences about what holds up further writes.
    pub waits_for: Vec<String>,
}
