//! What the pods of the operator's workloads pull and run: a watch aggregated to a few entries, so that memory does not grow
//! with the size of a Pod, and hardly with their number. Reads only.

mod aggregate;
mod partial_pod;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Client;
use kube::api::Api;
use kube_runtime::watcher::{self, Event};
use tokio::sync::watch;

use self::aggregate::{Aggregate, what};
use self::partial_pod::PartialPod;
pub(super) use self::partial_pod::partial_metadata;
use crate::cluster::read::objects::MANAGED_NAMESPACES;
use crate::cluster::read::request::{map, read_pages};
use crate::model::{PodSummary, Read, ReadFailure, foreign_text::escaped};

/// Pods per page for the command line, which is gone soon.
const LARGE_PAGE: u32 = 250;

/// The door for [`super::properties`].
#[cfg(any(test, fuzzing))]
pub(in crate::cluster) mod properties {
    pub use super::aggregate::Aggregate;
    pub use super::partial_pod::PartialPod;
}

type NamespaceEvent = (&'static str, Result<Event<PartialPod>, watcher::Error>);

/// Lists all of them once, for the command line.
pub async fn list_once(client: Client) -> Read<PodSummary> {
    let mut aggregate = Aggregate::new(&MANAGED_NAMESPACES);
    for namespace in MANAGED_NAMESPACES {
        let api: Api<PartialPod> = Api::namespaced(client.clone(), namespace);
        aggregate.event(namespace, Event::Init);
        let take = |pod| _ = aggregate.event(namespace, Event::InitApply(pod));
        let listed = read_pages(&what(namespace), &api, LARGE_PAGE, usize::MAX, take).await;
        if listed != Read::Known(()) {
            return map(listed, |()| PodSummary::default());
        }
        aggregate.event(namespace, Event::InitDone);
    }
    aggregate.read()
}

/// What a running watch knows. Cheap to clone.
#[derive(Clone)]
pub struct ManagedPods {
    aggregate: Arc<Mutex<Aggregate>>,
    /// Namespaces for which the API server has responded, if only with a failure.
    responded: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

impl Default for ManagedPods {
    fn default() -> Self {
        let aggregate = Arc::new(Mutex::new(Aggregate::new(&MANAGED_NAMESPACES)));
        Self { aggregate, responded: Arc::new(watch::Sender::default()) }
    }
}

impl ManagedPods {
    /// What the pods report, or why that is not known.
    #[must_use]
    pub fn read(&self) -> Read<PodSummary> {
        self.aggregate().read()
    }

    /// Waits once for the first response for every namespace, for at most `patience`.
    pub async fn wait_for_first_response(&self, patience: Duration) {
        let mut responded = self.responded.subscribe();
        let all = |responded: &BTreeSet<&str>| MANAGED_NAMESPACES.iter().all(|namespace| responded.contains(namespace));
        if tokio::time::timeout(patience, responded.wait_for(all)).await.is_err() {
            self.responded.send_replace(MANAGED_NAMESPACES.into());
        }
    }

    /// Watches forever; the stream has an item when the summary has changed, numbers of pods apart.
    pub fn watch(&self, client: &Client) -> BoxStream<'static, ()> {
        let this = self.clone();
        let events = stream::select_all(MANAGED_NAMESPACES.map(|namespace| follow(client, namespace)));
        events.filter_map(move |event| futures::future::ready(this.take(event).then_some(()))).boxed()
    }

    fn take(&self, (namespace, event): NamespaceEvent) -> bool {
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

/// Returns the events of a namespace, forever.
fn follow(client: &Client, namespace: &'static str) -> BoxStream<'static, NamespaceEvent> {
    let api: Api<PartialPod> = Api::namespaced(client.clone(), namespace);
    super::follow::streamed_or_paged(api).map(move |event| (namespace, event)).boxed()
}
