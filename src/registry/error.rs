//! The error of this room: why a lookup failed, before the reference is known. It is made from statuses, bodies and headers.
//! `session` decides which of its two messages is shown, redacts it, and turns it into a [`RegistryFailure`].
//!
//! [`RegistryFailure`]: crate::model::RegistryFailure

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::http::redaction::cut;
use super::json_object::JsonObject;
use super::policy_refusal;
use crate::model::{FailureCause, RegistryFailureKind, registry_failure::LONGEST_RETRY_AFTER_SECONDS};

/// Maximum length of the registry's text that a message keeps, in bytes. Shown messages are shorter.
pub(crate) const MAX_QUOTE: usize = 2048;

/// Error codes of the OCI distribution specification 1.1, those that distribution adds, and those that Harbor, Quay and
/// Artifactory send. A code that is not listed is untrusted text like any other.
pub(crate) const CODES: &str = "BLOB_UNKNOWN BLOB_UPLOAD_INVALID BLOB_UPLOAD_UNKNOWN DENIED DIGEST_INVALID FORBIDDEN INTERNAL_ERROR \
    INVALID_REQUEST MANIFEST_BLOB_UNKNOWN MANIFEST_INVALID MANIFEST_UNKNOWN MANIFEST_UNVERIFIED NAME_INVALID \
    NAME_UNKNOWN NOT_FOUND PAGINATION_NUMBER_INVALID PRECONDITION PROJECTPOLICYVIOLATION QUOTA_EXCEEDED RANGE_INVALID \
    SIZE_INVALID TAG_EXPIRED TAG_INVALID TOOMANYREQUESTS TOO_MANY_TAGS_REQUESTED UNAUTHORIZED UNAVAILABLE UNKNOWN UNSUPPORTED";

/// The result of everything that may fail on the way to a registry.
pub(crate) type Result<T, E = RegistryError> = std::result::Result<T, E>;

/// A failed lookup without its reference. Messages are not yet escaped, shortened or redacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RegistryError {
    /// The reason; it also determines the retry.
    pub kind: RegistryFailureKind,
    /// What happened; may quote the registry.
    pub message: String,
    /// The same without text of the registry: statuses, known error codes and numbers, but no text that the registry chose. This
    /// is shown of a registry that received credentials, because it could have written them in any form.
    pub unquoted: String,
    /// Every other image of this registry would fail in the same way.
    pub whole_registry: bool,
    /// The token service failed, not the registry.
    pub of_token_service: bool,
    /// The status of the response, if there was one.
    pub status: Option<StatusCode>,
    /// The registry's error code, if it is a known one.
    pub code: Option<&'static str>,
    /// What the kind alone does not show.
    pub cause: Option<FailureCause>,
    /// Host of the token service that the failure is about: text that the registry chose.
    pub token_service: Option<String>,
}

