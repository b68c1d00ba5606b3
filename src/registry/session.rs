//! The conversation with one registry for one set of images: what it demands is learnt once and used for all, a token is
//! asked once for all repositories where the service allows it, and a registry that cannot serve is left alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, StatusCode, Version, header};
use url::Url;
use zeroize::Zeroizing;

use super::access::{Access, Endpoint};
use super::address::AddressClass;
use super::challenge::{self, BearerChallenge, Challenge};
use super::credentials::{Credential, Secret};
use super::failure::Trouble;
use super::token;
use super::transport::{Answer, Ask, Transport};
use crate::domain::{Reference, RegistryFailure, RegistryFailureKind};

/// The most repositories that one token is asked for; more scopes would not fit an address line everywhere.
const MOST_SCOPES: usize = 64;

/// See the module.
pub(super) struct Session<'a> {
    transport: &'a Transport,
    access: &'a Access,
    endpoint: &'a Endpoint,
    repositories: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    demanded: Option<Demand>,
    /// What worked for a repository.
    authorizations: HashMap<String, HeaderValue>,
    shared: Shared,
    version: Option<Version>,
    class: Option<AddressClass>,
    halted: Option<Trouble>,
    /// Tokens and the like that were received, so that they can be taken out of messages.
    received: Vec<Secret>,
}

#[derive(Clone)]
enum Demand {
    Basic,
    Bearer(BearerChallenge),
}

/// The token for many repositories.
#[derive(Default)]
enum Shared {
    #[default]
    NotTried,
    Refused,
    Token {
        credential: Option<Credential>,
        repositories: HashSet<String>,
        header: HeaderValue,
    },
}

impl<'a> Session<'a> {
    pub(super) fn new(
        transport: &'a Transport,
        access: &'a Access,
        endpoint: &'a Endpoint,
        repositories: Vec<String>,
    ) -> Self {
        Self { transport, access, endpoint, repositories, state: Mutex::default() }
    }

    /// The HTTP version that the registry was seen to speak.
    pub(super) fn version(&self) -> Option<Version> {
        self.state().version
    }

    /// Gets `/v2/<repository>/<path>` with whatever credentials it takes; only a 200 is a success.
    pub(super) async fn get(
        &self,
        repository: &str,
        path: &str,
        accept: &'static str,
        limit: usize,
    ) -> Result<Answer, Trouble> {
        if let Some(halted) = self.state().halted.clone() {
            return Err(halted);
        }
        let outcome = self.get_authorized(repository, path, accept, limit).await;
        if let Err(trouble) = &outcome
            && trouble.whole_registry
            && trouble.kind != RegistryFailureKind::Timeout
        {
            self.halt(trouble);
        }
        outcome
    }

    /// Asks nothing more of this registry: every further question is answered with this.
    pub(super) fn halt(&self, trouble: &Trouble) {
        self.state().halted.get_or_insert_with(|| trouble.clone());
    }

    /// Makes a failure of it, with every secret that this session knows taken out of the text.
    pub(super) fn failure(&self, trouble: &Trouble, reference: &Reference, repository: &str) -> RegistryFailure {
        let mut answer = trouble.answer.clone();
        let credentials = self.access.credentials(self.endpoint, repository);
        let received = self.state().received.clone();
        let proxies = self.transport.proxy_secrets();
        for secret in credentials.iter().flat_map(Credential::secrets).chain(received).chain(proxies) {
            answer = without_secret(answer, &secret);
        }
        RegistryFailure::new(trouble.kind, Some(reference.clone()), &self.endpoint.host, &answer)
    }

