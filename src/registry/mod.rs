//! Registries: resolves references to digests and platforms. Knows nothing of Kubernetes and writes nothing.
//!
//! A registry is not trusted: a digest is the SHA-256 of the received bytes; bodies, redirects, tokens and waits are bounded; and
//! credentials go to the registry itself or to its own token service only.
//!
//! `client` is the façade. `access` says where a reference is looked up, with which trust and credentials; `resolve` and
//! `tags` look things up, `manifest` reads what comes back. `lookup` makes one lookup in a `session` with one registry, with
//! authentication (`auth`) and over `http`. `registry_state` is kept between sessions.

mod access;
mod auth;
mod client;
mod error;
mod http;
mod json_object;
mod lookup;
mod manifest;
mod policy_refusal;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod registry_state;
mod resolve;
mod session;
mod tags;

pub use self::http::client_certificate::{ClientCertificate, InvalidClientCertificate};
pub use self::http::proxy::Proxies;
pub use self::http::tunnel::Connector;
pub use access::{Access, RegistrySettings, holds_certificate};
pub use auth::cloud::environment::CloudEnvironment;
pub use auth::credentials::Secret;
pub use auth::docker_config::{DockerConfig, InvalidDockerConfig};
pub use auth::keyring::DOCKER_HUB_NAMES;
pub use client::{RegistryClient, RegistryClientSettings};
