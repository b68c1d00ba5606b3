//! Stands between a controller and the API server of a lane, and lets go wrong what a plan says. TLS on both sides, HTTP/2 towards
//! the controller; whose rights a request has stays the caller's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use kube::Client;
use serde_json::json;
use tokio::sync::watch;

use crate::testbox::api_proxy::{self, Point};
use crate::testbox::server::Server;

/// Which requests: a verb and a resource, each of which may be `*`; `get secrets`, `patch imagesetpolicies/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which(pub &'static str);

impl Which {
    fn matches(self, request: &What) -> bool {
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
    /// None at all: the request never gets to the API server.
    Silence,
    /// The API server does it, and nobody hears of that.
    Unheard,
    /// Half of the body, then nothing more.
    Half,
    /// Half of the body, as if it were all.
    Truncated,
}

/// What becomes of the watches that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They go on.
    Flows,
    /// They stay open and say nothing.
    Stalls,
    /// They end.
    Cut,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends at this write, counted from 1.
    Crash { process: u32, write: usize, point: Point },
    /// Matching requests take longer.
    Delay { which: Which, by: Duration },
    /// So many matching requests from now on.
    Answers { which: Which, times: usize, with: Wrong },
    /// New watches meet 410.
    Gone,
}

#[derive(Default)]
struct State {
    writes: Vec<String>,
    fault: Option<Fault>,
    /// How many requests have met the fault.
    met: usize,
    /// The write has been answered; the next request is the end.
    answered: bool,
    ended_at: Option<String>,
}

/// See the module. Ends on drop.
pub struct ApiFront {
    state: Arc<Mutex<State>>,
    flow: watch::Sender<Flow>,
    kubeconfig: PathBuf,
    _server: Server,
}

/// What a request is.
struct What {
    verb: &'static str,
    resource: String,
    path: String,
}

impl What {
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

    fn is_of_lease(&self) -> bool {
        self.resource == "leases"
    }

    /// Whether it changes something that a decision can depend on.
    fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "other") && !self.is_of_lease()
    }
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.path)
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

impl ApiFront {
    /// In front of the API server that `kubeconfig` names.
    ///
    /// # Errors
    /// The kubeconfig can't be read, or no free port.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        let (state, (flow, flows)) = (Arc::new(Mutex::new(State::default())), watch::channel(Flow::Flows));
        let shared = state.clone();
        let answer = move |behind, request| answer(behind, shared.clone(), flows.clone(), request);
        let (kubeconfig, server) = api_proxy::in_front_of(kubeconfig, answer).await?;
        Ok(Self { state, flow, kubeconfig, _server: server })
    }

    /// The kubeconfig file of those who are to come through here.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Counts anew, and goes wrong as this says.
    pub fn arm(&self, fault: Option<Fault>) {
        *self.state() = State { fault, ..State::default() };
    }

    /// What becomes of watches from now on.
    pub fn let_watches(&self, flow: Flow) {
        let _ = self.flow.send(flow);
    }

    /// The writes since it was armed, each as verb and path. Renewals of Leases come by the clock and do not count.
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// How many requests have met the fault.
    pub fn met(&self) -> usize {
        self.state().met
    }

    /// The write at which the process was ended.
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

/// What a request meets.
enum Fate {
    Pass,
    Later(Duration),
    Wrong(Wrong),
    Gone,
    Ends(u32, Point),
}

fn fate(state: &Mutex<State>, what: &What) -> Fate {
    let mut state = locked(state);
    if what.is_write() {
        let write = what.to_string();
        state.writes.push(write);
    }
    let number = state.writes.len();
    let fate = match state.fault {
        _ if state.ended_at.is_some() => Fate::Pass,
        Some(Fault::Crash { process, .. }) if state.answered && !what.is_of_lease() => {
            Fate::Ends(process, Point::BeforeIt)
        }
        Some(Fault::Crash { process, write, point }) if what.is_write() && write == number => {
            Fate::Ends(process, point)
        }
        Some(Fault::Delay { which, by }) if which.matches(what) => Fate::Later(by),
        Some(Fault::Answers { which, times, with }) if state.met < times && which.matches(what) => Fate::Wrong(with),
        Some(Fault::Gone) if what.verb == "watch" => Fate::Gone,
        _ => Fate::Pass,
    };
    if !matches!(fate, Fate::Pass) {
        state.met += 1;
    }
    fate
}

/// Ends the process; an error, which closes the caller's connection.
fn end<T>(state: &Mutex<State>, process: u32, what: &What) -> Result<T> {
    locked(state).ended_at = Some(what.to_string());
    Command::new("kill").args(["-9", &process.to_string()]).status()?;
    bail!("process {process} was ended")
}

async fn answer(
    behind: Client,
    state: Arc<Mutex<State>>,
    flow: watch::Receiver<Flow>,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    let what = What::of(&request);
    let fate = fate(&state, &what);
    match fate {
        Fate::Pass | Fate::Ends(_, Point::BeforeTheAnswer | Point::AfterTheAnswer) => {}
        Fate::Later(by) => tokio::time::sleep(by).await,
        Fate::Ends(process, Point::BeforeIt) => return end(&state, process, &what),
        Fate::Wrong(Wrong::Silence) => std::future::pending::<()>().await,
        Fate::Wrong(Wrong::Status(code)) => return status(code, None),
        Fate::Wrong(Wrong::TooManyRequests) => return status(429, Some("1")),
        Fate::Wrong(Wrong::Unheard | Wrong::Half | Wrong::Truncated) => {}
        Fate::Gone => return status(410, None),
    }
    let (mut head, body) = api_proxy::forward(&behind, request).await?.into_parts();
    let body = body.map_err(io::Error::other).boxed_unsync();
    if what.verb == "watch" {
        return Ok(Response::from_parts(head, streamed(body, flow)));
    }
    let body = match (what.is_write(), &fate) {
        (false, Fate::Pass) => return Ok(Response::from_parts(head, body)),
        _ => body.collect().await?.to_bytes(),
    };
    let half = body.slice(..body.len() / 2);
    head.headers.remove(header::CONTENT_LENGTH);
    match fate {
        Fate::Wrong(Wrong::Unheard) => std::future::pending::<()>().await,
        Fate::Wrong(Wrong::Half) => {
            let first = stream::iter([Ok(Frame::data(half))]);
            let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending())).boxed_unsync();
            return Ok(Response::from_parts(head, body));
        }
        Fate::Wrong(Wrong::Truncated) => return Ok(Response::from_parts(head, whole(half))),
        Fate::Ends(process, Point::BeforeTheAnswer) => return end(&state, process, &what),
        Fate::Ends(_, Point::AfterTheAnswer) => locked(&state).answered = true,
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

fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that goes on as the lane says.
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
