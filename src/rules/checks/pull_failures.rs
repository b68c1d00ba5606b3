//! Check for images that nodes cannot pull or start. Each finding names the entry of the ImageSet and the response of the
//! registry. The number of pods is reported roughly, so that the finding seldom changes.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{
    Digest, Evidence, FailingImage, Finding, ImageName, ObjectRef, PodSummary, PullFailureKind, Reference,
    StoredImageSet, foreign_text::escaped, is_managed_namespace,
};
use crate::rules::checks::input::CheckInput;

/// Returns findings for images that pods cannot pull or start. Sets are searched for the entry, the one in use by the operator
/// first.
pub(crate) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let (Some(pods), Some(sets)) = (input.snapshot.pods.known(), input.snapshot.image_sets.known()) else {
        return Vec::new();
    };
    findings(pods, first_set(input), sets, |place| entry_of(input, place))
}

/// Returns a description of an image by the entry of the ImageSet that pins it.
pub(crate) fn describe(image: &str, input: &CheckInput<'_>) -> String {
    name(image, &in_order(input.sets(), first_set(input)), &|place: &str| entry_of(input, place)).0
}

/// Returns the name of the set in use by the operator.
fn first_set<'a>(input: &CheckInput<'a>) -> Option<&'a str> {
    let installation = input.snapshot.installation.known().and_then(Option::as_ref);
    let wanted = input.checked_sets.iter().copied().find(|checked_set| checked_set.purpose.is_current());
    let wanted = wanted.map(|checked_set| checked_set.name.as_str());
    installation.and_then(|one| one.selected_image_set.as_deref()).or(wanted)
}

/// Returns the sets, the named one first.
fn in_order<'a>(sets: &'a [StoredImageSet], first: Option<&str>) -> Vec<&'a StoredImageSet> {
    let mut ordered: Vec<&StoredImageSet> = sets.iter().collect();
    ordered.sort_by_key(|set| (first != Some(set.name.as_str()), set.name.as_str()));
    ordered
}

/// Returns the entry whose image nodes pull from a repository (`registry/path`).
fn entry_of(input: &CheckInput<'_>, place: &str) -> Option<ImageName> {
    let mut references = input.checked_sets.iter().flat_map(|checked_set| &checked_set.references);
    references.find(|(_, reference)| reference.name() == place).map(|(name, _)| name.clone())
}

/// Returns one finding per workload and cause.
///
/// `entry_of` returns the entry whose image nodes pull from a repository (`registry/path`). `first` names the set of the running
/// operator.
fn findings(
    pods: &PodSummary,
    first: Option<&str>,
    sets: &[StoredImageSet],
    entry_of: impl Fn(&str) -> Option<ImageName>,
) -> Vec<Finding> {
    let mut causes: BTreeMap<(&ObjectRef, PullFailureKind), Vec<&FailingImage>> = BTreeMap::new();
    for one in pods.failing.iter().filter(|one| is_of_the_operator(one, sets, &entry_of)) {
        causes.entry((&one.workload, one.kind)).or_default().push(one);
    }
    let ordered = in_order(sets, first);
    let findings = causes.into_iter().map(|((workload, kind), images)| {
        let mut evidence = None;
        let mut named = BTreeSet::new();
        for one in &images {
            let (words, differs) = name(&one.image, &ordered, &entry_of);
            named.insert(words);
            evidence = evidence.or(differs);
        }
        let named: Vec<&String> = named.iter().collect();
        let pods = about(images.iter().map(|one| one.pods).max().unwrap_or_default());
        let verb = if kind == PullFailureKind::ExecFormat { "start" } else { "pull" };
        let mut messages = images.iter().map(|one| one.message.trim_end_matches('.'));
        let why = match (cause(kind), messages.find(|message| !message.is_empty())) {
            (Some(cause), Some(message)) => format!("{cause}: {message}"),
            (None, Some(message)) => message.to_owned(),
            (cause, None) => cause.unwrap_or("the kubelet does not say why").to_owned(),
        };
        let message = format!("{pods} cannot {verb} {}: {why}", list_first(&named, MOST_NAMED));
        let finding = Finding::new(kind.into(), workload.clone(), message);
        match evidence {
            Some((have, want)) => finding.with_evidence(Evidence::digest(&have, &want)),
            None => finding,
        }
    });
    findings.collect()
}

