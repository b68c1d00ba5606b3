//! The conversation with one registry for one set of images: what it demands is learnt once and used for all, a token is
//! asked once for all repositories where the service allows it, and a registry that cannot serve is left alone.

use std::sync::Mutex;

use http::{HeaderValue, StatusCode, Version, header};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::access::{Access, Endpoint};
use super::challenge::{self, Challenge};
use super::credentials::{Credential, Secret};
use super::failure::Trouble;
use super::login::{Logins, Meeting, is_of_credentials, unauthorized};
use super::memory::{Authorization, Demand, Memory};
use super::rate::{RateLimit, Turn};
use super::redaction::redacted;
use super::transport::{Answer, Ask, Transport};
use crate::model::reference::Reference;
use crate::model::registry_failure::{RegistryFailure, RegistryFailureKind};
use crate::model::release::Release;

/// Stands for a text of a registry that was sent credentials.
const NOT_QUOTED: &str = "[not quoted]";

/// See the module.
pub(super) struct Session<'a> {
    pub(super) transport: &'a Transport,
    pub(super) access: &'a Access,
    pub(super) endpoint: &'a Endpoint,
    pub(super) memory: &'a Memory,
    pub(super) repositories: Vec<String>,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) logins: Mutex<Logins>,
}

/// How it stands with the registry, in this conversation.
#[derive(Default)]
pub(super) struct Standing {
    /// It is known what it demands, or that it does not serve at all: any number of questions may follow.
    open: bool,
    /// When it last gave a whole answer.
    answered: Option<Instant>,
    /// Nothing more is asked.
    pub halted: Option<Trouble>,
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
        memory.belong_to(&access.configurations(endpoint).cloned().collect::<Vec<_>>());
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
            let ask = Ask { redirects: false, ..Ask::get(url, &self.memory.share) };
            let _ = self.transport.ask(self.endpoint, ask).await;
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
    pub(super) fn halt(&self, trouble: &Trouble) {
        self.memory.doubt();
        self.standing.send_modify(|standing| {
            standing.halted.get_or_insert_with(|| trouble.clone());
            standing.open = true;
        });
    }

    /// Makes a failure of it. Once the registry was sent a credential, it could write that into its answers in any way: of it
    /// only statuses and known error codes are quoted from then on. Every secret that this session knows is taken out of the
    /// text all the same.
    pub(super) fn failure(&self, trouble: &Trouble, reference: &Reference) -> RegistryFailure {
        let answer = if self.was_sent_credentials() { &trouble.unquoted } else { &trouble.answer };
        let own: Vec<Secret> = self.access.all_credentials(self.endpoint).flat_map(Credential::secrets).collect();
        let proxies = self.transport.proxy_secrets();
        let state = self.memory.state();
        let answer = redacted(answer, own.iter().chain(&proxies).chain(state.received()));
        drop(state);
        RegistryFailure::new(trouble.kind, Some(reference.clone()), &self.endpoint.host, &answer)
    }

    /// An image's version label as it may be shown: of a registry that was sent credentials, only if it is that of a release.
    pub(super) fn quotable(&self, label: String) -> String {
        if self.was_sent_credentials() && label.parse::<Release>().is_err() { NOT_QUOTED.to_owned() } else { label }
    }

    fn was_sent_credentials(&self) -> bool {
        self.transport.disclosures.includes(self.endpoint.base.host_str().unwrap_or_default())
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
        // (One of a host that was redirected to is no word of the registry; see `send`.)
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

    /// One exchange, within what the registry lets us ask.
    pub(super) async fn send(
        &self,
        url: &Url,
        question: Question<'_>,
        authorization: Option<&Authorization>,
    ) -> Result<Answer, Trouble> {
        // Docker Hub does not count HEADs.
        let counted = !(question.head && self.endpoint.is_docker_hub()) && self.take_turn().await?;
        let Question { accept, limit, head, .. } = question;
        let confidential = authorization.is_some_and(|authorization| authorization.confidential);
        let authorization = authorization.map(|authorization| authorization.header.clone());
        let share = &self.memory.share;
        let ask = Ask { accept, authorization, confidential, limit, head, ..Ask::get(url.clone(), share) };
        // Given back however this ends: a deadline drops the exchange in its middle.
        let under_way = counted.then(|| UnderWay(self.memory));
        let request = share.request().await;
        let anonymous = ask.authorization.is_none();
        let exchange = self.transport.traffic.begin(if head { "head" } else { "get" }, "Timeout");
        let answer = self.transport.ask(self.endpoint, ask).await.and_then(of_registry);
        exchange.end(match &answer {
            Ok(answer) if answer.status == StatusCode::OK => "Ok",
            // How one has to log in is learnt like this.
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && anonymous => "Challenge",
            Ok(answer) => answer.trouble_kind().as_str(),
            Err(trouble) => trouble.kind.as_str(),
        });
        drop((request, under_way));
        let answer = answer?;
        let mut state = self.memory.state();
        state.version = Some(answer.version);
        if let Some(announced) = RateLimit::read(&answer.headers, Instant::now()).filter(|_| answer.stranger.is_none())
        {
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

    pub(super) fn open(&self) {
        self.standing.send_if_modified(|standing| !std::mem::replace(&mut standing.open, true));
    }
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

/// Refuses what only the registry itself may say: a host that was redirected to cannot ask for its credentials. Its challenge
/// could name anybody.
fn of_registry(answer: Answer) -> Result<Answer, Trouble> {
    match &answer.stranger {
        Some(host) if answer.status == StatusCode::UNAUTHORIZED => {
            let text = format!("redirected to {host}, which wants credentials of its own (401)");
            let unquoted = "redirected to another host, which wants credentials of its own (401)";
            Err(Trouble::quoting(RegistryFailureKind::InvalidAnswer, unquoted, &text))
        }
        _ => Ok(answer),
    }
}

/// Docker Hub has limits and tells them with the first image only: that one goes alone, so that half is left for the nodes.
pub(super) fn awaits_limit(endpoint: &Endpoint, memory: &Memory) -> bool {
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
pub(super) fn accepted(answer: Answer) -> Result<Answer, Trouble> {
    if answer.status == StatusCode::OK { Ok(answer) } else { Err(answer.trouble()) }
}
