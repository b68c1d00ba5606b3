//! Retention of previous sets for a rollback: which are kept, by recency of use, and which are deleted. Only managed sets that
//! nobody edited are deleted, and never one that a running, target or staged version requires.

use std::collections::BTreeSet;

use crate::model::{Goal, GoalState, ImageSetName, PruneImageSet, Retained, Snapshot, StoredImageSet};
use crate::rules::image_set::stored_sets::is_edited;

/// Returns the managed sets of no goal, the most recently used first: that of the operator that ran until now (`left`), then the
/// current one until now, then those that were kept before in their order, then those that were never used.
pub(crate) fn retained(snapshot: &Snapshot, goals: &[Goal], left: Option<&ImageSetName>) -> Vec<Retained> {
    let needed: BTreeSet<&str> = goals.iter().map(|goal| goal.name.as_str()).collect();
    let sets = snapshot.image_sets.known().into_iter().flatten();
    let mut previous: Vec<Retained> = sets
        .filter(|set| set.managed && !needed.contains(set.name.as_str()))
        .filter_map(|set| {
            let operator = set.origin.as_ref()?.operator;
            Some(Retained { image_set: set.name.clone(), operator, operator_image: None })
        })
        .collect();
    let remembered = &snapshot.remembered;
    let current = remembered.current_image_set.as_deref();
    let before = remembered.retained.iter().map(|retained| retained.image_set.as_str());
    // During a rollout the current set is that of the target already.
    let used: Vec<&str> = left.map(ImageSetName::as_str).into_iter().chain(current).chain(before).collect();
    let rank = |retained: &Retained| used.iter().position(|name| *name == retained.image_set).unwrap_or(used.len());
    previous.sort_by_key(|retained| (rank(retained), std::cmp::Reverse(retained.operator)));
    previous
}

/// Returns the sets beyond the number that the policy keeps; none while anything is under way that may require one of them.
pub(crate) fn to_prune(
    snapshot: &Snapshot,
    goals: &[Goal],
    retained: &[Retained],
    is_quiet: bool,
) -> Vec<PruneImageSet> {
    let may_prune = is_quiet
        && goals.iter().any(|goal| goal.purpose.is_current())
        && goals.iter().filter(|goal| goal.purpose.is_current()).all(|goal| goal.state == GoalState::Stored);
    if !may_prune {
        return Vec::new();
    }
    let kept = usize::try_from(snapshot.settings.retain).unwrap_or(usize::MAX);
    let sets = snapshot.image_sets.known().map_or(&[][..], Vec::as_slice);
    let found = |retained: &Retained| sets.iter().find(|set| set.name == retained.image_set);
    let prune = |set: &StoredImageSet| PruneImageSet {
        image_set: set.name.clone(),
        resource_version: set.resource_version.clone(),
    };
    retained.iter().skip(kept).filter_map(found).filter(|set| !is_edited(set)).map(prune).collect()
}
