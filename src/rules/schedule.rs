//! Everything about when: what is due in a reconcile, when the next one starts, and how long failures pause. Times are arguments;
//! nothing reads a clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::{
    Action, Decision, Digest, Finding, Outcome, Reason, Snapshot, StoredImage, TagMoved, stored_time::elapsed,
};

/// Minimum time between two reconciles that only time makes necessary.
const SOONEST: Duration = Duration::from_millis(500);

/// Maximum time between two reconciles, without any watch event.
const AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// How often a reconcile that writes nothing reads from the API server instead of the stores: a watch does not detect that it
/// missed an event.
const AUDIT_EVERY: Duration = Duration::from_secs(300);

/// Pause after a reconcile that wrote something.
const AFTER_A_WRITE: Duration = Duration::from_millis(20);

/// Pauses after a write conflict: a fresh read solves it.
const CONFLICT_PAUSE: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(60) };

/// Pauses after a rejected write.
const REJECTION_PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Pauses after a failed read.
const READ_PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// Pauses after a decision on the stores that the API server does not confirm.
const UNCONFIRMED_PAUSE: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

/// Pauses after a failed reconcile.
const FAILURE_PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// Pauses before a failed lookup in a registry is retried.
pub const LOOKUP_PAUSE: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(300) };

/// The same for failures that a person has to correct, and for responses that cannot be part of a set.
pub const SLOW_LOOKUP_PAUSE: Backoff = Backoff { first: Duration::from_secs(30), longest: Duration::from_secs(600) };

/// Pauses after a failed inspection of an operator image. Its Job is kept longer than the longest, so that it shows when the next
/// attempt is due, also after a restart.
pub const INSPECTION_PAUSE: Backoff = Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(30 * 60) };

/// Maximum pause while a person has to correct something outside the watched objects.
const MENDING: Duration = Duration::from_secs(30);

/// Number of consecutive unconfirmed decisions after which the watches list again.
const UNCONFIRMED_AT_MOST: u32 = 2;

/// Pauses that double with every consecutive failure.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// The limit.
    pub longest: Duration,
}

impl Backoff {
    /// Returns the pause after a failure that `failures` others preceded.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(10)).min(self.longest)
    }
}

/// State that the schedule keeps between reconciles.
#[derive(Debug, Default)]
pub struct Schedule {
    /// The refresh for which cached responses of registries were dropped.
    begun_refresh: Option<String>,
    /// Unmanaged ImageSets, as they were when all lookups about them had a result.
    judged: Option<UnmanagedSets>,
    /// Writes that failed in the last reconcile.
    failed_writes: Option<FailedWrites>,
    /// Consecutive reconciles with a failed read.
    failed_reads: u32,
    /// Consecutive decisions on the stores that the API server did not confirm.
    unconfirmed: u32,
    /// Whether the last decision was unconfirmed.
    reads_directly: bool,
    /// Consecutive failed reconciles.
    failures: u32,
    /// When a reconcile last read from the API server instead of the stores.
    audited: Option<Instant>,
}

/// The entries of unmanaged ImageSets, by name.
type UnmanagedSets = BTreeMap<String, Vec<StoredImage>>;

/// A write that failed, and until when the same actions are not retried, whatever starts a reconcile.
#[derive(Debug)]
struct FailedWrites {
    actions: Vec<Action>,
    outcome: Outcome,
    /// Consecutive reconciles with a failed write.
    failures: u32,
    until: Instant,
}

/// What is due in one reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When the pinned digests are compared with the registry; zero is now.
    recheck: Duration,
    /// When newer releases are looked for; zero is now, `None` is never.
    discovery: Option<Duration>,
    /// Cached responses of registries that no longer count.
    pub forgotten: Forgotten,
}

/// Cached responses of registries that are looked up again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Every response.
    pub all: bool,
    /// Responses about images that are older than this.
    pub images: Option<Duration>,
    /// Lists of releases that are older than this.
    pub releases: Option<Duration>,
}

/// The end of a reconcile.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What was due in it.
    pub due: &'a Due,
    /// The snapshot of the reconcile.
    pub snapshot: &'a Snapshot,
    /// The decision of the reconcile.
    pub decision: &'a Decision,
    /// Pause after a failed write.
    pub pause: Option<Duration>,
    /// Whether something was written that later decisions depend on.
    pub has_written: bool,
    /// When a failed lookup may be retried.
    pub retry: Option<Duration>,
    /// When a response that cannot be part of a set is looked up again.
    pub doubt: Option<Duration>,
}

/// The source that a reconcile reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsFrom {
    /// The stores.
    Stores,
    /// The API server, because it did not confirm a decision on the stores.
    ApiServer,
    /// The API server, to compare the stores with it.
    Audit,
}

