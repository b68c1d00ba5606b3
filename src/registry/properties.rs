//! The properties (see `crate::properties`) of the parsers that are private to this module, and the only door to them:
//! challenges, pull secrets, manifests, tokens, lists of tags, refusals, limits, answers of proxies. Compiled for tests and fuzzing only.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::access::Access;
use super::challenge::{self, BearerChallenge, Challenge};
use super::credentials::{DOCKER_HUB_NAMES, DockerConfig, InvalidDockerConfig, Secret, matching};
use super::failure::{self, CODES, LONGEST_QUOTED, Trouble};
use super::manifest::{self, Manifest};
use super::rate::{RateLimit, Turn};
use super::redaction::{self, LONGEST_TEXT, MARK, redacted};
use super::tags;
use super::token::{self, Token};
use super::tunnel::{self, LONGEST_HEAD};
use crate::model::foreign_text::escaped;
use crate::model::platform::Platform;
use crate::model::reference::Reference;
use crate::model::registry_failure::LONGEST_RETRY_AFTER_SECONDS;

/// Media types that a manifest may have.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const IMAGES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// Headers are read one by one and bounded, a token challenge survives being written down, the first of two equal parameters
/// counts, and whatever a challenge says: credentials stay with the owner and a scope only asks for pulling.
pub fn challenge(data: &[u8]) {
    let headers: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let challenges = challenge::read(headers.iter().copied());
    assert!(challenges.len() <= 16);
    let mut apart: Vec<Challenge> = headers.iter().take(16).flat_map(|header| challenge::read([*header])).collect();
    apart.truncate(16);
    assert_eq!(challenges, apart, "read together and one by one");
    for challenge in &challenges {
        if let Challenge::Bearer(bearer) = challenge {
            bearer_challenge(bearer);
        }
    }
}

