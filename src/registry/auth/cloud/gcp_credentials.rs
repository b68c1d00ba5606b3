//! Credentials files of Google (AIP-4112 and AIP-4117): a key of a service account, an external identity that is exchanged for one of
//! Google (Workload Identity Federation), and a person's own login of gcloud.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::environment::read_secret_file;
use super::issued::{Identity, missing};
use super::oauth::{self, AccessToken};
use super::service::{CloudServices, ServiceRequest, parse, service_url};
use crate::registry::auth::credentials::Secret;
use crate::registry::error::Result;

const OAUTH: &str = "Google's token endpoint";
const STS: &str = "Google STS";
const IAM: &str = "Google IAM";
/// What IAM allows the identity counts; the scope only names the APIs of the cloud.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// Lifetime of a signed assertion and of a token that IAM is asked for, in seconds.
const LIFETIME_SECONDS: u64 = 3600;
/// By how much the clock must have been wrong for an assertion to be made again, in seconds.
const CLOCK_DIFFERENCE: i64 = 60;
/// Domains of Google's APIs, and of its sovereign cloud: nothing else is sent a key or a token.
const DOMAINS: [&str; 2] = ["googleapis.com", "s3nsapis.fr"];

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum File {
    ServiceAccount(ServiceAccount),
    ExternalAccount(ExternalAccount),
    AuthorizedUser(AuthorizedUser),
}

#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: Secret,
    private_key_id: Option<String>,
    token_uri: Option<String>,
}

#[derive(Deserialize)]
struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: CredentialSource,
    service_account_impersonation_url: Option<String>,
}

#[derive(Deserialize)]
struct CredentialSource {
    file: Option<String>,
    #[serde(default)]
    format: SourceFormat,
}

#[derive(Deserialize, Default)]
struct SourceFormat {
    /// `json`, or plain text.
    r#type: Option<String>,
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct AuthorizedUser {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    /// Left out by gcloud.
    token_uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: Secret,
}

/// Returns an access token for the identity of a credentials file. `place` names the file in messages.
///
/// # Errors
/// The file is not understood, its identity is rejected, or a service is not available.
pub(crate) async fn access_token(
    services: &CloudServices<'_>,
    place: &str,
    text: &Secret,
) -> Result<(AccessToken, Identity)> {
    let file = serde_json::from_str(text.expose()).map_err(|_| {
        missing(format!(
            "{place} is not a credentials file of type service_account, external_account or authorized_user"
        ))
    })?;
    match file {
        File::ServiceAccount(account) => of_service_account(services, place, &account).await,
        File::ExternalAccount(account) => of_external_account(services, place, &account).await,
        File::AuthorizedUser(user) => of_user(services, place, &user).await,
    }
}

/// Returns the address of one of Google's services that a file names.
fn google_url(place: &str, text: &str) -> Result<Url> {
    let url = service_url(place, text)?;
    let host = url.host_str().unwrap_or_default();
    let is_of = |domain: &&str| host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    // An address without TLS is on this machine.
    if url.scheme() == "http" || DOMAINS.iter().any(is_of) {
        return Ok(url);
    }
    Err(missing(format!("{place} names a service at {host}, which is not Google's")))
}

async fn of_service_account(
    services: &CloudServices<'_>,
    place: &str,
    account: &ServiceAccount,
) -> Result<(AccessToken, Identity)> {
    let url = google_url(place, account.token_uri.as_deref().unwrap_or(TOKEN_URL))?;
    let identity = Identity::new(&account.client_email);
    let send = async || {
        let assertion = assertion(account, &url, services.clock.now().as_second());
        let assertion =
            assertion.ok_or_else(|| missing(format!("{place}: its private_key is not an RSA key in PKCS #8")))?;
        let grant = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        services.send(&ServiceRequest::form(OAUTH, url.clone(), &[grant, ("assertion", &assertion)])).await
    };
    let offset = services.clock.offset_seconds();
    let mut response = send().await?;
    let was_off = (services.clock.offset_seconds() - offset).abs() > CLOCK_DIFFERENCE;
    if response.status.is_client_error() && was_off {
        response = send().await?;
    }
    let rejection = || format!("{identity}: its key may be deleted, or the account disabled");
    let token = oauth::access_token(OAUTH, &response, rejection)?;
    Ok((token, identity))
}

/// Returns a signed assertion (RFC 7523); `None` if the key cannot sign.
fn assertion(account: &ServiceAccount, token_url: &Url, now: i64) -> Option<Zeroizing<String>> {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": account.private_key_id});
    let claims = json!({
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": token_url.as_str(),
        "iat": now,
        "exp": now.saturating_add_unsigned(LIFETIME_SECONDS),
    });
    let mut text = Zeroizing::new(format!("{}.{}", encoded(&header), encoded(&claims)));
    let key = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.expose().as_bytes()).ok()?;
    let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).ok()?;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
    text.push('.');
    text.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Some(text)
}

