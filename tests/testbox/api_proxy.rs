//! Stands between a controller and the API server and ends the controller, `kill -9`, at a write of the test's choice:
//! before the API server has it, before the answer to it, or after that. Everything else passes, watches and logs
//! included. TLS on both sides, HTTP/2 towards the controller as the API server speaks it; whose rights a request has stays
//! the caller's. [`ApiDelay`] ends nobody and delays everything.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderName, Method, Request, Response, Version, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client as HttpClient, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::Body;
use kube::config::Kubeconfig;
use kube::{Client, Config};
use tokio::net::TcpListener;

use super::certificates::ServerCertificate;
use super::server::{self, Server};

/// When, of the write at which the controller ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The API server never hears of it.
    BeforeIt,
    /// It is done, and who asked for it does not know.
    BeforeTheAnswer,
    /// It is done and known, and nothing that follows from it is begun: the end comes with the next request, whatever it is.
    AfterTheAnswer,
}

impl Point {
    /// In the order of time.
    pub const ALL: [Self; 3] = [Self::BeforeIt, Self::BeforeTheAnswer, Self::AfterTheAnswer];
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::BeforeIt => "before it",
            Self::BeforeTheAnswer => "before the answer",
            Self::AfterTheAnswer => "after the answer",
        })
    }
}

/// Which process ends where.
struct Fault {
    process: u32,
    /// Counted from 1, as they arrive.
    write: usize,
    point: Point,
}

#[derive(Default)]
struct State {
    /// Since the last [`ApiProxy::arm`] or [`ApiProxy::count`].
    writes: Vec<String>,
    /// Those that the API server has carried out.
    done: Vec<String>,
    fault: Option<Fault>,
    /// The write has been answered; the next request is the end.
    answered: bool,
    /// The write at which the controller was ended.
    ended_at: Option<String>,
}

/// A running proxy; ends on drop, with its connections.
pub struct ApiProxy {
    state: Arc<Mutex<State>>,
    kubeconfig: PathBuf,
    _server: Server,
}

impl ApiProxy {
    /// In front of the API server that `kubeconfig` names; a kubeconfig file with the same user is put beside it.
    ///
    /// # Errors
    /// The kubeconfig can't be read, or no free port.
    pub async fn start(kubeconfig: &Path) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let answer = move |behind, request| pass(behind, shared.clone(), request);
        let (beside, server) = in_front_of(kubeconfig, answer).await?;
        Ok(Self { state, kubeconfig: beside, _server: server })
    }

    /// The kubeconfig file of those who are to come through here.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Ends this process at the n-th write from now on, counted from 1. Nothing happens to the one that comes after it.
    pub fn arm(&self, process: u32, write: usize, point: Point) {
        let fault = Some(Fault { process, write, point });
        *self.state() = State { fault, ..State::default() };
    }

    /// Ends nobody, and begins to count anew.
    pub fn count(&self) {
        *self.state() = State::default();
    }

    /// The writes since then, each as method and path. Renewals of Leases come by the clock and do not count.
    pub fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    /// Those that the API server has carried out, whoever got the answer.
    pub fn done(&self) -> Vec<String> {
        self.state().done.clone()
    }

    /// The write at which the process was ended.
    pub fn ended_at(&self) -> Option<String> {
        self.state().ended_at.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server of ours in front of the API server that `kubeconfig` names: TLS on both sides, HTTP/2 for those who come. `answer`
/// gets a client for what is behind it, without a user. Beside it comes the kubeconfig file with the same user and this server.
///
/// # Errors
/// As [`ApiProxy::start`].
pub async fn in_front_of<A, F, B>(kubeconfig: &Path, answer: A) -> Result<(PathBuf, Server)>
where
    A: Fn(Client, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static,
{
    let mut config = Kubeconfig::read_from(kubeconfig)?;
    let cluster = config.clusters.first_mut().and_then(|named| named.cluster.as_mut()).context("no cluster")?;
    let address = cluster.server.clone().context("no server")?;
    let authority = cluster.certificate_authority_data.clone().context("no authority")?;
    let authority = base64::engine::general_purpose::STANDARD.decode(authority)?;
    // Without a user: the caller's own credentials pass.
    let mut behind = Config::new(address.parse()?);
    let authority = rustls::pki_types::pem::PemObject::from_pem_slice(&authority);
    let authority: rustls::pki_types::CertificateDer<'_> = authority.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    behind.root_cert = Some(vec![authority.to_vec()]);
    let behind = Client::try_from(behind)?;

    let (front, server) = serve(move |request| answer(behind.clone(), request)).await?;
    cluster.server = Some(front.server);
    let authority = base64::engine::general_purpose::STANDARD.encode(&front.authority_pem);
    cluster.certificate_authority_data = Some(authority);
    let beside = kubeconfig.with_extension("proxied");
    std::fs::write(&beside, serde_saphyr::to_string(&config)?)?;
    Ok((beside, server))
}

/// How a server of ours is reached.
#[derive(Clone, Debug)]
pub struct Front {
    /// `https://127.0.0.1:PORT`
    pub server: String,
    /// Whose certificate it shows.
    pub authority_pem: String,
}

/// A server with TLS on a free loopback port, as the API server speaks.
async fn serve<A, F, B>(answer: A) -> Result<(Front, Server)>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>>> + Send + 'static,
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + 'static,
{
    let certificate = ServerCertificate::create("testbox proxy")?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let server = format!("https://{}", listener.local_addr()?);
    let acceptor = server::acceptor(&certificate, &["h2", "http/1.1"])?;
    let serving = server::serve(listener, Some(acceptor), answer);
    Ok((Front { server, authority_pem: certificate.authority_pem }, serving))
}

/// A far-away API server: each request, the start of a watch included, is forwarded so much later. Ends on drop.
#[derive(Debug)]
pub struct ApiDelay {
    front: Front,
    _server: Server,
}

impl ApiDelay {
    /// In front of the API server at this address, which shows a certificate of this authority.
    ///
    /// # Errors
    /// The authority can't be read, or no free port.
    pub async fn start(address: &str, authority_pem: &str, delay: Duration) -> Result<Self> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // HTTP/1.1, so that a broken connection ends one request and no other. Nothing is tried again.
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let behind = HttpClient::builder(TokioExecutor::new()).build(connector);
        let address = address.to_owned();
        let answer = move |request| forward_late(behind.clone(), address.clone(), request, delay);
        let (front, server) = serve(answer).await?;
        Ok(Self { front, _server: server })
    }

    /// How it is reached.
    pub fn front(&self) -> &Front {
        &self.front
    }
}

type Behind = HttpClient<hyper_rustls::HttpsConnector<HttpConnector>, Incoming>;

async fn forward_late(
    behind: Behind,
    address: String,
    request: Request<Incoming>,
    delay: Duration,
) -> Result<Response<Incoming>> {
    tokio::time::sleep(delay).await;
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().context("a request without a path")?;
    head.uri = format!("{address}{path}").parse()?;
    head.version = Version::HTTP_11;
    OF_A_CONNECTION
        .iter()
        .filter(|name| **name != header::CONTENT_LENGTH)
        .for_each(|name| drop(head.headers.remove(name)));
    let mut answer = behind.request(Request::from_parts(head, body)).await?;
    *answer.version_mut() = Version::default();
    OF_A_CONNECTION.iter().for_each(|name| drop(answer.headers_mut().remove(name)));
    Ok(answer)
}

/// Ends the process if this is the moment; an error then, which closes the caller's connection.
fn moment(state: &Mutex<State>, write: Option<&str>, number: usize, now: Point) -> Result<()> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(fault) = &state.fault else { return Ok(()) };
    let is_it = match now {
        Point::AfterTheAnswer => state.answered,
        before => fault.point == before && fault.write == number,
    };
    if !is_it || state.ended_at.is_some() {
        return Ok(());
    }
    let process = fault.process;
    let told = write.map(str::to_owned).or_else(|| state.writes.get(fault.write - 1).cloned());
    state.ended_at = Some(told.unwrap_or_default());
    if !Command::new("kill").args(["-9", &process.to_string()]).status()?.success() {
        bail!("process {process} is gone already");
    }
    bail!("process {process} was ended")
}

