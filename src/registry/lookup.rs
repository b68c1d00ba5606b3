//! One lookup in a session, with whatever authentication the registry requires.

use http::{StatusCode, Version};
use url::Url;

use super::access::Endpoint;
use super::auth::authenticate::{AuthAttempt, is_settled};
use super::auth::scheme::AuthScheme;
use super::error::{RegistryError, Result};
use super::http::address::AddressClass;
use super::http::request::{HttpRequest, HttpResponse, MAX_ERROR_BODY};
use super::http::transport::Transport;
use super::registry_state::RegistryState;
use super::session::{Lookup, Session};
use crate::model::RegistryFailureKind;

/// Looks up, authenticated where required. Only a 200 is a success.
pub(crate) async fn look_up(session: &Session<'_>, lookup: Lookup<'_>) -> Result<HttpResponse> {
    if let Some(error) = session.halted() {
        return Err(error);
    }
    let mut progress = session.progress.subscribe();
    // No lookup waits for a registry that never responded, once another lookup has found out that it will not.
    let dead = progress.wait_for(|progress| progress.halted.is_some() && progress.responded.is_none());
    let outcome = tokio::select! {
        biased;
        outcome = look_up_authorized(session, lookup) => outcome,
        Ok(dead) = dead => return Err(dead.halted.clone().unwrap_or_else(RegistryError::unauthorized)),
    };
    if let Err(error) = &outcome {
        // A connection that ends at a HEAD request may hold for a GET, which finds out.
        let is_of_head = lookup.head && error.kind == RegistryFailureKind::Unreachable;
        if error.whole_registry && error.kind != RegistryFailureKind::Timeout && !is_of_head {
            session.halt(error);
        }
        if error.is_of_credentials() {
            session.state.known().doubted = true;
        }
    }
    outcome
}

/// Uses the scheme that is known of the registry. If that fails, sends the request without authentication to learn the current
/// scheme.
async fn look_up_authorized(session: &Session<'_>, lookup: Lookup<'_>) -> Result<HttpResponse> {
    let url = session.endpoint.base.join(&format!("v2/{}/{}", lookup.repository, lookup.path));
    let url = url.map_err(|_| RegistryError::invalid("a repository that no address can be made of"))?;
    let mut failed = None;
    let remembered = session.state.known().auth.scheme.clone();
    if let Some((scheme, class)) = remembered {
        let attempt =
            AuthAttempt { session, lookup, url: &url, scheme: scheme.without_scope(), class, remembered: true };
        match attempt.run(None).await {
            Err(error) if is_settled(session, lookup.repository) => return Err(error),
            Err(error)
                if error.of_token_service
                    && error.is_of_credentials()
                    && !error.whole_registry
                    && !scheme.has_unexplained_names() =>
            {
                // Very likely the token service is right; if it has moved, the next session finds out.
                return Err(error);
            }
            // The scheme was named for another repository, or at another time.
            Err(error) if error.is_of_credentials() || error.of_token_service => {
                session.state.known().auth.forget_scheme(&scheme);
                failed = Some((scheme, error));
            }
            outcome => return outcome,
        }
    }
    let response = session.send(&url, lookup, None).await?;
    let named = match AuthScheme::of_response(&response.headers) {
        // `send` rejects a 401 of a host that the registry redirected to.
        Some(scheme) if response.status == StatusCode::UNAUTHORIZED => {
            Some((scheme.named_for(lookup.repository), response.class))
        }
        _ if response.status != StatusCode::OK && may_hide(session, lookup, &response) => scheme_of_root(session).await,
        _ => None,
    };
    let Some((scheme, class)) = named else {
        if response.status == StatusCode::OK {
            session.state.known().note_open(lookup.repository);
        }
        if response.status != StatusCode::UNAUTHORIZED {
            session.open();
        }
        return response.into_success();
    };
    session.state.known().auth.scheme = Some((scheme.clone(), class));
    // The same scheme failed just now, with credentials to send.
    if let Some((old, error)) = failed
        && scheme.is_same_for(&old, lookup.repository)
        && !session.access.credentials(session.endpoint, lookup.repository).is_empty()
    {
        return Err(error);
    }
    // Where nothing asked for credentials, a token service that fails says nothing about the other images.
    let is_hidden = response.status != StatusCode::UNAUTHORIZED;
    let attempt = AuthAttempt { session, lookup, url: &url, scheme, class, remembered: is_hidden };
    let outcome = attempt.run(Some(response.error())).await;
    outcome.map_err(|error| if is_hidden { error.of_this_image() } else { error })
}

