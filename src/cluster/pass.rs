//! One pass: observe, decide, apply, report. The same road with and without writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Api;
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::POLICY_NAME;
use super::answers::RegistryAnswers;
use super::apply::Applier;
use super::client::{REQUEST_DEADLINE, within};
use super::nodes;
use super::observe::Observer;
use super::pods::{self, ManagedPods};
use super::records::Records;
use super::registry_access::registry_access;
use super::status::StatusWriter;
use crate::api::{ImageSetPolicy, Inspection};
use crate::catalogue::Catalogue;
use crate::model::action::Action;
use crate::model::decision::Decision;
use crate::model::digest::Digest;
use crate::model::finding::Finding;
use crate::model::outcome::Outcome;
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::report::Report;
use crate::model::settings::InstallationSettings;
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::StoredImage;
use crate::model::stored_time::elapsed;
use crate::rules::decide::decide;

/// How long a pass waits for registries before it reports that it does.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long the command line waits for them.
pub const LONG_PATIENCE: Duration = Duration::from_secs(150);
/// The shortest time between two passes that nothing but time makes necessary.
const SOONEST: Duration = Duration::from_millis(500);
/// A pass is made at least this often, whatever the watches say.
const AT_LEAST_EVERY: Duration = Duration::from_secs(300);
/// The first pause after a write that met another's: a new look is all that it needs.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// The first pause after a write that was refused. Both double with every pass that fails.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The first pause after a read that failed; it doubles with every pass in which one does.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these.
const LONGEST_READ_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause while something outside the watched objects has to be mended by a person.
const MENDING: Duration = Duration::from_secs(30);
/// A decision that waited longer than this for Secrets and registries is confirmed against fresh reads before it is carried
/// out. Once only: reads that take longer than this every time must not keep the controller from writing.
const FRESH: Duration = Duration::from_millis(250);
/// How long the first pass waits for the nodes.
const NODES_WITHIN: Duration = Duration::from_secs(5);
/// How long it waits for the pods: in the largest clusters they are some 300 MB.
const PODS_WITHIN: Duration = Duration::from_secs(15);
/// Rounds of questions: the operator's label, the images, and one for what came of them.
const ROUNDS: usize = 4;

/// What one pass saw, decided and said.
pub struct Passed {
    /// What was seen, the registries' answers included.
    pub snapshot: Snapshot,
    /// What was decided.
    pub decision: Decision,
    /// What is said.
    pub report: Report,
}

/// Which answers of registries a decision waits for.
#[derive(Clone, Copy)]
enum WaitsFor {
    /// All that could be told.
    All,
    /// Where something is to be written, what that needs; the rest is asked meanwhile.
    Writes,
}

impl WaitsFor {
    fn patience(self, decision: &Decision) -> Duration {
        match self {
            Self::All => LONG_PATIENCE,
            Self::Writes if decision.questions.holds_nothing() && !decision.actions.is_empty() => Duration::ZERO,
            Self::Writes => PATIENCE,
        }
    }
}

/// A decision, with what it was made from.
struct Planned {
    snapshot: Snapshot,
    decision: Decision,
    /// What could not be used of the settings for registries.
    objections: Vec<Finding>,
    /// How long Secrets and registries were waited for.
    waited: Duration,
}

/// Decides; writes nothing. `snapshot` comes with everything but the registries' answers. Secrets are read once, and at most
/// [`ROUNDS`] rounds of lookups are waited for.
async fn plan(
    client: &Client,
    policy: &ImageSetPolicy,
    snapshot: Snapshot,
    answers: &RegistryAnswers,
    waits_for: WaitsFor,
) -> Planned {
    let decision = decide(&snapshot, Catalogue::embedded());
    let mut planned = Planned { snapshot, decision, objections: Vec::new(), waited: Duration::ZERO };
    if planned.decision.questions.is_empty() {
        return planned;
    }
    let started = Instant::now();
    let (access, objections) = registry_access(client, &policy.spec, &effective(&planned.snapshot)).await;
    planned.objections = objections;
    add_new(&mut planned.snapshot.objections, &planned.objections);
    for _ in 0..ROUNDS {
        let patience = waits_for.patience(&planned.decision);
        let answered = answers.ask(&planned.decision.questions, access.clone(), patience).await;
        planned.snapshot.answers.images.extend(answered.images);
        planned.snapshot.answers.operators.extend(answered.operators);
        planned.snapshot.answers.releases.extend(answered.releases);
        planned.decision = decide(&planned.snapshot, Catalogue::embedded());
        if planned.decision.questions.is_empty() {
            break;
        }
    }
    planned.waited = started.elapsed();
    planned
}

fn add_new(known: &mut Vec<Finding>, more: &[Finding]) {
    let new = more.iter().filter(|one| !known.contains(one)).cloned().collect::<Vec<_>>();
    known.extend(new);
}

