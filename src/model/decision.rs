//! What was decided: the actions in their order, what is still to be asked, and the knowledge that a report needs.
//! A value; carrying it out is `cluster::apply`'s job.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::model::action::Action;
use crate::model::adoption::Progress;
use crate::model::digest::Digest;
use crate::model::discovery::Discovery;
use crate::model::finding::Finding;
use crate::model::image_name::ImageName;
use crate::model::lookups::Questions;
use crate::model::object_ref::ObjectRef;
use crate::model::reference::Reference;
use crate::model::release::{ImageSetName, ProductVersion, Release};
use crate::model::retained::Retained;
use crate::model::settings::PrepareVersion;

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
    /// Workloads whose pods the operator would roll because of the plan.
    pub rollouts: Vec<ObjectRef>,
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
