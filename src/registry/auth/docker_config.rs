//! Pull secrets: reads Docker's configuration forms. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::credentials::{Credential, Secret};
use super::keyring;
use crate::model::foreign_text::cut;
use crate::registry::json_object::ObjectOrList;

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
    /// A list in the place of an object, which other readers of a configuration reject.
    #[error("it is not a Docker configuration: {place} must be a JSON object, not a list")]
    NotAnObject {
        /// "it" or the entry of a host.
        place: String,
    },
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

/// The credentials of one pull secret, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DockerConfig {
    entries: Vec<keyring::Entry>,
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, ObjectOrList<ConfigEntry>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ConfigEntry {
    auth: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

impl DockerConfig {
    /// Returns a configuration with one user and password for a host or `host/path`.
    #[must_use]
    pub fn of_password(host: &str, username: &str, password: &str) -> Self {
        let (username, password) = (Secret::new(username.to_owned()), Secret::new(password.to_owned()));
        Self { entries: vec![keyring::Entry::new(host, Credential::Password { username, password })] }
    }

    /// Returns a configuration with one identity token for a host, as a credential helper provides it.
    #[must_use]
    pub fn of_identity_token(host: &str, token: Secret) -> Self {
        Self { entries: vec![keyring::Entry::new(host, Credential::IdentityToken(token))] }
    }

    /// Returns a configuration with one credential for a host, whatever the repository.
    pub(crate) fn of_credential(host: &str, credential: Credential) -> Self {
        Self { entries: vec![keyring::Entry::new(host, credential)] }
    }

    /// Parses `.dockerconfigjson` (`{"auths": {host: …}}`).
    ///
    /// # Errors
    /// The text is not such a configuration, or one of its entries is unusable. There is no fallback to the others.
    pub fn parse_dockerconfigjson(text: &[u8]) -> Result<Self, InvalidDockerConfig> {
        let file: ConfigFile = parse(text)?;
        let names_helper = file.store.is_some() || !file.helpers.is_empty();
        Self::of_entries(file.auths, names_helper)
    }

    /// Parses the legacy `.dockercfg` (`{host: …}`).
    ///
    /// # Errors
    /// As [`DockerConfig::parse_dockerconfigjson`].
    pub fn parse_dockercfg(text: &[u8]) -> Result<Self, InvalidDockerConfig> {
        Self::of_entries(parse(text)?, false)
    }

    /// Returns all credentials, whatever host they are for.
    pub(crate) fn credentials(&self) -> impl Iterator<Item = &Credential> {
        self.entries.iter().map(|entry| &entry.credential)
    }

    fn of_entries(
        parsed: BTreeMap<String, ObjectOrList<ConfigEntry>>,
        names_helper: bool,
    ) -> Result<Self, InvalidDockerConfig> {
        let mut entries = Vec::new();
        for (host, ObjectOrList(entry)) in parsed {
            let place = || format!("the entry of {:?}", cut(&host, MAX_HOST));
            let entry = entry.ok_or_else(|| InvalidDockerConfig::NotAnObject { place: place() })?;
            let credential = entry.credential();
            let credential =
                credential.map_err(|Unusable| InvalidDockerConfig::InvalidAuth { host: cut(&host, MAX_HOST) })?;
            entries.extend(credential.map(|credential| keyring::Entry::new(&host, credential)));
        }
        match (entries.is_empty(), names_helper) {
            (true, true) => Err(InvalidDockerConfig::HelperOnly),
            (true, false) => Err(InvalidDockerConfig::Empty),
            (false, _) => Ok(Self { entries }),
        }
    }
}

/// Returns the credentials of several configurations that match a repository, in the order in which the kubelet tries them.
pub(crate) fn matching<'a>(
    configs: impl IntoIterator<Item = &'a DockerConfig>,
    host: &str,
    repository: &str,
) -> Vec<&'a Credential> {
    keyring::matching(configs.into_iter().flat_map(|config| &config.entries), host, repository)
}

fn parse<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, InvalidDockerConfig> {
    if text.len() > MAX_CONFIG {
        return Err(InvalidDockerConfig::TooLarge);
    }
    // The library's own message can quote a value, and so a password.
    let ObjectOrList(file) = serde_json::from_slice(text).map_err(|error| InvalidDockerConfig::Malformed {
        category: match error.classify() {
            serde_json::error::Category::Io | serde_json::error::Category::Eof => "end of file",
            serde_json::error::Category::Syntax => "syntax",
            serde_json::error::Category::Data => "data",
        },
        line: error.line(),
        column: error.column(),
    })?;
    file.ok_or_else(|| InvalidDockerConfig::NotAnObject { place: "it".to_owned() })
}

/// The entry has half a credential, or one that cannot be decoded.
struct Unusable;

impl ConfigEntry {
    /// Returns the strongest credential: a registry token, an identity token, user and password. `None` for an entry without
    /// any, as `docker logout` leaves it.
    fn credential(self) -> Result<Option<Credential>, Unusable> {
        let set = |secret: Option<Secret>| secret.filter(|secret| !secret.is_empty());
        if let Some(token) = set(self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(token) = set(self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        let (username, password) = match (set(self.auth), set(self.username), set(self.password)) {
            (Some(auth), ..) => decode_auth(&auth).ok_or(Unusable)?,
            (None, Some(username), Some(password)) => (username, password),
            (None, None, None) => return Ok(None),
            (None, ..) => return Err(Unusable),
        };
        Ok(Some(Credential::Password { username, password }))
    }
}

/// Decodes `user:password` from base64 of the standard or the URL alphabet, padded or not.
fn decode_auth(auth: &Secret) -> Option<(Secret, Secret)> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let text = auth.expose().trim();
    let decode = |alphabet| GeneralPurpose::new(alphabet, config).decode(text).ok();
    let bytes = Zeroizing::new(decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE))?);
    let (username, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    // Old clients pad the password with NUL.
    let password = password.trim_end_matches('\0');
    let plain = |text: &str| !text.chars().any(char::is_control);
    (!username.is_empty() && plain(username) && plain(password))
        .then(|| (Secret::new(username.to_owned()), Secret::new(password.to_owned())))
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
    fn errors_name_the_cause_and_quote_no_value() {
        for text in [
            "",
            "nonsense",
            r#"{"auths": {"reg.example": {"auth": "hunter2-not-base64!"}}}"#,
            r#"{"auths": {"reg.example": {"auth": "aHVudGVyMg=="}}}"#,
            r#"{"auths": {"reg.example": {"auth": 4711}}}"#,
            r#"{"auths": "hunter2"}"#,
            r#"{"auths": {"reg.example": {"username": "u"}}}"#,
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
