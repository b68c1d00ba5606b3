//! Made-up pods and nodes, served as kube-apiserver serves them; everything else is the real one's.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::testbox::api_proxy::in_front_of;
use crate::testbox::scenery::node_info;
use crate::testbox::server::{Body, Server, whole};
use crate::testbox::upstream::Upstream;

/// Pods of calico-node.
pub const PODS: usize = 15_000;
const NODES: usize = 5_000;
/// What a pod takes as JSON.
const POD_SIZE: usize = 19_000;
const NODE_SIZE: usize = 8_000;
/// In the place of a name in a template.
const NAME: &str = "calico-node-NAME-";
const VERSION: &str = "4711";

/// What the first pod says of its image.
#[derive(Clone, Copy)]
pub enum Fails {
    NotFound,
    Unauthorized,
}

struct State {
    /// Whether lists are streamed to those who ask for it.
    streams: bool,
    fails: Fails,
    /// Watches of the pods of calico-system.
    watches: Vec<mpsc::Sender<Bytes>>,
    runs: Template,
    node: Template,
}

/// JSON with a name in it.
#[derive(Clone)]
struct Template(Arc<Vec<String>>);

impl Template {
    fn new(object: &Value) -> Self {
        Self(Arc::new(object.to_string().split(NAME).map(str::to_owned).collect()))
    }

    fn with(&self, number: usize) -> String {
        self.0.join(&format!("calico-node-{number:05}"))
    }
}

/// A running server; ends on drop, with its connections.
pub struct MadeUpPods {
    state: Arc<Mutex<State>>,
    kubeconfig: PathBuf,
    _server: Server,
}

impl MadeUpPods {
    /// In front of the API server of this kubeconfig.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        let state = Arc::new(Mutex::new(State {
            streams: true,
            fails: Fails::NotFound,
            watches: Vec::new(),
            runs: Template::new(&pod(None)),
            node: Template::new(&node()),
        }));
        let shared = state.clone();
        let handler = move |upstream: Upstream, request: Request<Incoming>| respond(upstream, shared.clone(), request);
        let (kubeconfig, server) = in_front_of(kubeconfig, handler).await?;
        Ok(Self { state, kubeconfig, _server: server })
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// For those who come from now on.
    pub fn begin(&self, streams: bool, fails: Fails) {
        let mut state = lock(&self.state);
        (state.streams, state.fails) = (streams, fails);
        state.watches.clear();
    }

    /// Tells the watches that so many pods have changed, of which nothing matters.
    pub async fn update(&self, count: usize) -> Result<()> {
        let runs = lock(&self.state).runs.clone();
        for number in 0..count {
            let pod = runs.with(1 + number % (PODS - 1));
            self.send(event("MODIFIED", &pod)).await?;
        }
        Ok(())
    }

    /// The first pod fails for another reason.
    pub async fn fail(&self, fails: Fails) -> Result<()> {
        lock(&self.state).fails = fails;
        self.send(event("MODIFIED", &Template::new(&pod(Some(fails))).with(0))).await
    }

    async fn send(&self, line: Bytes) -> Result<()> {
        let watches = lock(&self.state).watches.clone();
        let watch = watches.into_iter().rfind(|watch| !watch.is_closed()).context("nobody watches")?;
        Ok(watch.send(line).await?)
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn respond(upstream: Upstream, state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>> {
    let path = request.uri().path();
    let namespaced = path.strip_prefix("/api/v1/namespaces/").and_then(|rest| rest.strip_suffix("/pods"));
    let count = match namespaced {
        Some("calico-system") => Some(PODS),
        Some("calico-apiserver" | "tigera-gateway") => Some(0),
        _ => (path == "/api/v1/nodes").then_some(NODES),
    };
    let Some(count) = count else {
        let response = upstream.forward(request).await?;
        return Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()));
    };
    let is_nodes = namespaced.is_none();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parameter = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let is_set = |name: &str| parameter(name).is_some_and(|value| value == "true");
    if !is_set("watch") {
        let from: usize = parameter("continue").and_then(|token| token.parse().ok()).unwrap_or(0);
        let limit = parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(count);
        return Ok(list(&state, is_nodes, from, limit, count));
    }
    if is_set("sendInitialEvents") && !lock(&state).streams {
        return Ok(not_understood());
    }
    let first = if is_set("sendInitialEvents") { initial(&state, is_nodes, count) } else { stream::empty().boxed() };
    // What a watch has not taken yet stays small, as with the real one.
    let (sender, mut receiver) = mpsc::channel(16);
    if namespaced == Some("calico-system") {
        lock(&state).watches.push(sender);
    } else {
        // Nothing ever comes, and it does not end.
        tokio::spawn(async move { sender.closed().await });
    }
    let later = stream::poll_fn(move |context| receiver.poll_recv(context));
    let lines = first.chain(later).map(|line| Ok::<_, Infallible>(Frame::data(line)));
    let body = StreamBody::new(lines).map_err(io::Error::other).boxed_unsync();
    Ok(Response::builder().header("Content-Type", "application/json").body(body)?)
}

