//! What was decided: the actions in their order, what is still to be asked, and the knowledge that a report needs.
//! A value; carrying it out is `cluster::apply`'s job.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::answer::Questions;
use super::discovery::Discovery;
use super::finding::Finding;
use super::gate::Enforcement;
use super::imageset::CompleteImageSet;
use super::inspection::{Inspected, object_name};
use super::record::Record;
use super::report::Progress;
use super::retention::Retained;
use super::settings::PrepareVersion;
use super::{Digest, ImageName, ImageSetName, ProductVersion, Reference, Release};

/// The outcome of one look at a snapshot.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Still to be asked of registries; the snapshot with the answers is then decided upon again.
    pub questions: Questions,
    /// What is known of the operator.
    pub operator: OperatorKnowledge,
    /// The sets that are wanted, the running version's first, then the target's, then those to stage.
    pub goals: Vec<Goal>,
    /// What is to be written, in this order; the first failure ends it. Empty in mode Observe and while suspended.
    pub actions: Vec<Action>,
    /// What would be written in mode Apply: the same list, also where `actions` is empty.
    pub plan: Vec<Action>,
    /// Versions of `prepare.versions` for which no set can ever be made, and why.
    pub unmakeable: Vec<(PrepareVersion, Finding)>,
    /// Versions of `prepare.versions` whose list is not known, and why.
    pub unknown: Vec<(PrepareVersion, Finding)>,
    /// What the entries of `prepare.versions` are, as far as that is known.
    pub releases: Vec<(PrepareVersion, Release)>,
    /// Workloads (`DaemonSet calico-system/calico-node`) whose pods the operator would roll because of the plan.
    pub rollouts: Vec<String>,
    /// How far the workloads are that run images of the target's stored set.
    pub adoption: Progress,
    /// Everything that a person should know, the worst first.
    pub findings: Vec<Finding>,
    /// Answers that no set can be made of as they are: only a change in the registry helps, so they are asked for again.
    pub unsuitable: BTreeSet<Reference>,
    /// A read failed without which nothing can be told of versions and sets: what was known before still holds.
    pub blind: bool,
    /// All digests of the target's set were compared with the registry in this pass.
    pub verified: bool,
    /// When something is due that nothing in the cluster tells.
    pub look_again: Option<Timestamp>,
    /// Sets of previous versions, the one used last in front.
    pub retained: Vec<Retained>,
    /// What is known of newer releases.
    pub discovery: Option<Discovery>,
    /// Newer releases that are staged, as far as they are known to the catalogue.
    pub discovered: Vec<Release>,
}

impl Decision {
    /// The release that an entry of `prepare.versions` is.
    #[must_use]
    pub fn release_of(&self, version: &PrepareVersion) -> Option<Release> {
        self.releases.iter().find(|(one, _)| one == version).map(|(_, release)| *release)
    }
}

/// The operator versions that count (`domain.md`, "Which version is the right one?").
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorKnowledge {
    /// The operator that is Ready, or was last.
    pub running: Option<KnownOperator>,
    /// The operator that the Deployment asks for, or a first install will.
    pub target: Option<KnownOperator>,
    /// The new operator has taken over: no pod of another version is left, or none of them is Ready while a new one is.
    pub taken_over: bool,
    /// No operator was ever seen; the target is the one entry of `prepare.versions`.
    pub first_install: bool,
}

/// An operator whose version is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownOperator {
    /// The image as it is written in the template or pod; absent for a first install.
    pub image: Option<String>,
    /// Digest of that image, where it was asked for or written.
    pub digest: Option<Digest>,
    /// Its version.
    pub release: Release,
    /// The product version that it deploys; absent for a version that the catalogue does not know.
    pub product: Option<ProductVersion>,
}

/// A set that is wanted, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// What it is wanted for.
    pub purpose: Purpose,
    /// The operator version.
    pub release: Release,
    /// The name that this version looks for.
    pub name: ImageSetName,
    /// How many images it lists, or would list.
    pub images: usize,
    /// What is stored under its name, or will be, as far as that is known.
    #[serde(skip)]
    pub content: Option<BTreeMap<ImageName, Digest>>,
    /// Names that were left out.
    pub omitted: Vec<ImageName>,
    /// How far it is.
    pub state: GoalState,
    /// When its digests were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// What is to be said of it.
    pub findings: Vec<Finding>,
}

