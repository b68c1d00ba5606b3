//! The report of a reconcile: computed once, from the snapshot, the decision and the outcome of the writes. The status of the
//! policy, its events and the metrics are made from this value only.

pub(crate) mod conditions;
pub(crate) mod events;
pub(crate) mod written;

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::{
    ComponentReport, ComponentStatus, Condition, ConditionType, CurrentReport, Decision, Finding, Goal, GoalState,
    Kind, Motive, ObjectRef, OperatorReport, Outcome, PlanReport, PrepareVersion, PreparedReport, Purpose, Read,
    Reason, Reference, Release, Report, Retained, Severity, Snapshot, Swap, is_same_image,
};
use crate::rules::report::conditions::ConditionInput;
use crate::rules::report::written::{pruned_by, stored_by};
use crate::rules::version::operator_digests::{OperatorDigests, image_of};
use crate::rules::{gate, requests};

impl Report {
    /// Returns the report of a reconcile.
    #[must_use]
    pub fn new(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome) -> Self {
        let goals = goals_after_writes(decision, outcome);
        let mut findings = decision.findings.clone();
        findings.extend(write_finding(outcome));
        findings.retain(|finding| finding.reason.severity() > Severity::Normal);
        // A finding that the write resolved is history; an event reports it.
        let stored: BTreeSet<ObjectRef> =
            stored_by(decision, outcome).map(|store| ObjectRef::image_set(store.set.name().as_str())).collect();
        let is_stored = |finding: &Finding| finding.subject.object().is_some_and(|object| stored.contains(object));
        findings.retain(|finding| !(finding.reason.is_resolved_by_write() && is_stored(finding)));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.reason.severity()));
        let current = current_report(snapshot, decision, outcome, &goals);
        let digests = OperatorDigests::new(snapshot);
        let prepared = prepared_reports(snapshot, decision, &goals, &digests);
        let pending = decision.plan.len() - outcome.completed.min(decision.plan.len());
        let plan = PlanReport {
            changes: decision.plan[decision.plan.len() - pending..].to_vec(),
            rollouts: if pending > 0 { decision.rollouts.clone() } else { Vec::new() },
            waits_for: findings.iter().filter(|finding| finding.blocks()).map(Finding::sentence).collect(),
        };
        let input = ConditionInput {
            snapshot,
            decision,
            outcome,
            goals: &goals,
            findings: &findings,
            current: current.as_ref(),
            prepared: &prepared,
        };
        let conditions = conditions::all(&input);
        let swap = find_swap(snapshot, decision, outcome);
        let events = events::since_last_reconcile(snapshot, decision, outcome, &conditions, &findings, swap.as_ref());
        Self {
            generation: snapshot.generation,
            inputs_unreadable: decision.inputs_unreadable,
            operator: operator_report(snapshot, decision, &digests),
            current,
            prepared,
            admitted_images: gate::admitted_images(snapshot, decision, &goals, &digests),
            retained: remaining_retained(decision, outcome, &digests),
            discovery: decision.discovery.clone(),
            handled_refresh: requests::handled_refresh(snapshot, decision, outcome),
            last_swap: swap.or_else(|| snapshot.remembered.last_swap.clone()),
            components: component_reports(snapshot),
            plan,
            findings,
            conditions,
            events,
        }
    }

    /// Returns the condition of this type.
    #[must_use]
    pub fn condition(&self, wanted: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.r#type == wanted)
    }
}

/// Returns the goals as they are after the writes.
fn goals_after_writes(decision: &Decision, outcome: &Outcome) -> Vec<Goal> {
    let written: BTreeSet<&str> = stored_by(decision, outcome).map(|store| store.set.name().as_str()).collect();
    let mut goals = decision.goals.clone();
    for goal in &mut goals {
        if goal.state == GoalState::Ready && written.contains(goal.name.as_str()) {
            goal.state = GoalState::Stored;
        }
    }
    goals
}

pub(crate) fn component_reports(snapshot: &Snapshot) -> Option<Vec<ComponentReport>> {
    let report = |status: &ComponentStatus| ComponentReport {
        name: status.name.clone(),
        available: status.available,
        progressing: status.progressing,
        degraded: status.degraded.is_some(),
    };
    match &snapshot.component_statuses {
        Read::Known(all) => Some(all.iter().map(report).collect()),
        Read::KindMissing => Some(Vec::new()),
        Read::Failed(_) => None,
    }
}

