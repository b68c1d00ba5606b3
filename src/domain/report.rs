//! What is said about a pass: computed once, from what was seen, decided and done. The status of the policy, its events
//! and the metrics are made from this value and from nothing else.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use std::collections::BTreeSet;

use super::conditions::{self, Facts};
use super::decision::{Action, Decision, Goal, GoalState, Motive, PruneImageSet, Purpose, StoreImageSet};
use super::discovery::Discovery;
use super::events;
use super::finding::{ConditionType, Finding, Reason, Severity};
use super::gate;
use super::operator_digests::{OperatorDigests, image_of};
use super::requests;
use super::retention::Retained;
use super::settings::PrepareVersion;
use super::snapshot::{ComponentStatus, Read, Workload};
use super::{Digest, Reference, Release, Snapshot};

/// The most findings that a status holds, and the most components and pending workloads.
pub const MOST_FINDINGS: usize = 64;

/// Everything that is told.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Generation of the policy that this is about.
    pub generation: i64,
    /// A read failed without which nothing can be told of versions and sets: what was told before is left as it is.
    pub blind: bool,
    /// What is known of the operator.
    pub operator: OperatorReport,
    /// The target version's set.
    pub current: Option<CurrentReport>,
    /// One entry per version of `prepare.versions`, then those that an annotation asks for, then those that were discovered.
    pub prepared: Vec<PreparedReport>,
    /// Operator images that the gate admits; `None` without a gate.
    pub admitted_images: Option<Vec<String>>,
    /// Sets of previous versions that are kept, the one used last in front.
    pub retained: Vec<Retained>,
    /// What is known of newer releases.
    pub discovery: Option<Discovery>,
    /// The value of the refresh annotation that this pass has acted upon.
    pub handled_refresh: Option<String>,
    /// The last swap of a content for another under one name.
    pub last_swap: Option<Swap>,
    /// What each TigeraStatus says; `None` where they could not be read.
    pub components: Option<Vec<ComponentReport>>,
    /// What would be done, or waits to be done.
    pub plan: PlanReport,
    /// What a person should know, the worst first; normal news are left out.
    pub findings: Vec<Finding>,
    /// One per [`ConditionType`], in its order.
    pub conditions: Vec<Condition>,
    /// What is new since the last pass.
    pub events: Vec<Event>,
}

/// What is known of the operator, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorReport {
    /// Image that the Deployment asks for.
    pub image: Option<String>,
    /// Its digest, where known.
    pub digest: Option<Digest>,
    /// That image by tag and digest, for a Deployment that names it by tag only.
    pub pin: Option<String>,
    /// Image of the operator that runs.
    pub running_image: Option<String>,
    /// Version that runs.
    pub version: Option<String>,
    /// Version that the Deployment, or a first install, asks for.
    pub target: Option<String>,
    /// Product version that the target deploys.
    pub product_version: Option<String>,
    /// The Deployment names its image by digest.
    pub pinned: bool,
}

/// The target version's set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CurrentReport {
    /// Its name.
    pub image_set: String,
    /// It is stored and right.
    pub stored: bool,
    /// How many images it lists.
    pub images: usize,
    /// Names that were left out.
    pub omitted: Vec<String>,
    /// Selected by the operator, carried by every workload, all roll-outs complete.
    pub adopted: bool,
    /// Workloads with images of this set.
    pub workloads: Progress,
    /// When all its digests were last compared with the registry, or asked for in the first place.
    pub last_verified: Option<Timestamp>,
}

/// One set's content was swapped for that of another operator version, which had taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Swap {
    /// The set.
    pub image_set: String,
    /// The operator version whose content stood there.
    pub from: Release,
    /// The operator version whose content stands there now.
    pub operator: Release,
    /// When it was written.
    pub at: Timestamp,
    /// The most that the operator can have been Ready without its content, in whole seconds.
    pub gap_seconds: i64,
}

/// One TigeraStatus, mirrored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentReport {
    /// Its name, such as `calico`.
    pub name: String,
    /// Condition Available is True.
    pub available: bool,
    /// Condition Progressing is True.
    pub progressing: bool,
    /// Condition Degraded is True.
    pub degraded: bool,
}

/// How far workloads are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// All with images of the set.
    pub total: usize,
    /// Whose template carries the pinned digests.
    pub pinned: usize,
    /// Pinned and rolled out.
    pub complete: usize,
    /// Those that are not complete.
    pub pending: Vec<PendingWorkload>,
}