/// What a set is wanted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Purpose {
    /// The running operator, while the target is another one.
    Running,
    /// The operator that the Deployment asks for.
    Target,
    /// An entry of `prepare.versions`.
    Prepared(PrepareVersion),
    /// A newer version that was found in the operator image's repository.
    Discovered(Release),
}

impl Purpose {
    /// It is for an operator that runs or is to run, not for one that may come.
    #[must_use]
    pub const fn is_wanted_now(&self) -> bool {
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

/// How far a wanted set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum GoalState {
    /// Stored with the right content.
    Stored,
    /// Ready to be stored; `plan` has the action.
    Ready,
    /// Its name is in use with content that the running operator needs; it is swapped in after the take-over.
    Waiting,
    /// As waiting, and the new operator refuses the content that is in use: it reconciles nothing until the swap.
    Conflict,
    /// Registries have not answered yet.
    Resolving,
    /// Something is in the way; a finding says what.
    Held,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Create or replace the record (a ConfigMap in our namespace).
    WriteRecord(Box<Record>),
    /// Create or replace an ImageSet by one server-side apply.
    StoreImageSet(Box<StoreImageSet>),
    /// Keep what an operator image said of itself (a ConfigMap in our namespace).
    KeepInspection(Box<Inspected>),
    /// Run an operator image and ask it for its version and images (a Job in the inspection namespace).
    StartInspection(Box<StartInspection>),
    /// Delete a Job that has answered or failed.
    EndInspection {
        /// Its name.
        name: String,
        /// Its uid: no other Job of this name is deleted.
        uid: String,
    },
    /// Delete a set of ours that is one too many.
    PruneImageSet(PruneImageSet),
    /// Install or change the upgrade gate, or take it away.
    SetGate(Option<Enforcement>),
}

impl Action {
    /// The apply of an ImageSet, if it is one.
    #[must_use]
    pub fn image_set(&self) -> Option<&StoreImageSet> {
        match self {
            Self::StoreImageSet(store) => Some(store),
            Self::WriteRecord(_)
            | Self::KeepInspection(_)
            | Self::StartInspection(_)
            | Self::EndInspection { .. }
            | Self::PruneImageSet(_)
            | Self::SetGate(_) => None,
        }
    }
}

/// The Job that asks one operator image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartInspection {
    /// The image as it is written where it was found.
    pub image: Reference,
    /// Its digest, which is run.
    pub digest: Digest,
    /// Its version label.
    pub label: Option<String>,
    /// The how-manieth attempt it is, from 1.
    pub attempt: u32,
    /// Why the attempt before did not bring an answer.
    pub failed_before: Option<String>,
}

impl StartInspection {
    /// Name of the Job.
    #[must_use]
    pub fn name(&self) -> String {
        object_name(&self.digest)
    }
}

/// A set of a previous version that is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneImageSet {
    /// Its name.
    pub image_set: String,
    /// It is deleted only if it still is as it was seen.
    pub resource_version: String,
}

/// The apply of one complete set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreImageSet {
    /// What is stored.
    pub set: CompleteImageSet,
    /// What the object was when it was observed; the write fails if it has changed since.
    pub precondition: Precondition,
    /// Why.
    pub motive: Motive,
}

/// What has to be true of the object for a write to succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Precondition {
    /// It does not exist.
    Absent,
    /// It has this resourceVersion.
    Unchanged(String),
}

/// Why a set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Motive {
    /// There was none.
    Create,
    /// Ours, and other content is wanted now (another release of the same name, another registry, an override, a repin).
    Update,
    /// Ours, and edited by somebody else: the recorded content is put back.
    PutBack,
    /// Somebody else's, and the policy allows to take it over.
    TakeOver,
    /// Ours, and refused by its operator: what that took before stands in until its image has told what it takes.
    StandIn,
}
