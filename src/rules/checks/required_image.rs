//! Check for images that a stored set lacks: those that the operator requires now, and those that a feature would require.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::required::condition::RuleCondition;
use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Evidence, Finding, GoalState, ImageName, Reason, Variant};
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
        for_which_features(checked_set, input.installation.variant, &missing)
    );
    Some(
        Finding::new(Reason::RequiredImageMissing, checked_set.object(), message)
            .with_evidence(Evidence::text("no entry", names)),
    )
}

fn for_which_features(checked_set: &CheckedSet, variant: Variant, missing: &[&ImageName]) -> String {
    let conditions = missing.iter().filter_map(|name| checked_set.images.required_for(variant, name));
    let labels: BTreeSet<&str> = conditions.map(RuleCondition::label).collect();
    let labels: Vec<&str> = labels.into_iter().collect();
    if labels.is_empty() { String::new() } else { format!(" for {}", labels.join(" and ")) }
}

/// Returns a finding about images that the stored set leaves out and that a feature would require.
fn for_features(input: &CheckInput<'_>, checked_set: &CheckedSet) -> Option<Finding> {
    let features = input.snapshot.cluster_features()?;
    let (variant, images) = (input.installation.variant, &checked_set.images);
    // A name of the other list is added when its condition holds.
    let listed = images.set_images(variant, input.installation.fips);
    let is_left_out = |name: &ImageName| listed.contains_key(name) && !checked_set.content.contains_key(name);
    let mut missing: BTreeMap<&str, BTreeSet<ImageName>> = BTreeMap::new();
    for (condition, names) in images.required_with_more(variant, &features) {
        let names = names.into_iter().filter(is_left_out);
        let names: BTreeSet<ImageName> = names.collect();
        if !names.is_empty() {
            missing.entry(condition.label()).or_default().extend(names);
        }
    }
    let needs = |(label, names): (&str, BTreeSet<ImageName>)| {
        format!("{}, required for {label}", list_first(&names.into_iter().collect::<Vec<_>>(), MOST_NAMED))
    };
    let missing: Vec<String> = missing.into_iter().map(needs).collect();
    if missing.is_empty() {
        return None;
    }
    Some(Finding::new(Reason::FeatureImageMissing, checked_set.object(), format!("not listed: {}", missing.join("; "))))
}
