//! How a registry's demand is met: what worked before, then each credential that fits, in the kubelet's order; one token for
//! all repositories where the service allows it. A credential that was refused is not tried again for each image.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use http::StatusCode;
use url::Url;

use super::address::AddressClass;
use super::challenge::BearerChallenge;
use super::credentials::Credential;
use super::failure::Trouble;
use super::memory::{Authorization, Demand};
use super::session::{Question, Session, accepted, awaits_limit};
use super::token::{self, Token, TokenService};
use super::transport::Answer;
use crate::model::registry_failure::RegistryFailureKind;

/// The most repositories that one token is asked for; more scopes would not fit an address line everywhere.
const MOST_SCOPES: usize = 64;

/// What a registry wants, and how we know.
pub(super) struct Meeting {
    pub demand: Demand,
    /// Where the registry stood when it said so.
    pub class: AddressClass,
    /// It was said for another question.
    pub remembered: bool,
}

/// Which credentials were let in during this conversation, and which were not.
#[derive(Default)]
pub(super) struct Logins {
    taken: Vec<Option<Credential>>,
    refused: Vec<(Option<Credential>, Trouble)>,
}

impl Session<'_> {
    /// Asks with what meets the demand: what worked before, then each credential that fits, in order.
    pub(super) async fn meet(
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
            let answer = self.send(url, question, Some(&known)).await?;
            let refused = may_try_next(answer.trouble_kind()) && answer.status != StatusCode::OK;
            let other = answer.status == StatusCode::UNAUTHORIZED || candidates.len() > 1;
            if !(refused && other) {
                self.open();
                return accepted(answer);
            }
            self.memory.state().forget(repository, &known.header);
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
        let mut answer = self.send(url, question, Some(&used)).await?;
        if answer.status == StatusCode::UNAUTHORIZED && self.memory.state().is_shared(&used.header) {
            // The shared token does not hold for this repository: one of its own.
            self.memory.state().forget(repository, &used.header);
            used = self.own_token(meeting, repository, credential).await?;
            answer = self.send(url, question, Some(&used)).await?;
        }
        if answer.status == StatusCode::UNAUTHORIZED && meeting.demand == Demand::Basic {
            self.note_refused(credential, &answer.trouble());
        }
        let answer = accepted(answer)?;
        self.note_taken(credential);
        self.memory.state().keep(repository, used);
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

    /// The header that meets the demand.
    async fn authorize(
        &self,
        meeting: &Meeting,
        repository: &str,
        credential: Option<&Credential>,
    ) -> Result<Authorization, Trouble> {
        let lasting = |header| Authorization { header, until: None, confidential: true };
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
        match self.fetch_token(meeting, challenge, &scopes, credential).await {
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
        let token = self.fetch_token(meeting, challenge, &scopes, credential).await?;
        let authorization = token.authorization()?;
        self.memory.state().note_received(token.secret);
        Ok(authorization)
    }

    async fn fetch_token(
        &self,
        meeting: &Meeting,
        challenge: &BearerChallenge,
        scopes: &[String],
        credential: Option<&Credential>,
    ) -> Result<Token, Trouble> {
        let service = TokenService {
            transport: self.transport,
            endpoint: self.endpoint,
            share: &self.memory.share,
            registry_class: meeting.class,
            challenge,
        };
        service.fetch(scopes, credential).await
    }

    /// What became of a credential that was refused here, and by which nobody was let in.
    fn refused_before(&self, credential: Option<&Credential>) -> Result<(), Trouble> {
        let logins = self.logins();
        let refused = logins.refused.iter().find(|(refused, _)| refused.as_ref() == credential);
        refused.map_or(Ok(()), |(_, trouble)| Err(trouble.clone()))
    }

    /// Whether asking on for this repository is pointless: nothing more is asked of the registry, or all that could be shown
    /// to it was refused in this conversation.
    pub(super) fn is_settled(&self, repository: &str) -> bool {
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
}

/// Whether another credential might fare better; registries hide what one may not see behind a 404.
fn may_try_next(kind: RegistryFailureKind) -> bool {
    matches!(kind, RegistryFailureKind::Unauthorized | RegistryFailureKind::Forbidden | RegistryFailureKind::NotFound)
}

/// Whether the registry did not let us in.
pub(super) fn is_of_credentials(kind: RegistryFailureKind) -> bool {
    matches!(
        kind,
        RegistryFailureKind::Unauthorized | RegistryFailureKind::Forbidden | RegistryFailureKind::CredentialsMissing
    )
}

pub(super) fn unauthorized(refusal: Option<Trouble>) -> Trouble {
    refusal.unwrap_or_else(|| {
        Trouble::new(RegistryFailureKind::Unauthorized, "it wants credentials and no pull secret names it")
    })
}
