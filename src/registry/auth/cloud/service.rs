//! Requests to the services of a cloud that issue tokens: over our transport, with its limits and TLS rules. Metadata services are
//! reached directly and by their own addresses only, everything else by HTTPS and through the proxy that the environment names.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::de::DeserializeOwned;
use url::Url;
use zeroize::Zeroizing;

use super::clock::CloudClock;
use super::environment::CloudEnvironment;
use super::issued::missing;
use crate::model::RegistryFailureKind;
use crate::registry::access::{Endpoint, RegistrySettings};
use crate::registry::error::{RegistryError, Result, retry_after_seconds};
use crate::registry::http::address::{AddressClass, Reach, names_metadata_service};
use crate::registry::http::budget::RegistryBudget;
use crate::registry::http::request::{HttpRequest, HttpResponse};
use crate::registry::http::transport::Transport;
use crate::registry::json_object::JsonObject;

/// Maximum length of a response, in bytes. Tokens have a few KiB.
const MAX_RESPONSE: usize = 128 * 1024;
/// For one request with its response.
const DEADLINE: Duration = Duration::from_secs(10);
/// The same for a metadata service, which answers from the node or not at all.
const METADATA_DEADLINE: Duration = Duration::from_secs(5);

/// The services of clouds, as this process reaches them.
pub(crate) struct CloudServices<'a> {
    pub environment: &'a CloudEnvironment,
    pub clock: &'a CloudClock,
    /// Through the proxies of the environment.
    pub transport: &'a Transport,
    /// Without any proxy.
    pub direct: &'a Transport,
    pub budget: &'a RegistryBudget,
}

/// A request to a service.
#[derive(Clone)]
pub(crate) struct ServiceRequest {
    /// The service in messages, such as "AWS STS".
    pub service: &'static str,
    pub url: Url,
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Option<Zeroizing<String>>,
    reach: Reach,
}

impl ServiceRequest {
    /// Returns a POST of a form to a service.
    pub(crate) fn form(service: &'static str, url: Url, form: &[(&str, &str)]) -> Self {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        Self::post(service, url, "application/x-www-form-urlencoded", body.finish())
    }

    /// Returns a POST to a service.
    pub(crate) fn post(service: &'static str, url: Url, content_type: &'static str, body: String) -> Self {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let body = Some(Zeroizing::new(body));
        Self { service, url, method: Method::POST, headers, body, reach: Reach::Registry }
    }

    /// Returns a request to a metadata service, without a body.
    pub(crate) fn metadata(service: &'static str, url: Url, method: Method) -> Self {
        Self { service, url, method, headers: HeaderMap::new(), body: None, reach: Reach::CloudMetadata }
    }

    /// Adds a header, marked sensitive if it is `Authorization` or has a token.
    ///
    /// # Errors
    /// The value has characters that a header cannot carry. The error does not quote it.
    pub(crate) fn with_header(mut self, name: &'static str, value: &str) -> Result<Self> {
        let value = HeaderValue::from_str(value);
        let mut value =
            value.map_err(|_| missing(format!("a token for {} cannot be sent in a header", self.service)))?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(self)
    }
}

impl CloudServices<'_> {
    /// Sends a request to a service.
    ///
    /// # Errors
    /// There is no complete response.
    pub(crate) async fn send(&self, request: &ServiceRequest) -> Result<HttpResponse> {
        let base = request.url.join("/").map_err(|_| missing(format!("{} has no address", request.service)))?;
        let settings = RegistrySettings {
            host: request.url.authority().to_owned(),
            plain_http: base.scheme() == "http",
            ..RegistrySettings::default()
        };
        self.send_to(&Endpoint { base, settings }, request).await
    }

    /// Sends a request to a service of a registry, with the registry's own trust settings.
    ///
    /// # Errors
    /// There is no complete response.
    pub(crate) async fn send_to(&self, endpoint: &Endpoint, request: &ServiceRequest) -> Result<HttpResponse> {
        let is_metadata = request.reach == Reach::CloudMetadata;
        let http_request = HttpRequest {
            accept: "*/*",
            confidential: true,
            form: request.body.clone(),
            method: Some(request.method.clone()),
            headers: request.headers.clone(),
            limit: MAX_RESPONSE,
            reach: request.reach,
            redirects: false,
            ..HttpRequest::get(request.url.clone(), self.budget)
        };
        let (transport, deadline) =
            if is_metadata { (self.direct, METADATA_DEADLINE) } else { (self.transport, DEADLINE) };
        let sent = tokio::time::timeout(deadline, transport.send(endpoint, http_request)).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(unavailable(request.service, &error.unquoted, None)),
            Err(_) => {
                return Err(unavailable(request.service, &format!("no whole answer within {deadline:.0?}"), None));
            }
        };
        if !is_metadata {
            self.clock.learn(&response.headers);
        }
        Ok(response)
    }
}

