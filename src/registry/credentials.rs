//! Pull secrets: reads Docker's configuration forms and finds the credentials for a repository as the kubelet does
//! (`pkg/credentialprovider/keyring.go`). Pure. Secrets are wiped from memory and never shown by `Debug`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Docker Hub's names: what references say, what `docker login` writes, and where images really are.
pub const DOCKER_HUB_NAMES: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// The largest configuration that is read, in bytes; a Kubernetes Secret holds at most 1 MiB.
const LARGEST_CONFIG: usize = 1024 * 1024;

/// A text that is wiped when dropped and that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one request that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// How to prove who we are to one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password: for the registry itself, or for its token service.
    Password {
        /// The user.
        username: Secret,
        /// The password, or an access token used as one.
        password: Secret,
    },
    /// A refresh token for the token service (`identitytoken`).
    IdentityToken(Secret),
    /// A token for the registry itself (`registrytoken`).
    RegistryToken(Secret),
}

impl Credential {
    /// `user:password` in base64 for `Authorization: Basic`; `None` for tokens.
    #[must_use]
    pub fn basic(&self) -> Option<Secret> {
        let Self::Password { username, password } = self else { return None };
        let pair = Zeroizing::new(format!("{}:{}", username.expose(), password.expose()));
        Some(Secret::new(base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())))
    }

    /// Every text that must never be written anywhere.
    #[must_use]
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::Password { password, .. } => [Some(password.clone()), self.basic()].into_iter().flatten().collect(),
            Self::IdentityToken(token) | Self::RegistryToken(token) => vec![token.clone()],
        }
    }
}

/// The configuration cannot be used. Never quotes the configuration's values, only names of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDockerConfig {
    /// Not JSON of the expected shape.
    #[error("it is not a Docker configuration: {category} error at line {line}, column {column}")]
    Malformed {
        /// Syntax, data or end of file.
        category: &'static str,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// Larger than a Secret can be.
    #[error("it is larger than {LARGEST_CONFIG} bytes")]
    TooLarge,
    /// `auth` is not base64 of `user:password`.
    #[error("auth of {host:?} is not base64 of user:password")]
    InvalidAuth {
        /// The entry's key.
        host: String,
    },
    /// Credential helpers run on the machine where somebody logged in, not here.
    #[error("it names a credential helper (credsStore or credHelpers) instead of credentials; log in without one")]
    HelperOnly,
    /// Nothing in it.
    #[error("it holds no credentials at all")]
    Empty,
}

/// The credentials of one pull secret, by registry host and path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DockerConfig {
    /// Key as the kubelet normalises it (no scheme, no `/v1/`) and credential, in order of the text.
    entries: Vec<(String, Credential)>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl DockerConfig {
    /// One user and password for a host or `host/path` (settings that are not a pull secret, and tests).
    #[must_use]
    pub fn of_password(host: &str, username: &str, password: &str) -> Self {
        let credential = Credential::Password {
            username: Secret::new(username.to_owned()),
            password: Secret::new(password.to_owned()),
        };
        Self { entries: vec![(normalised(host), credential)] }
    }

    /// One identity token for a host, as a credential helper gives it.
    #[must_use]
    pub fn of_identity_token(host: &str, token: Secret) -> Self {
        Self { entries: vec![(normalised(host), Credential::IdentityToken(token))] }
    }

    /// Reads `.dockerconfigjson` (`{"auths": {host: …}}`).
    ///
    /// # Errors
    /// The text is no such configuration, or one of its entries cannot be used. There is no fallback to the others.
    pub fn parse_dockerconfigjson(text: &[u8]) -> Result<Self, InvalidDockerConfig> {
        let file: ConfigFile = parse(text)?;
        if file.auths.is_empty() && (file.store.is_some() || !file.helpers.is_empty()) {
            return Err(InvalidDockerConfig::HelperOnly);
        }
        Self::of_entries(file.auths, file.store.is_some() || !file.helpers.is_empty())
    }

    /// Reads the legacy `.dockercfg` (`{host: …}`).
    ///
    /// # Errors
    /// As [`DockerConfig::parse_dockerconfigjson`].
    pub fn parse_dockercfg(text: &[u8]) -> Result<Self, InvalidDockerConfig> {
        Self::of_entries(parse(text)?, false)
    }

    /// All of them, whatever they are for.
    pub fn credentials(&self) -> impl Iterator<Item = &Credential> {
        self.entries.iter().map(|(_, credential)| credential)
    }

    fn of_entries(parsed: BTreeMap<String, Entry>, helpers: bool) -> Result<Self, InvalidDockerConfig> {
        let mut entries = Vec::new();
        for (host, entry) in parsed {
            if let Some(credential) = credential(&host, entry)? {
                entries.push((normalised(&host), credential));
            }
        }
        match (entries.is_empty(), helpers) {
            (true, true) => Err(InvalidDockerConfig::HelperOnly),
            (true, false) => Err(InvalidDockerConfig::Empty),
            (false, _) => Ok(Self { entries }),
        }
    }
}