/// One look without any write, for the command line, which may change what was seen before it is decided upon.
pub async fn look(
    client: Client,
    policy: &ImageSetPolicy,
    own_namespace: String,
    answers: &RegistryAnswers,
    change: &dyn Fn(&mut Snapshot),
) -> Passed {
    let mut snapshot = seen(client.clone(), policy, own_namespace).await;
    change(&mut snapshot);
    let Planned { snapshot, decision, .. } = plan(&client, policy, snapshot, answers, WaitsFor::All).await;
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    Passed { snapshot, decision, report }
}

/// One look at the cluster alone: no registry is asked, and what the last check found of them still holds.
pub async fn look_at_cluster(client: Client, policy: &ImageSetPolicy, own_namespace: String) -> Passed {
    let snapshot = seen(client, policy, own_namespace).await;
    let decision = decide(&snapshot, Catalogue::embedded());
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    Passed { snapshot, decision, report }
}

/// Everything but what registries tell.
async fn seen(client: Client, policy: &ImageSetPolicy, own_namespace: String) -> Snapshot {
    let records = Records::new(client.clone(), own_namespace);
    let observer = Observer::new(client.clone(), Arc::new(records));
    let (nodes, pods) = (nodes::list_once(client.clone()), pods::list_once(client));
    let (mut snapshot, nodes, pods) = futures::join!(observer.observe(policy), nodes, pods);
    snapshot.set_nodes(nodes);
    snapshot.pods = pods;
    snapshot
}

/// Everything that passes of one controller share.
pub struct Passes {
    /// Connection for what the rooms below do not do themselves.
    pub client: Client,
    /// Policies.
    pub policies: Api<ImageSetPolicy>,
    /// Reads.
    pub observer: Observer,
    /// Reads nodes.
    pub nodes: nodes::NodePlatforms,
    /// Reads pods.
    pub pods: ManagedPods,
    /// Asks registries.
    pub answers: RegistryAnswers,
    /// Writes sets and records.
    pub applier: Applier,
    /// Writes status and events.
    pub status: StatusWriter,
    /// Writes that failed in the last pass.
    pub refused: Mutex<Option<Refused>>,
    /// Passes in a row in which a read failed.
    pub failed_reads: Mutex<u32>,
    /// The refresh for which answers were forgotten.
    pub begun_refresh: Mutex<Option<String>>,
    /// Other people's sets as they were when registries had answered all about them.
    pub judged: Mutex<Option<ForeignSets>>,
}

/// The entries of sets that are not ours, by name.
type ForeignSets = BTreeMap<String, Vec<StoredImage>>;

/// A write that failed, and until when the same actions are not tried again, whatever wakes a pass.
pub struct Refused {
    actions: Vec<Action>,
    outcome: Outcome,
    /// Passes in a row in which a write failed.
    failures: u32,
    until: Instant,
}

impl Passes {
    /// Reconciles a policy. Returns what was reported and when to reconcile again; nothing if somebody changed the policy
    /// before anything was written.
    ///
    /// # Errors
    /// The policy could not be read again, or the status could not be written.
    pub async fn make(&self, policy: &ImageSetPolicy) -> Result<Option<(Passed, Duration)>, kube::Error> {
        futures::join!(self.nodes.wait_for_answer(NODES_WITHIN), self.pods.wait_for_answer(PODS_WITHIN));
        let mut snapshot = self.seen(policy).await;
        let due = recheck_due_in(policy, &snapshot);
        let refresh = snapshot.refresh_due();
        if refresh {
            self.start_refresh(&snapshot);
        }
        // A check that failed is still due.
        let failed = snapshot.remembered.findings.iter().any(|finding| finding.reason == Reason::RecheckFailed);
        // What somebody else pins is compared with the registry at once, and not half a day later.
        let foreign = foreign_sets(&snapshot);
        let edited = foreign.as_ref().is_some_and(|foreign| self.is_news(foreign));
        snapshot.recheck_due = due.is_zero() || refresh || failed || edited;
        if snapshot.recheck_due && !refresh && !edited {
            // What was asked for the last check is half an interval old at the least.
            self.answers.forget_older_than(snapshot.settings.recheck_interval / 2);
        }

        let discovery_due = discovery_due_in(policy, &snapshot);
        snapshot.discovery_due = discovery_due.is_some_and(|due| due.is_zero() || refresh);
        if let (true, false, Some(discover)) = (snapshot.discovery_due, refresh, &snapshot.settings.discover) {
            self.answers.forget_releases_older_than(discover.interval / 2);
        }

        let mut planned = plan(&self.client, policy, snapshot, &self.answers, WaitsFor::Writes).await;
        if planned.waited > FRESH && !planned.decision.actions.is_empty() {
            let (unchanged, confirmed) = futures::join!(self.is_unchanged(policy), self.confirmed(policy, planned));
            if !unchanged? {
                return Ok(None);
            }
            planned = confirmed;
        }
        let Planned { snapshot, decision, .. } = planned;
        if let Some(foreign) = foreign.filter(|_| decision.questions.is_empty()) {
            *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some(foreign);
        }
        let (outcome, pause) = self.apply(&decision.actions, &policy.spec.inspection).await;
        let report = Report::new(&snapshot, &decision, &outcome);
        self.status.write(policy, &report).await?;

        let mut next = pause.unwrap_or_else(|| self.next(&snapshot, due, discovery_due));
        // A person may be mending it now, in the registry or in a Secret, which nobody watches.
        let mendable = snapshot.objections.iter().chain(&decision.findings).any(is_mended_elsewhere);
        if mendable {
            next = next.min(MENDING);
        }
        if let Some(pause) = self.reads_failed(&decision) {
            next = next.min(pause);
        }
        if let Some(wait) = self.answers.doubt(&decision.unsuitable) {
            next = next.min(wait.max(SOONEST));
        }
        // Nothing looks these up before the next reconcile.
        if !decision.questions.is_empty() {
            next = next.min(SOONEST);
        }
        if let Some(due) = decision.look_again {
            let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
            next = next.min(left.max(Duration::from_secs(1)));
        }
        Ok(Some((Passed { snapshot, decision, report }, next)))
    }

