//! A kubelet for the pods of one namespace or of all: binds them to a node of its own, plays what their image does, and
//! serves their logs to the API server. The scheduler and the containers are made up; everything else is real.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::certificates::ServerCertificate;
use super::scenery::{self, node_info, set_status};
use super::server::{self, Server};

const POLL: Duration = Duration::from_millis(100);

/// What an image does.
#[derive(Clone, Debug)]
pub enum Plays {
    /// The pod stays as it is, as while an image is pulled.
    Waits,
    /// The image can't be pulled; the kubelet says this.
    CannotPull(String),
    /// It is pulled, and its containers cannot be started; the runtime says this.
    CannotStart(String),
    /// It runs on, and is Ready.
    Runs,
    /// Each container prints something, by its name, and ends with this exit code.
    Prints(BTreeMap<String, String>, i32),
}

#[derive(Default)]
struct State {
    plays: BTreeMap<String, Plays>,
    /// Pods that are deleted stay.
    holds: bool,
    /// By pod and container.
    logs: BTreeMap<(String, String), String>,
    /// Images of the pods that were started.
    started: Vec<String>,
}

/// A running kubelet; ends on drop.
pub struct Kubelet {
    state: Arc<Mutex<State>>,
    pods: JoinHandle<()>,
    _logs: Server,
}

impl Kubelet {
    /// Registers a node of this name and plays the pods of `namespace`.
    ///
    /// # Errors
    /// No free port, or the API server refuses the node.
    pub async fn start(client: Client, node: &str, namespace: &str) -> Result<Self> {
        Self::start_for(client, node, Some(namespace)).await
    }

    /// The same for the pods of all namespaces. The node can take pods of DaemonSets, too.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_for_all(client: Client, node: &str) -> Result<Self> {
        Self::start_for(client, node, None).await
    }

    async fn start_for(client: Client, node: &str, namespace: Option<&str>) -> Result<Self> {
        let acceptor = server::acceptor(&ServerCertificate::create("testbox kubelet")?, &[])?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let handler = move |request| std::future::ready(respond(&shared, &request));
        let (address, logs) = server::start(Some(acceptor), handler).await?;
        register(&client, node, address.port()).await?;
        let (node, namespace, played) = (node.to_owned(), namespace.map(str::to_owned), state.clone());
        let pods = tokio::spawn(async move {
            loop {
                // A conflict is resolved by the next round.
                let _ = play_pods(&client, namespace.as_deref(), &node, &played).await;
                tokio::time::sleep(POLL).await;
            }
        });
        Ok(Self { state, pods, _logs: logs })
    }

    /// From now on pods whose image contains this text do this; of several texts the longest counts.
    pub fn play(&self, image: &str, plays: Plays) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).plays.insert(image.to_owned(), plays);
    }

    /// While this is on, pods that are deleted run on and stay Ready, as within their grace period.
    pub fn hold_deleted(&self, on: bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).holds = on;
    }

    /// Images of the pods that ran, in their order.
    pub fn started(&self) -> Vec<String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).started.clone()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.pods.abort();
    }
}

async fn register(client: &Client, name: &str, port: u16) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    scenery::node(client, name, node_info("amd64")).await?;
    let status = json!({
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    });
    set_status(&nodes, name, status).await?;
    // A new node is not ready by a taint, which a controller that does not run here would take away.
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(json!({ "spec": { "taints": null } }))).await?;
    Ok(())
}

