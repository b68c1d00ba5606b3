//! What was learnt of one registry and is worth keeping between questions: how it wants us to prove who we are, the tokens
//! that still hold, and what it lets us ask. Kept in memory only; another set of pull secrets forgets all that came of the old.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::{HeaderValue, Version};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::address::AddressClass;
use super::budget::Share;
use super::challenge::BearerChallenge;
use super::credentials::{Credential, DockerConfig, Secret};
use super::rate::RateLimit;

/// The most tokens that are remembered for taking them out of messages, and the most bytes that they may take together.
const MOST_RECEIVED: usize = 64;
/// The most bytes that tokens of one kind may take, of one registry. Real ones have one to four KiB, and one serves a whole
/// set. The newest is kept whatever its length, which the token service's answer bounds.
const MOST_TOKEN_BYTES: usize = 128 * 1024;
/// The same for the headers that worked, by repository. A shared token is counted for each of its repositories, but is in
/// memory once: 64 repositories with a token of 4 KiB must fit.
const MOST_HEADER_BYTES: usize = 512 * 1024;
/// How long a token service that refused several scopes is not asked for several again.
const SINGLE_SCOPES: Duration = Duration::from_secs(3600);

/// What a registry wants before it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Demand {
    /// User and password.
    Basic,
    /// A token. Its scope is that of the refused request and holds for no other.
    Bearer(BearerChallenge),
}

impl Demand {
    /// Whether meeting this would be what meeting the other was, for this repository.
    pub(super) fn asks_the_same_as(&self, other: &Self, repository: &str) -> bool {
        let usual = match self {
            Self::Basic => true,
            Self::Bearer(challenge) => {
                super::token::scope(Some(challenge), repository) == super::token::scope(None, repository)
            }
        };
        usual && self.of_another_question() == other.of_another_question()
    }

    /// The same without what held for one repository only.
    pub(super) fn of_another_question(&self) -> Self {
        match self {
            Self::Basic => Self::Basic,
            Self::Bearer(challenge) => Self::Bearer(BearerChallenge { scope: None, ..challenge.clone() }),
        }
    }
}

/// See the module. One per registry and way of reaching it.
pub(super) struct Memory {
    state: Mutex<State>,
    /// Held while a token for many repositories is asked for, so that all others wait for that one.
    pub fetching: tokio::sync::Mutex<()>,
    /// The registry's part of what all may use together.
    pub share: Share,
    /// Held by those who ask this registry, so that no more than a few are asked at a time.
    pub seat: tokio::sync::Mutex<Weak<OwnedSemaphorePermit>>,
    /// Told whenever a request that a rate limit counts has ended.
    pub given_back: Notify,
}

#[derive(Default)]
pub(super) struct State {
    /// The pull secrets that all below came of.
    credentials: Vec<DockerConfig>,
    /// What it wants, and where it stood when it said so.
    demand: Option<(Demand, AddressClass)>,
    /// What it speaks; known as soon as it answered anything.
    pub version: Option<Version>,
    /// It did not serve when it was asked last. What it demands may be another thing by now, and one question is enough to find
    /// out whether it serves again.
    doubted: bool,
    /// Its announced limit.
    pub rate: Option<RateLimit>,
    /// The token service was seen to refuse several scopes at a time, until then it is asked for one at a time.
    single_scopes: Option<Instant>,
    /// What worked for a repository, and until when.
    authorizations: HashMap<String, Authorization>,
    /// Tokens for many repositories.
    shared: Vec<SharedToken>,
    received: VecDeque<Secret>,
}

/// A header that a registry took.
#[derive(Clone)]
pub(super) struct Authorization {
    /// Marked sensitive.
    pub header: HeaderValue,
    /// `None` where it does not run out.
    pub until: Option<Instant>,
    /// Made of a credential, or a token that was given for one. An anonymous token is worth nothing to anybody.
    pub confidential: bool,
}

struct SharedToken {
    credential: Option<Credential>,
    repositories: HashSet<String>,
    authorization: Authorization,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            share: Share::default(),
            seat: tokio::sync::Mutex::default(),
            given_back: Notify::new(),
        }
    }
}

impl Memory {
    /// What is known.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the registry wanted last, and where it stood when it said so.
    pub(super) fn demand(&self) -> Option<(Demand, AddressClass)> {
        self.state().demand.clone()
    }

    /// Keeps what it wants.
    pub(super) fn keep_demand(&self, demand: &Demand, class: AddressClass) {
        self.state().demand = Some((demand.clone(), class));
    }

