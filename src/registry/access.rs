//! Where a reference is looked up, with which trust and which credentials: from pull secrets and the policy's `registries[]`. Pure.

use url::{Host, Url};

use super::auth::credentials::Credential;
use super::auth::docker_config::{DockerConfig, matching};
use super::auth::keyring::DOCKER_HUB_NAMES;
use super::error::{RegistryError, Result};
use super::http::address::names_metadata_service;
use super::http::client_certificate::ClientCertificate;
use crate::model::{CloudProvider, Reference, RegistryFailureKind};

/// The host that serves the images of Docker Hub.
const DOCKER_HUB_ENDPOINT: &str = "registry-1.docker.io";

/// How registries are reached. `Debug` shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Pull secrets in the Installation's order.
    pub credentials: Vec<DockerConfig>,
    /// Credentials of the person who runs this process. They precede the pull secrets, and are sent only with trust settings of the
    /// same person: see [`RegistrySettings::trust_of_others`].
    pub personal: Vec<DockerConfig>,
    /// Registries with settings beyond the Installation's.
    pub registries: Vec<RegistrySettings>,
}

/// One entry of the policy's `registries[]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistrySettings {
    /// Host with optional port, as in references.
    pub host: String,
    /// Host with optional port and path that is used instead; the path precedes the repository.
    pub mirror: Option<String>,
    /// Credentials that precede all pull secrets, for clusters whose nodes use credential providers.
    pub credentials: Option<DockerConfig>,
    /// The cloud whose identity this process uses for the registry, instead of credentials. Its tokens precede all credentials, and
    /// go to the cloud's own registries only.
    pub provider: Option<CloudProvider>,
    /// A token service outside the registry's domain that may receive the credentials: host with optional port.
    pub token_service: Option<String>,
    /// Certificate authorities to trust in addition to the system's, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Presented to the registry, and to no other host, where it asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// Use HTTP without TLS, credentials included. Requires this opt-in even for loopback addresses.
    pub plain_http: bool,
    /// The authorities, the token service or plain HTTP were set by somebody other than the owner of [`Access::personal`], whose
    /// credentials are then not sent.
    pub trust_of_others: bool,
}

/// Whether a bundle of certificate authorities holds a certificate in PEM.
#[must_use]
pub fn holds_certificate(bundle: &[u8]) -> bool {
    String::from_utf8_lossy(bundle).contains("-----BEGIN CERTIFICATE-----")
}

/// A registry that is looked up: one host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://host:port/` or, by opt-in, `http://host:port/`.
    pub base: Url,
    /// The settings for `host`, which is the endpoint's own; never with a mirror.
    pub settings: RegistrySettings,
}

impl Endpoint {
    /// Whether this is Docker Hub itself.
    pub(crate) fn is_docker_hub(&self) -> bool {
        self.settings.host == DOCKER_HUB_ENDPOINT
    }
}

