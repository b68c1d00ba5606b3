//! What worked to authenticate with one registry: its scheme, and the headers and tokens that are still valid. Kept in memory
//! only, and discarded when the pull secrets change.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::credentials::{Credential, Secret};
use super::docker_config::DockerConfig;
use super::scheme::AuthScheme;
use crate::registry::http::address::AddressClass;

/// Maximum number of tokens that are kept to redact them from messages.
const MAX_RECEIVED: usize = 64;
/// Maximum size of the tokens of one kind, per registry, in bytes. Real ones have one to four KiB, and one serves a whole set. The
/// newest is kept whatever its length, which the token service's response bounds.
const MAX_TOKEN_BYTES: usize = 128 * 1024;
/// Maximum size of the headers that worked, by repository, in bytes. A shared token is counted for each of its repositories, but is
/// in memory once: 64 repositories with a token of 4 KiB must fit.
const MAX_HEADER_BYTES: usize = 512 * 1024;
/// How long a token service that rejected several scopes is asked for one at a time.
const SINGLE_SCOPES: Duration = Duration::from_secs(3600);

/// The authentication state of one registry: its scheme, headers and tokens.
#[derive(Default)]
pub(crate) struct AuthCache {
    /// The pull secrets that everything below was derived from.
    configs: Vec<DockerConfig>,
    /// The scheme that the registry requires, and the class of its address when it named it.
    pub scheme: Option<(AuthScheme, AddressClass)>,
    /// Until when the token service is asked for one scope at a time.
    single_scopes_until: Option<Instant>,
    /// What worked, by repository.
    authorizations: HashMap<String, Authorization>,
    /// Tokens for several repositories.
    shared: Vec<SharedToken>,
    received: VecDeque<Secret>,
}

/// A header that a registry accepted.
#[derive(Clone)]
pub(crate) struct Authorization {
    /// Marked sensitive.
    pub header: HeaderValue,
    /// `None` if it does not expire.
    pub until: Option<Instant>,
    /// A credential, or a token that was issued for one. An anonymous token is no secret.
    pub confidential: bool,
}

impl Authorization {
    fn is_valid(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

struct SharedToken {
    credential: Option<Credential>,
    repositories: HashSet<String>,
    authorization: Authorization,
}

impl AuthCache {
    /// Discards all authorizations if they were derived from other pull secrets.
    pub(crate) fn keep_only_of(&mut self, configs: Vec<DockerConfig>) {
        if self.configs != configs {
            self.configs = configs;
            self.authorizations.clear();
            self.shared.clear();
            self.single_scopes_until = None;
        }
    }

    /// Forgets the scheme, unless the registry has named another one since.
    pub(crate) fn forget_scheme(&mut self, old: &AuthScheme) {
        self.scheme.take_if(|(scheme, _)| scheme == old);
    }

    /// Returns what worked for a repository and is still valid.
    pub(crate) fn authorization(&self, repository: &str) -> Option<Authorization> {
        self.authorizations.get(repository).filter(|known| known.is_valid()).cloned()
    }

    /// Keeps what worked for a repository.
    pub(crate) fn keep(&mut self, repository: &str, authorization: Authorization) {
        self.authorizations.retain(|_, known| known.is_valid());
        let length = |known: &Authorization| known.header.len();
        if self.authorizations.values().map(length).sum::<usize>() + authorization.header.len() > MAX_HEADER_BYTES {
            self.authorizations.clear();
        }
        self.authorizations.insert(repository.to_owned(), authorization);
    }

    /// Forgets a header that was rejected for a repository.
    pub(crate) fn forget(&mut self, repository: &str, rejected: &HeaderValue) {
        self.authorizations.remove(repository);
        for token in &mut self.shared {
            if token.authorization.header == *rejected {
                token.repositories.remove(repository);
            }
        }
    }

    /// Returns the token for several repositories that is valid for this one.
    pub(crate) fn shared_token(&self, credential: Option<&Credential>, repository: &str) -> Option<Authorization> {
        let serves = |token: &&SharedToken| {
            token.credential.as_ref() == credential
                && token.repositories.contains(repository)
                && token.authorization.is_valid()
        };
        self.shared.iter().find(serves).map(|token| token.authorization.clone())
    }

    /// Keeps a token for several repositories.
    pub(crate) fn keep_shared(
        &mut self,
        credential: Option<&Credential>,
        repositories: HashSet<String>,
        authorization: Authorization,
    ) {
        self.shared.retain(|token| token.authorization.is_valid() && token.credential.as_ref() != credential);
        let length = |token: &SharedToken| token.authorization.header.len();
        if self.shared.iter().map(length).sum::<usize>() + authorization.header.len() > MAX_TOKEN_BYTES {
            self.shared.clear();
        }
        self.shared.push(SharedToken { credential: credential.cloned(), repositories, authorization });
    }

    /// Whether a header holds a token for several repositories.
    pub(crate) fn is_shared(&self, header: &HeaderValue) -> bool {
        self.shared.iter().any(|token| token.authorization.header == *header)
    }

    /// Forgets a token that does not hold for all of its repositories: from now on each gets its own.
    pub(crate) fn forget_shared(&mut self, header: &HeaderValue) {
        self.shared.retain(|token| token.authorization.header != *header);
        self.note_single_scopes();
    }

    /// Notes that the token service issues no token for several repositories.
    pub(crate) fn note_single_scopes(&mut self) {
        self.single_scopes_until = Some(Instant::now() + SINGLE_SCOPES);
    }

    /// See [`AuthCache::note_single_scopes`].
    pub(crate) fn has_single_scopes(&self) -> bool {
        self.single_scopes_until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes a token that was received, to redact it from messages.
    pub(crate) fn note_received(&mut self, secret: Secret) {
        if self.received.contains(&secret) {
            return;
        }
        self.received.push_back(secret);
        let bytes = |received: &VecDeque<Secret>| received.iter().map(|secret| secret.expose().len()).sum::<usize>();
        while self.received.len() > MAX_RECEIVED || (self.received.len() > 1 && bytes(&self.received) > MAX_TOKEN_BYTES)
        {
            self.received.pop_front();
        }
    }

    /// See [`AuthCache::note_received`].
    pub(crate) fn received(&self) -> impl Iterator<Item = &Secret> {
        self.received.iter()
    }
}
