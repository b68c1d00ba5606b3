//! `generate`: complete ImageSets as files, from the registry that a cluster pulls from. Needs neither cluster nor Docker.
//!
//! It asks the same rules as the controller: to them it is the first install of that operator version in a cluster of
//! which nothing is known but the flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::output::{Answer, Failure, Progress};
use super::{VariantArgument, image_set, known_images, runtime};
use crate::domain::finding::{Reason, Severity};
use crate::domain::imageset::CompleteImageSet;
use crate::domain::settings::{InstallationSettings, Mode, PrepareVersion, Settings};
use crate::domain::snapshot::Read;
use crate::domain::{
    Action, Catalogue, Decision, ImageName, Platform, Reference, RegistryLayout, Release, Snapshot,
    answer::Answer as Of, decide,
};
use crate::registry::{Access, DockerConfig, RegistryClient, RegistryClientSettings, RegistrySettings};

/// Rounds of questions and answers until a decision has no more questions; a set needs one.
const ROUNDS: usize = 3;

/// Print the ImageSet of operator releases, with digests from the registry.
///
/// Every digest is the SHA-256 of the bytes that the registry serves. Nothing is printed unless each set is complete.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller generate v1.42.4
  imageset-controller generate v1.42.4 --registry registry.example.com --image-path mirrors/calico
  imageset-controller generate v1.40.15 v1.42.4 --fips --platform linux/amd64 > imagesets.yaml")]
pub(super) struct Arguments {
    /// Operator releases, such as v1.42.4
    #[arg(value_name = "VERSION", required = true)]
    releases: Vec<Release>,

    /// The product that the operator installs
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    variant: VariantArgument,

    /// The images for FIPS mode, as with fipsMode: Enabled in the Installation
    #[arg(long)]
    fips: bool,

    /// Leave out an image, such as calico/node-windows; one that the operator insists on is refused
    #[arg(long, value_name = "NAME")]
    exclude: Vec<ImageName>,

    /// A platform of your nodes, such as linux/arm64, that every image must have; repeatable
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,

    /// What to print
    #[arg(short, long, value_enum, default_value = "yaml", value_parser = ["yaml", "json"])]
    output: String,

    #[command(flatten)]
    registry: RegistryArguments,
}

/// Where images are, and how to get at them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
struct RegistryArguments {
    /// `registry` of the Installation
    #[arg(long, value_name = "HOST", default_value = "", hide_default_value = true)]
    registry: String,

    /// `imagePath` of the Installation
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    image_path: String,

    /// `imagePrefix` of the Installation
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    image_prefix: String,

    /// Docker's configuration with credentials; without it config.json in $DOCKER_CONFIG or ~/.docker, if there is one
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,

    /// Certificates in PEM to trust beside the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// A registry, HOST or HOST:PORT, that is asked without TLS, credentials included; repeatable
    #[arg(long, value_name = "HOST")]
    plain_http: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let releases = checked_releases(arguments)?;
    let credentials = arguments.registry.credentials()?;
    let authorities = arguments.registry.authorities()?;
    let runtime = runtime()?;
    let client = RegistryClient::new(RegistryClientSettings::of_environment());
    let mut sets = Vec::new();
    for release in releases {
        let access = |references: &BTreeSet<Reference>| Access {
            credentials: credentials.iter().cloned().collect(),
            registries: arguments.registry.settings(references, authorities.as_deref()),
        };
        sets.push(runtime.block_on(generate(arguments, release, &client, access))?);
    }
    match arguments.output.as_str() {
        "json" => image_set::json(&sets).map(Answer::text),
        _ => image_set::yaml(&sets, |set| arguments.header(set)).map(Answer::text),
    }
}

/// The releases in their order, each once. What no registry can help is said before any is asked.
fn checked_releases(arguments: &Arguments) -> Result<BTreeSet<Release>, Failure> {
    let releases: BTreeSet<Release> = arguments.releases.iter().copied().collect();
    for release in &releases {
        known_images(*release)?.image_set_name(arguments.variant.into()).map_err(|marker| {
            Failure::new(marker.to_string())
                .reason(Reason::PreReleaseMarker.as_str())
                .hint(Reason::PreReleaseMarker.next_step())
        })?;
    }
    Ok(releases)
}

/// One set, by the rules of the controller.
async fn generate(
    arguments: &Arguments,
    release: Release,
    client: &RegistryClient,
    access: impl Fn(&BTreeSet<Reference>) -> Access,
) -> Result<CompleteImageSet, Failure> {
    let mut snapshot = arguments.snapshot(release);
    let mut decision = decide(&snapshot, Catalogue::embedded());
    for _ in 0..ROUNDS {
        if decision.questions.is_empty() {
            break;
        }
        let (asked, hints) = (&decision.questions.images, &decision.questions.hints);
        let references: Vec<Reference> = asked.iter().cloned().collect();
        let progress = Progress::start(&format!("operator {release}"), references.len());
        let answers = client.resolve(&access(asked), &references, hints, |done| progress.reached(done)).await;
        progress.end();
        let answers = answers.into_iter().map(|answer| answer.map_or_else(Of::Failed, Of::Known));
        snapshot.answers.images.extend(references.into_iter().zip(answers));
        decision = decide(&snapshot, Catalogue::embedded());
    }
    complete_set(decision, release)
}

