//! One reconcile: observe, decide, confirm, write, report. A preview is the same without writes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::POLICY_NAME;
use super::client::{REQUEST_DEADLINE, within};
use super::read::registry_access::CachedAccess;
use super::read::{Observed, Reader, Source, settings, variant};
use super::registry_cache::RegistryCache;
use super::status::{self, StatusWriter};
use super::watch::{Watches, nodes, pods, policy_revision};
use super::write::{Basis, Writer, Written};
use crate::api::{ImageSetPolicy, ImageSetPolicyStatus};
use crate::catalogue::Catalogue;
use crate::model::{Action, Decision, ENTERPRISE_NAMESPACES, Finding, Outcome, Read, Report, Snapshot, Variant};
use crate::rules::decide::decide;
use crate::rules::lookup_loop;
use crate::rules::lookup_loop::decide_with_lookups;
use crate::rules::schedule::{Due, Ended, ReadsFrom, Schedule};

/// How long a reconcile waits for registries before it reports that it does.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long the command line waits for them.
const LONG_PATIENCE: Duration = Duration::from_secs(150);

/// What one reconcile saw, decided and reports.
pub struct Reconciled {
    /// What was seen, the responses of registries included.
    pub snapshot: Snapshot,
    /// What was decided.
    pub decision: Decision,
    /// What is reported.
    pub report: Report,
}

/// Reconciles without any write, for the command line, which may change the snapshot before the decision.
pub async fn preview(
    client: Client,
    policy: &ImageSetPolicy,
    own_namespace: String,
    registries: &RegistryCache,
    change: &dyn Fn(&mut Snapshot),
) -> Reconciled {
    let mut snapshot = observe_once(client.clone(), policy, own_namespace).await;
    change(&mut snapshot);
    let mut access = CachedAccess::default();
    let decision = decide_with_lookups(&mut snapshot, Catalogue::embedded(), async |snapshot, decision| {
        let (access, findings) = access.of(&client, policy, snapshot.effective_installation()).await;
        add_new(&mut snapshot.objections, &findings);
        let responses = registries.look_up(&decision.lookups, access, LONG_PATIENCE).await;
        lookup_loop::add(&mut snapshot.lookup_results, responses);
        true
    })
    .await;
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    Reconciled { snapshot, decision, report }
}

/// The same without registries: nothing is looked up, and the results of the last check still hold.
pub async fn preview_of_cluster(client: Client, policy: &ImageSetPolicy, own_namespace: String) -> Reconciled {
    let snapshot = observe_once(client, policy, own_namespace).await;
    let decision = decide(&snapshot, Catalogue::embedded());
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    Reconciled { snapshot, decision, report }
}

/// Reads everything but responses of registries from the API server.
async fn observe_once(client: Client, policy: &ImageSetPolicy, own_namespace: String) -> Snapshot {
    let mut reader = Reader::new(client.clone(), own_namespace);
    let more = client.clone();
    let (nodes, pods) = (nodes::list_once(client.clone()), pods::list_once(client));
    let (observed, nodes, pods) = futures::join!(reader.observe(policy, Source::ApiServer), nodes, pods);
    let mut snapshot = observed.snapshot;
    snapshot.set_nodes(nodes);
    snapshot.pods = match snapshot.effective_installation().variant {
        Variant::Calico => pods,
        Variant::Enterprise => pods::both(pods, pods::list_in(more, &ENTERPRISE_NAMESPACES).await),
    };
    snapshot
}

/// Reconciles one policy, again and again.
pub struct Reconciler {
    client: Client,
    policies: Api<ImageSetPolicy>,
    watches: Watches,
    reader: Reader,
    registries: RegistryCache,
    access: CachedAccess,
    writer: Writer,
    status: StatusWriter,
    schedule: Schedule,
    /// Whether a read failed in the last reconcile.
    had_failures: bool,
}

/// How a reconcile ended.
pub enum End {
    /// It is complete, and the next one starts after this time.
    Reconciled(Box<Reconciled>, Duration),
    /// The policy has changed before anything was written.
    Changed(Box<ImageSetPolicy>),
    /// The policy is deleted.
    Gone,
}

