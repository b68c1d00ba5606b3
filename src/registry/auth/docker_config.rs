//! Pull secrets: reads Docker's configuration forms. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::credentials::{Credential, Secret};
use super::docker_config_json::{Config, ConfigEntry, Entries};
use super::keyring;
use crate::model::foreign_text::cut;
use crate::registry::json_object::Shape;

/// Maximum size of a configuration, in bytes; a Kubernetes Secret holds at most 1 MiB.
const MAX_CONFIG: usize = 1024 * 1024;
/// Maximum length of a host that an error names, in characters.
const MAX_HOST: usize = 100;

/// An unusable configuration. Errors name hosts but never quote values.
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
    /// Something else in the place of an object, which other readers of a configuration reject.
    #[error("it is not a Docker configuration: {place} must be a JSON object, not {found}")]
    NotAnObject {
        /// "it", "auths" or the entry of a host.
        place: String,
        /// "a list" or "a single value".
        found: &'static str,
    },
    /// The text begins with the bytes EF BB BF, which some editors of Windows write.
    #[error("it begins with a byte order mark, with which the kubelet and docker do not read it")]
    ByteOrderMark,
    /// Larger than a Secret can be.
    #[error("it is larger than {MAX_CONFIG} bytes")]
    TooLarge,
    /// `auth` is not base64 of `user:password`.
    #[error("auth of {host:?} is not base64 of user:password")]
    InvalidAuth {
        /// The entry's key.
        host: String,
    },
    /// Credential helpers run on the machine of the login only.
    #[error("it names a credential helper (credsStore or credHelpers) instead of credentials; log in without one")]
    HelperOnly,
    /// No credentials.
    #[error("it holds no credentials at all")]
    Empty,
}

/// The credentials of one pull secret, in the order of their hosts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DockerConfig {
    entries: Vec<keyring::Entry>,
    objections: Vec<InvalidDockerConfig>,
}

impl DockerConfig {
    /// Returns a configuration with one user and password for a host or `host/path`.
    #[must_use]
    pub fn of_password(host: &str, username: &str, password: &str) -> Self {
        let (username, password) = (Secret::new(username.to_owned()), Secret::new(password.to_owned()));
        Self::of_credential(host, Credential::Password { username, password })
    }

    /// Returns a configuration with one identity token for a host, as a credential helper provides it.
    #[must_use]
    pub fn of_identity_token(host: &str, token: Secret) -> Self {
        Self::of_credential(host, Credential::IdentityToken(token))
    }

    /// Returns a configuration with one credential for a host, whatever the repository.
    pub(crate) fn of_credential(host: &str, credential: Credential) -> Self {
        Self { entries: vec![keyring::Entry::new(host, credential)], objections: Vec::new() }
    }

    /// Parses `.dockerconfigjson` (`{"auths": {host: …}}`).
    ///
    /// # Errors
    /// The text is not such a configuration, or none of its entries is usable. Unusable ones beside others are
    /// [`DockerConfig::objections`].
    pub fn parse_dockerconfigjson(text: &[u8]) -> Result<Self, InvalidDockerConfig> {
        let (Config { auths, names_helper }, mark) = parse(text)?;
        let Entries(auths) = object(auths, "auths")?;
        Self::of_entries(auths, names_helper, mark)
    }

    /// Parses the legacy `.dockercfg` (`{host: …}`).
    ///
    /// # Errors
    /// As [`DockerConfig::parse_dockerconfigjson`].
    pub fn parse_dockercfg(text: &[u8]) -> Result<Self, InvalidDockerConfig> {
        let (Entries(auths), mark) = parse(text)?;
        Self::of_entries(auths, false, mark)
    }

    /// Returns what is wrong with the configuration although its other entries are used. A kubelet rejects a Secret with any of these
    /// as a whole.
    #[must_use]
    pub fn objections(&self) -> &[InvalidDockerConfig] {
        &self.objections
    }