impl RegistryError {
    /// Returns an error: `message` must not contain text that the registry chose.
    pub(crate) fn new(kind: RegistryFailureKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            kind,
            unquoted: message.clone(),
            message,
            whole_registry: kind.concerns_whole_registry(),
            of_token_service: false,
            status: None,
            code: None,
            cause: None,
            token_service: None,
        }
    }

    /// An error that quotes the registry in `message` but not in `unquoted`.
    pub(crate) fn quoting(kind: RegistryFailureKind, unquoted: impl Into<String>, message: &str) -> Self {
        Self { message: cut(message, MAX_QUOTE).to_owned(), ..Self::new(kind, unquoted) }
    }

    /// The registry sends the controller where it must not go. As [`RegistryError::quoting`].
    pub(crate) fn rejected_target(unquoted: impl Into<String>, message: &str) -> Self {
        Self::quoting(RegistryFailureKind::RefusedTarget, unquoted, message)
    }

    /// A response that contradicts itself or the protocol.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(RegistryFailureKind::InvalidAnswer, message)
    }

    /// The registry requires credentials and none was found or accepted.
    pub(crate) fn unauthorized() -> Self {
        Self::new(RegistryFailureKind::Unauthorized, "it wants credentials and no pull secret names it")
    }

    /// The same error, known to affect all images of the registry.
    pub(crate) fn of_whole_registry(self) -> Self {
        Self { whole_registry: true, ..self }
    }

    /// The same error, known to affect this image alone.
    pub(crate) fn of_this_image(self) -> Self {
        Self { whole_registry: false, ..self }
    }

    /// The same error with a cause that its kind does not show.
    pub(crate) fn because(self, cause: FailureCause) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// The same error with `prefix` before both messages.
    pub(crate) fn prefixed(self, prefix: &str) -> Self {
        Self { message: format!("{prefix}{}", self.message), unquoted: format!("{prefix}{}", self.unquoted), ..self }
    }

    /// Whether the registry rejected the credentials, or the lack of them.
    pub(crate) const fn is_of_credentials(&self) -> bool {
        use RegistryFailureKind::{CredentialsMissing, Forbidden, Unauthorized};
        matches!(self.kind, Unauthorized | Forbidden | CredentialsMissing)
    }

    /// Whether another credential may succeed. Registries respond with 404 for repositories that a user may not see.
    pub(crate) const fn may_try_next_credential(&self) -> bool {
        use RegistryFailureKind::{Forbidden, NotFound, Unauthorized};
        matches!(self.kind, Unauthorized | Forbidden | NotFound)
    }

    /// Whether the registry serves nobody for now, so that asking again at once is no use.
    pub(crate) fn is_of_busy_registry(&self) -> bool {
        matches!(self.kind, RegistryFailureKind::RateLimited { .. })
            || self.status == Some(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// Returns the error that a status other than 200 stands for. `now_seconds` is Unix time, for a `Retry-After` date.
    pub(crate) fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8], now_seconds: i64) -> Self {
        let retry_after_seconds = retry_after_seconds(headers, now_seconds);
        let (code, text) = error_text(headers, body);
        let kind = match status {
            _ if policy_refusal::is_one(status, code, &text) => RegistryFailureKind::RefusedByPolicy,
            // A repository that may not be seen is not missing.
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::GONE if code == Some("UNAUTHORIZED") => {
                RegistryFailureKind::Unauthorized
            }
            StatusCode::NOT_FOUND | StatusCode::GONE if code == Some("DENIED") => RegistryFailureKind::Forbidden,
            status if status.is_client_error() && code == Some("TOOMANYREQUESTS") => {
                RegistryFailureKind::RateLimited { retry_after_seconds }
            }
            StatusCode::UNAUTHORIZED => RegistryFailureKind::Unauthorized,
            StatusCode::FORBIDDEN => RegistryFailureKind::Forbidden,
            StatusCode::NOT_FOUND | StatusCode::GONE => RegistryFailureKind::NotFound,
            StatusCode::TOO_MANY_REQUESTS => RegistryFailureKind::RateLimited { retry_after_seconds },
            StatusCode::SERVICE_UNAVAILABLE if retry_after_seconds.is_some() => {
                RegistryFailureKind::RateLimited { retry_after_seconds }
            }
            StatusCode::REQUEST_TIMEOUT => RegistryFailureKind::Timeout,
            status if status.is_server_error() => RegistryFailureKind::ServerError,
            _ => RegistryFailureKind::InvalidAnswer,
        };
        let is_policy = kind == RegistryFailureKind::RefusedByPolicy;
        let words = is_policy.then(|| policy_refusal::known_words(&text)).flatten();
        let vouched: Vec<String> =
            [Some(status.as_u16().to_string()), code.map(str::to_owned), words].into_iter().flatten().collect();
        let unquoted = vouched.join(" ");
        let cause = (status == StatusCode::BAD_REQUEST).then(|| cause_of_page(body)).flatten();
        Self {
            code,
            status: Some(status),
            cause,
            ..Self::quoting(kind, unquoted, &format!("{}{text}", status.as_u16()))
        }
    }
}

