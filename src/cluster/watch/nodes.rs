//! The platforms of the cluster's nodes: a watch aggregated to a count per platform, so that memory does not grow with
//! the size of a Node. Reads only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::watcher::{self, Event};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::pods::partial_metadata;
use crate::cluster::read::request::{MOST_COUNTED, map, read_pages};
use crate::model::foreign_text::{self, escaped};
use crate::model::{NodePlatform, Platform, Read, ReadFailure, Snapshot, UnknownNode};

/// Nodes per page for the command line.
const PAGE: u32 = 500;
/// Most nodes of an unknown platform that are kept by name.
const MOST_UNKNOWN: usize = 64;
/// Most names that are kept of the nodes of one platform.
const MOST_NAMES: usize = 3;
/// What a missing right to read nodes is called in findings.
const WHAT: &str = "list nodes";

/// A Node, as far as platforms go.
#[derive(Resource, Debug, Clone, Serialize, Deserialize)]
#[resource(inherit = core::Node)]
pub struct Node {
    #[serde(deserialize_with = "partial_metadata")]
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
    #[serde(deserialize_with = "foreign_text::decode_name")]
    operating_system: String,
    #[serde(deserialize_with = "foreign_text::decode_name")]
    architecture: String,
    #[serde(deserialize_with = "foreign_text::decode_name")]
    kernel_version: String,
}

impl Node {
    /// Returns the name, escaped and cut: the key under which a node is kept.
    fn key(&self) -> String {
        escaped(&self.name_any())
    }

    fn report(&self) -> NodePlatform {
        let info = &self.status.node_info;
        NodePlatform::of(&info.operating_system, &info.architecture, &info.kernel_version)
    }
}

/// The platforms of all nodes with the number of nodes, and the nodes of a platform for which no images are built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeenNodes {
    /// By platform.
    pub platforms: BTreeMap<Platform, u32>,
    /// The first names of the nodes that may have to be named: of Windows nodes, and of the one node of its platform.
    pub names: BTreeMap<Platform, Vec<String>>,
    /// By name, the first 64 of them.
    pub unknown: Vec<UnknownNode>,
}

impl SeenNodes {
    /// Adds what one more node reports.
    pub(in crate::cluster) fn add_node(&mut self, node: &Node) {
        self.add(&node.key(), &node.report());
    }

    fn add(&mut self, name: &str, report: &NodePlatform) {
        match report {
            NodePlatform::Unreported => {}
            NodePlatform::Known(platform) => {
                match self.platforms.get_mut(platform) {
                    Some(count) => *count += 1,
                    None => {
                        self.platforms.insert(platform.clone(), 1);
                    }
                }
                self.add_name(name, platform);
            }
            NodePlatform::Unknown(platform) => {
                self.unknown.push(UnknownNode { node: name.to_owned(), platform: platform.clone() });
            }
        }
    }

    /// Keeps the first names of a platform.
    fn add_name(&mut self, name: &str, platform: &Platform) {
        let names = match self.names.get_mut(platform) {
            Some(names) => names,
            None => self.names.entry(platform.clone()).or_default(),
        };
        let position = names.partition_point(|one| one.as_str() < name);
        if position < MOST_NAMES {
            names.insert(position, name.to_owned());
            names.truncate(MOST_NAMES);
        }
    }

    /// Whether decisions and findings are the same with `other`: all but the exact numbers of nodes.
    fn decides_as(&self, other: &Self) -> bool {
        self.platforms.keys().eq(other.platforms.keys())
            && Platform::of_several(&self.platforms) == Platform::of_several(&other.platforms)
            && (&self.names, &self.unknown) == (&other.names, &other.unknown)
    }

    /// In an order that does not depend on who came first, and bounded.
    fn finished(mut self) -> Self {
        self.unknown.sort();
        self.unknown.truncate(MOST_UNKNOWN);
        let counts = &self.platforms;
        self.names.retain(|platform, _| platform.is_windows() || counts.get(platform) == Some(&1));
        self
    }
}

impl Snapshot {
    /// Stores the platforms of the nodes in the snapshot.
    pub(in crate::cluster) fn set_nodes(&mut self, nodes: Read<SeenNodes>) {
        let SeenNodes { names, unknown, .. } = nodes.known().cloned().unwrap_or_default();
        (self.node_names, self.unknown_nodes) = (names, unknown);
        self.nodes = map(nodes, |seen| seen.platforms);
    }
}