async fn play_pods(client: &Client, namespace: Option<&str>, node: &str, state: &Mutex<State>) -> Result<()> {
    let all: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    for pod in all.list(&ListParams::default().match_any()).await?.items {
        let name = pod.name_any();
        let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        if pod.metadata.deletion_timestamp.is_some() {
            if state.lock().unwrap_or_else(PoisonError::into_inner).holds {
                continue;
            }
            pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            continue;
        }
        let spec = pod.spec.as_ref().context("a pod without spec")?;
        if spec.node_name.is_none() {
            let binding = json!({
                "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name },
                "target": { "apiVersion": "v1", "kind": "Node", "name": node },
            });
            let _: Value = pods.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        if phase == "Pending" {
            let containers: Vec<(String, String)> =
                spec.containers.iter().map(|one| (one.name.clone(), one.image.clone().unwrap_or_default())).collect();
            if let Some(status) = play(&name, &containers, state) {
                set_status(&pods, &name, status).await?;
            }
        }
    }
    Ok(())
}

/// The status of a pod that waits to be started.
fn play(pod: &str, containers: &[(String, String)], state: &Mutex<State>) -> Option<Value> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let image = containers.first().map(|(_, image)| image.clone())?;
    let output = state.plays.iter().filter(|(text, _)| image.contains(text.as_str()));
    let plays = output.max_by_key(|(text, _)| text.len()).map(|(_, plays)| plays.clone());
    let ready = matches!(plays, Some(Plays::Runs));
    let status = |one: &dyn Fn(&str) -> Value| {
        let all = containers.iter().map(|(name, image)| {
            json!({
                "name": name, "image": image, "imageID": image, "ready": ready, "restartCount": 0, "state": one(name),
            })
        });
        all.collect::<Vec<_>>()
    };
    let now = "2026-11-24T00:00:00Z";
    match plays.unwrap_or(Plays::Waits) {
        Plays::Waits => None,
        Plays::CannotPull(message) => {
            let waits = |_: &str| json!({ "waiting": { "reason": "ErrImagePull", "message": message } });
            Some(json!({ "phase": "Pending", "startTime": now, "containerStatuses": status(&waits) }))
        }
        Plays::CannotStart(message) => {
            let output = |name: &str| {
                let waits = format!("back-off 5m0s restarting failed container={name} pod={pod}");
                json!({ "waiting": { "reason": "CrashLoopBackOff", "message": waits } })
            };
            let ended = json!({ "terminated": {
                "exitCode": 128, "reason": "StartError", "message": message, "startedAt": now, "finishedAt": now,
            } });
            let mut statuses = status(&output);
            statuses.iter_mut().for_each(|one| one["lastState"] = ended.clone());
            Some(json!({ "phase": "Running", "startTime": now, "containerStatuses": statuses }))
        }
        Plays::Runs => {
            let now = k8s_openapi::jiff::Timestamp::now().to_string();
            let runs = |_: &str| json!({ "running": { "startedAt": now } });
            let is_ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": now });
            Some(json!({
                "phase": "Running", "startTime": now, "conditions": [is_ready], "containerStatuses": status(&runs),
            }))
        }
        Plays::Prints(printed, code) => {
            state.started.push(image.clone());
            for (name, _) in containers {
                let log = printed.get(name).cloned().unwrap_or_default();
                state.logs.insert((pod.to_owned(), name.clone()), log);
            }
            let ended = |name: &str| {
                let message = if code == 0 { None } else { printed.get(name) };
                json!({ "terminated": {
                    "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" }, "message": message,
                    "startedAt": now, "finishedAt": now,
                } })
            };
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            Some(json!({ "phase": phase, "startTime": now, "containerStatuses": status(&ended) }))
        }
    }
}

/// `GET /containerLogs/NAMESPACE/POD/CONTAINER?limitBytes=N`.
fn respond(state: &Mutex<State>, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let path: Vec<&str> = request.uri().path().split('/').collect();
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let log = match path.as_slice() {
        ["", "containerLogs", _, pod, container] => state.logs.get(&((*pod).to_owned(), (*container).to_owned())),
        _ => None,
    };
    let Some(log) = log else {
        return Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Full::new(Bytes::from("no such log")))?);
    };
    let mut parameters = request.uri().query().unwrap_or_default().split('&');
    let limit = parameters.find_map(|pair| pair.strip_prefix("limitBytes=")?.parse().ok()).unwrap_or(log.len());
    Ok(Response::new(Full::new(Bytes::copy_from_slice(&log.as_bytes()[..limit.min(log.len())]))))
}