    async fn get_authorized(
        &self,
        repository: &str,
        path: &str,
        accept: &'static str,
        limit: usize,
    ) -> Result<Answer, Trouble> {
        let url = self.endpoint.base.join(&format!("v2/{repository}/{path}"));
        let url = url.map_err(|_| Trouble::invalid("a repository that no address can be made of"))?;
        let known = self.known_authorization(repository);
        let demanded = self.state().demanded.clone();
        let mut class = AddressClass::Public;
        let mut refusal = None;
        // Without a known demand the first question goes out bare: the registry then says what it wants, and from where.
        if known.is_some() || demanded.is_none() {
            let answer = self.ask(&url, accept, limit, known).await?;
            class = answer.class;
            let demand = demand(&answer);
            if answer.status != StatusCode::UNAUTHORIZED {
                return accepted(answer);
            }
            refusal = Some(answer.trouble());
            self.state().authorizations.remove(repository);
            let Some(demand) = demand else { return Err(answer.trouble()) };
            self.state().demanded = Some(demand);
        }
        let Some(mut demand) = self.state().demanded.clone() else { return Err(unauthorized(refusal)) };
        if refusal.is_none() {
            // The demand was made for another repository: neither its scope nor its address class is ours.
            if let Demand::Bearer(challenge) = &mut demand {
                challenge.scope = None;
            }
            class = self.class_of_registry();
        }
        self.set_class(class);
        for candidate in self.candidates(repository, &demand) {
            let authorization = match self.authorize(&demand, repository, candidate.as_ref(), class).await {
                Ok(Some(authorization)) => authorization,
                Ok(None) => continue,
                Err(trouble) if may_try_next(trouble.kind) => {
                    refusal = Some(trouble);
                    continue;
                }
                Err(trouble) => return Err(trouble),
            };
            let mut answer = self.ask(&url, accept, limit, Some(authorization.clone())).await?;
            let mut used = authorization;
            if answer.status == StatusCode::UNAUTHORIZED && self.is_shared(&used) {
                // The shared token does not hold for this repository: one of its own.
                used = match self.own_token(&demand, repository, candidate.as_ref(), class).await {
                    Ok(own) => own,
                    Err(trouble) if may_try_next(trouble.kind) => {
                        refusal = Some(trouble);
                        continue;
                    }
                    Err(trouble) => return Err(trouble),
                };
                answer = self.ask(&url, accept, limit, Some(used.clone())).await?;
            }
            match accepted(answer) {
                Ok(answer) => {
                    self.state().authorizations.insert(repository.to_owned(), used);
                    return Ok(answer);
                }
                Err(trouble) if may_try_next(trouble.kind) => refusal = Some(trouble),
                Err(trouble) => return Err(trouble),
            }
        }
        Err(unauthorized(refusal))
    }

