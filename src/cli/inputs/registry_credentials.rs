//! The registry credentials that a machine has already: a configuration as docker login writes it, and the helpers that it names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::credential_helpers::CredentialHelpers;
use crate::cli::output::{Failure, note};
use crate::model::Reason;
use crate::registry::{DockerConfig, InvalidDockerConfig};

/// The text of a configuration, as CI systems hand it over.
const AUTH_TEXT: &str = "DOCKER_AUTH_CONFIG";
/// Podman's and skopeo's file.
const AUTH_FILE: &str = "REGISTRY_AUTH_FILE";
/// Docker's folder.
const DOCKER_FOLDER: &str = "DOCKER_CONFIG";

/// Credentials for registries.
#[derive(Default)]
pub(in crate::cli) struct Credentials {
    /// Those that the configuration holds itself.
    pub config: Option<DockerConfig>,
    /// Programs that hold others.
    pub helpers: CredentialHelpers,
}

/// Returns the credentials of the first configuration that is there: the file that is named, the variables, Docker's own file.
///
/// # Errors
/// A configuration that was named is missing or invalid. Docker's own is only noted.
pub(in crate::cli) fn find(named: Option<&Path>) -> Result<Credentials, Failure> {
    let read = |path: &Path, place: String| {
        let text = std::fs::read(path).with_context(|| format!("{place} cannot be read"))?;
        parse_named(&text, &place)
    };
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = named {
        return read(path, path.display().to_string());
    }
    if let Some(text) = variable(AUTH_TEXT) {
        return parse_named(text.as_encoded_bytes(), &format!("${AUTH_TEXT}"));
    }
    if let Some(path) = variable(AUTH_FILE).map(PathBuf::from) {
        return read(&path, format!("{} (${AUTH_FILE})", path.display()));
    }
    let Some(path) = docker_config_path() else { return Ok(Credentials::default()) };
    let Ok(text) = std::fs::read(&path) else { return Ok(Credentials::default()) };
    Ok(parse(&text).unwrap_or_else(|error| {
        note(&format!("note: {} is not used: {error}", path.display()));
        Credentials::default()
    }))
}

/// A configuration that has helpers and no credentials of its own is a good one.
fn parse(text: &[u8]) -> Result<Credentials, InvalidDockerConfig> {
    let helpers = CredentialHelpers::of(text);
    match DockerConfig::parse_dockerconfigjson(text) {
        Ok(config) => Ok(Credentials { config: Some(config), helpers }),
        Err(InvalidDockerConfig::HelperOnly) if !helpers.is_empty() => Ok(Credentials { config: None, helpers }),
        Err(error) => Err(error),
    }
}

fn parse_named(text: &[u8], place: &str) -> Result<Credentials, Failure> {
    parse(text).map_err(|error| {
        Failure::new(format!("{place}: {error}"))
            .reason(Reason::PullSecretInvalid)
            .hint("give it as docker login writes it, with the credentials in it")
    })
}

fn docker_config_path() -> Option<PathBuf> {
    let folder = match std::env::var_os(DOCKER_FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    Some(folder.join("config.json"))
}