/// A workload that does not run the set everywhere yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingWorkload {
    /// Such as `DaemonSet calico-system/calico-node`.
    pub workload: String,
    /// Its template carries the pinned digests.
    pub pinned: bool,
    /// Pods of the current template, in percent of those that are wanted, in whole tens: a status that told each pod would
    /// be written for each.
    pub percent: u32,
}

impl PendingWorkload {
    /// How far it is.
    #[must_use]
    pub fn new(workload: &Workload, pinned: bool) -> Self {
        let share = workload.updated.min(workload.desired).saturating_mul(10).checked_div(workload.desired);
        Self {
            workload: workload.to_string(),
            pinned,
            percent: if pinned { share.unwrap_or_default() * 10 } else { 0 },
        }
    }
}

impl std::fmt::Display for PendingWorkload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pinned, self.percent) {
            (false, _) => write!(formatter, "{} not pinned yet", self.workload),
            (true, 100) => write!(formatter, "{} updated, not available everywhere yet", self.workload),
            (true, percent) => write!(formatter, "{} {percent} %", self.workload),
        }
    }
}

/// One version of `prepare.versions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedReport {
    /// As the policy names it.
    pub version: String,
    /// Its set's name, where known.
    pub image_set: Option<String>,
    /// How many images it lists.
    pub images: usize,
    /// How far it is; `None` for a version that is not known.
    pub state: Option<GoalState>,
    /// Why it is not stored.
    pub message: Option<String>,
    /// It was found in the operator image's repository; the policy does not name it.
    pub discovered: bool,
    /// Until when an annotation asks for it.
    pub requested_until: Option<Timestamp>,
    /// Its operator image by tag and digest, or by digest; where that is known.
    pub operator_image: Option<String>,
}

/// What would be done, or waits to be done.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// Writes in their order.
    pub changes: Vec<Action>,
    /// Workloads that would roll.
    pub rollouts: Vec<String>,
    /// Sentences about what is in the way.
    pub waits_for: Vec<String>,
}

/// A condition without its time, which is the status writer's to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Condition {
    /// Which question it answers.
    pub r#type: ConditionType,
    /// The answer.
    pub status: Status,
    /// Why; a word of the closed list.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// `True`, `False` or `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `true`: type Warning; `false`: type Normal.
    pub warning: bool,
    /// A word of the closed list.
    pub reason: String,
    /// What was done. Kubernetes counts events of one action, reason and object as one, and keeps the first note.
    pub action: &'static str,
    /// In words.
    pub note: String,
    /// The objects that it is about beside the policy, such as `ImageSet calico-v3.31.7`, each with what is told there.
    pub about: Vec<(String, String)>,
}

/// What became of the actions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How many of the decision's actions are behind us, in order. A gate that could not be set is among them.
    pub done: usize,
    /// When the last of them was.
    pub at: Option<Timestamp>,
    /// What ended it before the last one, or kept the gate from being set.
    pub failure: Option<ActionFailure>,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFailure {
    /// Somebody else wrote the object at the same moment (409): look again.
    pub conflict: bool,
    /// An object of this name exists, and the controller did not create it.
    pub not_managed: bool,
    /// The object, such as `ImageSet calico-v3.31.7`.
    pub object: String,
    /// What the apiserver answered, escaped and cut.
    pub message: String,
}

