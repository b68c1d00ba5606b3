//! A request to a registry or token service, and its complete response.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use url::Url;
use zeroize::Zeroizing;

use super::address::{AddressClass, Reach};
use super::budget::RegistryBudget;
use crate::model::Digest;
use crate::registry::error::{RegistryError, Result};

/// Maximum length of an error response's body that is read, in bytes.
pub(crate) const MAX_ERROR_BODY: usize = 16 * 1024;

/// A request.
pub(crate) struct HttpRequest<'a> {
    pub url: Url,
    /// Supported media types.
    pub accept: &'static str,
    /// Dropped on any change of origin.
    pub authorization: Option<HeaderValue>,
    /// `authorization` or `form` is a credential, or was derived from one.
    pub confidential: bool,
    /// A form makes the request a POST, which is never redirected.
    pub form: Option<Zeroizing<String>>,
    /// Replaces the method that the other fields imply; for services of clouds.
    pub method: Option<Method>,
    /// Further headers, which replace those of the other fields; for services of clouds, which never redirect.
    pub headers: HeaderMap,
    /// Requests the headers only (HEAD).
    pub head: bool,
    /// Maximum length of the body, in bytes.
    pub limit: usize,
    pub reach: Reach,
    /// Follow redirects.
    pub redirects: bool,
    /// The registry's part of what all registries may use together.
    pub budget: &'a RegistryBudget,
}

impl<'a> HttpRequest<'a> {
    /// Returns a GET request without credentials.
    pub(crate) fn get(url: Url, budget: &'a RegistryBudget) -> Self {
        Self {
            url,
            accept: "application/json",
            authorization: None,
            confidential: false,
            form: None,
            method: None,
            headers: HeaderMap::new(),
            head: false,
            limit: MAX_ERROR_BODY,
            reach: Reach::Registry,
            redirects: true,
            budget,
        }
    }
}

/// A complete response.
pub(crate) struct HttpResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// HTTP version of the registry itself.
    pub version: Version,
    /// Class of the address of the request's first connection.
    pub class: AddressClass,
    /// The host of another origin that sent this response, after redirects. Its headers are not the registry's.
    pub other_host: Option<String>,
    /// The body; of an error response at most its beginning.
    pub body: Vec<u8>,
    /// The SHA-256 of the body as it arrived.
    pub digest: Digest,
}

impl HttpResponse {
    /// Returns the error that a status other than 200 stands for.
    pub(crate) fn error(&self) -> RegistryError {
        RegistryError::of_status(self.status, &self.headers, &self.body, jiff::Timestamp::now().as_second())
    }

    /// Accepts a 200 only: partial content, no content and accepted requests are not what was looked up.
    pub(crate) fn into_success(self) -> Result<Self> {
        if self.status == StatusCode::OK { Ok(self) } else { Err(self.error()) }
    }
}