/// Whether an image is the operator's to pull: in namespaces of others, such as those of Gateways, only images of the sets are.
fn is_of_the_operator(
    image: &FailingImage,
    sets: &[StoredImageSet],
    entry_of: &impl Fn(&str) -> Option<ImageName>,
) -> bool {
    let pinned = |digest: &Digest| {
        let mut entries = sets.iter().flat_map(|set| &set.images);
        entries.any(|entry| entry.digest.parse() == Ok(*digest))
    };
    let is_entry = |one: &Reference| entry_of(&one.name()).is_some() || one.digest().is_some_and(pinned);
    image.workload.namespace().is_none_or(is_managed_namespace) || image.image.parse().as_ref().is_ok_and(is_entry)
}

/// Returns a description of an image by its entry, and the observed and the pinned digest if these differ.
fn name(
    image: &str,
    sets: &[&StoredImageSet],
    entry_of: &impl Fn(&str) -> Option<ImageName>,
) -> (String, Option<(Digest, Digest)>) {
    let Ok(reference) = image.parse::<Reference>() else { return (escaped(image), None) };
    let place = reference.name();
    let entry = entry_of(&place);
    let is_it = |name: &str| entry.as_ref().is_none_or(|entry| entry.as_str() == name);
    let Some(digest) = reference.digest().copied() else {
        let by_tag = match (&entry, sets.first()) {
            (Some(entry), Some(set)) => format!("{image} (by tag, not by what ImageSet {} pins for {entry})", set.name),
            _ => format!("{image} (by tag, no entry of an ImageSet)"),
        };
        return (by_tag, None);
    };
    let names_it = |set: &&StoredImageSet| {
        let mut entries = set.images.iter().filter(|one| one.digest.parse() == Ok(digest));
        entries.find(|one| is_it(&one.image)).map(|one| (escaped(&one.image), set.name.clone()))
    };
    let short = format!("{place}@{}", digest.short());
    if let Some((entry, set)) = sets.iter().find_map(names_it) {
        return (format!("{entry} of ImageSet {set} ({short})"), None);
    }
    let pins = |set: &&StoredImageSet| {
        let one = set.images.iter().find(|one| entry.as_ref().is_some_and(|entry| entry.as_str() == one.image))?;
        Some((one.image.clone(), set.name.clone(), one.digest.parse::<Digest>().ok()?))
    };
    match sets.first().and_then(pins) {
        Some((entry, set, pinned)) => {
            let words = format!("{short} (of another template: ImageSet {set} pins {} for {entry})", pinned.short());
            (words, Some((digest, pinned)))
        }
        None => (format!("{short} (no entry of an ImageSet)"), None),
    }
}

/// Returns a rough number of pods, because each change of the text is a write of the status.
fn about(pods: u32) -> String {
    match pods {
        0 | 1 => "one pod".to_owned(),
        2..=10 => "several pods".to_owned(),
        more => {
            let bound = [10_000, 1_000, 100].into_iter().find(|bound| more > *bound).unwrap_or(10);
            format!("more than {bound} pods")
        }
    }
}

/// Returns the cause; `None` if only the runtime's message shows it.
const fn cause(kind: PullFailureKind) -> Option<&'static str> {
    let cause = match kind {
        PullFailureKind::NotFound => "the registry does not have it",
        PullFailureKind::Unauthorized => "the registry refuses the node",
        PullFailureKind::PlatformMissing => "it has nothing for the node's platform",
        PullFailureKind::RateLimited => "the registry's rate limit is used up",
        PullFailureKind::Refused => "a policy refuses it",
        PullFailureKind::RegistryFailing => "the registry fails",
        PullFailureKind::ContentInvalid => {
            "something between node and registry serves other bytes than the digest names"
        }
        PullFailureKind::LayerInvalid => "a layer cannot be unpacked",
        PullFailureKind::DiskFull => "the node's disk is full",
        PullFailureKind::Untrusted => "the node does not trust the registry",
        PullFailureKind::NameInvalid => "it is not an image reference",
        PullFailureKind::NeverPolicy => "its pull policy is Never, and the node does not have it",
        PullFailureKind::Timeout => "the registry does not answer the node as it should",
        PullFailureKind::ExecFormat => "it is of another platform than the node",
        PullFailureKind::Other => return None,
    };
    Some(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_number_of_pods_seldom_changes_the_message() {
        let words: BTreeSet<String> = (0..=20_000).map(about).collect();
        assert_eq!(words.len(), 6, "{words:?}");
        assert_eq!(
            [about(1), about(10), about(11), about(101), about(15_000)],
            ["one pod", "several pods", "more than 10 pods", "more than 100 pods", "more than 10000 pods"]
        );
    }
}
