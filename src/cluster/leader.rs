//! Who leads: one Lease, taken and renewed by the rules of client-go's leader election. No clock is compared with that of
//! another machine: a Lease has run out when it has not changed for its duration as measured here, and leading ends by a
//! monotonic clock when renewing does not succeed (docs/adr/0011). Writes the Lease and nothing else.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::FIELD_MANAGER;
use crate::model::stored_time::elapsed;

/// How long a Lease holds without renewal if it has no duration.
const DURATION: Duration = Duration::from_secs(15);
/// The shortest that leaves time for a renewal that is late.
pub const SHORTEST: Duration = Duration::from_secs(3);
/// How much the clocks of two machines may differ before a renewed Lease counts as silent.
const CLOCKS_DIFFER: Duration = Duration::from_secs(45);
/// Deadline of a read that only reports the Lease.
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// The times of one Lease, in the proportions of 15, 12, 4 and 2 seconds. A renewal is one request, sent at the latest when the
/// one before it has its response: leading goes on as long as two consecutive requests succeed within the renewal deadline.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// How long it holds without renewal.
    duration: Duration,
    /// A leader that cannot renew for this long stops leading, well before another may take over.
    renew_deadline: Duration,
    /// Between two renewals.
    renew_every: Duration,
    /// Between two reads of a candidate that does not lead, and after a failure.
    retry_every: Duration,
}

impl Times {
    fn of(duration: Duration) -> Self {
        let part = |fifteenths: u32| duration * fifteenths / 15;
        Self { duration, renew_deadline: part(12), renew_every: part(4), retry_every: part(2) }
    }
}

/// An instance that leads or waits to lead.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    times: Times,
    /// The term of the Lease when it last changed, and when that was observed here.
    seen: Option<(Term, Instant)>,
    /// The Lease as this candidate wrote it last, and when it sent that.
    held: Option<(Lease, Instant)>,
}

/// The fields by which two states of a Lease differ. Two reads that differ show that somebody renews it, without comparing clocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    holder: String,
    renewed: Option<MicroTime>,
    duration: Duration,
}