async fn of_external_account(
    services: &CloudServices<'_>,
    place: &str,
    account: &ExternalAccount,
) -> Result<(AccessToken, Identity)> {
    let subject = subject_token(place, &account.credential_source).await?;
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("audience", account.audience.as_str()),
        ("scope", SCOPE),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("subject_token", subject.expose()),
        ("subject_token_type", account.subject_token_type.as_str()),
    ];
    let url = google_url(place, &account.token_url)?;
    let response = services.send(&ServiceRequest::form(STS, url, &form)).await?;
    // The last part is the name of the provider; the whole has no secret.
    let federated = Identity::new(&format!("the identity of pool {}", account.audience.trim_start_matches('/')));
    let rejection = || format!("{federated}: check the issuer, the audience and the conditions of its provider");
    let token = oauth::access_token(STS, &response, rejection)?;
    match &account.service_account_impersonation_url {
        None => Ok((token, federated)),
        Some(url) => impersonated(services, google_url(place, url)?, &token, &federated).await,
    }
}

async fn subject_token(place: &str, source: &CredentialSource) -> Result<Secret> {
    let unreadable = |text: String| missing(format!("{place}: {text}"));
    let file = source.file.as_deref().ok_or_else(|| unreadable("its credential_source is not a file".to_owned()))?;
    let text = read_secret_file(file).await.map_err(|error| unreadable(format!("{file}: {error}")))?;
    if source.format.r#type.as_deref() != Some("json") {
        return Ok(text);
    }
    let field = source.format.subject_token_field_name.as_deref().unwrap_or("access_token");
    let value: Value = serde_json::from_str(text.expose()).map_err(|_| unreadable(format!("{file} is not JSON")))?;
    let token = value.get(field).and_then(Value::as_str).map(|token| Secret::new(token.to_owned()));
    token.ok_or_else(|| unreadable(format!("{file} has no text in the field {field}")))
}

async fn impersonated(
    services: &CloudServices<'_>,
    url: Url,
    token: &AccessToken,
    federated: &Identity,
) -> Result<(AccessToken, Identity)> {
    // `…/serviceAccounts/EMAIL:generateAccessToken`
    let last = url.path_segments().and_then(Iterator::last).unwrap_or_default();
    let identity = Identity::new(last.split(':').next().unwrap_or_default());
    let body = json!({"scope": [SCOPE], "lifetime": format!("{LIFETIME_SECONDS}s")}).to_string();
    let request = ServiceRequest::post(IAM, url, "application/json", body);
    let bearer = Zeroizing::new(format!("Bearer {}", token.token.expose()));
    let response = services.send(&request.with_header("authorization", &bearer)?).await?;
    oauth::check(IAM, &response, || format!("{federated}, which needs roles/iam.workloadIdentityUser on {identity}"))?;
    let Impersonated { access_token } = parse(IAM, &response)?;
    let lifetime = Duration::from_secs(LIFETIME_SECONDS);
    Ok((AccessToken { token: access_token, lifetime }, identity))
}

async fn of_user(services: &CloudServices<'_>, place: &str, user: &AuthorizedUser) -> Result<(AccessToken, Identity)> {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", user.client_id.as_str()),
        ("client_secret", user.client_secret.expose()),
        ("refresh_token", user.refresh_token.expose()),
    ];
    let url = google_url(place, user.token_uri.as_deref().unwrap_or(TOKEN_URL))?;
    let response = services.send(&ServiceRequest::form(OAUTH, url, &form)).await?;
    let identity = Identity::new("the user of gcloud");
    let rejection = || format!("{identity}: log in again with gcloud auth application-default login");
    let token = oauth::access_token(OAUTH, &response, rejection)?;
    Ok((token, identity))
}