    /// What it wanted is for this conversation only, and the next one begins with one question.
    pub(super) fn doubt(&self) {
        self.state().doubted = true;
    }

    /// Begins a conversation: whether the registry was doubted. What it wanted is forgotten then.
    pub(super) fn begin(&self) -> bool {
        let mut state = self.state();
        let doubted = std::mem::take(&mut state.doubted);
        state.demand.take_if(|_| doubted);
        doubted
    }

    /// Forgets what it wanted, unless it has said something else since.
    pub(super) fn forget_demand(&self, old: &Demand) {
        self.state().demand.take_if(|(demand, _)| demand == old);
    }

    /// Forgets all authorizations if they came of other pull secrets.
    pub(super) fn belong_to(&self, credentials: &[DockerConfig]) {
        let mut state = self.state();
        if state.credentials != credentials {
            state.credentials = credentials.to_vec();
            state.authorizations.clear();
            state.shared.clear();
            state.single_scopes = None;
        }
    }
}

impl State {
    /// What worked for a repository and still holds.
    pub(super) fn authorization(&self, repository: &str) -> Option<Authorization> {
        self.authorizations.get(repository).filter(|known| known.holds()).cloned()
    }

    /// Keeps what worked for a repository.
    pub(super) fn keep(&mut self, repository: &str, authorization: Authorization) {
        self.authorizations.retain(|_, known| known.holds());
        let length = |known: &Authorization| known.header.len();
        // One header for many repositories is kept once; counted for each it is still small.
        if self.authorizations.values().map(length).sum::<usize>() + authorization.header.len() > MOST_HEADER_BYTES {
            self.authorizations.clear();
        }
        self.authorizations.insert(repository.to_owned(), authorization);
    }

    /// This header was refused for a repository.
    pub(super) fn forget(&mut self, repository: &str, refused: &HeaderValue) {
        self.authorizations.remove(repository);
        for token in &mut self.shared {
            if token.authorization.header == *refused {
                token.repositories.remove(repository);
            }
        }
    }

    /// The token for many repositories that holds for this one.
    pub(super) fn shared_token(&self, credential: Option<&Credential>, repository: &str) -> Option<Authorization> {
        let fits = |token: &&SharedToken| {
            token.credential.as_ref() == credential
                && token.repositories.contains(repository)
                && token.authorization.holds()
        };
        self.shared.iter().find(fits).map(|token| token.authorization.clone())
    }

    /// Keeps a token for many repositories.
    pub(super) fn keep_shared(
        &mut self,
        credential: Option<&Credential>,
        repositories: HashSet<String>,
        authorization: Authorization,
    ) {
        self.shared.retain(|token| token.authorization.holds() && token.credential.as_ref() != credential);
        let length = |token: &SharedToken| token.authorization.header.len();
        if self.shared.iter().map(length).sum::<usize>() + authorization.header.len() > MOST_TOKEN_BYTES {
            self.shared.clear();
        }
        self.shared.push(SharedToken { credential: credential.cloned(), repositories, authorization });
    }

    /// Notes that a token for several repositories is not to be had.
    pub(super) fn note_single_scopes(&mut self) {
        self.single_scopes = Some(Instant::now() + SINGLE_SCOPES);
    }

    /// See [`State::note_single_scopes`].
    pub(super) fn has_single_scopes(&self) -> bool {
        self.single_scopes.is_some_and(|until| Instant::now() < until)
    }

    /// Whether a header is that of a token for many repositories.
    pub(super) fn is_shared(&self, header: &HeaderValue) -> bool {
        self.shared.iter().any(|token| token.authorization.header == *header)
    }

    /// Notes a secret that came in, so that it can be taken out of messages.
    pub(super) fn note_received(&mut self, secret: Secret) {
        if self.received.contains(&secret) {
            return;
        }
        self.received.push_back(secret);
        let bytes = |received: &VecDeque<Secret>| received.iter().map(|secret| secret.expose().len()).sum::<usize>();
        while self.received.len() > MOST_RECEIVED
            || (self.received.len() > 1 && bytes(&self.received) > MOST_TOKEN_BYTES)
        {
            self.received.pop_front();
        }
    }

    /// See [`State::note_received`].
    pub(super) fn received(&self) -> impl Iterator<Item = &Secret> {
        self.received.iter()
    }
}

impl Authorization {
    fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}