    /// Everything but what registries say.
    async fn seen(&self, policy: &ImageSetPolicy) -> Snapshot {
        let mut snapshot = self.observer.observe(policy).await;
        snapshot.set_nodes(self.nodes.read());
        snapshot.pods = self.pods.read();
        snapshot.put_back = self.applier.put_back_counts();
        snapshot
    }

    /// Decides again on fresh reads of the cluster and on what is known of registries. Looks nothing up: a decision that needs
    /// more than that writes nothing, and the next reconcile looks it up.
    async fn confirmed(&self, policy: &ImageSetPolicy, planned: Planned) -> Planned {
        let mut snapshot = self.seen(policy).await;
        add_new(&mut snapshot.objections, &planned.objections);
        snapshot.answers = planned.snapshot.answers;
        snapshot.recheck_due = planned.snapshot.recheck_due;
        snapshot.discovery_due = planned.snapshot.discovery_due;
        Planned { decision: decide(&snapshot, Catalogue::embedded()), snapshot, ..planned }
    }

    /// The policy as it is now. The watch's copy may be older than the controller's own last status.
    ///
    /// # Errors
    /// The API server's, or it did not answer in time.
    pub async fn policy(&self) -> Result<Option<ImageSetPolicy>, kube::Error> {
        within(REQUEST_DEADLINE, self.policies.get_opt(POLICY_NAME)).await
    }

    /// Whether the policy still asks for what it asked for when this reconcile began.
    async fn is_unchanged(&self, policy: &ImageSetPolicy) -> Result<bool, kube::Error> {
        let asks = |policy: &ImageSetPolicy| (policy.uid(), policy.metadata.generation, policy.annotations().clone());
        let now = self.policy().await?;
        Ok(now.is_some_and(|now| asks(&now) == asks(policy)))
    }

    /// Until what could not be read is tried again: a right that was given back, or an apiserver that has recovered, wakes nobody.
    fn reads_failed(&self, decision: &Decision) -> Option<Duration> {
        let mut in_a_row = self.failed_reads.lock().unwrap_or_else(PoisonError::into_inner);
        if !decision.findings.iter().any(|finding| finding.reason.is_of_a_read()) {
            *in_a_row = 0;
            return None;
        }
        let pause = READ_PAUSE.saturating_mul(1 << (*in_a_row).min(10)).min(LONGEST_READ_PAUSE);
        *in_a_row += 1;
        Some(pause)
    }

    /// Whether other people's sets are others than those that were judged. At a start nobody knows, and the interval counts.
    fn is_news(&self, foreign: &ForeignSets) -> bool {
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        judged.as_ref().is_some_and(|judged| judged != foreign)
    }