/// The credentials of several configurations that fit a repository, the more specific key first and in order of the
/// configurations where keys are equal. The kubelet tries them all in this order.
#[must_use]
pub fn matching<'a>(
    configs: impl IntoIterator<Item = &'a DockerConfig>,
    host: &str,
    repository: &str,
) -> Vec<&'a Credential> {
    let mut found: Vec<(&str, &Credential)> = configs
        .into_iter()
        .flat_map(|config| &config.entries)
        .filter(|(key, _)| fits(key, host, repository))
        .map(|(key, credential)| (key.as_str(), credential))
        .collect();
    // Not by length: the kubelet sorts the texts backwards, so a key with a path comes before the host alone, and names
    // before globs.
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    let mut credentials: Vec<&Credential> = Vec::new();
    for (_, credential) in found {
        if !credentials.contains(&credential) {
            credentials.push(credential);
        }
    }
    credentials
}

fn parse<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, InvalidDockerConfig> {
    if text.len() > LARGEST_CONFIG {
        return Err(InvalidDockerConfig::TooLarge);
    }
    // The library's own message can quote a value, and so a password.
    serde_json::from_slice(text).map_err(|error| InvalidDockerConfig::Malformed {
        category: match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Eof => "end of file",
            serde_json::error::Category::Syntax => "syntax",
            serde_json::error::Category::Data => "data",
        },
        line: error.line(),
        column: error.column(),
    })
}

/// What an entry offers, the strongest first: a registry's token, an identity token, a pair of user and password. An entry
/// without anything (as `docker logout` leaves) counts for nothing.
fn credential(host: &str, entry: Entry) -> Result<Option<Credential>, InvalidDockerConfig> {
    let given = |secret: Option<Secret>| secret.filter(|secret| !secret.expose().is_empty());
    if let Some(token) = given(entry.registrytoken) {
        return Ok(Some(Credential::RegistryToken(token)));
    }
    if let Some(token) = given(entry.identitytoken) {
        return Ok(Some(Credential::IdentityToken(token)));
    }
    if let Some(auth) = given(entry.auth) {
        let (username, password) = decoded(&auth)
            .ok_or_else(|| InvalidDockerConfig::InvalidAuth { host: host.chars().take(100).collect() })?;
        return Ok(Some(Credential::Password { username, password }));
    }
    match (given(entry.username), given(entry.password)) {
        (Some(username), Some(password)) => Ok(Some(Credential::Password { username, password })),
        (None, None) => Ok(None),
        _ => Err(InvalidDockerConfig::InvalidAuth { host: host.chars().take(100).collect() }),
    }
}

/// `user:password` from base64 of the standard or the URL alphabet, padded or not.
fn decoded(auth: &Secret) -> Option<(Secret, Secret)> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let text = auth.expose().trim();
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
    let bytes = Zeroizing::new(decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE))?);
    let (username, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    // Old clients padded the password with NUL.
    let password = password.trim_end_matches('\0');
    let plain = |text: &str| !text.chars().any(char::is_control);
    (!username.is_empty() && plain(username) && plain(password))
        .then(|| (Secret::new(username.to_owned()), Secret::new(password.to_owned())))
}

/// A key without scheme and API version, as the kubelet keeps it; Docker Hub under its one name. Like the kubelet: `/v1` is
/// an API version only with a slash behind it, and a slash behind a path belongs to the path.
fn normalised(key: &str) -> String {
    let key = key.trim();
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = path.strip_prefix("v1/").or_else(|| path.strip_prefix("v2/")).unwrap_or(path);
    let host = canonical(host);
    if path.is_empty() { host } else { format!("{host}/{path}") }
}