/// Returns the swap, if the set of the running operator was replaced by the operator's own content, and how long the operator was
/// without it.
fn find_swap(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome) -> Option<Swap> {
    let at = outcome.at?;
    let image = snapshot.operator.known()?.as_ref()?.image.as_deref()?;
    let pods = snapshot.operator_pods.known()?.iter().filter(|pod| pod.ready && is_same_image(&pod.image, image));
    let ready_since = pods.filter_map(|pod| pod.ready_since).min()?;
    stored_by(decision, outcome).filter(|store| store.motive == Motive::Update).find_map(|store| {
        let set = &store.set;
        let before = snapshot.image_sets.known()?.iter().find(|stored| stored.name == set.name().as_str())?;
        let origin = before.origin.as_ref()?;
        let target = decision.operator.target.as_ref()?.release;
        let is_swap =
            set.origin().operator == target && origin.operator != target && origin.content != set.origin().content;
        is_swap.then(|| Swap {
            image_set: set.name().to_string(),
            from: origin.operator,
            operator: target,
            at,
            // A pod reports whole seconds: it may have been Ready for up to one second more.
            gap_seconds: (at.as_second() - ready_since.as_second()).max(0) + 1,
        })
    })
}

/// Returns the previous operators whose sets still exist after the writes. One whose image was never seen is that of the present
/// registry.
fn remaining_retained(decision: &Decision, outcome: &Outcome, digests: &OperatorDigests<'_>) -> Vec<Retained> {
    let pruned: BTreeSet<&str> = pruned_by(decision, outcome).map(|prune| prune.image_set.as_str()).collect();
    let is_kept = |retained: &&Retained| !pruned.contains(retained.image_set.as_str());
    let with_image = |retained: &Retained| {
        let seen = retained.operator_image.as_ref().and_then(|image| image.parse::<Reference>().ok());
        let pinned = |image: Reference| digests.pinned(&image);
        let operator_image = match seen {
            Some(image) => pinned(image).or_else(|| retained.operator_image.clone()),
            None => image_of(decision, &PrepareVersion::Release(retained.operator)).and_then(pinned),
        };
        Retained { operator_image, ..retained.clone() }
    };
    decision.retained.iter().filter(is_kept).map(with_image).collect()
}

fn write_finding(outcome: &Outcome) -> Option<Finding> {
    let failure = outcome.failure.as_ref()?;
    let reason = match failure.conflict {
        true => Reason::WriteConflict,
        false if failure.not_managed && *failure.object.kind() == Kind::ValidatingAdmissionPolicy => {
            Reason::GateNotManaged
        }
        false if failure.not_managed => Reason::ObjectNotManaged,
        // The sets are written by then.
        false if *failure.object.kind() == Kind::Job => Reason::InspectionNotStarted,
        false => Reason::WriteRefused,
    };
    Some(Finding::new(reason, failure.object.clone(), failure.message.clone()))
}

pub(crate) fn operator_report(
    snapshot: &Snapshot,
    decision: &Decision,
    digests: &OperatorDigests<'_>,
) -> OperatorReport {
    let knowledge = &decision.operator;
    let deployed = snapshot.operator.known().and_then(Option::as_ref).and_then(|deployment| deployment.image.clone());
    let reference = deployed.as_deref().and_then(|image| image.parse::<Reference>().ok());
    let written = reference.as_ref().and_then(|reference| reference.digest().copied());
    let looked_up = reference.as_ref().and_then(|reference| digests.of(reference));
    let remembered = &snapshot.remembered;
    let text = |release: Release| release.to_string();
    // The last running version is known until another one runs, and the target until another image is named.
    let (running_image, version) = match &knowledge.running {
        Some(running) => (running.image.clone(), Some(text(running.release))),
        None => (remembered.running_image.clone(), remembered.running_version.clone()),
    };
    let same = deployed.is_none() || deployed == remembered.target_image;
    let target = match &knowledge.target {
        Some(target) => Some(text(target.release)),
        None => remembered.target_version.clone().filter(|_| same && has_unread_inputs(snapshot)),
    };
    OperatorReport {
        pinned: written.is_some(),
        digest: written.or(knowledge.target.as_ref().and_then(|target| target.digest)).or(looked_up),
        pin: reference.filter(|_| written.is_none()).and_then(|tagged| digests.pinned(&tagged)),
        image: deployed.or_else(|| remembered.target_image.clone()),
        running_image,
        version,
        target,
        product_version: knowledge.target.as_ref().and_then(|target| target.product.as_ref().map(ToString::to_string)),
    }
}

/// Whether this reconcile could not read what the sets depend on, so that the previously reported state is all that is known.
fn has_unread_inputs(snapshot: &Snapshot) -> bool {
    let no_container = snapshot.operator.known().and_then(Option::as_ref).is_some_and(|seen| seen.image.is_none());
    let failures = [snapshot.operator.failure(), snapshot.installation.failure(), snapshot.image_sets.failure()];
    no_container || failures.iter().any(Option::is_some)
}

