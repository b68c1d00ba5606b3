//! The conversation with one registry for one set of images: what it demands is learnt once and used for all, a token is
//! asked once for all repositories where the service allows it, and a registry that cannot serve is left alone.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, StatusCode, Version, header};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::access::{Access, Endpoint};
use super::address::AddressClass;
use super::challenge::{self, BearerChallenge, Challenge};
use super::credentials::Credential;
use super::failure::Trouble;
use super::memory::{Authorization, Demand, Memory};
use super::rate::{RateLimit, Turn};
use super::redaction::without_secret;
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
    memory: &'a Memory,
    repositories: Vec<String>,
    standing: watch::Sender<Standing>,
    logins: Mutex<Logins>,
}

/// How it stands with the registry, in this conversation.
#[derive(Default)]
struct Standing {
    /// It is known what it demands, or that it does not serve at all: any number of questions may follow.
    open: bool,
    /// When it last gave a whole answer.
    answered: Option<Instant>,
    /// Nothing more is asked.
    halted: Option<Trouble>,
}

/// What is asked of a repository.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// The repository.
    pub repository: &'a str,
    /// What follows it: `manifests/<reference>` or `blobs/<digest>`.
    pub path: &'a str,
    /// Media types that are understood.
    pub accept: &'static str,
    /// The longest body that is taken, in bytes.
    pub limit: usize,
    /// Only the headers are wanted.
    pub head: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        transport: &'a Transport,
        access: &'a Access,
        endpoint: &'a Endpoint,
        memory: &'a Memory,
        repositories: Vec<String>,
    ) -> Self {
        memory.belong_to(&access.credentials);
        let doubted = memory.begin();
        let open = memory.state().version.is_some() && !doubted && !awaits_limit(endpoint, memory);
        let standing = watch::Sender::new(Standing { open, ..Standing::default() });
        Self { transport, access, endpoint, memory, repositories, standing, logins: Mutex::default() }
    }

    /// The HTTP version that the registry was seen to speak.
    pub(super) fn version(&self) -> Option<Version> {
        self.memory.state().version
    }

    /// Waits until more than one question may be asked at a time.
    pub(super) async fn opened(&self) {
        // The sender is ours, so this ends by the condition only.
        let _ = self.standing.subscribe().wait_for(|standing| standing.open).await;
    }

    /// Opens the connection to the registry while a token is fetched elsewhere, so that the images need not wait for it.
    /// Only where it is known that a token of another host will be needed.
    pub(super) async fn knock_early(&self) {
        let elsewhere = match self.memory.demand() {
            Some((Demand::Bearer(challenge), _)) => {
                Url::parse(&challenge.realm).is_ok_and(|realm| realm.origin() != self.endpoint.base.origin())
            }
            _ => false,
        };
        let needed = |repository: &String| self.memory.state().authorization(repository).is_none();
        let http2 = self.version() == Some(Version::HTTP_2);
        if !elsewhere || !http2 || !self.repositories.iter().any(needed) {
            return;
        }
        if let Ok(url) = self.endpoint.base.join("v2/") {
            // What it says does not matter: if it does not serve, the questions will find out.
            let _ = self.transport.ask(self.endpoint, Ask { redirects: false, ..Ask::get(url) }).await;
        }
    }

    /// Asks with whatever credentials the registry takes; only a 200 is a success.
    pub(super) async fn ask(&self, question: Question<'_>) -> Result<Answer, Trouble> {
        let halted = |standing: &Standing| standing.halted.clone();
        if let Some(trouble) = halted(&self.standing.borrow()) {
            return Err(trouble);
        }
        let mut standing = self.standing.subscribe();
        // Nobody waits for a registry that never answered anything, once somebody found out that it will not.
        let dead = standing.wait_for(|standing| standing.halted.is_some() && standing.answered.is_none());
        let outcome = tokio::select! {
            biased;
            outcome = self.ask_authorized(question) => outcome,
            Ok(dead) = dead => return Err(halted(&dead).unwrap_or_else(|| unauthorized(None))),
        };
        if let Err(trouble) = &outcome
            && trouble.whole_registry
            && trouble.kind != RegistryFailureKind::Timeout
        {
            self.halt(trouble);
        }
        if outcome.as_ref().is_err_and(|trouble| is_of_credentials(trouble.kind)) {
            self.memory.doubt();
        }
        outcome
    }

    /// An image was given up after its deadline, which began at `since`. If the registry gave nobody a whole answer in all
    /// that time, it is not asked again.
    pub(super) fn gave_up(&self, since: Instant, trouble: &Trouble) {
        let silent = self.standing.borrow().answered.is_none_or(|answered| answered < since);
        if silent {
            self.halt(trouble);
        }
    }

    /// Asks nothing more of this registry: every further question is answered with this.
    fn halt(&self, trouble: &Trouble) {
        self.memory.doubt();
        self.standing.send_modify(|standing| {
            standing.halted.get_or_insert_with(|| trouble.clone());
            standing.open = true;
        });
    }

    /// Makes a failure of it, with every secret that this session knows taken out of the text.
    pub(super) fn failure(&self, trouble: &Trouble, reference: &Reference) -> RegistryFailure {
        let mut answer = trouble.answer.clone();
        let secrets = self.access.all_credentials(self.endpoint).flat_map(Credential::secrets);
        let (received, proxies) = (self.memory.state().received(), self.transport.proxy_secrets());
        for secret in secrets.chain(received).chain(proxies) {
            answer = without_secret(answer, &secret);
        }
        RegistryFailure::new(trouble.kind, Some(reference.clone()), &self.endpoint.host, &answer)
    }

    /// By what is known of the registry; where that leads to nothing, the registry is asked what it wants now.
    async fn ask_authorized(&self, question: Question<'_>) -> Result<Answer, Trouble> {
        let url = self.endpoint.base.join(&format!("v2/{}/{}", question.repository, question.path));
        let url = url.map_err(|_| Trouble::invalid("a repository that no address can be made of"))?;
        let mut failed = None;
        if let Some((demand, class)) = self.memory.demand() {
            let remembered = Meeting { demand: demand.of_another_question(), class, remembered: true };
            match self.meet(question, &url, &remembered, None).await {
                Err(trouble) if self.is_settled(question.repository) => return Err(trouble),
                Err(trouble)
                    if trouble.of_token_service && is_of_credentials(trouble.kind) && !trouble.whole_registry =>
                {
                    // Very likely what it says; if the service has moved, the next conversation finds out.
                    return Err(trouble);
                }
                // What another repository, or an earlier time, was asked for is no word about this one.
                Err(trouble) if is_of_credentials(trouble.kind) || trouble.of_token_service => {
                    self.memory.forget_demand(&demand);
                    failed = Some((demand, trouble));
                }
                outcome => return outcome,
            }
        }
        let answer = self.send(&url, question, None).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            self.open();
            return accepted(answer);
        }
        let Some(demand) = demand(&answer) else { return Err(answer.trouble()) };
        self.memory.keep_demand(&demand, answer.class);
        // The same was met just now, with credentials to show.
        if let Some((old, trouble)) = failed
            && demand.asks_the_same_as(&old, question.repository)
            && !self.access.credentials(self.endpoint, question.repository).is_empty()
        {
            return Err(trouble);
        }
        let asked = Meeting { demand, class: answer.class, remembered: false };
        self.meet(question, &url, &asked, Some(answer.trouble())).await
    }

    /// Asks with what meets the demand: what worked before, then each credential that fits, in order.
    async fn meet(
        &self,
        question: Question<'_>,
        url: &Url,
        meeting: &Meeting,
        mut refusal: Option<Trouble>,
    ) -> Result<Answer, Trouble> {
        let repository = question.repository;
        let candidates = self.candidates(repository, &meeting.demand);
        let known = self.memory.state().authorization(repository);
        if let Some(known) = known {
            let answer = self.send(url, question, Some(known.clone())).await?;
            let refused = may_try_next(answer.trouble_kind()) && answer.status != StatusCode::OK;
            let other = answer.status == StatusCode::UNAUTHORIZED || candidates.len() > 1;
            if !(refused && other) {
                self.open();
                return accepted(answer);
            }
            self.memory.state().forget(repository, &known);
            refusal = Some(answer.trouble());
        }
        // A wrong password is found out by one image: all of them at once would look like an attack. A token is asked for by
        // one at a time anyway.
        if matches!(meeting.demand, Demand::Bearer(_)) && !awaits_limit(self.endpoint, self.memory) {
            self.open();
        }
        for candidate in candidates {
            match self.try_credential(question, url, meeting, candidate.as_ref()).await {
                Ok(answer) => {
                    self.open();
                    return Ok(answer);
                }
                Err(trouble) if may_try_next(trouble.kind) => refusal = Some(trouble),
                Err(trouble) => return Err(trouble),
            }
        }
        let trouble = unauthorized(refusal);
        let nameless = self.access.credentials(self.endpoint, repository).is_empty();
        if nameless && !meeting.remembered && is_of_credentials(trouble.kind) {
            self.note_refused(None, &trouble);
        }
        match trouble.kind {
            // Some token services forbid what they should ask credentials for.
            RegistryFailureKind::Unauthorized | RegistryFailureKind::Forbidden if nameless => {
                Err(Trouble { kind: RegistryFailureKind::CredentialsMissing, ..trouble })
            }
            _ => Err(trouble),
        }
    }

    async fn try_credential(
        &self,
        question: Question<'_>,
        url: &Url,
        meeting: &Meeting,
        credential: Option<&Credential>,
    ) -> Result<Answer, Trouble> {
        let repository = question.repository;
        self.refused_before(credential)?;
        let mut used = self.authorize(meeting, repository, credential).await?;
        let mut answer = self.send(url, question, Some(used.header.clone())).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.memory.state().is_shared(&used.header) {
            // The shared token does not hold for this repository: one of its own.
            self.memory.state().forget(repository, &used.header);
            used = self.own_token(meeting, repository, credential).await?;
            answer = self.send(url, question, Some(used.header.clone())).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED && meeting.demand == Demand::Basic {
            self.note_refused(credential, &answer.trouble());
        }
        let answer = accepted(answer)?;
        self.note_taken(credential);
        self.memory.state().keep(repository, used);
        Ok(answer)
    }

    /// One exchange, within what the registry lets us ask.
    async fn send(
        &self,
        url: &Url,
        question: Question<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Trouble> {
        // Docker Hub does not count HEADs.
        let counted = !(question.head && self.endpoint.is_docker_hub()) && self.take_turn().await?;
        let Question { accept, limit, head, .. } = question;
        let large_body = Some(&self.memory.large_body);
        let ask = Ask { accept, authorization, limit, head, large_body, ..Ask::get(url.clone()) };
        // Given back however this ends: a deadline drops the exchange in its middle.
        let under_way = counted.then(|| UnderWay(self.memory));
        let answer = self.transport.ask(self.endpoint, ask).await;
        drop(under_way);
        let answer = answer?;
        let mut state = self.memory.state();
        state.version = Some(answer.version);
        if let Some(announced) = RateLimit::read(&answer.headers, Instant::now()) {
            match &mut state.rate {
                Some(rate) => rate.update(announced),
                rate => *rate = Some(announced),
            }
        }
        drop(state);
        self.standing.send_modify(|standing| standing.answered = Some(Instant::now()));
        Ok(answer)
    }

    /// Waits until another request leaves half of an announced limit. Whether there is one.
    async fn take_turn(&self) -> Result<bool, Trouble> {
        loop {
            let given_back = self.memory.given_back.notified();
            {
                let mut state = self.memory.state();
                state.rate.take_if(|rate| rate.is_over(Instant::now()));
                match state.rate.as_mut().map(RateLimit::take).transpose()? {
                    None => return Ok(false),
                    Some(Turn::Taken) => return Ok(true),
                    Some(Turn::Later) => {}
                }
            }
            given_back.await;
        }
    }

    /// What became of a credential that was refused here, and by which nobody was let in.
    fn refused_before(&self, credential: Option<&Credential>) -> Result<(), Trouble> {
        let logins = self.logins();
        let refused = logins.refused.iter().find(|(refused, _)| refused.as_ref() == credential);
        refused.map_or(Ok(()), |(_, trouble)| Err(trouble.clone()))
    }

    /// Whether asking on for this repository is pointless: nothing more is asked of the registry, or all that could be shown
    /// to it was refused in this conversation.
    fn is_settled(&self, repository: &str) -> bool {
        let credentials = self.access.credentials(self.endpoint, repository);
        let nobody = credentials.is_empty() && self.refused_before(None).is_err();
        let all = credentials.iter().all(|credential| self.refused_before(Some(credential)).is_err());
        self.standing.borrow().halted.is_some() || nobody || (!credentials.is_empty() && all)
    }

    fn note_refused(&self, credential: Option<&Credential>, trouble: &Trouble) {
        let mut logins = self.logins();
        let credential = credential.cloned();
        let known = logins.refused.iter().any(|(refused, _)| *refused == credential);
        if !known && !logins.taken.contains(&credential) {
            logins.refused.push((credential, trouble.clone()));
        }
    }

    fn note_taken(&self, credential: Option<&Credential>) {
        let mut logins = self.logins();
        let credential = credential.cloned();
        logins.refused.retain(|(refused, _)| *refused != credential);
        if !logins.taken.contains(&credential) {
            logins.taken.push(credential);
        }
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) {
        self.standing.send_if_modified(|standing| !std::mem::replace(&mut standing.open, true));
    }

    /// What to try, in order, as the kubelet does: every matching credential; nothing but a token for nobody without one.
    fn candidates(&self, repository: &str, demand: &Demand) -> Vec<Option<Credential>> {
        let credentials = self.access.credentials(self.endpoint, repository);
        if credentials.is_empty() && matches!(demand, Demand::Bearer(_)) {
            return vec![None];
        }
        credentials.into_iter().map(Some).collect()
    }

    /// The header that meets the demand.
    async fn authorize(
        &self,
        meeting: &Meeting,
        repository: &str,
        credential: Option<&Credential>,
    ) -> Result<Authorization, Trouble> {
        let lasting = |header| Authorization { header, until: None };
        match (&meeting.demand, credential) {
            (_, Some(Credential::RegistryToken(token))) => token::header("Bearer", token).map(lasting),
            (Demand::Basic, credential) => match credential.and_then(Credential::basic) {
                Some(basic) => token::header("Basic", &basic).map(lasting),
                // An identity token is of no use to a registry that wants user and password.
                None => Err(unauthorized(None)),
            },
            (Demand::Bearer(challenge), credential) => {
                match self.shared_token(challenge, meeting, repository, credential).await? {
                    Some(shared) => Ok(shared),
                    None => self.own_token(meeting, repository, credential).await,
                }
            }
        }
    }

    /// The token for all repositories of this credential: the one that is there, or a new one by the first who needs it.
    async fn shared_token(
        &self,
        challenge: &BearerChallenge,
        meeting: &Meeting,
        repository: &str,
        credential: Option<&Credential>,
    ) -> Result<Option<Authorization>, Trouble> {
        let _turn = self.memory.fetching.lock().await;
        if let Some(trouble) = self.standing.borrow().halted.clone() {
            return Err(trouble);
        }
        self.refused_before(credential)?;
        if meeting.remembered && self.memory.demand().is_none() {
            return Err(unauthorized(None));
        }
        {
            let state = self.memory.state();
            let found = state.shared_token(credential, repository);
            if found.is_some() || state.has_single_scopes() {
                return Ok(found);
            }
        }
        let same = |other: &&String| self.access.credentials(self.endpoint, other).first() == credential;
        let mut repositories: Vec<&String> = self.repositories.iter().filter(same).collect();
        repositories.sort();
        repositories.dedup();
        repositories.truncate(MOST_SCOPES);
        if repositories.len() < 2 || !repositories.iter().any(|other| *other == repository) {
            return Ok(None);
        }
        let scope = |other: &&String| token::scope((other.as_str() == repository).then_some(challenge), other);
        let scopes: Vec<String> = repositories.iter().map(scope).collect();
        match token::fetch(self.transport, self.endpoint, meeting.class, challenge, &scopes, credential).await {
            Ok(token) => {
                let authorization = token.authorization()?;
                let repositories = repositories.into_iter().cloned().collect::<HashSet<String>>();
                let mut state = self.memory.state();
                state.note_received(token.secret);
                state.keep_shared(credential, repositories, authorization.clone());
                Ok(Some(authorization))
            }
            Err(trouble) if trouble.whole_registry => {
                // By an old demand nothing is proved.
                if !meeting.remembered {
                    self.halt(&trouble);
                }
                Err(trouble)
            }
            // A service that knows no multiple scopes, or refuses them all for one: each repository on its own. Whether it
            // is the login that was refused, one of them finds out before all others try.
            Err(refusal) => {
                let own = self.own_token(meeting, repository, credential).await;
                match &own {
                    Ok(_) => self.memory.state().note_single_scopes(),
                    Err(trouble) if trouble.kind == RegistryFailureKind::Forbidden => {
                        self.memory.state().note_single_scopes();
                    }
                    Err(trouble)
                        if refusal.kind == RegistryFailureKind::Unauthorized && trouble.kind == refusal.kind =>
                    {
                        self.note_refused(credential, trouble);
                    }
                    Err(_) => {}
                }
                own.map(Some)
            }
        }
    }

    async fn own_token(
        &self,
        meeting: &Meeting,
        repository: &str,
        credential: Option<&Credential>,
    ) -> Result<Authorization, Trouble> {
        let Demand::Bearer(challenge) = &meeting.demand else { return Err(unauthorized(None)) };
        let scopes = [token::scope(Some(challenge), repository)];
        let token = token::fetch(self.transport, self.endpoint, meeting.class, challenge, &scopes, credential).await?;
        let authorization = token.authorization()?;
        self.memory.state().note_received(token.secret);
        Ok(authorization)
    }
}

/// What a registry wants, and how we know.
struct Meeting {
    demand: Demand,
    /// Where the registry stood when it said so.
    class: AddressClass,
    /// It was said for another question.
    remembered: bool,
}

/// Which credentials were let in during this conversation, and which were not.
#[derive(Default)]
struct Logins {
    taken: Vec<Option<Credential>>,
    refused: Vec<(Option<Credential>, Trouble)>,
}

/// A request that a rate limit counts.
struct UnderWay<'a>(&'a Memory);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(rate) = &mut self.0.state().rate {
            rate.give_back();
        }
        self.0.given_back.notify_waiters();
    }
}

/// Docker Hub has limits and tells them with the first image only: that one goes alone, so that half is left for the nodes.
fn awaits_limit(endpoint: &Endpoint, memory: &Memory) -> bool {
    endpoint.is_docker_hub() && memory.state().rate.as_ref().is_none_or(|rate| rate.is_over(Instant::now()))
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

/// Whether another credential might fare better; registries hide what one may not see behind a 404.
fn may_try_next(kind: RegistryFailureKind) -> bool {
    matches!(kind, RegistryFailureKind::Unauthorized | RegistryFailureKind::Forbidden | RegistryFailureKind::NotFound)
}

/// Whether the registry did not let us in.
fn is_of_credentials(kind: RegistryFailureKind) -> bool {
    matches!(
        kind,
        RegistryFailureKind::Unauthorized | RegistryFailureKind::Forbidden | RegistryFailureKind::CredentialsMissing
    )
}

fn unauthorized(refusal: Option<Trouble>) -> Trouble {
    refusal.unwrap_or_else(|| {
        Trouble::new(RegistryFailureKind::Unauthorized, "it wants credentials and no pull secret names it")
    })
}
