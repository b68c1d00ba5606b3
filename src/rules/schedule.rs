//! Everything about when: what is due in a reconcile, when the next one is, and how long failures pause. Pure: times are given.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::model::action::Action;
use crate::model::decision::Decision;
use crate::model::digest::Digest;
use crate::model::finding::Finding;
use crate::model::outcome::Outcome;
use crate::model::reason::Reason;
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::StoredImage;
use crate::model::stored_time::elapsed;

/// The shortest time between two reconciles that nothing but time makes necessary.
const SOONEST: Duration = Duration::from_millis(500);

/// A reconcile is made at least this often, whatever the watches say.
const AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// How often the API server is read in the place of the stores although nothing is to be written: a watch that has missed something
/// does not know that.
const AUDIT_EVERY: Duration = Duration::from_secs(300);

/// Until the reconcile after one that has written something.
const AFTER_A_WRITE: Duration = Duration::from_millis(20);

/// The pauses after a write that met another's: reading again is all that it needs.
const CONFLICT_PAUSE: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(60) };

/// The pauses after a write that was refused.
const REFUSAL_PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// The pauses after a read that failed.
const READ_PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// The pauses after a decision on the stores that the API server does not confirm.
const UNCONFIRMED_PAUSE: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

/// The pauses after a reconcile that failed.
const FAILURE_PAUSE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// The longest pause while something outside the watched objects has to be mended by a person.
const MENDING: Duration = Duration::from_secs(30);

/// Unconfirmed decisions in a row after which the watches list again.
const UNCONFIRMED_AT_MOST: u32 = 2;

/// Pauses that double with every failure in a row.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// After this many failures before the last one.
    fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(10)).min(self.longest)
    }
}

/// What is remembered from one reconcile to the next.
#[derive(Debug, Default)]
pub struct Schedule {
    /// The refresh for which responses of registries were forgotten.
    begun_refresh: Option<String>,
    /// ImageSets that the controller does not manage, as they were when registries had answered all about them.
    judged: Option<UnmanagedSets>,
    /// Writes that failed in the last reconcile.
    refused: Option<Refused>,
    /// Reconciles in a row in which a read failed.
    failed_reads: u32,
    /// Decisions on the stores in a row that the API server did not confirm.
    unconfirmed: u32,
    /// The last one was such.
    reads_directly: bool,
    /// Reconciles in a row that failed.
    failures: u32,
    /// When the API server was read last in the place of the stores.
    audited: Option<Instant>,
}

/// The entries of ImageSets that the controller does not manage, by name.
type UnmanagedSets = BTreeMap<String, Vec<StoredImage>>;

/// A write that failed, and until when the same actions are not tried again, whatever wakes a reconcile.
#[derive(Debug)]
struct Refused {
    actions: Vec<Action>,
    outcome: Outcome,
    /// Reconciles in a row in which a write failed.
    failures: u32,
    until: Instant,
}

/// What is due in one reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When the pinned digests are to be compared with the registry; zero is now.
    recheck: Duration,
    /// When newer releases are to be looked for; zero is now, `None` is never.
    discovery: Option<Duration>,
    /// What registries said before counts no more.
    pub forgotten: Forgotten,
}

/// Which responses of registries are looked up again although they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// All of them.
    pub all: bool,
    /// Those about images that are older than this.
    pub images: Option<Duration>,
    /// Lists of releases that are older than this.
    pub releases: Option<Duration>,
}

/// How a reconcile ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// What was due in it.
    pub due: &'a Due,
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What was decided.
    pub decision: &'a Decision,
    /// The pause after a failed write.
    pub pause: Option<Duration>,
    /// Whether something was written that later decisions go by.
    pub has_written: bool,
    /// When a failed lookup may be tried again.
    pub retry: Option<Duration>,
    /// When a response of which nothing can be made is looked up again.
    pub doubt: Option<Duration>,
}

