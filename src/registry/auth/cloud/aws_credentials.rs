//! The credentials of AWS that this process can have, in the order of the AWS SDKs: of the environment, of a web identity (IRSA), of
//! a container (EKS Pod Identity, ECS), and of the instance (metadata service, version 2 only). Profiles and single sign-on of a
//! workstation are left to the AWS CLI (`aws configure export-credentials`).

use http::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::environment::read_secret_file;
use super::issued::{Identity, missing, rejected};
use super::service::{CloudServices, ServiceRequest, metadata_url, outage, parse, service_url, unavailable};
use crate::registry::auth::credentials::Secret;
use crate::registry::error::{RegistryError, Result};
use crate::registry::http::request::HttpResponse;

/// The service that exchanges a token of the cluster for credentials.
const STS: &str = "AWS STS";
/// The agent on the node that exchanges the pod's token for credentials.
const POD_IDENTITY: &str = "the container credentials of AWS";
/// The metadata service of the instance.
const INSTANCE_METADATA: &str = "the instance metadata of AWS";
/// Where an ECS task finds its credentials.
const ECS: &str = "http://169.254.170.2";
/// Lifetime of a token for the instance's metadata, in seconds; it is used at once.
const METADATA_TOKEN_SECONDS: &str = "60";
/// Error codes of STS that messages quote.
const STS_CODES: &str = "AccessDenied ExpiredTokenException IDPCommunicationError IDPRejectedClaim InvalidAction \
    InvalidIdentityToken MalformedPolicyDocument PackedPolicyTooLarge RegionDisabledException Throttling ThrottlingException \
    ValidationError";
/// What somebody does who has none of these.
const HOW: &str = "annotate the service account with eks.amazonaws.com/role-arn, or make a Pod Identity association";

/// Credentials of AWS.
#[derive(Debug, Clone)]
pub(crate) struct AwsCredentials {
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
    pub identity: Identity,
}

/// As container credentials and the instance's metadata have them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Served {
    access_key_id: Secret,
    secret_access_key: Secret,
    token: Secret,
}

impl Served {
    fn credentials(self, identity: Identity) -> AwsCredentials {
        let Self { access_key_id, secret_access_key, token } = self;
        AwsCredentials { access_key_id, secret_access_key, session_token: Some(token), identity }
    }
}

/// Returns the credentials of this process. `region` is that of the registry, for a process that is told none.
///
/// # Errors
/// There are none, or they are rejected.
pub(crate) async fn find(services: &CloudServices<'_>, region: &str) -> Result<AwsCredentials> {
    let variable = |name| services.environment.get(name);
    if let (Some(id), Some(key)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        let secret = |text: &str| Secret::new(text.to_owned());
        return Ok(AwsCredentials {
            access_key_id: secret(id),
            secret_access_key: secret(key),
            session_token: variable("AWS_SESSION_TOKEN").map(secret),
            identity: Identity::new("the access key of AWS_ACCESS_KEY_ID"),
        });
    }
    if let (Some(file), Some(role)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        return of_web_identity(services, region, file, role).await;
    }
    let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned);
    let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("{ECS}{path}"));
    match full.or(relative) {
        Some(address) => of_container(services, &address).await,
        None => of_instance(services).await,
    }
}

/// Returns the domain of a region's services, by the partition that its name tells.
fn domain(region: &str) -> &'static str {
    let partitions = [
        ("cn-", "amazonaws.com.cn"),
        ("eusc-", "amazonaws.eu"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("us-isof-", "csp.hci.ic.gov"),
    ];
    partitions.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("amazonaws.com", |(_, domain)| domain)
}