/// A decision, with its inputs.
struct Planned {
    policy: Arc<ImageSetPolicy>,
    observed: Observed,
    due: Due,
    decision: Decision,
    /// Settings for registries that cannot be used.
    objections: Vec<Finding>,
    /// Whether the snapshot comes from the stores of the watches.
    is_from_stores: bool,
}

/// The end of a confirmation.
enum Confirmed {
    /// The decision writes nothing new, so that it needs no confirmation. The draft of its report comes with it.
    WritesNothing(Box<(Planned, Draft)>),
    /// The decision that follows from the API server.
    DecidedAgain(Box<Planned>),
    /// The policy was changed or deleted since.
    Ended(End),
}

/// A report, and the status that is written for it.
struct Draft {
    report: Report,
    status: ImageSetPolicyStatus,
}

impl Reconciler {
    /// One that reads and writes here.
    #[must_use]
    pub fn new(
        client: Client,
        watches: Watches,
        reader: Reader,
        registries: RegistryCache,
        writer: Writer,
        status: StatusWriter,
    ) -> Self {
        Self {
            policies: Api::all(client.clone()),
            client,
            watches,
            reader,
            registries,
            access: CachedAccess::default(),
            writer,
            status,
            schedule: Schedule::default(),
            had_failures: false,
        }
    }

    /// The policy as it is now, with the status that this controller wrote last; from the API server where the watch does not know it.
    ///
    /// # Errors
    /// The API server's, or it did not respond in time.
    pub async fn policy(&self) -> Result<Option<Arc<ImageSetPolicy>>, kube::Error> {
        self.watches.wait_for_policy().await;
        match self.watches.policy() {
            Some(Read::Known(policy)) => Ok(policy),
            _ => Ok(within(REQUEST_DEADLINE, self.policies.get_opt(POLICY_NAME)).await?.map(Arc::new)),
        }
    }

    /// Whether the kind of the policy is not installed.
    #[must_use]
    pub fn lacks_kind(&self) -> bool {
        matches!(self.watches.policy(), Some(Read::KindMissing))
    }

    /// Reconciles.
    ///
    /// # Errors
    /// The policy could not be read again, or the status could not be written.
    pub async fn reconcile(&mut self, policy: Arc<ImageSetPolicy>) -> Result<End, kube::Error> {
        let (observed, is_from_stores) = self.observe(&policy).await;
        let planned = self.plan(policy, observed, is_from_stores).await;
        let (planned, drafted) = match self.confirm(planned).await? {
            Confirmed::WritesNothing(drafted) => (drafted.0, Some(drafted.1)),
            Confirmed::DecidedAgain(planned) => (*planned, None),
            Confirmed::Ended(end) => return Ok(end),
        };
        let (outcome, pause) = self.write(&planned).await;
        let drafted = drafted.filter(|_| outcome == Outcome::default());
        let Draft { report, status } = drafted.unwrap_or_else(|| Draft::new(&planned, &outcome));
        let has_new_facts = self.report(&planned, &report, &status).await?;
        let Planned { observed, due, decision, .. } = planned;
        let next = self.schedule.next(
            &Ended {
                due: &due,
                snapshot: &observed.snapshot,
                decision: &decision,
                pause,
                has_written: outcome.completed > 0 || has_new_facts,
                retry: self.registries.next_retry(&observed.snapshot.lookup_results),
                doubt: self.registries.doubt(&decision.unsuitable),
            },
            Timestamp::now(),
        );
        Ok(End::Reconciled(Box::new(Reconciled { snapshot: observed.snapshot, decision, report }), next))
    }

    /// Records a failed reconcile. Returns the time until the next one.
    pub fn failed(&mut self) -> Duration {
        self.schedule.failed()
    }

    /// Reads everything but responses of registries. The second value is whether it comes from the stores.
    async fn observe(&mut self, policy: &ImageSetPolicy) -> (Observed, bool) {
        let inspection = &policy.spec.inspection;
        self.watches.watch_operator_in(&settings::operator_location(&policy.spec));
        self.watches.watch_inspections_in(inspection.enabled.then_some(&inspection.namespace));
        self.watches.wait_for_first_responses().await;
        if let Some(installations) = self.watches.installations() {
            self.watches.watch_enterprise(variant(&installations) == Variant::Enterprise);
            self.watches.wait_for_first_responses().await;
        }
        let now = Instant::now().into_std();
        let reads_from = self.schedule.reads_from(now);
        if reads_from == ReadsFrom::ApiServer {
            return (self.read(policy).await, false);
        }
        let mut observed = self.reader.observe(policy, Source::Stores(&self.watches)).await;
        if reads_from == ReadsFrom::Stores {
            self.complete(&mut observed);
            return (observed, true);
        }
        let stored = observed.readings;
        let observed = self.read(policy).await;
        self.schedule.was_audited(now);
        if !observed.readings.has_failures() && observed.readings != stored {
            tracing::info!("the watches had missed a change; everything is listed again");
            self.watches.relist_all();
        }
        (observed, false)
    }

