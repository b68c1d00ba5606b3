//! The result of a decision: actions in their order, outstanding lookups, and the state that a report requires. A value;
//! `cluster` carries it out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::model::action::Action;
use crate::model::adoption::Progress;
use crate::model::digest::Digest;
use crate::model::discovery::Discovery;
use crate::model::finding::Finding;
use crate::model::image_name::ImageName;
use crate::model::lookups::Lookups;
use crate::model::object_ref::ObjectRef;
use crate::model::reference::Reference;
use crate::model::release::{ImageSetName, ProductVersion, Release};
use crate::model::retained_set::Retained;
use crate::model::settings::PrepareVersion;

/// The result of deciding on one snapshot.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Lookups in registries that the decision still requires. With their results in the snapshot, the rules decide again.
    #[serde(rename = "questions")]
    pub lookups: Lookups,
    /// The operator versions that the snapshot shows.
    pub operator: OperatorKnowledge,
    /// The required sets: the running version's first, then the target's, then those to stage.
    pub goals: Vec<Goal>,
    /// Writes in this order; the first failure ends them. Empty in mode Observe and while suspended.
    pub actions: Vec<Action>,
    /// Writes that mode Apply would make: the same list, also where `actions` is empty.
    pub plan: Vec<Action>,
    /// Versions of `prepare.versions` for which no set can be made, and why.
    pub unmakeable: Vec<(PrepareVersion, Finding)>,
    /// Versions of `prepare.versions` whose image list is unknown, and why.
    pub unknown: Vec<(PrepareVersion, Finding)>,
    /// Releases of the entries of `prepare.versions`, as far as they are known.
    pub releases: Vec<(PrepareVersion, Release)>,
    /// Workloads whose pods the operator would roll because of the plan.
    pub rollouts: Vec<ObjectRef>,
    /// How far workloads with images of the target's stored set have adopted it.
    pub adoption: Progress,
    /// Findings, the worst first.
    pub findings: Vec<Finding>,
    /// References whose lookup result cannot be part of a set. Only a change in the registry helps, so they are looked up again.
    pub unsuitable: BTreeSet<Reference>,
    /// A read failed that versions and sets depend on: the previously reported state still holds.
    #[serde(rename = "blind")]
    pub inputs_unreadable: bool,
    /// Whether this reconcile compared all digests of the target's set with the registry.
    pub verified: bool,
    /// When something is due that no watch event announces.
    #[serde(rename = "lookAgain")]
    pub requeue_at: Option<Timestamp>,
    /// Previous operators whose set exists, the most recently used first.
    pub retained: Vec<Retained>,
    /// Earlier releases that look up a stored set, and that accept it as it is.
    pub also_served: BTreeSet<Release>,
    /// Newer releases that the last discovery found.
    pub discovery: Option<Discovery>,
    /// Newer releases that are staged, as far as the catalogue knows them.
    pub discovered: Vec<Release>,
}

impl Decision {
    /// Whether a failed read from the API server holds up what the policy requires.
    #[must_use]
    pub fn waits_for_a_read(&self) -> bool {
        self.findings.iter().any(|finding| finding.reason.is_failed_read() && finding.blocks())
    }

    /// Returns the release of an entry of `prepare.versions`, if it is known.
    #[must_use]
    pub fn release_of(&self, version: &PrepareVersion) -> Option<Release> {
        self.releases.iter().find(|(one, _)| one == version).map(|(_, release)| *release)
    }
}

/// The operator versions that count (`domain.md`, "Which version is the right one?").
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorKnowledge {
    /// The operator that is Ready, or was Ready last.
    pub running: Option<KnownOperator>,
    /// The operator that the Deployment names, or that a first install will run.
    pub target: Option<KnownOperator>,
    /// Whether the rollout of the target operator is complete: no pod of another version is left, or none of them is Ready while
    /// a new one is.
    #[serde(rename = "takenOver")]
    pub rollout_complete: bool,
    /// Whether no operator was ever observed. The target is then the one entry of `prepare.versions`.
    pub first_install: bool,
}

/// An operator whose version is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownOperator {
    /// Image, as written in the template or the pod; `None` for a first install.
    pub image: Option<String>,
    /// Digest of that image, if it was looked up or written.
    pub digest: Option<Digest>,
    /// Version of the operator.
    pub release: Release,
    /// Product version that the operator deploys; `None` for a version that the catalogue does not know.
    pub product: Option<ProductVersion>,
}

/// A required set and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// What the set is required for.
    pub purpose: Purpose,
    /// Version of the operator.
    pub release: Release,
    /// Name of the set that this version looks up.
    pub name: ImageSetName,
    /// Number of images that the set lists, or would list.
    pub images: usize,
    /// Entries that are stored under its name, or will be, as far as they are known.
    #[serde(skip)]
    pub content: Option<BTreeMap<ImageName, Digest>>,
    /// Names that the set leaves out.
    pub omitted: Vec<ImageName>,
    /// How far the set is.
    pub state: GoalState,
    /// When its digests were looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// Findings about the set.
    pub findings: Vec<Finding>,
}

/// What a set is required for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Purpose {
    /// The running operator, while the target is another one.
    Running,
    /// The operator that the Deployment names.
    Target,
    /// An entry of `prepare.versions`.
    Prepared(PrepareVersion),
    /// A newer version that the controller found in the repository of the operator image.
    Discovered(Release),
}

impl Purpose {
    /// Whether the set is for the running or the target operator, not for a version that is only staged.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        matches!(self, Self::Running | Self::Target)
    }
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running => formatter.write_str("running"),
            Self::Target => formatter.write_str("target"),
            Self::Prepared(version) => write!(formatter, "prepared {version}"),
            Self::Discovered(release) => write!(formatter, "discovered {release}"),
        }
    }
}

/// How far a required set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum GoalState {
    /// Stored with the right content.
    Stored,
    /// Ready to be stored; `plan` has the action.
    Ready,
    /// The running operator requires other content under the same name. The content is swapped when the rollout of the new
    /// operator completes.
    Waiting,
    /// As `Waiting`, and the new operator rejects the content in use: it reconciles nothing until the swap.
    Conflict,
    /// Lookups are still pending.
    Resolving,
    /// Held by a finding.
    Held,
}
