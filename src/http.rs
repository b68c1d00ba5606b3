//! Probes and metrics over HTTP: `/livez`, `/readyz`, `/metrics`, served from memory only.
//!
//! Anybody who reaches the port can open connections and leave them idle. Probes must succeed all the same, or the kubelet restarts
//! the controller. Therefore a new connection is always accepted; beyond the limit, the oldest connection of the peer with the most
//! connections is closed. A connection serves one request and ends after ten seconds at the latest.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Maximum number of open connections, and so of file descriptors.
const MAX_CONNECTIONS: usize = 64;
/// Deadlines of a connection.
const DEADLINES: Deadlines = Deadlines { head: Duration::from_secs(5), life: Duration::from_secs(10) };
/// Maximum size of a request's head, and of the buffer for a response's head, in bytes. All connections share the body.
const BUFFER: usize = 8 * 1024;
/// How long rendered metrics are served again: a flood of scrapes costs ten renderings per second.
const METRICS_LIFETIME: Duration = Duration::from_millis(100);
/// Pause after a connection that could not be accepted (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

#[derive(Clone, Copy)]
struct Deadlines {
    /// For the request's head.
    head: Duration,
    /// For the whole connection, until the response is read.
    life: Duration,
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    serve_within(DEADLINES, listener, metrics).await;
}

async fn serve_within(deadlines: Deadlines, listener: TcpListener, metrics: Arc<Metrics>) {
    let page = Arc::new(Page { metrics, rendered: Mutex::default() });
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => connections.add(peer.ip().to_canonical(), serve_one(stream, page.clone(), deadlines)),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                connections.close_one();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        // Each connection is polled before the next is accepted: a probe whose request has arrived has its response now.
        tokio::task::yield_now().await;
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<(IpAddr, AbortHandle)>,
}

impl Connections {
    fn add(&mut self, peer: IpAddr, serving: impl Future<Output = ()> + Send + 'static) {
        self.open.retain(|(_, task)| !task.is_finished());
        if self.open.len() >= MAX_CONNECTIONS {
            self.close_one();
        }
        while self.tasks.try_join_next().is_some() {}
        self.open.push_back((peer, self.tasks.spawn(serving)));
    }

    /// Closes the oldest connection of the peer with the most connections, which is never the kubelet.
    fn close_one(&mut self) {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        self.open.iter().for_each(|(peer, _)| *counts.entry(*peer).or_default() += 1);
        let most = counts.values().max().copied().unwrap_or_default();
        let oldest = self.open.iter().position(|(peer, _)| counts.get(peer) == Some(&most));
        if let Some((_, task)) = oldest.and_then(|oldest| self.open.remove(oldest)) {
            task.abort();
        }
    }
}

/// Serves the one request of a connection.
async fn serve_one(stream: TcpStream, page: Arc<Page>, deadlines: Deadlines) {
    let service = service_fn(move |request| {
        let response = page.respond(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(deadlines.head)
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(deadlines.life, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        Err(_) => tracing::debug!("closed a connection that was open for too long"),
    }
}

/// The content that is served.
struct Page {
    metrics: Arc<Metrics>,
    /// The rendered metrics, and when they were rendered.
    rendered: Mutex<Option<(Instant, Bytes)>>,
}

impl Page {
    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, content_type, text) = match request.uri().path() {
            "/livez" => (StatusCode::OK, "text/plain", Bytes::from_static(b"ok\n")),
            "/readyz" if self.metrics.is_ready() => (StatusCode::OK, "text/plain", Bytes::from_static(b"ok\n")),
            "/readyz" => {
                let why = Bytes::from_static(b"the API server has not answered yet\n");
                (StatusCode::SERVICE_UNAVAILABLE, "text/plain", why)
            }
            "/metrics" => match self.rendered() {
                Ok(text) => (StatusCode::OK, OPEN_METRICS, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", Bytes::from(format!("{error}\n"))),
            },
            _ => (StatusCode::NOT_FOUND, "text/plain", Bytes::from_static(b"try /livez, /readyz or /metrics\n")),
        };
        let mut response = Response::new(Full::new(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
        response
    }

    /// Returns the current metrics, or those of at most [`METRICS_LIFETIME`] ago: one text for all concurrent scrapes.
    fn rendered(&self) -> Result<Bytes, std::fmt::Error> {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = rendered.as_ref().filter(|(at, _)| at.elapsed() < METRICS_LIFETIME) {
            return Ok(text.clone());
        }
        let text = Bytes::from(self.metrics.render()?);
        *rendered = Some((Instant::now(), text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Only a bound for a hung test; nothing is measured.
    const HUNG: Duration = Duration::from_secs(60);

    async fn get(address: SocketAddr, path: &str) -> String {
        let request = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            response
        };
        tokio::time::timeout(HUNG, request).await.unwrap()
    }

    async fn start(deadlines: Deadlines) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::default());
        metrics.set_ready();
        (address, tokio::spawn(serve_within(deadlines, listener, metrics)))
    }

    /// No deadline ends the idle connections.
    #[tokio::test]
    async fn probes_and_scrapes_have_responses_however_many_connections_hang() {
        for count in [64, 500] {
            for sent in ["", "GET /met", "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"] {
                let never = Duration::from_secs(3600);
                let (address, server) = start(Deadlines { head: never, life: never }).await;
                let mut hanging = Vec::new();
                for _ in 0..count {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    // A connection that was closed rejects it.
                    let _ = stream.write_all(sent.as_bytes()).await;
                    hanging.push(stream);
                }
                for path in ["/livez", "/readyz", "/metrics", "/livez"] {
                    let response = get(address, path).await;
                    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{count} {sent:?} {path}: {response}");
                }
                drop(hanging);
                server.abort();
            }
        }
    }

    #[tokio::test]
    async fn the_peer_with_the_most_connections_loses_one() {
        let mut connections = Connections::default();
        let [kubelet, stranger, other] = [1, 2, 3].map(|last| IpAddr::from([10, 0, 0, last]));
        connections.add(kubelet, std::future::pending());
        for _ in 0..2 * MAX_CONNECTIONS {
            connections.add(stranger, std::future::pending());
        }
        connections.add(other, std::future::pending());
        let of = |peer: IpAddr| connections.open.iter().filter(|(one, _)| *one == peer).count();
        assert_eq!((of(kubelet), of(stranger), of(other)), (1, MAX_CONNECTIONS - 2, 1));
        let closed = async {
            while connections.tasks.len() > MAX_CONNECTIONS {
                connections.tasks.join_next().await;
            }
        };
        tokio::time::timeout(HUNG, closed).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_by_itself() {
        for sent in ["", "GET /met"] {
            let (address, server) = start(DEADLINES).await;
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
            server.abort();
        }
    }

    #[tokio::test]
    async fn one_rendering_serves_all_concurrent_scrapes() {
        let page = Page { metrics: Arc::default(), rendered: Mutex::default() };
        tokio::time::pause();
        let first = page.rendered().unwrap();
        page.metrics.set_leading(true);
        assert_eq!(page.rendered().unwrap().as_ptr(), first.as_ptr());
        tokio::time::advance(METRICS_LIFETIME).await;
        assert!(std::str::from_utf8(&page.rendered().unwrap()).unwrap().contains("imageset_controller_leader 1"));
    }
}
