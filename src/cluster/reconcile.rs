//! One reconcile: observe, decide, confirm, write, report. The same road with and without writes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::POLICY_NAME;
use super::client::{REQUEST_DEADLINE, within};
use super::read::registry_access::CachedAccess;
use super::read::{Observed, Reader, Source, settings};
use super::registry_cache::RegistryCache;
use super::status::{self, StatusWriter};
use super::watch::{Watches, asks, nodes, pods};
use super::write::{Basis, Writer, Written};
use crate::api::ImageSetPolicy;
use crate::catalogue::Catalogue;
use crate::model::{Action, Decision, Finding, Outcome, Read, Report, Snapshot};
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

/// A reconcile without any write, for the command line, which may change what was seen before it is decided upon.
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

/// The same of the cluster alone: nothing is looked up in registries, and what the last check found of them still holds.
pub async fn preview_of_cluster(client: Client, policy: &ImageSetPolicy, own_namespace: String) -> Reconciled {
    let snapshot = observe_once(client, policy, own_namespace).await;
    let decision = decide(&snapshot, Catalogue::embedded());
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    Reconciled { snapshot, decision, report }
}

/// Everything but what registries say, from the API server.
async fn observe_once(client: Client, policy: &ImageSetPolicy, own_namespace: String) -> Snapshot {
    let mut reader = Reader::new(client.clone(), own_namespace);
    let (nodes, pods) = (nodes::list_once(client.clone()), pods::list_once(client));
    let (observed, nodes, pods) = futures::join!(reader.observe(policy, Source::ApiServer), nodes, pods);
    let mut snapshot = observed.snapshot;
    snapshot.set_nodes(nodes);
    snapshot.pods = pods;
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
    /// It is done, and the next one is after this time.
    Done(Box<Reconciled>, Duration),
    /// Somebody changed the policy before anything was written.
    Changed(Box<ImageSetPolicy>),
    /// Somebody deleted it.
    Gone,
}

