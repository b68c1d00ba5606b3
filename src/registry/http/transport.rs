//! Sends requests and reads responses: bodies are bounded and hashed while they arrive, and redirects are followed only as far as
//! the rules allow. Knows neither manifests nor tokens. Deadlines of whole exchanges are the caller's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Frame, Incoming};
use hyper_util::client::legacy::connect::HttpInfo;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use super::address::{AddressClass, Reach, literal_address};
use super::budget::Budget;
use super::clients::{HttpClients, Protocol, is_http1_only};
use super::connect_error::explain;
use super::disclosures::Disclosures;
use super::proxy::Proxies;
use super::redirect::{follow, is_redirect};
use super::request::{HttpRequest, HttpResponse, MAX_ERROR_BODY};
use super::tunnel::{Via, check_proxy_response};
use crate::model::{Digest, FailureCause, RegistryFailureKind};
use crate::registry::access::Endpoint;
use crate::registry::auth::credentials::Secret;
use crate::registry::error::{RegistryError, Result};
use crate::request_metrics::RequestMetrics;

/// Maximum number of redirects of one request.
const MAX_REDIRECTS: usize = 3;

/// Sends requests and reads bounded responses.
pub(crate) struct Transport {
    user_agent: HeaderValue,
    /// Where sessions count their requests.
    pub metrics: RequestMetrics,
    proxies: Arc<Proxies>,
    clients: HttpClients,
    /// Hosts that received credentials.
    pub disclosures: Disclosures,
    budget: Budget,
}

/// The servers that a response came from.
struct Source {
    /// Class of the registry's own address.
    class: AddressClass,
    /// Class that the registry and all hosts that redirected may lead to.
    narrowed: AddressClass,
    /// HTTP version of the registry itself.
    version: Version,
}

impl Transport {
    pub(crate) fn new(connect_deadline: Duration, proxies: Proxies, metrics: RequestMetrics) -> Self {
        let proxies = Arc::new(proxies);
        Self {
            user_agent: HeaderValue::from_static(concat!("imageset-controller/", env!("CARGO_PKG_VERSION"))),
            metrics,
            clients: HttpClients::new(connect_deadline, Arc::clone(&proxies)),
            proxies,
            disclosures: Disclosures::default(),
            budget: Budget::default(),
        }
    }

    /// Returns the secrets of the proxy settings.
    pub(crate) fn proxy_secrets(&self) -> Vec<Secret> {
        self.proxies.secrets()
    }

    /// Sends a request, follows redirects where allowed, and reads the complete response.
    pub(crate) async fn send(&self, endpoint: &Endpoint, mut request: HttpRequest<'_>) -> Result<HttpResponse> {
        let first = request.url.clone();
        let (mut source, mut names) = (None, AddressClass::of_host(&endpoint.base));
        for _ in 0..=MAX_REDIRECTS {
            self.check_reach(&request, names)?;
            names = names.and(AddressClass::of_host(&request.url));
            let response = self.exchange(endpoint, &request).await?;
            let here = class_of_server(&response, &request.url);
            let source = source.get_or_insert(Source { class: here, narrowed: here, version: response.version() });
            source.narrowed = source.narrowed.and(here);
            let location = is_redirect(response.status()).then(|| response.headers().get(header::LOCATION)).flatten();
            let (Some(location), true, None) = (location, request.redirects, &request.form) else {
                return self.read(response, source, &first, &request).await;
            };
            let target = location.to_str().ok().and_then(|location| request.url.join(location).ok());
            let target = target.ok_or_else(|| RegistryError::invalid("a redirect to nowhere"))?;
            follow(endpoint, &first, source.narrowed, &mut request, target)?;
        }
        Err(RegistryError::new(RegistryFailureKind::RefusedTarget, format!("more than {MAX_REDIRECTS} redirects")))
    }

    /// Rejects addresses that a registry must not send the controller to, as far as the URL shows. The resolver checks the addresses
    /// of names; a proxy resolves names itself, so that the name has to be judged. `names` is the class that the names of the
    /// registry and of all hosts that redirected may lead to.
    fn check_reach(&self, request: &HttpRequest<'_>, names: AddressClass) -> Result<()> {
        let Reach::SentBy(_) = request.reach else { return Ok(()) };
        let is_proxied = || request.url.as_str().parse().is_ok_and(|uri| !matches!(self.proxies.to(&uri), Ok(None)));
        let (allowed, target) = match literal_address(&request.url) {
            Some(address) => (request.reach.allows(address), address.to_string()),
            None if is_proxied() => {
                let host = request.url.host_str().unwrap_or_default();
                (names.may_send_to(AddressClass::of_name(host)), host.to_owned())
            }
            None => return Ok(()),
        };
        if allowed {
            return Ok(());
        }
        let unquoted = "sent to an address that is further inside than the registry's";
        Err(RegistryError::rejected_target(unquoted, &format!("sent to {target}")))
    }

