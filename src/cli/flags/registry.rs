//! Where images are, and how their registries are accessed.

use std::path::PathBuf;

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
    /// File with credentials, as docker login writes it; else $DOCKER_AUTH_CONFIG (its text), $REGISTRY_AUTH_FILE, or
    /// config.json in $DOCKER_CONFIG or ~/.docker; credential helpers that it names are asked
    #[arg(long, value_name = "FILE", alias = "docker-config")]
    pub registry_config: Option<PathBuf>,

    /// The cloud whose identity in this environment is used for its registries (ECR, Artifact Registry, ACR), before any
    /// other credentials
    #[arg(long, value_name = "CLOUD", value_parser = provider())]
    pub provider: Option<CloudProvider>,

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

/// Returns the parser of a cloud's name, with the names that it accepts.
fn provider() -> impl TypedValueParser<Value = CloudProvider> {
    PossibleValuesParser::new(CloudProvider::ALL.map(CloudProvider::as_str))
        .try_map(|name| name.parse::<CloudProvider>())
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