    /// Reads everything but responses of registries from the API server.
    async fn read(&mut self, policy: &ImageSetPolicy) -> Observed {
        let mut observed = self.reader.observe(policy, Source::ApiServer).await;
        self.watches.compare(&observed.readings);
        self.complete(&mut observed);
        observed
    }

    /// Adds aggregates and counts that only this process keeps.
    fn complete(&mut self, observed: &mut Observed) {
        let has_failures = observed.readings.has_failures();
        if self.had_failures && !has_failures {
            self.watches.relist();
        }
        self.had_failures = has_failures;
        let snapshot = &mut observed.snapshot;
        snapshot.set_nodes(self.watches.nodes().read());
        snapshot.pods = self.watches.pods();
        snapshot.restored = self.writer.restored_counts();
    }

    /// Decides, with lookups in registries.
    async fn plan(&mut self, policy: Arc<ImageSetPolicy>, mut observed: Observed, is_from_stores: bool) -> Planned {
        let observed_generation = policy.status.as_ref().and_then(|status| status.observed_generation);
        let is_observed = observed_generation == policy.metadata.generation;
        let uid = policy.uid().unwrap_or_default();
        let due = self.schedule.begin(&mut observed.snapshot, &uid, is_observed, Timestamp::now());
        self.registries.forget(&due.forgotten);
        let (mut objections, mut is_first) = (Vec::new(), true);
        let (client, registries, access) = (&self.client, &self.registries, &mut self.access);
        let decision =
            decide_with_lookups(&mut observed.snapshot, Catalogue::embedded(), async |snapshot, decision| {
                // Once: secrets that are slow to read must not be read in each round.
                if std::mem::take(&mut is_first) && registries.is_due(&decision.lookups) {
                    access.forget();
                }
                let (access, findings) = access.of(client, &policy, snapshot.effective_installation()).await;
                add_new(&mut snapshot.objections, &findings);
                objections = findings;
                // A write waits only for the lookups that block it; the others run meanwhile.
                let blocks_no_write = decision.lookups.blocks_no_write() && !decision.actions.is_empty();
                let patience = if blocks_no_write { Duration::ZERO } else { PATIENCE };
                let responses = registries.look_up(&decision.lookups, access, patience).await;
                lookup_loop::add(&mut snapshot.lookup_results, responses);
                true
            })
            .await;
        Planned { policy, observed, due, decision, objections, is_from_stores }
    }

    /// Confirms a decision that writes, once: reads the API server, and decides again with the responses of registries that are
    /// known. Looks nothing up: a decision that requires more lookups writes nothing, and the next reconcile does them.
    async fn confirm(&mut self, planned: Planned) -> Result<Confirmed, kube::Error> {
        let writes = !planned.decision.actions.is_empty() && self.paused(&planned.decision.actions).is_none();
        let drafted = (!writes).then(|| Draft::new(&planned, &Outcome::default()));
        if let Some(draft) = drafted.filter(|draft| !draft.has_new_facts(&planned.policy)) {
            return Ok(Confirmed::WritesNothing(Box::new((planned, draft))));
        }
        let policies = self.policies.clone();
        let policy = within(REQUEST_DEADLINE, policies.get_opt(POLICY_NAME));
        let (policy, mut observed) = futures::join!(policy, self.read(&planned.policy));
        let Some(policy) = policy? else { return Ok(Confirmed::Ended(End::Gone)) };
        if policy_revision(&policy) != policy_revision(&planned.policy) {
            return Ok(Confirmed::Ended(End::Changed(Box::new(policy))));
        }
        let snapshot = &mut observed.snapshot;
        snapshot.remembered = policy.status.as_ref().map(status::remembered).unwrap_or_default();
        add_new(&mut snapshot.objections, &planned.objections);
        snapshot.lookup_results = planned.observed.snapshot.lookup_results;
        snapshot.recheck_due = planned.observed.snapshot.recheck_due;
        snapshot.discovery_due = planned.observed.snapshot.discovery_due;
        let decision = decide(snapshot, Catalogue::embedded());
        let is_the_same = write_the_same(&decision.actions, &planned.decision.actions);
        if planned.is_from_stores && self.schedule.confirmed(is_the_same) {
            self.watches.relist();
        }
        Ok(Confirmed::DecidedAgain(Box::new(Planned { policy: Arc::new(policy), observed, decision, ..planned })))
    }