impl Report {
    /// The report of a pass.
    #[must_use]
    pub fn new(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome) -> Self {
        let goals = after(decision, outcome);
        let mut findings = decision.findings.clone();
        findings.extend(write_finding(outcome));
        findings.retain(|finding| finding.reason.severity() > Severity::Normal);
        // An edit that was put back is history; its event tells it.
        let stored: BTreeSet<String> =
            stored_by(decision, outcome).map(|store| format!("ImageSet {}", store.set.name())).collect();
        findings.retain(|finding| !(finding.reason.ends_with_the_write() && stored.contains(&finding.object)));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.reason.severity()));
        let current = current(snapshot, decision, &goals);
        let digests = OperatorDigests::new(snapshot);
        let prepared = prepared(snapshot, decision, &goals, &digests);
        let pending = decision.plan.len() - outcome.done.min(decision.plan.len());
        let plan = PlanReport {
            changes: decision.plan[decision.plan.len() - pending..].to_vec(),
            rollouts: if pending > 0 { decision.rollouts.clone() } else { Vec::new() },
            waits_for: findings.iter().filter(|finding| finding.blocks()).map(Finding::sentence).collect(),
        };
        let facts = Facts {
            snapshot,
            decision,
            outcome,
            goals: &goals,
            findings: &findings,
            current: current.as_ref(),
            prepared: &prepared,
        };
        let conditions = conditions::all(&facts);
        let swap = swapped(snapshot, decision, outcome);
        let events = events::of_pass(snapshot, decision, outcome, &conditions, &findings, swap.as_ref());
        Self {
            generation: snapshot.generation,
            blind: decision.blind,
            operator: operator(snapshot, decision, &digests),
            current,
            prepared,
            admitted_images: gate::admitted(snapshot, decision, &goals, &digests),
            retained: kept(decision, outcome, &digests),
            discovery: decision.discovery.clone(),
            handled_refresh: requests::handled_refresh(snapshot, decision),
            last_swap: swap.or_else(|| snapshot.remembered.last_swap.clone()),
            components: components(snapshot),
            plan,
            findings,
            conditions,
            events,
        }
    }

    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, wanted: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.r#type == wanted)
    }
}

/// The goals as they are after the writes.
fn after(decision: &Decision, outcome: &Outcome) -> Vec<Goal> {
    let written: BTreeSet<&str> = stored_by(decision, outcome).map(|store| store.set.name().as_str()).collect();
    let mut goals = decision.goals.clone();
    for goal in &mut goals {
        if goal.state == GoalState::Ready && written.contains(goal.name.as_str()) {
            goal.state = GoalState::Stored;
        }
    }
    goals
}

fn components(snapshot: &Snapshot) -> Option<Vec<ComponentReport>> {
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

pub(super) fn stored_by<'a>(decision: &'a Decision, outcome: &Outcome) -> impl Iterator<Item = &'a StoreImageSet> {
    decision.actions.iter().take(outcome.done).filter_map(Action::image_set)
}

/// The content of the set that the running operator looks for was swapped for its own, and how long it was without.
fn swapped(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome) -> Option<Swap> {
    let at = outcome.at?;
    let image = snapshot.operator.known()?.as_ref()?.image.as_deref()?;
    let pods = snapshot.operator_pods.known()?.iter().filter(|pod| pod.ready && pod.image == image);
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
            // A pod tells whole seconds: it was Ready for less than one more.
            gap_seconds: (at.as_second() - ready_since.as_second()).max(0) + 1,
        })
    })
}

/// The previous sets that are still there after the writes.
fn kept(decision: &Decision, outcome: &Outcome, digests: &OperatorDigests<'_>) -> Vec<Retained> {
    let pruned: BTreeSet<&str> = pruned_by(decision, outcome).map(|prune| prune.image_set.as_str()).collect();
    let there = |retained: &&Retained| !pruned.contains(retained.image_set.as_str());
    let with_image = |retained: &Retained| Retained {
        operator_image: image_of(decision, &PrepareVersion::Release(retained.operator))
            .and_then(|image| digests.pinned(&image)),
        ..retained.clone()
    };
    decision.retained.iter().filter(there).map(with_image).collect()
}

pub(super) fn pruned_by<'a>(decision: &'a Decision, outcome: &Outcome) -> impl Iterator<Item = &'a PruneImageSet> {
    decision.actions.iter().take(outcome.done).filter_map(|action| match action {
        Action::PruneImageSet(prune) => Some(prune),
        _ => None,
    })
}

fn write_finding(outcome: &Outcome) -> Option<Finding> {
    let failure = outcome.failure.as_ref()?;
    let reason = match failure.conflict {
        true => Reason::WriteConflict,
        false if failure.not_managed && failure.object.starts_with("Validating") => Reason::GateNotManaged,
        false if failure.not_managed => Reason::ObjectNotManaged,
        // The sets are written by then.
        false if failure.object.starts_with("Job ") => Reason::InspectionNotStarted,
        false => Reason::WriteRefused,
    };
    Some(Finding::new(reason, failure.object.clone(), failure.message.clone()))
}