fn bearer_challenge(bearer: &BearerChallenge) {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut header = format!("Bearer realm=\"{}\"", quoted(&bearer.realm));
    for (name, value) in [("service", &bearer.service), ("scope", &bearer.scope)] {
        header.extend(value.iter().map(|value| format!(",{name}=\"{}\"", quoted(value))));
    }
    let again: String = ["realm", "service", "scope"].iter().map(|name| format!(",{name}=\"other\"")).collect();
    let doubled = match (&bearer.service, &bearer.scope) {
        (Some(_), Some(_)) => format!("{header}{again}"),
        _ => header.clone(),
    };
    for text in [&header, &doubled] {
        if text.len() <= 8 * 1024 {
            assert_eq!(challenge::read([text.as_bytes()]), [Challenge::Bearer(bearer.clone())], "{text}");
        }
    }

    let scope = token::scope(Some(bearer), "calico/node");
    let name = scope.strip_prefix("repository:").and_then(|rest| rest.strip_suffix(":pull")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    assert!(!name.is_empty() && name.len() <= 256 && name.bytes().all(plain), "{scope:?}");

    let Ok(hub) = "docker.io/calico/node:v1".parse::<Reference>() else { return };
    let Ok((endpoint, _)) = Access::default().endpoint(&hub) else { return };
    if let Ok(url) = token::realm(&endpoint, bearer, true) {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        assert!(url.scheme() == "https" && (host == "docker.io" || host.ends_with(".docker.io")), "{url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    }
}

/// Neither `Debug` nor an error depends on a secret, and credentials are found for the hosts that their keys name and for no
/// other. The first line is `host/repository`, the rest the configuration.
pub fn docker_config(data: &[u8]) {
    let (place, text) = first_line(data);
    let place = String::from_utf8_lossy(place);
    let (host, repository) = place.split_once('/').unwrap_or((&place, ""));
    let json: Option<Value> = serde_json::from_slice(text).ok();
    let entries = json.as_ref().and_then(|json| json.get("auths")).and_then(Value::as_object);
    pull_secret(&DockerConfig::parse_dockerconfigjson(text), entries, host, repository);
    let entries = json.as_ref().and_then(Value::as_object);
    pull_secret(&DockerConfig::parse_dockercfg(text), entries, host, repository);
}

type Entries = serde_json::Map<String, Value>;

fn pull_secret(
    parsed: &Result<DockerConfig, InvalidDockerConfig>,
    entries: Option<&Entries>,
    host: &str,
    repository: &str,
) {
    let config = match parsed {
        Ok(config) => config,
        Err(InvalidDockerConfig::Malformed { category, .. }) => {
            assert!(["syntax", "data", "end of file"].contains(category));
            return;
        }
        Err(InvalidDockerConfig::InvalidAuth { host }) => {
            let named = |entries: &Entries| entries.keys().any(|key| key.starts_with(host.as_str()));
            assert!(host.chars().count() <= 100 && entries.is_none_or(named), "{host:?} is no key");
            return;
        }
        Err(_) => return,
    };
    let found = matching([config], host, repository);
    assert_eq!(found, matching([config, config], host, repository), "the same credentials twice");
    for (position, credential) in found.iter().enumerate() {
        assert!(!found[..position].contains(credential), "one credential twice");
        if let Some(basic) = credential.basic() {
            assert!(token::header("Basic", &basic).is_ok(), "what is read can be shown");
        }
    }
    // Numbers that no reader of ours can hold are skipped in fields that do not matter.
    let Some(entries) = entries else { return };
    assert!(found.is_empty() || entries.keys().any(|key| may_fit(key, host)), "{host:?} has no key: {config:?}");
    let Ok(other) = with_other_secrets(entries) else { return };
    assert_eq!(format!("{config:?}"), format!("{other:?}"), "Debug depends on a secret");
    for (key, entry) in entries {
        one_entry(key, entry);
    }
}

/// A credential under a plain key serves that key and no name that only looks like it.
fn one_entry(key: &str, entry: &Value) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".:-/".contains(&byte);
    let Ok(config) = parsed(&[(key.to_owned(), entry.clone())].into_iter().collect()) else { return };
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    if host.is_empty() || path.starts_with(['/', 'v']) || !key.bytes().all(plain) {
        return;
    }
    assert_eq!(matching([&config], host, &format!("{path}/x")).len(), 1, "{key:?} does not serve its own host");
    for other in [format!("{host}.evil.example"), format!("evil-{host}"), format!("{host}0"), format!("x.{host}")] {
        assert!(matching([&config], &other, &format!("{path}/x")).is_empty(), "{key:?} serves {other:?}");
    }
    if !path.is_empty() {
        assert!(matching([&config], host, &format!("X{path}")).is_empty(), "{key:?} serves another path");
    }
}

/// The kubelet's rule in a coarse form: as many name parts, and the same host where there is no glob.
fn may_fit(key: &str, host: &str) -> bool {
    let key = key.trim();
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    // An empty port is none.
    let plain = |host: &str| host.strip_suffix(':').unwrap_or(host).to_ascii_lowercase();
    let (key, host) = (plain(key.split('/').next().unwrap_or_default()), plain(host));
    let is_hub = |name: &str| DOCKER_HUB_NAMES.contains(&name);
    let globs = key.contains(['*', '?']) && key.split('.').count() == host.split('.').count();
    let hub_globs = key.contains(['*', '?']) && is_hub(&host);
    key == host || (is_hub(&key) && is_hub(&host)) || globs || hub_globs
}

fn parsed(entries: &Entries) -> Result<DockerConfig, InvalidDockerConfig> {
    let text = serde_json::to_vec(entries).unwrap_or_default();
    DockerConfig::parse_dockercfg(&text)
}

/// The same configuration with other users, passwords and tokens.
fn with_other_secrets(entries: &Entries) -> Result<DockerConfig, InvalidDockerConfig> {
    let mut entries = entries.clone();
    for entry in entries.values_mut().filter_map(Value::as_object_mut) {
        for (field, other) in [
            ("auth", STANDARD.encode("somebody:else")),
            ("username", "somebody".to_owned()),
            ("password", "else".to_owned()),
            ("identitytoken", "other".to_owned()),
            ("registrytoken", "other".to_owned()),
        ] {
            if let Some(Value::String(text)) = entry.get_mut(field)
                && !text.is_empty()
            {
                *text = other;
            }
        }
    }
    parsed(&entries)
}

/// What was understood is in the bytes: digests that the body names, platforms that read back, one media type, and the same
/// meaning with and without the header. The first line is the `Content-Type`, the rest the body.
pub fn manifest(data: &[u8]) {
    let (header, body) = first_line(data);
    let header = std::str::from_utf8(header).ok().map(str::trim);
    let read = manifest::read(body, header);
    if let (Ok(with), Ok(without)) = (&read, manifest::read(body, None)) {
        assert_eq!(*with, without, "read in two ways");
    }
    let named = serde_json::from_slice(body).ok().map(|value| {
        let mut digests = BTreeSet::new();
        digests_in(&value, &mut digests);
        digests
    });
    let is_named = |digest: String| {
        let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let hexadecimal = digest.strip_prefix("sha256:").unwrap_or_default();
        assert!(hexadecimal.len() == 64 && hexadecimal.bytes().all(plain), "{digest}");
        assert!(named.as_ref().is_none_or(|named| named.contains(&digest)), "{digest} is not in the body");
    };
    match &read {
        Ok(Manifest::Index { media_type, children, .. }) => {
            assert!(INDEXES.contains(&media_type.as_str()), "{media_type}");
            let platforms: BTreeSet<&Platform> = children.iter().map(|child| &child.platform).collect();
            assert!(!platforms.is_empty() && platforms.len() <= 256, "{} platforms", platforms.len());
            for child in children {
                is_named(child.digest.to_string());
                reads_back(&child.platform);
                assert!(!child.platform.is_unknown());
            }
        }
        Ok(Manifest::Image { media_type, config, .. }) => {
            assert!(IMAGES.contains(&media_type.as_str()), "{media_type}");
            is_named(config.to_string());
        }
        Err(problem) => shown_safely(&problem.to_string()),
    }
    match manifest::read_configuration(body) {
        Ok(configuration) => reads_back(&configuration.platform),
        Err(problem) => shown_safely(&problem.to_string()),
    }
}

fn reads_back(platform: &Platform) {
    assert_eq!(platform.to_string().parse().as_ref(), Ok(platform));
}

fn shown_safely(text: &str) {
    let shown = escaped(text);
    assert!(shown.len() <= 1024 && shown.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{shown:?}");
}

fn digests_in(value: &Value, digests: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(digest)) = fields.get("digest") {
                digests.insert(digest.clone());
            }
            fields.values().for_each(|value| digests_in(value, digests));
        }
        Value::Array(values) => values.iter().for_each(|value| digests_in(value, digests)),
        _ => {}
    }
}

