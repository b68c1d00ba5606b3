//! A proxy on a loopback address: opens tunnels, forwards requests in absolute form, and leads every target to the one
//! server that it was given, so that targets can have names that nobody else knows. Remembers what it was asked and shown.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::certificates::ServerCertificate;
use crate::server::{Server, acceptor};

/// One question as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyRequest {
    /// `CONNECT host:port` or `GET http://host/path`.
    pub what: String,
    /// `Proxy-Authorization`.
    pub shown: Option<String>,
}

/// How the proxy takes questions.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Everybody is served.
    Open,
    /// Only those are served who show this.
    Wants(String),
    /// Nobody is served; this status and text is all they get.
    Rejects(u16, String),
    /// Questions are taken and never answered.
    Silent,
}

/// A running proxy; ends on drop, with its connections.
pub struct Proxy {
    host: String,
    requested: Arc<Mutex<Vec<ProxyRequest>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Rules {
    manner: Manner,
    target: String,
    requested: Arc<Mutex<Vec<ProxyRequest>>>,
}

impl Proxy {
    /// Leads everything to `target`. With a certificate it wants TLS itself.
    pub async fn start(target: &Server, manner: Manner, certificate: Option<&ServerCertificate>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let requested = Arc::new(Mutex::default());
        let rules = Rules { manner, target: target.host().to_owned(), requested: Arc::clone(&requested) };
        let acceptor = certificate.map(|certificate| acceptor(certificate, &[]));
        let task = tokio::spawn(async move {
            // Owned by this task, so that its end ends the connections as well.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (rules, acceptor) = (rules.clone(), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, rules).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, rules).await;
                            }
                        }
                    }
                });
            }
        });
        Self { host, requested, task }
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Every question so far.
    pub fn requests(&self) -> Vec<ProxyRequest> {
        self.requested.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Server::close`] does.
    pub async fn close(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, rules: Rules) {
    let service = service_fn(move |request| respond(rules.clone(), request));
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Who goes away is no business of ours.
    drop(connection.with_upgrades().await);
}

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

fn reply(status: u16, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
    let builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
    builder.header(header::CONTENT_TYPE, "text/plain").body(body).unwrap()
}

async fn respond(rules: Rules, mut request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let shown = request.headers_mut().remove(header::PROXY_AUTHORIZATION);
    let shown = shown.map(|value| value.to_str().unwrap().to_owned());
    let requested = ProxyRequest { what: format!("{} {}", request.method(), request.uri()), shown: shown.clone() };
    rules.requested.lock().unwrap_or_else(PoisonError::into_inner).push(requested);
    match &rules.manner {
        Manner::Wants(wanted) if shown.as_ref() != Some(wanted) => return Ok(reply(407, "who are you?")),
        Manner::Rejects(status, text) => return Ok(reply(*status, text)),
        Manner::Silent => std::future::pending().await,
        Manner::Open | Manner::Wants(_) => {}
    }
    let mut stream = TcpStream::connect(&rules.target).await.unwrap();
    if request.method() == Method::CONNECT {
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(request).await.unwrap();
            drop(tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut stream).await);
        });
        return Ok(reply(200, ""));
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.map(|body| body.boxed_unsync()))
}
