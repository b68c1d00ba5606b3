//! Verification of the entries of an ImageSet: whether they are valid for an operator build, and whether they match the registry.
//! The verb `verify` reports it for a file or a cluster; the caller does the lookups.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::names;
use crate::model::{
    Content, Coverage, Digest, ImageName, OperatorImages, Platform, Reason, Reference, RegistryFailure, ResolvedImage,
    StoredImage,
};
use crate::rules::explain::operator_messages::MisspeltName;
use crate::rules::image_set::entries::{self, EntryFault, FaultyEntry};
use crate::rules::image_set::tag_moved;
use crate::rules::pin_state::{PinState, Served};

/// An entry, or a set, that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Reason from the closed list.
    pub reason: Reason,
    /// Position of the entry; `None` if one is missing, or if the whole set is meant.
    pub entry: Option<usize>,
    /// Name of the image, if one is meant.
    pub image: Option<String>,
    /// Message for people.
    pub message: String,
    /// What a person can do.
    pub next_step: &'static str,
    /// Whether it is known to be wrong; `false` if it could not be determined.
    pub known: bool,
}

impl Mismatch {
    fn new(reason: Reason, entry: Option<usize>, image: &str, message: impl Into<String>) -> Self {
        let image = (!image.is_empty()).then(|| image.to_owned());
        Self { reason, entry, image, message: message.into(), next_step: reason.next_step(), known: true }
    }
}

/// Checks names, form and completeness of the entries, without a registry. The second value holds the entries to compare with the
/// registry: position and digest by name.
#[must_use]
pub fn check_entries(
    entries: &[StoredImage],
    images: &OperatorImages,
    required: &BTreeSet<ImageName>,
) -> (Vec<Mismatch>, BTreeMap<ImageName, (usize, Digest)>) {
    let (faulty, pinned) = entries::check_entries(entries, images, required);
    let operator = images.release();
    let mismatch = |faulty: FaultyEntry<'_>| {
        let (reason, message) = match faulty.fault {
            EntryFault::UnknownName => {
                let write = right_name(faulty.name, images).map(|name| format!(": write {name}")).unwrap_or_default();
                let message = format!("operator {operator} does not know this name and refuses the whole set{write}");
                (Reason::UnexpectedImages, message)
            }
            EntryFault::ListedTwice => {
                (Reason::ForeignImageSetInvalid, "it is listed twice; the operator takes the first".to_owned())
            }
            EntryFault::MalformedDigest => (Reason::DigestsMalformed, describe_digest(faulty.digest)),
            EntryFault::NotListed => {
                (Reason::ImagesNotListed, format!("operator {operator} insists on it, and it is not listed"))
            }
        };
        Mismatch::new(reason, faulty.position, faulty.name, message)
    };
    (faulty.into_iter().map(mismatch).collect(), pinned)
}

/// Returns the name to write in the place of one that the operator does not know.
fn right_name(written: &str, images: &OperatorImages) -> Option<ImageName> {
    let known = |name: &ImageName| images.accepts(name);
    let misspelt = MisspeltName::of(written).name.filter(known);
    misspelt.or_else(|| names::suggest(written).filter(|name| known(name)).cloned())
}

/// Returns what is wrong with a text in the place of a digest.
fn describe_digest(text: &str) -> String {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text {
        "" => "it has no digest".to_owned(),
        _ if text.contains('@') => format!("{text:?} is a reference: write only what follows @"),
        _ if is_hexadecimal(digits) && digits.len() == 64 && digits == text => {
            format!("{text:?} is not a digest of the form sha256:<64 digits>: write sha256: in front")
        }
        _ if is_hexadecimal(digits) && digits.len() == 64 => {
            format!("{text:?} is not a digest: write it in lower case")
        }
        _ if is_hexadecimal(digits) && text.starts_with("sha256:") => {
            format!("{text:?} is shortened: it has {} of 64 digits", digits.len())
        }
        _ => format!("{text:?} is not a digest of the form sha256:<64 lower-case hexadecimal digits>"),
    }
}

