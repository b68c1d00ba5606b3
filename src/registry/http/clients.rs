//! HTTP clients, which keep connections: one per trust setting, reach and protocol, so that credentials and trust of one registry
//! never serve another.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tower::util::AndThen;
use url::Url;

use super::address::Reach;
use super::budget::IDLE;
use super::client_certificate::ClientCertificate;
use super::connect_error::causes;
use super::proxy::Proxies;
use super::resolver::GuardedResolver;
use super::tls;
use super::tunnel::{Connector, Proxied};
use crate::model::{Digest, RegistryFailureKind};
use crate::registry::access::Endpoint;
use crate::registry::error::{RegistryError, Result};

/// Maximum number of clients that are kept.
const MAX_CLIENTS: usize = 32;
/// Maximum number of origins that are remembered to support HTTP/1.1 only.
const MAX_ORIGINS: usize = 64;
/// Maximum size of a response's headers, in bytes; real ones take up to 4 KiB, signed addresses of redirects included.
const MAX_HEADERS: u32 = 16 * 1024;
/// How much of one body may be under way unread, in bytes.
const STREAM_WINDOW: u32 = 32 * 1024;
/// The same for a connection: as much as its first streams together. One that waits for its turn may delay others of the same
/// registry, and of no other.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Maximum number of idle connections, to a registry and to a host that a registry leads to.
const MAX_IDLE: (usize, usize) = (8, 2);
/// Interval of pings on a connection in use, and the time after which an unanswered one ends the connection.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

type BoxError = Box<dyn Error + Send + Sync>;
type Connected = MaybeHttpsStream<Proxied>;
/// Connects, then checks the negotiated protocol.
type Negotiating = AndThen<
    HttpsConnector<Connector<HttpConnector<GuardedResolver>>>,
    fn(Connected) -> Ready<Result<Connected, BoxError>>,
>;
type HttpClient = Client<Negotiating, Full<Bytes>>;

/// The HTTP clients, one per trust setting, reach and protocol.
pub(crate) struct HttpClients {
    connect_deadline: Duration,
    proxies: Arc<Proxies>,
    /// Loaded once and shared by all clients that trust no other authorities.
    system_authorities: OnceLock<Arc<RootCertStore>>,
    clients: Mutex<HashMap<ClientKey, HttpClient>>,
    /// Origins that chose HTTP/1.1 when they were offered both.
    http1_only: Mutex<HashSet<String>>,
}

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    authorities: Option<Digest>,
    /// The client certificate that is presented.
    identity: Option<Digest>,
    plain_http: bool,
    reach: Reach,
    protocol: Protocol,
}