impl Access {
    /// Groups references by the registry that serves them, each group in the given order.
    #[must_use]
    pub fn by_registry(&self, references: Vec<Reference>) -> Vec<Vec<Reference>> {
        let mut groups: Vec<(Option<Endpoint>, Vec<Reference>)> = Vec::new();
        for reference in references {
            // References without an endpoint form one group.
            let endpoint = self.endpoint(&reference).ok().map(|(endpoint, _)| endpoint);
            match groups.iter_mut().find(|(other, _)| *other == endpoint) {
                Some((_, group)) => group.push(reference),
                None => groups.push((endpoint, vec![reference])),
            }
        }
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// Returns the endpoint that serves a reference, and the repository there.
    pub(crate) fn endpoint(&self, reference: &Reference) -> Result<(Endpoint, String)> {
        let entry = self.entry(reference.registry());
        let (host, prefix) = match entry.and_then(|entry| entry.mirror.as_deref()) {
            Some(mirror) => {
                let mirror = mirror.trim_end_matches('/');
                mirror.split_once('/').unwrap_or((mirror, ""))
            }
            None => (reference.registry(), ""),
        };
        // A mirror may have an entry of its own; otherwise the entry that names it applies.
        let entry = self.entry(host).or(entry);
        let hub = DOCKER_HUB_NAMES.contains(&host);
        let host = if hub { DOCKER_HUB_ENDPOINT } else { host };
        // As in Docker, names of one segment are official images.
        let official = hub && !reference.repository().contains('/');
        let repository = match (prefix, reference.repository()) {
            ("", name) if official => format!("library/{name}"),
            ("", name) => name.to_owned(),
            (prefix, name) => format!("{prefix}/{name}"),
        };
        let settings = entry.cloned().unwrap_or_default();
        let settings = RegistrySettings { host: host.to_owned(), mirror: None, ..settings };
        let endpoint = Endpoint { base: base(host, settings.plain_http)?, settings };
        Ok((endpoint, repository))
    }

    /// Whether references lead to the same endpoints as with another access, whatever the credentials.
    #[must_use]
    pub fn has_same_places(&self, other: &Self) -> bool {
        let places = |access: &Self| -> Vec<RegistrySettings> {
            let without_credentials =
                |settings: &RegistrySettings| RegistrySettings { credentials: None, ..settings.clone() };
            access.registries.iter().map(without_credentials).collect()
        };
        places(self) == places(other)
    }

    /// Returns all credentials that a session with this endpoint may know, whatever the repository.
    pub(crate) fn all_credentials<'a>(&'a self, endpoint: &'a Endpoint) -> impl Iterator<Item = &'a Credential> {
        // A response for one repository can contain what was sent for another.
        self.configs(endpoint).chain(&endpoint.settings.credentials).flat_map(DockerConfig::credentials)
    }

    /// Returns what may be sent to this endpoint, except for its own credentials.
    pub(crate) fn configs(&self, endpoint: &Endpoint) -> impl Iterator<Item = &DockerConfig> {
        self.personal_for(endpoint).iter().chain(&self.credentials)
    }

    fn personal_for(&self, endpoint: &Endpoint) -> &[DockerConfig] {
        if endpoint.settings.trust_of_others { &[] } else { &self.personal }
    }

    /// Returns the credentials to try for a repository of this endpoint, in order. The one place where sources of credentials meet.
    pub(crate) fn credentials(&self, endpoint: &Endpoint, repository: &str) -> Vec<Credential> {
        let own = matching(&endpoint.settings.credentials, &endpoint.settings.host, repository);
        let mut all: Vec<Credential> = own.into_iter().cloned().collect();
        let personal = matching(self.personal_for(endpoint), &endpoint.settings.host, repository).into_iter();
        for credential in personal.chain(matching(&self.credentials, &endpoint.settings.host, repository)) {
            if !all.contains(credential) {
                all.push(credential.clone());
            }
        }
        all
    }

    /// Returns the registry that serves a reference, if personal credentials match it but are not sent because others set how it is
    /// trusted.
    #[must_use]
    pub fn keeps_back_for(&self, reference: &Reference) -> Option<String> {
        let (endpoint, repository) = self.endpoint(reference).ok()?;
        let fits = !matching(&self.personal, &endpoint.settings.host, &repository).is_empty();
        (endpoint.settings.trust_of_others && fits).then_some(endpoint.settings.host)
    }

    fn entry(&self, host: &str) -> Option<&RegistrySettings> {
        let same = |one: &str| {
            one.eq_ignore_ascii_case(host) || (DOCKER_HUB_NAMES.contains(&one) && DOCKER_HUB_NAMES.contains(&host))
        };
        self.registries.iter().find(|entry| same(&entry.host))
    }
}

fn base(host: &str, plain_http: bool) -> Result<Url> {
    let unusable = || {
        let text = format!("{host:?} is not a host with optional port");
        RegistryError::new(RegistryFailureKind::CredentialsInvalid, text).of_whole_registry()
    };
    // Nothing that a URL parser would read as a scheme, user, path or query; `https://host` was split at its first slash.
    let plain = |character: char| character.is_ascii_alphanumeric() || "-._:[]".contains(character);
    if host.ends_with(':') || !host.chars().all(plain) {
        return Err(unusable());
    }
    let scheme = if plain_http { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| unusable())?;
    // A URL parser reads `1.2.3` and `0x7f.1` as addresses; other programs read them as names.
    let name = host.split(':').next().unwrap_or_default();
    match url.host() {
        Some(Host::Ipv4(address)) if address.to_string() != name => Err(unusable()),
        _ if names_metadata_service(&url) => {
            let text = format!("{host} is a metadata service of a cloud");
            Err(RegistryError::new(RegistryFailureKind::RefusedTarget, text).of_whole_registry())
        }
        _ => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(access: &Access, reference: &str) -> String {
        let (endpoint, repository) = access.endpoint(&reference.parse().unwrap()).unwrap();
        format!("{}v2/{repository}", endpoint.base)
    }

    #[test]
    fn docker_hub_is_reached_by_each_of_its_names() {
        let access = Access::default();
        for (reference, expected) in [
            ("docker.io/calico/node:v1", "https://registry-1.docker.io/v2/calico/node"),
            ("index.docker.io/calico/node:v1", "https://registry-1.docker.io/v2/calico/node"),
            ("calico/node:v1", "https://registry-1.docker.io/v2/calico/node"),
            ("busybox:1", "https://registry-1.docker.io/v2/library/busybox"),
            ("registry-1.docker.io/busybox:1", "https://registry-1.docker.io/v2/library/busybox"),
            ("quay.io/node:v1", "https://quay.io/v2/node"),
            ("reg.example:5000/a/b:v1", "https://reg.example:5000/v2/a/b"),
            ("10.0.0.1:5000/a/b:v1", "https://10.0.0.1:5000/v2/a/b"),
            ("[2001:db8::1]:5000/a/b:v1", "https://[2001:db8::1]:5000/v2/a/b"),
            ("[2001:DB8:0::1]/a/b:v1", "https://[2001:db8::1]/v2/a/b"),
        ] {
            assert_eq!(place(&access, reference), expected, "{reference}");
        }
    }

    #[test]
    fn a_mirror_is_used_with_its_own_settings() {
        let access = Access {
            registries: vec![
                RegistrySettings {
                    host: "docker.io".to_owned(),
                    mirror: Some("mirror.example:5000/hub/".to_owned()),
                    ..RegistrySettings::default()
                },
                RegistrySettings {
                    host: "mirror.example:5000".to_owned(),
                    plain_http: true,
                    credentials: Some(DockerConfig::of_password("mirror.example:5000/hub", "u", "p")),
                    ..RegistrySettings::default()
                },
            ],
            credentials: vec![DockerConfig::of_password("docker.io", "hub", "p")],
            personal: Vec::new(),
        };
        assert_eq!(place(&access, "index.docker.io/calico/node:v1"), "http://mirror.example:5000/v2/hub/calico/node");
        let (endpoint, repository) = access.endpoint(&"calico/node:v1".parse().unwrap()).unwrap();
        assert_eq!(access.credentials(&endpoint, &repository).len(), 1, "the hub's own stay with the hub");
    }

    #[test]
    fn personal_credentials_are_not_sent_where_others_set_the_trust() {
        let registry = |host: &str, trust_of_others: bool| RegistrySettings {
            host: host.to_owned(),
            trust_of_others,
            ..RegistrySettings::default()
        };
        let mirrored = RegistrySettings { mirror: Some("other.example/hub".to_owned()), ..registry("quay.io", false) };
        let hosts = ["own.example", "other.example", "quay.io"];
        let access = Access {
            registries: vec![registry("own.example", false), registry("other.example", true), mirrored],
            personal: hosts.iter().map(|host| DockerConfig::of_password(host, "me", "p")).collect(),
            credentials: hosts.iter().map(|host| DockerConfig::of_password(host, "cluster", "q")).collect(),
        };
        let sent = |reference: &str| {
            let (endpoint, repository) = access.endpoint(&reference.parse().unwrap()).unwrap();
            let all = access.all_credentials(&endpoint).count();
            (access.credentials(&endpoint, &repository).len(), all, access.keeps_back_for(&reference.parse().unwrap()))
        };
        assert_eq!(sent("own.example/a/b:v1"), (2, 6, None));
        assert_eq!(sent("other.example/a/b:v1"), (1, 3, Some("other.example".to_owned())));
        assert_eq!(
            sent("quay.io/a/b:v1"),
            (1, 3, Some("other.example".to_owned())),
            "its mirror has an entry of its own"
        );
    }

    #[test]
    fn plain_http_requires_opt_in_also_on_loopback() {
        assert!(place(&Access::default(), "localhost:5000/a/b:v1").starts_with("https://"));
        assert!(place(&Access::default(), "127.0.0.1:5000/a/b:v1").starts_with("https://"));
    }

    #[test]
    fn a_mirror_that_is_not_a_host_is_rejected() {
        for mirror in [
            "https://mirror.example",
            "user:password@mirror.example",
            "",
            "mirror.example?x",
            "a b",
            "1.2.3",
            "0x7f.1:5000",
            "[::1",
            "[:::1]:5000",
        ] {
            let settings =
                RegistrySettings { host: "quay.io".into(), mirror: Some(mirror.into()), ..RegistrySettings::default() };
            let access = Access { registries: vec![settings], ..Access::default() };
            assert!(access.endpoint(&"quay.io/calico/node:v1".parse().unwrap()).is_err(), "{mirror}");
        }
    }
}
