//! Check for managed sets that have the content of another operator version, registry or choice of images, and that are not
//! updated: because the policy is in mode Observe or suspended, or because something holds the new content.

use std::collections::BTreeMap;

use crate::model::decision::GoalState;
use crate::model::digest::Digest;
use crate::model::finding::{Evidence, Finding};
use crate::model::image_name::ImageName;
use crate::model::listed::{NAMED, listed};
use crate::model::reason::Reason;
use crate::rules::checks::view::{CheckedSet, View};
use crate::rules::image_set::stored_sets::{edited, parsed_entries};

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    view.checked_sets.iter().filter(|look| look.purpose.is_wanted_now()).filter_map(|look| of_set(view, look)).collect()
}

fn of_set(view: &View<'_>, look: &CheckedSet) -> Option<Finding> {
    let stored = view.stored(&look.name).filter(|set| set.ours && !edited(set))?;
    let origin = stored.origin.as_ref()?;
    // The check for the FIPS mode reports that case.
    let fips = crate::rules::checks::fips::made_for_other(view, look).is_some();
    if fips || !matches!(look.state, GoalState::Ready | GoalState::Held) {
        return None;
    }
    let have = format!("{} images for operator {}", stored.images.len(), origin.operator);
    let want = format!("{} images for operator {}", look.content.len(), look.release());
    let entries = parsed_entries(stored)?;
    let message = if origin.operator != look.release() {
        format!("it holds the content of operator {}; operator {} wants its own", origin.operator, look.release())
    } else if origin.record != look.key.name() {
        "it was made from another registry, imagePath or imagePrefix than the Installation names now".to_owned()
    } else if look.content.is_empty() || look.content == entries {
        return None;
    } else {
        format!("other entries are wanted: {}", listed(&differing(&entries, &look.content), NAMED))
    };
    let finding = Finding::new(Reason::ImageSetOutdated, look.object(), message);
    Some(if look.content.is_empty() { finding } else { finding.with_evidence(Evidence::words(have, want)) })
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
