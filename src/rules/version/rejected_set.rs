//! Operators that reject a set that is right for their version. Such an operator is another build than its version suggests:
//! vendors ship forks under upstream tags. Its image is inspected, and the names that it rejected are stored with the inspection,
//! so that the set is not written for it again. Messages of an operator count only for the set that is stored now; older ones are
//! stale.

use std::collections::BTreeSet;

use crate::model::{
    Finding, ImageName, Inspection, InstallationSettings, KnownOperator, LookupResult, ObjectRef, OperatorImages,
    Reason, RecordKey, Reference, RejectedContent, Release, Snapshot, StoredImageSet, is_same_image,
};
use crate::rules::explain::operator_messages::OperatorMessage;
use crate::rules::image_set::stored_sets::{is_edited, is_unchanged_for, is_used, parse_entries};
use crate::rules::version::effective_catalogue::EffectiveCatalogue;
use crate::rules::version::inspection::NeededInspection;

/// What follows from a rejection.
#[derive(Debug, Default)]
pub(crate) struct Rejection {
    pub finding: Option<Finding>,
    /// Image whose digest has to be looked up.
    pub lookup: Option<Reference>,
    /// Image that has to be inspected.
    pub needed: Option<NeededInspection>,
    /// Inspection with the names that were rejected now.
    pub learned: Option<Inspection>,
    /// Content that is known to be rejected, until the operator image has been inspected.
    pub in_doubt: Option<RejectedSet>,
}

/// The content for a version that its operator rejects.
#[derive(Debug)]
pub(crate) struct RejectedSet {
    pub release: Release,
    pub rejected: RejectedContent,
}

/// Determines whether the running operator rejects the managed set.
pub(crate) fn determine(
    snapshot: &Snapshot,
    effective: &EffectiveCatalogue<'_>,
    installation: &InstallationSettings,
    running: Option<&KnownOperator>,
) -> Rejection {
    let mut rejection = Rejection::default();
    let image = |running: &KnownOperator| running.image.as_deref().and_then(|image| image.parse::<Reference>().ok());
    let Some((running, reference)) = running.and_then(|running| Some((running, image(running)?))) else {
        return rejection;
    };
    let recorded_rejection = recorded_rejection(snapshot, installation, running);
    let (rejected, why) = match (current_rejection(snapshot, effective, installation, running), recorded_rejection) {
        (Some((set, mut rejected)), before) => {
            let why = describe(running, &rejected);
            rejection.finding = Some(Finding::new(Reason::ImageSetRefused, ObjectRef::image_set(&set), why.clone()));
            if let Some(before) = before {
                rejected.unexpected.extend(before.unexpected.iter().cloned());
                rejected.missing.extend(before.missing.iter().cloned());
            }
            (rejected, why)
        }
        (None, Some(before)) => (before.clone(), describe(running, before)),
        (None, None) => return rejection,
    };
    if effective.record_key(running.release, installation).build.is_none() {
        rejection.in_doubt = Some(RejectedSet { release: running.release, rejected: rejected.clone() });
    }
    require_inspection(&mut rejection, snapshot, effective, reference, (&rejected, why));
    rejection
}

/// Adds the inspection of the image, or, if there is none, what is missing for it: the lookup of its digest, or the inspection
/// itself.
fn require_inspection(
    rejection: &mut Rejection,
    snapshot: &Snapshot,
    effective: &EffectiveCatalogue<'_>,
    image: Reference,
    (rejected, why): (&RejectedContent, String),
) {
    let result = snapshot.lookup_results.operators.get(&image);
    let digest = match (image.digest(), result) {
        (Some(digest), _) => *digest,
        // A tag may have moved since the lookup.
        (None, Some(LookupResult::Known(result))) => result.digest,
        (None, Some(LookupResult::Pending | LookupResult::Failed(_))) => return,
        (None, None) => {
            rejection.lookup = Some(image);
            return;
        }
    };
    match effective.inspected(&digest) {
        // No list shows where to pull an image that the operator requires and does not print.
        Some(_) if rejected.unexpected.is_empty() => {}
        Some(inspected) => {
            let all: BTreeSet<ImageName> = inspected.rejected.union(&rejected.unexpected).cloned().collect();
            rejection.in_doubt = None;
            if all != inspected.rejected {
                rejection.learned = Some(Inspection { rejected: all, ..inspected.clone() });
            }
        }
        None => {
            let label = result.and_then(LookupResult::known).and_then(|result| result.version.clone());
            let subject = snapshot.settings.operator.object().into();
            rejection.needed = Some(NeededInspection { image, digest, label, subject, why, prepared: None });
        }
    }
}

