//! The phase of previous operators: which of them can be rolled back to, and which of their sets are deleted.

use crate::model::{
    Goal, InstallationSettings, KnownOperator, PrepareVersion, PruneImageSet, Reference, Release, Retained, Snapshot,
    Variant,
};
use crate::rules::decide::hold::Held;
use crate::rules::image_set::impossible::why_no_set;
use crate::rules::image_set::retention;
use crate::rules::version::Versions;
use crate::rules::version::operator_digests::OperatorDigests;

/// Previous operators and sets.
pub(super) struct RetainedSets {
    /// Operators whose set exists, the most recently used first.
    pub retained: Vec<Retained>,
    /// Sets to delete.
    pub pruned: Vec<PruneImageSet>,
}

/// Keeps the policy's number of previous sets, and deletes the others when no upgrade is under way.
///
/// After the hold, because a set is deleted only if nothing else is to be changed or looked up.
pub(super) fn plan(
    snapshot: &Snapshot,
    versions: &Versions<'_>,
    held: &Held,
    installation: &InstallationSettings,
) -> RetainedSets {
    if versions.frozen {
        return RetainedSets { retained: snapshot.remembered.retained.clone(), pruned: Vec::new() };
    }
    let goals: Vec<Goal> = held.sets.iter().map(|set| set.goal.clone()).collect();
    let (digests, required) = (OperatorDigests::new(snapshot), required_operators(versions, &goals));
    let is_required = |one: &Retained| required.iter().any(|operator| is_the_same(one, operator, &digests));
    let left = operator_until_now(snapshot, versions, installation.variant);
    let mut retained = retention::retained(snapshot, &goals, left, is_required);
    let pruned = retention::to_prune(snapshot, &goals, &retained, is_quiet(snapshot, versions, held));
    // An operator that stops whatever is stored is no way back.
    let is_possible = |one: &Retained| {
        let images = versions.effective.catalogue().get(&one.operator);
        images.is_none_or(|images| why_no_set(snapshot, installation, &images).is_none())
    };
    retained.retain(is_possible);
    RetainedSets { retained, pruned }
}

/// Returns the operator that was Ready last, by the previous status; `None` while it is unknown which one is Ready now.
fn operator_until_now(snapshot: &Snapshot, versions: &Versions<'_>, variant: Variant) -> Option<Retained> {
    versions.operator.running.as_ref()?;
    let operator: Release = snapshot.remembered.running_version.as_deref()?.parse().ok()?;
    let image_set = versions.effective.catalogue().get(&operator)?.image_set_name(variant).ok()?.to_string();
    Some(Retained { image_set, operator, operator_image: snapshot.remembered.running_image.clone() })
}

/// Returns the operators with a goal: those that run or are the target by their own image, the others by that of the present
/// registry.
fn required_operators(versions: &Versions<'_>, goals: &[Goal]) -> Vec<(Release, Option<Reference>)> {
    let image = |operator: &KnownOperator| operator.image.as_ref().and_then(|image| image.parse::<Reference>().ok());
    let used = [&versions.operator.running, &versions.operator.target].into_iter().flatten();
    let used: Vec<_> = used.map(|operator| (operator.release, image(operator))).collect();
    let place = versions.operator.target.as_ref().and_then(image);
    let of_goal = |goal: &Goal| (goal.release, place.as_ref().map(|place| place.with_tag(&goal.release.to_string())));
    used.into_iter().chain(goals.iter().map(of_goal)).collect()
}

/// Whether a previous operator is this one, which the gate admits in each form. The same version of another registry and another
/// build of it are not.
fn is_the_same(one: &Retained, required: &(Release, Option<Reference>), digests: &OperatorDigests<'_>) -> bool {
    let image = one.operator_image.as_ref().and_then(|image| image.parse::<Reference>().ok());
    let (Some(image), (release, Some(reference))) = (image, required) else { return one.operator == required.0 };
    let same_digest = || image.digest().is_none_or(|digest| digests.of(reference).as_ref() == Some(digest));
    one.operator == *release && image.name() == reference.name() && same_digest()
}

/// Whether the rollout of the target operator is complete, and nothing is unknown, to be written or to be looked up.
fn is_quiet(snapshot: &Snapshot, versions: &Versions<'_>, held: &Held) -> bool {
    // An unknown version may require any of the sets.
    let is_known = |version: &PrepareVersion| versions.release_of(version).is_some();
    // Until newer releases were looked up, a set that was staged for one of them looks like a previous one.
    let has_discovered = snapshot.settings.discover.is_none() || versions.discovery.is_some();
    versions.operator.rollout_complete
        && held.lookups.blocks_no_write()
        && held.sets.iter().all(|set| set.actions.is_empty())
        && has_discovered
        && versions.operator.target.is_some()
        && snapshot.to_prepare().iter().all(is_known)
}