async fn of_web_identity(
    services: &CloudServices<'_>,
    registry_region: &str,
    file: &str,
    role: &str,
) -> Result<AwsCredentials> {
    let variable = |name| services.environment.get(name);
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).unwrap_or(registry_region);
    let address = variable("AWS_ENDPOINT_URL_STS").map(str::to_owned);
    let address = address.unwrap_or_else(|| format!("https://sts.{region}.{}/", domain(region)));
    let url = service_url("AWS_ENDPOINT_URL_STS or AWS_REGION", &address)?;
    let token = read_secret_file(file).await;
    let token = token.map_err(|error| missing(format!("AWS_WEB_IDENTITY_TOKEN_FILE {file}: {error}")))?;
    let session = variable("AWS_ROLE_SESSION_NAME").unwrap_or("imageset-controller");
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", "2011-06-15"),
        ("RoleArn", role),
        ("RoleSessionName", session),
        ("WebIdentityToken", token.expose()),
    ];
    let response = services.send(&ServiceRequest::form(STS, url, &form)).await?;
    let identity = Identity::new(&format!("role {role}"));
    if response.status != StatusCode::OK {
        return Err(sts_error(&response, &identity));
    }
    let text = std::str::from_utf8(&response.body).unwrap_or_default();
    let field = |name| element(text, name).map(|value| Secret::new(value.to_owned()));
    let found = (field("AccessKeyId"), field("SecretAccessKey"), field("SessionToken"));
    let (Some(access_key_id), Some(secret_access_key), session_token @ Some(_)) = found else {
        return Err(unavailable(STS, "its response is not understood", None));
    };
    Ok(AwsCredentials { access_key_id, secret_access_key, session_token, identity })
}

fn sts_error(response: &HttpResponse, identity: &Identity) -> RegistryError {
    let text = std::str::from_utf8(&response.body).unwrap_or_default();
    let code = element(text, "Code").and_then(|code| STS_CODES.split_whitespace().find(|known| *known == code));
    let is_throttled = code.is_some_and(|code| code.starts_with("Throttling"));
    if let Some(error) = outage(STS, response, is_throttled || code == Some("IDPCommunicationError")) {
        return error;
    }
    let fix = match code {
        Some("AccessDenied") => "its trust policy must allow sts:AssumeRoleWithWebIdentity to this service account",
        Some("InvalidIdentityToken" | "IDPRejectedClaim") => {
            "IAM needs an OIDC provider for the issuer of this cluster, with the audience sts.amazonaws.com"
        }
        Some("ExpiredTokenException") => "the token that the kubelet mounts has expired; see the clock of the node",
        Some("RegionDisabledException") => "STS must be active in this region for the account",
        _ => "check eks.amazonaws.com/role-arn of the service account, and the role",
    };
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    rejected(format!("{STS} rejects {identity} ({}{code}); {fix}", response.status.as_u16()))
}

/// Returns the text of the first element with this name, which has no other elements and no references in it. All fields of STS
/// that are read are of such a kind.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    let text = text.trim();
    (!text.is_empty() && !text.contains(['<', '&'])).then_some(text)
}

async fn of_container(services: &CloudServices<'_>, address: &str) -> Result<AwsCredentials> {
    let place = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
    let url = metadata_url(place, address)?;
    let mut request = ServiceRequest::metadata(POD_IDENTITY, url, Method::GET);
    let token = match services.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => {
            let token = read_secret_file(file).await;
            let failed = |error| missing(format!("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE {file}: {error}"));
            Some(token.map_err(failed)?)
        }
        None => services.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|text| Secret::new(text.to_owned())),
    };
    if let Some(token) = token {
        request = request.with_header("authorization", token.expose())?;
    }
    let response = services.send(&request).await?;
    let identity = Identity::new("the role of the Pod Identity association");
    if response.status != StatusCode::OK {
        let refused = || {
            let text =
                "the agent answers for this service account only if the cluster has a Pod Identity association for it";
            rejected(format!("{POD_IDENTITY} reject this pod ({}): {text}", response.status.as_u16()))
        };
        return Err(outage(POD_IDENTITY, &response, false).unwrap_or_else(refused));
    }
    Ok(parse::<Served>(POD_IDENTITY, &response)?.credentials(identity))
}