/// Returns the earlier rejection of this very image, from the record of the rejected content.
fn recorded_rejection<'a>(
    snapshot: &'a Snapshot,
    installation: &InstallationSettings,
    running: &KnownOperator,
) -> Option<&'a RejectedContent> {
    let key = RecordKey::new(running.release, installation);
    let record = snapshot.records.known()?.iter().find(|record| record.key == key)?;
    let rejected = record
        .rejected
        .as_ref()
        .filter(|rejected| running.image.as_ref().is_some_and(|image| is_same_image(&rejected.image, image)))?;
    (!is_accepted(snapshot, rejected, &key)).then_some(rejected)
}

/// Whether the operator uses a set with the entries that it is recorded to reject, and no component is degraded: messages of
/// another version were then attributed to it.
fn is_accepted(snapshot: &Snapshot, rejected: &RejectedContent, key: &RecordKey) -> bool {
    let available = snapshot.component_statuses.known().is_some_and(|all| all.iter().any(|status| status.available));
    let has_it = |set: &StoredImageSet| parse_entries(set).is_some_and(|entries| !rejected.takes(&entries));
    let mut sets = snapshot.image_sets.known().into_iter().flatten();
    available && sets.any(|set| is_used(snapshot, &set.name) && is_unchanged_for(set, key) && has_it(set))
}

/// Returns the name of the managed set that the running operator rejects now, and what it rejects.
fn current_rejection(
    snapshot: &Snapshot,
    effective: &EffectiveCatalogue<'_>,
    installation: &InstallationSettings,
    running: &KnownOperator,
) -> Option<(String, RejectedContent)> {
    let images = effective.catalogue().get(&running.release)?;
    let name = images.image_set_name(installation.variant).ok()?;
    let features = snapshot.cluster_features().unwrap_or_default();
    // Where no set is right, a rejection says nothing about the build.
    if images.no_set(installation, &features).is_some() {
        return None;
    }
    let records = effective.record_names(running.release, installation);
    let made_for_it = |set: &StoredImageSet| {
        let origin = set.origin.as_ref();
        origin.is_some_and(|origin| origin.operator == running.release && records.contains(&origin.record))
    };
    let mut sets = snapshot.image_sets.known()?.iter();
    let set = sets.find(|set| set.name == name.as_str() && set.managed && made_for_it(set) && !is_edited(set))?;
    let stored: BTreeSet<ImageName> = set.images.iter().filter_map(|entry| entry.image.parse().ok()).collect();
    let required = images.requires(installation.variant, &features);
    let listed = images.entries(installation.variant, installation.fips, &required);
    let (mut unexpected, mut missing) = (BTreeSet::new(), BTreeSet::new());
    for degraded in snapshot.component_statuses.known()?.iter().filter_map(|status| status.degraded.as_ref()) {
        let message = OperatorMessage::of(&degraded.reason, &degraded.message);
        unexpected.extend(message.unexpected.into_iter().filter(|name| stored.contains(name)));
        let unknown = |name: &ImageName| !listed.contains_key(name) && !stored.contains(name);
        missing.extend(message.missing.into_iter().filter(unknown));
    }
    // After a rollback, messages of the other version of this name may still be present.
    let others: Vec<OperatorImages> = match unexpected.is_empty() {
        true => Vec::new(),
        false => effective.of_name(&name, installation.variant, running.release),
    };
    unexpected.retain(|rejected| others.iter().all(|other| other.accepts(rejected)));
    let image = running.image.clone()?;
    let is_rejected = !unexpected.is_empty() || !missing.is_empty();
    is_rejected.then(|| (set.name.clone(), RejectedContent { image, unexpected, missing }))
}

fn describe(running: &KnownOperator, rejected: &RejectedContent) -> String {
    let list = |names: &BTreeSet<ImageName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut parts = Vec::new();
    if !rejected.unexpected.is_empty() {
        parts.push(format!("it rejects {}", list(&rejected.unexpected)));
    }
    if !rejected.missing.is_empty() {
        parts.push(format!("it misses {}", list(&rejected.missing)));
    }
    format!("operator {} refuses a set that is right for its version: {}", running.release, parts.join(" and "))
}
