//! The platforms of the cluster's nodes: folded from a watch to a count per platform, so that memory does not grow with
//! what a Node says of itself. Reads only.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use kube::core::{ClusterResourceScope, Resource};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::observe::read;
use super::pods::slim_metadata;
use crate::domain::Platform;
use crate::domain::snapshot::{Read, ReadFailure};

/// Nodes per page for the command line.
const PAGE: u32 = 500;
/// What a missing right to read nodes is called in findings.
const WHAT: &str = "list nodes";

/// A Node, as far as platforms go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    #[serde(deserialize_with = "slim_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeStatus {
    #[serde(default)]
    node_info: NodeInfo,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeInfo {
    operating_system: String,
    architecture: String,
    kernel_version: String,
}

impl Resource for Node {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Node".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "nodes".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Node {
    /// `None` until the kubelet has reported. On Windows the kernel's version is the build that images must match.
    fn platform(&self) -> Option<Platform> {
        let info = &self.status.node_info;
        if info.operating_system.is_empty() || info.architecture.is_empty() {
            return None;
        }
        let mut platform = Platform::new(&info.operating_system, &info.architecture);
        if platform.is_windows() && !info.kernel_version.is_empty() {
            platform.os_version = Some(info.kernel_version.clone());
        }
        Some(platform)
    }
}

/// All platforms of one look, by asking for every node once: for the command line.
pub async fn list_once(client: Client) -> Read<BTreeMap<Platform, u32>> {
    let api: Api<Node> = Api::all(client);
    let mut counts = BTreeMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        match read(WHAT, api.list(&page)).await {
            Read::Known(list) => {
                for platform in list.items.iter().filter_map(Node::platform) {
                    *counts.entry(platform).or_insert(0) += 1;
                }
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => return Read::Known(counts),
                }
            }
            Read::KindMissing => return Read::KindMissing,
            Read::Failed(failure) => return Read::Failed(failure),
        }
    }
}

/// The platforms as a running watch knows them. Cheap to clone.
#[derive(Clone)]
pub struct NodePlatforms {
    fold: Arc<Mutex<Fold>>,
    /// Whether there is an answer, if only a failure.
    answered: Arc<watch::Sender<bool>>,
}

struct Fold {
    /// Platform of each node, by a hash of its name: a few bytes per node.
    nodes: BTreeMap<u64, Option<Platform>>,
    /// Nodes of a listing that is under way.
    listing: Option<BTreeMap<u64, Option<Platform>>>,
    state: Read<()>,
}

impl Default for NodePlatforms {
    fn default() -> Self {
        let not_yet = ReadFailure { what: WHAT.to_owned(), forbidden: false, message: "not listed yet".to_owned() };
        let fold = Fold { nodes: BTreeMap::new(), listing: None, state: Read::Failed(not_yet) };
        Self { fold: Arc::new(Mutex::new(fold)), answered: Arc::new(watch::Sender::new(false)) }
    }
}

impl NodePlatforms {
    /// The counts, or why they are not known.
    #[must_use]
    pub fn read(&self) -> Read<BTreeMap<Platform, u32>> {
        let fold = self.fold.lock().unwrap_or_else(PoisonError::into_inner);
        match &fold.state {
            Read::Known(()) => Read::Known(counts(&fold.nodes)),
            Read::KindMissing => Read::KindMissing,
            Read::Failed(failure) => Read::Failed(failure.clone()),
        }
    }

    /// Waits for the first answer, but no longer than `patience`: what is not known a moment after the start is no failure.
    pub async fn wait_for_answer(&self, patience: Duration) {
        let mut answered = self.answered.subscribe();
        let _ = tokio::time::timeout(patience, answered.wait_for(|answered| *answered)).await;
    }

    /// Watches for ever; an item comes whenever the platforms, or whether they are known, have changed.
    pub fn watch(&self, client: Client) -> BoxStream<'static, ()> {
        let this = self.clone();
        super::watches::streamed_or_paged(Api::<Node>::all(client))
            .filter_map(move |event| futures::future::ready(this.fold(event)))
            .boxed()
    }

    fn fold(&self, event: Result<Event<Node>, watcher::Error>) -> Option<()> {
        let is_answer = matches!(event, Ok(Event::InitDone) | Err(_));
        let changed = self.fold_in(event);
        if is_answer {
            self.answered.send_replace(true);
        }
        changed
    }

    fn fold_in(&self, event: Result<Event<Node>, watcher::Error>) -> Option<()> {
        let mut fold = self.fold.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, before) = (matches!(fold.state, Read::Known(())), counts(&fold.nodes));
        match event {
            Ok(Event::Init) => fold.listing = Some(BTreeMap::new()),
            Ok(Event::InitApply(node)) => {
                if let Some(listing) = &mut fold.listing {
                    listing.insert(hash(&node.name_any()), node.platform());
                }
            }
            Ok(Event::InitDone) => {
                fold.nodes = fold.listing.take().unwrap_or_default();
                fold.state = Read::Known(());
            }
            Ok(Event::Apply(node)) => {
                fold.nodes.insert(hash(&node.name_any()), node.platform());
            }
            Ok(Event::Delete(node)) => {
                fold.nodes.remove(&hash(&node.name_any()));
            }
            Err(error) => {
                // A watch that broke after its first listing keeps its answer: it is listed again.
                if !known {
                    let forbidden = super::watches::is_forbidden(&error);
                    let message = crate::domain::resolution::escaped(&super::watches::told(&error));
                    fold.state = Read::Failed(ReadFailure { what: WHAT.to_owned(), forbidden, message });
                    return Some(());
                }
                tracing::debug!(%error, "the watch of nodes broke and is started again");
            }
        }
        let changed = known != matches!(fold.state, Read::Known(())) || before.keys().ne(counts(&fold.nodes).keys());
        changed.then_some(())
    }
}

fn counts(nodes: &BTreeMap<u64, Option<Platform>>) -> BTreeMap<Platform, u32> {
    let mut counts = BTreeMap::new();
    for platform in nodes.values().flatten() {
        match counts.get_mut(platform) {
            Some(count) => *count += 1,
            None => {
                counts.insert(platform.clone(), 1);
            }
        }
    }
    counts
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
