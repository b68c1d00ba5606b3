//! Tokens of Azure Container Registry: a token of Microsoft Entra ID, exchanged at the registry for a refresh token, which the
//! registry's own token service accepts. Sources: Workload Identity (a federated token of the cluster), a client secret of the
//! environment, and managed identity by the metadata service.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde::Deserialize;

use super::environment::read_secret_file;
use super::issued::{Identity, Issued, missing};
use super::oauth::{AccessToken, access_token, check};
use super::service::{CloudServices, ServiceRequest, metadata_url, parse, service_url, unavailable};
use crate::registry::access::Endpoint;
use crate::registry::auth::credentials::{Credential, Secret};
use crate::registry::error::Result;
use crate::registry::http::address::normalized_host;

const ENTRA: &str = "Microsoft Entra ID";
const INSTANCE_METADATA: &str = "the managed identity of Azure";
const EXCHANGE: &str = "the token exchange of the registry";
/// Audience of tokens for every registry, in all of Azure's clouds.
const AUDIENCE: &str = "https://containerregistry.azure.net";
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Lifetime of a refresh token that does not tell its own. Real ones live for three hours.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
/// Maximum lifetime that is believed, in seconds.
const MAX_LIFETIME_SECONDS: u64 = 24 * 3600;

/// An Entra token, and whom it was issued to.
struct EntraToken {
    token: Secret,
    identity: Identity,
    tenant: Option<String>,
}

#[derive(Deserialize)]
struct ExchangeResponse {
    refresh_token: Secret,
}

/// Claims of a refresh token that tell its lifetime whatever the clock of this machine says.
#[derive(Deserialize)]
struct Claims {
    iat: u64,
    exp: u64,
}

/// Returns a refresh token for a registry.
///
/// # Errors
/// There is no identity, it is rejected, or a service is not available.
pub(crate) async fn issue(services: &CloudServices<'_>, endpoint: &Endpoint) -> Result<Issued> {
    let EntraToken { token, identity, tenant } = entra_token(services, &endpoint.settings.host).await?;
    let url = endpoint.base.join("oauth2/exchange").map_err(|_| missing("the registry has no address"))?;
    let host = endpoint.base.host_str().unwrap_or_default();
    let mut form = vec![("grant_type", "access_token"), ("service", host), ("access_token", token.expose())];
    form.extend(tenant.as_deref().map(|tenant| ("tenant", tenant)));
    let response = services.send_to(endpoint, &ServiceRequest::form(EXCHANGE, url, &form)).await?;
    check(EXCHANGE, &response, || format!("{identity}, which needs the role AcrPull on this registry"))?;
    let ExchangeResponse { refresh_token } = parse(EXCHANGE, &response)?;
    if refresh_token.is_empty() {
        return Err(unavailable(EXCHANGE, "it answers without a token", None));
    }
    let lifetime = lifetime(&refresh_token).unwrap_or(DEFAULT_LIFETIME);
    Ok(Issued { credential: Credential::IdentityToken(refresh_token), identity, lifetime })
}

/// Returns the lifetime that a JSON web token tells.
fn lifetime(token: &Secret) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.expose().split('.').nth(1)?).ok()?;
    let Claims { iat, exp } = serde_json::from_slice(&claims).ok()?;
    exp.checked_sub(iat)
        .filter(|seconds| *seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.min(MAX_LIFETIME_SECONDS)))
}

