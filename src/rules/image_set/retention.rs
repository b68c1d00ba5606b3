//! Ways back to previous operators: which of them still have their set, and which managed sets are deleted. Only sets that nobody
//! edited are deleted, and never one that a running, target or staged version requires.

use std::collections::BTreeSet;

use crate::model::{Goal, GoalState, PruneImageSet, Reference, Retained, Snapshot, StoredImageSet};
use crate::rules::image_set::stored_sets::is_edited;

/// Maximum number of previous operators that are remembered. The sets themselves are counted by the policy.
const MOST_REMEMBERED: usize = 16;

/// Returns the previous operators whose set exists, the most recently used first: the operator that ran until now (`left`), that of
/// the set that was current until now, those of before in their order, then those of managed sets that were never used.
///
/// A set may serve several of them, be one in use, and be unmanaged. `is_required` is true for the operators that have a goal.
pub(crate) fn retained(
    snapshot: &Snapshot,
    goals: &[Goal],
    left: Option<Retained>,
    is_required: impl Fn(&Retained) -> bool,
) -> Vec<Retained> {
    let sets = snapshot.image_sets.known().map_or(&[][..], Vec::as_slice);
    let exists = |one: &Retained| sets.iter().any(|set| set.name == one.image_set);
    let made_for = |set: &StoredImageSet| {
        let operator = set.origin.as_ref()?.operator;
        Some(Retained { image_set: set.name.clone(), operator, operator_image: None })
    };
    let mut unused: Vec<Retained> = previous_sets(sets, goals).filter_map(made_for).collect();
    unused.sort_by_key(|one| std::cmp::Reverse(one.operator));
    let remembered = &snapshot.remembered;
    // During a rollout the current set is that of the target already.
    let current = unused.iter().find(|one| remembered.current_image_set.as_ref() == Some(&one.image_set)).cloned();
    let used = left.into_iter().chain(current).chain(remembered.retained.iter().cloned());
    let used: Vec<Retained> = used.filter(|one| exists(one) && !is_required(one)).collect();
    let mut retained: Vec<Retained> = Vec::new();
    for one in used.into_iter().take(MOST_REMEMBERED).chain(unused) {
        match retained.iter_mut().find(|known| is_same_operator(known, &one)) {
            Some(known) => known.operator_image = known.operator_image.take().or(one.operator_image),
            None => retained.push(one),
        }
    }
    retained
}

/// Whether both are the same operator from the same registry. An image that is not known is that of any registry.
fn is_same_operator(one: &Retained, other: &Retained) -> bool {
    let parsed = |image: &String| image.parse::<Reference>();
    let images = one.operator_image.as_ref().zip(other.operator_image.as_ref());
    one.image_set == other.image_set
        && one.operator == other.operator
        && images.is_none_or(|(one, other)| one == other || parsed(one).ok() == parsed(other).ok())
}

/// Returns the managed sets of no goal.
fn previous_sets<'a>(sets: &'a [StoredImageSet], goals: &[Goal]) -> impl Iterator<Item = &'a StoredImageSet> {
    let needed: BTreeSet<&str> = goals.iter().map(|goal| goal.name.as_str()).collect();
    sets.iter().filter(move |set| set.managed && !needed.contains(set.name.as_str()))
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
    let last_used = |set: &&StoredImageSet| retained.iter().position(|one| one.image_set == set.name);
    let mut previous: Vec<&StoredImageSet> =
        previous_sets(sets, goals).filter(|set| last_used(set).is_some()).collect();
    previous.sort_by_key(last_used);
    let prune = |set: &StoredImageSet| PruneImageSet {
        image_set: set.name.clone(),
        resource_version: set.resource_version.clone(),
    };
    previous.into_iter().skip(kept).filter(|set| !is_edited(set)).map(prune).collect()
}
