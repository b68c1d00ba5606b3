//! Reconciles the policy whenever something is due, while this instance leads. Why it is due is irrelevant: each reconcile looks at
//! everything.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::read::Reader;
use super::reconcile::{End, Reconciled, Reconciler};
use super::registry_cache::RegistryCache;
use super::status::StatusWriter;
use super::watch::{Wake, Watches};
use super::write::Writer;
use crate::metrics::Metrics;
use crate::registry::{RegistryClient, RegistryClientSettings};
use crate::rules::token_bucket::TokenBucket;

/// Several changes at once are one reconcile; a lone one is not held up noticeably.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// Changes that can wait cause so many reconciles at once, and then one in each [`REFILL`].
const BURST: u32 = 2;
const REFILL: Duration = Duration::from_secs(1);
/// The longest that a reconcile may take. Each of its reads, lookups and writes has a shorter deadline of its own, so that this
/// one ends only what those missed: with 5 s for each API request a reconcile that writes takes a minute.
const DEADLINE: Duration = Duration::from_secs(300);
/// How often a reconcile starts again because the policy has changed meanwhile.
const STARTS: usize = 3;
/// The pause after that.
const SOON: Duration = Duration::from_millis(500);

/// Why a reconcile failed.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("the API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("not done within {} s", DEADLINE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
    #[error("the kind ImageSetPolicy is not installed: imageset-controller crds | kubectl apply --server-side -f -")]
    KindMissing,
}

/// What a reconcile waits for beside its time.
struct Triggers {
    wake: Arc<Wake>,
    /// A response of a registry has arrived late.
    late: Arc<Notify>,
    bucket: TokenBucket,
}

/// Runs until it is dropped, which cancels the current reconcile.
pub async fn run(client: Client, own_namespace: String, instance: Option<String>, metrics: Arc<Metrics>) {
    let registries = RegistryCache::new(RegistryClient::new(RegistryClientSettings {
        metrics: metrics.registry.clone(),
        ..RegistryClientSettings::of_environment()
    }));
    let (wake, late) = (Arc::new(Wake::default()), registries.late.clone());
    let watches = Watches::start(&client, &own_namespace, wake.clone());
    metrics.report_while(watches.policy_exists());
    let mut reconciler = Reconciler::new(
        client.clone(),
        watches,
        Reader::new(client.clone(), own_namespace.clone()),
        registries,
        Writer::new(client.clone(), own_namespace, metrics.writes.clone()),
        StatusWriter::new(client, instance),
    );
    let bucket = TokenBucket::new(BURST, REFILL, Instant::now().into_std());
    let mut triggers = Triggers { wake, late, bucket };
    loop {
        let next = match reconcile(&mut reconciler, &metrics).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the reconcile failed");
                Some(reconciler.failed())
            }
        };
        triggers.wait(next).await;
    }
}

impl Triggers {
    /// Waits until a reconcile is due: after this time, or when something has changed.
    async fn wait(&mut self, next: Option<Duration>) {
        let timer = async {
            match next {
                Some(next) => tokio::time::sleep(next).await,
                None => std::future::pending().await,
            }
        };
        let bucket = &mut self.bucket;
        let soon = async {
            self.wake.soon.notified().await;
            tokio::time::sleep_until(Instant::from_std(bucket.ready_at(Instant::now().into_std()))).await;
            bucket.take(Instant::now().into_std());
        };
        tokio::select! {
            () = timer => {}
            () = self.wake.now.notified() => {}
            () = self.late.notified() => {}
            () = soon => {}
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

/// Reconciles the policy, if there is one. Returns when to do so again, whatever happens meanwhile.
async fn reconcile(reconciler: &mut Reconciler, metrics: &Metrics) -> Result<Option<Duration>, ReconcileError> {
    let started = Instant::now();
    let Some(mut policy) = reconciler.policy().await? else {
        return if reconciler.lacks_kind() { Err(ReconcileError::KindMissing) } else { Ok(None) };
    };
    let reconciling = async {
        for _ in 0..STARTS {
            match reconciler.reconcile(policy).await? {
                End::Reconciled(reconciled, next) => return Ok(Some((Some(reconciled), next))),
                End::Gone => return Ok(None),
                End::Changed(changed) => policy = Arc::new(*changed),
            }
        }
        // The policy changes faster than the cluster can be read.
        Ok::<_, kube::Error>(Some((None, SOON)))
    };
    let ended = tokio::time::timeout(DEADLINE, reconciling).await;
    let ended = ended.map_err(ReconcileError::from).and_then(|ended| ended.map_err(ReconcileError::from));
    metrics.count_reconcile(started.elapsed(), ended.is_ok());
    let Some((reconciled, next)) = ended? else { return Ok(None) };
    if let Some(Reconciled { report, decision, .. }) = reconciled.as_deref() {
        let seconds = started.elapsed().as_secs_f64();
        tracing::debug!(seconds, actions = decision.actions.len(), "reconcile completed");
        metrics.report(report);
    }
    Ok(Some(next))
}
