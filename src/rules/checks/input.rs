//! The input of the checks.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Digest, GoalState, ImageName, ImageSetName, InstallationSettings, ObjectRef, OperatorImages, OperatorKnowledge,
    Purpose, RecordKey, Reference, Release, Snapshot, StoredImageSet,
};
use crate::rules::version::effective_catalogue::EffectiveCatalogue;

/// The input of the checks.
pub(crate) struct CheckInput<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a InstallationSettings,
    pub effective: &'a EffectiveCatalogue<'a>,
    pub operator: &'a OperatorKnowledge,
    /// The required sets, in the order of the goals.
    pub checked_sets: &'a [&'a CheckedSet],
    /// Whether it is unknown which operator runs: a set that seems to block may be the required one.
    pub frozen: bool,
    /// Whether the running operator rejects the set of its version, which has a finding of its own.
    pub rejected: bool,
}

/// A required set and the content under its name.
pub(crate) struct CheckedSet {
    pub purpose: Purpose,
    pub name: ImageSetName,
    pub images: OperatorImages,
    pub key: RecordKey,
    pub state: GoalState,
    /// Entries that are stored, or will be.
    pub content: BTreeMap<ImageName, Digest>,
    /// References that nodes pull, by name; empty if the settings do not make a reference.
    pub references: BTreeMap<ImageName, Reference>,
    /// Images that its operator requires with the objects of the cluster.
    pub required_now: BTreeSet<ImageName>,
    /// Whether the set is stored for this version first, and its digests can be compared with the registry.
    pub comparable: bool,
}

impl CheckedSet {
    pub(crate) fn object(&self) -> ObjectRef {
        ObjectRef::image_set(self.name.as_str())
    }

    pub(crate) fn release(&self) -> Release {
        self.images.release()
    }
}

impl CheckInput<'_> {
    pub(crate) fn sets(&self) -> &[StoredImageSet] {
        self.snapshot.image_sets.known().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn stored(&self, name: &ImageSetName) -> Option<&StoredImageSet> {
        self.sets().iter().find(|set| set.name == name.as_str())
    }

    /// Returns the set of the operator that the Deployment names, if that set is stored.
    pub(crate) fn target(&self) -> Option<&CheckedSet> {
        self.checked_sets
            .iter()
            .copied()
            .find(|checked_set| checked_set.purpose == Purpose::Target && checked_set.state == GoalState::Stored)
    }
}
