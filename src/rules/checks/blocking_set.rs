//! Check for sets that make an operator stop because its own set is missing: the running operator, or the target once it runs.

use crate::model::decision::{GoalState, Purpose};
use crate::model::finding::{Evidence, Finding};
use crate::model::listed::{NAMED, listed};
use crate::model::object_ref::ObjectRef;
use crate::model::reason::Reason;
use crate::model::release::{Release, Variant};
use crate::model::stored_image_set::StoredImageSet;
use crate::rules::checks::view::{CheckedSet, View};

/// Releases before this one stop at any ImageSet, whatever its name (operator facts: v1.30.4 does, v1.34.5 does not).
const ONLY_SAME_PREFIX_BLOCKS_FROM: Release = Release::new(1, 34, 0);

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let Some(first) = view.checked_sets.first().filter(|_| !view.frozen) else { return Vec::new() };
    let now = in_the_way(view, first).into_iter().map(|set| {
        let message =
            format!("operator {} stops reconciling: it wants {} and finds this one only", first.release(), first.name);
        Finding::new(Reason::BlockingImageSet, ObjectRef::image_set(&set.name), message)
            .with_evidence(Evidence::words(set.name.clone(), first.name.to_string()))
    });
    now.chain(will_block(view)).collect()
}

/// Returns a finding if the target operator would find sets, but not its own.
fn will_block(view: &View<'_>) -> Option<Finding> {
    let (first, target) =
        (view.checked_sets.first()?, view.checked_sets.iter().find(|look| look.purpose == Purpose::Target)?);
    let under_way = matches!(target.state, GoalState::Resolving | GoalState::Waiting | GoalState::Conflict);
    if first.purpose != Purpose::Running || under_way {
        return None;
    }
    let names: Vec<&str> = in_the_way(view, target).into_iter().map(|set| set.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let names = listed(&names, NAMED);
    let message = format!("operator {} is to run and will stop: it wants this set and finds {names}", target.release());
    Some(
        Finding::new(Reason::ImageSetWillBlock, target.object(), message)
            .with_evidence(Evidence::words(names, target.name.to_string())),
    )
}

fn in_the_way<'a>(view: &'a View<'_>, look: &CheckedSet) -> Vec<&'a StoredImageSet> {
    if view.stored(&look.name).is_some() {
        return Vec::new();
    }
    view.sets().iter().filter(|set| stops_at(&set.name, look.release(), view.installation.variant)).collect()
}

/// Whether an operator of this release stops at a set of this name if its own set is missing.
pub(super) fn stops_at(name: &str, release: Release, variant: Variant) -> bool {
    release < ONLY_SAME_PREFIX_BLOCKS_FROM || name.starts_with(variant.image_set_prefix())
}
