//! Lookups in registries with the credentials and the trust of this machine, and of a cluster where a verb has read one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context as _;

use super::registry_credentials::{self, Credentials};
use crate::cli::flags::registry::RegistryFlags;
use crate::cli::output::{Failure, Progress, note};
use crate::model::{
    CloudProvider, Hints, LookupResult, OperatorImage, Reason, Reference, RegistryFailure, ResolvedImage,
};
use crate::registry::{
    Access, ClientCertificate, RegistryClient, RegistryClientSettings, RegistrySettings, Secret, holds_certificate,
};

/// Registries, as this machine can access them.
pub(in crate::cli) struct Registries {
    client: RegistryClient,
    credentials: Vec<Credentials>,
    /// Certificates of `--ca-file`, in PEM.
    authorities: Option<Vec<u8>>,
    /// Presented where a registry asks for a client certificate.
    client_certificate: Option<ClientCertificate>,
    flags: RegistryFlags,
    /// Registries for which a note reports withheld credentials.
    noted: RefCell<BTreeSet<String>>,
    /// How a cluster accesses them, where a verb has read one.
    cluster: OnceLock<Access>,
}

/// Resolved images, or the failures of their lookups, by reference.
pub(in crate::cli) type ResolvedImages = BTreeMap<Reference, Result<ResolvedImage, RegistryFailure>>;

impl Registries {
    /// Reads credentials and certificates; sends no request.
    ///
    /// # Errors
    /// A file that was named is missing or invalid. Docker's own is only noted.
    pub fn open(flags: &RegistryFlags) -> Result<Self, Failure> {
        Ok(Self {
            client: RegistryClient::new(RegistryClientSettings::of_environment()),
            credentials: registry_credentials::find(flags.registry_config.as_deref())?,
            authorities: authorities(flags.ca_file.as_deref())?,
            client_certificate: client_certificate(flags)?,
            flags: flags.clone(),
            noted: RefCell::default(),
            cluster: OnceLock::new(),
        })
    }

    /// Adds a cluster's access: its mirrors, and its authorities, token services and plain HTTP for its own credentials. Those of this
    /// machine are sent only as its user sets by flags: an author of the policy must not decide how they travel.
    pub fn add_cluster_access(&self, access: Access) {
        // Only one cluster is ever read.
        let _ = self.cluster.set(access);
    }

    /// Resolves all references, with a progress bar on a terminal.
    pub async fn resolve(
        &self,
        title: &str,
        references: impl IntoIterator<Item = Reference>,
        hints: &Hints,
    ) -> ResolvedImages {
        let references: Vec<Reference> = references.into_iter().collect();
        let access = self.access(&references);
        let progress = Progress::start(title, references.len());
        let resolved = self.client.resolve(&access, &references, hints, |done| progress.reached(done)).await;
        progress.end();
        references.into_iter().zip(resolved).collect()
    }

    /// Looks up digest and version label of operator images.
    pub async fn operators(&self, references: BTreeSet<Reference>) -> BTreeMap<Reference, LookupResult<OperatorImage>> {
        let mut lookups = BTreeMap::new();
        for reference in references {
            let access = self.access(std::slice::from_ref(&reference));
            let label = self.client.operator_version_label(&access, &reference).await;
            lookups.insert(reference, label.map_or_else(LookupResult::Failed, LookupResult::Known));
        }
        lookups
    }

    /// Returns credentials and settings for the registries of these references.
    fn access(&self, references: &[Reference]) -> Access {
        let registries = self.settings(references);
        let cluster = self.cluster.get().map(|access| access.credentials.clone()).unwrap_or_default();
        // Helpers come before the configuration, as for docker. Where their credentials would be withheld, they are not run.
        let (others, own): (Vec<_>, Vec<_>) = registries.iter().partition(|one| one.trust_of_others);
        let personal = self.credentials.iter().flat_map(|credentials| {
            let helped = own.iter().filter_map(|one| credentials.helpers.credentials(request_host(one)));
            helped.chain(credentials.config.clone()).collect::<Vec<_>>()
        });
        let personal = personal.collect();
        let helpers = others.iter().map(|one| request_host(one)).filter(|host| self.has_credentials_for(host));
        let mut withheld: BTreeSet<String> = helpers.map(str::to_owned).collect();
        let access = Access { credentials: cluster, personal, registries: registries.clone() };
        withheld.extend(references.iter().filter_map(|reference| access.keeps_back_for(reference)));
        self.note_withheld(&withheld, &registries);
        access
    }

