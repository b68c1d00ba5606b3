//! What stands in front of registries in real life: a reverse proxy that ends TLS, speaks HTTP/2 and HTTP/1.1, and has a
//! registry and its token service under one name, or one of the two. Counts the requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;

use crate::testbox::certificates::ServerCertificate;
use crate::testbox::server::{self, Server};

/// Where requests go on to, as `host:port`, in plain HTTP.
pub struct Routes {
    pub registry: String,
    pub token_service: String,
    /// The realm that the registry names, and the one that clients are told instead.
    pub realm: (String, String),
}

struct State {
    routes: Routes,
    requests: AtomicUsize,
    upstream: Client<HttpConnector, Incoming>,
}

/// A running reverse proxy on a free loopback port; ends on drop, with its connections.
pub struct Front {
    host: String,
    state: Arc<State>,
    _server: Server,
}

impl Front {
    pub async fn start(certificate: &ServerCertificate, routes: Routes) -> Result<Self> {
        let acceptor = server::acceptor(certificate, &["h2", "http/1.1"])?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let host = listener.local_addr()?.to_string();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let upstream = Client::builder(TokioExecutor::new()).build(connector);
        let state = Arc::new(State { routes, requests: AtomicUsize::new(0), upstream });
        let shared = state.clone();
        let server = server::serve(listener, Some(acceptor), move |request| forward(shared.clone(), request));
        Ok(Self { host, state, _server: server })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Requests since this was last asked.
    pub fn take_requests(&self) -> usize {
        self.state.requests.swap(0, Ordering::Relaxed)
    }
}

async fn forward(state: Arc<State>, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let routes = &state.routes;
    let path = request.uri().path_and_query().context("no path")?.clone();
    let upstream = if path.path() == "/token" { &routes.token_service } else { &routes.registry };
    *request.uri_mut() = Uri::builder().scheme("http").authority(upstream.as_str()).path_and_query(path).build()?;
    *request.version_mut() = http::Version::HTTP_11;
    request.headers_mut().remove(header::HOST);
    let mut response = state.upstream.request(request).await?;
    for own in [header::CONNECTION, header::TRANSFER_ENCODING] {
        response.headers_mut().remove(own);
    }
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(challenge) = response.headers_mut().get_mut(header::WWW_AUTHENTICATE)
    {
        let (theirs, ours) = &routes.realm;
        *challenge = HeaderValue::from_str(&challenge.to_str()?.replace(theirs, ours))?;
    }
    Ok(response)
}