/// A token fits a header and a bound, lives for a bounded time, and neither `Debug` nor an error depends on it.
pub fn token_answer(data: &[u8]) {
    let token = match token::read(data) {
        Ok(token) => token,
        Err(trouble) => {
            assert_eq!(trouble.answer, trouble.unquoted, "an error that quotes the answer");
            assert!(trouble.whole_registry && trouble.answer.len() < 200, "{trouble:?}");
            return;
        }
    };
    let text = token.secret.expose();
    assert!(!text.is_empty() && text.len() <= 64 * 1024 && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    assert!((1..=LONGEST_RETRY_AFTER_SECONDS).contains(&token.life.as_secs()), "{:?}", token.life);
    let sensitive = token.authorization().is_ok_and(|authorization| authorization.header.is_sensitive());
    assert!(sensitive, "a token that was read can be shown, and is not shown by Debug");
    let json: Option<Value> = serde_json::from_slice(data).ok();
    let named = |field: &str| json.as_ref().and_then(|json| json.get(field)).and_then(Value::as_str) == Some(text);
    assert!(json.is_none() || named("token") || named("access_token"), "a token that is not in the answer");
    let shown = format!("{token:?}");
    let other = Token { secret: Secret::new("other".to_owned()), ..token };
    assert_eq!(shown, format!("{other:?}"), "Debug depends on a secret");
}

/// Every release of a page is one of its tags, and the next page is of the same list of the same registry. The first line is
/// the `Link` header, the rest the page.
pub fn tags_page(data: &[u8]) {
    const REPOSITORY: &str = "tigera/operator";
    let (link, body) = first_line(data);
    if let Ok(releases) = tags::page(body)
        && let Ok(json) = serde_json::from_slice::<Value>(body)
    {
        let tags: BTreeSet<&str> =
            json.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(releases.iter().all(|release| tags.iter().any(|tag| tag.parse().as_ref() == Ok(release))));
        assert!(releases.len() <= tags.len());
    }
    let Ok(link) = std::str::from_utf8(link) else { return };
    let next = match tags::next_page(link, REPOSITORY) {
        Ok(Some(next)) => next,
        Ok(None) => return,
        Err(trouble) => return assert_eq!(trouble.answer, trouble.unquoted, "an error that quotes the header"),
    };
    let Ok(base) = url::Url::parse("https://registry.example:5000/") else { return };
    let url = base.join(&format!("v2/{REPOSITORY}/{next}"));
    assert!(url.is_ok(), "{next:?} makes no address");
    let Ok(url) = url else { return };
    assert_eq!((url.origin(), url.path()), (base.origin(), "/v2/tigera/operator/tags/list"), "{next:?}");
    assert!(url.username().is_empty() && url.fragment().is_none() && next.len() <= 2100, "{next:?}");
}

/// Of a refusal, our own words are a status and a known code. What is quoted is bounded; redaction leaves no secret, is
/// bounded, and changes nothing the second time. The first line is the status, the second the content type, the third
/// secrets with spaces between them, the rest the body.
pub fn error_body(data: &[u8]) {
    let (status, rest) = first_line(data);
    let (content_type, rest) = first_line(rest);
    let (secrets, body) = first_line(rest);
    let status = std::str::from_utf8(status).ok().and_then(|status| status.trim().parse::<u16>().ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::FORBIDDEN);
    let content_type = HeaderValue::from_bytes(content_type).ok().map(|value| (header::CONTENT_TYPE, value));
    let trouble = Trouble::of_status(status, &HeaderMap::from_iter(content_type), body, 0);
    let code = trouble.unquoted.strip_prefix(status.as_str()).unwrap_or("is not at the beginning");
    assert!(code.is_empty() || CODES.contains(&code.trim_start()), "{:?}", trouble.unquoted);
    assert!(trouble.answer.len() <= LONGEST_QUOTED && trouble.answer.starts_with(status.as_str()));

    let secrets = String::from_utf8_lossy(secrets);
    let secrets: Vec<Secret> = secrets.split(' ').take(64).map(|secret| Secret::new(secret.to_owned())).collect();
    for text in [trouble.answer.as_str(), &String::from_utf8_lossy(body)] {
        taken_out(text, &secrets);
    }
}

fn taken_out(text: &str, secrets: &[Secret]) {
    let once = redacted(text, secrets);
    assert!(once.len() <= LONGEST_TEXT, "{} bytes", once.len());
    assert_eq!(redacted(&once, secrets), once, "another text the second time");
    for form in secrets.iter().flat_map(redaction::forms) {
        let mut left = once.split(MARK);
        assert!(!left.any(|part| part.to_ascii_lowercase().contains(form.as_str())), "{form:?} is left in {once:?}");
    }
    let none: [Secret; 0] = [];
    if text.len() <= LONGEST_TEXT {
        assert_eq!(redacted(text, &none), text, "nothing is taken out of it");
    }
}

/// However limits and waits are written, half of a limit is left and no wait is longer than ours. One header a line:
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
        let wait = failure::retry_after_seconds(&headers, now);
        assert!(wait.is_none_or(|wait| wait <= LONGEST_RETRY_AFTER_SECONDS), "{wait:?}");
    }
    let now = Instant::now();
    let Some(mut limit) = RateLimit::read(&headers, now) else { return };
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
    // What is announced later is believed if it is lower, whatever is under way.
    let later = limit.clone();
    limit.update(later);
    (0..310).for_each(|_| limit.give_back());
    assert_eq!(limit.take().ok(), (most > 0).then_some(Turn::Taken), "as at first");
}

