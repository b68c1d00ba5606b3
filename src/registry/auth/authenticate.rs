//! Authenticates a lookup: with what worked before, then with each credential that matches, in the kubelet's order. One token
//! serves all repositories where the token service allows it. A rejected credential is not tried again for each image.

use std::collections::HashSet;

use http::StatusCode;
use url::Url;

use super::attempt::AuthAttempt;
use super::cache::Authorization;
use super::credentials::Credential;
use super::scheme::{AuthScheme, BearerChallenge, scope};
use super::token::{Token, TokenService, authorization_header};
use crate::model::registry_failure::RegistryFailureKind;
use crate::registry::error::RegistryError;
use crate::registry::http::request::HttpResponse;
use crate::registry::session::{Lookup, Session};

/// Maximum number of repositories that one token is requested for; more scopes would not fit a request line everywhere.
const MAX_SCOPES: usize = 64;

/// Looks up with what satisfies the scheme. `rejection` is the error of the lookup without authentication.
pub(crate) async fn authenticate(
    session: &Session<'_>,
    lookup: Lookup<'_>,
    url: &Url,
    attempt: &AuthAttempt,
    mut rejection: Option<RegistryError>,
) -> Result<HttpResponse, RegistryError> {
    let repository = lookup.repository;
    let candidates = candidates(session, repository, &attempt.scheme);
    let known = session.state.known().auth.authorization(repository);
    if let Some(known) = known {
        let response = session.send(url, lookup, Some(&known)).await?;
        let rejected = response.status != StatusCode::OK && response.error().may_try_next_credential();
        let has_alternative = response.status == StatusCode::UNAUTHORIZED || candidates.len() > 1;
        if !(rejected && has_alternative) {
            session.open();
            return response.into_success();
        }
        session.state.known().auth.forget(repository, &known.header);
        rejection = Some(response.error());
    }
    // One lookup finds out that a password is wrong: all at once would look like an attack. Tokens are fetched one at a time
    // anyway.
    if matches!(attempt.scheme, AuthScheme::Bearer(_)) && !session.state.awaits_limit(session.endpoint) {
        session.open();
    }
    for candidate in candidates {
        match try_credential(session, lookup, url, attempt, candidate.as_ref()).await {
            Ok(response) => {
                session.open();
                return Ok(response);
            }
            Err(error) if error.may_try_next_credential() => rejection = Some(error),
            Err(error) => return Err(error),
        }
    }
    let error = rejection.unwrap_or_else(RegistryError::unauthorized);
    let has_credentials = !session.access.credentials(session.endpoint, repository).is_empty();
    if has_credentials || !error.is_of_credentials() {
        return Err(error);
    }
    if !attempt.remembered {
        session.tried().note_rejected(None, &error);
    }
    // Some token services answer 403 where they should ask for credentials.
    Err(RegistryError { kind: RegistryFailureKind::CredentialsMissing, ..error })
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

async fn try_credential(
    session: &Session<'_>,
    lookup: Lookup<'_>,
    url: &Url,
    attempt: &AuthAttempt,
    credential: Option<&Credential>,
) -> Result<HttpResponse, RegistryError> {
    let repository = lookup.repository;
    check_not_rejected(session, credential)?;
    let mut used = authorize(session, attempt, repository, credential).await?;
    let mut response = session.send(url, lookup, Some(&used)).await?;
    if response.status == StatusCode::UNAUTHORIZED && session.state.known().auth.is_shared(&used.header) {
        // The shared token is not valid for this repository, which needs its own.
        session.state.known().auth.forget(repository, &used.header);
        used = own_token(session, attempt, repository, credential).await?;
        response = session.send(url, lookup, Some(&used)).await?;
    }
    if response.status == StatusCode::UNAUTHORIZED && attempt.scheme == AuthScheme::Basic {
        session.tried().note_rejected(credential, &response.error());
    }
    let response = response.into_success()?;
    session.tried().note_accepted(credential);
    session.state.known().auth.keep(repository, used);
    Ok(response)
}

/// Returns the credentials to try, in order: every one that matches, as the kubelet does; without any, an anonymous token.
fn candidates(session: &Session<'_>, repository: &str, scheme: &AuthScheme) -> Vec<Option<Credential>> {
    let credentials = session.access.credentials(session.endpoint, repository);
    if credentials.is_empty() && matches!(scheme, AuthScheme::Bearer(_)) {
        return vec![None];
    }
    credentials.into_iter().map(Some).collect()
}

/// Returns the header that satisfies the scheme.
async fn authorize(
    session: &Session<'_>,
    attempt: &AuthAttempt,
    repository: &str,
    credential: Option<&Credential>,
) -> Result<Authorization, RegistryError> {
    let lasting = |header| Authorization { header, until: None, confidential: true };
    match (&attempt.scheme, credential) {
        (_, Some(Credential::RegistryToken(token))) => authorization_header("Bearer", token).map(lasting),
        (AuthScheme::Basic, credential) => match credential.and_then(Credential::basic) {
            Some(basic) => authorization_header("Basic", &basic).map(lasting),
            // An identity token is useless for a registry that requires user and password.
            None => Err(RegistryError::unauthorized()),
        },
        (AuthScheme::Bearer(challenge), credential) => {
            match shared_token(session, challenge, attempt, repository, credential).await? {
                Some(shared) => Ok(shared),
                None => own_token(session, attempt, repository, credential).await,
            }
        }
    }
}

/// Returns the token for all repositories of this credential: the cached one, or a new one that the first lookup fetches. `None` if
/// the repository needs its own.
async fn shared_token(
    session: &Session<'_>,
    challenge: &BearerChallenge,
    attempt: &AuthAttempt,
    repository: &str,
    credential: Option<&Credential>,
) -> Result<Option<Authorization>, RegistryError> {
    let _turn = session.state.fetching.lock().await;
    if let Some(error) = session.halted() {
        return Err(error);
    }
    check_not_rejected(session, credential)?;
    {
        let known = session.state.known();
        if attempt.remembered && known.auth.scheme.is_none() {
            return Err(RegistryError::unauthorized());
        }
        let found = known.auth.shared_token(credential, repository);
        if found.is_some() || known.auth.has_single_scopes() {
            return Ok(found);
        }
    }
    let repositories = sharing_repositories(session, credential);
    if repositories.len() < 2 || !repositories.iter().any(|other| *other == repository) {
        return Ok(None);
    }
    let scope = |other: &&String| scope((other.as_str() == repository).then_some(challenge), other);
    let scopes: Vec<String> = repositories.iter().map(scope).collect();
    match fetch_token(session, attempt, challenge, &scopes, credential).await {
        Ok(token) => {
            let authorization = token.authorization()?;
            let repositories = repositories.into_iter().cloned().collect::<HashSet<String>>();
            let mut known = session.state.known();
            known.auth.note_received(token.secret);
            known.auth.keep_shared(credential, repositories, authorization.clone());
            Ok(Some(authorization))
        }
        Err(error) if error.whole_registry => {
            // A remembered scheme may be outdated, which says nothing about the registry.
            if !attempt.remembered {
                session.halt(&error);
            }
            Err(error)
        }
        Err(rejection) => {
            let own = own_token(session, attempt, repository, credential).await;
            note_single_scopes(session, credential, &rejection, own.as_ref().err());
            own.map(Some)
        }
    }
}

/// Returns the repositories of this session that use this credential first, in order.
fn sharing_repositories<'a>(session: &'a Session<'_>, credential: Option<&Credential>) -> Vec<&'a String> {
    let same = |other: &&String| session.access.credentials(session.endpoint, other).first() == credential;
    let mut repositories: Vec<&String> = session.repositories.iter().filter(same).collect();
    repositories.sort();
    repositories.dedup();
    repositories.truncate(MAX_SCOPES);
    repositories
}

/// Notes why a token for several repositories was rejected, judged by what became of the token for one: the service knows no
/// several scopes, or rejects them all because of one; or it rejects the credential, which is noted before all other lookups try it.
fn note_single_scopes(
    session: &Session<'_>,
    credential: Option<&Credential>,
    rejection: &RegistryError,
    own: Option<&RegistryError>,
) {
    match own.map(|error| (error, error.kind)) {
        None | Some((_, RegistryFailureKind::Forbidden)) => session.state.known().auth.note_single_scopes(),
        Some((error, RegistryFailureKind::Unauthorized)) if rejection.kind == error.kind => {
            session.tried().note_rejected(credential, error);
        }
        Some(_) => {}
    }
}

/// Returns a token for one repository.
async fn own_token(
    session: &Session<'_>,
    attempt: &AuthAttempt,
    repository: &str,
    credential: Option<&Credential>,
) -> Result<Authorization, RegistryError> {
    let AuthScheme::Bearer(challenge) = &attempt.scheme else { return Err(RegistryError::unauthorized()) };
    let scopes = [scope(Some(challenge), repository)];
    let token = fetch_token(session, attempt, challenge, &scopes, credential).await?;
    let authorization = token.authorization()?;
    session.state.known().auth.note_received(token.secret);
    Ok(authorization)
}

async fn fetch_token(
    session: &Session<'_>,
    attempt: &AuthAttempt,
    challenge: &BearerChallenge,
    scopes: &[String],
    credential: Option<&Credential>,
) -> Result<Token, RegistryError> {
    let service = TokenService {
        transport: session.transport,
        endpoint: session.endpoint,
        budget: &session.state.budget,
        registry_class: attempt.class,
        challenge,
    };
    service.fetch(scopes, credential).await
}

/// Fails with the error of a credential that this session has rejected already.
fn check_not_rejected(session: &Session<'_>, credential: Option<&Credential>) -> Result<(), RegistryError> {
    session.tried().rejection(credential).map_or(Ok(()), |error| Err(error.clone()))
}
