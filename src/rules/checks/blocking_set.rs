//! Check for sets that make an operator stop because its own set is missing: the running operator, or the target once it runs.

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Evidence, Finding, GoalState, ObjectRef, Purpose, Reason, Release, StoredImageSet, Variant};
use crate::rules::checks::input::{CheckInput, CheckedSet};

/// Releases before this one stop at any ImageSet, whatever its name (operator: `GetImageSet` in
/// `pkg/controller/utils/imageset/imageset.go`, which compares prefixes from v1.34.2 on).
const ONLY_SAME_PREFIX_BLOCKS_FROM: Release = Release::new(1, 34, 2);

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let Some(first) = input.checked_sets.first().filter(|_| !input.frozen) else { return Vec::new() };
    let now = blocking_sets(input, first).into_iter().map(|set| {
        let message =
            format!("operator {} stops reconciling: it wants {} and finds this one only", first.release(), first.name);
        Finding::new(Reason::BlockingImageSet, ObjectRef::image_set(&set.name), message)
            .with_evidence(Evidence::text(set.name.clone(), first.name.to_string()))
    });
    now.chain(will_block(input)).collect()
}

/// Returns a finding if the target operator would find sets, but not its own.
fn will_block(input: &CheckInput<'_>) -> Option<Finding> {
    let (first, target) = (
        input.checked_sets.first()?,
        input.checked_sets.iter().find(|checked_set| checked_set.purpose == Purpose::Target)?,
    );
    let under_way = matches!(target.state, GoalState::Resolving | GoalState::Waiting | GoalState::Conflict);
    if first.purpose != Purpose::Running || under_way {
        return None;
    }
    let names: Vec<&str> = blocking_sets(input, target).into_iter().map(|set| set.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let names = list_first(&names, MOST_NAMED);
    let message = format!("operator {} is to run and will stop: it wants this set and finds {names}", target.release());
    Some(
        Finding::new(Reason::ImageSetWillBlock, target.object(), message)
            .with_evidence(Evidence::text(names, target.name.to_string())),
    )
}

fn blocking_sets<'a>(input: &'a CheckInput<'_>, checked_set: &CheckedSet) -> Vec<&'a StoredImageSet> {
    if input.stored(&checked_set.name).is_some() {
        return Vec::new();
    }
    input.sets().iter().filter(|set| stops_at(&set.name, checked_set.release(), input.installation.variant)).collect()
}

/// Whether an operator of this release stops at a set of this name if its own set is missing.
pub(super) fn stops_at(name: &str, release: Release, variant: Variant) -> bool {
    release < ONLY_SAME_PREFIX_BLOCKS_FROM || name.starts_with(variant.image_set_prefix())
}
