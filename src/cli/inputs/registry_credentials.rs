//! The registry credentials that a machine has already: a configuration as docker login writes it, and the helpers that it names.

use std::ffi::OsString;
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

/// Podman's file in one of its folders.
const PODMAN_FILE: &str = "containers/auth.json";

/// Credentials for registries: those of one configuration.
#[derive(Default)]
pub(in crate::cli) struct Credentials {
    /// Those that the configuration holds itself.
    pub config: Option<DockerConfig>,
    /// Programs that hold others.
    pub helpers: CredentialHelpers,
}

/// Returns the credentials of the configuration that is named, by flag or variable; else of docker's own file and of podman's, in this
/// order.
///
/// # Errors
/// A configuration that was named is missing or invalid. Files in their usual places are only noted.
pub(in crate::cli) fn find(named: Option<&Path>) -> Result<Vec<Credentials>, Failure> {
    let read = |path: &Path, place: String| {
        let text = std::fs::read(path).with_context(|| format!("{place} cannot be read"))?;
        parse_named(&text, &place).map(|credentials| vec![credentials])
    };
    if let Some(path) = named {
        return read(path, path.display().to_string());
    }
    if let Some(text) = variable(AUTH_TEXT) {
        return Ok(vec![parse_named(text.as_encoded_bytes(), &format!("${AUTH_TEXT}"))?]);
    }
    if let Some(path) = variable(AUTH_FILE).map(PathBuf::from) {
        return read(&path, format!("{} (${AUTH_FILE})", path.display()));
    }
    Ok(usual_files().iter().filter_map(|path| parse_usual(path)).collect())
}

/// Returns the credentials of a file in its usual place, if it is there. A file of docker without any is usual as well.
fn parse_usual(path: &Path) -> Option<Credentials> {
    let text = std::fs::read(path).ok()?;
    match parse(&text) {
        Ok(credentials) => {
            note_objections(&credentials, &path.display().to_string());
            Some(credentials)
        }
        Err(InvalidDockerConfig::Empty) => None,
        Err(error) => {
            note(&format!("note: {} is not used: {error}", path.display()));
            None
        }
    }
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
    let credentials = parse(text).map_err(|error| {
        Failure::new(format!("{place}: {error}"))
            .reason(Reason::PullSecretInvalid)
            .hint("give it as docker login writes it, with the credentials in it")
    })?;
    note_objections(&credentials, place);
    Ok(credentials)
}

fn note_objections(credentials: &Credentials, place: &str) {
    for objection in credentials.config.iter().flat_map(DockerConfig::objections) {
        note(&format!("note: {place}: {objection}; its other entries are used"));
    }
}

/// Returns a variable that is set and not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Returns where docker login and podman login keep credentials (containers-auth.json(5)), docker's file first.
fn usual_files() -> Vec<PathBuf> {
    let home = variable("HOME").map(PathBuf::from);
    let in_home = |folder: &str| home.as_ref().map(|home| home.join(folder));
    let docker = variable(DOCKER_FOLDER).map(PathBuf::from).or_else(|| in_home(".docker"));
    let runtime = match variable("XDG_RUNTIME_DIR") {
        Some(folder) => Some(PathBuf::from(folder).join(PODMAN_FILE)),
        None => user().map(|user| format!("/run/containers/{user}/auth.json").into()),
    };
    let settings = variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| in_home(".config"));
    let podman = [runtime, settings.map(|folder| folder.join(PODMAN_FILE))];
    docker.map(|folder| folder.join("config.json")).into_iter().chain(podman.into_iter().flatten()).collect()
}

/// Returns the number of this user, where the system has one.
#[cfg(target_os = "linux")]
fn user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::metadata("/proc/self").ok()?.uid())
}

#[cfg(not(target_os = "linux"))]
fn user() -> Option<u32> {
    None
}