fn operator(snapshot: &Snapshot, decision: &Decision, digests: &OperatorDigests<'_>) -> OperatorReport {
    let knowledge = &decision.operator;
    let deployed = snapshot.operator.known().and_then(Option::as_ref).and_then(|deployment| deployment.image.clone());
    let reference = deployed.as_deref().and_then(|image| image.parse::<Reference>().ok());
    let written = reference.as_ref().and_then(|reference| reference.digest().copied());
    let asked = reference.as_ref().and_then(|reference| digests.of(reference));
    let remembered = &snapshot.remembered;
    let text = |release: Release| release.to_string();
    // What ran last is known until another runs; what is to run, until another image is asked for.
    let (running_image, version) = match &knowledge.running {
        Some(running) => (running.image.clone(), Some(text(running.release))),
        None => (remembered.running_image.clone(), remembered.running_version.clone()),
    };
    let same = deployed.is_none() || deployed == remembered.target_image;
    let target = match &knowledge.target {
        Some(target) => Some(text(target.release)),
        None => remembered.target_version.clone().filter(|_| same && unread(snapshot)),
    };
    OperatorReport {
        pinned: written.is_some(),
        digest: written.or(knowledge.target.as_ref().and_then(|target| target.digest)).or(asked),
        pin: reference.filter(|_| written.is_none()).and_then(|tagged| digests.pinned(&tagged)),
        image: deployed.or_else(|| remembered.target_image.clone()),
        running_image,
        version,
        target,
        product_version: knowledge.target.as_ref().and_then(|target| target.product.as_ref().map(ToString::to_string)),
    }
}

/// Whether this pass could not read what the sets depend on: what was known before is all that there is to tell.
fn unread(snapshot: &Snapshot) -> bool {
    let no_container = snapshot.operator.known().and_then(Option::as_ref).is_some_and(|seen| seen.image.is_none());
    let failures = [snapshot.operator.failure(), snapshot.installation.failure(), snapshot.image_sets.failure()];
    no_container || failures.iter().any(Option::is_some)
}

/// The target's set; while the target is not known, the running version's.
fn current_goal(goals: &[Goal]) -> Option<&Goal> {
    let by = |purpose: &Purpose| goals.iter().find(|goal| goal.purpose == *purpose);
    by(&Purpose::Target).or_else(|| by(&Purpose::Running))
}

fn current(snapshot: &Snapshot, decision: &Decision, goals: &[Goal]) -> Option<CurrentReport> {
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
        last_verified: last_verified(snapshot, decision, goal).filter(|_| stored),
    })
}

/// A set from a record, such as after a rollback, was verified when the record was made: the next check is due an
/// interval after that, and not because the set became the current one.
fn last_verified(snapshot: &Snapshot, decision: &Decision, goal: &Goal) -> Option<Timestamp> {
    if decision.verified {
        return Some(snapshot.observed_at);
    }
    let remembered = &snapshot.remembered;
    let is_same = remembered.current_image_set.as_deref() == Some(goal.name.as_str());
    remembered.last_verified.filter(|_| is_same).or(goal.resolved_at)
}

fn prepared(
    snapshot: &Snapshot,
    decision: &Decision,
    goals: &[Goal],
    digests: &OperatorDigests<'_>,
) -> Vec<PreparedReport> {
    let one = |version: &PrepareVersion, found: Option<&Goal>| {
        let own = Purpose::Prepared(version.clone());
        let goal = found.or_else(|| goals.iter().find(|goal| goal.purpose == own)).or_else(|| {
            // A version that runs or is the target is prepared by that.
            goals.iter().find(|goal| decision.release_of(version) == Some(goal.release))
        });
        let message = goal.and_then(|goal| goal.findings.first().map(Finding::sentence));
        let known = decision.unmakeable.iter().chain(&decision.unknown);
        let unmakeable = known.into_iter().find(|(one, _)| one == version).map(|(_, why)| why.sentence());
        PreparedReport {
            version: version.to_string(),
            image_set: goal.map(|goal| goal.name.to_string()),
            images: goal.map_or(0, |goal| goal.images),
            state: goal.map(|goal| goal.state),
            message: match goal {
                None if unmakeable.is_some() => unmakeable,
                None if goals.is_empty() => Some("no operator version is known that could be prepared from".to_owned()),
                None => Some("the version label of its image is being asked for".to_owned()),
                // That the content of another version serves it, too, is worth knowing.
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
        // Nobody runs an image that was only discovered.
        let needs = goal.is_none().then(|| Reason::NeedsInspection.meaning().to_owned());
        Some(PreparedReport { message: needs.or(report.message.clone()), ..report })
    });
    prepare.iter().map(|version| one(version, None)).chain(found).collect()
}
