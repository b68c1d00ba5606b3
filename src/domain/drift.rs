//! What differs from what is pinned, or will: small checks, each of which looks at one thing and returns findings.

use std::collections::BTreeMap;

use super::answer::Answer;
use super::assemble::{NAMED, listed};
use super::finding::{Finding, Reason};
use super::settings::{InstallationSettings, TagMoved};
use super::snapshot::StoredImageSet;
use super::{Digest, ImageName, ImageSetName, Reference, Release, Snapshot, Variant};

/// Releases before this one stop at any ImageSet, whatever its name (operator facts: v1.30.4 does, v1.34.5 does not).
const ONLY_SAME_PREFIX_BLOCKS_FROM: Release = Release::new(1, 34, 0);

/// Tags that resolve to something else than what is pinned, and images that are gone, from the answers of a recheck.
pub(super) fn moved_tags(
    snapshot: &Snapshot,
    set: &str,
    references: &BTreeMap<ImageName, Reference>,
    pinned: &BTreeMap<ImageName, Digest>,
) -> Vec<Finding> {
    let object = format!("ImageSet {set}");
    let (mut moved, mut gone) = (Vec::new(), Vec::new());
    let mut failures: BTreeMap<String, String> = BTreeMap::new();
    for (name, digest) in pinned {
        let Some(reference) = references.get(name) else { continue };
        match snapshot.answers.images.get(reference) {
            Some(Answer::Known(image)) if image.digest != *digest && snapshot.settings.tag_moved == TagMoved::Hold => {
                moved.push(tag_moved(object.clone(), reference, *digest, image.digest));
            }
            Some(Answer::Failed(failure)) if Reason::from(failure.kind) == Reason::ImageMissing => {
                gone.push((reference, *digest));
            }
            Some(Answer::Failed(failure)) => {
                failures.entry(failure.registry.clone()).or_insert_with(|| failure.summary());
            }
            _ => {}
        }
    }
    let failed = failures
        .into_iter()
        .map(|(registry, words)| Finding::new(Reason::RecheckFailed, format!("registry {registry}"), words));
    image_gone(&object, &gone).into_iter().chain(moved).chain(failed).collect()
}

/// What the last check found of this set, as far as it is about what is pinned now.
pub(super) fn remembered(
    snapshot: &Snapshot,
    set: &str,
    references: &BTreeMap<ImageName, Reference>,
    pinned: &BTreeMap<ImageName, Digest>,
) -> Vec<Finding> {
    let object = format!("ImageSet {set}");
    let holds = |finding: &&Finding| {
        let about =
            pinned.iter().filter_map(|(name, digest)| Some((references.get(name)?.to_string(), digest.short())));
        let mut about = about.filter(|(reference, _)| finding.message.contains(reference));
        match finding.reason {
            Reason::TagMoved => {
                let still = snapshot.settings.tag_moved == TagMoved::Hold;
                still && finding.object == object && about.any(|(_, digest)| finding.message.contains(&digest))
            }
            Reason::DigestGone => finding.object == object && about.next().is_some(),
            Reason::RecheckFailed => about.next().is_some(),
            _ => false,
        }
    };
    snapshot.remembered.drift.iter().filter(holds).cloned().collect()
}

/// One finding, however many are gone.
fn image_gone(object: &str, gone: &[(&Reference, Digest)]) -> Option<Finding> {
    let message = match gone {
        [] => return None,
        [(reference, digest)] => format!("{reference} is no longer in the registry; pinned is {}", digest.short()),
        several => {
            let references: Vec<Reference> = several.iter().map(|(reference, _)| (*reference).clone()).collect();
            format!("{} are no longer in the registry, and pinned", listed(&references, NAMED))
        }
    };
    Some(Finding::new(Reason::DigestGone, object, message))
}

/// A tag that resolves to something else now.
pub(super) fn tag_moved(object: String, reference: &Reference, pinned: Digest, now: Digest) -> Finding {
    Finding::new(Reason::TagMoved, object, format!("{reference} is {} now, pinned is {}", now.short(), pinned.short()))
}

/// Sets that make the operator of this release stop, because the exact one is not there.
pub(super) fn blocking_sets(
    sets: &[StoredImageSet],
    exact: &ImageSetName,
    release: Release,
    variant: Variant,
) -> Vec<Finding> {
    if sets.iter().any(|set| set.name == exact.as_str()) {
        return Vec::new();
    }
    let blocks = |set: &&StoredImageSet| {
        release < ONLY_SAME_PREFIX_BLOCKS_FROM || set.name.starts_with(variant.image_set_prefix())
    };
    let blocking = sets.iter().filter(blocks);
    let told = blocking.map(|set| {
        let message = format!("operator {release} stops reconciling: it wants {exact} and finds this one only");
        Finding::new(Reason::BlockingImageSet, format!("ImageSet {}", set.name), message)
    });
    told.collect()
}

/// The Installation against what the first set was made from.
pub(super) fn installation_differs(
    policy: &InstallationSettings,
    installation: &InstallationSettings,
) -> Option<Finding> {
    let differs = *policy != InstallationSettings::default()
        && (policy.variant != installation.variant
            || policy.fips != installation.fips
            || policy.layout.normalised() != installation.layout.normalised());
    differs.then(|| {
        let told = |settings: &InstallationSettings| {
            let layout = settings.layout.normalised();
            let fips = if settings.fips { ", FIPS" } else { "" };
            let parts = [layout.registry, layout.image_path, layout.image_prefix];
            let place = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            let place = if place.is_empty() { "default registry".to_owned() } else { place };
            format!("{}{fips}, {place}", settings.variant)
        };
        let message = format!("it says {}; spec.installation says {}", told(installation), told(policy));
        Finding::new(Reason::InstallationDiffers, "Installation default", message)
    })
}
