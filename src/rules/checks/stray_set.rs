//! Check for sets whose name no operator version looks up: a typo, another variant, or another tool's naming. They do no harm
//! while the exact set is stored; `blocking_set` reports the other case.

use std::collections::BTreeSet;

use crate::model::{Evidence, Finding, ObjectRef, Reason, Release, Variant};
use crate::rules::checks::blocking_set::stops_at;
use crate::rules::checks::input::CheckInput;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let Some(first) = input.checked_sets.first().filter(|_| !input.frozen) else { return Vec::new() };
    let variant = input.installation.variant;
    let catalogue = input.effective.catalogue();
    let is_stored = input.stored(&first.name).is_some();
    let is_unknown = |name: &str| !input.checked_sets.iter().any(|checked_set| checked_set.name.as_str() == name);
    // A set that blocks an operator now is reported by `blocking_set`.
    let is_harmless = |name: &str| is_stored || !stops_at(name, first.release(), variant);
    let candidates: Vec<&str> =
        input.sets().iter().map(|set| set.name.as_str()).filter(|name| is_unknown(name) && is_harmless(name)).collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let names = catalogue
        .versions()
        .filter_map(|(release, _, _)| Some(catalogue.get(&release)?.image_set_name(variant).ok()?.to_string()));
    let expected: BTreeSet<String> = names.collect();
    // A version that is newer than all known ones belongs to an operator that is not known either.
    let newest = expected.iter().filter_map(|name| version_in(name)).max();
    let may_be_next = |name: &str| version_in(name).is_some_and(|version| newest.is_none_or(|newest| version > newest));
    let stray = candidates
        .into_iter()
        .filter(|name| !expected.contains(*name) && !may_be_next(name) && !is_of_other_variant(input, name));
    let findings = stray.map(|name| {
        let message = format!(
            "no operator of variant {variant} looks for this name; operator {} uses {}",
            first.release(),
            first.name
        );
        Finding::new(Reason::StrayImageSet, ObjectRef::image_set(name), message)
            .with_evidence(Evidence::text(name, first.name.to_string()))
    });
    findings.collect()
}

/// Whether one of these operators looks up this name once the Installation says the other variant: the set is there for the switch.
fn is_of_other_variant(input: &CheckInput<'_>, name: &str) -> bool {
    let other = match input.installation.variant {
        Variant::Calico => Variant::Enterprise,
        Variant::Enterprise => Variant::Calico,
    };
    let mut sets = input.checked_sets.iter();
    sets.any(|set| set.images.image_set_name(other).is_ok_and(|looked_up| looked_up.as_str() == name))
}

/// Parses the version of a well-formed name such as `calico-v3.32.1`.
fn version_in(name: &str) -> Option<Release> {
    name.split_once('-')?.1.parse().ok()
}
