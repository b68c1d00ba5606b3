//! Watches that run side by side, each into its store.

use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::BoxStream;
use kube::Client;
use kube::api::Api;
use kube::core::{DynamicObject, PartialObjectMeta, Resource};
use kube_runtime::watcher;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::follow::{Signals, follow, listed};
use super::store::Store;
use super::wake::Urgency;

/// Watches that run, and when each of them has had its first answer.
pub(super) struct Tasks {
    pub client: Client,
    pub signals: Signals,
    pub running: JoinSet<()>,
    answered: Vec<watch::Receiver<bool>>,
}

impl Tasks {
    pub fn new(client: Client, signals: Signals) -> Self {
        Self { client, signals, running: JoinSet::new(), answered: Vec::new() }
    }

    /// Watches these objects.
    pub fn watch<K, V>(
        &mut self,
        api: Api<K>,
        which: watcher::Config,
        convert: impl Fn(K) -> Option<V> + Send + 'static,
        urgency: impl Fn(Option<&V>, Option<&V>) -> Urgency + Send + 'static,
    ) -> Store<V>
    where
        K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
        V: Clone + PartialEq + Send + 'static,
    {
        let (store, start) = (Store::default(), move || listed(api.clone(), &which));
        self.answered.push(store.answered());
        self.running.spawn(follow(start, convert, urgency, store.clone(), self.signals.clone()));
        store
    }

    /// Wakes whenever an aggregate has other news than before. `start` starts its watch.
    pub fn aggregate(&mut self, start: impl Fn() -> BoxStream<'static, ()> + Send + 'static) {
        let Signals { wake, mut relist_aggregates, .. } = self.signals.clone();
        self.running.spawn(async move {
            let mut news = start();
            loop {
                tokio::select! {
                    Ok(()) = relist_aggregates.changed() => news = start(),
                    Some(()) = news.next() => wake.up(Urgency::Soon),
                    else => return,
                }
            }
        });
    }

    /// Waits for the first answer to each, but not longer than this, and once.
    pub async fn wait_for_answers(&mut self, patience: Duration) {
        let waiting = std::mem::take(&mut self.answered);
        let all = waiting.into_iter().map(|mut answered| async move {
            let _ = answered.wait_for(|answered| *answered).await;
        });
        let _ = tokio::time::timeout(patience, join_all(all)).await;
    }
}

/// Metadata of objects of any kind: one type for all, so that the watching is compiled once.
pub(super) type Metadata = PartialObjectMeta<DynamicObject>;

/// All objects.
pub(super) fn all() -> watcher::Config {
    watcher::Config::default()
}

/// Every change is urgent.
pub(super) fn now<V>(_: Option<&V>, _: Option<&V>) -> Urgency {
    Urgency::Now
}

/// No change is urgent.
pub(super) fn soon<V>(_: Option<&V>, _: Option<&V>) -> Urgency {
    Urgency::Soon
}
