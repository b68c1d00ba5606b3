//! Check for images that a set leaves out because nothing in the cluster is known to need them, and that the operator requires all
//! the same. What is known of the release is then wrong for this cluster; the controller cannot solve it, because an image is only
//! left out where the policy excludes it or the registry lacks it.

use std::collections::BTreeSet;

use crate::catalogue::required::condition::RuleCondition;
use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Evidence, Finding, GoalState, ImageName, Reason};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::explain::operator_messages::OperatorMessage;
use crate::rules::image_set::stored_sets::is_edited;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let missed = missed(input);
    let Some(checked_set) = used(input).filter(|_| !missed.is_empty()) else { return Vec::new() };
    let images = &checked_set.images;
    let conditions = missed.iter().filter_map(|name| images.required_for(input.installation.variant, name));
    let labels: BTreeSet<&str> = conditions.map(RuleCondition::label).collect();
    let known = match labels.is_empty() {
        true => "nothing that is known of this version needs it".to_owned(),
        false => format!("it is only known to need it for {}", labels.into_iter().collect::<Vec<_>>().join(", ")),
    };
    let names = list_first(&missed.into_iter().collect::<Vec<_>>(), MOST_NAMED);
    let message = format!("operator {} requires {names}, which was left out: {known}", checked_set.release());
    let finding = Finding::new(Reason::OmittedImageRequired, checked_set.object(), message);
    vec![finding.with_evidence(Evidence::text("no entry", names))]
}

/// Returns the names that the operator misses in its set, and that were left out of it.
pub(super) fn missed(input: &CheckInput<'_>) -> BTreeSet<ImageName> {
    let Some(checked_set) = used(input) else { return BTreeSet::new() };
    let listed = checked_set.images.set_images(input.installation.variant, input.installation.fips);
    let statuses = input.snapshot.component_statuses.known().into_iter().flatten();
    let missing = statuses.filter_map(|status| status.degraded.as_ref()).flat_map(|degraded| {
        let message = OperatorMessage::of(&degraded.reason, &degraded.message);
        message.missing.into_iter()
    });
    missing.filter(|name| listed.contains_key(name) && !checked_set.content.contains_key(name)).collect()
}

/// Returns the set that the running operator looks up, if it is stored with the content that is right by all that is known.
fn used<'a>(input: &'a CheckInput<'_>) -> Option<&'a CheckedSet> {
    let first = input.checked_sets.iter().find(|checked_set| checked_set.purpose.is_current())?;
    let is_complete = first.state == GoalState::Stored && input.snapshot.features.known().is_some();
    let is_managed = input.stored(&first.name).is_some_and(|set| set.managed && !is_edited(set));
    (is_complete && is_managed).then_some(first)
}
