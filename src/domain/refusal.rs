//! An operator that refuses a set which is right for its version is another build than its version says: vendors ship
//! forks under upstream tags. Its image is asked, and what it refused is remembered with its answer, so that it is never
//! written for it again. Words of an operator count only against the set that is stored now; older ones are stale.

use std::collections::BTreeSet;

use super::answer::Answer;
use super::builds::Builds;
use super::decision::KnownOperator;
use super::finding::{Finding, Reason};
use super::inspection::{Inspected, Wanted};
use super::settings::InstallationSettings;
use super::snapshot::StoredImageSet;
use super::stored::edited;
use super::{ImageName, Reference, Snapshot};

/// What operators of all releases say of names that they do not know, and of names that they miss.
const UNEXPECTED: &str = "unexpected images:";
const MISSING: &str = "did not contain image ";

/// What the operator that runs says against our set.
struct Refusal<'a> {
    set: &'a StoredImageSet,
    /// Names of the set that it does not take.
    unexpected: BTreeSet<ImageName>,
    /// Names that it wants and that are in no list of ours.
    missing: BTreeSet<ImageName>,
}

/// What follows from a refusal.
#[derive(Debug, Default)]
pub(super) struct Consequence {
    pub finding: Option<Finding>,
    /// The image whose digest is to be asked for.
    pub question: Option<Reference>,
    /// The image that is to be run.
    pub wanted: Option<Wanted>,
    /// An answer with what was learned now.
    pub learned: Option<Inspected>,
}

/// Looks whether the operator that runs refuses our set.
pub(super) fn consequence(
    snapshot: &Snapshot,
    builds: &Builds<'_>,
    installation: &InstallationSettings,
    running: Option<&KnownOperator>,
) -> Consequence {
    let mut follows = Consequence::default();
    let image = |running: &KnownOperator| running.image.as_deref().and_then(|image| image.parse::<Reference>().ok());
    let Some((running, reference)) = running.and_then(|running| Some((running, image(running)?))) else {
        return follows;
    };
    let Some(refusal) = refusal(snapshot, builds, installation, running) else { return follows };
    let told = refusal.told(running);
    follows.finding =
        Some(Finding::new(Reason::ImageSetRefused, format!("ImageSet {}", refusal.set.name), told.clone()));
    let answer = snapshot.answers.operators.get(&reference);
    let digest = match (reference.digest(), answer) {
        (Some(digest), _) => *digest,
        // A tag may have moved since the image was asked.
        (None, Some(Answer::Known(answer))) => answer.digest,
        (None, Some(Answer::Pending | Answer::Failed(_))) => return follows,
        (None, None) => {
            follows.question = Some(reference);
            return follows;
        }
    };
    match builds.inspected(&digest) {
        // What it misses and does not print, nobody can tell where to pull from.
        Some(_) if refusal.unexpected.is_empty() => {}
        Some(inspected) => {
            let refused = inspected.refused.union(&refusal.unexpected).cloned().collect();
            follows.learned = Some(Inspected { refused, ..inspected.clone() });
        }
        None => {
            let label = match answer {
                Some(Answer::Known(answer)) => answer.version.clone(),
                _ => None,
            };
            let location = &snapshot.settings.operator;
            let object = format!("Deployment {}/{}", location.namespace, location.deployment);
            follows.wanted = Some(Wanted { image: reference, digest, label, object, why: told, prepared: None });
        }
    }
    follows
}

fn refusal<'a>(
    snapshot: &'a Snapshot,
    builds: &Builds<'_>,
    installation: &InstallationSettings,
    running: &KnownOperator,
) -> Option<Refusal<'a>> {
    let images = builds.catalogue().get(&running.release)?;
    let name = images.image_set_name(installation.variant).ok()?;
    let records = builds.record_names(running.release, installation);
    let made_for_it = |set: &StoredImageSet| {
        let origin = set.origin.as_ref();
        origin.is_some_and(|origin| origin.operator == running.release && records.contains(&origin.record))
    };
    let mut sets = snapshot.image_sets.known()?.iter();
    let set = sets.find(|set| set.name == name.as_str() && set.ours && made_for_it(set) && !edited(set))?;
    let stored: BTreeSet<ImageName> = set.images.iter().filter_map(|entry| entry.image.parse().ok()).collect();
    let listed = images.set_images(installation.variant, installation.fips);
    let mut refusal = Refusal { set, unexpected: BTreeSet::new(), missing: BTreeSet::new() };
    for degraded in snapshot.component_statuses.known()?.iter().filter_map(|status| status.degraded.as_ref()) {
        // Up to v1.25 the text stands in the reason.
        for text in [&degraded.reason, &degraded.message] {
            let unexpected = text.split(UNEXPECTED).skip(1).flat_map(|rest| rest.split([',', ' ', ';']));
            refusal.unexpected.extend(names(unexpected).filter(|name| stored.contains(name)));
            let missing = text.split(MISSING).skip(1).filter_map(|rest| rest.split([',', ' ', ';']).next());
            refusal.missing.extend(names(missing).filter(|name| !listed.contains_key(name)));
        }
    }
    (!refusal.unexpected.is_empty() || !refusal.missing.is_empty()).then_some(refusal)
}

fn names<'a>(words: impl Iterator<Item = &'a str>) -> impl Iterator<Item = ImageName> {
    words.filter_map(|word| word.parse().ok())
}

impl Refusal<'_> {
    fn told(&self, running: &KnownOperator) -> String {
        let list = |names: &BTreeSet<ImageName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        if !self.unexpected.is_empty() {
            parts.push(format!("it rejects {}", list(&self.unexpected)));
        }
        if !self.missing.is_empty() {
            parts.push(format!("it misses {}", list(&self.missing)));
        }
        format!("operator {} refuses a set that is right for its version: {}", running.release, parts.join(" and "))
    }
}
