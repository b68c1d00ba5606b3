//! A scripted HTTP server on a loopback address: responds to each path as the test specifies, and records every request with its
//! headers. It plays registries, token services and other hosts, honest or not.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::unfold;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::ServerCertificate;

/// Size of one piece of an endless body, in bytes.
const PIECE: u64 = 64 * 1024;

/// One received request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, empty if there was none.
    pub query: String,
    /// `Basic`, `Bearer`, …; `None` for a request without `Authorization`.
    pub scheme: Option<String>,
    /// HTTP's version.
    pub version: Version,
    /// What came after the headers.
    pub body: String,
    /// All headers, which could carry a secret.
    rest: String,
    headers: HeaderMap,
}

impl Seen {
    /// A header's value; empty if there was none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The fields of a form in the body.
    pub fn form(&self) -> HashMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

/// What is sent after the headers.
#[derive(Clone, Debug)]
enum Content {
    Bytes(Bytes),
    /// Bytes one by one, with a pause before each.
    Drip(Bytes, Duration),
    /// Bytes, then the connection is cut.
    CutOff(Bytes),
    /// So many bytes of nothing in particular.
    Flood(u64),
}

/// One scripted response.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    content: Content,
    /// The responses to requests with exactly these `Authorization`s.
    to: Vec<(String, Reply)>,
    /// Held back until the sender sends true (or is dropped).
    gate: Option<watch::Receiver<bool>>,
    silent: bool,
}

impl Reply {
    /// A status with a body and its content type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::bare(status, body).with("content-type", content_type)
    }

    /// A status and a body, without any header of ours.
    pub fn bare(status: u16, body: impl Into<Bytes>) -> Self {
        let content = Content::Bytes(body.into());
        Self { status, headers: Vec::new(), content, to: Vec::new(), gate: None, silent: false }
    }

    /// An empty answer.
    pub fn status(status: u16) -> Self {
        Self::new(status, "application/json", "")
    }

    /// The request is accepted and never answered.
    pub fn silence() -> Self {
        Self { silent: true, ..Self::status(200) }
    }

    /// A 401 with this challenge.
    pub fn challenge(challenge: &str) -> Self {
        Self::status(401).with("www-authenticate", challenge)
    }

    /// One more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `reply` is for those who show exactly this authorization.
    pub fn but_to(mut self, authorization: &str, reply: Self) -> Self {
        self.to.push((authorization.to_owned(), reply));
        self
    }

    /// Answers only when the gate opens.
    pub fn after(self, gate: watch::Receiver<bool>) -> Self {
        Self { gate: Some(gate), ..self }
    }

    /// The same with another status.
    pub fn refusing(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The same body, byte by byte.
    pub fn dripping(self, pause: Duration) -> Self {
        let content = match self.content {
            Content::Bytes(bytes) => Content::Drip(bytes, pause),
            other => other,
        };
        Self { content, ..self }
    }

    /// The same body, but the connection ends after half of it.
    pub fn cut_off(self) -> Self {
        let content = match self.content {
            Content::Bytes(bytes) => Content::CutOff(bytes.slice(..bytes.len() / 2)),
            other => other,
        };
        Self { content, ..self }
    }

    /// So many bytes, announced in `Content-Length` or not.
    pub fn flood(content_type: &str, length: u64, announced: bool) -> Self {
        let reply = Self { content: Content::Flood(length), ..Self::new(200, content_type, "") };
        if announced { reply.with("content-length", &length.to_string()) } else { reply }
    }
}

#[derive(Default)]
struct State {
    script: Mutex<HashMap<String, Reply>>,
    /// Before the script, each for one request.
    once: Mutex<HashMap<String, Reply>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Bytes of floods that were taken over for sending.
    flooded: AtomicU64,
    /// Floods that have ended, one way or the other.
    ended: watch::Sender<usize>,
}

/// A running server; ends on drop, with its connections.
pub struct Server {
    host: String,
    tls: bool,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Server {
    /// Plain HTTP on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1", None).await
    }

    /// On a free port of this loopback address; with a certificate it speaks HTTPS, with HTTP/1.1.
    pub async fn start_at(address: &str, certificate: Option<&ServerCertificate>) -> Self {
        Self::start_with(address, certificate.map(|certificate| acceptor(certificate, &[]))).await
    }

    /// HTTPS on 127.0.0.1, with HTTP/2 for those who can.
    pub async fn start_http2(certificate: &ServerCertificate) -> Self {
        Self::start_with("127.0.0.1", Some(acceptor(certificate, &[b"h2", b"http/1.1"]))).await
    }

    /// HTTPS as this acceptor makes it.
    pub async fn start_with_tls(address: &str, acceptor: TlsAcceptor) -> Self {
        Self::start_with(address, Some(acceptor)).await
    }

    async fn start_with(address: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        let state = Arc::new(State::default());
        let tls = acceptor.is_some();
        let task = tokio::spawn(serve(listener, acceptor, Arc::clone(&state)));
        Self { host, tls, state, task }
    }