/// Returns the error for a service that issues nothing now.
pub(crate) fn unavailable(service: &str, text: &str, retry_after_seconds: Option<u64>) -> RegistryError {
    RegistryError::new(RegistryFailureKind::CloudUnavailable { retry_after_seconds }, format!("{service}: {text}"))
}

/// Returns the error of a response that says nothing about the identity: the service limits the rate (`is_throttled`: its own error
/// code says so), or fails.
pub(crate) fn outage(service: &str, response: &HttpResponse, is_throttled: bool) -> Option<RegistryError> {
    let status = response.status;
    let limits = is_throttled || status == StatusCode::TOO_MANY_REQUESTS;
    if !limits && !status.is_server_error() && !status.is_redirection() {
        return None;
    }
    let wait = retry_after_seconds(&response.headers, jiff::Timestamp::now().as_second());
    let text = if limits { "limits the rate" } else { "fails" };
    Some(unavailable(service, &format!("it {text} ({})", status.as_u16()), wait))
}

/// Parses a service's response.
///
/// # Errors
/// It is not a JSON object of this shape. The error does not quote it.
pub(crate) fn parse<T: DeserializeOwned>(service: &str, response: &HttpResponse) -> Result<T> {
    let parsed: Result<JsonObject<T>, _> = serde_json::from_slice(&response.body);
    parsed.map(|JsonObject(parsed)| parsed).map_err(|_| unavailable(service, "its response is not understood", None))
}

/// Returns the address of a service: HTTPS, or HTTP on this machine.
///
/// # Errors
/// `place`, the variable or file that the address comes from, has another one.
pub(crate) fn service_url(place: &str, text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| is_plain(url) && !names_metadata_service(url));
    let url = url.filter(|url| url.scheme() == "https" || is_loopback_http(url));
    url.ok_or_else(|| missing(format!("{place} is not an https address")))
}

/// Returns the address of a metadata service: HTTP at one of the addresses and names that clouds have for it, or on this machine.
///
/// # Errors
/// `place`, the variable that the address comes from, has another one.
pub(crate) fn metadata_url(place: &str, text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(is_plain);
    let url = url.filter(|url| is_loopback_http(url) || (url.scheme() == "http" && names_metadata_service(url)));
    url.ok_or_else(|| missing(format!("{place} is not the address of a metadata service")))
}

fn is_plain(url: &Url) -> bool {
    url.has_host() && url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
}

fn is_loopback_http(url: &Url) -> bool {
    url.scheme() == "http" && AddressClass::of_host(url) == AddressClass::Loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_metadata_have_addresses_of_their_own() {
        for (text, service, metadata) in [
            ("https://sts.eu-west-1.amazonaws.com", true, false),
            ("http://127.0.0.1:4566/", true, true),
            ("http://sts.eu-west-1.amazonaws.com", false, false),
            ("http://169.254.169.254/latest", false, true),
            ("https://169.254.169.254/latest", false, false),
            ("http://169.254.170.23/v1/credentials", false, true),
            ("http://[fd00:ec2::23]/v1/credentials", false, true),
            ("http://metadata.google.internal/", false, true),
            ("http://10.0.0.1/", false, false),
            ("http://evil.example/", false, false),
            ("https://me:secret@sts.example/", false, false),
            ("file:///etc/passwd", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (service_url("X", text).is_ok(), metadata_url("X", text).is_ok()),
                (service, metadata),
                "{text}"
            );
        }
    }
}