/// Whether a response without authentication may be different with it, although it does not say so: a 401 without a scheme, Nexus' 400
/// with the code UNAUTHORIZED, or a registry that hides what a stranger must not see behind 404 or 403 (Artifactory), while there are
/// credentials for it.
fn may_hide(session: &Session<'_>, lookup: Lookup<'_>, response: &HttpResponse) -> bool {
    let is_hidden = matches!(response.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN);
    match response.error().kind {
        RegistryFailureKind::Unauthorized => true,
        RegistryFailureKind::NotFound | RegistryFailureKind::Forbidden if is_hidden => {
            !session.access.credentials(session.endpoint, lookup.repository).is_empty()
                && !session.state.known().is_open(lookup.repository)
        }
        _ => false,
    }
}

/// Returns the scheme that the registry names at its root (OCI distribution specification 1.1, "Determining Support"). Requested once
/// in a session.
async fn scheme_of_root(session: &Session<'_>) -> Option<(AuthScheme, AddressClass)> {
    let ask = async {
        let url = session.endpoint.base.join("v2/").ok()?;
        let lookup =
            Lookup { repository: "", path: "", accept: "application/json", limit: MAX_ERROR_BODY, head: false };
        let response = session.send(&url, lookup, None).await.ok()?;
        let scheme = AuthScheme::of_response(&response.headers)?;
        (response.status == StatusCode::UNAUTHORIZED).then(|| (scheme.without_scope(), response.class))
    };
    session.named_by_root.get_or_init(|| ask).await.clone()
}

/// Opens the connection to the registry and learns its authentication scheme, while a cloud issues a credential for it. Whatever
/// fails is found out by the lookups.
pub(crate) async fn learn_scheme(transport: &Transport, endpoint: &Endpoint, state: &RegistryState) {
    let Ok(url) = endpoint.base.join("v2/") else { return };
    let request = HttpRequest { redirects: false, ..HttpRequest::get(url, &state.budget) };
    let Ok(response) = transport.send(endpoint, request).await else { return };
    let scheme = AuthScheme::of_response(&response.headers).filter(|_| response.status == StatusCode::UNAUTHORIZED);
    let mut known = state.known();
    known.version = Some(response.version);
    if let Some(scheme) = scheme {
        known.auth.scheme = Some((scheme, response.class));
    }
}

/// Opens the connection to the registry while a token is fetched from another host, so that lookups need not wait for it. Does
/// nothing unless such a token is known to be required.
pub(crate) async fn preconnect(session: &Session<'_>) {
    let scheme = session.state.known().auth.scheme.clone();
    let needs_other_host = match scheme {
        Some((AuthScheme::Bearer(challenge), _)) => {
            Url::parse(&challenge.realm).is_ok_and(|realm| realm.origin() != session.endpoint.base.origin())
        }
        _ => false,
    };
    let needs_token = |repository: &String| session.state.known().auth.authorization(repository).is_none();
    let is_http2 = session.version() == Some(Version::HTTP_2);
    if !needs_other_host || !is_http2 || !session.repositories.iter().any(needs_token) {
        return;
    }
    if let Ok(url) = session.endpoint.base.join("v2/") {
        // The response does not matter: if the registry does not serve, the lookups find out.
        let request = HttpRequest { redirects: false, ..HttpRequest::get(url, &session.state.budget) };
        let _ = session.transport.send(session.endpoint, request).await;
    }
}