/// What a server says that does not stream lists.
fn not_understood() -> Response<Body> {
    let message = "ListOptions.meta.k8s.io \"\" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": "Invalid",
        "details": { "group": "meta.k8s.io", "kind": "ListOptions" }, "code": 422,
    });
    let mut response = json_of(status.to_string());
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response
}

fn json_of(text: String) -> Response<Body> {
    let mut response = Response::new(whole(text));
    response.headers_mut().insert("Content-Type", http::HeaderValue::from_static("application/json"));
    response
}

fn event(r#type: &str, object: &str) -> Bytes {
    Bytes::from(format!("{{\"type\":\"{type}\",\"object\":{object}}}\n"))
}

/// Everything that there is, and the mark that this was all.
fn initial(state: &Arc<Mutex<State>>, is_nodes: bool, count: usize) -> BoxStream<'static, Bytes> {
    let state = state.clone();
    let all = stream::iter((0..count).map(move |number| event("ADDED", &object(&state, is_nodes, number))));
    let kind = if is_nodes { "Node" } else { "Pod" };
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    let metadata = json!({ "resourceVersion": VERSION, "creationTimestamp": null, "annotations": annotations });
    let mark = json!({ "kind": kind, "apiVersion": "v1", "metadata": metadata });
    all.chain(stream::iter([event("BOOKMARK", &mark.to_string())])).boxed()
}

fn list(state: &Mutex<State>, is_nodes: bool, from: usize, limit: usize, count: usize) -> Response<Body> {
    let end = (from + limit).min(count);
    let objects: Vec<String> = (from..end).map(|number| object(state, is_nodes, number)).collect();
    let next = if end < count { end.to_string() } else { String::new() };
    let kind = if is_nodes { "NodeList" } else { "PodList" };
    json_of(format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"v1\",\"metadata\":{{\"resourceVersion\":\"{VERSION}\",\"continue\":\"{next}\"}},\
         \"items\":[{}]}}",
        objects.join(",")
    ))
}

fn object(state: &Mutex<State>, is_nodes: bool, number: usize) -> String {
    let (node, runs, fails) = {
        let state = lock(state);
        (state.node.clone(), state.runs.clone(), state.fails)
    };
    match (is_nodes, number) {
        (true, number) => node.with(number),
        (false, 0) => Template::new(&pod(Some(fails))).with(0),
        (false, number) => runs.with(number),
    }
}