    /// Host and port, as references name it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A path of this server as an address.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.host)
    }

    /// What to answer to requests for this path, `HEAD /path` for one method only, `/path?query`, or `*` for all else,
    /// which is a 404.
    pub fn on(&self, path: &str, reply: Reply) -> &Self {
        locked(&self.state.script).insert(path.to_owned(), reply);
        self
    }

    /// What to answer to the next request for this path, before what [`Self::on`] says.
    pub fn once(&self, path: &str, reply: Reply) -> &Self {
        locked(&self.state.once).insert(path.to_owned(), reply);
        self
    }

    /// What to answer to requests for the manifest of `repository:v1`.
    pub fn on_manifest(&self, repository: &str, reply: Reply) -> &Self {
        self.on(&format!("/v2/{repository}/manifests/v1"), reply)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.state.seen).clone()
    }

    /// The scheme that each request showed, in order.
    pub fn schemes(&self) -> Vec<Option<String>> {
        self.seen().into_iter().map(|seen| seen.scheme).collect()
    }

    /// `METHOD path` of each request so far, in order.
    pub fn requests(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    /// Whether this text came in anywhere in a request.
    pub fn received(&self, text: &str) -> bool {
        self.seen()
            .iter()
            .any(|seen| [&seen.path, &seen.query, &seen.body, &seen.rest].iter().any(|part| part.contains(text)))
    }

    /// Connections that were accepted.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many bytes could be sent of the first flood, once that has ended.
    pub async fn flooded(&self) -> u64 {
        let mut ended = self.state.ended.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(60), ended.wait_for(|ended| *ended > 0)).await;
        assert!(waited.is_ok(), "the client never let go of the flood");
        self.state.flooded.load(Ordering::SeqCst)
    }

    /// Ends it and waits for that: from here on nobody accepts a connection at this address. (A dropped one ends with the
    /// next turn of the runtime, and until then a connection is accepted and reset.)
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes TLS connections with this certificate, and offers these protocols.
pub fn acceptor(certificate: &ServerCertificate, protocols: &[&[u8]]) -> TlsAcceptor {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let chain = vec![CertificateDer::from_pem_slice(certificate.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, state: Arc<State>) {
    // Owned by this task, so that its end (abort on drop) ends the connections as well.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let builder = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no business of ours.
            match acceptor {
                None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                Some(acceptor) => {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        drop(builder.serve_connection(TokioIo::new(stream), service).await);
                    } else {
                        drop(builder.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let authorization = parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let path = parts.uri.path().to_owned();
    locked(&state.seen).push(Seen {
        method: parts.method.to_string(),
        path: path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        version: parts.version,
        scheme: authorization.as_deref().map(|text| text.split(' ').next().unwrap_or_default().to_owned()),
        body: String::from_utf8_lossy(&body).into_owned(),
        rest: format!("{:?} {authorization:?}", parts.headers),
        headers: parts.headers,
    });
    let own = format!("{} {path}", parts.method);
    let once = locked(&state.once).remove(&path);
    let mut reply = {
        let script = locked(&state.script);
        let whole = format!("{path}?{}", parts.uri.query().unwrap_or_default());
        let of_path = script.get(&own).or_else(|| script.get(&whole)).or_else(|| script.get(&path));
        let scripted = of_path.or_else(|| script.get("*")).cloned();
        once.or(scripted).unwrap_or_else(|| Reply::status(404))
    };
    let mut others = std::mem::take(&mut reply.to).into_iter();
    if let Some((_, other)) = others.find(|(expected, _)| authorization.as_deref() == Some(expected.as_str())) {
        reply = other;
    }
    if let Some(mut gate) = reply.gate.take() {
        drop(gate.wait_for(|open| *open).await);
    }
    if reply.silent {
        std::future::pending::<()>().await;
    }
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(sent(state, reply.content)).unwrap())
}

fn sent(state: Arc<State>, content: Content) -> Body {
    match content {
        Content::Bytes(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Content::CutOff(bytes) => {
            let pieces = vec![Ok(Frame::data(bytes)), Err(io::Error::other("cut off by the script"))];
            StreamBody::new(futures::stream::iter(pieces)).boxed_unsync()
        }
        Content::Drip(bytes, pause) => {
            let next = move |rest: Bytes| async move {
                tokio::time::sleep(pause).await;
                let first = rest.first().map(|_| rest.slice(..1))?;
                Some((Ok(Frame::data(first)), rest.slice(1..)))
            };
            StreamBody::new(unfold(bytes, next)).boxed_unsync()
        }
        Content::Flood(length) => {
            let next = |(left, flood): (u64, Flood)| async move {
                let piece = left.min(PIECE);
                flood.0.flooded.fetch_add(piece, Ordering::SeqCst);
                let data = Bytes::from(vec![b' '; usize::try_from(piece).unwrap()]);
                (piece > 0).then_some((Ok(Frame::data(data)), (left - piece, flood)))
            };
            StreamBody::new(unfold((length, Flood(state)), next)).boxed_unsync()
        }
    }
}

/// Tells when a flood has ended.
struct Flood(Arc<State>);

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.ended.send_modify(|ended| *ended += 1);
    }
}