    /// Returns one entry per registry, and per mirror that has settings of its own.
    fn settings(&self, references: &[Reference]) -> Vec<RegistrySettings> {
        let cluster = self.cluster.get().map(|access| access.registries.as_slice()).unwrap_or_default();
        let of_cluster = |host: &str| cluster.iter().find(|settings| settings.host.eq_ignore_ascii_case(host));
        let mut hosts: BTreeSet<&str> = references.iter().map(Reference::registry).collect();
        let mirrors: Vec<&str> = hosts.iter().filter_map(|host| of_cluster(host).map(request_host)).collect();
        hosts.extend(mirrors.into_iter().filter(|host| of_cluster(host).is_some()));
        hosts.into_iter().map(|host| self.setting(host, of_cluster(host).cloned().unwrap_or_default())).collect()
    }

    /// Returns the settings of one registry: the cluster's, with the flags over them. As long as only the cluster says how the registry is
    /// trusted, the credentials of this machine are withheld.
    fn setting(&self, host: &str, mut settings: RegistrySettings) -> RegistrySettings {
        host.clone_into(&mut settings.host);
        let plain_http = self.flags.uses_plain_http(host) || self.flags.uses_plain_http(request_host(&settings));
        settings.trust_of_others = (settings.plain_http && !plain_http)
            || (settings.ca_pem.is_some() && self.authorities.is_none())
            || (settings.token_service.is_some() && self.flags.token_service.is_none());
        settings.plain_http |= plain_http;
        settings.ca_pem = self.authorities.clone().or(settings.ca_pem);
        settings.token_service = self.flags.token_service.clone().or(settings.token_service);
        settings.client_certificate = self.client_certificate.clone().or(settings.client_certificate);
        // The identity is that of this environment, as its user says: a policy means the controller's.
        settings.provider = self.provider_for(request_host(&settings)).filter(|_| !settings.trust_of_others);
        settings
    }

    /// Whether a helper or `--provider` would have credentials for a host.
    fn has_credentials_for(&self, host: &str) -> bool {
        self.credentials.iter().any(|one| one.helpers.has_helper_for(host)) || self.provider_for(host).is_some()
    }

    /// Returns the cloud whose identity `--provider` has used for a host.
    fn provider_for(&self, host: &str) -> Option<CloudProvider> {
        self.flags.provider.filter(|provider| CloudProvider::of_host(host) == Some(*provider))
    }

    /// Notes once for each registry that credentials of this machine are withheld, and the flags that have them sent.
    fn note_withheld(&self, hosts: &BTreeSet<String>, registries: &[RegistrySettings]) {
        for host in hosts {
            if !self.noted.borrow_mut().insert(host.clone()) {
                continue;
            }
            let found =
                registries.iter().find(|one| one.trust_of_others && request_host(one).eq_ignore_ascii_case(host));
            let hub = || registries.iter().find(|one| one.trust_of_others);
            let Some(settings) = found.or_else(hub) else { continue };
            let plain = settings.plain_http && !self.flags.uses_plain_http(host);
            let mut flags = Vec::new();
            if plain {
                flags.push(format!("--plain-http {host}"));
            }
            if settings.ca_pem.is_some() && self.authorities.is_none() {
                flags.push("--ca-file FILE".to_owned());
            }
            if let Some(service) = settings.token_service.as_ref().filter(|_| self.flags.token_service.is_none()) {
                flags.push(format!("--token-service {service}"));
            }
            note(&format!(
                "note: the credentials of this machine for {host} are not sent: the cluster's policy says how that registry is \
                 trusted, and you did not; to send them give {}",
                flags.join(" and ")
            ));
        }
    }
}

/// Returns the host, with its port, that requests go to: the mirror's, or the registry's own.
fn request_host(settings: &RegistrySettings) -> &str {
    let place = settings.mirror.as_deref().unwrap_or(&settings.host);
    place.split('/').next().unwrap_or(place)
}

/// Returns the client certificate of the flags.
fn client_certificate(flags: &RegistryFlags) -> Result<Option<ClientCertificate>, Failure> {
    let (Some(cert), Some(key)) = (&flags.cert, &flags.key) else { return Ok(None) };
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()));
    // A key in PEM is text; what is none is refused below.
    let key_pem = Secret::new(String::from_utf8(read(key)?).unwrap_or_default());
    let certificate = ClientCertificate::new(read(cert)?, key_pem).map_err(|error| {
        Failure::new(format!("{} with {}: {error}", cert.display(), key.display()))
            .reason(Reason::ClientCertificateInvalid)
    })?;
    Ok(Some(certificate))
}

/// Returns the certificates of a PEM file.
fn authorities(path: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !holds_certificate(&pem) {
        return Err(
            Failure::new(format!("{} holds no certificate in PEM", path.display())).reason(Reason::CaBundleInvalid)
        );
    }
    Ok(Some(pem))
}
