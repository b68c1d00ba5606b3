//! Lists and watches of the recorder. A watch goes on from the last resourceVersion after any break, so that no revision
//! is missed; where the server has forgotten it (410 Gone), the gap is reported.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use tokio::task::JoinHandle;

use super::super::patience::{SOON, until};
use super::Config;
use super::history::{Revision, Verb, Watched, Write, writer};

/// How long one request may take: the client itself would retry for minutes.
const RESPONSE_WITHIN: Duration = Duration::from_secs(30);
/// How long the last watch of a kind goes on until what a list shows has come: the API server may be slow to send it.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);

/// All that came, in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct History {
    arrived: Vec<Revision>,
    /// The last state of each living object.
    living: BTreeMap<(Watched, String), DynamicObject>,
    /// Up to where each kind was read; absent: not listed yet.
    read_to: BTreeMap<Watched, String>,
    /// Kinds that were listed once, found or not.
    tried: BTreeMap<Watched, bool>,
    /// Where revisions may be missing.
    pub gaps: Vec<String>,
}

impl History {
    /// All revisions by etcd revision.
    pub fn sorted(&self) -> Vec<Revision> {
        let mut sorted = self.arrived.clone();
        sorted.sort_by_key(|revision| revision.resource_version);
        sorted
    }

    pub fn writes(&self) -> Vec<Write> {
        self.sorted().iter().filter(|revision| !revision.initial).map(Revision::write).collect()
    }

    fn push(&mut self, watched: Watched, verb: Verb, object: DynamicObject, initial: bool, at_version: Option<&str>) {
        let key = (watched, object.name_any());
        let version = at_version.map(str::to_owned).or_else(|| object.resource_version()).unwrap_or_default();
        let before = self.living.get(&key);
        let manager = if verb == Verb::Delete { None } else { writer(before, &object) };
        if verb == Verb::Delete {
            self.living.remove(&key);
        } else {
            self.living.insert(key, object.clone());
        }
        self.arrived.push(Revision {
            resource_version: version.parse().unwrap_or_default(),
            watched,
            verb,
            initial,
            object,
            at: Instant::now(),
            manager,
        });
    }

    /// The answer to a list: the beginning, or what is left of it after a gap.
    fn listed(&mut self, watched: Watched, items: Vec<DynamicObject>, version: String) {
        // What appears after the first list was written while the recorder was running (the CRD came late).
        let initial = !self.tried.contains_key(&watched);
        let gone: Vec<DynamicObject> = self
            .living
            .iter()
            .filter(|((kind, name), _)| *kind == watched && !items.iter().any(|item| item.name_any() == *name))
            .map(|(_, object)| object.clone())
            .collect();
        for object in gone {
            self.push(watched, Verb::Delete, object, false, Some(&version));
        }
        for object in items {
            let known = self.living.get(&(watched, object.name_any()));
            match known.map(|known| known.resource_version() == object.resource_version()) {
                Some(true) => {}
                Some(false) => self.push(watched, Verb::Update, object, false, None),
                None => self.push(watched, Verb::Create, object, initial, None),
            }
        }
        self.read_to.insert(watched, version);
        self.tried.insert(watched, true);
    }

    /// Whether events have come up to this list: each of its objects, and the end of each that is not in it.
    fn has_all_of(&self, watched: Watched, items: &[DynamicObject]) -> bool {
        let version = |object: &DynamicObject| object.resource_version().and_then(|text| text.parse::<u64>().ok());
        let listed: BTreeMap<String, Option<u64>> = items.iter().map(|item| (item.name_any(), version(item))).collect();
        let living = self.living.iter().filter(|((kind, _), _)| *kind == watched);
        let living: BTreeMap<&String, Option<u64>> =
            living.map(|((_, name), object)| (name, version(object))).collect();
        listed.iter().all(|(name, version)| living.get(name).is_some_and(|known| known >= version))
            && living.keys().all(|name| listed.contains_key(*name))
    }

    /// True if the watch can go on.
    fn event(&mut self, watched: Watched, event: WatchEvent<DynamicObject>) -> bool {
        let (verb, object) = match event {
            WatchEvent::Added(object) => (Verb::Create, object),
            WatchEvent::Modified(object) => (Verb::Update, object),
            WatchEvent::Deleted(object) => (Verb::Delete, object),
            WatchEvent::Bookmark(bookmark) => {
                self.read_to.insert(watched, bookmark.metadata.resource_version);
                return true;
            }
            WatchEvent::Error(status) => {
                if status.code == 410 {
                    self.gaps.push(format!(
                        "{}: revisions after {:?} are lost",
                        watched.kind(),
                        self.read_to.get(&watched)
                    ));
                    self.read_to.remove(&watched);
                }
                return false;
            }
        };
        self.read_to.insert(watched, object.resource_version().unwrap_or_default());
        self.push(watched, verb, object, false, None);
        true
    }
}

/// One task per kind.
#[derive(Debug)]
pub struct Streams {
    tasks: Vec<JoinHandle<()>>,
    history: Arc<Mutex<History>>,
    scopes: BTreeMap<Watched, Option<String>>,
}

