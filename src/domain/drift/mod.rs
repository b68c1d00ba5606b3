//! What differs from what is pinned, or will: a chain of small checks, one file each. A check looks at one thing, is pure and
//! returns what it found; nothing that it finds changes what is written. A new check is a file here and a line in [`CHECKS`].

mod blocking_set;
mod digest_gone;
mod fips;
mod installation;
mod pods;
mod recheck;
mod required_image;
pub(super) mod set_edited;
mod set_outdated;
pub(super) mod set_owner;
mod stray_set;
mod tag_gone;
pub(super) mod tag_moved;
pub(super) mod template;

use std::collections::{BTreeMap, BTreeSet};

use super::builds::Builds;
use super::decision::{GoalState, OperatorKnowledge, Purpose};
use super::finding::Finding;
use super::record::RecordKey;
use super::settings::InstallationSettings;
use super::snapshot::StoredImageSet;
use super::{Digest, ImageName, ImageSetName, OperatorImages, Reference, Release, Snapshot};

/// The checks in the order in which their findings are told.
const CHECKS: [fn(&View<'_>) -> Vec<Finding>; 11] = [
    installation::check,
    blocking_set::check,
    fips::check,
    set_outdated::check,
    required_image::check,
    digest_gone::check,
    tag_moved::check,
    tag_gone::check,
    template::check,
    pods::check,
    stray_set::check,
];

/// What the checks look at.
pub(super) struct View<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a InstallationSettings,
    pub builds: &'a Builds<'a>,
    pub operator: &'a OperatorKnowledge,
    /// The sets that are wanted, in the order of the goals.
    pub looks: &'a [Look],
    /// It cannot be told what runs: a set that seems to be in the way may be the one that is needed.
    pub frozen: bool,
}

/// A set that is wanted, beside what stands under its name.
pub(super) struct Look {
    pub purpose: Purpose,
    pub name: ImageSetName,
    pub images: OperatorImages,
    pub key: RecordKey,
    pub state: GoalState,
    /// What is stored for it, or will be.
    pub content: BTreeMap<ImageName, Digest>,
    /// Where nodes pull from; nothing where the settings make no reference.
    pub references: BTreeMap<ImageName, Reference>,
    /// What its operator insists on with the objects that are in the cluster.
    pub insisted_on: BTreeSet<ImageName>,
    /// It is stored, for this version first, and what it pins can be compared with the registry.
    pub comparable: bool,
}

impl Look {
    fn object(&self) -> String {
        format!("ImageSet {}", self.name)
    }

    fn release(&self) -> Release {
        self.images.release()
    }
}

impl View<'_> {
    fn sets(&self) -> &[StoredImageSet] {
        self.snapshot.image_sets.known().map_or(&[], Vec::as_slice)
    }

    fn stored(&self, name: &ImageSetName) -> Option<&StoredImageSet> {
        self.sets().iter().find(|set| set.name == name.as_str())
    }

    /// The set of the operator that the Deployment asks for, while that is the one that stands.
    fn target(&self) -> Option<&Look> {
        self.looks.iter().find(|look| look.purpose == Purpose::Target && look.state == GoalState::Stored)
    }
}

/// Everything that the checks find.
pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(view)).collect()
}

/// What registries are to be asked for a check that is due.
pub(super) fn questions(view: &View<'_>) -> BTreeSet<Reference> {
    recheck::questions(view)
}

/// Whether everything that a set pins was compared with the registry in this pass.
pub(super) fn compared(view: &View<'_>, look: &Look) -> bool {
    recheck::compared(view, look)
}

/// When a check has something to tell that only time brings.
pub(super) fn look_again(view: &View<'_>) -> Option<jiff::Timestamp> {
    template::look_again(view)
}
