//! Proxies in front of an API server: TLS on both sides, and HTTP/2 towards the caller, as the API server speaks it. Requests keep the
//! credentials of their caller. [`ApiProxy`] injects faults, [`ApiDelay`] only delays, and [`in_front_of`] takes any handler.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use kube::config::Kubeconfig;
use serde_json::json;
use tokio::sync::watch;

use super::certificates::ServerCertificate;
use super::server::{self, Body, Server, whole};
use super::upstream::Upstream;

/// The moment of a write at which the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPoint {
    /// The API server never receives the request.
    BeforeRequest,
    /// The API server has carried out the write; the process never receives the response.
    BeforeResponse,
    /// The process has received the response, and is killed at its next request.
    AfterResponse,
}

impl CrashPoint {
    /// In the order of time.
    pub const ALL: [Self; 3] = [Self::BeforeRequest, Self::BeforeResponse, Self::AfterResponse];
}

/// Selects requests by verb and resource, each of which may be `*`: `get secrets`, `patch imagesetpolicies/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestPattern(pub &'static str);

impl RequestPattern {
    fn matches(self, request: &RequestInfo) -> bool {
        let Some((verb, resource)) = self.0.split_once(' ') else { return false };
        let is = |wanted: &str, seen: &str| wanted == "*" || wanted == seen;
        is(verb, request.verb) && is(resource, &request.resource)
    }
}

/// A wrong response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// A `Status` with this code.
    Status(u16),
    /// 429 with `Retry-After: 1`.
    TooManyRequests,
    /// None: the API server never receives the request.
    Silence,
    /// None, although the API server has carried out the request.
    Unheard,
    /// Half of the body, then nothing more.
    Half,
    /// Half of the body, as if it were all.
    Truncated,
}

/// The state of open watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They deliver events.
    Flows,
    /// They stay open and deliver nothing.
    Stalls,
    /// They end.
    Cut,
}

/// A fault that [`ApiProxy`] injects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the process at this write, counted from 1.
    Crash { process: u32, write: usize, point: CrashPoint },
    /// Matching requests take longer.
    Delay { which: RequestPattern, by: Duration },
    /// The first matching requests get wrong responses.
    Responses { which: RequestPattern, times: usize, with: Wrong },
    /// New watches get 410 Gone.
    Gone,
}

/// Verb, resource and path of a request.
struct RequestInfo {
    verb: &'static str,
    resource: String,
    path: String,
}

impl RequestInfo {
    fn of(request: &Request<Incoming>) -> Self {
        let path = request.uri().path();
        let mut parts = path.split('/').skip(1);
        match parts.next() {
            Some("api") => drop(parts.next()),
            _ => drop((parts.next(), parts.next())),
        }
        let mut parts: Vec<&str> = parts.collect();
        if parts.first() == Some(&"namespaces") && parts.len() > 2 {
            parts.drain(..2);
        }
        let (resource, named) = (parts.first().copied().unwrap_or_default(), parts.len() > 1);
        let resource = parts.get(2).map_or_else(|| resource.to_owned(), |sub| format!("{resource}/{sub}"));
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let verb = match *request.method() {
            Method::GET if watches => "watch",
            Method::GET if named => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PATCH => "patch",
            Method::PUT => "update",
            Method::DELETE => "delete",
            _ => "other",
        };
        Self { verb, resource, path: path.to_owned() }
    }

    /// Renewals of Leases come by the clock: they do not count.
    fn is_of_lease(&self) -> bool {
        self.resource == "leases"
    }

    /// Whether it changes something that a decision can depend on.
    fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "other") && !self.is_of_lease()
    }
}

impl fmt::Display for RequestInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.path)
    }
}

#[derive(Default)]
struct State {
    writes: Vec<String>,
    done: Vec<String>,
    fault: Option<Fault>,
    /// How many requests the fault has affected.
    met: usize,
    /// The write of [`CrashPoint::AfterResponse`] has its response.
    responded: bool,
    ended_at: Option<String>,
}

/// A proxy that injects one fault at a time. Ends on drop, with its connections.
pub struct ApiProxy {
    state: Arc<Mutex<State>>,
    flow: watch::Sender<Flow>,
    kubeconfig: PathBuf,
    _server: Server,
}

