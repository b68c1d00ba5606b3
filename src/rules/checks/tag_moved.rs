//! Check for tags that resolve to another digest than the pinned one, and for registries that could not be compared with.

use std::collections::BTreeMap;

use crate::model::{Finding, Reason, Subject};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::checks::recheck::{CheckedImage, checked_images, previous_findings};
use crate::rules::image_set::tag_moved::finding;
use crate::rules::pin_state::PinState;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    input.checked_sets.iter().flat_map(|checked_set| of_set(input, checked_set)).collect()
}

fn of_set(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Vec<Finding> {
    let checked = checked_images(input, checked_set);
    let moved = checked.iter().filter_map(|one| match one.state {
        PinState::Moved { now, .. } => Some(finding(checked_set.object(), one.reference, one.pinned, now.digest)),
        _ => None,
    });
    let remembered = previous_findings(input, checked_set, &[Reason::TagMoved, Reason::RecheckFailed]);
    moved.chain(failed(&checked)).chain(remembered).collect()
}

/// Returns one finding per registry, however many lookups failed.
fn failed(checked: &[CheckedImage<'_>]) -> Vec<Finding> {
    let mut failures: BTreeMap<&str, String> = BTreeMap::new();
    for one in checked {
        if let Some(failure) = one.state.failure() {
            failures.entry(&failure.registry).or_insert_with(|| failure.summary());
        }
    }
    let findings = failures.into_iter();
    findings.map(|(registry, words)| Finding::new(Reason::RecheckFailed, Subject::registry(registry), words)).collect()
}