/// The HTTP version of a client. A client that is known to use HTTP/2 opens one connection for any number of requests that start
/// together; one that finds out while connecting would open one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl HttpClients {
    pub(crate) fn new(connect_deadline: Duration, proxies: Arc<Proxies>) -> Self {
        Self {
            connect_deadline,
            proxies,
            system_authorities: OnceLock::new(),
            clients: Mutex::default(),
            http1_only: Mutex::default(),
        }
    }

    /// Whether an origin is to be offered HTTP/2.
    pub(crate) fn may_support_http2(&self, url: &Url) -> bool {
        let known = self.http1_only.lock().unwrap_or_else(PoisonError::into_inner);
        url.scheme() == "https" && !known.contains(&url.origin().ascii_serialization())
    }

    pub(crate) fn note_http1_only(&self, url: &Url) {
        let mut known = self.http1_only.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ORIGINS {
            known.clear();
        }
        known.insert(url.origin().ascii_serialization());
    }

    /// Returns the client for requests to this endpoint, or to a host that it leads to.
    pub(crate) fn get(&self, endpoint: &Endpoint, reach: Reach, protocol: Protocol) -> Result<HttpClient> {
        let authorities = endpoint.settings.ca_pem.as_deref().map(Digest::of);
        let certificate = own_certificate(endpoint, reach);
        // A key that is exchanged beside the same certificate belongs to it as well.
        let identity = certificate.map(|certificate| Digest::of(certificate.chain_pem()));
        let key = ClientKey { authorities, identity, plain_http: endpoint.settings.plain_http, reach, protocol };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.create(endpoint, reach, protocol)?;
        if clients.len() >= MAX_CLIENTS {
            // Authorities rotate; connections in use live on until they are done.
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn create(&self, endpoint: &Endpoint, reach: Reach, protocol: Protocol) -> Result<HttpClient> {
        let tcp = |reach| {
            let mut connector = HttpConnector::new_with_resolver(GuardedResolver(reach));
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(self.connect_deadline));
            connector
        };
        // No registry chooses the proxy, so it may have any address.
        let to_proxies = tcp(Reach::Registry);
        let (proxies, deadline) = (Arc::clone(&self.proxies), self.connect_deadline);
        let connector = Connector::new(tcp(reach), to_proxies, proxies, deadline);
        let connector = connector.map_err(|error| RegistryError::new(RegistryFailureKind::Tls, error.to_string()))?;
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(self.tls_config(endpoint, reach)?);
        let builder = if endpoint.settings.plain_http { builder.https_or_http() } else { builder.https_only() };
        let connector: Negotiating = match protocol {
            Protocol::Http1 => AndThen::new(builder.enable_http1().wrap_connector(connector), |made| ready(Ok(made))),
            Protocol::Http2 => AndThen::new(builder.enable_all_versions().wrap_connector(connector), require_http2),
        };
        Ok(Client::builder(TokioExecutor::new())
            .http2_only(protocol == Protocol::Http2)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .http2_keep_alive_timeout(KEEP_ALIVE.1)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(if reach == Reach::Registry { MAX_IDLE.0 } else { MAX_IDLE.1 })
            .http1_max_buf_size(MAX_HEADERS as usize)
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(connector))
    }

    fn tls_config(&self, endpoint: &Endpoint, reach: Reach) -> Result<rustls::ClientConfig> {
        let unusable =
            |text: String| RegistryError::new(RegistryFailureKind::CredentialsInvalid, text).of_whole_registry();
        let mut trusted = self.system_authorities.get_or_init(|| Arc::new(tls::system_authorities())).clone();
        let mut given = Vec::new();
        if let Some(pem) = &endpoint.settings.ca_pem {
            let roots = Arc::make_mut(&mut trusted);
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| unusable(format!("CA bundle: {error}")))?;
                roots.add(certificate.clone()).map_err(|error| unusable(format!("CA bundle: {error}")))?;
                given.push(certificate);
            }
            if given.is_empty() {
                return Err(unusable("the CA bundle holds no certificate in PEM".to_owned()));
            }
        }
        let identity = own_certificate(endpoint, reach).map(ClientCertificate::identity).transpose();
        let identity = identity.map_err(|error| unusable(format!("client certificate: {error}")))?;
        tls::client_config(trusted, given, identity).map_err(|error| unusable(error.to_string()))
    }
}

/// Returns the client certificate, for the registry itself and no host that it leads to.
fn own_certificate(endpoint: &Endpoint, reach: Reach) -> Option<&ClientCertificate> {
    endpoint.settings.client_certificate.as_ref().filter(|_| reach == Reach::Registry)
}

/// A server that was offered HTTP/2 and chose HTTP/1.1.
#[derive(Debug, thiserror::Error)]
#[error("it speaks HTTP/1.1 only")]
struct Http1Only;

/// Whether a connection failed only because the server supports HTTP/1.1 only.
pub(crate) fn is_http1_only(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<Http1Only>())
}

/// Accepts a connection only if HTTP/2 was negotiated.
fn require_http2(connection: Connected) -> Ready<Result<Connected, BoxError>> {
    let negotiated = connection.connected().is_negotiated_h2();
    ready(if negotiated { Ok(connection) } else { Err(Http1Only.into()) })
}
