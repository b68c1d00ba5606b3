//! Check for FIPS clusters that are pinned to the normal images, and the reverse: the operator reports nothing, and silently runs
//! the wrong images (facts). The check compares what a set was made for, and what the tags of both modes resolve to.

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Digest, Evidence, Finding, InstallationSettings, Reason, Reference};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::checks::recheck::{checked_images, previous_findings};
use crate::rules::pin_state::PinState;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    input
        .checked_sets
        .iter()
        .filter(|checked_set| checked_set.purpose.is_current())
        .flat_map(|checked_set| of_set(input, checked_set))
        .collect()
}

fn of_set(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Vec<Finding> {
    let made_for_other = made_for_other(input, checked_set).into_iter();
    made_for_other
        .chain(pinned_for_other(input, checked_set))
        .chain(previous_findings(input, checked_set, &[Reason::FipsMismatch]))
        .collect()
}

/// Returns a finding if the managed set of this name was made while `fipsMode` had the other value.
pub(super) fn made_for_other(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Option<Finding> {
    let origin = input.stored(&checked_set.name).filter(|set| set.managed)?.origin.as_ref()?;
    let other = InstallationSettings { fips: !input.installation.fips, ..input.installation.clone() };
    let differ =
        checked_set.images.set_images(other.variant, true) != checked_set.images.set_images(other.variant, false);
    if !differ || !input.effective.record_names(origin.operator, &other).contains(&origin.record) {
        return None;
    }
    Some(finding(input, checked_set, "it was made for the other mode", &[]))
}

/// Returns a finding if pinned digests are those that the tags of the other mode resolve to.
fn pinned_for_other(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Option<Finding> {
    let checked = checked_images(input, checked_set);
    let other = checked.iter().filter(|one| matches!(one.state, PinState::OtherFipsMode { .. }));
    let (references, digests): (Vec<&Reference>, Vec<Digest>) = other.map(|one| (one.reference, one.pinned)).unzip();
    if references.is_empty() {
        return None;
    }
    Some(finding(input, checked_set, &format!("it does not pin {}", list_first(&references, MOST_NAMED)), &digests))
}

fn finding(input: &CheckInput<'_>, checked_set: &CheckedSet, message: &str, digests: &[Digest]) -> Finding {
    let images = |fips: bool| if fips { "FIPS images" } else { "normal images" };
    let fips = input.installation.fips;
    let mode = if fips { "Enabled" } else { "Disabled" };
    let message = format!("fipsMode is {mode} and the set pins the {}: {message}", images(!fips));
    Finding::new(Reason::FipsMismatch, checked_set.object(), message).with_evidence(Evidence::fips_mode(fips, digests))
}
