//! A registry of ECR as its clients see it: under a name of ECR, with TLS, in front of a registry of the box; and the services of AWS
//! that issue its tokens for the token of a service account (IRSA). A tunnel leads to the name.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::certificates::ServerCertificate;
use super::server::{self, Body, Server, whole};
use super::upstream::Upstream;

/// The name of the registry.
pub const HOST: &str = "111122223333.dkr.ecr.eu-west-1.amazonaws.com";
/// The role of the service account.
pub const ROLE: &str = "arn:aws:iam::111122223333:role/imageset-controller";
/// Lifetime of a token, in seconds: as real ones, until a test shortens it.
const LIFETIME: u64 = 12 * 3600;

struct State {
    upstream: Upstream,
    /// Part of every secret.
    secret: String,
    lifetime: AtomicU64,
    /// Tokens that the registry accepts, and when each ends.
    valid: Mutex<Vec<(String, SystemTime)>>,
    issued: AtomicUsize,
    rejected: AtomicUsize,
}

/// See the module; ends on drop.
pub struct Ecr {
    state: Arc<State>,
    certificate: ServerCertificate,
    registry: SocketAddr,
    services: SocketAddr,
    folder: tempfile::TempDir,
    _servers: [Server; 2],
}

impl Ecr {
    /// Starts it in front of a registry that anybody may pull from (`host:port`, without TLS). Every secret has `secret` in it.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(registry: &str, secret: &str) -> Result<Self> {
        let state = Arc::new(State {
            upstream: Upstream::new(format!("http://{registry}"), None)?,
            secret: secret.to_owned(),
            lifetime: AtomicU64::new(LIFETIME),
            valid: Mutex::default(),
            issued: AtomicUsize::new(0),
            rejected: AtomicUsize::new(0),
        });
        let certificate = ServerCertificate::create_with("an authority of the box", &[HOST], |_| {})?;
        let acceptor = server::acceptor(&certificate, &["h2", "http/1.1"])?;
        let shared = state.clone();
        let (registry, front) = server::start(Some(acceptor), move |request| serve(shared.clone(), request)).await?;
        let shared = state.clone();
        let (services, issuing) = server::start(None, move |request| issue(shared.clone(), request)).await?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("token"), format!("of-the-service-account-{secret}"))?;
        Ok(Self { state, certificate, registry, services, folder, _servers: [front, issuing] })
    }

    /// Where the registry listens.
    pub fn registry(&self) -> String {
        self.registry.to_string()
    }

    /// Where the services listen.
    pub fn services(&self) -> String {
        self.services.to_string()
    }

    /// The authority of its certificate.
    pub fn authority_pem(&self) -> &str {
        &self.certificate.authority_pem
    }

    /// Variables of a pod with this role, whose services are reached at this address.
    pub fn environment(&self, services: &str) -> Vec<(&'static str, String)> {
        let token: PathBuf = self.folder.path().join("token");
        vec![
            ("AWS_ROLE_ARN", ROLE.to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.display().to_string()),
            ("AWS_ENDPOINT_URL_STS", format!("http://{services}/sts")),
            ("AWS_ENDPOINT_URL_ECR", format!("http://{services}/ecr")),
        ]
    }

    /// The lifetime of the tokens that are issued from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.state.lifetime.store(lifetime.as_secs(), Ordering::SeqCst);
    }

    /// How many tokens were issued.
    pub fn issued(&self) -> usize {
        self.state.issued.load(Ordering::SeqCst)
    }

    /// How many requests had a token that is not valid.
    pub fn rejected(&self) -> usize {
        self.state.rejected.load(Ordering::SeqCst)
    }

    /// Waits until the tokens that were issued so far have expired. The registry rejects them from then on, and not before.
    pub async fn until_expired(&self) {
        let last = self.state.valid().iter().map(|(_, until)| *until).max().unwrap_or(UNIX_EPOCH);
        let left = last.duration_since(SystemTime::now()).unwrap_or_default();
        tokio::time::sleep(left + Duration::from_secs(1)).await;
        self.state.valid().retain(|(_, until)| *until > last);
    }
}