/// Where a reconcile reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadsFrom {
    /// The stores.
    Stores,
    /// The API server, because it has not confirmed what the stores say.
    ApiServer,
    /// The API server, to compare the stores with it.
    Audit,
}

impl Schedule {
    /// Where the next reconcile reads.
    pub fn reads_from(&mut self, now: Instant) -> ReadsFrom {
        let audited = *self.audited.get_or_insert(now);
        if std::mem::take(&mut self.reads_directly) {
            return ReadsFrom::ApiServer;
        }
        if now.saturating_duration_since(audited) >= AUDIT_EVERY { ReadsFrom::Audit } else { ReadsFrom::Stores }
    }

    /// The API server was read in the place of the stores.
    pub fn was_audited(&mut self, now: Instant) {
        self.audited = Some(now);
    }

    /// Says what is due, and puts it into the snapshot. `uid` is the policy's; `is_observed`, whether its status is about its spec as it
    /// is.
    pub fn begin(&mut self, snapshot: &mut Snapshot, uid: &str, is_observed: bool, now: Timestamp) -> Due {
        let recheck = recheck_due_in(snapshot, uid, now);
        let discovery = discovery_due_in(snapshot, uid, is_observed, now);
        let mut forgotten = Forgotten::default();
        let refresh = snapshot.refresh_due();
        if refresh && self.begun_refresh != snapshot.refresh {
            // Once for each value that asks for it, so that responses which come later than this reconcile still count in the next.
            self.begun_refresh.clone_from(&snapshot.refresh);
            self.refused = None;
            forgotten.all = true;
        }
        // A check that failed is still due.
        let failed = snapshot.remembered.findings.iter().any(|finding| finding.reason == Reason::RecheckFailed);
        // What somebody else pins is compared with the registry at once, and not half a day later. At a start nobody knows what was
        // judged, and the interval counts.
        let unmanaged = unmanaged_sets(snapshot);
        let edited = matches!((&self.judged, &unmanaged), (Some(judged), Some(now)) if judged != now);
        snapshot.recheck_due = recheck.is_zero() || refresh || failed || edited;
        if snapshot.recheck_due && !refresh && !edited {
            // What was looked up for the last check is half an interval old at the least.
            forgotten.images = Some(snapshot.settings.recheck_interval / 2);
        }
        snapshot.discovery_due = discovery.is_some_and(|due| due.is_zero() || refresh);
        if snapshot.discovery_due && !refresh {
            forgotten.releases = snapshot.settings.discover.as_ref().map(|discover| discover.interval / 2);
        }
        Due { recheck, discovery, forgotten }
    }

    /// How the same actions failed before, and how long they still pause.
    #[must_use]
    pub fn paused(&self, actions: &[Action], now: Instant) -> Option<(Outcome, Duration)> {
        let refused = self.refused.as_ref().filter(|refused| refused.actions == actions && now < refused.until)?;
        Some((refused.outcome.clone(), refused.until - now))
    }

    /// The actions were carried out, or not. Returns the pause after a failure.
    pub fn written(&mut self, actions: &[Action], outcome: &Outcome, now: Instant) -> Option<Duration> {
        let failures = self.refused.take().map_or(0, |refused| refused.failures);
        let failure = outcome.failure.as_ref()?;
        let backoff = if failure.conflict { CONFLICT_PAUSE } else { REFUSAL_PAUSE };
        let pause = backoff.after(failures);
        self.refused = Some(Refused {
            actions: actions.to_vec(),
            outcome: Outcome { failure: outcome.failure.clone(), ..Outcome::default() },
            failures: failures + 1,
            until: now + pause,
        });
        Some(pause)
    }

    /// A decision on the stores was compared with one on the API server. Returns whether the watches are to list again.
    pub fn confirmed(&mut self, is_the_same: bool) -> bool {
        self.unconfirmed = if is_the_same { 0 } else { self.unconfirmed.saturating_add(1) };
        self.reads_directly = !is_the_same;
        !is_the_same && self.unconfirmed.is_multiple_of(UNCONFIRMED_AT_MOST)
    }