/// Whether a request changes something that a decision can depend on.
fn is_write(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    !matches!(*request.method(), Method::GET | Method::HEAD) && !path.starts_with("/apis/coordination.k8s.io/")
}

async fn pass(behind: Client, state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Body>> {
    // A renewal is nothing that follows from a write.
    if !request.uri().path().starts_with("/apis/coordination.k8s.io/") {
        moment(&state, None, 0, Point::AfterTheAnswer)?;
    }
    let write = is_write(&request).then(|| format!("{} {}", request.method(), request.uri().path()));
    let number = match &write {
        Some(write) => {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.writes.push(write.clone());
            state.writes.len()
        }
        None => 0,
    };
    if write.is_some() {
        moment(&state, write.as_deref(), number, Point::BeforeIt)?;
    }
    let answer = forward(&behind, request).await?;
    let Some(write) = write else { return Ok(answer) };
    // The whole answer: with its beginning alone nothing is sure.
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
    if head.status.is_success() {
        state.lock().unwrap_or_else(PoisonError::into_inner).done.push(write.clone());
    }
    moment(&state, Some(&write), number, Point::BeforeTheAnswer)?;
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.answered |=
        state.fault.as_ref().is_some_and(|fault| fault.point == Point::AfterTheAnswer && fault.write == number);
    Ok(Response::from_parts(head, Body::from(body.to_vec())))
}

/// What belongs to one connection and not to the request.
const OF_A_CONNECTION: [HeaderName; 5] =
    [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::CONTENT_LENGTH];

/// The answer of what is behind to this very request.
///
/// # Errors
/// It does not answer.
pub async fn forward(behind: &Client, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = head.uri.path_and_query().context("a request without a path")?.as_str();
    let mut forwarded = Request::builder().method(head.method).uri(path).version(Version::HTTP_11);
    for (name, value) in head.headers.iter().filter(|(name, _)| !OF_A_CONNECTION.contains(name)) {
        forwarded = forwarded.header(name, value);
    }
    let mut answer = behind.send(forwarded.body(Body::from(body.to_vec()))?).await?;
    *answer.version_mut() = Version::default();
    OF_A_CONNECTION.iter().for_each(|name| drop(answer.headers_mut().remove(name)));
    Ok(answer)
}
