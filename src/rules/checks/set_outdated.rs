//! Check for managed sets that have the content of another operator version, registry or choice of images, and that are not
//! updated: because the policy is in mode Observe or suspended, or because something holds the new content.

use std::collections::BTreeMap;

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Digest, Evidence, Finding, GoalState, ImageName, Reason};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::image_set::stored_sets::{is_edited, parse_entries};

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    input
        .checked_sets
        .iter()
        .filter(|checked_set| checked_set.purpose.is_current())
        .filter_map(|checked_set| of_set(input, checked_set))
        .collect()
}

fn of_set(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Option<Finding> {
    let stored = input.stored(&checked_set.name).filter(|set| set.managed && !is_edited(set))?;
    let origin = stored.origin.as_ref()?;
    // The check for the FIPS mode reports that case.
    let fips = crate::rules::checks::fips::made_for_other(input, checked_set).is_some();
    if fips || !matches!(checked_set.state, GoalState::Ready | GoalState::Held) {
        return None;
    }
    let have = format!("{} images for operator {}", stored.images.len(), origin.operator);
    let want = format!("{} images for operator {}", checked_set.content.len(), checked_set.release());
    let entries = parse_entries(stored)?;
    let message = if origin.operator != checked_set.release() {
        format!(
            "it holds the content of operator {}; operator {} wants its own",
            origin.operator,
            checked_set.release()
        )
    } else if origin.record != checked_set.key.name() {
        "it was made from another registry, imagePath or imagePrefix than the Installation names now".to_owned()
    } else if checked_set.content.is_empty() || checked_set.content == entries {
        return None;
    } else {
        format!("other entries are wanted: {}", list_first(&differing(&entries, &checked_set.content), MOST_NAMED))
    };
    let finding = Finding::new(Reason::ImageSetOutdated, checked_set.object(), message);
    Some(if checked_set.content.is_empty() { finding } else { finding.with_evidence(Evidence::text(have, want)) })
}

/// Returns the names that are in one of them only, or with another digest, in the form of a diff.
fn differing(have: &BTreeMap<ImageName, Digest>, want: &BTreeMap<ImageName, Digest>) -> Vec<String> {
    let gone = have.keys().filter(|name| !want.contains_key(*name)).map(|name| format!("-{name}"));
    let new = want.keys().filter(|name| !have.contains_key(*name)).map(|name| format!("+{name}"));
    let other = want.iter().filter_map(|(name, digest)| {
        let had = have.get(name).filter(|had| *had != digest)?;
        Some(format!("{name} {} → {}", had.short(), digest.short()))
    });
    gone.chain(new).chain(other).collect()
}
