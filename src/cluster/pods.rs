//! What the pods of the operator's workloads pull and run: folded from a watch to a few entries, so that memory does not grow
//! with what a Pod says of itself, and hardly with their number. Reads only.

mod fold;
mod slim;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Client;
use kube::api::{Api, ListParams};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::Instant;

use self::fold::{Fold, what};
use self::slim::SlimPod;
pub(super) use self::slim::slim_metadata;
use super::observe::{MANAGED_NAMESPACES, read};
use crate::model::foreign_text::escaped;
use crate::model::pods::SeenPods;
use crate::model::read::{Read, ReadFailure};

/// Pods per page for the command line, which is gone soon.
const LARGE_PAGE: u32 = 250;
/// The shortest time between two passes that pods are the reason for: a roll-out tells of its images one by one.
const SOONEST: Duration = Duration::from_secs(1);

/// The door for [`super::properties`].
#[cfg(any(test, fuzzing))]
pub(super) mod properties {
    pub use super::fold::Fold;
    pub use super::slim::SlimPod;
}

type Told = (&'static str, Result<Event<SlimPod>, watcher::Error>);

/// One look at all of them, for the command line.
pub async fn list_once(client: Client) -> Read<SeenPods> {
    let mut fold = Fold::new(&MANAGED_NAMESPACES);
    for namespace in MANAGED_NAMESPACES {
        let api: Api<SlimPod> = Api::namespaced(client.clone(), namespace);
        fold.event(namespace, Event::Init);
        let mut page = ListParams::default().limit(LARGE_PAGE);
        loop {
            let list = match read(&what(namespace), api.list(&page)).await {
                Read::Known(list) => list,
                Read::KindMissing => return Read::KindMissing,
                Read::Failed(failure) => return Read::Failed(failure),
            };
            for pod in list.items {
                fold.event(namespace, Event::InitApply(pod));
            }
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
        fold.event(namespace, Event::InitDone);
    }
    fold.read()
}

/// What a running watch knows. Cheap to clone.
#[derive(Clone)]
pub struct ManagedPods {
    fold: Arc<Mutex<Fold>>,
    /// Namespaces that have an answer, if only a failure.
    answered: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

impl Default for ManagedPods {
    fn default() -> Self {
        let fold = Arc::new(Mutex::new(Fold::new(&MANAGED_NAMESPACES)));
        Self { fold, answered: Arc::new(watch::Sender::default()) }
    }
}

impl ManagedPods {
    /// What the pods say, or why that is not known.
    #[must_use]
    pub fn read(&self) -> Read<SeenPods> {
        self.fold().read()
    }

    /// Waits for the first answer of every namespace, but no longer than `patience`, and once only.
    pub async fn wait_for_answer(&self, patience: Duration) {
        let mut answered = self.answered.subscribe();
        let all = |answered: &BTreeSet<&str>| MANAGED_NAMESPACES.iter().all(|namespace| answered.contains(namespace));
        if tokio::time::timeout(patience, answered.wait_for(all)).await.is_err() {
            self.answered.send_replace(MANAGED_NAMESPACES.into());
        }
    }

    /// Watches for ever; an item comes when something else is to be told than before, at most once in a second. How many pods
    /// there are of a kind is nothing else.
    pub fn watch(&self, client: &Client) -> BoxStream<'static, ()> {
        let events = stream::select_all(MANAGED_NAMESPACES.map(|namespace| follow(client, namespace)));
        let next = |(this, mut events, last): (Self, _, Option<Instant>)| async move {
            let mut due: Option<Instant> = None;
            loop {
                let wait = async {
                    match due {
                        Some(due) => tokio::time::sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    told = StreamExt::next(&mut events) => {
                        if this.fold_in(told?) {
                            let soonest = last.map_or_else(Instant::now, |last| last + SOONEST);
                            due = due.or(Some(soonest));
                        }
                    }
                    () = wait => return Some(((), (this, events, Some(Instant::now())))),
                }
            }
        };
        stream::unfold((self.clone(), events, None), next).boxed()
    }

    fn fold_in(&self, (namespace, event): Told) -> bool {
        let is_answer = matches!(event, Ok(Event::InitDone) | Err(_));
        let changed = match event {
            Ok(event) => self.fold().event(namespace, event),
            Err(error) => {
                tracing::debug!(namespace, %error, "the watch of pods broke and is started again");
                let forbidden = super::watches::is_forbidden(&error);
                let message = escaped(&super::watches::told(&error));
                self.fold().failure(namespace, ReadFailure { what: what(namespace), forbidden, message })
            }
        };
        if is_answer {
            self.answered.send_if_modified(|answered| answered.insert(namespace));
        }
        changed
    }

    fn fold(&self) -> MutexGuard<'_, Fold> {
        self.fold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of a namespace, for ever.
fn follow(client: &Client, namespace: &'static str) -> BoxStream<'static, Told> {
    let api: Api<SlimPod> = Api::namespaced(client.clone(), namespace);
    super::watches::streamed_or_paged(api).map(move |event| (namespace, event)).boxed()
}
