//! Comparison of pinned digests with the registry: the results that the checks of this folder share, and the lookups for them. A
//! tag that moved or is gone proves nothing about the pinned digest, so the digest is then looked up as well.

use std::collections::BTreeSet;

use crate::model::digest::{Digest, ShortDigest};
use crate::model::finding::{Evidence, Finding};
use crate::model::image_name::ImageName;
use crate::model::listed::{NAMED, listed};
use crate::model::lookups::Answer;
use crate::model::reason::Reason;
use crate::model::reference::Reference;
use crate::model::registry_failure::RegistryFailure;
use crate::model::settings::TagMoved;
use crate::rules::checks::view::{CheckedSet, View};

/// Returns the reference that the other FIPS mode pulls this image by, if that is a different one.
pub(super) fn counterpart(view: &View<'_>, look: &CheckedSet, name: &ImageName) -> Option<Reference> {
    let own = look.references.get(name).filter(|own| own.digest().is_none())?;
    let other = look.images.set_images(view.installation.variant, !view.installation.fips).remove(name)?;
    let other = view.installation.layout.place(&other).ok()?;
    (other != *own).then_some(other)
}

/// The state of one pinned image in the registry.
pub(super) enum Standing<'a> {
    /// The tag resolves to the pinned digest.
    Same,
    /// The tag resolves to another digest.
    Moved { now: Digest, served: Served<'a> },
    /// The registry does not have the tag, or the digest of a reference without one.
    Gone { served: Served<'a> },
    /// The pinned digest is that of the other FIPS mode.
    OtherFipsMode,
    /// The lookup failed.
    Failed(&'a RegistryFailure),
    /// This reference has to be looked up first.
    Unasked(Reference),
    /// The lookup is still pending.
    Pending,
}

/// Whether the registry serves a pinned digest that its tag no longer names.
#[derive(Clone, Copy)]
pub(super) enum Served<'a> {
    Yes,
    No,
    /// The lookup of the digest failed.
    Unknown(&'a RegistryFailure),
}

impl<'a> Standing<'a> {
    /// Returns the failure that leaves the state unknown.
    pub fn failure(&self) -> Option<&'a RegistryFailure> {
        match self {
            Self::Failed(failure)
            | Self::Moved { served: Served::Unknown(failure), .. }
            | Self::Gone { served: Served::Unknown(failure) } => Some(failure),
            _ => None,
        }
    }
}

/// A pinned image of a set, with its state in the registry.
pub(super) struct Checked<'a> {
    pub reference: &'a Reference,
    pub pinned: Digest,
    pub standing: Standing<'a>,
}

/// Returns every pinned image of this set, if a check is due.
pub(super) fn checked<'a>(view: &'a View<'_>, look: &'a CheckedSet) -> Vec<Checked<'a>> {
    if !view.snapshot.recheck_due || !look.comparable {
        return Vec::new();
    }
    let pinned = look.content.iter().filter_map(|(name, digest)| Some((name, *digest, look.references.get(name)?)));
    let checked = pinned.map(|(name, pinned, reference)| {
        let standing = standing(view, look, name, reference, pinned);
        Checked { reference, pinned, standing }
    });
    checked.collect()
}

fn standing<'a>(
    view: &'a View<'_>,
    look: &CheckedSet,
    name: &ImageName,
    reference: &Reference,
    pinned: Digest,
) -> Standing<'a> {
    let answers = &view.snapshot.answers.images;
    let by_tag = match answers.get(reference) {
        None => return Standing::Unasked(reference.clone()),
        Some(Answer::Pending) => return Standing::Pending,
        Some(Answer::Known(image)) if image.digest == pinned => return Standing::Same,
        Some(Answer::Known(image)) => Some(image.digest),
        Some(Answer::Failed(failure)) if is_missing(failure) => None,
        Some(Answer::Failed(failure)) => return Standing::Failed(failure),
    };
    if let (Some(_), Some(other)) = (by_tag, counterpart(view, look, name)) {
        match answers.get(&other) {
            None => return Standing::Unasked(other),
            Some(Answer::Pending) => return Standing::Pending,
            Some(Answer::Known(image)) if image.digest == pinned => return Standing::OtherFipsMode,
            // Any other result shows that the pinned digest is not of the other mode.
            Some(Answer::Known(_) | Answer::Failed(_)) => {}
        }
    }
    let told = |served: Served<'a>| match by_tag {
        Some(now) => Standing::Moved { now, served },
        None => Standing::Gone { served },
    };
    if reference.digest() == Some(&pinned) {
        return told(Served::No);
    }
    let by_digest = reference.with_digest(pinned);
    match answers.get(&by_digest) {
        None => Standing::Unasked(by_digest),
        Some(Answer::Pending) => Standing::Pending,
        Some(Answer::Known(_)) => told(Served::Yes),
        Some(Answer::Failed(failure)) if is_missing(failure) => told(Served::No),
        Some(Answer::Failed(failure)) => told(Served::Unknown(failure)),
    }
}

