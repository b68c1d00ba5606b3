//! Stands in front of the registry of a lane: counts what is requested, and answers wrongly where a plan says so.

use std::io;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};

use crate::testbox::server::{self, Body, Server, whole};
use crate::testbox::upstream::Upstream;

/// How much of a body that never ends is offered at a time, in bytes.
const PIECE: usize = 64 * 1024;
/// How often.
const PIECES: usize = 4096;

/// A wrong response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// An error without a body.
    Status(u16),
    /// 429 with `Retry-After: 2`.
    TooManyRequests,
    /// None at all.
    Silence,
    /// The connection ends after half of the body.
    Truncated,
    /// The bytes of the right manifest under the digest of another.
    OtherDigest,
    /// A page for people, with status 200.
    Page,
    /// 256 MiB.
    Flood,
    /// A redirect to a port where nobody listens.
    Redirect,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process ends at this request, counted from 1.
    Crash { process: u32, request: usize },
    /// So many requests from this one on, counted from 1.
    Responds { from: usize, times: usize, with: Wrong },
    /// All requests take longer.
    Delay(Duration),
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    fault: Option<Fault>,
    /// The request at which the process ended, or the first that was answered wrongly.
    came: Option<String>,
    /// `user:password` that is asked for.
    password: Option<String>,
}

/// See the module. Ends on drop.
pub struct RegistryFront {
    host: String,
    state: Arc<Mutex<State>>,
    _server: Server,
}

impl RegistryFront {
    /// In front of the registry at this host.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(registry: &str) -> Result<Self> {
        let upstream = Upstream::new(format!("http://{registry}"), None)?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let handler = move |request| handle(upstream.clone(), shared.clone(), request);
        let (address, server) = server::start(None, handler).await?;
        Ok(Self { host: address.to_string(), state, _server: server })
    }

    /// Where it answers.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Injects this fault from now on, or none, and resets all counts.
    pub fn arm(&self, fault: Option<Fault>) {
        let password = self.state().password.clone();
        *self.state() = State { fault, password, ..State::default() };
    }

    /// Asks everybody for this `user:password` from now on.
    pub fn ask_for(&self, password: Option<&str>) {
        self.state().password = password.map(str::to_owned);
    }

    /// The requests since it was armed, each as method and path.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// The request that met the fault.
    pub fn came(&self) -> Option<String> {
        self.state().came.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request meets.
enum Fate {
    Pass,
    Wrong(Wrong),
    Ends(u32),
    Later(Duration),
}

fn fate(state: &Mutex<State>, request: &Request<Incoming>) -> Fate {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let path = request.uri().path();
    // Not `/v2/` itself.
    if path.len() <= "/v2/".len() {
        return Fate::Pass;
    }
    let told = format!("{} {path}", request.method());
    state.requests.push(told.clone());
    let number = state.requests.len();
    let fate = match state.fault {
        Some(Fault::Crash { process, request }) if request == number => Fate::Ends(process),
        Some(Fault::Responds { from, times, with }) if (from..from + times).contains(&number) => Fate::Wrong(with),
        Some(Fault::Delay(by)) => Fate::Later(by),
        _ => Fate::Pass,
    };
    if !matches!(fate, Fate::Pass) {
        state.came.get_or_insert(told);
    }
    fate
}

async fn handle(
    upstream: Upstream,
    state: Arc<Mutex<State>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>> {
    let password = state.lock().unwrap_or_else(PoisonError::into_inner).password.clone();
    if let Some(password) = password {
        let wanted = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(password));
        if request.headers().get(header::AUTHORIZATION).is_none_or(|shown| shown.as_bytes() != wanted.as_bytes()) {
            let refused = Response::builder().status(401).header("www-authenticate", r#"Basic realm="front""#);
            return Ok(refused.body(whole("{}"))?);
        }
    }
    let wrong = match fate(&state, &request) {
        Fate::Pass => None,
        Fate::Wrong(wrong) => Some(wrong),
        Fate::Ends(process) => {
            Command::new("kill").args(["-9", &process.to_string()]).status()?;
            anyhow::bail!("process {process} was ended");
        }
        Fate::Later(by) => {
            tokio::time::sleep(by).await;
            None
        }
    };
    let is_head = request.method() == http::Method::HEAD;
    match wrong {
        Some(Wrong::Status(code)) => return Ok(Response::builder().status(code).body(whole(""))?),
        Some(Wrong::TooManyRequests) => {
            return Ok(Response::builder().status(429).header("retry-after", "2").body(whole(""))?);
        }
        Some(Wrong::Silence) => std::future::pending::<()>().await,
        Some(Wrong::Page) => {
            let page = Response::builder().header(header::CONTENT_TYPE, "text/html");
            return Ok(page.body(whole("<html>Sign in</html>"))?);
        }
        Some(Wrong::Flood) if !is_head => {
            let piece = Bytes::from(vec![b' '; PIECE]);
            let pieces = stream::iter((0..PIECES).map(move |_| Ok(Frame::data(piece.clone()))));
            return Ok(Response::new(StreamBody::new(pieces).boxed_unsync()));
        }
        Some(Wrong::Redirect) => {
            let nowhere = Response::builder().status(307).header(header::LOCATION, "http://127.0.0.1:1/elsewhere");
            return Ok(nowhere.body(whole(""))?);
        }
        Some(Wrong::Truncated | Wrong::OtherDigest | Wrong::Flood) | None => {}
    }
    // The registry itself is anonymous.
    request.headers_mut().remove(header::AUTHORIZATION);
    let (mut head, body) = upstream.forward(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    match wrong {
        Some(Wrong::Truncated) if !is_head => {
            let pieces = vec![Ok(Frame::data(body.slice(..body.len() / 2))), Err(io::Error::other("cut off"))];
            return Ok(Response::from_parts(head, StreamBody::new(stream::iter(pieces)).boxed_unsync()));
        }
        Some(Wrong::OtherDigest) => {
            let other = format!("sha256:{}", "0".repeat(64));
            head.headers.insert("docker-content-digest", other.parse()?);
        }
        _ => {}
    }
    Ok(Response::from_parts(head, whole(body)))
}