/// Lists all nodes once, for the command line.
pub async fn list_once(client: Client) -> Read<SeenNodes> {
    let mut seen = SeenNodes::default();
    let pages = ListParams::default().limit(PAGE);
    let listed = read_pages(WHAT, &Api::all(client), pages, MOST_COUNTED, |node| seen.add_node(&node)).await;
    map(listed, |()| seen.finished())
}

/// The platforms as a running watch knows them. Cheap to clone.
#[derive(Clone)]
pub struct NodePlatforms {
    aggregate: Arc<Mutex<Aggregate>>,
    /// Whether the API server has responded, if only with a failure.
    responded: Arc<watch::Sender<bool>>,
}

struct Aggregate {
    /// What each node reports, by its name.
    nodes: BTreeMap<String, NodePlatform>,
    /// Nodes of a listing that is under way.
    listing: Option<BTreeMap<String, NodePlatform>>,
    state: Read<()>,
}

impl Default for NodePlatforms {
    fn default() -> Self {
        let not_yet = ReadFailure { what: WHAT.to_owned(), forbidden: false, message: "not listed yet".to_owned() };
        let aggregate = Aggregate { nodes: BTreeMap::new(), listing: None, state: Read::Failed(not_yet) };
        Self { aggregate: Arc::new(Mutex::new(aggregate)), responded: Arc::new(watch::Sender::new(false)) }
    }
}

impl NodePlatforms {
    /// What the nodes report, or why that is not known.
    #[must_use]
    pub fn read(&self) -> Read<SeenNodes> {
        let aggregate = self.aggregate.lock().unwrap_or_else(PoisonError::into_inner);
        map(aggregate.state.clone(), |()| seen(&aggregate.nodes))
    }

    /// Waits for the first response for at most `patience`: a list that is under way after the start is no failure.
    pub async fn wait_for_first_response(&self, patience: Duration) {
        let mut responded = self.responded.subscribe();
        let _ = tokio::time::timeout(patience, responded.wait_for(|responded| *responded)).await;
    }

    /// Watches forever; the stream has an item whenever the platforms, or whether they are known, have changed.
    pub fn watch(&self, client: Client) -> BoxStream<'static, ()> {
        let this = self.clone();
        super::follow::streamed_or_paged(Api::<Node>::all(client), None)
            .filter_map(move |event| futures::future::ready(this.event(event)))
            .boxed()
    }

    fn event(&self, event: Result<Event<Node>, watcher::Error>) -> Option<()> {
        let is_response = matches!(event, Ok(Event::InitDone) | Err(_));
        let changed = self.take(event);
        if is_response {
            self.responded.send_replace(true);
        }
        changed
    }

    fn take(&self, event: Result<Event<Node>, watcher::Error>) -> Option<()> {
        let mut aggregate = self.aggregate.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, before) = (matches!(aggregate.state, Read::Known(())), seen(&aggregate.nodes));
        match event {
            Ok(Event::Init) => aggregate.listing = Some(BTreeMap::new()),
            Ok(Event::InitApply(node)) => {
                if let Some(listing) = &mut aggregate.listing {
                    listing.insert(node.key(), node.report());
                }
            }
            Ok(Event::InitDone) => {
                aggregate.nodes = aggregate.listing.take().unwrap_or_default();
                aggregate.state = Read::Known(());
            }
            Ok(Event::Apply(node)) => {
                aggregate.nodes.insert(node.key(), node.report());
            }
            Ok(Event::Delete(node)) => {
                aggregate.nodes.remove(&node.key());
            }
            Err(error) => {
                // A watch that broke after its first list keeps its content: it lists again.
                if !known {
                    let forbidden = super::follow::is_forbidden(&error);
                    let message = escaped(&super::follow::message(&error));
                    aggregate.state = Read::Failed(ReadFailure { what: WHAT.to_owned(), forbidden, message });
                    return Some(());
                }
                tracing::debug!(%error, "the watch of nodes broke and is started again");
            }
        }
        let now = seen(&aggregate.nodes);
        let changed = known != matches!(aggregate.state, Read::Known(())) || !before.decides_as(&now);
        changed.then_some(())
    }
}

fn seen(nodes: &BTreeMap<String, NodePlatform>) -> SeenNodes {
    let mut seen = SeenNodes::default();
    nodes.iter().for_each(|(name, report)| seen.add(name, report));
    seen.finished()
}
