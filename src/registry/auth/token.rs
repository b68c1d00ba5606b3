//! Fetches tokens from a token service (Docker's token authentication and OAuth2 flows).

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::cache::Authorization;
use super::credentials::{Credential, Secret};
use super::realm::checked_realm;
use super::scheme::BearerChallenge;
use crate::model::{FailureCause, RegistryFailureKind};
use crate::registry::access::Endpoint;
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::address::{AddressClass, Reach};
use crate::registry::http::budget::RegistryBudget;
use crate::registry::http::request::HttpRequest;
use crate::registry::http::transport::Transport;
use crate::registry::json_object::JsonObject;

/// Maximum length of a token, in bytes.
const MAX_TOKEN: usize = 64 * 1024;
/// Maximum length of a token service's response, in bytes: the token under both of its names, and some more.
const MAX_RESPONSE: usize = 2 * MAX_TOKEN + 8 * 1024;

/// Lifetime of a token if the service names none (Docker's token specification), in seconds.
const DEFAULT_LIFETIME_SECONDS: u64 = 60;
/// Maximum time that a token is kept, in seconds.
const MAX_LIFETIME_SECONDS: u64 = 3600;
/// A token is no longer used so many seconds before it expires (at most half of its lifetime): it must be valid on arrival.
const EXPIRY_MARGIN_SECONDS: u64 = 10;
/// A token is used for at least so many seconds, whatever its service says: all lookups that waited for it share it.
const MIN_LIFETIME_SECONDS: u64 = 1;

#[derive(Deserialize)]
struct TokenResponse {
    token: Option<Secret>,
    access_token: Option<Secret>,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

/// Ignores a lifetime that is not a number of seconds; the token may be valid all the same.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64())
}

/// A token that a token service issued.
#[derive(Debug)]
pub(crate) struct Token {
    pub secret: Secret,
    /// How long it may be used from now on.
    pub lifetime: Duration,
    /// It was issued for a credential.
    pub confidential: bool,
}

impl Token {
    pub(crate) fn authorization(&self) -> Result<Authorization> {
        let until = Some(Instant::now() + self.lifetime);
        let header = authorization_header("Bearer", &self.secret)?;
        Ok(Authorization { header, until, confidential: self.confidential })
    }
}

/// The token service that a registry named.
pub(crate) struct TokenService<'a> {
    pub transport: &'a Transport,
    pub endpoint: &'a Endpoint,
    pub budget: &'a RegistryBudget,
    /// Class of the registry's address when it named the service.
    pub registry_class: AddressClass,
    pub challenge: &'a BearerChallenge,
}

impl TokenService<'_> {
    /// Fetches a token for these scopes.
    pub(crate) async fn fetch(&self, scopes: &[String], credential: Option<&Credential>) -> Result<Token> {
        let fetched = self.request(scopes, credential).await;
        fetched.map_err(|error| self.failure(error))
    }

    /// Returns the error as one of the token service. What the service answers about a credential is no failure of its own.
    fn failure(&self, error: RegistryError) -> RegistryError {
        use RegistryFailureKind::{InvalidAnswer, RefusedTarget, ServerError, Timeout, Tls, TooLarge, Unreachable};
        let fails =
            matches!(error.kind, InvalidAnswer | RefusedTarget | ServerError | Timeout | Tls | TooLarge | Unreachable);
        let own = fails.then_some(FailureCause::TokenServiceFailing);
        let cause = error.cause.filter(|cause| cause.is_of_token_service()).or(own);
        let host = Url::parse(&self.challenge.realm).ok().and_then(|url| url.host_str().map(str::to_owned));
        RegistryError { of_token_service: true, cause, token_service: host, ..error }
    }

    async fn request(&self, scopes: &[String], credential: Option<&Credential>) -> Result<Token> {
        let Self { transport, endpoint, budget, registry_class, challenge } = *self;
        let url = checked_realm(endpoint, challenge, credential.is_some())?;
        let on_registry_host = url.host_str() == endpoint.base.host_str();
        let reach = if on_registry_host { Reach::Registry } else { Reach::SentBy(registry_class) };
        if url.origin() != endpoint.base.origin() && !budget.may_lead_to(url.origin().ascii_serialization()) {
            let text = "a token service on yet another host, of which it named many lately";
            return Err(RegistryError::new(RegistryFailureKind::RefusedTarget, text).of_whole_registry());
        }
        let mut request = HttpRequest { limit: MAX_RESPONSE, reach, redirects: false, ..HttpRequest::get(url, budget) };
        request.confidential = credential.is_some();
        if let Some(Credential::IdentityToken(token)) = credential {
            request.form = Some(refresh_form(challenge, scopes, token));
        } else {
            let mut query = request.url.query_pairs_mut();
            query.extend_pairs(challenge.service.iter().map(|service| ("service", service)));
            query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
            drop(query);
            let basic = credential.and_then(Credential::basic);
            request.authorization = basic.map(|basic| authorization_header("Basic", &basic)).transpose()?;
        }
        // Without a response no token for another image fares better.
        let response = transport.send(endpoint, request).await.map_err(RegistryError::of_whole_registry)?;
        if response.status.is_redirection() {
            return Err(RegistryError::invalid("the token service redirects").of_whole_registry());
        }
        if response.status != StatusCode::OK {
            let error = response.error().prefixed("token service: ");
            let is_server_error = error.kind == RegistryFailureKind::ServerError;
            return Err(if is_server_error { error.of_whole_registry() } else { error });
        }
        Ok(Token { confidential: credential.is_some(), ..parse(&response.body)? })
    }
}