async fn of_instance(services: &CloudServices<'_>) -> Result<AwsCredentials> {
    let variable = |name| services.environment.get(name);
    let none =
        |text: &str| missing(format!("neither IRSA nor EKS Pod Identity is set up for this pod, and {text}; {HOW}"));
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        return Err(none("AWS_EC2_METADATA_DISABLED is true"));
    }
    let ipv6 = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6"));
    let default = if ipv6 { "http://[fd00:ec2::254]/" } else { "http://169.254.169.254/" };
    let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(default);
    let base = metadata_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", base)?;
    let url = |path: &str| -> Result<Url> { base.join(path).map_err(|_| none("its metadata service has no address")) };

    let request = ServiceRequest::metadata(INSTANCE_METADATA, url("/latest/api/token")?, Method::PUT);
    let request = request.with_header("x-aws-ec2-metadata-token-ttl-seconds", METADATA_TOKEN_SECONDS)?;
    // A pod that is one hop too far, or that a network policy keeps away, gets no response at all.
    let response = services.send(&request).await.map_err(|_| none("the node's instance metadata did not answer"))?;
    let token = match String::from_utf8(response.body) {
        Ok(token) if response.status == StatusCode::OK => Secret::new(token),
        _ => return Err(none("the node's instance metadata gave no token")),
    };
    let get = async |path: &str| {
        let request = ServiceRequest::metadata(INSTANCE_METADATA, url(path)?, Method::GET);
        services.send(&request.with_header("x-aws-ec2-metadata-token", token.expose())?).await
    };
    let folder = "/latest/meta-data/iam/security-credentials/";
    let roles = get(folder).await?;
    let text = String::from_utf8_lossy(&roles.body);
    let is_name = |name: &str| name.chars().all(|one| one.is_ascii_alphanumeric() || "+=,.@_-".contains(one));
    let role = text.lines().next().map(str::trim).filter(|name| !name.is_empty() && is_name(name));
    let role = match (roles.status, role) {
        (StatusCode::OK, Some(role)) => role,
        _ => {
            return Err(
                outage(INSTANCE_METADATA, &roles, false).unwrap_or_else(|| none("the node has no instance profile"))
            );
        }
    };
    let response = get(&format!("{folder}{role}")).await?;
    if response.status != StatusCode::OK {
        let no_credentials = || none("the node's instance profile has no credentials");
        return Err(outage(INSTANCE_METADATA, &response, false).unwrap_or_else(no_credentials));
    }
    let identity = Identity::new(&format!("role {role} of the node"));
    Ok(parse::<Served>(INSTANCE_METADATA, &response)?.credentials(identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_sts_are_read() {
        let xml = "<R xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Credentials>\n<AccessKeyId>ASIA</AccessKeyId>\
                   <SessionToken> a+b/c= </SessionToken><Empty></Empty><Odd>a&amp;b</Odd></Credentials></R>";
        for (name, value) in [
            ("AccessKeyId", Some("ASIA")),
            ("SessionToken", Some("a+b/c=")),
            ("Empty", None),
            ("Odd", None),
            ("Credentials", None),
            ("Missing", None),
        ] {
            assert_eq!(element(xml, name), value, "{name}");
        }
    }

    #[test]
    fn each_partition_has_its_domain() {
        for (region, expected) in [
            ("eu-west-1", "amazonaws.com"),
            ("us-gov-west-1", "amazonaws.com"),
            ("cn-northwest-1", "amazonaws.com.cn"),
            ("us-iso-east-1", "c2s.ic.gov"),
            ("us-isob-east-1", "sc2s.sgov.gov"),
            ("eusc-de-east-1", "amazonaws.eu"),
        ] {
            assert_eq!(domain(region), expected, "{region}");
        }
    }
}
