//! What the checks look at.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::decision::{GoalState, OperatorKnowledge, Purpose};
use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::object_ref::ObjectRef;
use crate::model::operator_images::OperatorImages;
use crate::model::record::RecordKey;
use crate::model::reference::Reference;
use crate::model::release::{ImageSetName, Release};
use crate::model::settings::InstallationSettings;
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::StoredImageSet;
use crate::rules::version::effective_catalogue::EffectiveCatalogue;

/// What the checks look at.
pub(crate) struct View<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a InstallationSettings,
    pub builds: &'a EffectiveCatalogue<'a>,
    pub operator: &'a OperatorKnowledge,
    /// The sets that are wanted, in the order of the goals.
    pub checked_sets: &'a [&'a CheckedSet],
    /// It cannot be told what runs: a set that seems to be in the way may be the one that is needed.
    pub frozen: bool,
    /// The running operator rejects the set of its version; a finding of its own says so.
    pub refused: bool,
}

/// A set that is wanted, beside what stands under its name.
pub(crate) struct CheckedSet {
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
    pub required_now: BTreeSet<ImageName>,
    /// It is stored, for this version first, and what it pins can be compared with the registry.
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

impl View<'_> {
    pub(crate) fn sets(&self) -> &[StoredImageSet] {
        self.snapshot.image_sets.known().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn stored(&self, name: &ImageSetName) -> Option<&StoredImageSet> {
        self.sets().iter().find(|set| set.name == name.as_str())
    }

    /// The set of the operator that the Deployment asks for, while that is the one that stands.
    pub(crate) fn target(&self) -> Option<&CheckedSet> {
        self.checked_sets
            .iter()
            .copied()
            .find(|look| look.purpose == Purpose::Target && look.state == GoalState::Stored)
    }
}