/// Of a proxy's answer to CONNECT the head is read and not a byte more; its status is one of HTTP/1.
pub fn connect_answer(data: &[u8]) {
    let mut rest = data;
    let read = tunnel::head(&mut rest).now_or_never();
    assert!(read.is_some(), "bytes that are there are waited for");
    let Some(read) = read else { return };
    let taken = &data[..data.len() - rest.len()];
    assert!(taken.len() <= LONGEST_HEAD);
    let end = data.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let Ok(head) = read else { return assert!(end.is_none() && rest.is_empty(), "a whole head is lost") };
    assert_eq!(head, taken, "what was taken is the head");
    assert!(end.is_none_or(|end| taken.len() == end.min(LONGEST_HEAD)), "more or less than the head");
    let Some(status) = tunnel::status_of(&head) else { return };
    assert!(head.starts_with(b"HTTP/1.") && head.ends_with(b"\r\n\r\n") && (100..1000).contains(&status));
    assert!(
        head.split(|byte| *byte == b'\r')
            .next()
            .is_some_and(|line| String::from_utf8_lossy(line).contains(&status.to_string()))
    );
}

/// A reference is asked for at the host and port that it names (Docker Hub apart), or not at all.
pub fn asked_where_it_says(reference: &Reference) {
    let Ok((endpoint, repository)) = Access::default().endpoint(reference) else { return };
    if DOCKER_HUB_NAMES.contains(&reference.registry()) {
        let official = if reference.repository().contains('/') { "" } else { "library/" };
        assert_eq!(repository, format!("{official}{}", reference.repository()));
        assert_eq!(endpoint.base.as_str(), "https://registry-1.docker.io/");
        return;
    }
    assert_eq!(repository, reference.repository());
    let registry = reference.registry().to_ascii_lowercase();
    let (name, port) = match registry.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (registry.as_str(), Some(443)),
    };
    let same_address = |asked: &str| {
        let address = |text: &str| text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>();
        address(asked).is_ok() && address(asked) == address(name)
    };
    let asked = endpoint.base.host_str().unwrap_or_default();
    assert!(asked == name || same_address(asked), "{reference} is asked for at {asked}");
    assert_eq!(endpoint.base.port_or_known_default(), port, "{reference}");
    assert_eq!((endpoint.base.scheme(), endpoint.base.path()), ("https", "/"));
}

fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}
