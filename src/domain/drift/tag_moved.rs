//! Tags that resolve to something else than what is pinned, and registries that could not be asked whether they do.

use std::collections::BTreeMap;

use super::recheck::{Checked, Standing, checked, remembered};
use super::{Look, View};
use crate::domain::finding::{Finding, Reason};
use crate::domain::{Digest, Reference};

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    view.looks.iter().flat_map(|look| of_set(view, look)).collect()
}

fn of_set(view: &View<'_>, look: &Look) -> Vec<Finding> {
    let checked = checked(view, look);
    let moved = checked.iter().filter_map(|one| match one.standing {
        Standing::Moved { now, .. } => Some(finding(look.object(), one.reference, one.pinned, now)),
        _ => None,
    });
    let remembered = remembered(view, look, &[Reason::TagMoved, Reason::RecheckFailed]);
    moved.chain(failed(&checked)).chain(remembered).collect()
}

/// One finding per registry, however many images could not be asked for.
fn failed(checked: &[Checked<'_>]) -> Vec<Finding> {
    let mut failures: BTreeMap<&str, String> = BTreeMap::new();
    for one in checked {
        if let Some(failure) = one.standing.failure() {
            failures.entry(&failure.registry).or_insert_with(|| failure.summary());
        }
    }
    let told = failures.into_iter();
    told.map(|(registry, words)| Finding::new(Reason::RecheckFailed, format!("registry {registry}"), words)).collect()
}

/// A tag that resolves to something else now.
pub(in crate::domain) fn finding(object: String, reference: &Reference, pinned: Digest, now: Digest) -> Finding {
    let (now, pinned) = (now.short(), pinned.short());
    Finding::new(Reason::TagMoved, object, format!("{reference} is {now} now, pinned is {pinned}"))
        .with_evidence(now, pinned)
}
