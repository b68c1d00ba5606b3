//! Says when something that a decision depends on has changed. Only that: watches carry no content into a pass, so they
//! ask for metadata and keep nothing. A kind that is not installed is not polled for; the watch of
//! CustomResourceDefinitions tells when it appears.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta, Resource, Status};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::gate;
use super::nodes::NodePlatforms;
use super::observe::MANAGED_NAMESPACES;
use super::pods::ManagedPods;
use crate::api::operator::{FEATURE_KINDS, GROUP, VERSION};
use crate::inspection::job::LABEL;

/// Pauses of a watch that fails: from 100 ms, doubling, to 5 s.
#[derive(Debug, Default)]
pub struct WatchBackoff(u32);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = Duration::from_millis(100 << self.0.min(6)).min(Duration::from_secs(5));
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// How often a kind is tried again after its definition changed: the API server serves it a moment later.
const AFTER_DEFINITION: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// All watches of a running controller; they end with this value.
pub struct Watches {
    client: Client,
    wake: mpsc::Sender<()>,
    everywhere: Mutex<JoinSet<()>>,
    /// The operator's namespace, which the policy names, and the watches in it.
    operator: Mutex<(String, JoinSet<()>)>,
    /// The namespace in which operator images are asked, and the watches in it, while there is something to see.
    inspections: Mutex<(String, JoinSet<()>)>,
}

impl Watches {
    /// Starts all watches but those in the operator's namespace. The stream has an item when a pass is due.
    pub fn start(
        client: Client,
        nodes: &NodePlatforms,
        pods: &ManagedPods,
    ) -> (Self, impl Stream<Item = ()> + Send + use<>) {
        let (wake, mut woken) = mpsc::channel(1);
        let (definitions, installed) = watch::channel(0_u64);
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_definitions(client.clone(), definitions, wake.clone()));
        let own = [("Installation", "installations"), ("ImageSet", "imagesets"), ("TigeraStatus", "tigerastatuses")];
        for (kind, plural) in own.into_iter().chain(FEATURE_KINDS.map(|kind| (kind.kind, kind.plural))) {
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, kind), plural);
            let api = Api::all_with(client.clone(), &resource);
            tasks.spawn(follow(api, all(), plural, installed.clone(), wake.clone()));
        }
        for kind in gate::KINDS {
            let api = Api::all_with(client.clone(), &gate::resource(kind));
            let ours = all().fields(&format!("metadata.name={}", gate::NAME));
            tasks.spawn(follow(api, ours, kind.1, installed.clone(), wake.clone()));
        }
        for namespace in MANAGED_NAMESPACES {
            let (daemon_sets, deployments) =
                (of::<DaemonSet>(&client, namespace), of::<Deployment>(&client, namespace));
            tasks.spawn(follow(daemon_sets, all(), "daemonsets", installed.clone(), wake.clone()));
            tasks.spawn(follow(deployments, all(), "deployments", installed.clone(), wake.clone()));
        }
        for mut folded in [nodes.watch(client.clone()), pods.watch(&client)] {
            let wake = wake.clone();
            tasks.spawn(async move {
                while let Some(()) = folded.next().await {
                    let _ = wake.try_send(());
                }
            });
        }
        let (operator, inspections) = (Mutex::default(), Mutex::default());
        let watches = Self { client, wake, everywhere: Mutex::new(tasks), operator, inspections };
        (watches, futures::stream::poll_fn(move |context| woken.poll_recv(context)))
    }

    /// Watches the operator's Deployment and pods in this namespace, and in no other.
    pub fn watch_operator_in(&self, namespace: &str) {
        let mut operator = self.operator.lock().unwrap_or_else(PoisonError::into_inner);
        if operator.0 == namespace {
            return;
        }
        let mut tasks = JoinSet::new();
        let (deployments, pods) = (of::<Deployment>(&self.client, namespace), of::<Pod>(&self.client, namespace));
        let (_, installed) = watch::channel(0);
        tasks.spawn(follow(deployments, all(), "deployments", installed.clone(), self.wake.clone()));
        tasks.spawn(follow(pods, all(), "pods", installed, self.wake.clone()));
        *operator = (namespace.to_owned(), tasks);
    }

    /// Watches our Jobs and their pods in this namespace; with an empty one nothing.
    pub fn watch_inspections_in(&self, namespace: &str) {
        let mut inspections = self.inspections.lock().unwrap_or_else(PoisonError::into_inner);
        if inspections.0 == namespace {
            return;
        }
        let mut tasks = JoinSet::new();
        if !namespace.is_empty() {
            let (jobs, pods) = (of::<Job>(&self.client, namespace), of::<Pod>(&self.client, namespace));
            let (_, installed) = watch::channel(0);
            let ours = || all().labels(LABEL);
            tasks.spawn(follow(jobs, ours(), "jobs", installed.clone(), self.wake.clone()));
            tasks.spawn(follow(pods, ours(), "pods", installed, self.wake.clone()));
        }
        *inspections = (namespace.to_owned(), tasks);
    }

    /// How many watches run; for tests and logs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.everywhere.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What a watch is told: metadata of objects of any kind. One type for all kinds, so that the watching is compiled once.
