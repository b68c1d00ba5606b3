//! How verbs get at registries: the flags, the credentials that a machine has already, and a client. Decides nothing.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Context as _;
use clap::Args;

use super::credential_helpers::CredentialHelpers;
use super::output::{Failure, Progress, note};
use crate::model::lookups::{Answer as Of, Hints, OperatorImage};
use crate::model::reason::Reason;
use crate::model::reference::Reference;
use crate::model::registry_failure::RegistryFailure;
use crate::model::registry_layout::RegistryLayout;
use crate::model::resolved_image::ResolvedImage;
use crate::registry::{
    Access, DockerConfig, InvalidDockerConfig, RegistryClient, RegistryClientSettings, RegistrySettings,
};

/// The text of a configuration, as CI systems hand it over.
const AUTH_TEXT: &str = "DOCKER_AUTH_CONFIG";
/// Podman's and skopeo's file.
const AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Docker's folder.
const DOCKER_FOLDER: &str = "DOCKER_CONFIG";

/// Where images are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct LayoutArguments {
    /// `registry` of the Installation
    #[arg(long, value_name = "HOST", default_value = "", hide_default_value = true)]
    pub registry: String,

    /// `imagePath` of the Installation
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    pub image_path: String,

    /// `imagePrefix` of the Installation
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub image_prefix: String,
}

/// How to get at images.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(super) struct AccessArguments {
    /// File with credentials, as docker login writes it; else $DOCKER_AUTH_CONFIG (its text), $REGISTRY_AUTH_FILE, or
    /// config.json in $DOCKER_CONFIG or ~/.docker; credential helpers that it names are asked
    #[arg(long, value_name = "FILE", alias = "docker-config")]
    pub registry_config: Option<PathBuf>,

    /// Certificates in PEM to trust beside the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// A registry, HOST or HOST:PORT, that is asked without TLS, credentials included; repeatable
    #[arg(long, value_name = "HOST")]
    pub plain_http: Vec<String>,

    /// A token service outside the registry's domain that may get its credentials, HOST or HOST:PORT
    #[arg(long, value_name = "HOST")]
    pub token_service: Option<String>,
}

impl LayoutArguments {
    /// As the rules have it.
    pub fn layout(&self) -> RegistryLayout {
        RegistryLayout {
            registry: self.registry.clone(),
            image_path: self.image_path.clone(),
            image_prefix: self.image_prefix.clone(),
        }
    }

    /// What an Installation says, where no flag says otherwise.
    pub fn over(&self, mut said: RegistryLayout) -> RegistryLayout {
        let flags = self.layout();
        let fields = [
            (flags.registry, &mut said.registry),
            (flags.image_path, &mut said.image_path),
            (flags.image_prefix, &mut said.image_prefix),
        ];
        for (flag, field) in fields {
            if !flag.is_empty() {
                *field = flag;
            }
        }
        said
    }
}

/// Where images are by this layout, for people.
pub(super) fn place_of(layout: &RegistryLayout) -> String {
    let RegistryLayout { registry, image_path, .. } = layout.normalised();
    let registry = if registry.is_empty() { "the default registries" } else { &registry };
    if image_path.is_empty() { registry.to_owned() } else { format!("{registry}/{image_path}") }
}

/// The flags that name this layout.
pub(super) fn flags_of(layout: &RegistryLayout) -> Vec<String> {
    let settings = [
        ("--registry", &layout.registry),
        ("--image-path", &layout.image_path),
        ("--image-prefix", &layout.image_prefix),
    ];
    settings.iter().filter(|(_, value)| !value.is_empty()).map(|(flag, value)| format!("{flag} {value}")).collect()
}

/// What a machine has to show to registries.
#[derive(Default)]
struct Credentials {
    written: Option<DockerConfig>,
    helpers: CredentialHelpers,
}

/// Registries, as this machine gets at them.
pub(super) struct Registries {
    client: RegistryClient,
    credentials: Credentials,
    authorities: Option<Vec<u8>>,
    plain_http: Vec<String>,
    token_service: Option<String>,
    /// Registries of which it was said that credentials are kept back.
    noted: RefCell<BTreeSet<String>>,
    /// How a cluster gets at them, where one was looked at.
    cluster: OnceLock<Access>,
}

