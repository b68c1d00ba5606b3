//! Requests and answers: TLS with the trust that a registry was given, deadlines for connecting, bounded bodies hashed while
//! they arrive, and redirects only as far as the rules allow. Knows neither manifests nor tokens. Deadlines for whole
//! exchanges are the caller's.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io;
use std::iter::successors;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connection, HttpConnector, HttpInfo};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, RootCertStore};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::access::Endpoint;
use super::address::AddressClass;
use super::budget::{Budget, IDLE, Share};
use super::credentials::Secret;
use super::failure::Trouble;
use super::proxy::{Proxies, ProxyFailed};
use super::token::literal_address;
use super::tunnel::{Connector, Via, checked};
use crate::model::digest::Digest;
use crate::model::registry_failure::RegistryFailureKind;
use crate::traffic::Traffic;

/// The most redirects that are followed for one request.
const MOST_REDIRECTS: usize = 3;
/// How much of a refusal's body is read, in bytes.
const REFUSAL_LIMIT: usize = 16 * 1024;
/// The most bytes that an answer's headers may take; real ones take up to 4 KiB, signed addresses of redirects included.
const HEADER_LIMIT: u32 = 16 * 1024;
/// The most clients that are kept; one per trust setting, reach and protocol.
const MOST_CLIENTS: usize = 32;
/// The most hosts that are remembered to have been sent credentials.
const MOST_DISCLOSED: usize = 256;
/// The most origins that are remembered to speak HTTP/1.1 only.
const MOST_ORIGINS: usize = 64;
/// How much of one body may be under way unread, in bytes.
const STREAM_WINDOW: u32 = 32 * 1024;
/// The same for a connection: as much as its first streams together. One that waits for its turn may hold up others of the
/// same registry, and of no other.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most connections that are kept without use, for each registry and for each host that one leads to.
const MOST_IDLE: (usize, usize) = (8, 2);
/// How often a connection in use is pinged, and how long an answer may take, before it counts as dead.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// From where to where a request goes, which decides what addresses it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Reach {
    /// To the registry that the user named: any address.
    Registry,
    /// To a host that a registry at such an address named: never further in than it stands itself.
    SentBy(AddressClass),
}

/// A request.
pub(super) struct Ask<'a> {
    /// Where to.
    pub url: Url,
    /// Media types that are understood.
    pub accept: &'static str,
    /// Dropped on any change of origin.
    pub authorization: Option<HeaderValue>,
    /// `authorization` or `form` is a credential, or came of one.
    pub confidential: bool,
    /// A form makes it a POST, which is never redirected.
    pub form: Option<Zeroizing<String>>,
    /// Only the headers are wanted (HEAD).
    pub head: bool,
    /// The longest body that is taken, in bytes.
    pub limit: usize,
    /// See [`Reach`].
    pub reach: Reach,
    /// Whether redirects are followed.
    pub redirects: bool,
    /// The registry's part of what all may use together.
    pub share: &'a Share,
}

impl<'a> Ask<'a> {
    /// A plain GET without credentials.
    pub(super) fn get(url: Url, share: &'a Share) -> Self {
        Self {
            url,
            accept: "application/json",
            authorization: None,
            confidential: false,
            form: None,
            head: false,
            limit: REFUSAL_LIMIT,
            reach: Reach::Registry,
            redirects: true,
            share,
        }
    }
}

/// A whole answer.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// What the registry itself speaks.
    pub version: Version,
    /// Class of the address that the first connection of this request went to.
    pub class: AddressClass,
    /// The host of another origin that it came from, by redirects. Its headers are not the registry's.
    pub stranger: Option<String>,
    /// The body; of a refusal at most its beginning.
    pub body: Vec<u8>,
    /// The SHA-256 of the body as it arrived.
    pub digest: Digest,
}

impl Answer {
    /// What kind of refusal it is, if it is one.
    pub(super) fn trouble_kind(&self) -> RegistryFailureKind {
        self.trouble().kind
    }

    /// What a refusal means.
    pub(super) fn trouble(&self) -> Trouble {
        Trouble::of_status(self.status, &self.headers, &self.body, jiff::Timestamp::now().as_second())
    }
}

