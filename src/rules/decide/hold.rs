//! The phases that hold sets back: if a precondition is unknown, nothing is changed and nothing is looked up.

use std::collections::BTreeSet;

use crate::catalogue::Catalogue;
use crate::model::{
    Finding, GoalState, InstallationSettings, Lookups, ObjectRef, OperatorKnowledge, Origin, Read, Reason, Snapshot,
};
use crate::rules::checks::CheckResults;
use crate::rules::decide::phase::{Because, Phase};
use crate::rules::image_set::impossible::why_no_set;
use crate::rules::image_set::plan::PlannedSet;
use crate::rules::version::Versions;
use crate::rules::version::effective_catalogue::EffectiveCatalogue;

/// The sets and lookups of a decision, after the rule on whether anything may change.
pub(super) struct Held {
    pub sets: Vec<PlannedSet>,
    pub lookups: Lookups,
}

/// Removes all changes if it is unknown which operator runs, or if the Installation is gone.
///
/// After the checks, because they report stored sets whether or not anything may change.
pub(super) fn hold(versions: &Versions<'_>, sets: Vec<PlannedSet>, checked: &CheckResults, gone: bool) -> Held {
    match may_change(versions, gone) {
        Phase::GoOn(()) => {
            let of_sets = sets.iter().flat_map(|set| &set.lookups).cloned();
            let images = of_sets.chain(checked.lookups.iter().cloned()).collect();
            Held { lookups: Lookups { images, ..versions.lookups.clone() }, sets }
        }
        Phase::Wait(because) => {
            // Without the Installation the versions are still looked up: they may be all that is missing.
            let operators = match because {
                Because::InstallationGone => versions.lookups.operators.clone(),
                _ => BTreeSet::new(),
            };
            let sets = sets.into_iter().map(without_changes).collect();
            Held { lookups: Lookups { operators, ..Lookups::default() }, sets }
        }
    }
}

fn may_change(versions: &Versions<'_>, gone: bool) -> Phase<()> {
    match (versions.frozen, gone) {
        (true, _) => Phase::Wait(Because::OperatorUnclear),
        (false, true) => Phase::Wait(Because::InstallationGone),
        (false, false) => Phase::GoOn(()),
    }
}

/// Returns the set without its changes. A set that is ready or waits for a registry is then held.
fn without_changes(mut set: PlannedSet) -> PlannedSet {
    if matches!(set.goal.state, GoalState::Ready | GoalState::Resolving) {
        set.goal.state = GoalState::Held;
    }
    PlannedSet { actions: Vec::new(), rollouts: Vec::new(), ..set }
}

/// Returns whether the running version can have a set, if the target is another version.
///
/// Waits while no set can be made for the running version. Any set but its own would stop it, and its own is unknown.
pub(super) fn running_set(
    snapshot: &Snapshot,
    installation: &InstallationSettings,
    operator: &OperatorKnowledge,
    catalogue: &Catalogue<'_>,
) -> Phase<()> {
    let (Some(running), Some(target)) = (operator.running.as_ref(), operator.target.as_ref()) else {
        return Phase::GoOn(());
    };
    let release = running.release;
    if release == target.release {
        return Phase::GoOn(());
    }
    let why = match catalogue.get(&release) {
        None => "its images are not known".to_owned(),
        Some(images) if images.image_set_name(installation.variant).is_err() => {
            "it deploys no Calico release".to_owned()
        }
        Some(images) => match why_no_set(snapshot, installation, &images) {
            Some(no_set) => no_set.why,
            None => return Phase::GoOn(()),
        },
    };
    Phase::Wait(Because::RunningSetFirst(format!(
        "it waits until operator {release} runs no longer: no set can be made for that one ({why})"
    )))
}

/// Returns findings for managed sets that were made from an Installation that no longer exists. The policy's settings are for the
/// time before the first Installation: following them now would swap the set of a running operator.
pub(super) fn installation_gone(
    snapshot: &Snapshot,
    installation: &InstallationSettings,
    operator: &OperatorKnowledge,
    effective: &EffectiveCatalogue<'_>,
) -> Vec<Finding> {
    if matches!(snapshot.installation, Read::Known(Some(_)) | Read::Failed(_)) || operator.running.is_none() {
        return Vec::new();
    }
    let sets = snapshot.image_sets.known().into_iter().flatten().filter(|set| set.managed);
    let other = sets.filter(|set| {
        let made_from =
            |origin: &Origin| effective.record_names(origin.operator, installation).contains(&origin.record);
        set.origin.as_ref().is_some_and(|origin| !made_from(origin))
    });
    let findings = other.map(|set| {
        let message = "it was made from an Installation that is gone; it stays as it is, and nothing else is stored";
        Finding::new(Reason::InstallationGone, ObjectRef::image_set(&set.name), message)
    });
    findings.collect()
}