impl Registries {
    /// Reads credentials and certificates; asks nobody.
    ///
    /// # Errors
    /// A file that was named is not there or not good. One that happens to be there is only noted.
    pub fn open(arguments: &AccessArguments) -> Result<Self, Failure> {
        Ok(Self {
            client: RegistryClient::new(RegistryClientSettings::of_environment()),
            credentials: credentials(arguments.registry_config.as_deref())?,
            authorities: authorities(arguments.ca_file.as_deref())?,
            plain_http: arguments.plain_http.clone(),
            token_service: arguments.token_service.clone(),
            noted: RefCell::default(),
            cluster: OnceLock::new(),
        })
    }

    /// Goes the cluster's ways, too: its mirrors, and its authorities, token services and plain HTTP for its own credentials. Those of
    /// this machine are only sent with what its user said by flags: whoever writes the policy must not decide how they travel.
    pub fn learn(&self, access: Access) {
        // A second cluster is not looked at.
        let _ = self.cluster.set(access);
    }

    /// Resolves all, with a progress bar on a terminal; the answers come in the order of `references`.
    pub async fn resolve(
        &self,
        title: &str,
        references: &[Reference],
        hints: &Hints,
    ) -> Vec<Result<ResolvedImage, RegistryFailure>> {
        let access = self.access(references);
        let progress = Progress::start(title, references.len());
        let answers = self.client.resolve(&access, references, hints, |done| progress.reached(done)).await;
        progress.end();
        answers
    }

    /// Digest and version label of operator images.
    pub async fn operators(&self, references: BTreeSet<Reference>) -> BTreeMap<Reference, Of<OperatorImage>> {
        let mut answers = BTreeMap::new();
        for reference in references {
            let access = self.access(std::slice::from_ref(&reference));
            let answer = self.client.operator_version_label(&access, &reference).await;
            answers.insert(reference, answer.map_or_else(Of::Failed, Of::Known));
        }
        answers
    }

    fn access(&self, references: &[Reference]) -> Access {
        let registries = self.settings(references);
        let cluster = self.cluster.get().map(|access| access.credentials.clone()).unwrap_or_default();
        // What a helper says comes before what is written down, as for docker. Where nothing of it would be sent, none is asked.
        let (others, own): (Vec<_>, Vec<_>) = registries.iter().partition(|one| one.trust_of_others);
        let helped = own.iter().filter_map(|one| self.credentials.helpers.credentials(asked_host(one)));
        let personal = helped.chain(self.credentials.written.clone()).collect();
        let helpers =
            others.iter().map(|one| asked_host(one)).filter(|host| self.credentials.helpers.are_asked_for(host));
        let mut kept_back: BTreeSet<String> = helpers.map(str::to_owned).collect();
        let access = Access { credentials: cluster, personal, registries: registries.clone() };
        kept_back.extend(references.iter().filter_map(|reference| access.keeps_back_for(reference)));
        self.note_kept_back(&kept_back, &registries);
        access
    }

    /// One entry per registry that is asked, and per mirror of one.
    fn settings(&self, references: &[Reference]) -> Vec<RegistrySettings> {
        let cluster = self.cluster.get().map(|access| access.registries.as_slice()).unwrap_or_default();
        let of_cluster = |host: &str| cluster.iter().find(|settings| settings.host.eq_ignore_ascii_case(host));
        let mut hosts: BTreeSet<&str> = references.iter().map(Reference::registry).collect();
        let mirrors: Vec<&str> = hosts.iter().filter_map(|host| of_cluster(host).map(asked_host)).collect();
        // A mirror with an entry of its own is asked by that one.
        hosts.extend(mirrors.into_iter().filter(|host| of_cluster(host).is_some()));
        hosts.into_iter().map(|host| self.setting(host, of_cluster(host).cloned().unwrap_or_default())).collect()
    }

    /// How one registry is asked: what the cluster says, with what the person at this machine says over it. As long as anything of how
    /// it is trusted is the cluster's word alone, that person's credentials are not sent.
    fn setting(&self, host: &str, mut settings: RegistrySettings) -> RegistrySettings {
        host.clone_into(&mut settings.host);
        let asked = asked_host(&settings).to_owned();
        let is_flagged = |flagged: &String| flagged.eq_ignore_ascii_case(host) || flagged.eq_ignore_ascii_case(&asked);
        let plain_http = self.plain_http.iter().any(is_flagged);
        settings.trust_of_others = (settings.plain_http && !plain_http)
            || (settings.ca_pem.is_some() && self.authorities.is_none())
            || (settings.token_service.is_some() && self.token_service.is_none());
        settings.plain_http |= plain_http;
        settings.ca_pem = self.authorities.clone().or(settings.ca_pem);
        settings.token_service = self.token_service.clone().or(settings.token_service);
        settings
    }

