//! The properties (see `crate::properties`) of the parsers of this module. Compiled for tests and fuzzing only.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::credentials::Secret;
use super::docker_config::{DockerConfig, InvalidDockerConfig, matching};
use super::keyring::DOCKER_HUB_NAMES;
use super::realm::checked_realm;
use super::scheme::{self, AuthScheme, BearerChallenge};
use super::token::{self, Token};
use crate::model::{Reference, registry_failure::LONGEST_RETRY_AFTER_SECONDS};
use crate::registry::access::Access;
use crate::registry::properties::first_line;

/// Headers are parsed one by one and bounded, a token challenge reads back as written, and the first of two equal parameters counts.
/// Whatever a challenge says, credentials stay with the owner and a scope requests pulling only.
pub fn challenge(data: &[u8]) {
    let headers: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let schemes = scheme::parse(headers.iter().copied());
    assert!(schemes.len() <= 16);
    let mut apart: Vec<AuthScheme> = headers.iter().take(16).flat_map(|header| scheme::parse([*header])).collect();
    apart.truncate(16);
    assert_eq!(schemes, apart, "parsed together and one by one");
    for scheme in &schemes {
        if let AuthScheme::Bearer(bearer) = scheme {
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
            assert_eq!(scheme::parse([text.as_bytes()]), [AuthScheme::Bearer(bearer.clone())], "{text}");
        }
    }

    let scope = scheme::scope(Some(bearer), "calico/node");
    let name = scope.strip_prefix("repository:").and_then(|rest| rest.strip_suffix(":pull")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    assert!(!name.is_empty() && name.len() <= 256 && name.bytes().all(plain), "{scope:?}");

    let Ok(hub) = "docker.io/calico/node:v1".parse::<Reference>() else { return };
    let Ok((endpoint, _)) = Access::default().endpoint(&hub) else { return };
    if let Ok(url) = checked_realm(&endpoint, bearer, true) {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        assert!(url.scheme() == "https" && (host == "docker.io" || host.ends_with(".docker.io")), "{url}");
        assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    }
}

/// Neither `Debug` nor an error depends on a secret, and credentials match the hosts that their keys name and no others. What is
/// no object is reported. The first line is `host/repository`, the rest the configuration.
pub fn docker_config(data: &[u8]) {
    let (place, text) = first_line(data);
    let place = String::from_utf8_lossy(place);
    let (host, repository) = place.split_once('/').unwrap_or((&place, ""));
    let json: Option<Value> = serde_json::from_slice(text).ok();
    let fields = json.as_ref().and_then(Value::as_object);
    if fields.is_some_and(|fields| fields.keys().any(|key| key != "auths" && key.eq_ignore_ascii_case("auths"))) {
        return;
    }
    let entries = fields.and_then(|fields| fields.get("auths")).and_then(Value::as_object);
    let parsed = DockerConfig::parse_dockerconfigjson(text);
    assert!(parsed.is_err() || json.is_none() || entries.is_some(), "a configuration that is no object");
    pull_secret(&parsed, entries, host, repository);
    pull_secret(&DockerConfig::parse_dockercfg(text), fields, host, repository);
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
            assert!(token::authorization_header("Basic", &basic).is_ok(), "an unusable credential");
        }
    }
    // Unused fields may contain numbers that a `Value` cannot hold.
    let Some(entries) = entries else { return };
    let is_odd = |entry: &Value| !entry.is_object() && !entry.is_null();
    assert!(!entries.values().any(is_odd) || !config.objections().is_empty(), "not an entry: {config:?}");
    assert!(found.is_empty() || entries.keys().any(|key| may_fit(key, host)), "{host:?} has no key: {config:?}");
    let Some(other) = with_other_secrets(entries).ok().filter(|_| config.objections().is_empty()) else { return };
    assert_eq!(format!("{config:?}"), format!("{other:?}"), "Debug depends on a secret");
    for (key, entry) in entries {
        one_entry(key, entry);
    }
}

/// A credential under a plain key matches that key and no name that looks like it.
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
    // An empty port counts as no port.
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

/// A token fits a header, its length and lifetime are bounded, and neither `Debug` nor an error depends on it.
pub fn token_answer(data: &[u8]) {
    let token = match token::parse(data) {
        Ok(token) => token,
        Err(error) => {
            assert_eq!(error.message, error.unquoted, "an error that quotes the response");
            assert!(error.whole_registry && error.message.len() < 200, "{error:?}");
            return;
        }
    };
    let text = token.secret.expose();
    assert!(!text.is_empty() && text.len() <= 64 * 1024 && text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    assert!((1..=LONGEST_RETRY_AFTER_SECONDS).contains(&token.lifetime.as_secs()), "{:?}", token.lifetime);
    let sensitive = token.authorization().is_ok_and(|authorization| authorization.header.is_sensitive());
    assert!(sensitive, "a token that cannot be sent, or that Debug would show");
    let json: Option<Value> = serde_json::from_slice(data).ok();
    let named = |field: &str| json.as_ref().and_then(|json| json.get(field)).and_then(Value::as_str) == Some(text);
    assert!(json.is_none() || named("token") || named("access_token"), "a token that is not in the response");
    let shown = format!("{token:?}");
    let other = Token { secret: Secret::new("other".to_owned()), ..token };
    assert_eq!(shown, format!("{other:?}"), "Debug depends on a secret");
}
