//! Authenticates a lookup: with what worked before, then with each credential that matches, in the kubelet's order. One token
//! serves all repositories where the token service allows it. A rejected credential is not tried again for each image.

use std::collections::HashSet;

use http::StatusCode;
use url::Url;

use super::cache::Authorization;
use super::credentials::Credential;
use super::scheme::{AuthScheme, BearerChallenge, scope, scope_of_other};
use super::token::{Token, TokenService, authorization_header};
use crate::model::RegistryFailureKind;
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::address::AddressClass;
use crate::registry::http::request::HttpResponse;
use crate::registry::session::{Lookup, Session};

/// Maximum number of repositories that one token is requested for; more scopes would not fit a request line everywhere.
const MAX_SCOPES: usize = 64;

/// An attempt to look up with an authentication scheme.
pub(crate) struct AuthAttempt<'a> {
    pub session: &'a Session<'a>,
    pub lookup: Lookup<'a>,
    pub url: &'a Url,
    pub scheme: AuthScheme,
    /// Class of the registry's address when it named the scheme.
    pub class: AddressClass,
    /// The registry named the scheme for another lookup.
    pub remembered: bool,
}

impl AuthAttempt<'_> {
    /// Looks up with what satisfies the scheme. `rejection` is the error of the lookup without authentication.
    pub(crate) async fn run(&self, mut rejection: Option<RegistryError>) -> Result<HttpResponse> {
        let (session, repository) = (self.session, self.lookup.repository);
        let credentials = session.access.credentials(session.endpoint, repository);
        let known = session.state.known().auth.authorization(repository);
        if let Some(known) = known {
            let response = self.send(&known).await?;
            let rejected = response.status != StatusCode::OK && response.error().may_try_next_credential();
            let has_alternative = response.status == StatusCode::UNAUTHORIZED || credentials.len() > 1;
            if !(rejected && has_alternative) {
                session.open();
                return response.into_success();
            }
            session.state.known().auth.forget(repository, &known.header);
            rejection = Some(response.error());
        }
        // One lookup finds out that a password is wrong: all at once would look like an attack. Tokens are fetched one at a time
        // anyway.
        let is_bearer = matches!(self.scheme, AuthScheme::Bearer(_));
        if is_bearer && !session.state.awaits_limit(session.endpoint) {
            session.open();
        }
        // As the kubelet does: every credential that matches; without any, an anonymous token.
        let anonymous = (is_bearer && credentials.is_empty()).then_some(None);
        for credential in credentials.iter().map(Some).chain(anonymous) {
            match self.try_credential(credential).await {
                Ok(response) => {
                    session.open();
                    return Ok(response);
                }
                Err(error) if error.may_try_next_credential() => rejection = Some(error),
                Err(error) => return Err(error),
            }
        }
        let error = rejection.unwrap_or_else(RegistryError::unauthorized);
        if !credentials.is_empty() || !error.is_of_credentials() {
            return Err(error);
        }
        if !self.remembered {
            session.tried().note_rejected(None, &error);
        }
        // Some token services respond with 403 instead of 401.
        Err(RegistryError { kind: RegistryFailureKind::CredentialsMissing, ..error })
    }

    async fn send(&self, authorization: &Authorization) -> Result<HttpResponse> {
        self.session.send(self.url, self.lookup, Some(authorization)).await
    }

    async fn try_credential(&self, credential: Option<&Credential>) -> Result<HttpResponse> {
        let (session, repository) = (self.session, self.lookup.repository);
        self.check_not_rejected(credential)?;
        let mut used = self.authorize(credential).await?;
        let is_shared = session.state.known().auth.is_shared(&used.header);
        let mut response = self.send(&used).await?;
        if is_shared && may_need_own_token(&response) {
            // The shared token may not be valid for this repository, which then needs its own.
            let shared = used.header.clone();
            session.state.known().auth.forget(repository, &shared);
            used = self.own_token(credential).await?;
            response = self.send(&used).await?;
            if response.status == StatusCode::OK {
                // The service issues tokens for several repositories that hold for some of them only.
                session.state.known().auth.forget_shared(&shared);
            }
        }
        if response.status == StatusCode::UNAUTHORIZED && self.scheme == AuthScheme::Basic {
            session.tried().note_rejected(credential, &response.error());
        }
        let response = response.into_success()?;
        session.tried().note_accepted(credential);
        session.state.known().auth.keep(repository, used);
        Ok(response)
    }

    /// Returns the header that satisfies the scheme.
    async fn authorize(&self, credential: Option<&Credential>) -> Result<Authorization> {
        let lasting = |header| Authorization { header, until: None, confidential: true };
        match (&self.scheme, credential) {
            (_, Some(Credential::RegistryToken(token))) => authorization_header("Bearer", token).map(lasting),
            (AuthScheme::Basic, credential) => match credential.and_then(Credential::basic) {
                Some(basic) => authorization_header("Basic", &basic).map(lasting),
                // An identity token is useless for a registry that requires user and password.
                None => Err(RegistryError::unauthorized()),
            },
            (AuthScheme::Bearer(challenge), credential) => match self.shared_token(challenge, credential).await? {
                Some(shared) => Ok(shared),
                None => self.own_token(credential).await,
            },
        }
    }

    /// Returns the token for all repositories of this credential: the cached one, or a new one that the first lookup fetches. `None`
    /// if the repository needs its own.
    async fn shared_token(
        &self,
        challenge: &BearerChallenge,
        credential: Option<&Credential>,
    ) -> Result<Option<Authorization>> {
        let (session, repository) = (self.session, self.lookup.repository);
        let _turn = session.state.fetching.lock().await;
        if let Some(error) = session.halted() {
            return Err(error);
        }
        self.check_not_rejected(credential)?;
        {
            let known = session.state.known();
            if self.remembered && known.auth.scheme.is_none() {
                return Err(RegistryError::unauthorized());
            }
            let found = known.auth.shared_token(credential, repository);
            if found.is_some() || known.auth.has_single_scopes() {
                return Ok(found);
            }
        }
        let repositories = self.sharing_repositories(credential);
        if repositories.len() < 2 || !repositories.iter().any(|other| *other == repository) {
            return Ok(None);
        }
        let scope = |other: &&String| match other.as_str() == repository {
            true => scope(Some(challenge), other),
            false => scope_of_other(challenge, other),
        };
        let scopes: Vec<String> = repositories.iter().map(scope).collect();
        match self.fetch_token(challenge, &scopes, credential).await {
            Ok(token) => {
                let authorization = token.authorization()?;
                let repositories = repositories.into_iter().cloned().collect::<HashSet<String>>();
                let mut known = session.state.known();
                known.auth.note_received(token.secret);
                known.auth.keep_shared(credential, repositories, authorization.clone());
                Ok(Some(authorization))
            }
            Err(error) if error.whole_registry => {
                // A remembered scheme may be outdated, which is no failure of the registry.
                if !self.remembered {
                    session.halt(&error);
                }
                Err(error)
            }
            Err(rejection) => {
                let own = self.own_token(credential).await;
                self.note_single_scopes(credential, &rejection, own.as_ref().err());
                own.map(Some)
            }
        }
    }

    /// Returns the repositories of this session that use this credential first, in order.
    fn sharing_repositories(&self, credential: Option<&Credential>) -> Vec<&String> {
        let Session { access, endpoint, .. } = self.session;
        let same = |other: &&String| access.credentials(endpoint, other).first() == credential;
        let mut repositories: Vec<&String> = self.session.repositories.iter().filter(same).collect();
        repositories.sort();
        repositories.dedup();
        repositories.truncate(MAX_SCOPES);
        repositories
    }

    /// Notes why a token for several repositories was rejected, judged by the token for one: the service does not support several
    /// scopes, or rejects all because of one; or it rejects the credential, which is noted before all other lookups try it.
    fn note_single_scopes(
        &self,
        credential: Option<&Credential>,
        rejection: &RegistryError,
        own: Option<&RegistryError>,
    ) {
        match own.map(|error| (error, error.kind)) {
            None | Some((_, RegistryFailureKind::Forbidden)) => self.session.state.known().auth.note_single_scopes(),
            Some((error, RegistryFailureKind::Unauthorized)) if rejection.kind == error.kind => {
                self.session.tried().note_rejected(credential, error);
            }
            Some(_) => {}
        }
    }

    /// Returns a token for this repository alone.
    async fn own_token(&self, credential: Option<&Credential>) -> Result<Authorization> {
        let AuthScheme::Bearer(challenge) = &self.scheme else { return Err(RegistryError::unauthorized()) };
        let scopes = [scope(Some(challenge), self.lookup.repository)];
        let token = self.fetch_token(challenge, &scopes, credential).await?;
        let authorization = token.authorization()?;
        self.session.state.known().auth.note_received(token.secret);
        Ok(authorization)
    }

    async fn fetch_token(
        &self,
        challenge: &BearerChallenge,
        scopes: &[String],
        credential: Option<&Credential>,
    ) -> Result<Token> {
        let Session { transport, endpoint, state, .. } = *self.session;
        let service =
            TokenService { transport, endpoint, budget: &state.budget, registry_class: self.class, challenge };
        service.fetch(scopes, credential).await
    }

    /// Fails with the error of a credential that this session has rejected already.
    fn check_not_rejected(&self, credential: Option<&Credential>) -> Result<()> {
        self.session.tried().rejection(credential).map_or(Ok(()), |error| Err(error.clone()))
    }
}

/// Whether a token for several repositories may be the reason of a rejection: docker_auth answers 403 where its token holds for the
/// first of them only, others 401, or 404 as for a repository that does not exist.
fn may_need_own_token(response: &HttpResponse) -> bool {
    match response.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => response.error().may_try_next_credential(),
        StatusCode::NOT_FOUND => response.error().code != Some("MANIFEST_UNKNOWN"),
        _ => false,
    }
}

/// Whether another attempt for this repository is pointless: the session has ended, or rejected every credential that matches.
pub(crate) fn is_settled(session: &Session<'_>, repository: &str) -> bool {
    let credentials = session.access.credentials(session.endpoint, repository);
    let tried = session.tried();
    let is_rejected = |credential| tried.rejection(credential).is_some();
    let all_rejected = match &credentials[..] {
        [] => is_rejected(None),
        credentials => credentials.iter().all(|credential| is_rejected(Some(credential))),
    };
    all_rejected || session.halted().is_some()
}
