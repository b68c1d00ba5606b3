//! What is reported of a reconcile: the status of the policy, its events and the metrics are made from this value.

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
use crate::model::object_ref::ObjectRef;
use crate::model::retained::Retained;
use crate::model::settings::PrepareVersion;
use crate::model::swap::Swap;

/// The most findings that a status holds, and the most components and pending workloads.
pub const MOST_FINDINGS: usize = 64;

/// Everything that is told.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Generation of the policy that this is about.
    pub generation: i64,
    /// A read failed without which nothing can be told of versions and sets: what was told before is left as it is.
    pub blind: bool,
    /// What is known of the operator.
    pub operator: OperatorReport,
    /// The target version's set.
    pub current: Option<CurrentReport>,
    /// One entry per version of `prepare.versions`, then those that an annotation asks for, then those that were discovered.
    pub prepared: Vec<PreparedReport>,
    /// Operator images that the gate admits; `None` without a gate.
    pub admitted_images: Option<Vec<String>>,
    /// Sets of previous versions that are kept, the one used last in front.
    pub retained: Vec<Retained>,
    /// What is known of newer releases.
    pub discovery: Option<Discovery>,
    /// The value of the refresh annotation that this pass has acted upon.
    pub handled_refresh: Option<String>,
    /// The last swap of a content for another under one name.
    pub last_swap: Option<Swap>,
    /// What each TigeraStatus says; `None` where they could not be read.
    pub components: Option<Vec<ComponentReport>>,
    /// What would be done, or waits to be done.
    pub plan: PlanReport,
    /// What a person should know, the worst first; normal news are left out.
    pub findings: Vec<Finding>,
    /// One per [`ConditionType`], in its order.
    pub conditions: Vec<Condition>,
    /// What is new since the last pass.
    pub events: Vec<Event>,
}

/// What is known of the operator, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorReport {
    /// Image that the Deployment asks for.
    pub image: Option<String>,
    /// Its digest, where known.
    pub digest: Option<Digest>,
    /// That image by tag and digest, for a Deployment that names it by tag only.
    pub pin: Option<String>,
    /// Image of the operator that runs.
    pub running_image: Option<String>,
    /// Version that runs.
    pub version: Option<String>,
    /// Version that the Deployment, or a first install, asks for.
    pub target: Option<String>,
    /// Product version that the target deploys.
    pub product_version: Option<String>,
    /// The Deployment names its image by digest.
    pub pinned: bool,
}

/// The target version's set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentReport {
    /// Its name.
    pub image_set: String,
    /// It is stored and right.
    pub stored: bool,
    /// How many images it lists.
    pub images: usize,
    /// Names that were left out.
    pub omitted: Vec<String>,
    /// Selected by the operator, carried by every workload, all roll-outs complete.
    pub adopted: bool,
    /// Workloads with images of this set.
    pub workloads: Progress,
    /// When all its digests were last compared with the registry, or asked for in the first place.
    pub last_verified: Option<Timestamp>,
}

/// One TigeraStatus, mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Its name, such as `calico`.
    pub name: String,
    /// Condition Available is True.
    pub available: bool,
    /// Condition Progressing is True.
    pub progressing: bool,
    /// Condition Degraded is True.
    pub degraded: bool,
}

/// One version of `prepare.versions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedReport {
    /// As the policy names it.
    pub version: PrepareVersion,
    /// Its set's name, where known.
    pub image_set: Option<String>,
    /// How many images it lists.
    pub images: usize,
    /// How far it is; `None` for a version that is not known.
    pub state: Option<GoalState>,
    /// Why it is not stored.
    pub message: Option<String>,
    /// It was found in the operator image's repository; the policy does not name it.
    pub discovered: bool,
    /// Until when an annotation asks for it.
    pub requested_until: Option<Timestamp>,
    /// Its operator image by tag and digest, or by digest; where that is known.
    pub operator_image: Option<String>,
}

/// What would be done, or waits to be done.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// Writes in their order.
    pub changes: Vec<Action>,
    /// Workloads that would roll.
    pub rollouts: Vec<ObjectRef>,
    /// Sentences about what is in the way.
    pub waits_for: Vec<String>,
}
