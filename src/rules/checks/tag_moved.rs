//! Check for tags that resolve to another digest than the pinned one, and for registries that could not be compared with.

use std::collections::BTreeMap;

use crate::model::finding::Finding;
use crate::model::reason::Reason;
use crate::model::subject::Subject;
use crate::rules::checks::recheck::{Checked, Standing, checked, remembered};
use crate::rules::checks::view::{CheckedSet, View};
use crate::rules::image_set::tag_moved::finding;

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    view.checked_sets.iter().flat_map(|look| of_set(view, look)).collect()
}

fn of_set(view: &View<'_>, look: &CheckedSet) -> Vec<Finding> {
    let checked = checked(view, look);
    let moved = checked.iter().filter_map(|one| match one.standing {
        Standing::Moved { now, .. } => Some(finding(look.object(), one.reference, one.pinned, now)),
        _ => None,
    });
    let remembered = remembered(view, look, &[Reason::TagMoved, Reason::RecheckFailed]);
    moved.chain(failed(&checked)).chain(remembered).collect()
}

/// Returns one finding per registry, however many lookups failed.
fn failed(checked: &[Checked<'_>]) -> Vec<Finding> {
    let mut failures: BTreeMap<&str, String> = BTreeMap::new();
    for one in checked {
        if let Some(failure) = one.standing.failure() {
            failures.entry(&failure.registry).or_insert_with(|| failure.summary());
        }
    }
    let told = failures.into_iter();
    told.map(|(registry, words)| Finding::new(Reason::RecheckFailed, Subject::registry(registry), words)).collect()
}