type HttpClient = Client<Negotiating<HttpsConnector<Connector<HttpConnector<GuardedResolver>>>>, Full<Bytes>>;

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    authorities: Option<Digest>,
    plain_http: bool,
    reach: Reach,
    protocol: Protocol,
}

/// What a client speaks. A client that knows beforehand that it speaks HTTP/2 opens one connection for any number of
/// requests that start together; one that finds out while connecting would open one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Protocol {
    Http1,
    Http2,
}

/// Keeps connections per trust setting, so that credentials and trust of one registry never serve another.
pub(super) struct Transport {
    user_agent: HeaderValue,
    connect_deadline: Duration,
    /// Where those who ask registries count.
    pub(super) traffic: Traffic,
    proxies: Arc<Proxies>,
    /// Parsed once and shared by all clients that trust no others.
    system_authorities: OnceLock<Arc<RootCertStore>>,
    clients: Mutex<HashMap<ClientKey, HttpClient>>,
    /// Who was sent credentials.
    pub(super) disclosures: Disclosures,
    /// What bodies may take together.
    budget: Budget,
    /// Origins that chose HTTP/1.1 when they were offered both.
    http1_only: Mutex<HashSet<String>>,
}

impl Transport {
    pub(super) fn new(connect_deadline: Duration, proxies: Proxies, traffic: Traffic) -> Self {
        Self {
            user_agent: HeaderValue::from_static(concat!("imageset-controller/", env!("CARGO_PKG_VERSION"))),
            connect_deadline,
            traffic,
            proxies: Arc::new(proxies),
            system_authorities: OnceLock::new(),
            clients: Mutex::default(),
            disclosures: Disclosures::default(),
            budget: Budget::default(),
            http1_only: Mutex::default(),
        }
    }