fn complete_set(decision: Decision, release: Release) -> Result<CompleteImageSet, Failure> {
    for finding in decision.findings.iter().filter(|finding| finding.reason.severity() == Severity::Warning) {
        super::output::note(&format!("warning: {}", finding.sentence()));
    }
    let blocking = decision.findings.iter().filter(|finding| finding.blocks());
    let failures = blocking.map(|finding| {
        // There are no nodes here that could have credentials of their own.
        let reason = match finding.reason {
            Reason::NodeCredentialsOnly => Reason::RegistryUnauthorized,
            reason => reason,
        };
        Failure::new(format!("{}: {}", finding.object, finding.message)).reason(reason.as_str()).hint(hint(reason))
    });
    if let Some(failure) = failures.reduce(Failure::and) {
        return Err(failure);
    }
    let stored = decision.plan.iter().find_map(Action::image_set).map(|store| store.set.clone());
    stored.ok_or_else(|| Failure::new(format!("no ImageSet came out for operator {release}")))
}

/// The next step for somebody at a terminal, where the policy's fields are no help.
const fn hint(reason: Reason) -> &'static str {
    match reason {
        Reason::ImageMissing => {
            "push or mirror the image; if your cluster does not need it, leave it out with --exclude NAME"
        }
        Reason::ExcludedImageRequired => "take that --exclude away",
        Reason::LayoutInvalid => {
            "correct --registry, --image-path and --image-prefix; the registry is a host, without scheme"
        }
        Reason::RegistryUnauthorized => "log in to the registry, or give its credentials with --docker-config FILE",
        Reason::RegistryCertificateInvalid => "give the registry's certificate authority with --ca-file FILE",
        Reason::RegistryUnreachable => {
            "check the registry's name and port; a registry without TLS needs --plain-http HOST"
        }
        other => other.next_step(),
    }
}

impl Arguments {
    /// A cluster of which nothing is known but what was typed.
    fn snapshot(&self, release: Release) -> Snapshot {
        let registry = &self.registry;
        let layout = RegistryLayout {
            registry: registry.registry.clone(),
            image_path: registry.image_path.clone(),
            image_prefix: registry.image_prefix.clone(),
        };
        let settings = Settings {
            mode: Mode::Apply,
            installation: InstallationSettings {
                variant: self.variant.into(),
                layout,
                fips: self.fips,
                ..InstallationSettings::default()
            },
            prepare: vec![PrepareVersion::Release(release)],
            exclude: self.exclude.iter().cloned().collect(),
            ..Settings::default()
        };
        let nodes: BTreeMap<Platform, u32> = self.platform.iter().map(|platform| (platform.clone(), 1)).collect();
        Snapshot { settings, nodes: Read::Known(nodes), ..Snapshot::default() }
    }

    /// What the file was made for and from, with the command that makes it again.
    fn header(&self, set: &CompleteImageSet) -> Vec<String> {
        let release = set.origin().operator;
        let mut command = vec![format!("imageset-controller generate {release}")];
        if !matches!(self.variant, VariantArgument::Calico) {
            command.push("--variant Enterprise".to_owned());
        }
        if self.fips {
            command.push("--fips".to_owned());
        }
        let registry = &self.registry;
        let settings = [
            ("--registry", &registry.registry),
            ("--image-path", &registry.image_path),
            ("--image-prefix", &registry.image_prefix),
        ];
        command.extend(
            settings.into_iter().filter(|(_, value)| !value.is_empty()).map(|(flag, value)| format!("{flag} {value}")),
        );
        command.extend(self.exclude.iter().map(|name| format!("--exclude {name}")));
        command.extend(self.platform.iter().map(|platform| format!("--platform {platform}")));
        let place = if registry.registry.is_empty() { "the default registries" } else { registry.registry.as_str() };
        vec![
            format!("Digests for tigera-operator {release}, {} images from {place}. Made by:", set.entries().len()),
            format!("  {}", command.join(" ")),
        ]
    }
}

impl RegistryArguments {
    /// Only a file that was named has to be there and to be good.
    fn credentials(&self) -> Result<Option<DockerConfig>, Failure> {
        let (path, named) = match &self.docker_config {
            Some(path) => (path.clone(), true),
            None => match default_docker_config() {
                Some(path) => (path, false),
                None => return Ok(None),
            },
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(_) if !named => return Ok(None),
            Err(error) => return Err(Failure::new(format!("{} cannot be read: {error}", path.display()))),
        };
        match DockerConfig::parse_dockerconfigjson(&text) {
            Ok(config) => Ok(Some(config)),
            Err(error) if !named => {
                super::output::note(&format!("note: {} is not used: {error}", path.display()));
                Ok(None)
            }
            Err(error) => Err(Failure::new(format!("{}: {error}", path.display()))
                .reason(Reason::PullSecretInvalid.as_str())
                .hint("give a file as docker login writes it, with the credentials in it")),
        }
    }

    fn authorities(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(path) = &self.ca_file else { return Ok(None) };
        let pem = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
            return Err(Failure::new(format!("{} holds no certificate in PEM", path.display()))
                .reason(Reason::CaBundleInvalid.as_str()));
        }
        Ok(Some(pem))
    }

    /// One entry per registry that is asked.
    fn settings(&self, references: &BTreeSet<Reference>, authorities: Option<&[u8]>) -> Vec<RegistrySettings> {
        let hosts: BTreeSet<&str> = references.iter().map(Reference::registry).collect();
        let one = |host: &str| RegistrySettings {
            host: host.to_owned(),
            ca_pem: authorities.map(<[u8]>::to_vec),
            plain_http: self.plain_http.iter().any(|plain| plain.eq_ignore_ascii_case(host)),
            ..RegistrySettings::default()
        };
        hosts.into_iter().map(one).collect()
    }
}

fn default_docker_config() -> Option<PathBuf> {
    let folder = match std::env::var_os("DOCKER_CONFIG") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}
