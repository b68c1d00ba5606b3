//! Tokens of Google Artifact Registry and Container Registry: an access token of the process's identity, sent as the password of the
//! user `oauth2accesstoken`. Sources: the file of `GOOGLE_APPLICATION_CREDENTIALS` or of gcloud, and the metadata server, which
//! serves the identity that Workload Identity gives to a pod.

use std::path::Path;

use http::{Method, StatusCode};

use super::environment::read_secret_file;
use super::gcp_credentials;
use super::issued::{Identity, Issued, missing};
use super::oauth::{AccessToken, access_token};
use super::service::{CloudServices, ServiceRequest, metadata_url};
use crate::registry::auth::credentials::{Credential, Secret};
use crate::registry::error::Result;

const METADATA: &str = "the metadata server of Google";
/// User of an access token (Artifact Registry: "Authenticate with an access token").
const USER: &str = "oauth2accesstoken";
const SERVICE_ACCOUNT: &str = "computeMetadata/v1/instance/service-accounts/default/";

/// Returns an access token.
///
/// # Errors
/// There is no identity, it is rejected, or a service is not available.
pub(crate) async fn issue(services: &CloudServices<'_>) -> Result<Issued> {
    let (AccessToken { token, lifetime }, identity) = match credentials_file(services).await? {
        Some((place, text)) => gcp_credentials::access_token(services, &place, &text).await?,
        None => of_metadata(services).await?,
    };
    let credential = Credential::Password { username: Secret::new(USER.to_owned()), password: token };
    Ok(Issued { credential, identity, lifetime })
}

/// Returns the file that the environment names, or that gcloud has written, with its name for messages.
async fn credentials_file(services: &CloudServices<'_>) -> Result<Option<(String, Secret)>> {
    let variable = |name| services.environment.get(name);
    if let Some(path) = variable("GOOGLE_APPLICATION_CREDENTIALS") {
        let place = format!("GOOGLE_APPLICATION_CREDENTIALS {path}");
        let text = read_secret_file(path).await.map_err(|error| missing(format!("{place}: {error}")))?;
        return Ok(Some((place, text)));
    }
    let folder = variable("CLOUDSDK_CONFIG").map(str::to_owned);
    let Some(folder) = folder.or_else(|| Some(format!("{}/.config/gcloud", variable("HOME")?))) else {
        return Ok(None);
    };
    let path = format!("{folder}/application_default_credentials.json");
    if !Path::new(&path).is_file() {
        return Ok(None);
    }
    let text = read_secret_file(&path).await.map_err(|error| missing(format!("{path}: {error}")))?;
    Ok(Some((path, text)))
}

async fn of_metadata(services: &CloudServices<'_>) -> Result<(AccessToken, Identity)> {
    let host = services.environment.get("GCE_METADATA_HOST").unwrap_or("metadata.google.internal");
    let base = metadata_url("GCE_METADATA_HOST", &format!("http://{host}/"))?;
    let get = async |name: &str| {
        let url =
            base.join(&format!("{SERVICE_ACCOUNT}{name}")).map_err(|_| missing("GCE_METADATA_HOST is no host"))?;
        let request = ServiceRequest::metadata(METADATA, url, Method::GET).with_header("metadata-flavor", "Google")?;
        services.send(&request).await
    };
    let (token, email) = futures::join!(get("token"), get("email"));
    let none = |text: &str| {
        missing(format!(
            "GOOGLE_APPLICATION_CREDENTIALS is not set, and the metadata server {text}; enable Workload Identity for the cluster and \
             the node pool"
        ))
    };
    let token = token.map_err(|_| none("did not answer"))?;
    // Others may answer at this address; the header is Google's own sign.
    if token.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return Err(none("is not that of Google"));
    }
    if token.status == StatusCode::NOT_FOUND {
        return Err(none("has no service account for this pod"));
    }
    let email = email.ok().filter(|email| email.status == StatusCode::OK);
    let email = email.map(|email| String::from_utf8_lossy(&email.body).trim().to_owned());
    let identity = Identity::new(email.as_deref().unwrap_or("the service account of the metadata server"));
    let rejection = || {
        format!(
            "{identity}: where it is annotated (iam.gke.io/gcp-service-account), the Kubernetes service account needs \
             roles/iam.workloadIdentityUser on it"
        )
    };
    let token = access_token(METADATA, &token, rejection)?;
    Ok((token, identity))
}