    /// Sends a request, follows redirects where allowed, and reads the whole answer.
    pub(super) async fn ask(&self, endpoint: &Endpoint, mut ask: Ask<'_>) -> Result<Answer, Trouble> {
        let first = ask.url.clone();
        let (mut from, mut names) = (None, class_of_host(&endpoint.base));
        for _ in 0..=MOST_REDIRECTS {
            self.check_reach(&ask, names)?;
            names = names.and(class_of_host(&ask.url));
            let response = self.send(endpoint, &ask).await?;
            let here = class_of_server(&response, &ask.url);
            let from = from.get_or_insert(From { class: here, narrowed: here, version: response.version() });
            from.narrowed = from.narrowed.and(here);
            let location = is_redirect(response.status()).then(|| response.headers().get(header::LOCATION)).flatten();
            let (Some(location), true, None) = (location, ask.redirects, &ask.form) else {
                return self.answer(response, from, &first, &ask).await;
            };
            let target = location.to_str().ok().and_then(|location| ask.url.join(location).ok());
            let target = target.ok_or_else(|| Trouble::invalid("a redirect to nowhere"))?;
            follow(endpoint, &first, from.narrowed, &mut ask, target)?;
        }
        Err(Trouble::new(RegistryFailureKind::RefusedTarget, format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn send(&self, endpoint: &Endpoint, ask: &Ask<'_>) -> Result<http::Response<Incoming>, Trouble> {
        let method = match (&ask.form, ask.head) {
            (Some(_), _) => Method::POST,
            (None, true) => Method::HEAD,
            (None, false) => Method::GET,
        };
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
        // A proxy that is shown its password in the clear can answer in the registry's place.
        if ask.confidential || request.headers().contains_key(header::PROXY_AUTHORIZATION) {
            for url in [&endpoint.base, &ask.url] {
                self.disclosures.note(url.host_str().unwrap_or_default());
            }
        }
        if ask.url.scheme() == "https" && self.speaks_http2(&ask.url) {
            let again = request.clone();
            match self.client(endpoint, ask.reach, Protocol::Http2)?.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if is_http1_only(&error) => {
                    self.note_http1(&ask.url);
                    return self.exchange(endpoint, ask, again).await;
                }
                Err(error) => return Err(explained(&error)),
            }
        }
        self.exchange(endpoint, ask, request).await
    }

    /// Refuses places that whoever sent us has no business with, as far as the address tells. The rest is seen when names are
    /// resolved; a proxy resolves them itself, so that there the name has to tell. `names` is what the names of the registry
    /// and of all hosts that it was redirected by may lead to.
    fn check_reach(&self, ask: &Ask<'_>, names: AddressClass) -> Result<(), Trouble> {
        let Reach::SentBy(class) = ask.reach else { return Ok(()) };
        let proxied = || ask.url.as_str().parse().is_ok_and(|uri| !matches!(self.proxies.to(&uri), Ok(None)));
        let (within, target) = match literal_address(&ask.url) {
            Some(address) => (class.may_send_to(AddressClass::of(address)), address.to_string()),
            None if proxied() => {
                let host = ask.url.host_str().unwrap_or_default();
                (names.may_send_to(AddressClass::of_name(host)), host.to_owned())
            }
            None => return Ok(()),
        };
        if within {
            return Ok(());
        }
        let unquoted = "sent to an address that is further inside than the registry's";
        Err(Trouble::quoting(RegistryFailureKind::RefusedTarget, unquoted, &format!("sent to {target}")))
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, Trouble> {
        let client = self.client(endpoint, ask.reach, Protocol::Http1)?;
        let response = client.request(request).await.map_err(|error| explained(&error))?;
        Ok(checked(response, ask.url.host_str().unwrap_or_default())?)
    }

    /// What must not be written anywhere of the proxies' settings.
    pub(super) fn proxy_secrets(&self) -> Vec<Secret> {
        self.proxies.secrets()
    }

    fn speaks_http2(&self, url: &Url) -> bool {
        let known = self.http1_only.lock().unwrap_or_else(PoisonError::into_inner);
        !known.contains(&url.origin().ascii_serialization())
    }

    fn note_http1(&self, url: &Url) {
        let mut known = self.http1_only.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_ORIGINS {
            known.clear();
        }
        known.insert(url.origin().ascii_serialization());
    }

    fn client(&self, endpoint: &Endpoint, reach: Reach, protocol: Protocol) -> Result<HttpClient, Trouble> {
        let authorities = endpoint.ca_pem.as_deref().map(Digest::of);
        let key = ClientKey { authorities, plain_http: endpoint.plain_http, reach, protocol };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.new_client(endpoint, reach, protocol)?;
        if clients.len() >= MOST_CLIENTS {
            // Authorities rotate; connections in use live on until they are done.
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn new_client(&self, endpoint: &Endpoint, reach: Reach, protocol: Protocol) -> Result<HttpClient, Trouble> {
        let tcp = |reach| {
            let mut connector = HttpConnector::new_with_resolver(GuardedResolver(reach));
            connector.enforce_http(false);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(self.connect_deadline));
            connector
        };
        // The proxy is not chosen by a registry, so it may stand anywhere.
        let to_proxies = tcp(Reach::Registry);
        let (proxies, deadline) = (Arc::clone(&self.proxies), self.connect_deadline);
        let connector = Connector::new(tcp(reach), to_proxies, proxies, deadline);
        let connector = connector.map_err(|error| Trouble::new(RegistryFailureKind::Tls, error.to_string()))?;
        let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(self.tls(endpoint)?);
        let builder = if endpoint.plain_http { builder.https_or_http() } else { builder.https_only() };
        let connector = match protocol {
            Protocol::Http1 => builder.enable_http1().wrap_connector(connector),
            Protocol::Http2 => builder.enable_all_versions().wrap_connector(connector),
        };
        let connector = Negotiating { connector, protocol };
        Ok(Client::builder(TokioExecutor::new())
            .http2_only(protocol == Protocol::Http2)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .http2_keep_alive_timeout(KEEP_ALIVE.1)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(if reach == Reach::Registry { MOST_IDLE.0 } else { MOST_IDLE.1 })
            .http1_max_buf_size(HEADER_LIMIT as usize)
            .http2_max_header_list_size(HEADER_LIMIT)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(connector))
    }

    fn tls(&self, endpoint: &Endpoint) -> Result<rustls::ClientConfig, Trouble> {
        let unusable = |text: String| Trouble::new(RegistryFailureKind::CredentialsInvalid, text).of_whole_registry();
        let system = self.system_authorities.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(roots)
        });
        let mut trusted = system.clone();
        if let Some(pem) = &endpoint.ca_pem {
            let roots = Arc::make_mut(&mut trusted);
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
        let mut config = builder.with_root_certificates(trusted).with_no_client_auth();
        // Tickets and certificates of hundreds of hosts would be kept for it.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// Reads the body, bounded and hashed piece by piece. Of a refusal only the beginning is of interest.
    async fn answer(
        &self,
        response: http::Response<Incoming>,
        from: &From,
        first: &Url,
        ask: &Ask<'_>,
    ) -> Result<Answer, Trouble> {
        let (parts, mut incoming) = response.into_parts();
        let wanted = parts.status.is_success() && !ask.head;
        let too_large = || Trouble::new(RegistryFailureKind::TooLarge, format!("more than {} bytes", ask.limit));
        if wanted && parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Trouble::invalid("a compressed body, whose digest would not be that of the content"));
        }
        if wanted && incoming.size_hint().lower() > ask.limit as u64 {
            return Err(too_large());
        }
        let limit = if wanted { ask.limit } else { REFUSAL_LIMIT };
        let announced = incoming.size_hint().exact().map(|exact| usize::try_from(exact).unwrap_or(usize::MAX));
        let mut room = self.budget.room(ask.share, announced, limit).await;
        let mut hasher = Sha256::new();
        let mut body = Vec::new();
        while let Some(frame) = next_frame(&mut incoming, room.until).await? {
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > limit {
                if wanted {
                    return Err(too_large());
                }
                break;
            }
            if body.len() + data.len() > room.bytes {
                let long = self.budget.long_room(ask.share, limit).await;
                room = long;
            }
            hasher.update(&data);
            body.extend_from_slice(&data);
        }
        drop(room);
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            version: from.version,
            class: from.class,
            stranger: (ask.url.origin() != first.origin()).then(|| ask.url.host_str().unwrap_or_default().to_owned()),
            body,
            digest: Digest::of_stream(hasher),
        })
    }
}

