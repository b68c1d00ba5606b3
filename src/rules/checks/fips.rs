//! Check for FIPS clusters that are pinned to the normal images, and the reverse: the operator reports nothing, and silently runs
//! the wrong images (facts). The check compares what a set was made for, and what the tags of both modes resolve to.

use crate::model::digest::Digest;
use crate::model::finding::{Evidence, Finding};
use crate::model::listed::{NAMED, listed};
use crate::model::reason::Reason;
use crate::model::reference::Reference;
use crate::model::settings::InstallationSettings;
use crate::rules::checks::recheck::{Standing, checked, remembered};
use crate::rules::checks::view::{CheckedSet, View};

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    view.checked_sets.iter().filter(|look| look.purpose.is_wanted_now()).flat_map(|look| of_set(view, look)).collect()
}

fn of_set(view: &View<'_>, look: &CheckedSet) -> Vec<Finding> {
    let made_for_other = made_for_other(view, look).into_iter();
    made_for_other.chain(pinned_other(view, look)).chain(remembered(view, look, &[Reason::FipsMismatch])).collect()
}

/// Returns a finding if the managed set of this name was made while `fipsMode` had the other value.
pub(super) fn made_for_other(view: &View<'_>, look: &CheckedSet) -> Option<Finding> {
    let origin = view.stored(&look.name).filter(|set| set.ours)?.origin.as_ref()?;
    let other = InstallationSettings { fips: !view.installation.fips, ..view.installation.clone() };
    let differ = look.images.set_images(other.variant, true) != look.images.set_images(other.variant, false);
    if !differ || !view.builds.record_names(origin.operator, &other).contains(&origin.record) {
        return None;
    }
    Some(finding(view, look, "it was made for the other mode", &[]))
}

/// Returns a finding if pinned digests are those that the tags of the other mode resolve to.
fn pinned_other(view: &View<'_>, look: &CheckedSet) -> Option<Finding> {
    let checked = checked(view, look);
    let other = checked.iter().filter(|one| matches!(one.standing, Standing::OtherFipsMode));
    let (references, digests): (Vec<&Reference>, Vec<Digest>) = other.map(|one| (one.reference, one.pinned)).unzip();
    if references.is_empty() {
        return None;
    }
    Some(finding(view, look, &format!("it does not pin {}", listed(&references, NAMED)), &digests))
}

fn finding(view: &View<'_>, look: &CheckedSet, message: &str, digests: &[Digest]) -> Finding {
    let images = |fips: bool| if fips { "FIPS images" } else { "normal images" };
    let fips = view.installation.fips;
    let mode = if fips { "Enabled" } else { "Disabled" };
    let message = format!("fipsMode is {mode} and the set pins the {}: {message}", images(!fips));
    Finding::new(Reason::FipsMismatch, look.object(), message).with_evidence(Evidence::fips_mode(fips, digests))
}