/// Returns the target's set; while the target is unknown, the running version's.
fn current_goal(goals: &[Goal]) -> Option<&Goal> {
    let by = |purpose: &Purpose| goals.iter().find(|goal| goal.purpose == *purpose);
    by(&Purpose::Target).or_else(|| by(&Purpose::Running))
}

pub(crate) fn current_report(
    snapshot: &Snapshot,
    decision: &Decision,
    outcome: &Outcome,
    goals: &[Goal],
) -> Option<CurrentReport> {
    let goal = current_goal(goals)?;
    let stored = goal.state == GoalState::Stored;
    let workloads = decision.adoption.clone();
    let selected =
        snapshot.installation.known().and_then(Option::as_ref).and_then(|seen| seen.selected_image_set.as_ref());
    let is_selected = selected.is_some_and(|selected| selected == goal.name.as_str());
    Some(CurrentReport {
        image_set: goal.name.to_string(),
        stored,
        images: goal.images,
        omitted: goal.omitted.iter().map(ToString::to_string).collect(),
        adopted: stored && is_selected && workloads.total > 0 && workloads.complete == workloads.total,
        workloads,
        last_verified: last_verified(snapshot, decision, outcome, goal).filter(|_| stored),
    })
}

/// Returns when the digests were last compared with the registry. A set from a record, such as after a rollback, was verified
/// when the record was made: the next check is due an interval after that, not after the set became current. A check whose result
/// could not be written does not count, so that it is repeated.
fn last_verified(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome, goal: &Goal) -> Option<Timestamp> {
    let is_of_set =
        |object: &ObjectRef| *object.kind() == Kind::ConfigMap || *object == ObjectRef::image_set(goal.name.as_str());
    let unwritten = outcome.failure.as_ref().is_some_and(|failure| is_of_set(&failure.object));
    if decision.verified && !unwritten {
        return Some(snapshot.observed_at);
    }
    let remembered = &snapshot.remembered;
    let is_same = remembered.current_image_set.as_deref() == Some(goal.name.as_str());
    remembered.last_verified.filter(|_| is_same).or(goal.resolved_at)
}

fn prepared_reports(
    snapshot: &Snapshot,
    decision: &Decision,
    goals: &[Goal],
    digests: &OperatorDigests<'_>,
) -> Vec<PreparedReport> {
    let one = |version: &PrepareVersion, found: Option<&Goal>| {
        let own = Purpose::Prepared(version.clone());
        let goal = found.or_else(|| goals.iter().find(|goal| goal.purpose == own)).or_else(|| {
            // A version that runs or is the target counts as prepared.
            goals.iter().find(|goal| decision.release_of(version) == Some(goal.release))
        });
        let message = goal.and_then(|goal| goal.findings.first().map(Finding::sentence));
        let known = decision.unmakeable.iter().chain(&decision.unknown);
        let unmakeable = known.into_iter().find(|(one, _)| one == version).map(|(_, why)| why.sentence());
        PreparedReport {
            version: version.clone(),
            image_set: goal.map(|goal| goal.name.to_string()),
            images: goal.map_or(0, |goal| goal.images),
            state: goal.map(|goal| goal.state),
            message: match goal {
                None if unmakeable.is_some() => unmakeable,
                None if goals.is_empty() => Some("no operator version is known that could be prepared from".to_owned()),
                None => Some("the version label of its image is being asked for".to_owned()),
                // That the content of another version serves it as well is worth reporting.
                Some(goal) if goal.state == GoalState::Stored => {
                    message.filter(|_| goal.findings.iter().any(|one| one.reason == Reason::WaitingForTakeover))
                }
                Some(goal) if goal.state == GoalState::Ready => {
                    message.or_else(|| Some("it is ready to be stored".to_owned()))
                }
                Some(_) => message,
            },
            discovered: false,
            requested_until: snapshot.requested_until(version),
            operator_image: image_of(decision, version).and_then(|image| digests.pinned(&image)),
        }
    };
    let prepare = snapshot.to_prepare();
    let new = decision.discovered.iter().map(|release| PrepareVersion::Release(*release));
    let found = new.filter(|version| !prepare.iter().any(|named| named.release() == version.release()));
    let found = found.filter_map(|version| {
        let purpose = Purpose::Discovered(version.release()?);
        let goal = goals.iter().find(|goal| goal.purpose == purpose);
        let report = PreparedReport { discovered: true, ..one(&version, goal) };
        // The controller does not run an image that was only discovered.
        let needs = goal.is_none().then(|| Reason::NeedsInspection.meaning().to_owned());
        Some(PreparedReport { message: needs.or(report.message.clone()), ..report })
    });
    prepare.iter().map(|version| one(version, None)).chain(found).collect()
}