    /// When the next reconcile is.
    pub fn next(&mut self, ended: &Ended<'_>, now: Timestamp) -> Duration {
        let Ended { due, snapshot, decision, .. } = ended;
        self.failures = 0;
        if decision.lookups.is_empty() {
            self.judged = unmanaged_sets(snapshot).or(self.judged.take());
        }
        let mut next = ended.pause.unwrap_or_else(|| due.next(ended.retry));
        // A person may be mending it now, in the registry or in a Secret, which nobody watches.
        if snapshot.objections.iter().chain(&decision.findings).any(is_mended_elsewhere) {
            next = next.min(MENDING);
        }
        // A right that was given back, or an API server that has recovered, wakes nobody.
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

    /// A reconcile failed. When the next one is.
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

/// Whether something is mended in a Secret, a ConfigMap or the registry's accounts. What is read of these is compared with
/// every reconcile, and a change makes failures worth looking up again at once.
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

fn recheck_due_in(snapshot: &Snapshot, uid: &str, now: Timestamp) -> Duration {
    let Some(verified) = snapshot.remembered.last_verified else { return Duration::ZERO };
    due_in(uid, verified, snapshot.settings.recheck_interval, now)
}

fn discovery_due_in(snapshot: &Snapshot, uid: &str, is_observed: bool, now: Timestamp) -> Option<Duration> {
    let discover = snapshot.settings.discover.as_ref()?;
    // Another spec may name another channel.
    let last = snapshot.remembered.discovery.as_ref().filter(|_| is_observed).map(|discovery| discovery.asked_at);
    Some(last.map_or(Duration::ZERO, |last| due_in(uid, last, discover.interval, now)))
}

/// When something that was done then is due again. Jitter of up to a tenth of the interval comes from the policy's UID,
/// so that clusters do not ask in step and a restart changes nothing. A time in the future is due now: whoever wrote it, it must not
/// switch a check off.
fn due_in(uid: &str, last: Timestamp, interval: Duration, now: Timestamp) -> Duration {
    let digest = Digest::of(uid.as_bytes()).to_string();
    let tenths = digest.bytes().last().map_or(0, |digit| u32::from(digit) % 16);
    let due = interval + interval / 160 * tenths;
    elapsed(last, now).map_or(Duration::ZERO, |elapsed| due.saturating_sub(elapsed))
}

/// A token bucket that limits how often changes that can wait are acted upon. The first after a quiet time is acted upon at once.
#[derive(Debug)]
pub struct TokenBucket {
    burst: u32,
    refill: Duration,
    tokens: u32,
    /// Since when a token has been growing.
    since: Instant,
}

impl TokenBucket {
    /// A full bucket of so many tokens, of which one comes back in each `refill`.
    #[must_use]
    pub const fn new(burst: u32, refill: Duration, now: Instant) -> Self {
        Self { burst, refill, tokens: burst, since: now }
    }

    /// When a token is there.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Instant {
        if self.tokens > 0 { now } else { (self.since + self.refill).max(now) }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        while self.tokens < self.burst && now.saturating_duration_since(self.since) >= self.refill {
            self.tokens += 1;
            self.since += self.refill;
        }
        if self.tokens == self.burst {
            self.since = now;
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object_ref::ObjectRef;
    use crate::model::outcome::ActionFailure;

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
    fn refused_actions_pause_and_others_do_not() {
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

    #[test]
    fn a_bucket_lets_the_first_through_at_once_and_then_one_in_each_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2, SECOND, start);
        assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
        assert_eq!(bucket.ready_at(start), start + SECOND);
        let mut taken = 0;
        for tick in 1..=600_u32 {
            let now = start + SECOND * tick / 20;
            if bucket.ready_at(now) <= now && bucket.take(now) {
                taken += 1;
            }
        }
        assert_eq!(taken, 30);
        let quiet = start + 100 * SECOND;
        assert!(bucket.take(quiet) && bucket.take(quiet) && !bucket.take(quiet));
    }
}