/// A host in lower case, Docker Hub under its one name.
fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if DOCKER_HUB_NAMES.contains(&host.as_str()) { DOCKER_HUB_NAMES[0].to_owned() } else { host }
}

/// The kubelet's rule: the same port, as many name parts each matching as a glob, and a path that begins with the key's.
fn fits(key: &str, host: &str, repository: &str) -> bool {
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let host = canonical(host);
    let ((key_name, key_port), (name, port)) = (split_port(key_host), split_port(&host));
    let (key_parts, parts): (Vec<&str>, Vec<&str>) = (key_name.split('.').collect(), name.split('.').collect());
    key_port == port
        && key_parts.len() == parts.len()
        && key_parts.iter().zip(&parts).all(|(glob, part)| glob_matches(glob.as_bytes(), part.as_bytes()))
        && repository.starts_with(key_path)
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    }
}

/// `*` and `?` within one part of a name. Takes at most the product of both lengths.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut glob_at, mut text_at, mut star) = (0, 0, None);
    while text_at < text.len() {
        match glob.get(glob_at) {
            Some(b'*') => {
                star = Some((glob_at, text_at));
                glob_at += 1;
            }
            Some(b'?') => (glob_at, text_at) = (glob_at + 1, text_at + 1),
            Some(byte) if *byte == text[text_at] => (glob_at, text_at) = (glob_at + 1, text_at + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (glob_at, text_at) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob[glob_at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap()
    }

    fn users(configs: &[DockerConfig], host: &str, repository: &str) -> Vec<String> {
        matching(configs, host, repository)
            .into_iter()
            .map(|credential| match credential {
                Credential::Password { username, password } => format!("{}:{}", username.expose(), password.expose()),
                Credential::IdentityToken(token) => format!("identity {}", token.expose()),
                Credential::RegistryToken(token) => format!("registry {}", token.expose()),
            })
            .collect()
    }

    #[test]
    fn every_form_of_an_entry_is_read() {
        // dXNlcjpwPz4= is user:p?> in the standard alphabet; the URL alphabet writes no + or /.
        for (entry, expected) in [
            (r#"{"auth": "dXNlcjpwYXNz"}"#, "user:pass"),
            (r#"{"auth": "dXNlcjpwPz4/"}"#, "user:p?>?"),
            (r#"{"auth": "dXNlcjpwPz4_"}"#, "user:p?>?"),
            (r#"{"auth": "dTpw"}"#, "u:p"),
            (r#"{"auth": "dTpwcA=="}"#, "u:pp"),
            (r#"{"auth": "dTpwcA"}"#, "u:pp"),
            (r#"{"username": "u", "password": "p", "email": "x"}"#, "u:p"),
            (r#"{"auth": "dTpw", "identitytoken": "refresh"}"#, "identity refresh"),
            (r#"{"registrytoken": "token"}"#, "registry token"),
        ] {
            let text = format!(r#"{{"auths": {{"reg.example": {entry}}}}}"#);
            assert_eq!(users(&[config(&text)], "reg.example", "calico/node"), [expected], "{entry}");
            let legacy = DockerConfig::parse_dockercfg(format!(r#"{{"reg.example": {entry}}}"#).as_bytes()).unwrap();
            assert_eq!(users(&[legacy], "reg.example", "calico/node"), [expected], "{entry}");
        }
    }

    #[test]
    fn the_longest_match_comes_first_and_all_are_kept_in_order() {
        let one = config(
            r#"{"auths": {"reg.example": {"username": "host", "password": "1"},
                          "https://reg.example/v2/calico": {"username": "path", "password": "2"},
                          "*.example": {"username": "glob", "password": "3"},
                          "reg.example:5000": {"username": "port", "password": "4"},
                          "sub.reg.example": {"username": "other", "password": "5"}}}"#,
        );
        let two = config(r#"{"auths": {"reg.example": {"username": "second", "password": "6"}}}"#);
        let both = [one, two];
        assert_eq!(users(&both, "reg.example", "calico/node"), ["path:2", "host:1", "second:6", "glob:3"]);
        assert_eq!(users(&both, "reg.example", "tigera/operator"), ["host:1", "second:6", "glob:3"]);
        assert_eq!(users(&both, "reg.example:5000", "calico/node"), ["port:4"]);
        assert!(users(&both, "a.b.example", "calico/node").is_empty());
        assert!(users(&both, "evil-reg.example.com", "calico/node").is_empty());
    }

    /// The rest of `TestUrlsMatch` and of the sorting of `BasicDockerKeyring.Add`.
    #[test]
    fn keys_are_read_and_sorted_as_the_kubelet_does() {
        let one = config(
            r#"{"auths": {"*.reg.example/calico/node": {"username": "glob", "password": "1"},
                          "a.reg.example": {"username": "host", "password": "2"},
                          "a.reg.example/calico/": {"username": "folder", "password": "3"},
                          "a.reg.example/v2": {"username": "v2", "password": "4"}}}"#,
        );
        let one = [one];
        assert_eq!(users(&one, "a.reg.example", "calico/node"), ["folder:3", "host:2", "glob:1"]);
        assert_eq!(users(&one, "a.reg.example", "calico-enterprise/node"), ["host:2"]);
        assert_eq!(users(&one, "a.reg.example", "v2/node"), ["v2:4", "host:2"]);
    }

    #[test]
    fn ipv6_hosts_are_told_from_their_ports() {
        let one = config(
            r#"{"auths": {"[2001:db8::1]:5000": {"username": "port", "password": "1"},
                          "https://[2001:DB8::1]:5000/v2/calico": {"username": "path", "password": "2"},
                          "[2001:db8::1]": {"username": "bare", "password": "3"},
                          "[2001:db8::15]:5000": {"username": "other", "password": "4"}}}"#,
        );
        let one = [one];
        assert_eq!(users(&one, "[2001:db8::1]:5000", "calico/node"), ["path:2", "port:1"]);
        assert_eq!(users(&one, "[2001:db8::1]:5000", "x"), ["port:1"]);
        assert_eq!(users(&one, "[2001:db8::1]", "x"), ["bare:3"]);
        assert!(users(&one, "[2001:db8::1]:5001", "x").is_empty());
    }

    #[test]
    fn docker_hub_has_one_name() {
        for key in ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io", "docker.io/"]
        {
            let config = config(&format!(r#"{{"auths": {{"{key}": {{"username": "u", "password": "p"}}}}}}"#));
            for host in DOCKER_HUB_NAMES {
                assert_eq!(users(std::slice::from_ref(&config), host, "calico/node"), ["u:p"], "{key} {host}");
            }
        }
    }

    #[test]
    fn bad_configurations_say_why_and_quote_no_value() {
        for text in [
            "",
            "nonsense",
            r#"{"auths": {"reg.example": {"auth": "hunter2-not-base64!"}}}"#,
            r#"{"auths": {"reg.example": {"auth": "aHVudGVyMg=="}}}"#,
            r#"{"auths": {"reg.example": {"auth": 4711}}}"#,
            r#"{"auths": "hunter2"}"#,
            r#"{"auths": {"reg.example": {"username": "u"}}}"#,
            r#"{"auths": {"reg.example": "hunter2"}}"#,
            r#"{"credsStore": "desktop", "auths": {"reg.example": {}}}"#,
            r#"{"credHelpers": {"reg.example": "ecr-login"}}"#,
            "{}",
        ] {
            let error = DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("aHVudGVy"), "{error}");
        }
        let large = vec![b' '; LARGEST_CONFIG + 1];
        assert_eq!(DockerConfig::parse_dockerconfigjson(&large), Err(InvalidDockerConfig::TooLarge));
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = DockerConfig::of_password("reg.example", "robot", "hunter2");
        let shown = format!("{config:?} {:?}", matching([&config], "reg.example", "x")[0].basic());
        assert!(!shown.contains("hunter2") && !shown.contains("robot") && shown.contains("reg.example"), "{shown}");
    }

    #[test]
    fn globs_end() {
        assert!(glob_matches(b"a*b*c", b"axxbxxc") && !glob_matches(b"a*b", b"axx") && glob_matches(b"?", b"x"));
        assert!(glob_matches(b"*", b"") && !glob_matches(b"", b"x"));
        assert!(!glob_matches(&b"*a".repeat(100), &b"b".repeat(10_000)));
    }
}
