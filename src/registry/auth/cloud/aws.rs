//! Tokens of Amazon ECR: `GetAuthorizationToken`, signed with the credentials of this process. A token serves every registry of the
//! region that the identity may pull from, those of other accounts included.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::aws_credentials::{self, AwsCredentials};
use super::aws_signature::{SigningScope, signed};
use super::issued::{Issued, rejected};
use super::service::{CloudServices, ServiceRequest, outage, parse, service_url, unavailable};
use crate::model::EcrRegistry;
use crate::registry::auth::credentials::{Credential, Secret};
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::request::HttpResponse;
use crate::registry::json_object::JsonObject;

/// The API in messages.
const ECR: &str = "the ECR API";
/// Error codes of the API that messages quote.
const CODES: &str = "AccessDeniedException ExpiredTokenException IncompleteSignature IncompleteSignatureException \
    InvalidClientTokenId InvalidParameterException InvalidSignatureException MissingAuthenticationTokenException \
    NotAuthorized OptInRequired RequestExpired SignatureDoesNotMatch ThrottlingException TooManyRequestsException \
    UnrecognizedClientException";
/// By how much the clock must have been wrong for a signature to be made again, in seconds.
const CLOCK_DIFFERENCE: i64 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenResponse {
    authorization_data: OneOrMore,
}

/// The public gallery's API has an object where that of private registries has a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(AuthorizationData),
    More(Vec<AuthorizationData>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthorizationData {
    /// Base64 of `AWS:password`.
    authorization_token: Secret,
    /// Unix time.
    expires_at: f64,
}

/// Returns a token for the registries of a region.
///
/// # Errors
/// There is no identity, it is rejected, or a service is not available.
pub(crate) async fn issue(services: &CloudServices<'_>, registry: &EcrRegistry) -> Result<Issued> {
    let credentials = aws_credentials::find(services, &registry.region).await?;
    let request = request(services, registry)?;
    let service = if registry.is_public { "ecr-public" } else { "ecr" };
    let scope = SigningScope { service, region: &registry.region };
    let offset = services.clock.offset_seconds();
    let mut response = services.send(&signed(&request, &credentials, scope, services.clock.now())?).await?;
    let was_off = (services.clock.offset_seconds() - offset).abs() > CLOCK_DIFFERENCE;
    if response.status.is_client_error() && was_off {
        response = services.send(&signed(&request, &credentials, scope, services.clock.now())?).await?;
    }
    if response.status != StatusCode::OK {
        return Err(api_error(&response, &credentials, registry));
    }
    let TokenResponse { authorization_data } = parse(ECR, &response)?;
    let data = match authorization_data {
        OneOrMore::One(data) => Some(data),
        OneOrMore::More(all) => all.into_iter().next(),
    };
    let issued = data.and_then(|data| issued(&data, services.clock.now(), credentials));
    issued.ok_or_else(|| unavailable(ECR, "its response is not understood", None))
}

fn request(services: &CloudServices<'_>, registry: &EcrRegistry) -> Result<ServiceRequest> {
    let (variable, target) = match registry.is_public {
        true => ("AWS_ENDPOINT_URL_ECR_PUBLIC", "SpencerFrontendService.GetAuthorizationToken"),
        false => ("AWS_ENDPOINT_URL_ECR", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"),
    };
    let address = services.environment.get(variable).map(str::to_owned);
    let address = address.unwrap_or_else(|| format!("https://{}/", registry.api_host));
    let request =
        ServiceRequest::post(ECR, service_url(variable, &address)?, "application/x-amz-json-1.1", "{}".to_owned());
    request.with_header("x-amz-target", target)
}

/// Returns the credential in a response; `None` if it is malformed.
fn issued(data: &AuthorizationData, now: Timestamp, credentials: AwsCredentials) -> Option<Issued> {
    let pair = Zeroizing::new(STANDARD.decode(data.authorization_token.expose()).ok()?);
    let (username, password) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    let secret = |text: &str| Secret::new(text.to_owned());
    let credential = Credential::Password { username: secret(username), password: secret(password) };
    // A token that seems to have expired is used for a moment: the registry knows better.
    let seconds = (data.expires_at - now.as_second() as f64).clamp(1.0, 24.0 * 3600.0);
    let lifetime = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    Some(Issued { credential, identity: credentials.identity, lifetime })
}

fn api_error(response: &HttpResponse, credentials: &AwsCredentials, registry: &EcrRegistry) -> RegistryError {
    let code = error_code(response);
    let is_throttled = code.is_some_and(|code| matches!(code, "ThrottlingException" | "TooManyRequestsException"));
    if let Some(error) = outage(ECR, response, is_throttled) {
        return error;
    }
    let fix = match code {
        Some("AccessDeniedException" | "NotAuthorized") if registry.is_public => {
            "it needs ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken"
        }
        Some("AccessDeniedException" | "NotAuthorized") => "it needs ecr:GetAuthorizationToken on *",
        Some("InvalidSignatureException" | "RequestExpired" | "SignatureDoesNotMatch") => {
            "check AWS_SECRET_ACCESS_KEY, and the clock of the node"
        }
        Some("OptInRequired") => "the account must be signed up for ECR in this region",
        _ => "its credentials are not valid here, or no longer",
    };
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    let status = response.status.as_u16();
    rejected(format!("{ECR} of {} rejects {} ({status}{code}); {fix}", registry.region, credentials.identity))
}

/// Returns the known error code of a response: of its header (`Code:address`), or of its body (`namespace#Code`).
fn error_code(response: &HttpResponse) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "__type", default)]
        code: String,
    }
    let header = response.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = || serde_json::from_slice(&response.body).ok().map(|JsonObject(Body { code })| code);
    let text = header.or_else(body)?;
    let code = text.rsplit('#').next()?.split(':').next()?;
    CODES.split_whitespace().find(|known| *known == code)
}