impl State {
    fn valid(&self) -> MutexGuard<'_, Vec<(String, SystemTime)>> {
        self.valid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reply(status: StatusCode, content_type: &'static str, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(whole(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The registry: a request with a valid token goes on to the one of the box.
async fn serve(state: Arc<State>, mut request: Request<Incoming>) -> Result<Response<Body>> {
    let Some(shown) = request.headers_mut().remove(header::AUTHORIZATION) else {
        let mut response = reply(StatusCode::UNAUTHORIZED, "text/plain", "Not Authorized");
        let challenge = format!("Basic realm=\"https://{HOST}/\",service=\"ecr.amazonaws.com\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse()?);
        return Ok(response);
    };
    let is_shown = |token: &str| shown.to_str().is_ok_and(|shown| shown == format!("Basic {token}"));
    let is_valid = state.valid().iter().any(|(token, _)| is_shown(token));
    if !is_valid {
        state.rejected.fetch_add(1, Ordering::SeqCst);
        let message = "Your authorization token has expired. Reauthenticate and try again.";
        let errors = json!({"errors": [{"code": "DENIED", "message": message}]});
        return Ok(reply(StatusCode::FORBIDDEN, "application/json", errors.to_string()));
    }
    let response = state.upstream.forward(request).await?;
    Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()))
}

/// The services: credentials for the token of the service account, and tokens for signed requests.
async fn issue(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let secret = &state.secret;
    match head.uri.path() {
        "/sts" => {
            let form: std::collections::HashMap<String, String> =
                url::form_urlencoded::parse(&body).into_owned().collect();
            let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
            let is_right = field("Action") == "AssumeRoleWithWebIdentity"
                && field("RoleArn") == ROLE
                && field("WebIdentityToken") == format!("of-the-service-account-{secret}");
            if !is_right {
                let error = "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>";
                return Ok(reply(StatusCode::FORBIDDEN, "text/xml", error));
            }
            let text = format!(
                "<AssumeRoleWithWebIdentityResponse><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId>\
                 <SecretAccessKey>key-{secret}</SecretAccessKey><SessionToken>session-{secret}</SessionToken>\
                 </Credentials></AssumeRoleWithWebIdentityResponse>"
            );
            Ok(reply(StatusCode::OK, "text/xml", text))
        }
        _ => {
            let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let is_signed = header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/")
                && header("x-amz-security-token") == format!("session-{secret}");
            if !is_signed {
                let error = json!({"__type": "UnrecognizedClientException"}).to_string();
                return Ok(reply(StatusCode::BAD_REQUEST, "application/x-amz-json-1.1", error));
            }
            let number = state.issued.fetch_add(1, Ordering::SeqCst) + 1;
            let token = STANDARD.encode(format!("AWS:password-{secret}-{number}"));
            let until = SystemTime::now() + Duration::from_secs(state.lifetime.load(Ordering::SeqCst));
            state.valid().push((token.clone(), until));
            let data =
                json!({"authorizationToken": token, "expiresAt": until.duration_since(UNIX_EPOCH)?.as_secs_f64()});
            let text = json!({"authorizationData": [data]}).to_string();
            Ok(reply(StatusCode::OK, "application/x-amz-json-1.1", text))
        }
    }
}

/// A proxy (`HTTPS_PROXY`) that leads every tunnel to one address, whatever name is asked for; ends on drop.
pub struct Tunnel {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Tunnel {
    /// Starts one to `host:port`.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            // Owned by this task, so that its end ends the connections as well.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move { drop(pass(stream, &target).await) });
            }
        });
        Ok(Self { address, task })
    }

    /// The value of `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut client: TcpStream, target: &str) -> Result<()> {
    client.set_nodelay(true)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let mut server = TcpStream::connect(target).await.context("the target of the tunnel")?;
    server.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
