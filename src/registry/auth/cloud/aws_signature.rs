//! Signature Version 4, by the signer of the AWS SDK.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jiff::Timestamp;

use super::aws_credentials::AwsCredentials;
use super::issued::rejected;
use super::service::ServiceRequest;
use crate::registry::auth::credentials::Secret;
use crate::registry::error::Result;

/// Where a request is sent, as its signature says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SigningScope<'a> {
    /// Name of the service in signatures, such as "ecr".
    pub service: &'a str,
    pub region: &'a str,
}

/// Returns a request with its signature. `at` must be within five minutes of the service's time.
pub(crate) fn signed(
    request: &ServiceRequest,
    credentials: &AwsCredentials,
    scope: SigningScope<'_>,
    at: Timestamp,
) -> Result<ServiceRequest> {
    let unusable = || rejected(format!("{} cannot sign a request for {}", credentials.identity, request.service));
    let headers = headers(request, credentials, scope, at).ok_or_else(unusable)?;
    let add =
        |request: ServiceRequest, (name, value): (&'static str, Secret)| request.with_header(name, value.expose());
    headers.into_iter().try_fold(request.clone(), add)
}

fn headers(
    request: &ServiceRequest,
    credentials: &AwsCredentials,
    scope: SigningScope<'_>,
    at: Timestamp,
) -> Option<Vec<(&'static str, Secret)>> {
    let text = |secret: &Secret| secret.expose().to_owned();
    let session_token = credentials.session_token.as_ref().map(text);
    let (id, key) = (text(&credentials.access_key_id), text(&credentials.secret_access_key));
    let identity = Credentials::new(id, key, session_token, None, "imageset-controller").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(SystemTime::from(at))
        .settings(SigningSettings::default())
        .build()
        .ok()?
        .into();
    let body = request.body.as_ref().map(|body| body.as_bytes()).unwrap_or_default();
    let headers = request.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = SignableBody::Bytes(body);
    let signable = SignableRequest::new(request.method.as_str(), request.url.as_str(), headers, body).ok()?;
    let (added, _) = sign(signable, &parameters).ok()?.into_parts().0.into_parts();
    Some(added.into_iter().map(|header| (header.name(), Secret::new(header.value().to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::registry::auth::cloud::issued::Identity;

    const SESSION_TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwth\
        Ax7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9\
        q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

    /// The vendor's published vectors (AWS Signature Version 4 test suite) of the kinds that are sent: `post-vanilla`,
    /// `post-x-www-form-urlencoded`, `post-sts-header-before`.
    #[test]
    fn signatures_are_those_of_the_vendors_test_suite() {
        let form = ("application/x-www-form-urlencoded", "Param1=value1");
        for (content, session_token, names, signature) in [
            (None, None, "host;x-amz-date", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                Some(form),
                None,
                "content-type;host;x-amz-date",
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                None,
                Some(SESSION_TOKEN),
                "host;x-amz-date;x-amz-security-token",
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            let secret = |text: &str| Secret::new(text.to_owned());
            let credentials = AwsCredentials {
                access_key_id: secret("AKIDEXAMPLE"),
                secret_access_key: secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
                session_token: session_token.map(secret),
                identity: Identity::new("the suite"),
            };
            let url = "https://example.amazonaws.com/".parse().unwrap();
            let (content_type, body) = content.unwrap_or(("text/plain", ""));
            let mut request = ServiceRequest::post("the service", url, content_type, body.to_owned());
            assert_eq!((request.method.clone(), request.headers.len()), (Method::POST, 1));
            if content.is_none() {
                request.headers = HeaderMap::new();
            }
            let scope = SigningScope { service: "service", region: "us-east-1" };
            let signed = signed(&request, &credentials, scope, "2015-08-30T12:36:00Z".parse().unwrap()).unwrap();
            let expected = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={names}, \
                 Signature={signature}"
            );
            assert_eq!(signed.headers["authorization"], HeaderValue::from_str(&expected).unwrap());
            assert!(signed.headers["authorization"].is_sensitive());
            assert_eq!(signed.headers["x-amz-date"], "20150830T123600Z");
            let shown = signed.headers.get("x-amz-security-token").map(|value| value.to_str().unwrap());
            assert_eq!(shown, session_token);
        }
    }
}
