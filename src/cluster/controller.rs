//! Makes a pass over the policy whenever one is due, while this instance leads. Why a pass is due is irrelevant: each
//! looks at everything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};

use super::POLICY_NAME;
use super::answers::RegistryAnswers;
use super::apply::Applier;
use super::nodes::NodePlatforms;
use super::observe::Observer;
use super::pass::{Passed, Passes};
use super::pods::ManagedPods;
use super::records::Records;
use super::status::StatusWriter;
use super::watches::Watches;
use crate::api::ImageSetPolicy;
use crate::metrics::Metrics;
use crate::registry::{RegistryClient, RegistryClientSettings};
use crate::rules::version::inspection;

/// Several changes at once are one pass; a lone one is not held up noticeably.
const DEBOUNCE: Duration = Duration::from_millis(2);
/// The longest that a reconcile may take. Each of its reads, lookups and writes has a shorter deadline of its own, so that this
/// one ends only what those missed: with 5 s for each API request a reconcile that writes takes a minute.
const PASS_DEADLINE: Duration = Duration::from_secs(300);
/// How often a reconcile starts again because somebody changed the policy meanwhile.
const STARTS: usize = 3;
/// The pause after that.
const SOON: Duration = Duration::from_millis(500);
/// The longest pause after a failed pass.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

struct Context {
    passes: Passes,
    watches: Watches,
    metrics: Arc<Metrics>,
    /// Failures in a row, by policy; forgotten on success.
    failures: Mutex<HashMap<String, u32>>,
}

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("the API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("not done within {} s", PASS_DEADLINE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

/// How a reconcile ended.
enum Reconciled {
    Done(Box<Passed>, Duration),
    /// The policy was deleted.
    Gone,
    /// The policy changes faster than the cluster can be read.
    Changing,
}

/// Runs until it is dropped: whoever drops it cancels what it is doing.
pub async fn run(client: Client, own_namespace: String, instance: Option<String>, metrics: Arc<Metrics>) {
    let nodes = NodePlatforms::default();
    let pods = ManagedPods::default();
    let (watches, due) = Watches::start(client.clone(), &nodes, &pods);
    let answers = RegistryAnswers::new(RegistryClient::new(RegistryClientSettings {
        metrics: metrics.registry.clone(),
        ..RegistryClientSettings::of_environment()
    }));
    let late = answers.late.clone();
    let late = futures::stream::unfold(late, |late| async move {
        late.notified().await;
        Some(((), late))
    });
    let records = Arc::new(Records::new(client.clone(), own_namespace));
    let passes = Passes {
        observer: Observer::new(client.clone(), records.clone()),
        nodes,
        pods,
        answers,
        applier: Applier::new(client.clone(), records, metrics.writes.clone()),
        status: StatusWriter::new(client.clone(), instance),
        client: client.clone(),
        policies: Api::all(client.clone()),
        refused: Mutex::default(),
        failed_reads: Mutex::default(),
        begun_refresh: Mutex::default(),
        judged: Mutex::default(),
    };
    let context = Context { passes, watches, metrics, failures: Mutex::default() };
    let policies: Api<ImageSetPolicy> = Api::all(client);
    let controller = Controller::new(policies, watcher::Config::default());
    let known = controller.store();
    context.metrics.report_while(move || !known.is_empty());
    controller
        .with_config(Config::default().concurrency(1).debounce(DEBOUNCE))
        .reconcile_all_on(due)
        .reconcile_all_on(late)
        .run(reconcile, after_failure, Arc::new(context))
        .for_each(|result| async move {
            match result {
                Ok(_) => {}
                Err(error) if is_kind_missing(&error) => tracing::warn!(
                    "the kind ImageSetPolicy is not installed: imageset-controller crds | kubectl apply --server-side -f -"
                ),
                Err(error) => tracing::warn!(%error, "a pass did not come to its end"),
            }
        })
        .await;
}

fn is_kind_missing<E: std::error::Error>(error: &kube::runtime::controller::Error<E, watcher::Error>) -> bool {
    match error {
        kube::runtime::controller::Error::QueueError(error) => super::watches::is_missing(error),
        _ => false,
    }
}

async fn reconcile(policy: Arc<ImageSetPolicy>, context: Arc<Context>) -> Result<Action, PassError> {
    let name = policy.name_any();
    if name != POLICY_NAME {
        return Ok(Action::await_change());
    }
    let started = tokio::time::Instant::now();
    let pass = async {
        for _ in 0..STARTS {
            let Some(policy) = context.passes.policy().await? else { return Ok(Reconciled::Gone) };
            context.watches.watch_operator_in(&policy.spec.operator.namespace);
            if let Some((passed, next)) = context.passes.make(&policy).await? {
                return Ok(Reconciled::Done(Box::new(passed), next));
            }
        }
        Ok::<_, kube::Error>(Reconciled::Changing)
    };
    let passed = tokio::time::timeout(PASS_DEADLINE, pass).await;
    let passed = passed.map_err(PassError::from).and_then(|passed| passed.map_err(PassError::from));
    context.metrics.count_reconcile(started.elapsed(), passed.is_ok());
    let (passed, next) = match passed? {
        Reconciled::Done(passed, next) => (passed, next),
        Reconciled::Gone => return Ok(Action::await_change()),
        Reconciled::Changing => return Ok(Action::requeue(SOON)),
    };
    let seconds = started.elapsed().as_secs_f64();
    tracing::debug!(seconds, actions = passed.decision.actions.len(), "a pass is done");
    context.metrics.report(&passed.report);
    let settings = &passed.snapshot.settings;
    let inspects = inspection::is_under_way(&passed.snapshot, &passed.decision);
    context.watches.watch_inspections_in(if inspects { &settings.inspection_namespace } else { "" });
    context.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    Ok(Action::requeue(next))
}

fn after_failure(policy: Arc<ImageSetPolicy>, _: &PassError, context: Arc<Context>) -> Action {
    let mut failures = context.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(policy.name_any()).or_default();
    let pause = Duration::from_secs(1 << (*count).min(6)).min(LONGEST_BACKOFF);
    *count += 1;
    Action::requeue(pause)
}