fn digest(of: &str) -> String {
    let number = of.bytes().fold(17_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("sha256:{}", format!("{number:016x}").repeat(4))
}

/// A pod of calico-node, as big as they are.
fn pod(fails: Option<Fails>) -> Value {
    let image = |name: &str| format!("quay.io/calico/{name}@{}", digest(name));
    let init = [("flexvol-driver", "pod2daemon-flexvol"), ("mount-bpffs", "node"), ("install-cni", "cni")];
    let mounts = ["lib-modules", "var-run-calico", "var-lib-calico", "xtables-lock", "policysync", "tigera-ca-bundle"];
    let mounts = mounts.map(|name| json!({ "mountPath": format!("/var/lib/{name}"), "name": name, "readOnly": true }));
    let variables: Vec<Value> = (0..40)
        .map(|number| json!({ "name": format!("FELIX_SETTING_{number}"), "value": format!("value-{number}") }))
        .collect();
    let container = |name: &str, of: &str| {
        json!({
            "name": name, "image": image(of), "imagePullPolicy": "IfNotPresent", "env": variables, "volumeMounts": mounts,
            "resources": {}, "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    let init_status = |(name, of): (&str, &str)| {
        let ended = json!({ "exitCode": 0, "reason": "Completed", "startedAt": "2026-11-24T00:00:00Z" });
        json!({
            "name": name, "image": image(of), "imageID": image(of), "ready": true, "restartCount": 0, "lastState": {},
            "state": { "terminated": ended }, "containerID": format!("containerd://{}", &digest(name)[7..]),
        })
    };
    let (state, id) = match fails {
        None => (json!({ "running": { "startedAt": "2026-11-24T00:00:00Z" } }), image("node")),
        Some(fails) => {
            let response = match fails {
                Fails::NotFound => "not found",
                Fails::Unauthorized => {
                    "unexpected status from HEAD request to https://quay.io/v2/calico/node: 401 Unauthorized"
                }
            };
            let image = image("node");
            let message = format!(
                "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {response}"
            );
            (json!({ "waiting": { "reason": "ErrImagePull", "message": message } }), String::new())
        }
    };
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "calico-node", "controller": true, "blockOwnerDeletion": true,
        "uid": "a2b3c4d5-0000-4000-8000-000000000000",
    });
    let sized = |filler: usize| {
        json!({
            "metadata": {
                "name": NAME, "namespace": "calico-system", "uid": NAME, "resourceVersion": VERSION,
                "labels": { "k8s-app": "calico-node", "pod-template-generation": "7" }, "ownerReferences": [owner],
                "managedFields": [{ "manager": "kube-controller-manager", "fieldsV1": { "f:spec": fields(filler) } }],
            },
            "spec": {
                "nodeName": NAME, "containers": [container("calico-node", "node")],
                "initContainers": init.map(|(name, of)| container(name, of)),
                "tolerations": [{ "operator": "Exists" }], "volumes": mounts,
            },
            "status": {
                "phase": if fails.is_some() { "Pending" } else { "Running" }, "hostIP": "10.0.0.1", "podIP": "10.0.0.1",
                "initContainerStatuses": init.map(init_status),
                "containerStatuses": [{
                    "name": "calico-node", "image": image("node"), "imageID": id, "ready": fails.is_none(),
                    "restartCount": 0, "lastState": {}, "state": state,
                }],
            },
        })
    };
    padded(POD_SIZE, sized)
}

/// A node; its list of images is most of it.
fn node() -> Value {
    padded(NODE_SIZE, |filler| {
        json!({
            "metadata": { "name": NAME, "uid": NAME, "resourceVersion": VERSION, "labels": { "kubernetes.io/arch": "amd64" } },
            "spec": { "podCIDR": "10.1.0.0/24" },
            "status": {
                "images": [{ "names": fields(filler), "sizeBytes": 4711 }],
                "nodeInfo": node_info("amd64"),
            },
        })
    })
}

/// So many fields of which nothing is read.
fn fields(count: usize) -> Value {
    let fields = (0..count).map(|number| (format!("f:field-{number:04}"), json!({ ".": {}, "f:value": {} })));
    Value::Object(fields.collect())
}

/// The object with as many fields as it takes.
fn padded(size: usize, sized: impl Fn(usize) -> Value) -> Value {
    let (empty, ten) = (sized(0).to_string().len(), sized(10).to_string().len());
    sized(10 * size.saturating_sub(empty) / (ten - empty).max(1))
}
