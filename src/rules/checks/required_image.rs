//! Check for images that a stored set lacks: those that the operator requires now, and those that a feature would require.

use std::collections::BTreeSet;

use crate::model::decision::GoalState;
use crate::model::feature::Feature;
use crate::model::finding::{Evidence, Finding};
use crate::model::image_name::ImageName;
use crate::model::listed::{NAMED, listed};
use crate::model::reason::Reason;
use crate::model::release::Variant;
use crate::rules::checks::view::{CheckedSet, View};
use crate::rules::image_set::stored_sets::{edited, parsed_entries};

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let now =
        view.checked_sets.iter().filter(|look| look.purpose.is_wanted_now()).filter_map(|look| missing_now(view, look));
    now.chain(view.target().and_then(|look| for_features(view, look))).collect()
}

/// Returns a finding if the operator rejects the managed set, or will, because a new object requires further images. Other checks
/// report sets that were edited or made for another version.
fn missing_now(view: &View<'_>, look: &CheckedSet) -> Option<Finding> {
    let stored = view.stored(&look.name).filter(|set| set.ours && !edited(set))?;
    let made_for_it = stored.origin.as_ref().is_some_and(|origin| origin.operator == look.release());
    if !made_for_it
        || !matches!(look.state, GoalState::Held | GoalState::Ready)
        || view.snapshot.features.known().is_none()
    {
        return None;
    }
    let entries = parsed_entries(stored)?;
    let missing: Vec<&ImageName> = look.required_now.iter().filter(|name| !entries.contains_key(*name)).collect();
    if missing.is_empty() {
        return None;
    }
    let names = listed(&missing, NAMED);
    let message =
        format!("operator {} insists on {names}{}, and it is not listed", look.release(), because_of(&missing));
    Some(
        Finding::new(Reason::RequiredImageMissing, look.object(), message)
            .with_evidence(Evidence::words("no entry", names)),
    )
}

fn because_of(missing: &[&ImageName]) -> String {
    let asks = |feature: &Feature| missing.iter().any(|name| feature.images().contains(&name.as_str()));
    let features: Vec<&str> =
        Feature::ALL.iter().filter(|feature| asks(feature)).map(|feature| feature.told()).collect();
    if features.is_empty() { String::new() } else { format!(" for {}", features.join(" and ")) }
}

/// Returns a finding about images that the stored set leaves out and that a feature would require.
fn for_features(view: &View<'_>, look: &CheckedSet) -> Option<Finding> {
    let enabled = view.snapshot.features.known()?;
    let variant = view.installation.variant;
    if variant != Variant::Calico {
        return None;
    }
    let needs = |feature: &Feature| {
        let required = look.images.requires(variant, &BTreeSet::from([*feature]));
        let missing: Vec<ImageName> = required
            .into_iter()
            .filter(|name| feature.images().contains(&name.as_str()) && !look.content.contains_key(name))
            .collect();
        (!missing.is_empty()).then(|| format!("{} needs {}", feature.told(), listed(&missing, NAMED)))
    };
    let told: Vec<String> =
        Feature::ALL.iter().filter(|feature| !enabled.contains(feature)).filter_map(needs).collect();
    if told.is_empty() {
        return None;
    }
    Some(Finding::new(Reason::FeatureImageMissing, look.object(), format!("not listed: {}", told.join("; "))))
}