    /// Sends a request to its URL and returns the head of the response, over HTTP/2 if the server supports it.
    async fn exchange(&self, endpoint: &Endpoint, request: &HttpRequest<'_>) -> Result<Response<Incoming>> {
        let message = self.message(request)?;
        // A proxy that sees its password in the clear can respond in the registry's place.
        if request.confidential || message.headers().contains_key(header::PROXY_AUTHORIZATION) {
            for url in [&endpoint.base, &request.url] {
                self.disclosures.note(url.host_str().unwrap_or_default());
            }
        }
        if self.clients.may_support_http2(&request.url) {
            let client = self.clients.get(endpoint, request.reach, Protocol::Http2)?;
            match client.request(message.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) if is_http1_only(&error) => self.clients.note_http1_only(&request.url),
                Err(error) => return Err(explain_exchange(&error, &request.url)),
            }
        }
        let client = self.clients.get(endpoint, request.reach, Protocol::Http1)?;
        let response = client.request(message).await.map_err(|error| explain_exchange(&error, &request.url))?;
        check_proxy_response(response, request.url.host_str().unwrap_or_default())
    }

    fn message(&self, request: &HttpRequest<'_>) -> Result<Request<Full<Bytes>>> {
        let method = match (&request.method, &request.form, request.head) {
            (Some(method), _, _) => method.clone(),
            (None, Some(_), _) => Method::POST,
            (None, None, true) => Method::HEAD,
            (None, None, false) => Method::GET,
        };
        let mut builder = Request::builder()
            .method(method)
            .uri(request.url.as_str())
            .header(header::USER_AGENT, &self.user_agent)
            .header(header::ACCEPT, request.accept)
            .header(header::ACCEPT_ENCODING, "identity");
        if let Some(authorization) = &request.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        if request.form.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        let body = request.form.as_ref().map(|form| Bytes::copy_from_slice(form.as_bytes())).unwrap_or_default();
        let mut message = builder
            .body(Full::new(body))
            .map_err(|_| RegistryError::invalid("an address that no request can be made for"))?;
        message.headers_mut().extend(request.headers.clone());
        self.proxies.authorize(&mut message);
        Ok(message)
    }

    /// Reads a response, its body bounded and hashed piece by piece. Of an error response only the beginning is read.
    async fn read(
        &self,
        response: Response<Incoming>,
        source: &Source,
        first: &Url,
        request: &HttpRequest<'_>,
    ) -> Result<HttpResponse> {
        let (parts, mut incoming) = response.into_parts();
        let wanted = parts.status.is_success() && !request.head;
        let too_large =
            || RegistryError::new(RegistryFailureKind::TooLarge, format!("more than {} bytes", request.limit));
        if wanted && parts.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(RegistryError::invalid("a compressed body, whose digest would not be that of the content"));
        }
        if wanted && incoming.size_hint().lower() > request.limit as u64 {
            return Err(too_large());
        }
        let limit = if wanted { request.limit } else { MAX_ERROR_BODY };
        let announced = incoming.size_hint().exact().map(|exact| usize::try_from(exact).unwrap_or(usize::MAX));
        let mut reserved = self.budget.reserve(request.budget, announced, limit).await;
        let mut hasher = Sha256::new();
        let mut body = Vec::new();
        while let Some(frame) = next_frame(&mut incoming, reserved.until).await? {
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > limit {
                if wanted {
                    return Err(too_large());
                }
                break;
            }
            if body.len() + data.len() > reserved.bytes {
                reserved = self.budget.reserve_long(request.budget, limit).await;
            }
            hasher.update(&data);
            body.extend_from_slice(&data);
        }
        drop(reserved);
        let other_host =
            (request.url.origin() != first.origin()).then(|| request.url.host_str().unwrap_or_default().to_owned());
        Ok(HttpResponse {
            status: parts.status,
            headers: parts.headers,
            version: source.version,
            class: source.class,
            other_host,
            body,
            digest: Digest::of_stream(hasher),
        })
    }
}

/// Returns the error of a request to this address.
fn explain_exchange(error: &hyper_util::client::legacy::Error, url: &Url) -> RegistryError {
    let explained = explain(error);
    let cause = match explained.kind {
        RegistryFailureKind::InvalidAnswer if url.scheme() == "http" => Some(FailureCause::SpeaksTls),
        RegistryFailureKind::Unreachable
            if error.is_connect() && AddressClass::of_host(url) == AddressClass::Loopback =>
        {
            Some(FailureCause::OnlyOnNodes)
        }
        _ => explained.cause,
    };
    RegistryError { cause, ..explained }
}

async fn next_frame(incoming: &mut Incoming, until: Option<Instant>) -> Result<Option<Frame<Bytes>>> {
    let frame = match until {
        None => incoming.frame().await,
        Some(until) => tokio::time::timeout_at(until, incoming.frame()).await.map_err(|_| {
            RegistryError::new(RegistryFailureKind::Timeout, "a long body that does not arrive").of_this_image()
        })?,
    };
    frame.transpose().map_err(|error| explain(&error))
}

/// Returns the class of the server's address. A proxy's address does not tell that of the registry behind it, whose name may stand
/// for any address: the strictest class is assumed.
fn class_of_server(response: &Response<Incoming>, url: &Url) -> AddressClass {
    let info: Option<&HttpInfo> = response.extensions().get();
    let address = match response.extensions().get::<Via>() {
        Some(_) => literal_address(url),
        None => info.map(|info| info.remote_addr().ip()),
    };
    address.map_or(AddressClass::Public, AddressClass::of)
}
