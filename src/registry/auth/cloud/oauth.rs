//! OAuth token endpoints of Google and Microsoft (RFC 6749, sections 5.1 and 5.2): their tokens, and their error codes.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::issued::rejected;
use super::service::{outage, parse, unavailable};
use crate::registry::auth::credentials::Secret;
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::request::HttpResponse;
use crate::registry::json_object::JsonObject;

/// Error codes that messages quote: those of RFC 6749 and RFC 8693, and the statuses of Google's APIs.
const CODES: &str = "access_denied invalid_client invalid_grant invalid_request invalid_resource invalid_scope invalid_target \
    unauthorized_client unsupported_grant_type INVALID_ARGUMENT FAILED_PRECONDITION NOT_FOUND PERMISSION_DENIED UNAUTHENTICATED";
/// Lifetime of a token whose service names none.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// Maximum lifetime that is believed.
const MAX_LIFETIME_SECONDS: u64 = 24 * 3600;

/// A token.
pub(crate) struct AccessToken {
    pub token: Secret,
    pub lifetime: Duration,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Secret,
    /// A number, or a number in a text (Azure's metadata service).
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())))
}

#[derive(Deserialize)]
struct ErrorResponse {
    error: Value,
    /// Of Microsoft, such as 700213.
    #[serde(default)]
    error_codes: Vec<u64>,
}

/// Returns the token of a response.
///
/// # Errors
/// The service is not available, or rejects the identity; `rejection` says which, and what to do about it.
pub(crate) fn access_token(
    service: &str,
    response: &HttpResponse,
    rejection: impl FnOnce() -> String,
) -> Result<AccessToken> {
    check(service, response, rejection)?;
    let TokenResponse { access_token, expires_in } = parse(service, response)?;
    if access_token.is_empty() {
        return Err(unavailable(service, "it answers without a token", None));
    }
    let lifetime =
        expires_in.map_or(DEFAULT_LIFETIME, |seconds| Duration::from_secs(seconds.min(MAX_LIFETIME_SECONDS)));
    Ok(AccessToken { token: access_token, lifetime })
}

/// Accepts a 200 only.
///
/// # Errors
/// As [`access_token`].
pub(crate) fn check(service: &str, response: &HttpResponse, rejection: impl FnOnce() -> String) -> Result<()> {
    if response.status == StatusCode::OK {
        return Ok(());
    }
    Err(outage(service, response, false).unwrap_or_else(|| rejection_of(service, response, &rejection())))
}

fn rejection_of(service: &str, response: &HttpResponse, text: &str) -> RegistryError {
    let mut code = response.status.as_u16().to_string();
    if let Ok(JsonObject(ErrorResponse { error, error_codes })) = serde_json::from_slice(&response.body) {
        let named = error.as_str().or_else(|| error.get("status")?.as_str()).unwrap_or_default();
        if let Some(known) = CODES.split_whitespace().find(|known| *known == named) {
            code = format!("{code} {known}");
        }
        if let Some(number) = error_codes.first() {
            code = format!("{code} AADSTS{number}");
        }
    }
    rejected(format!("{service} ({code}) rejects {text}"))
}
