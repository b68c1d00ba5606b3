//! The properties (see `crate::properties`) of the parsers of this module. Compiled for tests and fuzzing only.

use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::rate_limit::{RateLimit, Turn};
use super::redaction::{self, MARK, MAX_TEXT, redacted};
use super::tunnel::{self, MAX_HEAD};
use crate::model::{RegistryFailureKind, registry_failure::LONGEST_RETRY_AFTER_SECONDS};
use crate::registry::auth::credentials::Secret;
use crate::registry::error::{CODES, MAX_QUOTE, RegistryError, retry_after_seconds};
use crate::registry::policy_refusal;
use crate::registry::properties::first_line;

/// The unquoted message of an error response is a status, a known code and of a refusal by policy known words, and the quote is bounded. Redaction leaves no secret, is
/// bounded, and changes nothing the second time. The first line is the status, the second the content type, the third secrets with
/// spaces between them, the rest the body.
pub fn error_body(data: &[u8]) {
    let (status, rest) = first_line(data);
    let (content_type, rest) = first_line(rest);
    let (secrets, body) = first_line(rest);
    let status = std::str::from_utf8(status).ok().and_then(|status| status.trim().parse::<u16>().ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::FORBIDDEN);
    let content_type = HeaderValue::from_bytes(content_type).ok().map(|value| (header::CONTENT_TYPE, value));
    let error = RegistryError::of_status(status, &HeaderMap::from_iter(content_type), body, 0);
    let rest = error.unquoted.strip_prefix(status.as_str()).unwrap_or("is not at the beginning").trim_start();
    let words = CODES.split(' ').find_map(|code| rest.strip_prefix(code)).unwrap_or(rest);
    let may_have_words = error.kind == RegistryFailureKind::RefusedByPolicy;
    let is_known = |word: &str| may_have_words && policy_refusal::is_known_word(word);
    assert!(words.split_whitespace().all(is_known), "{:?}", error.unquoted);
    assert!(error.message.len() <= MAX_QUOTE && error.message.starts_with(status.as_str()));

    let secrets = String::from_utf8_lossy(secrets);
    let secrets: Vec<Secret> = secrets.split(' ').take(64).map(|secret| Secret::new(secret.to_owned())).collect();
    for text in [error.message.as_str(), &String::from_utf8_lossy(body)] {
        redacted_safely(text, &secrets);
    }
}

fn redacted_safely(text: &str, secrets: &[Secret]) {
    let once = redacted(text, secrets);
    assert!(once.len() <= MAX_TEXT, "{} bytes", once.len());
    assert_eq!(redacted(&once, secrets), once, "another text the second time");
    for form in secrets.iter().flat_map(redaction::forms) {
        let mut left = once.split(MARK);
        assert!(!left.any(|part| part.to_ascii_lowercase().contains(form.as_str())), "{form:?} is left in {once:?}");
    }
    let none: [Secret; 0] = [];
    if text.len() <= MAX_TEXT {
        assert_eq!(redacted(text, &none), text, "redacted without a secret");
    }
}

/// Whatever the headers say, half of a limit is left and waits are bounded. One header a line:
/// `RateLimit-Limit`, `RateLimit-Remaining`, `RateLimit-Reset`, `Retry-After`.
pub fn rate_headers(data: &[u8]) {
    let names = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
    let mut headers = HeaderMap::new();
    for (name, line) in names.into_iter().zip(data.split(|byte| *byte == b'\n')) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    for now in [0, 1_445_412_400, i64::MAX, i64::MIN] {
        let wait = retry_after_seconds(&headers, now);
        assert!(wait.is_none_or(|wait| wait <= LONGEST_RETRY_AFTER_SECONDS), "{wait:?}");
    }
    let now = Instant::now();
    let Some(mut limit) = RateLimit::parse(&headers, now) else { return };
    assert!(!limit.is_over(now));
    assert!(limit.is_over(now + std::time::Duration::from_secs(LONGEST_RETRY_AFTER_SECONDS)));
    let number =
        |name: &str| -> Option<u64> { headers.get(name)?.to_str().ok()?.split(';').next()?.trim().parse().ok() };
    let numbers = number("ratelimit-limit").zip(number("ratelimit-remaining"));
    assert!(numbers.is_some(), "a limit without numbers: {headers:?}");
    let (all, remaining) = numbers.unwrap_or_default();
    let most = remaining.saturating_sub(all.div_ceil(2));
    for taken in 0..most.min(300) {
        assert_eq!(limit.take().ok(), Some(Turn::Taken), "{taken} of {most}");
    }
    if most < 300 {
        assert_ne!(limit.take().ok(), Some(Turn::Taken), "more than half of {all} with {remaining} left");
    }
    // A later announcement counts if it is lower, whatever is under way.
    let later = limit.clone();
    limit.update(later);
    (0..310).for_each(|_| limit.give_back());
    assert_eq!(limit.take().ok(), (most > 0).then_some(Turn::Taken), "as at first");
}

/// Of a proxy's response to CONNECT exactly the head is read, and its status is one of HTTP/1.
pub fn connect_answer(data: &[u8]) {
    let mut rest = data;
    let read = tunnel::head(&mut rest).now_or_never();
    assert!(read.is_some(), "waits although all bytes are available");
    let Some(read) = read else { return };
    let taken = &data[..data.len() - rest.len()];
    assert!(taken.len() <= MAX_HEAD);
    let end = data.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let Ok(head) = read else { return assert!(end.is_none() && rest.is_empty(), "a whole head is lost") };
    assert_eq!(head, taken, "the head is not what was read");
    assert!(end.is_none_or(|end| taken.len() == end.min(MAX_HEAD)), "more or less than the head");
    let Some(status) = tunnel::status_of(&head) else { return };
    assert!(head.starts_with(b"HTTP/1.") && head.ends_with(b"\r\n\r\n") && (100..1000).contains(&status));
    assert!(
        head.split(|byte| *byte == b'\r')
            .next()
            .is_some_and(|line| String::from_utf8_lossy(line).contains(&status.to_string()))
    );
}