    /// Returns all credentials, whatever host they are for.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &Credential> {
        self.entries.iter().map(|entry| &entry.credential)
    }

    fn of_entries(
        parsed: BTreeMap<String, Shape<ConfigEntry>>,
        names_helper: bool,
        mark: Option<InvalidDockerConfig>,
    ) -> Result<Self, InvalidDockerConfig> {
        let mut config = Self { entries: Vec::new(), objections: mark.into_iter().collect() };
        let mut unusable = None;
        for (host, entry) in parsed {
            match usable(&host, entry) {
                Ok(credential) => {
                    config.entries.extend(credential.map(|credential| keyring::Entry::new(&host, credential)));
                }
                Err(error) => {
                    unusable.get_or_insert_with(|| error.clone());
                    config.objections.push(error);
                }
            }
        }
        match (config.entries.is_empty(), unusable, names_helper) {
            (false, ..) => Ok(config),
            (true, Some(error), _) => Err(error),
            (true, None, true) => Err(InvalidDockerConfig::HelperOnly),
            (true, None, false) => Err(InvalidDockerConfig::Empty),
        }
    }
}

/// Returns the object that stands in this place, an empty one for `null`.
fn object<T: Default>(shape: Shape<T>, place: &str) -> Result<T, InvalidDockerConfig> {
    let error = |found| InvalidDockerConfig::NotAnObject { place: place.to_owned(), found };
    match shape {
        Shape::Object(object) => Ok(object),
        Shape::Null => Ok(T::default()),
        Shape::List => Err(error("a list")),
        Shape::Value => Err(error("a single value")),
    }
}

/// Returns the credential of an entry; `None` for an entry without any.
fn usable(host: &str, entry: Shape<ConfigEntry>) -> Result<Option<Credential>, InvalidDockerConfig> {
    let host = cut(host, MAX_HOST);
    let entry = object(entry, &format!("the entry of {host:?}"))?;
    credential(entry).map_err(|Unusable| InvalidDockerConfig::InvalidAuth { host })
}

/// Returns the credentials of several configurations that match a repository, in the order in which the kubelet tries them.
pub(crate) fn matching<'a>(
    configs: impl IntoIterator<Item = &'a DockerConfig>,
    host: &str,
    repository: &str,
) -> Vec<&'a Credential> {
    keyring::matching(configs.into_iter().flat_map(|config| &config.entries), host, repository)
}

/// Reads JSON as Go does where that matters: bytes that are no UTF-8 become replacement characters. A byte order mark is an objection.
fn parse<T: Default + for<'de> serde::Deserialize<'de>>(
    text: &[u8],
) -> Result<(T, Option<InvalidDockerConfig>), InvalidDockerConfig> {
    if text.len() > MAX_CONFIG {
        return Err(InvalidDockerConfig::TooLarge);
    }
    let (text, mark) = match text.strip_prefix(b"\xef\xbb\xbf") {
        Some(rest) => (rest, Some(InvalidDockerConfig::ByteOrderMark)),
        None => (text, None),
    };
    let text = Zeroizing::new(String::from_utf8_lossy(text).into_owned());
    // The library's own message can quote a value, and so a password.
    let parsed: Shape<T> = serde_json::from_str(&text).map_err(|error| InvalidDockerConfig::Malformed {
        category: match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Eof => "end of file",
            serde_json::error::Category::Syntax => "syntax",
            serde_json::error::Category::Data => "data",
        },
        line: error.line(),
        column: error.column(),
    })?;
    Ok((object(parsed, "it")?, mark))
}

/// The entry has a credential that cannot be decoded.
struct Unusable;

/// Returns the strongest credential of an entry: a registry token, an identity token, user and password. `None` for an entry without
/// any, as `docker logout` leaves it.
fn credential(entry: ConfigEntry) -> Result<Option<Credential>, Unusable> {
    let set = |secret: Option<Secret>| secret.filter(|secret| !secret.is_empty());
    if entry.has_other_type {
        return Err(Unusable);
    }
    if let Some(token) = set(entry.registrytoken) {
        return Ok(Some(Credential::RegistryToken(token)));
    }
    if let Some(token) = set(entry.identitytoken) {
        return Ok(Some(Credential::IdentityToken(token)));
    }
    match (set(entry.auth), set(entry.username), set(entry.password)) {
        (Some(auth), ..) => decode_auth(&auth).map(Some),
        (None, None, None) => Ok(None),
        // As for the kubelet, one of them may be empty.
        (None, username, password) => {
            let or_empty = |secret: Option<Secret>| secret.unwrap_or_else(|| Secret::new(String::new()));
            Ok(Some(Credential::Password { username: or_empty(username), password: or_empty(password) }))
        }
    }
}

