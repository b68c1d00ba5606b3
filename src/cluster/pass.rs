//! One pass: observe, decide, apply, report. The same road with and without writes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::future::OptionFuture;
use jiff::Timestamp;
use kube::{Client, ResourceExt};

use super::answers::RegistryAnswers;
use super::apply::Applier;
use super::nodes;
use super::observe::Observer;
use super::registry_access::registry_access;
use super::status::StatusWriter;
use crate::api::ImageSetPolicy;
use crate::domain::decision::Decision;
use crate::domain::finding::{Finding, Reason};
use crate::domain::report::{Outcome, Report};
use crate::domain::settings::InstallationSettings;
use crate::domain::snapshot::Read;
use crate::domain::{Catalogue, Digest, Snapshot, decide};

/// How long a pass waits for registries before it reports that it does.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long the command line waits for them.
pub const LONG_PATIENCE: Duration = Duration::from_secs(150);
/// A pass is made at least this often, whatever the watches say.
const AT_LEAST_EVERY: Duration = Duration::from_secs(300);
/// The first pause after a write that met another's: a new look is all that it needs.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);
/// The first pause after a write that was refused. Both double with every pass that fails.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause while something outside the watched objects has to be mended by a person.
const MENDING: Duration = Duration::from_secs(30);
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

/// Looks and decides; writes nothing. `snapshot` comes with everything but the registries' answers.
pub async fn plan(
    client: &Client,
    policy: &ImageSetPolicy,
    mut snapshot: Snapshot,
    answers: &RegistryAnswers,
    patience: Duration,
) -> (Snapshot, Decision) {
    let catalogue = Catalogue::embedded();
    let mut decision = decide(&snapshot, catalogue);
    for _ in 0..ROUNDS {
        if decision.questions.is_empty() {
            break;
        }
        let (access, objections) = registry_access(client, &policy.spec, &effective(&snapshot)).await;
        let answered = answers.ask(&decision.questions, access, patience).await;
        snapshot.answers.images.extend(answered.images);
        snapshot.answers.operators.extend(answered.operators);
        let new = objections.into_iter().filter(|one| !snapshot.objections.contains(one)).collect::<Vec<_>>();
        snapshot.objections.extend(new);
        decision = decide(&snapshot, catalogue);
    }
    (snapshot, decision)
}

/// One look without any write, for the command line.
pub async fn look(client: Client, policy: &ImageSetPolicy, own_namespace: String, answers: &RegistryAnswers) -> Passed {
    let observer = Observer::new(client.clone(), own_namespace);
    let (mut snapshot, nodes) = futures::join!(observer.observe(policy), nodes::list_once(client.clone()));
    snapshot.nodes = nodes;
    let (snapshot, decision) = plan(&client, policy, snapshot, answers, LONG_PATIENCE).await;
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    Passed { snapshot, decision, report }
}

/// Everything that passes of one controller share.
pub struct Passes {
    /// Connection for what the rooms below do not do themselves.
    pub client: Client,
    /// Reads.
    pub observer: Observer,
    /// Reads nodes.
    pub nodes: nodes::NodePlatforms,
    /// Asks registries.
    pub answers: RegistryAnswers,
    /// Writes sets and records.
    pub applier: Applier,
    /// Writes status and events.
    pub status: StatusWriter,
    /// Passes in a row in which a write failed.
    pub failed_writes: AtomicU32,
}

impl Passes {
    /// One pass over a policy. Returns what was said and when to come again.
    ///
    /// # Errors
    /// The status could not be written.
    pub async fn make(&self, policy: &ImageSetPolicy) -> Result<(Passed, Duration), kube::Error> {
        let mut snapshot = self.observer.observe(policy).await;
        snapshot.nodes = self.nodes.read();
        snapshot.put_back = self.applier.put_back_counts();
        let due = recheck_due_in(policy, &snapshot);
        snapshot.recheck_due = due.is_zero();
        if snapshot.recheck_due {
            // What was asked for the last check is half an interval old at the least.
            self.answers.forget_older_than(snapshot.settings.recheck_interval / 2);
        }

        let (snapshot, decision) = plan(&self.client, policy, snapshot, &self.answers, PATIENCE).await;
        let applied: OptionFuture<_> =
            (!decision.actions.is_empty()).then(|| self.applier.apply(&decision.actions)).into();
        let outcome = applied.await.unwrap_or_default();
        let report = Report::new(&snapshot, &decision, &outcome);
        self.status.write(policy, &report).await?;

        let mut next = self.next(&outcome, due);
        // A person may be mending it now, in the registry or in a Secret, which nobody watches.
        if self.answers.doubt(&decision.unsuitable) || snapshot.objections.iter().any(is_of_an_object) {
            next = next.min(MENDING);
        }
        Ok((Passed { snapshot, decision, report }, next))
    }

    fn next(&self, outcome: &Outcome, due: Duration) -> Duration {
        let failures = match &outcome.failure {
            Some(_) => self.failed_writes.fetch_add(1, Ordering::Relaxed).min(10),
            None => {
                self.failed_writes.store(0, Ordering::Relaxed);
                0
            }
        };
        if let Some(failure) = &outcome.failure {
            let first = if failure.conflict { CONFLICT_PAUSE } else { REFUSAL_PAUSE };
            return first.saturating_mul(1 << failures).min(LONGEST_PAUSE);
        }
        let due = if due.is_zero() { AT_LEAST_EVERY } else { due };
        let retry = self.answers.next_retry().unwrap_or(AT_LEAST_EVERY);
        due.min(retry).clamp(Duration::from_millis(500), AT_LEAST_EVERY)
    }
}

/// Whether an objection is about a Secret or a CA bundle.
fn is_of_an_object(objection: &Finding) -> bool {
    matches!(objection.reason, Reason::PullSecretMissing | Reason::PullSecretInvalid | Reason::CaBundleInvalid)
}

/// The settings that decide where images are pulled from.
fn effective(snapshot: &Snapshot) -> InstallationSettings {
    match &snapshot.installation {
        Read::Known(Some(installation)) => installation.settings.clone(),
        _ => snapshot.settings.installation.clone(),
    }
}

/// When the pinned digests are to be compared with the registry again; zero is now. Jitter of up to a tenth of the
/// interval comes from the policy's UID, so that clusters do not ask in step and a restart changes nothing.
fn recheck_due_in(policy: &ImageSetPolicy, snapshot: &Snapshot) -> Duration {
    let Some(verified) = snapshot.remembered.last_verified else { return Duration::ZERO };
    let interval = snapshot.settings.recheck_interval;
    let uid = Digest::of(policy.uid().unwrap_or_default().as_bytes()).to_string();
    let tenths = uid.bytes().last().map_or(0, |digit| u32::from(digit) % 16);
    let due = interval + interval / 160 * tenths;
    let elapsed = Timestamp::now().duration_since(verified);
    due.saturating_sub(Duration::try_from(elapsed).unwrap_or_default())
}
