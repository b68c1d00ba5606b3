//! What the pods of the operator's workloads pull and run: folded from a watch to a few entries, so that memory does not grow
//! with what a Pod says of itself, and hardly with their number. Reads only.

mod aggregate;
mod partial_pod;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Client;
use kube::api::{Api, ListParams};
use kube_runtime::watcher::{self, Event};
use tokio::sync::watch;

use self::aggregate::{Aggregate, what};
use self::partial_pod::PartialPod;
pub(super) use self::partial_pod::partial_metadata;
use crate::cluster::read::objects::MANAGED_NAMESPACES;
use crate::cluster::read::request::read;
use crate::model::{PodSummary, Read, ReadFailure, foreign_text::escaped};

/// Pods per page for the command line, which is gone soon.
const LARGE_PAGE: u32 = 250;

/// The door for [`super::properties`].
#[cfg(any(test, fuzzing))]
pub(in crate::cluster) mod properties {
    pub use super::aggregate::Aggregate;
    pub use super::partial_pod::PartialPod;
}

type Told = (&'static str, Result<Event<PartialPod>, watcher::Error>);

/// One look at all of them, for the command line.
pub async fn list_once(client: Client) -> Read<PodSummary> {
    let mut aggregate = Aggregate::new(&MANAGED_NAMESPACES);
    for namespace in MANAGED_NAMESPACES {
        let api: Api<PartialPod> = Api::namespaced(client.clone(), namespace);
        aggregate.event(namespace, Event::Init);
        let mut page = ListParams::default().limit(LARGE_PAGE);
        loop {
            let list = match read(&what(namespace), api.list(&page)).await {
                Read::Known(list) => list,
                Read::KindMissing => return Read::KindMissing,
                Read::Failed(failure) => return Read::Failed(failure),
            };
            for pod in list.items {
                aggregate.event(namespace, Event::InitApply(pod));
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        aggregate.event(namespace, Event::InitDone);
    }
    aggregate.read()
}

/// What a running watch knows. Cheap to clone.
#[derive(Clone)]
pub struct ManagedPods {
    aggregate: Arc<Mutex<Aggregate>>,
    /// Namespaces that have an answer, if only a failure.
    answered: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

impl Default for ManagedPods {
    fn default() -> Self {
        let aggregate = Arc::new(Mutex::new(Aggregate::new(&MANAGED_NAMESPACES)));
        Self { aggregate, answered: Arc::new(watch::Sender::default()) }
    }
}

impl ManagedPods {
    /// What the pods say, or why that is not known.
    #[must_use]
    pub fn read(&self) -> Read<PodSummary> {
        self.aggregate().read()
    }

    /// Waits for the first answer of every namespace, but no longer than `patience`, and once only.
    pub async fn wait_for_answer(&self, patience: Duration) {
        let mut answered = self.answered.subscribe();
        let all = |answered: &BTreeSet<&str>| MANAGED_NAMESPACES.iter().all(|namespace| answered.contains(namespace));
        if tokio::time::timeout(patience, answered.wait_for(all)).await.is_err() {
            self.answered.send_replace(MANAGED_NAMESPACES.into());
        }
    }

    /// Watches for ever; an item comes when something else is to be reported than before. How many pods there are of a kind is nothing
    /// else.
    pub fn watch(&self, client: &Client) -> BoxStream<'static, ()> {
        let this = self.clone();
        let events = stream::select_all(MANAGED_NAMESPACES.map(|namespace| follow(client, namespace)));
        events.filter_map(move |event| futures::future::ready(this.take(event).then_some(()))).boxed()
    }

    fn take(&self, (namespace, event): Told) -> bool {
        let is_answer = matches!(event, Ok(Event::InitDone) | Err(_));
        let changed = match event {
            Ok(event) => self.aggregate().event(namespace, event),
            Err(error) => {
                tracing::debug!(namespace, %error, "the watch of pods broke and is started again");
                let forbidden = super::follow::is_forbidden(&error);
                let message = escaped(&super::follow::message(&error));
                self.aggregate().failure(namespace, ReadFailure { what: what(namespace), forbidden, message })
            }
        };
        if is_answer {
            self.answered.send_if_modified(|answered| answered.insert(namespace));
        }
        changed
    }

    fn aggregate(&self) -> MutexGuard<'_, Aggregate> {
        self.aggregate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of a namespace, for ever.
fn follow(client: &Client, namespace: &'static str) -> BoxStream<'static, Told> {
    let api: Api<PartialPod> = Api::namespaced(client.clone(), namespace);
    super::follow::streamed_or_paged(api).map(move |event| (namespace, event)).boxed()
}
