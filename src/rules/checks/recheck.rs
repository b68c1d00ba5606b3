//! Comparison of the pinned digests of all required sets with the registry: the results that the checks of this folder share, and
//! the lookups for them.

use std::collections::BTreeSet;

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Digest, Evidence, Finding, ImageName, Reason, Reference, ShortDigest};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::pin_state::PinState;

/// Returns the reference that the other FIPS mode pulls this image by, if that is a different one.
pub(super) fn other_mode_reference(
    input: &CheckInput<'_>,
    checked_set: &CheckedSet,
    name: &ImageName,
) -> Option<Reference> {
    let own = checked_set.references.get(name).filter(|own| own.digest().is_none())?;
    let other = checked_set.images.reference_of(name, input.installation.variant, !input.installation.fips)?;
    let other = input.installation.layout.place(&other).ok()?;
    (other != *own).then_some(other)
}

/// A pinned image of a set, with its state in the registry.
pub(super) struct CheckedImage<'a> {
    pub reference: &'a Reference,
    pub pinned: Digest,
    pub state: PinState<'a>,
}

/// Returns every pinned image of this set, if a check is due.
pub(super) fn checked_images<'a>(input: &'a CheckInput<'_>, checked_set: &'a CheckedSet) -> Vec<CheckedImage<'a>> {
    if !input.snapshot.recheck_due || !checked_set.comparable {
        return Vec::new();
    }
    let pinned = checked_set
        .content
        .iter()
        .filter_map(|(name, digest)| Some((name, *digest, checked_set.references.get(name)?)));
    let checked = pinned.map(|(name, pinned, reference)| {
        let other_mode = || other_mode_reference(input, checked_set, name);
        let state = PinState::new(reference, pinned, other_mode, &input.snapshot.lookup_results.images);
        CheckedImage { reference, pinned, state }
    });
    checked.collect()
}

/// Returns all references to look up.
pub(super) fn lookups(input: &CheckInput<'_>) -> BTreeSet<Reference> {
    let checked = input.checked_sets.iter().flat_map(|checked_set| checked_images(input, checked_set));
    let needs_lookup = checked.filter_map(|one| match one.state {
        PinState::NeedsLookup(reference) => Some(reference),
        _ => None,
    });
    needs_lookup.collect()
}

/// Whether every lookup has a result.
pub(super) fn is_compared(input: &CheckInput<'_>, checked_set: &CheckedSet) -> bool {
    let is_unknown = |one: &CheckedImage<'_>| {
        matches!(one.state, PinState::NeedsLookup(_) | PinState::Pending) || one.state.failure().is_some()
    };
    input.snapshot.recheck_due && checked_set.comparable && !checked_images(input, checked_set).iter().any(is_unknown)
}

/// Returns one finding per set for all images in such a state, or the finding of the last check.
pub(super) fn findings_per_set(
    input: &CheckInput<'_>,
    such: impl Fn(&PinState<'_>) -> bool,
    reason: Reason,
    what: &str,
) -> Vec<Finding> {
    let of_set = |checked_set: &CheckedSet| {
        let checked = checked_images(input, checked_set);
        let such: Vec<&CheckedImage<'_>> = checked.iter().filter(|one| such(&one.state)).collect();
        let references: Vec<&Reference> = such.iter().map(|one| one.reference).collect();
        let found = (!such.is_empty()).then(|| {
            let are = if references.len() == 1 { "is" } else { "are" };
            Finding::new(reason, checked_set.object(), format!("{} {are} {what}", list_first(&references, MOST_NAMED)))
                .with_evidence(Evidence::gone(such.iter().map(|one| &one.pinned)))
        });
        found.into_iter().chain(previous_findings(input, checked_set, &[reason])).collect::<Vec<_>>()
    };
    input.checked_sets.iter().copied().flat_map(of_set).collect()
}

/// Returns the findings of the last check about this set, as far as they are about the digests pinned now. They hold until the
/// next check.
pub(super) fn previous_findings(input: &CheckInput<'_>, checked_set: &CheckedSet, reasons: &[Reason]) -> Vec<Finding> {
    if input.snapshot.recheck_due || !checked_set.comparable {
        return Vec::new();
    }
    let pinned: BTreeSet<ShortDigest> = checked_set.content.values().map(Digest::short).collect();
    let object = checked_set.object();
    let still = |evidence: &Evidence| match evidence {
        Evidence::Digest { expected, .. } => pinned.contains(expected),
        Evidence::Gone { expected } => expected.iter().any(|digest| pinned.contains(digest)),
        Evidence::FipsMode { expected, observed } => {
            *expected == input.installation.fips && observed.iter().any(|digest| pinned.contains(digest))
        }
        Evidence::Text { .. } => false,
    };
    let holds = |finding: &&Finding| {
        let of_set = || finding.subject == object && finding.evidence.as_ref().is_some_and(still);
        // A registry that could not be reached is not the matter of one set.
        reasons.contains(&finding.reason) && (finding.reason == Reason::RecheckFailed || of_set())
    };
    input.snapshot.remembered.findings.iter().filter(holds).cloned().collect()
}