    /// Says once for each registry that credentials of this machine are not sent to it, and how to have them sent.
    fn note_kept_back(&self, hosts: &BTreeSet<String>, registries: &[RegistrySettings]) {
        for host in hosts {
            if !self.noted.borrow_mut().insert(host.clone()) {
                continue;
            }
            let found = registries.iter().find(|one| one.trust_of_others && asked_host(one).eq_ignore_ascii_case(host));
            let hub = || registries.iter().find(|one| one.trust_of_others);
            let Some(settings) = found.or_else(hub) else { continue };
            let plain = settings.plain_http && !self.plain_http.iter().any(|one| one.eq_ignore_ascii_case(host));
            let mut flags = Vec::new();
            if plain {
                flags.push(format!("--plain-http {host}"));
            }
            if settings.ca_pem.is_some() && self.authorities.is_none() {
                flags.push("--ca-file FILE".to_owned());
            }
            if let Some(service) = settings.token_service.as_ref().filter(|_| self.token_service.is_none()) {
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

/// The host, with its port, that is asked by these settings.
fn asked_host(settings: &RegistrySettings) -> &str {
    let place = settings.mirror.as_deref().unwrap_or(&settings.host);
    place.split('/').next().unwrap_or(place)
}

/// A registry's failure, for somebody at a terminal.
pub(super) fn failure(failed: &RegistryFailure) -> Failure {
    let reason = Reason::from(failed.kind);
    Failure::new(failed.summary()).reason(reason).hint(hint(reason))
}

/// The next step for somebody at a terminal, where the policy's fields are no help.
pub(super) const fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::ImageMissing => {
            "push or mirror the image; if your cluster does not need it, leave it out with --exclude NAME"
        }
        Reason::ExcludedImageRequired => "take that --exclude away",
        Reason::LayoutInvalid => {
            "correct --registry, --image-path and --image-prefix; the registry is a host, without scheme"
        }
        Reason::RegistryUnauthorized => "log in to the registry, or give its credentials with --registry-config FILE",
        Reason::RegistryCertificateInvalid => "give the registry's certificate authority with --ca-file FILE",
        Reason::RegistryUnreachable => {
            "check the registry's name and port; a registry without TLS needs --plain-http HOST"
        }
        other => other.next_step(),
    }
}

/// What a machine has, the first that is there.
fn credentials(named: Option<&Path>) -> Result<Credentials, Failure> {
    if let Some(path) = named {
        let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        return given(&text, &path.display().to_string());
    }
    if let Some(text) = std::env::var_os(AUTH_TEXT).filter(|text| !text.is_empty()) {
        return given(text.as_encoded_bytes(), &format!("${AUTH_TEXT}"));
    }
    if let Some(path) = std::env::var_os(AUTH_FILE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        let text = std::fs::read(&path).with_context(|| format!("{} (${AUTH_FILE}) cannot be read", path.display()))?;
        return given(&text, &format!("{} (${AUTH_FILE})", path.display()));
    }
    let Some(path) = dockers_own() else { return Ok(Credentials::default()) };
    let Ok(text) = std::fs::read(&path) else { return Ok(Credentials::default()) };
    Ok(parsed(&text).unwrap_or_else(|error| {
        note(&format!("note: {} is not used: {error}", path.display()));
        Credentials::default()
    }))
}

fn parsed(text: &[u8]) -> Result<Credentials, InvalidDockerConfig> {
    let helpers = CredentialHelpers::of(text);
    match DockerConfig::parse_dockerconfigjson(text) {
        Ok(config) => Ok(Credentials { written: Some(config), helpers }),
        Err(InvalidDockerConfig::HelperOnly) if !helpers.is_empty() => Ok(Credentials { written: None, helpers }),
        Err(error) => Err(error),
    }
}

fn given(text: &[u8], place: &str) -> Result<Credentials, Failure> {
    parsed(text).map_err(|error| {
        Failure::new(format!("{place}: {error}"))
            .reason(Reason::PullSecretInvalid)
            .hint("give it as docker login writes it, with the credentials in it")
    })
}

fn dockers_own() -> Option<PathBuf> {
    let folder = match std::env::var_os(DOCKER_FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}

fn authorities(path: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(
            Failure::new(format!("{} holds no certificate in PEM", path.display())).reason(Reason::CaBundleInvalid)
        );
    }
    Ok(Some(pem))
}
