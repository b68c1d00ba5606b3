//! Watches that run concurrently, each into its store.

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

/// Running watches, and whether each of them has had its first response.
pub(super) struct Tasks {
    pub client: Client,
    pub signals: Signals,
    pub running: JoinSet<()>,
    responded: Vec<watch::Receiver<bool>>,
}

impl Tasks {
    pub fn new(client: Client, signals: Signals) -> Self {
        Self { client, signals, running: JoinSet::new(), responded: Vec::new() }
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
        let everywhere = !api.resource_url().contains("/namespaces/");
        let (store, start) = (Store::new(&what(api.resource_url())), move || listed(api.clone(), &which));
        self.responded.push(store.responded());
        self.running.spawn(follow(start, convert, urgency, store.clone(), self.signals.clone(), everywhere));
        store
    }

    /// Wakes the controller whenever an aggregate has changed. `start` starts its watch.
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

    /// Waits once for the first response to each, for at most `patience`.
    pub async fn wait_for_first_responses(&mut self, patience: Duration) {
        let waiting = std::mem::take(&mut self.responded);
        let all = waiting.into_iter().map(|mut responded| async move {
            let _ = responded.wait_for(|responded| *responded).await;
        });
        let _ = tokio::time::timeout(patience, join_all(all)).await;
    }
}

/// Metadata of objects of any kind: one type for all, so that the watching is compiled once.
pub(super) type Metadata = PartialObjectMeta<DynamicObject>;

/// What a list by this path is called in findings, as where the API server is read: `list pods in calico-system`.
fn what(path: &str) -> String {
    let (group, rest) = match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["apis", group, _, rest @ ..] => (format!(".{group}"), rest.to_vec()),
        ["api", _, rest @ ..] => (String::new(), rest.to_vec()),
        _ => return format!("list {path}"),
    };
    match rest.as_slice() {
        ["namespaces", namespace, plural] => format!("list {plural}{group} in {namespace}"),
        rest => format!("list {}{group}", rest.join("/")),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_the_name_that_reads_give_it() {
        for (path, name) in [
            ("/apis/operator.tigera.io/v1/imagesets", "list imagesets.operator.tigera.io"),
            ("/apis/apps/v1/namespaces/calico-system/daemonsets", "list daemonsets.apps in calico-system"),
            ("/api/v1/namespaces/tigera-operator/pods", "list pods in tigera-operator"),
            ("/api/v1/nodes", "list nodes"),
        ] {
            assert_eq!(what(path), name);
        }
    }
}