impl Schedule {
    /// Returns the source that the next reconcile reads from.
    pub fn reads_from(&mut self, now: Instant) -> ReadsFrom {
        let audited = *self.audited.get_or_insert(now);
        if std::mem::take(&mut self.reads_directly) {
            return ReadsFrom::ApiServer;
        }
        if now.saturating_duration_since(audited) >= AUDIT_EVERY { ReadsFrom::Audit } else { ReadsFrom::Stores }
    }

    /// Records that a reconcile read from the API server instead of the stores.
    pub fn was_audited(&mut self, now: Instant) {
        self.audited = Some(now);
    }

    /// Determines what is due, and stores it in the snapshot. `uid` is that of the policy; `is_observed` is whether its status
    /// is about its current spec.
    pub fn begin(&mut self, snapshot: &mut Snapshot, uid: &str, is_observed: bool, now: Timestamp) -> Due {
        let recheck = recheck_due_in(snapshot, uid, now);
        let discovery = discovery_due_in(snapshot, uid, is_observed, now);
        let mut forgotten = Forgotten::default();
        let refresh = snapshot.refresh_due();
        if refresh && self.begun_refresh != snapshot.refresh {
            // Once per value of the annotation, so that responses that arrive after this reconcile still count in the next.
            self.begun_refresh.clone_from(&snapshot.refresh);
            self.failed_writes = None;
            forgotten.all = true;
        }
        // A check that failed is still due.
        let failed = snapshot.remembered.findings.iter().any(|finding| finding.reason == Reason::RecheckFailed);
        // Changes of unmanaged sets are compared with the registry at once, not at the next interval. After a start the earlier
        // state is unknown, and the interval counts.
        let unmanaged = unmanaged_sets(snapshot);
        let edited = matches!((&self.judged, &unmanaged), (Some(judged), Some(now)) if judged != now);
        // A tag that moved while it was held is compared again, and pinned anew, as soon as the policy requires that.
        let repins = !is_observed && snapshot.settings.tag_moved == TagMoved::Repin;
        let moved = repins && snapshot.remembered.findings.iter().any(|finding| finding.reason == Reason::TagMoved);
        snapshot.recheck_due = recheck.is_zero() || refresh || failed || edited || moved;
        if snapshot.recheck_due && !refresh && !edited && !moved {
            // Lookups of the last check are at least half an interval old.
            forgotten.images = Some(snapshot.settings.recheck_interval / 2);
        }
        snapshot.discovery_due = discovery.is_some_and(|due| due.is_zero() || refresh);
        if snapshot.discovery_due && !refresh {
            forgotten.releases = snapshot.settings.discover.as_ref().map(|discover| discover.interval / 2);
        }
        Due { recheck, discovery, forgotten }
    }

    /// Returns how the same actions failed before, and how long they still pause.
    #[must_use]
    pub fn paused(&self, actions: &[Action], now: Instant) -> Option<(Outcome, Duration)> {
        let failed = self.failed_writes.as_ref().filter(|failed| failed.actions == actions && now < failed.until)?;
        Some((failed.outcome.clone(), failed.until - now))
    }

    /// Records the outcome of the writes. Returns the pause after a failure.
    pub fn written(&mut self, actions: &[Action], outcome: &Outcome, now: Instant) -> Option<Duration> {
        let failures = self.failed_writes.take().map_or(0, |failed| failed.failures);
        let failure = outcome.failure.as_ref()?;
        let backoff = if failure.conflict { CONFLICT_PAUSE } else { REJECTION_PAUSE };
        let pause = backoff.after(failures);
        self.failed_writes = Some(FailedWrites {
            actions: actions.to_vec(),
            outcome: Outcome { failure: outcome.failure.clone(), ..Outcome::default() },
            failures: failures + 1,
            until: now + pause,
        });
        Some(pause)
    }

    /// Records whether the API server confirmed a decision on the stores. Returns whether the watches have to list again.
    pub fn confirmed(&mut self, is_the_same: bool) -> bool {
        self.unconfirmed = if is_the_same { 0 } else { self.unconfirmed.saturating_add(1) };
        self.reads_directly = !is_the_same;
        !is_the_same && self.unconfirmed.is_multiple_of(UNCONFIRMED_AT_MOST)
    }

