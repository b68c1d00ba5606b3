//! Requests and answers: TLS with the trust that a registry was given, deadlines for connecting, bounded bodies hashed while
//! they arrive, and redirects only as far as the rules allow. Knows neither manifests nor tokens. Deadlines for whole
//! exchanges are the caller's.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::iter::successors;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{HttpConnector, HttpInfo};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::access::Endpoint;
use super::address::AddressClass;
use super::credentials::Secret;
use super::failure::Trouble;
use super::proxy::{Proxies, ProxyFailed};
use super::token::literal_address;
use super::tunnel::{Connector, Via, checked};
use crate::domain::{Digest, RegistryFailureKind};

/// The most redirects that are followed for one request.
const MOST_REDIRECTS: usize = 3;
/// How much of a refusal's body is read, in bytes.
const REFUSAL_LIMIT: usize = 16 * 1024;
/// The most bytes that an answer's headers may take.
const HEADER_LIMIT: u32 = 64 * 1024;
/// The most clients that are kept; one per trust setting and reach.
const MOST_CLIENTS: usize = 32;

/// From where to where a request goes, which decides what addresses it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// To the registry that the user named: any address.
    Registry,
    /// To a host that a registry at such an address named: never further in than it stands itself.
    SentBy(AddressClass),
}

/// A request.
pub(super) struct Ask {
    /// Where to.
    pub url: Url,
    /// Media types that are understood.
    pub accept: &'static str,
    /// Dropped on any change of origin.
    pub authorization: Option<HeaderValue>,
    /// A form makes it a POST, which is never redirected.
    pub form: Option<Zeroizing<String>>,
    /// The longest body that is taken, in bytes.
    pub limit: usize,
    /// See [`Reach`].
    pub reach: Reach,
    /// Whether redirects are followed.
    pub redirects: bool,
}

impl Ask {
    /// A plain GET without credentials.
    pub(super) fn get(url: Url) -> Self {
        let (limit, reach) = (REFUSAL_LIMIT, Reach::Registry);
        Self { url, accept: "application/json", authorization: None, form: None, limit, reach, redirects: true }
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub version: Version,
    /// Class of the address that the first connection of this request went to.
    pub class: AddressClass,
    /// The body; of a refusal at most its beginning.
    pub body: Vec<u8>,
    /// The SHA-256 of the body as it arrived.
    pub digest: Digest,
}

impl Answer {
    /// What a refusal means.
    pub(super) fn trouble(&self) -> Trouble {
        Trouble::of_status(self.status, &self.headers, &self.body, jiff::Timestamp::now().as_second())
    }
}

type HttpClient = Client<HttpsConnector<Connector<HttpConnector<GuardedResolver>>>, Full<Bytes>>;

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    authorities: Option<Digest>,
    plain_http: bool,
    reach: Reach,
}

/// Keeps connections per trust setting, so that credentials and trust of one registry never serve another.
pub(super) struct Transport {
    user_agent: HeaderValue,
    connect_deadline: Duration,
    proxies: Arc<Proxies>,
    system_authorities: OnceLock<Vec<CertificateDer<'static>>>,
    clients: Mutex<HashMap<ClientKey, HttpClient>>,
}

impl Transport {
    pub(super) fn new(connect_deadline: Duration, proxies: Proxies) -> Self {
        Self {
            user_agent: HeaderValue::from_static(concat!("imageset-controller/", env!("CARGO_PKG_VERSION"))),
            connect_deadline,
            proxies: Arc::new(proxies),
            system_authorities: OnceLock::new(),
            clients: Mutex::default(),
        }
    }