/// A decision, with what it was made from.
struct Planned {
    policy: Arc<ImageSetPolicy>,
    observed: Observed,
    due: Due,
    decision: Decision,
    /// What could not be used of the settings for registries.
    objections: Vec<Finding>,
    /// It was made from the stores of the watches.
    is_from_stores: bool,
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
    /// The API server's, or it did not answer in time.
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
        let planned = match self.confirm(planned).await? {
            Ok(planned) => planned,
            Err(end) => return Ok(end),
        };
        let (outcome, pause) = self.write(&planned).await;
        let (report, has_new_facts) = self.report(&planned, &outcome).await?;
        let Planned { observed, due, decision, .. } = planned;
        let next = self.schedule.next(
            &Ended {
                due: &due,
                snapshot: &observed.snapshot,
                decision: &decision,
                pause,
                has_written: outcome.done > 0 || has_new_facts,
                retry: self.registries.next_retry(&observed.snapshot.lookup_results),
                doubt: self.registries.doubt(&decision.unsuitable),
            },
            Timestamp::now(),
        );
        Ok(End::Done(Box::new(Reconciled { snapshot: observed.snapshot, decision, report }), next))
    }

    /// A reconcile failed. Returns when the next one is.
    pub fn failed(&mut self) -> Duration {
        self.schedule.failed()
    }

    /// Reads everything but what registries say. The second value says whether it comes from the stores.
    async fn observe(&mut self, policy: &ImageSetPolicy) -> (Observed, bool) {
        let inspection = &policy.spec.inspection;
        self.watches.watch_operator_in(&settings::operator_location(&policy.spec));
        self.watches.watch_inspections_in(inspection.enabled.then_some(&inspection.namespace));
        self.watches.wait_for_answers().await;
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

    /// Everything but what registries say, from the API server.
    async fn read(&mut self, policy: &ImageSetPolicy) -> Observed {
        let mut observed = self.reader.observe(policy, Source::ApiServer).await;
        self.watches.compare(&observed.readings);
        self.complete(&mut observed);
        observed
    }

    /// Adds what only this process knows.
    fn complete(&mut self, observed: &mut Observed) {
        let has_failures = observed.readings.has_failures();
        if self.had_failures && !has_failures {
            self.watches.relist();
        }
        self.had_failures = has_failures;
        let snapshot = &mut observed.snapshot;
        snapshot.set_nodes(self.watches.nodes().read());
        snapshot.pods = self.watches.pods().read();
        snapshot.restored = self.writer.put_back_counts();
    }

    /// Decides, with what registries say.
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
                // Where something is to be written, only what that needs is waited for; the rest is looked up meanwhile.
                let blocks_no_write = decision.lookups.blocks_no_write() && !decision.actions.is_empty();
                let patience = if blocks_no_write { Duration::ZERO } else { PATIENCE };
                let responses = registries.look_up(&decision.lookups, access, patience).await;
                lookup_loop::add(&mut snapshot.lookup_results, responses);
                true
            })
            .await;
        Planned { policy, observed, due, decision, objections, is_from_stores }
    }

    /// Confirms once what would be written against fresh reads of the API server, and decides again on these and on what is known of
    /// registries. Looks nothing up: a decision that needs more than that writes nothing, and the next reconcile looks it up.
    async fn confirm(&mut self, planned: Planned) -> Result<Result<Planned, End>, kube::Error> {
        if !self.needs_confirmation(&planned) {
            return Ok(Ok(planned));
        }
        let policies = self.policies.clone();
        let policy = within(REQUEST_DEADLINE, policies.get_opt(POLICY_NAME));
        let (policy, mut observed) = futures::join!(policy, self.read(&planned.policy));
        let Some(policy) = policy? else { return Ok(Err(End::Gone)) };
        if asks(&policy) != asks(&planned.policy) {
            return Ok(Err(End::Changed(Box::new(policy))));
        }
        let snapshot = &mut observed.snapshot;
        snapshot.remembered = policy.status.as_ref().map(status::remembered).unwrap_or_default();
        add_new(&mut snapshot.objections, &planned.objections);
        snapshot.lookup_results = planned.observed.snapshot.lookup_results;
        snapshot.recheck_due = planned.observed.snapshot.recheck_due;
        snapshot.discovery_due = planned.observed.snapshot.discovery_due;
        let decision = decide(snapshot, Catalogue::embedded());
        let is_the_same = subjects(&decision.actions) == subjects(&planned.decision.actions);
        if planned.is_from_stores && self.schedule.confirmed(is_the_same) {
            self.watches.relist();
        }
        Ok(Ok(Planned { policy: Arc::new(policy), observed, decision, ..planned }))
    }

    /// Whether something would be written that later decisions go by: what only people read is reported as the stores say.
    fn needs_confirmation(&self, planned: &Planned) -> bool {
        let Planned { policy, observed, decision, .. } = planned;
        if !decision.actions.is_empty() && self.paused(&decision.actions).is_none() {
            return true;
        }
        let report = Report::new(&observed.snapshot, decision, &Outcome::default());
        let (before, after) = (policy.status.clone().unwrap_or_default(), status::next(policy, &report));
        before.observed_generation != after.observed_generation || status::facts(&before) != status::facts(&after)
    }

    fn paused(&self, actions: &[Action]) -> Option<(Outcome, Duration)> {
        self.schedule.paused(actions, Instant::now().into_std())
    }

    /// Carries out what was decided, or waits for the end of a pause after a failure. The second value is that pause.
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

    /// Says in the status and in events what was seen, decided and done. The second value says whether later decisions go by it.
    async fn report(&self, planned: &Planned, outcome: &Outcome) -> Result<(Report, bool), kube::Error> {
        let Planned { policy, observed, decision, .. } = planned;
        let report = Report::new(&observed.snapshot, decision, outcome);
        let Some(written) = self.status.write(policy, &report).await? else { return Ok((report, false)) };
        let facts = |policy: &ImageSetPolicy| policy.status.as_ref().map(status::facts);
        let has_new_facts = facts(policy) != facts(&written);
        self.watches.learn(Written::Policy(Box::new(written)));
        Ok((report, has_new_facts))
    }
}

fn add_new(known: &mut Vec<Finding>, more: &[Finding]) {
    let new = more.iter().filter(|one| !known.contains(one)).cloned().collect::<Vec<_>>();
    known.extend(new);
}

/// What the actions are about: two decisions of the same want the same, whatever the time.
fn subjects(actions: &[Action]) -> Vec<(std::mem::Discriminant<Action>, String)> {
    let name = |action: &Action| match action {
        Action::WriteRecord(record) => record.key.name(),
        Action::KeepInspection(inspected) => inspected.name(),
        Action::StartInspection(start) => start.name(),
        Action::EndInspection { name, .. } => name.clone(),
        Action::StoreImageSet(store) => store.set.name().to_string(),
        Action::PruneImageSet(prune) => prune.image_set.clone(),
        Action::SetGate(enforcement) => format!("{enforcement:?}"),
    };
    actions.iter().map(|action| (std::mem::discriminant(action), name(action))).collect()
}
