//! What the client keeps about one registry between sessions: how to authenticate, its HTTP version and its rate limit.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use http::Version;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::access::Endpoint;
use super::auth::cache::AuthCache;
use super::auth::docker_config::DockerConfig;
use super::http::budget::RegistryBudget;
use super::http::rate_limit::RateLimit;

/// The state of one registry, for one way of reaching it.
#[derive(Default)]
pub(crate) struct RegistryState {
    known: Mutex<Known>,
    /// Held while a token for several repositories is fetched, so that all other lookups wait for it.
    pub fetching: tokio::sync::Mutex<()>,
    /// The registry's part of what all registries may use together.
    pub budget: RegistryBudget,
    /// Held by all sessions with this registry, so that only a few registries are in use at a time.
    pub seat: tokio::sync::Mutex<Weak<OwnedSemaphorePermit>>,
    /// Notified whenever a request that the rate limit counts has ended.
    pub given_back: Notify,
}

#[derive(Default)]
pub(crate) struct Known {
    pub auth: AuthCache,
    /// The HTTP version of the registry, known from its first response on.
    pub version: Option<Version>,
    /// Namespaces (repositories without their last part) of which it served an image without credentials.
    open_namespaces: BTreeSet<String>,
    /// Its announced limit.
    pub rate: Option<RateLimit>,
    /// The last session failed. The registry's scheme may have changed, and one lookup is enough to find out whether it serves again.
    pub doubted: bool,
}

/// Maximum number of namespaces that are remembered; a set has two or three.
const MAX_NAMESPACES: usize = 64;

impl Known {
    /// Notes that the registry served this repository without credentials.
    pub(crate) fn note_open(&mut self, repository: &str) {
        if self.open_namespaces.len() < MAX_NAMESPACES {
            self.open_namespaces.insert(namespace(repository).to_owned());
        }
    }

    /// Whether the registry serves repositories beside this one without credentials: what it does not have there is missing, not
    /// hidden.
    pub(crate) fn is_open(&self, repository: &str) -> bool {
        self.open_namespaces.contains(namespace(repository))
    }
}

fn namespace(repository: &str) -> &str {
    repository.rsplit_once('/').map_or("", |(namespace, _)| namespace)
}

impl RegistryState {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session with these pull secrets. Returns whether the registry is known to serve, so that lookups may start side
    /// by side.
    pub(crate) fn begin_session(&self, endpoint: &Endpoint, configs: Vec<DockerConfig>) -> bool {
        let mut known = self.known();
        known.auth.keep_only_of(configs);
        let doubted = std::mem::take(&mut known.doubted);
        known.auth.scheme.take_if(|_| doubted);
        let open = known.version.is_some() && !doubted;
        drop(known);
        open && !self.awaits_limit(endpoint)
    }

    /// Whether the first response has yet to announce the limit. Docker Hub has limits and announces them with each response: the
    /// first lookup goes alone, so that half of the limit is left to the nodes.
    pub(crate) fn awaits_limit(&self, endpoint: &Endpoint) -> bool {
        endpoint.is_docker_hub() && self.known().rate.as_ref().is_none_or(|rate| rate.is_over(Instant::now()))
    }
}
