//! Where images are, and how their registries are accessed.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::model::{CloudProvider, RegistryLayout};

/// Where an Installation has its images.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(in crate::cli) struct LayoutFlags {
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

/// How registries are accessed and trusted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registry")]
pub(in crate::cli) struct RegistryFlags {
    /// File with credentials, as docker login writes it; else $DOCKER_AUTH_CONFIG (its text), $REGISTRY_AUTH_FILE, or the
    /// files of docker login and podman login; credential helpers that they name are asked
    #[arg(long, value_name = "FILE", alias = "docker-config")]
    pub registry_config: Option<PathBuf>,

    /// The cloud whose identity in this environment is used for its registries (ECR, Artifact Registry, ACR), before any
    /// other credentials
    #[arg(long, value_name = "CLOUD", value_parser = provider())]
    pub provider: Option<CloudProvider>,

    /// Certificates in PEM to trust beside the system's: of authorities, or exactly a server's own
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// Client certificate in PEM, with its chain, for registries that ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Private key of the client certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// A registry, HOST or HOST:PORT, that is asked without TLS, credentials included; repeatable; without HOST every registry
    /// but the public ones that Calico is published in
    #[arg(long, value_name = "HOST", num_args = 0..=1, default_missing_value = EVERY_HOST)]
    pub plain_http: Vec<String>,

    /// A token service outside the registry's domain that may get its credentials, HOST or HOST:PORT
    #[arg(long, value_name = "HOST")]
    pub token_service: Option<String>,
}

/// Returns the parser of a cloud's name, with the names that it accepts.
fn provider() -> impl TypedValueParser<Value = CloudProvider> {
    PossibleValuesParser::new(CloudProvider::ALL.map(CloudProvider::as_str))
        .try_map(|name| name.parse::<CloudProvider>())
}

/// The value of `--plain-http` without a host.
const EVERY_HOST: &str = "*";

/// Registries that Calico is published in, as their images name them. None speaks plain HTTP, and no password goes there in the clear.
const PUBLISHERS: [&str; 6] =
    ["docker.io", "index.docker.io", "registry-1.docker.io", "quay.io", "gcr.io", "mcr.microsoft.com"];

impl RegistryFlags {
    /// Whether a registry is to be asked without TLS.
    pub fn uses_plain_http(&self, host: &str) -> bool {
        let is_named = |named: &String| match named.as_str() {
            EVERY_HOST => !PUBLISHERS.contains(&host),
            named => named.eq_ignore_ascii_case(host),
        };
        self.plain_http.iter().any(is_named)
    }
}

/// Returns the arguments with `--plain-http=*` in the place of a `--plain-http` whose next argument is no host: a version, a file or
/// another flag. Tools such as oras have the flag without a value.
pub(in crate::cli) fn with_plain_http_values(arguments: Vec<OsString>) -> Vec<OsString> {
    let flag = OsStr::new("--plain-http");
    let followers = arguments.iter().skip(1).map(Some).chain([None]).map(|next| next.is_some_and(is_host));
    let followers: Vec<bool> = followers.collect();
    let with_value = |(argument, has_host): (OsString, bool)| match argument == flag && !has_host {
        true => OsString::from(format!("--plain-http={EVERY_HOST}")),
        false => argument,
    };
    arguments.into_iter().zip(followers).map(with_value).collect()
}

/// Whether an argument is a host rather than a flag, a version, an image or a file.
fn is_host(argument: &OsString) -> bool {
    let Some(text) = argument.to_str().filter(|text| !text.starts_with('-') && !text.contains(['/', '@', '='])) else {
        return false;
    };
    let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if name == "localhost" || text.parse::<IpAddr>().is_ok() || port.parse::<u16>().is_ok() {
        return true;
    }
    let is_version = text.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit());
    let is_file = ["yaml", "yml", "json", "txt"].iter().any(|end| text.ends_with(&format!(".{end}")));
    !text.is_empty() && !text.contains(':') && !is_version && !is_file && !Path::new(text).is_file()
}

impl LayoutFlags {
    /// Returns the layout of the flags alone.
    pub fn layout(&self) -> RegistryLayout {
        RegistryLayout {
            registry: self.registry.clone(),
            image_path: self.image_path.clone(),
            image_prefix: self.image_prefix.clone(),
        }
    }

    /// Returns the layout of an Installation, with the flags that are given in its place.
    pub fn over(&self, mut layout: RegistryLayout) -> RegistryLayout {
        let flags = self.layout();
        let fields = [
            (flags.registry, &mut layout.registry),
            (flags.image_path, &mut layout.image_path),
            (flags.image_prefix, &mut layout.image_prefix),
        ];
        for (flag, field) in fields {
            if !flag.is_empty() {
                *field = flag;
            }
        }
        layout
    }
}

/// Returns where a layout has its images, for people.
pub(in crate::cli) fn describe(layout: &RegistryLayout) -> String {
    let RegistryLayout { registry, image_path, .. } = layout.normalised();
    let registry = if registry.is_empty() { "the default registries" } else { &registry };
    if image_path.is_empty() { registry.to_owned() } else { format!("{registry}/{image_path}") }
}

/// Returns the flags that give this layout, for a command line that is printed.
pub(in crate::cli) fn command_line(layout: &RegistryLayout) -> Vec<String> {
    let settings = [
        ("--registry", &layout.registry),
        ("--image-path", &layout.image_path),
        ("--image-prefix", &layout.image_prefix),
    ];
    settings.iter().filter(|(_, value)| !value.is_empty()).map(|(flag, value)| format!("{flag} {value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_takes_a_host_and_nothing_else() {
        let read = |line: &str| {
            let arguments = line.split(' ').map(OsString::from).collect();
            let arguments = with_plain_http_values(arguments);
            arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        for same in [
            "generate v1.42.4 --plain-http reg.example:5000",
            "generate --plain-http localhost v1.42.4",
            "generate --plain-http 10.0.0.1 v1.42.4",
            "generate --plain-http registry v1.42.4",
            "generate --plain-http reg.example v1.42.4",
            "generate --plain-http=reg.example v1.42.4",
        ] {
            assert_eq!(read(same), same);
        }
        for (line, expected) in [
            ("generate --plain-http v1.42.4", "generate --plain-http=* v1.42.4"),
            ("generate --plain-http --registry reg.example", "generate --plain-http=* --registry reg.example"),
            ("generate v1.42.4 --plain-http", "generate v1.42.4 --plain-http=*"),
            ("verify --plain-http imageset.yaml", "verify --plain-http=* imageset.yaml"),
            ("verify --plain-http -", "verify --plain-http=* -"),
            ("pin --plain-http ./operator", "pin --plain-http=* ./operator"),
            ("pin --plain-http operator:v1.42.4", "pin --plain-http=* operator:v1.42.4"),
        ] {
            assert_eq!(read(line), expected);
        }
    }
}