    /// Returns the time until the next reconcile.
    pub fn next(&mut self, ended: &Ended<'_>, now: Timestamp) -> Duration {
        let Ended { due, snapshot, decision, .. } = ended;
        self.failures = 0;
        if decision.lookups.is_empty() {
            self.judged = unmanaged_sets(snapshot).or(self.judged.take());
        }
        let mut next = ended.pause.unwrap_or_else(|| due.next(ended.retry));
        // A person may be correcting it now, in the registry or in a Secret, which no watch covers.
        if snapshot.objections.iter().chain(&decision.findings).any(is_mended_elsewhere) {
            next = next.min(MENDING);
        }
        // No watch announces a right that was granted, or an API server that has recovered.
        if decision.findings.iter().any(|finding| finding.reason.is_failed_read()) {
            next = next.min(READ_PAUSE.after(self.failed_reads));
            self.failed_reads = self.failed_reads.saturating_add(1);
        } else {
            self.failed_reads = 0;
        }
        if self.reads_directly {
            next = next.min(UNCONFIRMED_PAUSE.after(self.unconfirmed.saturating_sub(1)));
        }
        if let Some(wait) = ended.doubt {
            next = next.min(wait.max(SOONEST));
        }
        // Nothing looks these up before the next reconcile.
        if !decision.lookups.is_empty() {
            next = next.min(SOONEST);
        }
        if let Some(due) = decision.requeue_at {
            let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
            next = next.min(left.max(Duration::from_secs(1)));
        }
        if ended.has_written && ended.pause.is_none() { AFTER_A_WRITE } else { next }
    }

