//! What the pods of the operator's workloads pull and run: a watch aggregated to a few entries, so that memory does not grow
//! with the size of a Pod, and hardly with their number. Reads only.

mod aggregate;
mod partial_pod;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use kube_runtime::watcher::{self, Event};
use tokio::sync::watch;

use self::aggregate::{Aggregate, what};
use self::partial_pod::PartialPod;
pub(super) use self::partial_pod::partial_metadata;
use crate::cluster::read::objects::GATEWAY_PROXIES;
use crate::cluster::read::request::{MOST_COUNTED, map, read_pages};
use crate::model::{CALICO_NAMESPACES, PodSummary, Read, ReadFailure, foreign_text::escaped, is_managed_namespace};

/// Pods per page for the command line, which is gone soon.
const LARGE_PAGE: u32 = 250;

/// The door for [`super::properties`].
#[cfg(any(test, fuzzing))]
pub(in crate::cluster) mod properties {
    pub use super::aggregate::Aggregate;
    pub use super::partial_pod::PartialPod;
}

/// The place of the pods of Gateways: all namespaces that are not watched as a whole.
const GATEWAYS: &str = "the namespaces of Gateways";

/// The places whose pods count in either variant.
const PLACES: [&str; 4] = [CALICO_NAMESPACES[0], CALICO_NAMESPACES[1], CALICO_NAMESPACES[2], GATEWAYS];

type NamespaceEvent = (&'static str, Result<Event<PartialPod>, watcher::Error>);

/// Lists all pods that count in either variant once, for the command line.
pub async fn list_once(client: Client) -> Read<PodSummary> {
    list_in(client, &PLACES).await
}

/// Lists the pods of these places once.
pub async fn list_in(client: Client, places: &[&'static str]) -> Read<PodSummary> {
    let mut aggregate = Aggregate::new(places);
    for namespace in places.iter().copied() {
        let (api, labels) = pods_of(&client, namespace);
        aggregate.event(namespace, Event::Init);
        let take = |pod: PartialPod| {
            if is_in(namespace, &pod) {
                aggregate.event(namespace, Event::InitApply(pod));
            }
        };
        let pages = ListParams { label_selector: labels.map(str::to_owned), ..ListParams::default() };
        let listed = read_pages(&what(namespace), &api, pages.limit(LARGE_PAGE), MOST_COUNTED, take).await;
        if listed != Read::Known(()) {
            return map(listed, |()| PodSummary::default());
        }
        aggregate.event(namespace, Event::InitDone);
    }
    aggregate.read()
}

/// Where the pods of a place are, and their labels.
fn pods_of(client: &Client, place: &str) -> (Api<PartialPod>, Option<&'static str>) {
    match place {
        GATEWAYS => (Api::all(client.clone()), Some(GATEWAY_PROXIES)),
        namespace => (Api::namespaced(client.clone(), namespace), None),
    }
}

/// Whether a pod counts in this place: one of a Gateway may be in a namespace that is watched as a whole.
fn is_in(place: &str, pod: &PartialPod) -> bool {
    place != GATEWAYS || !pod.namespace().is_some_and(|namespace| is_managed_namespace(&namespace))
}

/// The pods of both.
pub fn both(one: Read<PodSummary>, other: Read<PodSummary>) -> Read<PodSummary> {
    match (one, other) {
        (Read::Known(mut one), Read::Known(other)) => {
            one.running.extend(other.running);
            one.failing.extend(other.failing);
            Read::Known(one)
        }
        (Read::Known(_), failed) | (failed, _) => failed,
    }
}

/// What a running watch knows. Cheap to clone.
#[derive(Clone)]
pub struct ManagedPods {
    places: &'static [&'static str],
    aggregate: Arc<Mutex<Aggregate>>,
    /// Namespaces for which the API server has responded, if only with a failure.
    responded: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

impl Default for ManagedPods {
    fn default() -> Self {
        Self::new(&PLACES)
    }
}

impl ManagedPods {
    /// Pods in these namespaces.
    #[must_use]
    pub fn new(places: &'static [&'static str]) -> Self {
        let aggregate = Arc::new(Mutex::new(Aggregate::new(places)));
        Self { places, aggregate, responded: Arc::new(watch::Sender::default()) }
    }

    /// What the pods report, or why that is not known.
    #[must_use]
    pub fn read(&self) -> Read<PodSummary> {
        self.aggregate().read()
    }

    /// Waits once for the first response for every namespace, for at most `patience`.
    pub async fn wait_for_first_response(&self, patience: Duration) {
        let mut responded = self.responded.subscribe();
        let all = |responded: &BTreeSet<&str>| self.places.iter().all(|place| responded.contains(place));
        if tokio::time::timeout(patience, responded.wait_for(all)).await.is_err() {
            self.responded.send_replace(self.places.iter().copied().collect());
        }
    }

    /// Watches forever; the stream has an item when the summary has changed, numbers of pods apart.
    pub fn watch(&self, client: &Client) -> BoxStream<'static, ()> {
        let this = self.clone();
        let events = stream::select_all(self.places.iter().map(|place| follow(client, place)));
        events.filter_map(move |event| futures::future::ready(this.take(event).then_some(()))).boxed()
    }

    fn take(&self, (namespace, event): NamespaceEvent) -> bool {
        if let Ok(Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod)) = &event
            && !is_in(namespace, pod)
        {
            return false;
        }
        let is_response = matches!(event, Ok(Event::InitDone) | Err(_));
        let changed = match event {
            Ok(event) => self.aggregate().event(namespace, event),
            Err(error) => {
                tracing::debug!(namespace, %error, "the watch of pods broke and is started again");
                let forbidden = super::follow::is_forbidden(&error);
                let message = escaped(&super::follow::message(&error));
                self.aggregate().failure(namespace, ReadFailure { what: what(namespace), forbidden, message })
            }
        };
        if is_response {
            self.responded.send_if_modified(|responded| responded.insert(namespace));
        }
        changed
    }

    fn aggregate(&self) -> MutexGuard<'_, Aggregate> {
        self.aggregate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of a namespace, forever.
fn follow(client: &Client, namespace: &'static str) -> BoxStream<'static, NamespaceEvent> {
    let (api, labels) = pods_of(client, namespace);
    super::follow::streamed_or_paged(api, labels).map(move |event| (namespace, event)).boxed()
}
