//! The rules for redirects: no plain HTTP after HTTPS, no credentials for another origin, and no address that is further in than
//! the registry's.

use http::StatusCode;
use url::Url;

use super::address::{AddressClass, Reach};
use super::request::HttpRequest;
use crate::registry::access::Endpoint;
use crate::registry::error::{RegistryError, Result};

pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Points `request` at the target of a redirect. `first` is the address that the request began with, `class` limits the addresses
/// that the target may have.
pub(crate) fn follow(
    endpoint: &Endpoint,
    first: &Url,
    class: AddressClass,
    request: &mut HttpRequest<'_>,
    target: Url,
) -> Result<()> {
    let rejected = |unquoted: &str, text: String| Err(RegistryError::rejected_target(unquoted, &text));
    let host = target.host_str().unwrap_or_default();
    let stays_plain = target.scheme() == "http" && request.url.scheme() == "http" && endpoint.settings.plain_http;
    if target.scheme() != "https" && !stays_plain {
        return rejected("redirected to an address without TLS", format!("redirected to {}://{host}", target.scheme()));
    }
    if !target.username().is_empty() || target.password().is_some() {
        let text = format!("redirected to {host} with credentials in the address");
        return rejected("redirected to an address with credentials in it", text);
    }
    if target.origin() != request.url.origin() {
        request.authorization = None;
        request.confidential = false;
    }
    if target.origin() != first.origin() && !request.budget.may_lead_to(target.origin().ascii_serialization()) {
        return rejected("redirected to yet another host", format!("redirected to {host}, yet another host"));
    }
    // Back at the registry, but sent there by another host: the limit stays.
    if target.host_str() != first.host_str() || request.reach != Reach::Registry {
        request.reach = Reach::SentBy(class);
    }
    request.url = target;
    Ok(())
}