    /// Records a failed reconcile. Returns the time until the next one.
    pub fn failed(&mut self) -> Duration {
        let pause = FAILURE_PAUSE.after(self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

impl Due {
    fn next(&self, retry: Option<Duration>) -> Duration {
        let to_come = [Some(self.recheck), self.discovery].into_iter().flatten().filter(|due| !due.is_zero());
        let due = to_come.min().unwrap_or(AT_LEAST_EVERY);
        due.min(retry.unwrap_or(AT_LEAST_EVERY)).clamp(SOONEST, AT_LEAST_EVERY)
    }
}

fn unmanaged_sets(snapshot: &Snapshot) -> Option<UnmanagedSets> {
    let sets = snapshot.image_sets.known()?.iter().filter(|set| !set.managed);
    Some(sets.map(|set| (set.name.clone(), set.images.clone())).collect())
}

/// Whether a person corrects the cause in a Secret, a ConfigMap or the registry's accounts. These are read in every reconcile,
/// and a change of them makes failed lookups worth retrying at once.
fn is_mended_elsewhere(finding: &Finding) -> bool {
    matches!(
        finding.reason,
        Reason::PullSecretMissing
            | Reason::PullSecretInvalid
            | Reason::CaBundleInvalid
            | Reason::RegistryUnauthorized
            | Reason::NodeCredentialsOnly
            | Reason::CloudIdentityMissing
            | Reason::CloudIdentityRefused
            | Reason::RegistryCertificateInvalid
    )
}

fn recheck_due_in(snapshot: &Snapshot, uid: &str, now: Timestamp) -> Duration {
    let Some(verified) = snapshot.remembered.last_verified else { return Duration::ZERO };
    due_in(uid, verified, snapshot.settings.recheck_interval, now)
}

fn discovery_due_in(snapshot: &Snapshot, uid: &str, is_observed: bool, now: Timestamp) -> Option<Duration> {
    let discover = snapshot.settings.discover.as_ref()?;
    // Another spec may have another channel.
    let last = snapshot.remembered.discovery.as_ref().filter(|_| is_observed).map(|discovery| discovery.checked_at);
    Some(last.map_or(Duration::ZERO, |last| due_in(uid, last, discover.interval, now)))
}

/// Returns the time until something that was done at `last` is due again. Jitter of up to a tenth of the interval comes from the
/// policy's UID, so that clusters do not act in step and a restart changes nothing. A time in the future is due now: whoever
/// wrote it, it must not disable a check.
fn due_in(uid: &str, last: Timestamp, interval: Duration, now: Timestamp) -> Duration {
    let digest = Digest::of(uid.as_bytes()).to_string();
    let tenths = digest.bytes().last().map_or(0, |digit| u32::from(digit) % 16);
    let due = interval + interval / 160 * tenths;
    elapsed(last, now).map_or(Duration::ZERO, |elapsed| due.saturating_sub(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionFailure, ObjectRef};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_last_time_in_the_future_is_due_now() {
        let hour = Duration::from_secs(3600);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let due_in = |last: Timestamp| due_in("uid", last, hour, now);
        assert_eq!(due_in(now.checked_add(24 * hour).unwrap()), Duration::ZERO);
        assert!(due_in(now.checked_add(20 * SECOND).unwrap()) >= hour, "clocks differ");
        assert!((hour..=hour + hour / 10).contains(&due_in(now)));
        assert_eq!(due_in(Timestamp::UNIX_EPOCH), Duration::ZERO);
    }

    fn ends(schedule: &mut Schedule, decision: &Decision, change: impl FnOnce(&mut Ended<'_>)) -> Duration {
        let due = Due { recheck: 100 * SECOND, discovery: None, forgotten: Forgotten::default() };
        let (snapshot, now) = (Snapshot::default(), Timestamp::UNIX_EPOCH);
        let mut ended = Ended {
            due: &due,
            snapshot: &snapshot,
            decision,
            pause: None,
            has_written: false,
            retry: None,
            doubt: None,
        };
        change(&mut ended);
        schedule.next(&ended, now)
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        let minutes = [0, 1, 2, 4, 5, 39, u32::MAX].map(|failures| INSPECTION_PAUSE.after(failures).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 4, 16, 30, 30, 30]);
    }

    #[test]
    fn the_next_reconcile_is_when_the_first_thing_is_due() {
        let mut schedule = Schedule::default();
        let none = Decision::default();
        assert_eq!(ends(&mut schedule, &none, |_| {}), 100 * SECOND);
        assert_eq!(ends(&mut schedule, &none, |ended| ended.retry = Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(ends(&mut schedule, &none, |ended| ended.retry = Some(Duration::ZERO)), SOONEST);
        assert_eq!(ends(&mut schedule, &none, |ended| ended.doubt = Some(Duration::ZERO)), SOONEST);
        assert_eq!(ends(&mut schedule, &none, |ended| ended.has_written = true), AFTER_A_WRITE);
        let later = Decision { requeue_at: Timestamp::from_second(9).ok(), ..Decision::default() };
        assert_eq!(ends(&mut schedule, &later, |_| {}), 9 * SECOND);
        let finding =
            |reason| Decision { findings: vec![Finding::new(reason, ObjectRef::policy(), "")], ..Decision::default() };
        assert_eq!(ends(&mut schedule, &finding(Reason::PullSecretMissing), |_| {}), MENDING);
        let failed = finding(Reason::ReadForbidden);
        let pauses: Vec<u64> = (0..7).map(|_| ends(&mut schedule, &failed, |_| {}).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(ends(&mut schedule, &none, |_| {}), 100 * SECOND);
        assert_eq!(ends(&mut schedule, &failed, |_| {}), SECOND);
    }

    #[test]
    fn rejected_actions_pause_and_others_do_not() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        let actions = [Action::SetGate(None)];
        let failure =
            ActionFailure { conflict: false, not_managed: false, object: ObjectRef::policy(), message: String::new() };
        let outcome = Outcome { failure: Some(failure), ..Outcome::default() };
        assert_eq!(schedule.written(&actions, &outcome, start), Some(SECOND));
        assert_eq!(schedule.paused(&actions, start), Some((outcome.clone(), SECOND)));
        assert_eq!(schedule.paused(&[], start), None);
        assert_eq!(schedule.paused(&actions, start + SECOND), None);
        assert_eq!(schedule.written(&actions, &outcome, start + SECOND), Some(2 * SECOND));
        assert_eq!(schedule.written(&actions, &Outcome::default(), start), None);
        assert_eq!(schedule.written(&actions, &outcome, start), Some(SECOND));
    }

    #[test]
    fn stores_that_the_api_server_does_not_confirm_are_not_trusted() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        assert_eq!(schedule.reads_from(start), ReadsFrom::Stores);
        assert!(!schedule.confirmed(false));
        assert!(ends(&mut schedule, &Decision::default(), |_| {}) < SECOND);
        assert_eq!(schedule.reads_from(start), ReadsFrom::ApiServer);
        assert_eq!(schedule.reads_from(start), ReadsFrom::Stores);
        assert!(schedule.confirmed(false), "the watches list again");
        assert!(!schedule.confirmed(false), "after every second one");
        assert!(!schedule.confirmed(true));
        assert_eq!(schedule.reads_from(start + AUDIT_EVERY - SECOND), ReadsFrom::Stores);
        assert_eq!(schedule.reads_from(start + AUDIT_EVERY), ReadsFrom::Audit);
        schedule.was_audited(start + AUDIT_EVERY);
        assert_eq!(schedule.reads_from(start + AUDIT_EVERY), ReadsFrom::Stores);
    }

    /// It was found, and held by the policy then: the next interval may be a day away.
    #[test]
    fn a_tag_that_moved_is_compared_again_when_the_policy_pins_it_anew() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let mut snapshot = Snapshot::default();
        snapshot.remembered.last_verified = Some(now);
        let moved = Finding::new(Reason::TagMoved, ObjectRef::image_set("calico-v3.32.1"), "moved");
        snapshot.remembered.findings = vec![moved];
        let mut is_due = |tag_moved, is_observed| {
            snapshot.settings.tag_moved = tag_moved;
            Schedule::default().begin(&mut snapshot, "uid", is_observed, now);
            snapshot.recheck_due
        };
        assert!(!is_due(TagMoved::Hold, false));
        assert!(!is_due(TagMoved::Repin, true), "once per change of the policy");
        assert!(is_due(TagMoved::Repin, false));
    }
}