type Told = PartialObjectMeta<DynamicObject>;

/// Objects of one of Kubernetes' own kinds in this namespace.
fn of<K: Resource<DynamicType = ()>>(client: &Client, namespace: &str) -> Api<Told> {
    Api::namespaced_with(client.clone(), namespace, &ApiResource::erase::<K>(&()))
}

fn all() -> watcher::Config {
    watcher::Config::default()
}

/// Objects per page of a list whose content is looked at: a page of pods is 1 MB on the wire.
const PAGE: u32 = 50;

/// The events of objects that are many and large, for ever, one at a time: by a streamed list, or by small pages where the API
/// server has none. kube would ask such a server for a streamed one again and again.
pub(super) fn streamed_or_paged<K>(api: Api<K>) -> BoxStream<'static, Result<Event<K>, watcher::Error>>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let kind = api.resource_url().to_owned();
    let start = move |config: watcher::Config| watcher(api.clone(), config).backoff(WatchBackoff::default()).boxed();
    let streamed = start(all().streaming_lists());
    let next = move |(mut events, may_stream): (BoxStream<'static, Result<_, _>>, bool)| {
        let (start, kind) = (start.clone(), kind.clone());
        async move {
            let mut event = events.next().await?;
            let refused = may_stream && matches!(&event, Err(error) if is_not_understood(error));
            if refused {
                tracing::debug!(kind, "the API server does not stream lists; they come by pages");
                events = start(all().page_size(PAGE));
                event = events.next().await?;
            }
            Some((event, (events, may_stream && !refused)))
        }
    };
    futures::stream::unfold((streamed, true), next).boxed()
}

/// Wakes whenever one of the objects that `which` selects changes.
async fn follow(
    api: Api<Told>,
    which: watcher::Config,
    resource: &'static str,
    mut installed: watch::Receiver<u64>,
    wake: mpsc::Sender<()>,
) {
    let mut tries = AFTER_DEFINITION.iter();
    loop {
        let mut events = watcher(api.clone(), which.clone()).backoff(WatchBackoff::default()).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(_) => {
                    let _ = wake.try_send(());
                }
                Err(error) if is_missing(&error) => break,
                Err(error) => tracing::debug!(resource, %error, "a watch broke and is started again"),
            }
        }
        drop(events);
        let _ = wake.try_send(());
        match tries.next() {
            Some(pause) => tokio::time::sleep(*pause).await,
            None => {
                if installed.changed().await.is_err() {
                    // Nobody tells of definitions: this kind is one of Kubernetes' own, and will be back.
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                tries = AFTER_DEFINITION.iter();
            }
        }
    }
}

/// Tells when a definition of the operator's group comes, changes or goes.
async fn follow_definitions(client: Client, definitions: watch::Sender<u64>, wake: mpsc::Sender<()>) {
    let api: Api<Told> = Api::all_with(client, &ApiResource::erase::<CustomResourceDefinition>(&()));
    let mut events = watcher(api, all()).backoff(WatchBackoff::default()).boxed();
    let suffix = format!(".{GROUP}");
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(definition) | Event::Delete(definition) | Event::InitApply(definition)) => {
                if definition.name_any().ends_with(&suffix) {
                    definitions.send_modify(|changes| *changes += 1);
                    let _ = wake.try_send(());
                }
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => tracing::debug!(%error, "the watch of definitions broke and is started again"),
        }
    }
}

/// The API server's own words, where it was the one that refused.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    status(error).map(|status| status.code)
}

/// An error in words for a finding.
pub(super) fn told(error: &watcher::Error) -> String {
    status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

/// Whether the kind is not installed.
pub(super) fn is_missing(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

/// Whether the API server does not know, or not allow, what a watch asks for.
fn is_not_understood(error: &watcher::Error) -> bool {
    matches!(code(error), Some(400 | 422))
}

/// Whether the API server denied a watch.
pub(super) fn is_forbidden(error: &watcher::Error) -> bool {
    matches!(code(error), Some(401 | 403))
}