    fn paused(&self, actions: &[Action]) -> Option<(Outcome, Duration)> {
        self.schedule.paused(actions, Instant::now().into_std())
    }

    /// Carries out the actions, unless they pause after a failure. The second value is that pause.
    async fn write(&mut self, planned: &Planned) -> (Outcome, Option<Duration>) {
        let actions = &planned.decision.actions;
        if let Some((outcome, pause)) = self.paused(actions) {
            return (outcome, Some(pause));
        }
        let outcome = match actions.as_slice() {
            [] => Outcome::default(),
            actions => {
                let record_versions = &planned.observed.readings.record_versions();
                let basis = Basis { inspection: &planned.policy.spec.inspection, record_versions };
                let (outcome, written) = self.writer.apply(actions, &basis).await;
                written.into_iter().for_each(|written| self.watches.learn(written));
                outcome
            }
        };
        let pause = self.schedule.written(actions, &outcome, Instant::now().into_std());
        (outcome, pause)
    }

    /// Writes the status and publishes the events. Returns whether later decisions depend on what was written.
    async fn report(
        &self,
        Planned { policy, .. }: &Planned,
        report: &Report,
        status: &ImageSetPolicyStatus,
    ) -> Result<bool, kube::Error> {
        let Some(written) = self.status.write(policy, status, &report.events).await? else { return Ok(false) };
        let facts = |policy: &ImageSetPolicy| policy.status.as_ref().map(status::facts);
        let has_new_facts = facts(policy) != facts(&written);
        self.watches.learn(Written::Policy(Box::new(written)));
        Ok(has_new_facts)
    }
}

impl Draft {
    fn new(Planned { policy, observed, decision, .. }: &Planned, outcome: &Outcome) -> Self {
        let report = Report::new(&observed.snapshot, decision, outcome);
        Self { status: status::next(policy, &report), report }
    }

    /// Whether later decisions depend on a change of the status. Findings and conditions, which only people read, do not count.
    fn has_new_facts(&self, policy: &ImageSetPolicy) -> bool {
        let (before, after) = (policy.status.clone().unwrap_or_default(), &self.status);
        before.observed_generation != after.observed_generation || status::facts(&before) != status::facts(after)
    }
}

fn add_new(known: &mut Vec<Finding>, more: &[Finding]) {
    let new = more.iter().filter(|one| !known.contains(one)).cloned().collect::<Vec<_>>();
    known.extend(new);
}

/// Whether two decisions write the same objects, whatever the times in them.
fn write_the_same(some: &[Action], others: &[Action]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| writes_the_same(one, other))
}

fn writes_the_same(one: &Action, other: &Action) -> bool {
    match (one, other) {
        (Action::WriteRecord(one), Action::WriteRecord(other)) => one.key == other.key,
        (Action::StoreImageSet(one), Action::StoreImageSet(other)) => one.set.name() == other.set.name(),
        (Action::KeepInspection(one), Action::KeepInspection(other)) => one.digest == other.digest,
        (Action::StartInspection(one), Action::StartInspection(other)) => one.digest == other.digest,
        (Action::EndInspection { name: one, .. }, Action::EndInspection { name: other, .. }) => one == other,
        (Action::PruneImageSet(one), Action::PruneImageSet(other)) => one.image_set == other.image_set,
        (Action::SetGate(one), Action::SetGate(other)) => one == other,
        (
            Action::WriteRecord(_)
            | Action::StoreImageSet(_)
            | Action::KeepInspection(_)
            | Action::StartInspection(_)
            | Action::EndInspection { .. }
            | Action::PruneImageSet(_)
            | Action::SetGate(_),
            _,
        ) => false,
    }
}
