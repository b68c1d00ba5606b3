//! What is said about a pass: computed once, from what was seen, decided and done. The status of the policy, its events
//! and the metrics are made from this value and from nothing else.

use serde::{Deserialize, Serialize};

use super::decision::{Action, Decision, GoalState};
use super::finding::{ConditionType, Finding};
use super::{Digest, Snapshot};

/// Everything that is told.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Generation of the policy that this is about.
    pub generation: i64,
    /// What is known of the operator.
    pub operator: OperatorReport,
    /// The target version's set.
    pub current: Option<CurrentReport>,
    /// One entry per version of `prepare.versions`.
    pub prepared: Vec<PreparedReport>,
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
    /// All its digests were compared with the registry in this pass.
    pub verified_now: bool,
}

/// How far workloads are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// All with images of the set.
    pub total: usize,
    /// Whose template carries the pinned digests.
    pub pinned: usize,
    /// Pinned and rolled out.
    pub complete: usize,
}

/// One version of `prepare.versions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedReport {
    /// As the policy names it.
    pub version: String,
    /// Its set's name, where known.
    pub image_set: Option<String>,
    /// How many images it lists.
    pub images: usize,
    /// How far it is; `None` for a version that is not known.
    pub state: Option<GoalState>,
    /// Why it is not stored.
    pub message: Option<String>,
}

/// What would be done, or waits to be done.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// Writes in their order.
    pub changes: Vec<Action>,
    /// Workloads that would roll.
    pub rollouts: Vec<String>,
    /// Sentences about what is in the way.
    pub waits_for: Vec<String>,
}

/// A condition without its time, which is the status writer's to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Which question it answers.
    pub r#type: ConditionType,
    /// The answer.
    pub status: Status,
    /// Why; a word of the closed list.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `true`: type Warning; `false`: type Normal.
    pub warning: bool,
    /// A word of the closed list.
    pub reason: String,
    /// In words.
    pub note: String,
    /// Name of the ImageSet that it is about as well, if any.
    pub image_set: Option<String>,
}

/// What became of the actions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How many of the decision's actions were carried out, in order.
    pub done: usize,
    /// What ended it before the last one.
    pub failure: Option<ActionFailure>,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFailure {
    /// Somebody else wrote the object at the same moment (409): look again.
    pub conflict: bool,
    /// The object, such as `ImageSet calico-v3.31.7`.
    pub object: String,
    /// What the apiserver answered, escaped and cut.
    pub message: String,
}

impl Report {
    /// The report of a pass.
    #[must_use]
    pub fn new(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome) -> Self {
        let _ = (decision, outcome);
        Self { generation: snapshot.generation, ..Self::default() }
    }
}
