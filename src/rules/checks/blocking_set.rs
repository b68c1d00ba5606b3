//! Check for sets that make an operator stop because its own set is missing: the running operator, or the target once it runs.

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Evidence, Finding, GoalState, ObjectRef, Purpose, Reason, Release, StoredImageSet, Variant};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::image_set::impossible::why_no_set;

/// Releases before this one stop at any ImageSet, whatever its name (operator: `GetImageSet` in
/// `pkg/controller/utils/imageset/imageset.go`, which compares prefixes from v1.34.2 on).
const ONLY_SAME_PREFIX_BLOCKS_FROM: Release = Release::new(1, 34, 2);

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    if input.frozen {
        return Vec::new();
    }
    let operators = [(&input.operator.running, false), (&input.operator.target, true)];
    let unusable = operators.into_iter().find_map(|(operator, ahead)| {
        let ahead = ahead && input.operator.running.is_some();
        unusable(input, operator.as_ref()?.release, ahead)
    });
    if let Some(findings) = unusable {
        return findings;
    }
    let Some(first) = input.checked_sets.first() else { return Vec::new() };
    let now = blocking_sets(input, first).into_iter().map(|set| {
        let message =
            format!("operator {} stops reconciling: it wants {} and finds this one only", first.release(), first.name);
        Finding::new(Reason::BlockingImageSet, ObjectRef::image_set(&set.name), message)
            .with_evidence(Evidence::text(set.name.clone(), first.name.to_string()))
    });
    now.chain(will_block(input)).collect()
}

/// Returns the findings about an operator that can use no set at all and stops at any that it finds; `None` for any other operator.
fn unusable(input: &CheckInput<'_>, release: Release, ahead: bool) -> Option<Vec<Finding>> {
    let variant = input.installation.variant;
    let images = input.effective.catalogue().get(&release)?;
    let why = match images.image_set_name(variant) {
        Err(marker) => marker.to_string(),
        Ok(_) => match why_no_set(input.snapshot, input.installation, &images)? {
            no_set if no_set.stops_at_sets() => no_set.why,
            // It stops with or without sets.
            _ => return Some(Vec::new()),
        },
    };
    let (reason, stops) = match ahead {
        false => (Reason::BlockingImageSet, "it stops at this set"),
        true => (Reason::ImageSetWillBlock, "it will stop at this set"),
    };
    let sets = input.sets().iter().filter(|set| stops_at(&set.name, release, variant));
    let finding =
        |set: &StoredImageSet| Finding::new(reason, ObjectRef::image_set(&set.name), format!("{why}: {stops}"));
    Some(sets.map(finding).collect())
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