/// An entry and the state of its image in the registry.
#[derive(Debug, Clone)]
pub struct ComparedEntry<'a> {
    /// Name of the entry.
    pub name: &'a ImageName,
    /// Position of the entry.
    pub entry: usize,
    /// Pinned digest.
    pub pinned: Digest,
    /// Reference by which nodes would pull the image by tag.
    pub reference: &'a Reference,
    /// State of the image.
    pub state: PinState<'a>,
}

/// Returns in what an entry differs from the registry, which must have these platforms; `None` before all lookups are made.
#[must_use]
pub fn compare_with_registry(compared: &ComparedEntry<'_>, platforms: &BTreeSet<Platform>) -> Option<Mismatch> {
    let ComparedEntry { name, entry, pinned, reference, ref state } = *compared;
    let mismatch = |reason, message: String| Some(Mismatch::new(reason, Some(entry), name.as_str(), message));
    let served = match *state {
        PinState::NeedsLookup(_) | PinState::Pending => return None,
        PinState::Failed(failure)
        | PinState::Moved { served: Served::Unknown(failure), .. }
        | PinState::Gone { served: Served::Unknown(failure) } => {
            let unknown = Mismatch::new(Reason::from(failure), Some(entry), name.as_str(), failure.summary());
            return Some(Mismatch { known: false, ..unknown });
        }
        PinState::OtherFipsMode { now } => {
            let message =
                format!("the digest pinned is that of the other FIPS mode; {reference} is {}", now.digest.short());
            return mismatch(Reason::FipsMismatch, message);
        }
        PinState::Moved { now, served: Served::Yes(_) } => {
            return mismatch(Reason::TagMoved, tag_moved::message(reference, pinned, now.digest));
        }
        PinState::Moved { now, served: Served::No } => {
            return mismatch(Reason::DigestGone, not_the_same(reference, now, pinned));
        }
        PinState::Gone { served: Served::No } => {
            let message = format!("the registry has neither {reference} nor {}", pinned.short());
            return mismatch(Reason::DigestGone, message);
        }
        // Nodes pull by digest: a tag that is gone does not matter.
        PinState::Same(image) | PinState::Gone { served: Served::Yes(image) } => image,
    };
    let lacks = served.describe_gaps(reference, &served.uncovered(name, platforms));
    if lacks.is_empty() { None } else { mismatch(Reason::PlatformMissing, lacks.join("; ")) }
}

/// Checks whether the registry has the operator's own image for all platforms. No set lists this image, so it has no digest to
/// compare.
#[must_use]
pub fn check_operator_image(
    reference: &Reference,
    result: &Result<ResolvedImage, RegistryFailure>,
    platforms: &BTreeSet<Platform>,
) -> Option<Mismatch> {
    let mismatch = |reason, message| Some(Mismatch::new(reason, None, "", message));
    let image = match result {
        Ok(image) => image,
        Err(failure) => {
            let mut one = Mismatch::new(Reason::from(failure), None, "", failure.summary());
            one.known = failure.is_missing();
            return Some(one);
        }
    };
    if let Content::Manifest { platform } = &image.content {
        return mismatch(Reason::PlatformMissing, format!("{reference}{}", one_platform(platform)));
    }
    let uncovered: Vec<&Platform> = platforms
        .iter()
        .filter(|node| !node.is_windows())
        .filter(|node| matches!(image.coverage(node), Coverage::None | Coverage::Absent))
        .collect();
    let lacks = image.describe_gaps(reference, &uncovered);
    if lacks.is_empty() { None } else { mismatch(Reason::PlatformMissing, lacks.join("; ")) }
}

/// Returns a message about a copy of one platform, with the usual causes.
fn one_platform(platform: &Platform) -> String {
    format!(
        "; it holds {platform} only, as docker pull, tag and push, crane copy --platform and skopeo copy without --all leave it: \
         copy the whole index (crane copy, skopeo copy --all, oras copy)"
    )
}

/// Returns a message about a registry that lacks the pinned digest and has another image under the tag, with the usual causes.
fn not_the_same(reference: &Reference, image: &ResolvedImage, pinned: Digest) -> String {
    let why = match &image.content {
        Content::Manifest { platform } => one_platform(platform),
        Content::Index { .. } => String::new(),
    };
    format!("the registry does not have {}; {reference} is {} there{why}", pinned.short(), image.digest.short())
}