/// Where an answer comes from.
struct From {
    /// Class of the registry's own address.
    class: AddressClass,
    /// What the registry and all hosts that it was redirected by may lead to.
    narrowed: AddressClass,
    /// What the registry itself speaks.
    version: Version,
}

/// Hosts that were sent a credential, or a token that came of one, since the process began. What they answer from then on
/// may hold it in any form.
#[derive(Default)]
pub(super) struct Disclosures(Mutex<Disclosed>);

#[derive(Default)]
struct Disclosed {
    hosts: HashSet<String>,
    /// More than are remembered.
    everybody: bool,
}

impl Disclosures {
    fn note(&self, host: &str) {
        let mut disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if disclosed.everybody || disclosed.hosts.contains(host) {
            return;
        }
        if disclosed.hosts.len() >= MOST_DISCLOSED {
            disclosed.everybody = true;
            disclosed.hosts.clear();
            return;
        }
        disclosed.hosts.insert(host.to_owned());
    }

    /// Whether this host was sent one.
    pub(super) fn includes(&self, host: &str) -> bool {
        let disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        disclosed.everybody || disclosed.hosts.contains(host)
    }
}

async fn next_frame(incoming: &mut Incoming, until: Option<Instant>) -> Result<Option<Frame<Bytes>>, Trouble> {
    let frame = match until {
        None => incoming.frame().await,
        Some(until) => tokio::time::timeout_at(until, incoming.frame()).await.map_err(|_| {
            Trouble::new(RegistryFailureKind::Timeout, "a long body that does not arrive").of_this_image()
        })?,
    };
    frame.transpose().map_err(|error| explained(&error))
}

/// What an address names, before anybody is asked for it.
fn class_of_host(url: &Url) -> AddressClass {
    let by_name = || AddressClass::of_name(url.host_str().unwrap_or_default());
    literal_address(url).map_or_else(by_name, AddressClass::of)
}

