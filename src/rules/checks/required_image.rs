//! Check for images that a stored set lacks: those that the operator requires now, and those that a feature would require.

use std::collections::BTreeSet;

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Evidence, Feature, Finding, GoalState, ImageName, Reason, Variant};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::image_set::stored_sets::{is_edited, parse_entries};

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let now = input
        .checked_sets
        .iter()
        .filter(|checked_set| checked_set.purpose.is_current())
        .filter_map(|checked_set| missing_now(input, checked_set));
    now.chain(input.target().and_then(|checked_set| for_features(input, checked_set))).collect()
}

/// Returns a finding if the operator rejects the managed set, or will, because a new object requires further images. Other checks
/// report sets that were edited or made for another version.
fn missing_now(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Option<Finding> {
    let stored = input.stored(&checked_set.name).filter(|set| set.managed && !is_edited(set))?;
    let made_for_it = stored.origin.as_ref().is_some_and(|origin| origin.operator == checked_set.release());
    if !made_for_it
        || !matches!(checked_set.state, GoalState::Held | GoalState::Ready)
        || input.snapshot.features.known().is_none()
    {
        return None;
    }
    let entries = parse_entries(stored)?;
    let missing: Vec<&ImageName> =
        checked_set.required_now.iter().filter(|name| !entries.contains_key(*name)).collect();
    if missing.is_empty() {
        return None;
    }
    let names = list_first(&missing, MOST_NAMED);
    let message = format!(
        "operator {} insists on {names}{}, and it is not listed",
        checked_set.release(),
        for_which_features(&missing)
    );
    Some(
        Finding::new(Reason::RequiredImageMissing, checked_set.object(), message)
            .with_evidence(Evidence::text("no entry", names)),
    )
}

fn for_which_features(missing: &[&ImageName]) -> String {
    let requires = |feature: &Feature| missing.iter().any(|name| feature.images().contains(&name.as_str()));
    let features: Vec<&str> =
        Feature::ALL.iter().filter(|feature| requires(feature)).map(|feature| feature.label()).collect();
    if features.is_empty() { String::new() } else { format!(" for {}", features.join(" and ")) }
}

/// Returns a finding about images that the stored set leaves out and that a feature would require.
fn for_features(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Option<Finding> {
    let enabled = input.snapshot.features.known()?;
    let variant = input.installation.variant;
    if variant != Variant::Calico {
        return None;
    }
    let needs = |feature: &Feature| {
        let required = checked_set.images.requires(variant, &BTreeSet::from([*feature]));
        let missing: Vec<ImageName> = required
            .into_iter()
            .filter(|name| feature.images().contains(&name.as_str()) && !checked_set.content.contains_key(name))
            .collect();
        (!missing.is_empty()).then(|| format!("{} needs {}", feature.label(), list_first(&missing, MOST_NAMED)))
    };
    let missing: Vec<String> =
        Feature::ALL.iter().filter(|feature| !enabled.contains(feature)).filter_map(needs).collect();
    if missing.is_empty() {
        return None;
    }
    Some(Finding::new(Reason::FeatureImageMissing, checked_set.object(), format!("not listed: {}", missing.join("; "))))
}