impl Candidate {
    /// A candidate for the Lease `namespace/name`, that holds for `duration` in whole seconds. `identity` must be another one in each
    /// process.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: String, duration: Duration) -> Self {
        let times = Times::of(duration);
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity, times, seen: None, held: None }
    }

    /// Waits until this candidate leads. Failures are logged and retried. Returns when the write that made it the leader was
    /// sent.
    pub async fn wait_until_leading(&mut self) -> Instant {
        loop {
            match self.within(self.times.renew_deadline).await {
                Ok(Some(since)) => return since,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, lease = self.name, "the Lease could not be acquired; it is retried")
                }
            }
            tokio::time::sleep(self.times.retry_every).await;
        }
    }

    /// Renews until that is no longer possible: another has the Lease, or nothing was heard for too long. `since` is when
    /// the last request that succeeded was sent.
    pub async fn renew_while_possible(&mut self, mut since: Instant) {
        let mut next = since + self.times.renew_every;
        loop {
            tokio::time::sleep_until(next.min(since + self.times.renew_deadline)).await;
            let left = (since + self.times.renew_deadline).saturating_duration_since(Instant::now());
            match self.within(left).await {
                Ok(Some(sent)) => (since, next) = (sent, sent + self.times.renew_every),
                Ok(None) => {
                    tracing::warn!(lease = self.name, "another instance has the Lease");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, lease = self.name, "the Lease could not be renewed");
                    next = Instant::now() + self.times.retry_every;
                }
            }
            if since.elapsed() >= self.times.renew_deadline {
                return;
            }
        }
    }

    /// Gives the Lease back, so that the next one need not wait until it runs out.
    pub async fn release(&mut self) -> Result<(), LeaseError> {
        let Some(lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
        if term(&lease).holder == self.identity {
            let spec = LeaseSpec { lease_duration_seconds: Some(1), ..self.spec(&lease, "") };
            self.write(&lease, spec).await?;
        }
        Ok(())
    }

    async fn within(&mut self, deadline: Duration) -> Result<Option<Instant>, LeaseError> {
        tokio::time::timeout(deadline, self.take_or_renew()).await?
    }

    /// When the write was sent by which this candidate holds the Lease; `None` if another does. A holder renews what it wrote
    /// last in one request; only a candidate that does not hold the Lease, or whose write was rejected, reads it first.
    async fn take_or_renew(&mut self) -> Result<Option<Instant>, LeaseError> {
        let recent = |sent: &Instant| sent.elapsed() < self.times.duration;
        if let Some((held, _)) = self.held.take().filter(|(_, sent)| recent(sent)) {
            let spec = self.spec(&held, &self.identity);
            if let Some(sent) = self.write(&held, spec).await? {
                return Ok(Some(sent));
            }
        }
        let Some(lease) = self.api.get_opt(&self.name).await? else { return self.create().await };
        let term = term(&lease);
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != term) {
            self.seen = Some((term.clone(), Instant::now()));
        }
        let since = self.seen.as_ref().map_or_else(Instant::now, |(_, at)| *at);
        let is_holder = term.holder == self.identity;
        if !is_holder && !term.holder.is_empty() && since.elapsed() < term.duration {
            return Ok(None);
        }
        let spec = self.spec(&lease, &self.identity);
        self.write(&lease, spec).await
    }

    fn spec(&self, lease: &Lease, holder: &str) -> LeaseSpec {
        let before = lease.spec.clone().unwrap_or_default();
        let now = MicroTime(jiff::Timestamp::now());
        let goes_on = before.holder_identity.as_deref() == Some(holder);
        let transitions = before.lease_transitions.unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: i32::try_from(self.times.duration.as_secs()).ok(),
            acquire_time: if goes_on { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(if goes_on || holder.is_empty() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    /// With the observed resourceVersion: of two concurrent writes one is rejected.
    async fn write(&mut self, lease: &Lease, spec: LeaseSpec) -> Result<Option<Instant>, LeaseError> {
        let patch = Lease {
            metadata: ObjectMeta { resource_version: lease.resource_version(), ..ObjectMeta::default() },
            spec: Some(spec),
        };
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let sent = Instant::now();
        match self.api.patch(&self.name, &parameters, &Patch::Merge(&patch)).await {
            Ok(written) => {
                self.seen = Some((term(&written), Instant::now()));
                self.held = Some((written, sent));
                Ok(Some(sent))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn create(&mut self) -> Result<Option<Instant>, LeaseError> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(self.spec(&Lease::default(), &self.identity)) };
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let sent = Instant::now();
        match self.api.create(&parameters, &lease).await {
            Ok(written) => {
                self.held = Some((written, sent));
                Ok(Some(sent))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Term {
    /// How long it takes to see whether somebody renews the Lease: a leader renews within its duration, a standby takes over a
    /// little later.
    #[must_use]
    pub fn shows_within(&self) -> Duration {
        (self.duration + self.duration / 5).max(SHORTEST)
    }
}

/// The Lease as it is now; `None` where there is none.
///
/// # Errors
/// The API server's. The caller sets the deadline.
pub async fn current_term(client: &Client, namespace: &str, name: &str) -> Result<Option<Term>, kube::Error> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.as_ref().map(term))
}

/// Since when nobody has renewed the Lease, where it can be read and has run out by this machine's clock for a good while. A time in
/// the future proves no renewal. For reports only: leading never depends on it.
pub async fn silent_since(client: &Client, namespace: &str, name: &str, now: Timestamp) -> Option<Timestamp> {
    let read = current_term(client, namespace, name);
    let Term { renewed, duration, .. } = tokio::time::timeout(READ_DEADLINE, read).await.ok()?.ok()??;
    let renewed = renewed?.0;
    let is_silent = elapsed(renewed, now).is_none_or(|elapsed| elapsed > duration + CLOCKS_DIFFER);
    is_silent.then_some(renewed)
}

/// Why the Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API server's response.
    #[error("{0}")]
    Kube(#[from] kube::Error),
    /// There was no response in time.
    #[error("no response in time")]
    Late(#[from] tokio::time::error::Elapsed),
}

fn term(lease: &Lease) -> Term {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Term {
        holder: spec.holder_identity.unwrap_or_default(),
        renewed: spec.renew_time,
        duration: seconds.map_or(DURATION, Duration::from_secs),
    }
}
