//! The phase of previous sets: which of them are kept for a rollback, and which are deleted.

use crate::model::{Goal, PrepareVersion, PruneImageSet, Release, Retained, Snapshot, Variant};
use crate::rules::decide::hold::Held;
use crate::rules::image_set::retention;
use crate::rules::version::Versions;

/// Previous sets.
pub(super) struct RetainedSets {
    /// Existing ones, the most recently used first.
    pub retained: Vec<Retained>,
    /// Those to delete.
    pub pruned: Vec<PruneImageSet>,
}

/// Keeps the policy's number of previous sets, and deletes the others when no upgrade is under way.
///
/// After the hold, because a set is deleted only if nothing else is to be changed or looked up.
pub(super) fn plan(snapshot: &Snapshot, versions: &Versions<'_>, held: &Held, variant: Variant) -> RetainedSets {
    if versions.frozen {
        return RetainedSets { retained: snapshot.remembered.retained.clone(), pruned: Vec::new() };
    }
    let goals: Vec<Goal> = held.sets.iter().map(|set| set.goal.clone()).collect();
    let ran = snapshot.remembered.running_version.as_deref().and_then(|version| version.parse::<Release>().ok());
    let ran = ran.and_then(|release| versions.effective.catalogue().get(&release));
    let left = ran.and_then(|images| images.image_set_name(variant).ok());
    let retained = retention::retained(snapshot, &goals, left.as_ref());
    let pruned = retention::to_prune(snapshot, &goals, &retained, is_quiet(snapshot, versions, held));
    RetainedSets { retained, pruned }
}

/// Whether the rollout of the target operator is complete, and nothing is unknown, to be written or to be looked up.
fn is_quiet(snapshot: &Snapshot, versions: &Versions<'_>, held: &Held) -> bool {
    // An unknown version may require any of the sets.
    let is_known = |version: &PrepareVersion| versions.release_of(version).is_some();
    // Until newer releases were looked up, a set that was staged for one of them looks like a previous one.
    let has_discovered = snapshot.settings.discover.is_none() || versions.discovery.is_some();
    versions.operator.rollout_complete
        && held.lookups.blocks_no_write()
        && held.sets.iter().all(|set| set.actions.is_empty())
        && has_discovered
        && versions.operator.target.is_some()
        && snapshot.to_prepare().iter().all(is_known)
}