    /// Forgets what was remembered, failures and pauses included: once for each value that asks for it, so that answers
    /// which come later than this pass still count in the next.
    fn start_refresh(&self, snapshot: &Snapshot) {
        let mut begun = self.begun_refresh.lock().unwrap_or_else(PoisonError::into_inner);
        if *begun != snapshot.refresh {
            begun.clone_from(&snapshot.refresh);
            self.answers.forget_all();
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Carries out what was decided, or waits for the end of a pause after a failure. The second value is that pause.
    async fn apply(&self, actions: &[Action], inspection: &Inspection) -> (Outcome, Option<Duration>) {
        let now = Instant::now();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failures = refused.as_ref().map_or(0, |refused| refused.failures);
        if let Some(refused) = refused.filter(|refused| refused.actions == actions && now < refused.until) {
            let (outcome, pause) = (refused.outcome.clone(), refused.until - now);
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
            return (outcome, Some(pause));
        }
        let outcome = match actions {
            [] => Outcome::default(),
            actions => self.applier.apply(actions, inspection).await,
        };
        let Some(failure) = &outcome.failure else { return (outcome, None) };
        let first = if failure.conflict { CONFLICT_PAUSE } else { REFUSAL_PAUSE };
        let pause = first.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE);
        let again = Outcome { failure: outcome.failure.clone(), ..Outcome::default() };
        let refused = Refused {
            actions: actions.to_vec(),
            outcome: again,
            failures: failures + 1,
            until: Instant::now() + pause,
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refused);
        (outcome, Some(pause))
    }

    fn next(&self, snapshot: &Snapshot, recheck: Duration, discovery: Option<Duration>) -> Duration {
        let to_come = [Some(recheck), discovery].into_iter().flatten().filter(|due| !due.is_zero());
        let due = to_come.min().unwrap_or(AT_LEAST_EVERY);
        let retry = self.answers.next_retry(&snapshot.answers).unwrap_or(AT_LEAST_EVERY);
        due.min(retry).clamp(SOONEST, AT_LEAST_EVERY)
    }
}

fn foreign_sets(snapshot: &Snapshot) -> Option<ForeignSets> {
    let sets = snapshot.image_sets.known()?.iter().filter(|set| !set.ours);
    Some(sets.map(|set| (set.name.clone(), set.images.clone())).collect())
}

/// Whether something is mended in a Secret, a ConfigMap or the registry's accounts. What is read of these is compared with
/// every pass, and a change makes failures worth asking again at once.
fn is_mended_elsewhere(finding: &Finding) -> bool {
    matches!(
        finding.reason,
        Reason::PullSecretMissing
            | Reason::PullSecretInvalid
            | Reason::CaBundleInvalid
            | Reason::RegistryUnauthorized
            | Reason::NodeCredentialsOnly
            | Reason::RegistryCertificateInvalid
    )
}

/// The settings that decide where images are pulled from.
fn effective(snapshot: &Snapshot) -> InstallationSettings {
    match &snapshot.installation {
        Read::Known(Some(installation)) => installation.settings.clone(),
        _ => snapshot.settings.installation.clone(),
    }
}

/// When the pinned digests are to be compared with the registry again; zero is now.
fn recheck_due_in(policy: &ImageSetPolicy, snapshot: &Snapshot) -> Duration {
    let Some(verified) = snapshot.remembered.last_verified else { return Duration::ZERO };
    due_in(policy, verified, snapshot.settings.recheck_interval)
}

/// When newer releases are to be looked for; zero is now, `None` is never.
fn discovery_due_in(policy: &ImageSetPolicy, snapshot: &Snapshot) -> Option<Duration> {
    let discover = snapshot.settings.discover.as_ref()?;
    let last = snapshot.remembered.discovery.as_ref().map(|discovery| discovery.asked_at);
    // Another policy may name another channel.
    let observed = policy.status.as_ref().and_then(|status| status.observed_generation);
    let last = last.filter(|_| observed == policy.metadata.generation);
    Some(last.map_or(Duration::ZERO, |last| due_in(policy, last, discover.interval)))
}

/// When something that was done then is due again. Jitter of up to a tenth of the interval comes from the policy's UID,
/// so that clusters do not ask in step and a restart changes nothing. A time in the future is due now: whoever wrote it, it must not
/// switch a check off.
fn due_in(policy: &ImageSetPolicy, last: Timestamp, interval: Duration) -> Duration {
    let uid = Digest::of(policy.uid().unwrap_or_default().as_bytes()).to_string();
    let tenths = uid.bytes().last().map_or(0, |digit| u32::from(digit) % 16);
    let due = interval + interval / 160 * tenths;
    elapsed(last, Timestamp::now()).map_or(Duration::ZERO, |elapsed| due.saturating_sub(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_time_in_the_future_is_due_now() {
        let policy = ImageSetPolicy::new("default", crate::api::ImageSetPolicySpec::default());
        let hour = Duration::from_secs(3600);
        let in_future = |ahead: Duration| Timestamp::now().checked_add(ahead).unwrap();
        assert_eq!(due_in(&policy, in_future(24 * hour), hour), Duration::ZERO);
        assert!(due_in(&policy, in_future(Duration::from_secs(20)), hour) >= hour, "clocks differ");
        assert!(due_in(&policy, Timestamp::now(), hour) > hour / 2);
        assert_eq!(due_in(&policy, Timestamp::UNIX_EPOCH, hour), Duration::ZERO);
    }
}
