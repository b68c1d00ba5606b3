//! A tiny registry client for the tests, written apart from the product's: pushes, deletes and reads back what the
//! test made. No retries, no limits.

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::upstream::{HttpsClient, https_client};

/// The longest that one request may take.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// `sha256:<64 hexadecimal digits>` of the bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct RegistryResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl RegistryResponse {
    /// The header as text, empty if it is missing.
    pub fn header(&self, name: impl header::AsHeaderName) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }

    fn expect(self, wanted: StatusCode, what: &str) -> Result<Self> {
        if self.status != wanted {
            bail!("{what}: {} instead of {wanted}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(self)
    }
}

/// Access to one registry: its address, its authority, credentials. Cheap to clone; tokens and connections are shared.
#[derive(Clone)]
pub struct Access {
    base: String,
    credentials: Option<(String, String)>,
    http: HttpsClient<Full<Bytes>>,
    /// Authorization header by repository.
    authorizations: Arc<Mutex<HashMap<String, String>>>,
}

impl Access {
    /// HTTPS if there is an authority to trust, else plain HTTP.
    ///
    /// # Errors
    /// The PEM can't be read.
    pub fn new(host: &str, ca_pem: Option<&str>, credentials: Option<(&str, &str)>) -> Result<Self> {
        let scheme = if ca_pem.is_some() { "https" } else { "http" };
        Ok(Self {
            base: format!("{scheme}://{host}"),
            credentials: credentials.map(|(user, password)| (user.to_owned(), password.to_owned())),
            http: https_client(ca_pem)?,
            authorizations: Arc::default(),
        })
    }

    /// Uploads a blob (two requests, whether or not it is there).
    pub async fn push_blob(&self, repository: &str, content: &Bytes) -> Result<String> {
        let digest = digest_of(content);
        let start = format!("{}/v2/{repository}/blobs/uploads/", self.base);
        let response = self.send(repository, Method::POST, &start, HeaderMap::new(), Bytes::new()).await?;
        let location = response.expect(StatusCode::ACCEPTED, "start of an upload")?.header(header::LOCATION);
        let target = if location.starts_with('/') { format!("{}{location}", self.base) } else { location };
        let separator = if target.contains('?') { '&' } else { '?' };
        let target = format!("{target}{separator}digest={digest}");
        let headers = one_header(header::CONTENT_TYPE, "application/octet-stream")?;
        let response = self.send(repository, Method::PUT, &target, headers, content.clone()).await?;
        response.expect(StatusCode::CREATED, "upload of a blob")?;
        Ok(digest)
    }

    /// Uploads a manifest or an index under a tag or its digest.
    pub async fn push_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        content: &Bytes,
    ) -> Result<()> {
        let target = self.manifest_url(repository, reference);
        let headers = one_header(header::CONTENT_TYPE, media_type)?;
        let response = self.send(repository, Method::PUT, &target, headers, content.clone()).await?;
        response.expect(StatusCode::CREATED, &format!("push of {repository} {reference}"))?;
        Ok(())
    }

    /// The manifest or index of a tag or digest, whatever the status; accepts OCI and Docker media types.
    pub async fn manifest(&self, repository: &str, reference: &str) -> Result<RegistryResponse> {
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json";
        let target = self.manifest_url(repository, reference);
        self.send(repository, Method::GET, &target, one_header(header::ACCEPT, accept)?, Bytes::new()).await
    }

    /// The blob with this digest, whatever the status.
    pub async fn blob(&self, repository: &str, digest: &str) -> Result<RegistryResponse> {
        let target = format!("{}/v2/{repository}/blobs/{digest}", self.base);
        self.send(repository, Method::GET, &target, HeaderMap::new(), Bytes::new()).await
    }

    /// Deletes the manifest with this digest and every tag that names it.
    pub async fn delete_manifest(&self, repository: &str, digest: &str) -> Result<()> {
        let target = self.manifest_url(repository, digest);
        let response = self.send(repository, Method::DELETE, &target, HeaderMap::new(), Bytes::new()).await?;
        response.expect(StatusCode::ACCEPTED, &format!("deletion of {repository} {digest}"))?;
        Ok(())
    }

    /// One GET of any URL with this Authorization header or none; nothing is tried again.
    pub async fn get(&self, url: &str, authorization: Option<&str>) -> Result<RegistryResponse> {
        self.send_once(&Method::GET, url, &HeaderMap::new(), &Bytes::new(), authorization).await
    }

    fn manifest_url(&self, repository: &str, reference: &str) -> String {
        format!("{}/v2/{repository}/manifests/{reference}", self.base)
    }

    /// Sends it; if the registry asks for credentials, once more with them.
    async fn send(
        &self,
        repository: &str,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<RegistryResponse> {
        let known = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).get(repository).cloned();
        let response = self.send_once(&method, url, &headers, &body, known.as_deref()).await?;
        if response.status != StatusCode::UNAUTHORIZED || self.credentials.is_none() {
            return Ok(response);
        }
        let challenge = response.header(header::WWW_AUTHENTICATE);
        let authorization = self.authorization(repository, &challenge).await?;
        self.authorizations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(repository.to_owned(), authorization.clone());
        self.send_once(&method, url, &headers, &body, Some(&authorization)).await
    }

    async fn authorization(&self, repository: &str, challenge: &str) -> Result<String> {
        let (user, password) = self.credentials.as_ref().context("the registry wants credentials, there are none")?;
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        if challenge.starts_with("Basic ") {
            return Ok(basic);
        }
        let parameter = |name: &str| -> Result<String> {
            let (_, rest) = challenge
                .split_once(&format!("{name}=\""))
                .with_context(|| format!("no {name} in the challenge {challenge:?}"))?;
            Ok(rest.split('"').next().unwrap_or_default().to_owned())
        };
        let scope = format!("repository:{repository}:pull,push,delete");
        let url = format!("{}?service={}&scope={scope}", parameter("realm")?, parameter("service")?);
        let response = self.send_once(&Method::GET, &url, &HeaderMap::new(), &Bytes::new(), Some(&basic)).await?;
        let response = response.expect(StatusCode::OK, "the token service")?;
        let body: serde_json::Value = serde_json::from_slice(&response.body)?;
        Ok(format!("Bearer {}", body["token"].as_str().ok_or_else(|| anyhow!("an answer without token"))?))
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &str,
        headers: &HeaderMap,
        body: &Bytes,
        authorization: Option<&str>,
    ) -> Result<RegistryResponse> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url.parse::<Uri>().with_context(|| format!("not a URL: {url}"))?;
        *request.headers_mut() = headers.clone();
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse()?);
        }
        // Another process may listen by now where a registry was stopped, and never answer.
        let asking = async {
            let response = self.http.request(request).await.with_context(|| format!("{method} {url}"))?;
            let (head, body) = response.into_parts();
            anyhow::Ok(RegistryResponse {
                status: head.status,
                headers: head.headers,
                body: body.collect().await?.to_bytes(),
            })
        };
        tokio::time::timeout(DEADLINE, asking).await.with_context(|| format!("no answer to {method} {url}"))?
    }
}

fn one_header(name: header::HeaderName, value: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(name, value.parse()?);
    Ok(headers)
}