impl ApiProxy {
    /// In front of the API server of this kubeconfig.
    ///
    /// # Errors
    /// The kubeconfig can't be read, or no free port.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        let (state, (flow, flows)) = (Arc::new(Mutex::new(State::default())), watch::channel(Flow::Flows));
        let shared = state.clone();
        let handler = move |upstream, request| handle(upstream, shared.clone(), flows.clone(), request);
        let (kubeconfig, server) = in_front_of(kubeconfig, handler).await?;
        Ok(Self { state, flow, kubeconfig, _server: server })
    }

    /// The kubeconfig file for clients of the proxy.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Injects this fault from now on, or none, and resets all counts.
    pub fn arm(&self, fault: Option<Fault>) {
        *self.state() = State { fault, ..State::default() };
    }

    /// Sets the state of watches, present and future.
    pub fn let_watches(&self, flow: Flow) {
        let _ = self.flow.send(flow);
    }

    /// The writes since [`Self::arm`], each as verb and path. Renewals of Leases do not count.
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// Those of them that the API server has carried out.
    pub fn done(&self) -> Vec<String> {
        self.state().done.clone()
    }

    /// How many requests the fault has affected.
    pub fn met(&self) -> usize {
        self.state().met
    }

    /// The request at which the process was killed.
    pub fn ended_at(&self) -> Option<String> {
        self.state().ended_at.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The effect of the fault on one request.
enum Effect {
    None,
    Later(Duration),
    Wrong(Wrong),
    Gone,
    Crash(u32, CrashPoint),
}

fn effect(state: &Mutex<State>, info: &RequestInfo) -> Effect {
    let mut state = locked(state);
    if info.is_write() {
        state.writes.push(info.to_string());
    }
    let number = state.writes.len();
    let effect = match state.fault {
        _ if state.ended_at.is_some() => Effect::None,
        Some(Fault::Crash { process, .. }) if state.responded && !info.is_of_lease() => {
            Effect::Crash(process, CrashPoint::BeforeRequest)
        }
        Some(Fault::Crash { process, write, point }) if info.is_write() && write == number => {
            Effect::Crash(process, point)
        }
        Some(Fault::Delay { which, by }) if which.matches(info) => Effect::Later(by),
        Some(Fault::Responses { which, times, with }) if state.met < times && which.matches(info) => {
            Effect::Wrong(with)
        }
        Some(Fault::Gone) if info.verb == "watch" => Effect::Gone,
        _ => Effect::None,
    };
    if !matches!(effect, Effect::None) {
        state.met += 1;
    }
    effect
}

/// Kills the process. Always an error, which closes the caller's connection.
fn end<T>(state: &Mutex<State>, process: u32, info: &RequestInfo) -> Result<T> {
    locked(state).ended_at = Some(info.to_string());
    Command::new("kill").args(["-9", &process.to_string()]).status()?;
    bail!("process {process} was ended")
}

async fn handle(
    upstream: Upstream,
    state: Arc<Mutex<State>>,
    flow: watch::Receiver<Flow>,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    let info = RequestInfo::of(&request);
    let effect = effect(&state, &info);
    match effect {
        Effect::None | Effect::Crash(_, CrashPoint::BeforeResponse | CrashPoint::AfterResponse) => {}
        Effect::Later(by) => tokio::time::sleep(by).await,
        Effect::Crash(process, CrashPoint::BeforeRequest) => return end(&state, process, &info),
        Effect::Wrong(Wrong::Silence) => std::future::pending::<()>().await,
        Effect::Wrong(Wrong::Status(code)) => return status(code, None),
        Effect::Wrong(Wrong::TooManyRequests) => return status(429, Some("1")),
        Effect::Wrong(Wrong::Unheard | Wrong::Half | Wrong::Truncated) => {}
        Effect::Gone => return status(410, None),
    }
    let (mut head, body) = upstream.forward(request).await?.into_parts();
    let body = body.map_err(io::Error::other).boxed_unsync();
    if info.verb == "watch" {
        return Ok(Response::from_parts(head, streamed(body, flow)));
    }
    if !info.is_write() && matches!(effect, Effect::None) {
        return Ok(Response::from_parts(head, body));
    }
    // The whole body: its beginning does not prove that the write is done.
    let body = body.collect().await?.to_bytes();
    if info.is_write() && head.status.is_success() {
        locked(&state).done.push(info.to_string());
    }
    let half = body.slice(..body.len() / 2);
    head.headers.remove(header::CONTENT_LENGTH);
    match effect {
        Effect::Wrong(Wrong::Unheard) => std::future::pending::<()>().await,
        Effect::Wrong(Wrong::Half) => {
            let first = stream::iter([Ok(Frame::data(half))]);
            let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending())).boxed_unsync();
            return Ok(Response::from_parts(head, body));
        }
        Effect::Wrong(Wrong::Truncated) => return Ok(Response::from_parts(head, whole(half))),
        Effect::Crash(process, CrashPoint::BeforeResponse) => return end(&state, process, &info),
        Effect::Crash(_, CrashPoint::AfterResponse) => locked(&state).responded = true,
        _ => {}
    }
    Ok(Response::from_parts(head, whole(body)))
}