/// The error body of the distribution specification. Its length is bounded, as that of every body of an error response.
#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<JsonObject<ErrorEntry>>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns the first error's code, if it is a known one, and what the body says: the first error of the specification's list, or
/// plain text; of any other body only the content type. Artifactory sends entries with a status in the code's place.
fn error_text(headers: &HeaderMap, body: &[u8]) -> (Option<&'static str>, String) {
    if let Ok(JsonObject(ErrorBody { errors })) = serde_json::from_slice(body)
        && let Some(JsonObject(first)) = errors.first()
    {
        let code = CODES.split(' ').find(|code| *code == first.code);
        let parts = [first.code.as_str(), first.message.as_str()].into_iter().filter(|part| !part.is_empty());
        return (code, parts.flat_map(|part| [" ", part]).collect());
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = if content_type.starts_with("text/plain") {
        format!(" {}", String::from_utf8_lossy(body).trim()).trim_end().to_owned()
    } else if content_type.is_empty() || body.is_empty() {
        String::new()
    } else {
        format!(", {content_type}")
    };
    (None, text)
}

/// Returns the cause that the page of a web server names: nginx, Go and Apache about TLS.
fn cause_of_page(body: &[u8]) -> Option<FailureCause> {
    let page = String::from_utf8_lossy(body);
    let names = |phrases: &[&str]| phrases.iter().any(|phrase| page.contains(phrase));
    if names(&["No required SSL certificate", "The SSL certificate error"]) {
        Some(FailureCause::ClientCertificateRequired)
    } else if names(&[
        "HTTP request was sent to HTTPS port",
        "HTTP request to an HTTPS server",
        "plain HTTP to an SSL-enabled",
    ]) {
        Some(FailureCause::SpeaksTls)
    } else {
        None
    }
}

/// Returns `Retry-After` in seconds, given as seconds or as a date (RFC 9110, section 10.2.3), at most
/// [`LONGEST_RETRY_AFTER_SECONDS`].
pub(crate) fn retry_after_seconds(headers: &HeaderMap, now_seconds: i64) -> Option<u64> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        u64::try_from(date.timestamp().as_second().saturating_sub(now_seconds)).unwrap_or(0)
    };
    Some(seconds.min(LONGEST_RETRY_AFTER_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn retry_after_is_read_and_capped() {
        // 2015-10-21T07:28:00Z is 1445412480.
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("999999999999999999999999", Some(LONGEST_RETRY_AFTER_SECONDS)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(80)),
            ("Wed, 21 Oct 2011 07:28:00 GMT", None),
            ("Fri, 21 Oct 2011 07:28:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after_seconds(&headers(header::RETRY_AFTER, text), 1_445_412_400), expected, "{text}");
        }
        assert_eq!(retry_after_seconds(&HeaderMap::new(), 0), None);
    }

    #[test]
    fn statuses_become_errors_with_messages() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let error = RegistryError::of_status(StatusCode::NOT_FOUND, &HeaderMap::new(), body, 0);
        let kind = RegistryFailureKind::NotFound;
        assert_eq!((error.kind, error.unquoted.as_str()), (kind, "404 MANIFEST_UNKNOWN"));
        assert_eq!(error.message, "404 MANIFEST_UNKNOWN manifest unknown");
        let secret = br#"{"errors":[{"code":"HUNTER_TWO","message":"hunter2"}]}"#;
        let error = RegistryError::of_status(StatusCode::NOT_FOUND, &HeaderMap::new(), secret, 0);
        assert_eq!(error.unquoted, "404", "a code that is not known is foreign text");
        let html = headers(header::CONTENT_TYPE, "text/html");
        let error = RegistryError::of_status(StatusCode::BAD_GATEWAY, &html, b"<html>", 0);
        assert_eq!((error.kind, error.message.as_str()), (RegistryFailureKind::ServerError, "502, text/html"));
        let busy =
            RegistryError::of_status(StatusCode::SERVICE_UNAVAILABLE, &headers(header::RETRY_AFTER, "9"), b"", 0);
        assert_eq!(busy.kind, RegistryFailureKind::RateLimited { retry_after_seconds: Some(9) });
    }
}