    async fn ask(
        &self,
        url: &Url,
        accept: &'static str,
        limit: usize,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Trouble> {
        let ask = Ask { accept, authorization, limit, ..Ask::get(url.clone()) };
        let answer = self.transport.ask(self.endpoint, ask).await?;
        self.state().version = Some(answer.version);
        Ok(answer)
    }

    /// What to try, in order, as the kubelet does: every matching credential; nothing but a token for nobody without one.
    fn candidates(&self, repository: &str, demand: &Demand) -> Vec<Option<Credential>> {
        let credentials = self.access.credentials(self.endpoint, repository);
        if credentials.is_empty() && matches!(demand, Demand::Bearer(_)) {
            return vec![None];
        }
        credentials.into_iter().map(Some).collect()
    }

    /// The header that meets the demand; `None` where this credential cannot.
    async fn authorize(
        &self,
        demand: &Demand,
        repository: &str,
        credential: Option<&Credential>,
        class: AddressClass,
    ) -> Result<Option<HeaderValue>, Trouble> {
        match (demand, credential) {
            (_, Some(Credential::RegistryToken(token))) => token::header("Bearer", token).map(Some),
            (Demand::Basic, Some(credential)) => {
                credential.basic().map(|basic| token::header("Basic", &basic)).transpose()
            }
            (Demand::Basic, None) => Ok(None),
            (Demand::Bearer(challenge), credential) => {
                if let Some(shared) = self.shared_token(challenge, repository, credential, class).await? {
                    return Ok(Some(shared));
                }
                self.own_token(demand, repository, credential, class).await.map(Some)
            }
        }
    }

    /// The token for all repositories of this credential: the one that is there, or a new one by the first who needs it.
    async fn shared_token(
        &self,
        challenge: &BearerChallenge,
        repository: &str,
        credential: Option<&Credential>,
        class: AddressClass,
    ) -> Result<Option<HeaderValue>, Trouble> {
        match &self.state().shared {
            Shared::Token { credential: owner, repositories, header } => {
                let fits = owner.as_ref() == credential && repositories.contains(repository);
                return Ok(fits.then(|| header.clone()));
            }
            Shared::Refused => return Ok(None),
            Shared::NotTried => {}
        }
        let same = |other: &&String| self.access.credentials(self.endpoint, other).first() == credential;
        let mut repositories: Vec<&String> = self.repositories.iter().filter(same).collect();
        repositories.sort();
        repositories.dedup();
        repositories.truncate(MOST_SCOPES);
        if repositories.len() < 2 || !repositories.iter().any(|other| *other == repository) {
            return Ok(None);
        }
        // Set beforehand: whoever comes meanwhile asks for one of its own rather than for a second shared one.
        self.state().shared = Shared::Refused;
        let scope = |other: &&String| token::scope((other.as_str() == repository).then_some(challenge), other);
        let scopes: Vec<String> = repositories.iter().map(scope).collect();
        match token::fetch(self.transport, self.endpoint, class, challenge, &scopes, credential).await {
            Ok(token) => {
                let header = token::header("Bearer", &token)?;
                let repositories = repositories.into_iter().cloned().collect();
                let mut state = self.state();
                state.received.push(token);
                state.shared = Shared::Token { credential: credential.cloned(), repositories, header: header.clone() };
                Ok(Some(header))
            }
            Err(trouble) if trouble.whole_registry => Err(trouble),
            // A service that knows no multiple scopes, or refuses them all for one: each repository on its own.
            Err(_) => Ok(None),
        }
    }

    async fn own_token(
        &self,
        demand: &Demand,
        repository: &str,
        credential: Option<&Credential>,
        class: AddressClass,
    ) -> Result<HeaderValue, Trouble> {
        let Demand::Bearer(challenge) = demand else { return Err(unauthorized(None)) };
        let scopes = [token::scope(Some(challenge), repository)];
        let token = token::fetch(self.transport, self.endpoint, class, challenge, &scopes, credential).await?;
        let header = token::header("Bearer", &token)?;
        self.state().received.push(token);
        Ok(header)
    }

    fn known_authorization(&self, repository: &str) -> Option<HeaderValue> {
        self.state().authorizations.get(repository).cloned()
    }

    fn is_shared(&self, authorization: &HeaderValue) -> bool {
        matches!(&self.state().shared, Shared::Token { header, .. } if header == authorization)
    }

    fn class_of_registry(&self) -> AddressClass {
        self.state().class.unwrap_or(AddressClass::Public)
    }

    fn set_class(&self, class: AddressClass) {
        self.state().class = Some(class);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the registry wants: a token if it offers that way, else user and password.
fn demand(answer: &Answer) -> Option<Demand> {
    let values = answer.headers.get_all(header::WWW_AUTHENTICATE);
    let challenges = challenge::read(values.iter().map(HeaderValue::as_bytes));
    let bearer = challenges.iter().find_map(|challenge| match challenge {
        Challenge::Bearer(bearer) => Some(Demand::Bearer(bearer.clone())),
        _ => None,
    });
    bearer.or_else(|| challenges.contains(&Challenge::Basic).then_some(Demand::Basic))
}

/// Only a 200 is a success: partial content, no content and late answers are not what was asked for.
fn accepted(answer: Answer) -> Result<Answer, Trouble> {
    if answer.status == StatusCode::OK { Ok(answer) } else { Err(answer.trouble()) }
}

/// Takes a secret out of a text: as it is, form-encoded, and as `Debug` quotes it (our messages quote headers so). Letter case
/// does not count, for media types and hosts are folded before they are quoted.
fn without_secret(mut text: String, secret: &Secret) -> String {
    let encoded: Zeroizing<String> =
        Zeroizing::new(url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect());
    let quoted = Zeroizing::new(format!("{:?}", secret.expose()));
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    for form in [secret.expose(), encoded.as_str(), inner] {
        let form = Zeroizing::new(form.to_ascii_lowercase());
        if form.is_empty() {
            continue;
        }
        let mut kept = String::new();
        let mut from = 0;
        // Folding ASCII letters moves no byte, so positions are the same in both.
        let folded = text.to_ascii_lowercase();
        for (at, found) in folded.match_indices(form.as_str()) {
            kept.push_str(&text[from..at]);
            kept.push_str("[redacted]");
            from = at + found.len();
        }
        kept.push_str(&text[from..]);
        text = kept;
    }
    text
}

/// Whether another credential might fare better; registries hide what one may not see behind a 404.
fn may_try_next(kind: RegistryFailureKind) -> bool {
    matches!(kind, RegistryFailureKind::Unauthorized | RegistryFailureKind::Forbidden | RegistryFailureKind::NotFound)
}

fn unauthorized(refusal: Option<Trouble>) -> Trouble {
    refusal.unwrap_or_else(|| {
        Trouble::new(RegistryFailureKind::Unauthorized, "it wants credentials and no pull secret names it")
    })
}