impl Streams {
    pub async fn start(client: &Client, config: &Config) -> Result<Self> {
        let history: Arc<Mutex<History>> = Arc::default();
        let scopes: BTreeMap<Watched, Option<String>> = Watched::ALL
            .into_iter()
            .map(|watched| {
                let namespace = match watched {
                    Watched::Deployment | Watched::Pod => Some(config.operator_namespace.clone()),
                    Watched::ConfigMap => Some(config.own_namespace.clone()),
                    Watched::Operator(_) | Watched::Policy => None,
                };
                (watched, namespace)
            })
            .collect();
        let tasks = scopes
            .iter()
            .map(|(watched, namespace)| {
                let api = api(client, *watched, namespace.as_deref());
                tokio::spawn(follow(api, *watched, history.clone()))
            })
            .collect();
        let streams = Self { tasks, history, scopes };
        let tried = async || Ok((streams.history.lock().unwrap().tried.len() == Watched::ALL.len()).then_some(()));
        until("the recorder to list its kinds", SOON, tried).await?;
        Ok(streams)
    }

    pub fn history(&self) -> History {
        self.history.lock().unwrap().clone()
    }

    /// Ends the watches, and reads from where each stood up to the present.
    pub async fn drain(mut self, client: &Client) -> Result<History> {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        let reads = self.scopes.iter().map(|(watched, namespace)| {
            let api = api(client, *watched, namespace.as_deref());
            drain_one(api, *watched, self.history.clone())
        });
        for outcome in futures::future::join_all(reads).await {
            outcome?;
        }
        Ok(self.history())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn api(client: &Client, watched: Watched, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &watched.resource()),
        None => Api::all_with(client.clone(), &watched.resource()),
    }
}

/// A call with a deadline: the client itself would retry for minutes.
async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T> {
    match tokio::time::timeout(RESPONSE_WITHIN, call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => bail!("no answer within {} s", RESPONSE_WITHIN.as_secs()),
    }
}

/// The etcd revision that the API server is at.
pub async fn present(client: &Client, config: &Config) -> Result<u64> {
    let pods = api(client, Watched::Pod, Some(&config.operator_namespace));
    let list = within(pods.list(&ListParams::default())).await?;
    Ok(list.metadata.resource_version.unwrap_or_default().parse()?)
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}

/// Lists if need be, then watches, for ever.
async fn follow(api: Api<DynamicObject>, watched: Watched, history: Arc<Mutex<History>>) {
    loop {
        let from = history.lock().unwrap().read_to.get(&watched).cloned();
        let Some(from) = from else {
            match within(api.list(&ListParams::default())).await {
                Ok(list) => {
                    let version = list.metadata.resource_version.unwrap_or_default();
                    history.lock().unwrap().listed(watched, list.items, version);
                }
                Err(error) => {
                    if is_absent(&error) {
                        history.lock().unwrap().tried.insert(watched, false);
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            continue;
        };
        match within(api.watch(&WatchParams::default().timeout(290), &from)).await {
            Ok(stream) => {
                let mut stream = stream.boxed();
                while let Ok(Some(event)) = stream.try_next().await {
                    if !history.lock().unwrap().event(watched, event) {
                        break;
                    }
                }
            }
            // The CRD was deleted: list again when it is back.
            Err(error) if is_absent(&error) => drop(history.lock().unwrap().read_to.remove(&watched)),
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads what the aborted watch had not yet delivered. A consistent list first brings the server's watch cache to the
/// present; a watch from an older version then begins with everything in between.
async fn drain_one(api: Api<DynamicObject>, watched: Watched, history: Arc<Mutex<History>>) -> Result<()> {
    let list = match within(api.list(&ListParams::default())).await {
        Ok(list) => list,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(error.context(format!("reading {} to the end", watched.kind()))),
    };
    let from = history.lock().unwrap().read_to.get(&watched).cloned();
    if let Some(from) = from {
        let seconds = u32::try_from(CATCH_UP_WITHIN.as_secs())?;
        let stream = within(api.watch(&WatchParams::default().timeout(seconds), &from)).await?;
        let mut stream = stream.boxed();
        let read = async {
            while !history.lock().unwrap().has_all_of(watched, &list.items) {
                let Ok(Some(event)) = stream.try_next().await else { break };
                if !history.lock().unwrap().event(watched, event) {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(CATCH_UP_WITHIN, read).await;
    }
    let mut history = history.lock().unwrap();
    let version = list.metadata.resource_version.unwrap_or_default();
    let stood = history.read_to.get(&watched).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    // Anything in the list that no event brought is a hole, unless the events went past the list.
    let unseen = list.items.iter().any(|item| {
        let known = history.living.get(&(watched, item.name_any())).and_then(|known| known.resource_version());
        known != item.resource_version() && item.resource_version().and_then(|text| text.parse().ok()) > Some(stood)
    });
    if unseen || !history.read_to.contains_key(&watched) {
        if unseen {
            history.gaps.push(format!("{}: some revisions came by list only", watched.kind()));
        }
        history.listed(watched, list.items, version);
    }
    Ok(())
}