fn status(code: u16, retry_after: Option<&str>) -> Result<Response<Body>> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "made up by a plan",
        "reason": if code == 410 { "Expired" } else { "InternalError" }, "code": code,
    });
    let mut response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    Ok(response.body(whole(status.to_string()))?)
}

/// A body that continues while the state of watches allows it.
fn streamed(body: Body, flow: watch::Receiver<Flow>) -> Body {
    let next = |(mut body, mut flow): (Body, watch::Receiver<Flow>)| async move {
        loop {
            let now = *flow.borrow_and_update();
            match now {
                Flow::Cut => return Some((Err(io::Error::other("cut by a plan")), (body, flow))),
                Flow::Stalls => flow.changed().await.ok()?,
                Flow::Flows => tokio::select! {
                    frame = body.frame() => return frame.map(|frame| (frame, (body, flow))),
                    changed = flow.changed() => changed.ok()?,
                },
            }
        }
    };
    StreamBody::new(stream::unfold((body, flow), next)).boxed_unsync()
}

/// Address and authority of a server with TLS.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https://127.0.0.1:PORT`
    pub server: String,
    /// Its certificate is signed by this authority.
    pub authority_pem: String,
}

/// A proxy that forwards each request, the start of a watch included, after a delay: a far-away API server. Ends on drop.
#[derive(Debug)]
pub struct ApiDelay {
    endpoint: Endpoint,
    _server: Server,
}

impl ApiDelay {
    /// In front of this API server.
    ///
    /// # Errors
    /// The authority can't be read, or no free port.
    pub async fn start(api_server: &Endpoint, delay: Duration) -> Result<Self> {
        let upstream = Upstream::new(&api_server.server, Some(&api_server.authority_pem))?;
        let handler = move |request| {
            let upstream = upstream.clone();
            async move {
                tokio::time::sleep(delay).await;
                upstream.forward(request).await
            }
        };
        let (endpoint, server) = serve(handler).await?;
        Ok(Self { endpoint, _server: server })
    }

    /// The proxy's own address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Starts a proxy in front of the API server of this kubeconfig, and writes a kubeconfig file for the same user that leads through it.
/// Returns that file and the proxy. The handler gets the API server and the request.
///
/// # Errors
/// The kubeconfig can't be read, or no free port.
pub async fn in_front_of<A, F, B>(kubeconfig: &Path, handler: A) -> Result<(PathBuf, Server)>
where
    A: Fn(Upstream, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static,
{
    let mut config = Kubeconfig::read_from(kubeconfig)?;
    let cluster = config.clusters.first_mut().and_then(|named| named.cluster.as_mut()).context("no cluster")?;
    let authority = STANDARD.decode(cluster.certificate_authority_data.as_deref().context("no authority")?)?;
    let server = cluster.server.take().context("no server")?;
    let upstream = Upstream::new(server, Some(&String::from_utf8(authority)?))?;
    let (endpoint, server) = serve(move |request| handler(upstream.clone(), request)).await?;
    cluster.server = Some(endpoint.server);
    cluster.certificate_authority_data = Some(STANDARD.encode(&endpoint.authority_pem));
    let proxied = kubeconfig.with_extension("proxied");
    std::fs::write(&proxied, serde_saphyr::to_string(&config)?)?;
    Ok((proxied, server))
}

/// A server with TLS on a free loopback port, as the API server speaks.
async fn serve<A, F, B>(handler: A) -> Result<(Endpoint, Server)>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static,
{
    let certificate = ServerCertificate::create("testbox proxy")?;
    let acceptor = server::acceptor(&certificate, &["h2", "http/1.1"])?;
    let (address, serving) = server::start(Some(acceptor), handler).await?;
    Ok((Endpoint { server: format!("https://{address}"), authority_pem: certificate.authority_pem }, serving))
}