/// Decodes `user:password` from base64 as the kubelet does: padded or not, with any line ends in it, whatever the bytes. The URL
/// alphabet is accepted, too.
fn decode_auth(auth: &Secret) -> Result<Credential, Unusable> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let text: Zeroizing<String> =
        Zeroizing::new(auth.expose().trim().chars().filter(|character| !matches!(character, '\r' | '\n')).collect());
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text.as_bytes()).ok();
    let bytes = Zeroizing::new(decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE)).ok_or(Unusable)?);
    let colon = bytes.iter().position(|byte| *byte == b':').ok_or(Unusable)?;
    // Old clients pad the password with NUL.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(colon + 1);
    let (username, password) = (&bytes[..colon], &bytes[colon + 1..end]);
    Ok(match (std::str::from_utf8(username), std::str::from_utf8(password)) {
        (Ok(username), Ok(password)) => Credential::Password {
            username: Secret::new(username.to_owned()),
            password: Secret::new(password.to_owned()),
        },
        _ => Credential::Encoded {
            pair: Secret::new(STANDARD.encode(&bytes[..end])),
            shown: Secret::new(String::from_utf8_lossy(password).into_owned()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(config: &DockerConfig) -> String {
        match matching([config], "reg.example", "calico/node")[..] {
            [Credential::Password { username, password }] => format!("{}:{}", username.expose(), password.expose()),
            [Credential::IdentityToken(token)] => format!("identity {}", token.expose()),
            [Credential::RegistryToken(token)] => format!("registry {}", token.expose()),
            _ => "not one".to_owned(),
        }
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
            (r#"{"Username": "u", "PASSWORD": "p", "email": 5}"#, "u:p"),
            (r#"{"username": "u"}"#, "u:"),
            (r#"{"auth": "dTpw", "username": null, "password": null, "identitytoken": null}"#, "u:p"),
            (r#"{"auth": "OnA="}"#, ":p"),
            (r#"{"auth": "dTpwAAA="}"#, "u:p"),
            // Line ends anywhere, as base64 and PowerShell write them.
            (r#"{"auth": "dXNl\ncjpw\r\nYXNz\n"}"#, "user:pass"),
            // A key of several lines, as Google's are.
            (r#"{"auth": "X2pzb25fa2V5OnsKICJhIjogMQp9Cg=="}"#, "_json_key:{\n \"a\": 1\n}\n"),
            (r#"{"auth": "dTpw", "identitytoken": "refresh"}"#, "identity refresh"),
            (r#"{"registrytoken": "token"}"#, "registry token"),
        ] {
            let legacy = format!(r#"{{"reg.example": {entry}}}"#);
            let current = format!(r#"{{"auths": {legacy}}}"#);
            assert_eq!(shown(&DockerConfig::parse_dockerconfigjson(current.as_bytes()).unwrap()), expected, "{entry}");
            assert_eq!(shown(&DockerConfig::parse_dockercfg(legacy.as_bytes()).unwrap()), expected, "{entry}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_passed_on() {
        let text = r#"{"auths": {"reg.example": {"auth": "dXNlcjpw5HNz"}}}"#;
        let config = DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap();
        let found = matching([&config], "reg.example", "calico/node");
        assert_eq!(found[0].basic().unwrap().expose(), "dXNlcjpw5HNz");
        assert_eq!(found[0].secrets().len(), 2);
    }

    #[test]
    fn one_unusable_entry_leaves_the_others() {
        let good = r#""reg.example": {"auth": "dXNlcjpwYXNz"}"#;
        for bad in [
            r#"{"auth": "not base64!"}"#,
            r#"{"auth": "aHVudGVyMg=="}"#,
            r#"{"auth": 4711}"#,
            r#"{"password": ["hunter2"]}"#,
            r#""hunter2""#,
            "[]",
            "5",
            "true",
        ] {
            for entries in [format!(r#"{good}, "old.example": {bad}"#), format!(r#""old.example": {bad}, {good}"#)] {
                let text = format!(r#"{{"auths": {{{entries}}}}}"#);
                let config = DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap();
                assert_eq!(shown(&config), "user:pass", "{text}");
                assert!(config.objections().len() == 1, "{text}");
                assert!(config.objections()[0].to_string().contains("old.example"), "{:?}", config.objections());
            }
        }
    }

    #[test]
    fn nothing_is_written_in_many_ways() {
        let good = r#""reg.example": {"auth": "dXNlcjpwYXNz"}"#;
        for text in [
            format!(r#"{{"auths": {{{good}, "old.example": null}}}}"#),
            format!(r#"{{"auths": {{{good}, "old.example": {{}}}}}}"#),
            format!(r#"{{"auths": {{{good}, "old.example": {{"auth": ""}}}}}}"#),
            format!(r#"{{"Auths": {{{good}}}, "credHelpers": null, "credsStore": null, "HttpHeaders": 5}}"#),
            format!(r#"{{"auths": null, "auths": {{{good}}}, "credHelpers": {{"x": null}}, "credsStore": ""}}"#),
        ] {
            let config = DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap();
            assert_eq!((shown(&config).as_str(), config.objections()), ("user:pass", &[][..]), "{text}");
        }
        let error = |text: &str| DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap_err();
        for empty in [
            "null",
            r#"{"auths": null}"#,
            r#"{"credsStore": ""}"#,
            r#"{"credHelpers": null, "auths": {}}"#,
            r#"{"auths": {"reg.example": null}}"#,
        ] {
            assert_eq!(error(empty), InvalidDockerConfig::Empty, "{empty}");
        }
        assert_eq!(error(r#"{"credHelpers": {"reg.example": "ecr-login"}}"#), InvalidDockerConfig::HelperOnly);
        let marked = format!("\u{feff}{{\"auths\": {{{good}}}}}");
        let config = DockerConfig::parse_dockerconfigjson(marked.as_bytes()).unwrap();
        assert_eq!(
            (shown(&config).as_str(), config.objections()),
            ("user:pass", &[InvalidDockerConfig::ByteOrderMark][..])
        );
    }

    #[test]
    fn errors_name_the_cause_and_quote_no_value() {
        for text in [
            "",
            "nonsense",
            r#"{"auths": {"reg.example": {"auth": "hunter2-not-base64!"}}}"#,
            r#"{"auths": {"reg.example": {"auth": "aHVudGVyMg=="}}}"#,
            r#"{"auths": {"reg.example": {"auth": 4711}}}"#,
            r#"{"auths": "hunter2"}"#,
            r#"{"auths": {"reg.example": "hunter2"}}"#,
            r#"{"auths": {"reg.example": ["hunter2"]}}"#,
            r#"{"credsStore": "desktop", "auths": {"reg.example": {}}}"#,
            r#"{"credHelpers": {"reg.example": "ecr-login"}}"#,
            "{}",
        ] {
            let error = DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("aHVudGVy"), "{error}");
        }
        let large = vec![b' '; MAX_CONFIG + 1];
        assert_eq!(DockerConfig::parse_dockerconfigjson(&large), Err(InvalidDockerConfig::TooLarge));
    }

    #[test]
    fn lists_in_the_place_of_objects_are_rejected() {
        let entry = r#"["dTpw", null, null, null, null]"#;
        let entry_of_host = "the entry of \"reg.example\"";
        let current = |text: String| DockerConfig::parse_dockerconfigjson(text.as_bytes()).unwrap_err();
        let legacy = |text: String| DockerConfig::parse_dockercfg(text.as_bytes()).unwrap_err();
        for (error, place) in [
            (current(r#"[{"reg.example": {"auth": "dTpw"}}, null, {}]"#.to_owned()), "it"),
            (current(format!(r#"{{"auths": {{"reg.example": {entry}}}}}"#)), entry_of_host),
            (legacy("[]".to_owned()), "it"),
            (legacy(format!(r#"{{"reg.example": {entry}}}"#)), entry_of_host),
        ] {
            let expected = format!("it is not a Docker configuration: {place} must be a JSON object, not a list");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let config = DockerConfig::of_password("reg.example", "robot", "hunter2");
        let shown = format!("{config:?} {:?}", matching([&config], "reg.example", "x")[0].basic());
        assert!(!shown.contains("hunter2") && !shown.contains("robot") && shown.contains("reg.example"), "{shown}");
    }
}
