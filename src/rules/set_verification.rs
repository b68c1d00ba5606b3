//! Verification of the entries of an ImageSet: whether they are valid for an operator build, and whether they match the registry.
//! The verb `verify` reports it for a file or a cluster; the caller does the lookups.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Content, Coverage, Digest, ImageName, OperatorImages, Platform, Reason, Reference, RegistryFailure,
    RegistryFailureKind, ResolvedImage, StoredImage,
};

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
    let mut wrong = Vec::new();
    let mut pinned: BTreeMap<ImageName, (usize, Digest)> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for (position, entry) in entries.iter().enumerate() {
        let at = Some(position);
        let parsed: Result<ImageName, _> = entry.image.parse();
        let Some(name) = parsed.ok().filter(|name| images.accepts(name)) else {
            let message = format!("operator {} does not know this name and refuses the whole set", images.release());
            wrong.push(Mismatch::new(Reason::UnexpectedImages, at, &entry.image, message));
            continue;
        };
        if !named.insert(name.clone()) {
            let message = "it is listed twice; the operator takes the first".to_owned();
            wrong.push(Mismatch::new(Reason::ForeignImageSetInvalid, at, &entry.image, message));
            continue;
        }
        match entry.digest.parse() {
            Ok(digest) => {
                pinned.insert(name, (position, digest));
            }
            Err(_) => {
                let message =
                    format!("{:?} is no digest of the form sha256:<64 lower-case hexadecimal digits>", entry.digest);
                wrong.push(Mismatch::new(Reason::DigestsMalformed, at, &entry.image, message));
            }
        }
    }
    for name in required.iter().filter(|name| !named.contains(*name)) {
        let message = format!("operator {} insists on it, and it is not listed", images.release());
        wrong.push(Mismatch::new(Reason::ImagesNotListed, None, name.as_str(), message));
    }
    (wrong, pinned)
}

/// The lookup results about one pinned image.
#[derive(Debug, Clone)]
pub struct PinLookup<'a> {
    /// Name of the entry.
    pub name: &'a ImageName,
    /// Position of the entry.
    pub entry: usize,
    /// Pinned digest.
    pub pinned: Digest,
    /// Reference by which nodes would pull the image by tag.
    pub reference: &'a Reference,
    /// Result for that tag.
    pub by_tag: &'a Result<ResolvedImage, RegistryFailure>,
    /// Result for the pinned digest; looked up if the tag resolves to another digest.
    pub by_digest: Option<&'a Result<ResolvedImage, RegistryFailure>>,
    /// Result for the tag of the other FIPS mode, if it exists and the tag resolves to another digest.
    pub other_mode: Option<&'a Result<ResolvedImage, RegistryFailure>>,
}

/// Compares a pinned digest with the registry.
#[must_use]
pub fn compare_with_registry(lookup: &PinLookup<'_>, platforms: &BTreeSet<Platform>) -> Option<Mismatch> {
    let PinLookup { name, pinned, reference, .. } = lookup;
    let mismatch = |reason, message: String| Some(Mismatch::new(reason, Some(lookup.entry), name.as_str(), message));
    let unknown = |failure: &RegistryFailure| {
        let mut one = Mismatch::new(Reason::from(failure.kind), Some(lookup.entry), name.as_str(), failure.summary());
        one.known = false;
        Some(one)
    };
    let is_gone = |failure: &RegistryFailure| failure.kind == RegistryFailureKind::NotFound;
    let served = match (lookup.by_tag, lookup.by_digest) {
        (Ok(image), _) if image.digest == *pinned => image,
        (Ok(image), Some(Err(gone))) if is_gone(gone) => {
            return mismatch(Reason::DigestGone, not_the_same(reference, image, *pinned));
        }
        (Err(failure), Some(Err(gone))) if is_gone(failure) && is_gone(gone) => {
            let message = format!("the registry has neither {reference} nor {}", pinned.short());
            return mismatch(Reason::DigestGone, message);
        }
        // The tag is gone, and the pinned digest is still served: nodes pull by digest.
        (Err(failure), Some(Ok(image))) if is_gone(failure) => image,
        (_, Some(Err(failure))) | (Err(failure), _) => return unknown(failure),
        (Ok(image), Some(Ok(_)) | None) => {
            let twins = lookup
                .other_mode
                .is_some_and(|other_mode| other_mode.as_ref().is_ok_and(|other_mode| other_mode.digest == *pinned));
            if twins {
                let message = format!(
                    "the digest pinned is that of the other FIPS mode; {reference} is {}",
                    image.digest.short()
                );
                return mismatch(Reason::FipsMismatch, message);
            }
            let message = format!("{reference} is {} now, pinned is {}", image.digest.short(), pinned.short());
            return mismatch(Reason::TagMoved, message);
        }
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
            let mut one = Mismatch::new(Reason::from(failure.kind), None, "", failure.summary());
            one.known = failure.kind == RegistryFailureKind::NotFound;
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