fn is_missing(failure: &RegistryFailure) -> bool {
    Reason::from(failure.kind) == Reason::ImageMissing
}

/// Returns all references to look up.
pub(super) fn questions(view: &View<'_>) -> BTreeSet<Reference> {
    let checked = view.checked_sets.iter().flat_map(|look| checked(view, look));
    let unasked = checked.filter_map(|one| match one.standing {
        Standing::Unasked(reference) => Some(reference),
        _ => None,
    });
    unasked.collect()
}

/// Whether every lookup has a result.
pub(super) fn compared(view: &View<'_>, look: &CheckedSet) -> bool {
    let unanswered = |one: &Checked<'_>| {
        matches!(one.standing, Standing::Unasked(_) | Standing::Pending) || one.standing.failure().is_some()
    };
    view.snapshot.recheck_due && look.comparable && !checked(view, look).iter().any(unanswered)
}

/// Returns one finding per set for all images in such a state, or the finding of the last check.
pub(super) fn gathered(
    view: &View<'_>,
    such: impl Fn(&Standing<'_>) -> bool,
    reason: Reason,
    what: &str,
) -> Vec<Finding> {
    let of_set = |look: &CheckedSet| {
        let checked = checked(view, look);
        let such: Vec<&Checked<'_>> = checked.iter().filter(|one| such(&one.standing)).collect();
        let references: Vec<&Reference> = such.iter().map(|one| one.reference).collect();
        let found = (!such.is_empty()).then(|| {
            let are = if references.len() == 1 { "is" } else { "are" };
            Finding::new(reason, look.object(), format!("{} {are} {what}", listed(&references, NAMED)))
                .with_evidence(Evidence::gone(such.iter().map(|one| &one.pinned)))
        });
        found.into_iter().chain(remembered(view, look, &[reason])).collect::<Vec<_>>()
    };
    view.checked_sets.iter().copied().flat_map(of_set).collect()
}

/// Returns the findings of the last check about this set, as far as they are about the digests pinned now. They hold until the
/// next check.
pub(super) fn remembered(view: &View<'_>, look: &CheckedSet, reasons: &[Reason]) -> Vec<Finding> {
    if view.snapshot.recheck_due || !look.comparable {
        return Vec::new();
    }
    let pinned: BTreeSet<ShortDigest> = look.content.values().map(Digest::short).collect();
    let (object, settings) = (look.object(), &view.snapshot.settings);
    let still = |evidence: &Evidence| match evidence {
        Evidence::Digest { expected, .. } => settings.tag_moved == TagMoved::Hold && pinned.contains(expected),
        Evidence::Gone { expected } => expected.iter().any(|digest| pinned.contains(digest)),
        Evidence::FipsMode { expected, observed } => {
            *expected == view.installation.fips && observed.iter().any(|digest| pinned.contains(digest))
        }
        Evidence::Words { .. } => false,
    };
    let holds = |finding: &&Finding| {
        let of_set = || finding.subject == object && finding.evidence.as_ref().is_some_and(still);
        // A registry that could not be reached is not the matter of one set.
        reasons.contains(&finding.reason) && (finding.reason == Reason::RecheckFailed || of_set())
    };
    view.snapshot.remembered.findings.iter().filter(holds).cloned().collect()
}