async fn entra_token(services: &CloudServices<'_>, registry: &str) -> Result<EntraToken> {
    let variable = |name| services.environment.get(name);
    let client = variable("AZURE_CLIENT_ID");
    let (Some(client), Some(tenant)) = (client, variable("AZURE_TENANT_ID")) else {
        return managed_identity(services, client).await;
    };
    let assertion = match (variable("AZURE_FEDERATED_TOKEN_FILE"), variable("AZURE_CLIENT_SECRET")) {
        (Some(file), _) => {
            let token = read_secret_file(file).await;
            let token = token.map_err(|error| missing(format!("AZURE_FEDERATED_TOKEN_FILE {file}: {error}")))?;
            vec![("client_assertion_type", Secret::new(ASSERTION.to_owned())), ("client_assertion", token)]
        }
        (None, Some(secret)) => vec![("client_secret", Secret::new(secret.to_owned()))],
        (None, None) => return managed_identity(services, Some(client)).await,
    };
    let scope = format!("{AUDIENCE}/.default");
    let mut form = vec![("client_id", client), ("grant_type", "client_credentials"), ("scope", scope.as_str())];
    form.extend(assertion.iter().map(|(name, value)| (*name, value.expose())));
    let authority = variable("AZURE_AUTHORITY_HOST").unwrap_or_else(|| default_authority(registry));
    let place = "AZURE_AUTHORITY_HOST or AZURE_TENANT_ID";
    let is_tenant = tenant.chars().all(|one| one.is_ascii_alphanumeric() || "-.".contains(one));
    let tenant_in_path =
        if is_tenant { tenant } else { return Err(missing("AZURE_TENANT_ID is not the id of a tenant")) };
    let url = format!("{}/{tenant_in_path}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    let response = services.send(&ServiceRequest::form(ENTRA, service_url(place, &url)?, &form)).await?;
    let identity = Identity::new(&format!("client {client}"));
    let rejection = || {
        format!(
            "{identity}: it needs a federated credential for the issuer of this cluster and the subject \
             system:serviceaccount:NAMESPACE:NAME"
        )
    };
    let AccessToken { token, .. } = access_token(ENTRA, &response, rejection)?;
    Ok(EntraToken { token, identity, tenant: Some(tenant.to_owned()) })
}

fn default_authority(registry: &str) -> &'static str {
    let registry = normalized_host(registry);
    match registry.rsplit('.').next() {
        Some("cn") => "https://login.chinacloudapi.cn",
        Some("us") => "https://login.microsoftonline.us",
        _ => "https://login.microsoftonline.com",
    }
}

async fn managed_identity(services: &CloudServices<'_>, client: Option<&str>) -> Result<EntraToken> {
    let base = services.environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    let address = base.map(|base| format!("{}/metadata/identity/oauth2/token", base.trim_end_matches('/')));
    let mut url = metadata_url("AZURE_POD_IDENTITY_AUTHORITY_HOST", address.as_deref().unwrap_or(METADATA))?;
    url.query_pairs_mut().append_pair("api-version", "2018-02-01").append_pair("resource", AUDIENCE);
    if let Some(client) = client {
        url.query_pairs_mut().append_pair("client_id", client);
    }
    let request = ServiceRequest::metadata(INSTANCE_METADATA, url, Method::GET).with_header("metadata", "true")?;
    let none = |_| {
        missing(
            "Workload Identity is not set up for this pod, and the node's metadata service did not answer; annotate the service \
             account with azure.workload.identity/client-id, and label the pod azure.workload.identity/use: \"true\"",
        )
    };
    let response = services.send(&request).await.map_err(none)?;
    let identity = match client {
        Some(client) => Identity::new(&format!("managed identity {client}")),
        None => Identity::new("the managed identity of the node"),
    };
    let AccessToken { token, .. } =
        access_token(INSTANCE_METADATA, &response, || format!("{identity}: the node needs it assigned"))?;
    Ok(EntraToken { token, identity, tenant: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_tells_its_lifetime() {
        let token = |claims: &str| Secret::new(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims)));
        assert_eq!(lifetime(&token(r#"{"iat": 1000, "exp": 11800}"#)), Some(Duration::from_secs(10800)));
        for claims in ["{}", r#"{"iat": 5, "exp": 5}"#, r#"{"iat": 9, "exp": 5}"#, "x"] {
            assert_eq!(lifetime(&token(claims)), None, "{claims}");
        }
        assert_eq!(lifetime(&Secret::new("opaque".to_owned())), None);
    }

    #[test]
    fn each_cloud_of_azure_has_its_authority() {
        assert_eq!(default_authority("team.azurecr.io"), "https://login.microsoftonline.com");
        assert_eq!(default_authority("team.azurecr.cn"), "https://login.chinacloudapi.cn");
        assert_eq!(default_authority("team.azurecr.us"), "https://login.microsoftonline.us");
    }
}
