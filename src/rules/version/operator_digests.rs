//! The digests of operator images: of the one in the Deployment, and of those that may come next, so that people can pin them and
//! the gate can admit them by digest. Nothing waits for these lookups.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Decision, Digest, Goal, GoalState, LookupResult, PrepareVersion, Purpose, Reference, Release, Snapshot,
};

/// Returns one reference for each version that runs, is the target, is ready, or ran before, in the registry of the operator that
/// the Deployment names.
pub(crate) fn ready(decision: &Decision, goals: &[Goal]) -> BTreeSet<Reference> {
    let ready = |goal: &&Goal| match goal.state {
        GoalState::Stored | GoalState::Waiting | GoalState::Conflict => true,
        GoalState::Ready | GoalState::Resolving | GoalState::Held => goal.purpose.is_current(),
    };
    let goals: Vec<&Goal> = goals.iter().filter(ready).collect();
    let mut references: BTreeSet<Reference> = deployed(decision).into_iter().collect();
    let releases = goals.iter().map(|goal| goal.release);
    let releases: BTreeSet<Release> =
        releases.chain(decision.retained.iter().map(|retained| retained.operator)).collect();
    references.extend(releases.into_iter().filter_map(|release| upstream(decision, release)));
    references.extend(goals.iter().filter_map(|goal| match &goal.purpose {
        Purpose::Prepared(PrepareVersion::Operator(reference)) => Some(reference.clone()),
        _ => None,
    }));
    references
}

/// Returns the images of previous operators from the registry where they ran.
pub(crate) fn previous(decision: &Decision) -> impl Iterator<Item = Reference> {
    decision.retained.iter().filter_map(|one| one.operator_image.as_ref()?.parse().ok())
}

/// Returns the operator images of the earlier releases that the stored sets serve as well. Nobody has asked for them, so their
/// digests are not looked up.
pub(crate) fn also_served(decision: &Decision) -> impl Iterator<Item = Reference> {
    decision.also_served.iter().filter_map(|release| upstream(decision, *release))
}

/// Returns the operator image of a version that is prepared.
pub(crate) fn image_of(decision: &Decision, version: &PrepareVersion) -> Option<Reference> {
    match version {
        PrepareVersion::Operator(reference) => Some(reference.clone()),
        PrepareVersion::Release(release) => upstream(decision, *release),
    }
}

/// Returns the operator image of an upstream release, in the repository of the cluster's operator.
fn upstream(decision: &Decision, release: Release) -> Option<Reference> {
    deployed(decision).first().map(|place| place.with_tag(&release.to_string()))
}

/// Returns the target's image, then the running one's.
fn deployed(decision: &Decision) -> Vec<Reference> {
    let operators = [&decision.operator.target, &decision.operator.running].into_iter().flatten();
    operators.filter_map(|operator| operator.image.as_deref()?.parse().ok()).collect()
}

/// The known digests of operator images, computed once per reconcile.
pub(crate) struct OperatorDigests<'a> {
    snapshot: &'a Snapshot,
    /// Digests in the previous status, so that a restart repeats no lookup.
    remembered: BTreeMap<Reference, Digest>,
}

impl<'a> OperatorDigests<'a> {
    /// Collects the known digests. One that somebody wrote next to a tag proves little about the tag: it counts only if nothing
    /// else is known, until the next check.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let remembered = &snapshot.remembered;
        let deployment =
            snapshot.operator.known().and_then(Option::as_ref).and_then(|deployment| deployment.image.as_ref());
        let pods = snapshot.operator_pods.known().into_iter().flatten().map(|pod| &pod.image);
        let before = [&remembered.running_image, &remembered.target_image].into_iter().flatten();
        let retained = remembered.retained.iter().filter_map(|one| one.operator_image.as_ref());
        let parsed = |text: &String| text.parse::<Reference>().ok();
        let mut written: BTreeSet<Reference> =
            deployment.into_iter().chain(pods).chain(before).chain(retained).filter_map(parsed).collect();
        written.extend(snapshot.to_prepare().into_iter().filter_map(|version| match version {
            PrepareVersion::Operator(reference) => Some(reference),
            PrepareVersion::Release(_) => None,
        }));
        let reported = remembered.admitted_images.iter().flatten().chain(&remembered.pinned_operators);
        let (written, others): (Vec<Reference>, Vec<Reference>) =
            reported.filter_map(parsed).partition(|reference| written.contains(reference));
        let pair = |reference: Reference| Some((reference.with_tag(reference.tag()?), *reference.digest()?));
        Self { snapshot, remembered: written.into_iter().chain(others).filter_map(pair).collect() }
    }

    /// Returns the digest of an operator image, if it is written, looked up or in the previous status.
    pub fn of(&self, reference: &Reference) -> Option<Digest> {
        let looked_up = match self.snapshot.lookup_results.operators.get(reference) {
            Some(LookupResult::Known(image)) => Some(image.digest),
            _ => self.remembered.get(reference).copied(),
        };
        reference.digest().copied().or(looked_up)
    }

    /// Returns the image by tag and digest, as a Deployment would pin it.
    pub fn pinned(&self, reference: &Reference) -> Option<String> {
        let digest = self.of(reference)?;
        Some(if reference.digest().is_some() { reference.to_string() } else { format!("{reference}@{digest}") })
    }

    /// Returns the references to look up now, for the first time or again.
    pub fn lookups(&self, decision: &Decision) -> BTreeSet<Reference> {
        // Sets that are about to be stored count as stored.
        let mut goals = decision.goals.clone();
        goals.iter_mut().filter(|goal| goal.state == GoalState::Ready).for_each(|goal| goal.state = GoalState::Stored);
        let results = &self.snapshot.lookup_results.operators;
        let needs_lookup = |reference: &Reference| reference.digest().is_none() && !results.contains_key(reference);
        let due = |reference: &Reference| self.snapshot.recheck_due || !self.remembered.contains_key(reference);
        ready(decision, &goals).into_iter().filter(needs_lookup).filter(due).collect()
    }
}
