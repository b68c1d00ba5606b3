//! What stands in front of registries in real life: a reverse proxy that ends TLS, speaks HTTP/2 and HTTP/1.1, and has a
//! registry and its token service under one name, or one of the two. Counts the requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::testbox::certificates::ServerCertificate;
use crate::testbox::server::{self, Server};
use crate::testbox::upstream::Upstream;

/// Where requests go on to, as `host:port`, in plain HTTP.
pub struct Routes {
    pub registry: String,
    pub token_service: String,
    /// The realm that the registry names, and the one that clients are told instead.
    pub realm: (String, String),
}

struct State {
    registry: Upstream,
    token_service: Upstream,
    realm: (String, String),
    requests: AtomicUsize,
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
        let upstream = |host: &str| Upstream::new(format!("http://{host}"), None);
        let (registry, token_service) = (upstream(&routes.registry)?, upstream(&routes.token_service)?);
        let requests = AtomicUsize::new(0);
        let state = Arc::new(State { registry, token_service, realm: routes.realm, requests });
        let shared = state.clone();
        let (address, server) = server::start(Some(acceptor), move |request| forward(shared.clone(), request)).await?;
        Ok(Self { host: address.to_string(), state, _server: server })
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

async fn forward(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Incoming>> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let upstream = if request.uri().path() == "/token" { &state.token_service } else { &state.registry };
    let mut response = upstream.forward(request).await?;
    if response.status() == StatusCode::UNAUTHORIZED
        && let Some(challenge) = response.headers_mut().get_mut(header::WWW_AUTHENTICATE)
    {
        let (theirs, ours) = &state.realm;
        *challenge = HeaderValue::from_str(&challenge.to_str()?.replace(theirs, ours))?;
    }
    Ok(response)
}
