//! What went wrong on the way, before it is known for which reference: made from statuses, bodies and headers. The one error
//! of this module's inner files; `session` decides what of it may be quoted, takes secrets out and makes it a
//! `RegistryFailure`.

use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::manifest::{ManifestProblem, Words};
use super::object::Object;
use super::redaction::cut;
use crate::model::registry_failure::LONGEST_RETRY_AFTER_SECONDS;
use crate::model::registry_failure::RegistryFailureKind;

/// The longest text that is kept of a registry's answer, in bytes; messages show less of it.
pub(super) const LONGEST_QUOTED: usize = 2048;

/// The error codes of the OCI distribution specification 1.1, those that distribution has beside them, and those that Harbor,
/// Quay and Artifactory are known to send. A code that is not listed is foreign text like any other.
pub(super) const CODES: [&str; 27] = [
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DENIED",
    "DIGEST_INVALID",
    "FORBIDDEN",
    "INTERNAL_ERROR",
    "INVALID_REQUEST",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "MANIFEST_UNVERIFIED",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "NOT_FOUND",
    "PAGINATION_NUMBER_INVALID",
    "PROJECTPOLICYVIOLATION",
    "RANGE_INVALID",
    "SIZE_INVALID",
    "TAG_EXPIRED",
    "TAG_INVALID",
    "TOOMANYREQUESTS",
    "TOO_MANY_TAGS_REQUESTED",
    "UNAUTHORIZED",
    "UNAVAILABLE",
    "UNKNOWN",
    "UNSUPPORTED",
];

/// A failure without its reference. Not escaped, not cut to a message's length, secrets not yet taken out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{answer}")]
pub(super) struct Trouble {
    /// What went wrong.
    pub kind: RegistryFailureKind,
    /// What was answered, foreign text included.
    pub answer: String,
    /// The same in our own words: statuses, known error codes and numbers, but no text of the registry's choice. It is what
    /// is shown of a registry that was sent credentials, because it could have written them in any way.
    pub unquoted: String,
    /// Every other image of this registry would meet the same.
    pub whole_registry: bool,
    /// It is the token service that it happened at.
    pub of_token_service: bool,
}

impl Trouble {
    /// A failure in our own words: `answer` must not hold any text of the registry's choice.
    pub(super) fn new(kind: RegistryFailureKind, answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self {
            kind,
            unquoted: answer.clone(),
            answer,
            whole_registry: kind.concerns_whole_registry(),
            of_token_service: false,
        }
    }

    /// A failure that quotes the registry in `answer`, and does not in `unquoted`.
    pub(super) fn quoting(kind: RegistryFailureKind, unquoted: impl Into<String>, answer: &str) -> Self {
        Self { answer: cut(answer, LONGEST_QUOTED).to_owned(), ..Self::new(kind, unquoted) }
    }

    pub(super) fn invalid(answer: impl Into<String>) -> Self {
        Self::new(RegistryFailureKind::InvalidAnswer, answer)
    }

    /// The same, known to concern all images of the registry.
    pub(super) fn of_whole_registry(self) -> Self {
        Self { whole_registry: true, ..self }
    }

    /// The same, known to concern this image alone.
    pub(super) fn of_this_image(self) -> Self {
        Self { whole_registry: false, ..self }
    }

    /// The same, with these words of ours before what was answered.
    pub(super) fn behind(self, words: &str) -> Self {
        Self { answer: format!("{words}{}", self.answer), unquoted: format!("{words}{}", self.unquoted), ..self }
    }

