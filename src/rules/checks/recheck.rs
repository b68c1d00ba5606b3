//! What registries say today of what is pinned: the answers that the checks of this folder share, and the questions for them.
//! A tag that has moved or gone says nothing of the pinned digest, so that is asked for then.

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

/// Where the other mode would pull this image from, where that is another place.
pub(super) fn counterpart(view: &View<'_>, look: &CheckedSet, name: &ImageName) -> Option<Reference> {
    let own = look.references.get(name).filter(|own| own.digest().is_none())?;
    let other = look.images.set_images(view.installation.variant, !view.installation.fips).remove(name)?;
    let other = view.installation.layout.place(&other).ok()?;
    (other != *own).then_some(other)
}

/// How one pinned image stands.
pub(super) enum Standing<'a> {
    /// Its tag is what is pinned.
    Same,
    /// Its tag is something else now.
    Moved { now: Digest, served: Served<'a> },
    /// Its tag, or the digest without one, is gone.
    Gone { served: Served<'a> },
    /// It is the image that the other FIPS mode pulls.
    OtherFipsMode,
    /// The registry could not be asked.
    Failed(&'a RegistryFailure),
    /// It is still to be asked.
    Unasked(Reference),
    /// It is being asked.
    Pending,
}

/// Whether a pinned digest is served, of which a tag says nothing any more.
#[derive(Clone, Copy)]
pub(super) enum Served<'a> {
    Yes,
    No,
    /// That could not be asked.
    Unknown(&'a RegistryFailure),
}

impl<'a> Standing<'a> {
    /// Why it is not known how it stands.
    pub fn failure(&self) -> Option<&'a RegistryFailure> {
        match self {
            Self::Failed(failure)
            | Self::Moved { served: Served::Unknown(failure), .. }
            | Self::Gone { served: Served::Unknown(failure) } => Some(failure),
            _ => None,
        }
    }
}

/// A pinned image of a comparable set, with how it stands.
pub(super) struct Checked<'a> {
    pub reference: &'a Reference,
    pub pinned: Digest,
    pub standing: Standing<'a>,
}

/// Every pinned image of this set, where a check is due.
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
            // Whatever it is, it is not that one.
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

/// Everything that is to be asked.
pub(super) fn questions(view: &View<'_>) -> BTreeSet<Reference> {
    let checked = view.checked_sets.iter().flat_map(|look| checked(view, look));
    let unasked = checked.filter_map(|one| match one.standing {
        Standing::Unasked(reference) => Some(reference),
        _ => None,
    });
    unasked.collect()
}

/// Whether all of it was answered.
pub(super) fn compared(view: &View<'_>, look: &CheckedSet) -> bool {
    let unanswered = |one: &Checked<'_>| {
        matches!(one.standing, Standing::Unasked(_) | Standing::Pending) || one.standing.failure().is_some()
    };
    view.snapshot.recheck_due && look.comparable && !checked(view, look).iter().any(unanswered)
}

/// One finding per set for all images that stand like this, or what the last check found.
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

/// What the last check found of this set, as far as it is about what is pinned now: it holds until the next check.
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
        // A registry that could not be asked is not of one set.
        reasons.contains(&finding.reason) && (finding.reason == Reason::RecheckFailed || of_set())
    };
    view.snapshot.remembered.findings.iter().filter(holds).cloned().collect()
}
