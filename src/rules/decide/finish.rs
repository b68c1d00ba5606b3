//! The last phase: one decision from the outputs of all phases.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::model::{
    Action, Decision, Finding, Hints, Mode, PrepareVersion, Record, Reference, ResolvedImage, Snapshot,
};
use crate::rules::checks::CheckResults;
use crate::rules::decide::hold::Held;
use crate::rules::decide::inputs;
use crate::rules::decide::retain::RetainedSets;
use crate::rules::gate;
use crate::rules::version::Versions;
use crate::rules::version::inspection::InspectionPlan;
use crate::rules::version::operator_digests::OperatorDigests;

/// The outputs of all phases, in their order.
pub(super) struct Phases<'a> {
    pub findings: Vec<Finding>,
    pub versions: Versions<'a>,
    pub unmakeable: Vec<(PrepareVersion, Finding)>,
    pub checked: CheckResults,
    pub gone: Vec<Finding>,
    pub held: Held,
    pub retained: RetainedSets,
    pub gate: gate::GatePlan,
    pub inspections: InspectionPlan,
}

/// Returns the decision while an input is unreadable: the previous state still holds, and nothing is written.
pub(super) fn without_inputs(snapshot: &Snapshot, findings: Vec<Finding>, versions: Option<Versions<'_>>) -> Decision {
    let mut decision = match versions {
        None => Decision { findings, ..Decision::default() },
        Some(versions) => Decision {
            findings: findings.into_iter().chain(versions.findings).collect(),
            lookups: versions.lookups,
            operator: versions.operator,
            unknown: versions.unknown,
            releases: versions.prepared,
            discovery: versions.discovery,
            discovered: versions.discovered,
            ..Decision::default()
        },
    };
    decision.inputs_unreadable = true;
    complete(snapshot, decision)
}

/// Returns the decision from the outputs of all phases.
pub(super) fn finish(snapshot: &Snapshot, phases: Phases<'_>) -> Decision {
    let Phases { findings, versions, unmakeable, checked, gone, held, retained, gate, inspections } = phases;
    let unknown: Vec<_> = versions.unknown.into_iter().chain(inspections.unknown).collect();
    let mut all = findings;
    all.extend(versions.findings);
    all.extend(inputs::kinds_missing(snapshot));
    all.extend(checked.findings);
    all.extend(gone);
    all.extend(gate.findings);
    all.extend(inspections.findings);
    all.extend(unknown.iter().map(|(_, finding)| finding.clone()));

    // The order of writes. The gate depends on nothing, and in mode Observe it is all that is written. Inspections are stored
    // before anything that is made from them. Jobs come last, so that one that cannot be created holds up nothing.
    let mut plan: Vec<Action> = gate.action.into_iter().chain(inspections.first).collect();
    plan.extend(held.sets.iter().flat_map(|set| set.actions.clone()));
    plan.extend(retained.pruned.into_iter().map(Action::PruneImageSet));
    plan.extend(inspections.last);

    let mut decision = Decision {
        lookups: held.lookups,
        operator: versions.operator,
        plan,
        unmakeable,
        unknown,
        releases: versions.prepared,
        rollouts: held.sets.iter().flat_map(|set| set.rollouts.clone()).collect(),
        adoption: held.sets.iter().rev().find_map(|set| set.adoption.clone()).unwrap_or_default(),
        also_served: held.sets.iter().flat_map(|set| set.also_served.clone()).collect(),
        unsuitable: held.sets.iter().flat_map(|set| set.unsuitable.clone()).collect(),
        goals: held.sets.into_iter().map(|set| set.goal).collect(),
        findings: all,
        verified: checked.verified,
        requeue_at: [checked.due, inspections.again].into_iter().flatten().min(),
        retained: retained.retained,
        discovery: versions.discovery,
        discovered: versions.discovered,
        inputs_unreadable: false,
        actions: Vec::new(),
    };
    decision.lookups.digests = OperatorDigests::new(snapshot).lookups(&decision);
    complete(snapshot, decision)
}

/// Returns the decision with its findings in order, and with the actions that the policy allows.
fn complete(snapshot: &Snapshot, mut decision: Decision) -> Decision {
    decision.lookups.hints = hints(snapshot, &decision.lookups.images);
    decision.requeue_at = [decision.requeue_at, snapshot.next_expiry()].into_iter().flatten().min();
    decision.findings.extend(decision.goals.iter().flat_map(|goal| goal.findings.clone()));
    // Findings about what cannot be read stay as they were.
    let unread = |finding: &&Finding| snapshot.failed_read_for(finding.reason.condition()).is_some();
    decision.findings.extend(snapshot.remembered.findings.iter().filter(unread).cloned());
    decision.findings.sort_by_key(|finding| Reverse(finding.reason.severity()));
    let mut seen = BTreeSet::new();
    decision.findings.retain(|finding| seen.insert(finding.clone()));
    // A check counts when what it found could be written: a moved tag is compared again once everything can be read.
    decision.verified &= !decision.waits_for_a_read();
    decision.actions = allowed(snapshot, &decision);
    decision
}

/// Returns the actions of the plan that the policy allows now.
fn allowed(snapshot: &Snapshot, decision: &Decision) -> Vec<Action> {
    let settings = &snapshot.settings;
    if settings.suspend {
        return Vec::new();
    }
    let may_write =
        settings.mode == Mode::Apply && decision.lookups.blocks_no_write() && snapshot.records.known().is_some();
    let is_gate = |action: &&Action| matches!(action, Action::SetGate(_));
    match may_write {
        true => decision.plan.clone(),
        false => decision.plan.iter().take_while(is_gate).cloned().collect(),
    }
}

/// Returns hints for the lookups: earlier results of the references, and the platforms of the nodes.
fn hints(snapshot: &Snapshot, references: &BTreeSet<Reference>) -> Hints {
    if references.is_empty() {
        return Hints::default();
    }
    let recorded = |reference: &Reference| {
        let by_digest = |image: &&ResolvedImage| {
            reference.digest() == Some(&image.digest) && image.reference.name() == reference.name()
        };
        let of_record = |record: &Record| {
            let same = record.images.get(reference).or_else(|| record.images.values().find(by_digest))?;
            Some(same.clone())
        };
        let image = snapshot.records.known()?.iter().find_map(of_record)?;
        Some((reference.clone(), image))
    };
    let nodes = snapshot.nodes.known().into_iter().flatten().map(|(platform, _)| platform);
    let platforms = nodes.chain(&snapshot.required_platforms).cloned().collect();
    Hints { known: references.iter().filter_map(recorded).collect(), platforms }
}