fn refresh_form(challenge: &BearerChallenge, scopes: &[String], token: &Secret) -> Zeroizing<String> {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("client_id", "imageset-controller");
    if let Some(service) = &challenge.service {
        form.append_pair("service", service);
    }
    form.append_pair("scope", &scopes.join(" ")).append_pair("refresh_token", token.expose());
    Zeroizing::new(form.finish())
}

/// Parses a token service's response.
pub(crate) fn parse(body: &[u8]) -> Result<Token> {
    let JsonObject(response): JsonObject<TokenResponse> = serde_json::from_slice(body).map_err(|_| {
        RegistryError::invalid("the token service answered something that is no token").of_whole_registry()
    })?;
    let set = |token: Option<Secret>| token.filter(|token| !token.is_empty());
    let secret = set(response.token)
        .or_else(|| set(response.access_token))
        .ok_or_else(|| RegistryError::invalid("the token service answered without a token").of_whole_registry())?;
    if secret.expose().len() > MAX_TOKEN {
        return Err(
            RegistryError::new(RegistryFailureKind::TooLarge, "a token of more than 64 KiB").of_whole_registry()
        );
    }
    authorization_header("Bearer", &secret)?;
    let seconds = response.expires_in.unwrap_or(DEFAULT_LIFETIME_SECONDS).min(MAX_LIFETIME_SECONDS);
    let seconds = (seconds - EXPIRY_MARGIN_SECONDS.min(seconds / 2)).max(MIN_LIFETIME_SECONDS);
    Ok(Token { secret, confidential: true, lifetime: Duration::from_secs(seconds) })
}

/// Returns an `Authorization` value, marked sensitive.
///
/// # Errors
/// The secret has characters that a header cannot carry. The error does not quote them.
pub(crate) fn authorization_header(scheme: &str, secret: &Secret) -> Result<HeaderValue> {
    let text = Zeroizing::new(format!("{scheme} {}", secret.expose()));
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let value = plain.then(|| HeaderValue::from_str(&text).ok()).flatten();
    let mut value = value.ok_or_else(|| {
        RegistryError::invalid(format!("a {scheme} credential with characters that no header can carry"))
            .of_whole_registry()
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_bounded_and_fit_a_header() {
        let token = |body: &str| parse(body.as_bytes()).map(|token| token.secret.expose().to_owned());
        assert_eq!(token(r#"{"token": "abc", "access_token": "def", "expires_in": 60}"#), Ok("abc".to_owned()));
        assert_eq!(token(r#"{"access_token": "def"}"#), Ok("def".to_owned()));
        for (expires, life) in
            [("300", 290), ("5", 3), ("0", 1), ("9e99", 50), ("\"soon\"", 50), ("-1", 50), ("1000000", 3590)]
        {
            let body = format!(r#"{{"token": "abc", "expires_in": {expires}}}"#);
            assert_eq!(parse(body.as_bytes()).unwrap().lifetime, Duration::from_secs(life), "{expires}");
        }
        for body in
            ["", "{}", r#"{"token": ""}"#, r#"{"token": "a\nb"}"#, r#"{"token": "é"}"#, r#"{"token": 1}"#, r#"["abc"]"#]
        {
            assert_eq!(token(body).unwrap_err().kind, RegistryFailureKind::InvalidAnswer, "{body}");
        }
        let long = format!(r#"{{"token": "{}"}}"#, "a".repeat(MAX_TOKEN + 1));
        assert_eq!(token(&long).unwrap_err().kind, RegistryFailureKind::TooLarge);
    }
}