    /// Sends a request, follows redirects where allowed, and reads the whole answer.
    pub(super) async fn ask(&self, endpoint: &Endpoint, mut ask: Ask) -> Result<Answer, Trouble> {
        let first = ask.url.clone();
        let mut first_class = None;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send(endpoint, &ask).await?;
            let class = class_of_server(&response, &ask.url);
            let class = *first_class.get_or_insert(class);
            let location = is_redirect(response.status()).then(|| response.headers().get(header::LOCATION)).flatten();
            let (Some(location), true, None) = (location, ask.redirects, &ask.form) else {
                return answer(response, class, ask.limit).await;
            };
            let target = location.to_str().ok().and_then(|location| ask.url.join(location).ok());
            let target = target.ok_or_else(|| Trouble::invalid("a redirect to nowhere"))?;
            follow(endpoint, &first, class, &mut ask, target)?;
        }
        Err(Trouble::new(RegistryFailureKind::RefusedTarget, format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn send(&self, endpoint: &Endpoint, ask: &Ask) -> Result<http::Response<Incoming>, Trouble> {
        if let (Reach::SentBy(class), Some(address)) = (ask.reach, literal_address(&ask.url))
            && !class.may_send_to(AddressClass::of(address))
        {
            return Err(Trouble::new(RegistryFailureKind::RefusedTarget, format!("sent to {address}")));
        }
        let method = if ask.form.is_some() { Method::POST } else { Method::GET };
        let mut request = Request::builder()
            .method(method)
            .uri(ask.url.as_str())
            .header(header::USER_AGENT, &self.user_agent)
            .header(header::ACCEPT, ask.accept)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(authorization) = &ask.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        if ask.form.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = ask.form.as_ref().map(|form| Bytes::copy_from_slice(form.as_bytes())).unwrap_or_default();
        let mut request = request
            .body(Full::new(body))
            .map_err(|_| Trouble::invalid("an address that no request can be made for"))?;
        self.proxies.authorize(&mut request);
        let response = self.client(endpoint, ask.reach)?.request(request).await.map_err(|error| explained(&error))?;
        Ok(checked(response, ask.url.host_str().unwrap_or_default())?)
    }

    /// What must not be written anywhere of the proxies' settings.
    pub(super) fn proxy_secrets(&self) -> Vec<Secret> {
        self.proxies.secrets()
    }

    fn client(&self, endpoint: &Endpoint, reach: Reach) -> Result<HttpClient, Trouble> {
        let authorities = endpoint.ca_pem.as_deref().map(Digest::of);
        let key = ClientKey { authorities, plain_http: endpoint.plain_http, reach };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.new_client(endpoint, reach)?;
        if clients.len() >= MOST_CLIENTS {
            // Authorities rotate; connections in use live on until they are done.
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn new_client(&self, endpoint: &Endpoint, reach: Reach) -> Result<HttpClient, Trouble> {
        let tcp = |reach| {
            let mut connector = HttpConnector::new_with_resolver(GuardedResolver(reach));
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(self.connect_deadline));
            connector
        };
        // The proxy is not chosen by a registry, so it may stand anywhere, and is trusted by the system's authorities.
        let to_proxies = tcp(Reach::Registry);
        let (proxies, deadline) = (Arc::clone(&self.proxies), self.connect_deadline);
        let connector = Connector::new(tcp(reach), to_proxies, proxies, deadline, || self.tls(None))?;
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(self.tls(endpoint.ca_pem.as_deref())?);
        let builder = if endpoint.plain_http { builder.https_or_http() } else { builder.https_only() };
        let connector = builder.enable_all_versions().wrap_connector(connector);
        Ok(Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .http1_max_buf_size(HEADER_LIMIT as usize)
            .http2_max_header_list_size(HEADER_LIMIT)
            .http2_initial_stream_window_size(256 * 1024)
            .http2_initial_connection_window_size(1024 * 1024)
            .build(connector))
    }

    fn tls(&self, authorities: Option<&[u8]>) -> Result<rustls::ClientConfig, Trouble> {
        let unusable = |text: String| Trouble::new(RegistryFailureKind::CredentialsInvalid, text).of_whole_registry();
        let mut roots = RootCertStore::empty();
        let system = self.system_authorities.get_or_init(|| rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(system.iter().cloned());
        if let Some(pem) = authorities {
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| unusable(format!("CA bundle: {error}")))?;
                roots.add(certificate).map_err(|error| unusable(format!("CA bundle: {error}")))?;
            }
            if roots.len() == before {
                return Err(unusable("the CA bundle holds no certificate in PEM".to_owned()));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| unusable(error.to_string()))?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Points `ask` at a redirect's target, by the rules: no plain HTTP after HTTPS, no credentials for another origin, nobody
/// sent further in than the registry stands.
fn follow(endpoint: &Endpoint, first: &Url, class: AddressClass, ask: &mut Ask, target: Url) -> Result<(), Trouble> {
    let refused = |text: String| Err(Trouble::new(RegistryFailureKind::RefusedTarget, text));
    let host = target.host_str().unwrap_or_default();
    let plain = target.scheme() == "http" && ask.url.scheme() == "http" && endpoint.plain_http;
    if target.scheme() != "https" && !plain {
        return refused(format!("redirected to {}://{host}", target.scheme()));
    }
    if !target.username().is_empty() || target.password().is_some() {
        return refused(format!("redirected to {host} with credentials in the address"));
    }
    if target.origin() != ask.url.origin() {
        ask.authorization = None;
    }
    if target.host_str() != first.host_str() {
        ask.reach = match ask.reach {
            Reach::Registry => Reach::SentBy(class),
            sent => sent,
        };
    }
    ask.url = target;
    Ok(())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Reads the body, bounded and hashed piece by piece. Of a refusal only the beginning is of interest.
async fn answer(response: http::Response<Incoming>, class: AddressClass, limit: usize) -> Result<Answer, Trouble> {
    let (parts, mut incoming) = response.into_parts();
    let wanted = parts.status.is_success();
    let too_large = || Trouble::new(RegistryFailureKind::TooLarge, format!("more than {limit} bytes"));
    if wanted && parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Trouble::invalid("a compressed body, whose digest would not be that of the content"));
    }
    if wanted && incoming.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let limit = if wanted { limit } else { REFUSAL_LIMIT };
    let mut hasher = Sha256::new();
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.map_err(|error| explained(&error))?.into_data() else { continue };
        if body.len() + data.len() > limit {
            if wanted {
                return Err(too_large());
            }
            break;
        }
        hasher.update(&data);
        body.extend_from_slice(&data);
    }
    let digest = Digest::of_stream(hasher);
    Ok(Answer { status: parts.status, headers: parts.headers, version: parts.version, class, body, digest })
}

/// Of where the answer came from. A proxy's address says nothing of the registry behind it, whose name may stand for any
/// address: the strictest is taken.
fn class_of_server(response: &http::Response<Incoming>, url: &Url) -> AddressClass {
    let info: Option<&HttpInfo> = response.extensions().get();
    let address = match response.extensions().get::<Via>() {
        Some(_) => literal_address(url),
        None => info.map(|info| info.remote_addr().ip()),
    };
    address.map_or(AddressClass::Public, AddressClass::of)
}

/// What a failed exchange means: the innermost cause that tells.
fn explained(error: &(dyn Error + 'static)) -> Trouble {
    let mut last = error.to_string();
    for cause in successors(Some(error), |cause| cause_of(*cause)) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Trouble::new(RegistryFailureKind::Tls, tls.to_string());
        }
        if let Some(failed) = cause.downcast_ref::<ProxyFailed>() {
            return failed.clone().into();
        }
        if let Some(refused) = cause.downcast_ref::<AddressRefused>() {
            return Trouble::new(RegistryFailureKind::RefusedTarget, refused.to_string());
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_parse()
        {
            return Trouble::invalid(format!("no HTTP: {hyper}"));
        }
        last = cause.to_string();
    }
    Trouble::new(RegistryFailureKind::Unreachable, last)
}

/// The next cause; `io::Error::source` would skip the error that it wraps.
pub(super) fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

/// A name leads to addresses only that the registry may not send us to.
#[derive(Debug, thiserror::Error)]
#[error("sent to {0}, whose addresses are further inside than the registry's")]
struct AddressRefused(String);

/// The system's resolver, less the addresses that are out of reach. Filtering what is connected to, rather than checking
/// beforehand, leaves no gap for a name server that answers differently the second time.
#[derive(Debug, Clone)]
struct GuardedResolver(Reach);

impl tower_service::Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let in_reach = |address: &SocketAddr| match reach {
                Reach::Registry => true,
                Reach::SentBy(class) => class.may_send_to(AddressClass::of(address.ip())),
            };
            let (allowed, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(in_reach);
            if allowed.is_empty() && !refused.is_empty() {
                return Err(io::Error::other(AddressRefused(name.as_str().to_owned())));
            }
            Ok(allowed.into_iter())
        })
    }
}