/// Points `ask` at a redirect's target, by the rules: no plain HTTP after HTTPS, no credentials for another origin, nobody
/// sent further in than the registry stands.
fn follow(
    endpoint: &Endpoint,
    first: &Url,
    class: AddressClass,
    ask: &mut Ask<'_>,
    target: Url,
) -> Result<(), Trouble> {
    let refused =
        |unquoted: &str, text: String| Err(Trouble::quoting(RegistryFailureKind::RefusedTarget, unquoted, &text));
    let host = target.host_str().unwrap_or_default();
    let plain = target.scheme() == "http" && ask.url.scheme() == "http" && endpoint.plain_http;
    if target.scheme() != "https" && !plain {
        return refused("redirected to an address without TLS", format!("redirected to {}://{host}", target.scheme()));
    }
    if !target.username().is_empty() || target.password().is_some() {
        let text = format!("redirected to {host} with credentials in the address");
        return refused("redirected to an address with credentials in it", text);
    }
    if target.origin() != ask.url.origin() {
        ask.authorization = None;
        ask.confidential = false;
    }
    if target.origin() != first.origin() && !ask.share.may_lead_to(target.origin().ascii_serialization()) {
        return refused("redirected to yet another host", format!("redirected to {host}, yet another host"));
    }
    if target.host_str() != first.host_str() {
        ask.reach = Reach::SentBy(class);
    } else if let Reach::SentBy(_) = ask.reach {
        // Back at the registry, but not by its own word alone.
        ask.reach = Reach::SentBy(class);
    }
    ask.url = target;
    Ok(())
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
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
    let (mut last, mut plain) = (error.to_string(), false);
    for cause in successors(Some(error), |cause| cause_of(*cause)) {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Trouble::quoting(RegistryFailureKind::Tls, tls_in_our_words(tls), &tls.to_string());
        }
        if let Some(failed) = cause.downcast_ref::<ProxyFailed>() {
            return failed.clone().into();
        }
        if let Some(AddressRefused(name)) = cause.downcast_ref::<AddressRefused>() {
            let further = "whose addresses are further inside than the registry's";
            let unquoted = format!("sent to a host {further}");
            return Trouble::quoting(
                RegistryFailureKind::RefusedTarget,
                unquoted,
                &format!("sent to {name}, {further}"),
            );
        }
        if let Some(hyper) = cause.downcast_ref::<hyper::Error>()
            && hyper.is_parse()
        {
            return Trouble::invalid(format!("no HTTP: {hyper}"));
        }
        last = cause.to_string();
        // The system's words and hyper's own; HTTP/2 has room for the other side's.
        plain = cause.is::<io::Error>() || cause.is::<hyper::Error>();
    }
    let unquoted = if plain { last.clone() } else { "the connection failed".to_owned() };
    Trouble::quoting(RegistryFailureKind::Unreachable, unquoted, &last)
}

/// What is wrong with a connection's trust, without names and times of a certificate that somebody else wrote.
fn tls_in_our_words(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return match error {
            rustls::Error::AlertReceived(_) => "the TLS handshake was refused".to_owned(),
            _ => "the TLS handshake failed".to_owned(),
        };
    };
    let words = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is not valid for the registry's name"
        }
        CertificateError::UnknownIssuer => "UnknownIssuer",
        CertificateError::Revoked => "it is revoked",
        _ => "it cannot be used",
    };
    format!("invalid peer certificate: {words}")
}

/// The next cause; `io::Error::source` would skip the error that it wraps.
pub(super) fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

/// Whether a connection failed only because the server speaks HTTP/1.1.
fn is_http1_only(error: &(dyn Error + 'static)) -> bool {
    successors(Some(error), |cause| cause_of(*cause)).any(|cause| cause.is::<Http1Only>())
}

/// The server was offered HTTP/2 and chose HTTP/1.1.
#[derive(Debug, thiserror::Error)]
#[error("it speaks HTTP/1.1 only")]
struct Http1Only;

/// Connects, and for a client that will speak HTTP/2 sees to it that this was agreed upon.
#[derive(Clone)]
struct Negotiating<C> {
    connector: C,
    protocol: Protocol,
}

impl<C> tower_service::Service<Uri> for Negotiating<C>
where
    C: tower_service::Service<Uri, Error = Box<dyn Error + Send + Sync>>,
    C::Response: Connection,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, protocol) = (self.connector.call(uri), self.protocol);
        Box::pin(async move {
            let connection = connecting.await?;
            match protocol {
                Protocol::Http2 if !connection.connected().is_negotiated_h2() => Err(Http1Only.into()),
                _ => Ok(connection),
            }
        })
    }
}

/// A name leads to addresses only that the registry may not send us to.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no address within reach")]
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