    /// What a refusing status means. `now_seconds` is Unix time, for `Retry-After` with a date.
    pub(super) fn of_status(status: StatusCode, headers: &HeaderMap, body: &[u8], now_seconds: i64) -> Self {
        let retry_after = retry_after_seconds(headers, now_seconds);
        let kind = match status {
            StatusCode::UNAUTHORIZED => RegistryFailureKind::Unauthorized,
            StatusCode::FORBIDDEN => RegistryFailureKind::Forbidden,
            StatusCode::NOT_FOUND | StatusCode::GONE => RegistryFailureKind::NotFound,
            StatusCode::TOO_MANY_REQUESTS => RegistryFailureKind::RateLimited { retry_after_seconds: retry_after },
            StatusCode::SERVICE_UNAVAILABLE if retry_after.is_some() => {
                RegistryFailureKind::RateLimited { retry_after_seconds: retry_after }
            }
            StatusCode::REQUEST_TIMEOUT => RegistryFailureKind::Timeout,
            status if status.is_server_error() => RegistryFailureKind::ServerError,
            _ => RegistryFailureKind::InvalidAnswer,
        };
        let Said { code, text } = said(headers, body);
        let code = code.map(|code| format!(" {code}")).unwrap_or_default();
        Self::quoting(kind, format!("{}{code}", status.as_u16()), &format!("{}{text}", status.as_u16()))
    }
}

impl From<ManifestProblem> for Trouble {
    fn from(problem: ManifestProblem) -> Self {
        match problem {
            ManifestProblem::Invalid(Words { unquoted, quoted }) => {
                Self::quoting(RegistryFailureKind::InvalidAnswer, unquoted, &quoted)
            }
            ManifestProblem::Unsupported(Words { unquoted, quoted }) => {
                Self::quoting(RegistryFailureKind::UnsupportedContent, unquoted, &quoted)
            }
        }
    }
}

/// The distribution specification's error body.
#[derive(Deserialize)]
struct ErrorBody {
    // At most 16 KiB long, as every refusal's body.
    errors: Vec<Object<ErrorEntry>>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// What an error body says.
struct Said {
    /// The first error's code, if it is a known one.
    code: Option<&'static str>,
    /// The first error of the specification's list, or plain text; of anything else only the type.
    text: String,
}

fn said(headers: &HeaderMap, body: &[u8]) -> Said {
    if let Ok(Object(ErrorBody { errors })) = serde_json::from_slice(body)
        && let Some(Object(first)) = errors.first()
    {
        let code = CODES.into_iter().find(|code| *code == first.code);
        return Said { code, text: format!(" {} {}", first.code, first.message).trim_end().to_owned() };
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = if content_type.starts_with("text/plain") {
        format!(" {}", String::from_utf8_lossy(body).trim()).trim_end().to_owned()
    } else if content_type.is_empty() || body.is_empty() {
        String::new()
    } else {
        format!(", {content_type}")
    };
    Said { code: None, text }
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), cut to [`LONGEST_RETRY_AFTER_SECONDS`].
pub(super) fn retry_after_seconds(headers: &HeaderMap, now_seconds: i64) -> Option<u64> {
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
    fn waits_are_read_and_capped() {
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
    fn statuses_have_kinds_and_words() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#;
        let trouble = Trouble::of_status(StatusCode::NOT_FOUND, &HeaderMap::new(), body, 0);
        let kind = RegistryFailureKind::NotFound;
        assert_eq!(trouble, Trouble::quoting(kind, "404 MANIFEST_UNKNOWN", "404 MANIFEST_UNKNOWN manifest unknown"));
        let secret = br#"{"errors":[{"code":"HUNTER_TWO","message":"hunter2"}]}"#;
        let trouble = Trouble::of_status(StatusCode::NOT_FOUND, &HeaderMap::new(), secret, 0);
        assert_eq!(trouble.unquoted, "404", "a code that is not known is foreign text");
        let html = headers(header::CONTENT_TYPE, "text/html");
        let trouble = Trouble::of_status(StatusCode::BAD_GATEWAY, &html, b"<html>", 0);
        assert_eq!((trouble.kind, trouble.answer.as_str()), (RegistryFailureKind::ServerError, "502, text/html"));
        let busy = Trouble::of_status(StatusCode::SERVICE_UNAVAILABLE, &headers(header::RETRY_AFTER, "9"), b"", 0);
        assert_eq!(busy.kind, RegistryFailureKind::RateLimited { retry_after_seconds: Some(9) });
    }
}
