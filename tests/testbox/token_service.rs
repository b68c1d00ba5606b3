//! A token service for the real registry's token authentication: signs what a user may do (EdDSA JWT), counts who asked.
//!
//! Protocol: the "Distribution Registry Token Authentication" specification, GET with one or more `scope` parameters
//! (each may hold several scopes, separated by spaces), Basic credentials or none.

use super::certificates::ServerCertificate;
use super::server::{self, Server};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::json;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// `service` of the challenge and audience of the tokens.
pub const SERVICE: &str = "testbox-registry";
/// Issuer of the tokens.
pub const ISSUER: &str = "testbox-tokens";
const KEY_ID: &str = "testbox-key";

/// One answered request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequestSeen {
    /// The user of the Basic credentials, right or wrong; none for an anonymous request.
    pub user: Option<String>,
    /// All scopes asked for, in order.
    pub scopes: Vec<String>,
    /// The answer's status.
    pub status: u16,
}

struct State {
    key: KeyPair,
    user: String,
    password: String,
    anonymous_pull: bool,
    lifetime_seconds: AtomicU64,
    /// 0: work; else answer everything with this status.
    failing: AtomicU16,
    seen: Mutex<Vec<TokenRequestSeen>>,
}

/// A running token service on its own loopback port; ends on drop.
pub struct TokenService {
    realm: String,
    state: Arc<State>,
    _server: Server,
}

impl std::fmt::Debug for TokenService {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "TokenService({})", self.realm)
    }
}

impl TokenService {
    /// Listens on a free loopback port; with a certificate it speaks HTTPS. `name` is the host of its realm. The user may pull, push
    /// and delete everywhere;
    /// with `anonymous_pull` requests without credentials get tokens that allow to pull, else 401.
    pub async fn start(
        user: &str,
        password: &str,
        anonymous_pull: bool,
        tls: Option<&ServerCertificate>,
        name: &str,
    ) -> Result<Self> {
        let acceptor = tls.map(|certificate| server::acceptor(certificate, &[])).transpose()?;
        let state = Arc::new(State {
            key: KeyPair::generate_for(&rcgen::PKCS_ED25519)?,
            user: user.to_owned(),
            password: password.to_owned(),
            anonymous_pull,
            lifetime_seconds: AtomicU64::new(300),
            failing: AtomicU16::new(0),
            seen: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let (address, server) = server::start(acceptor, move |request| respond(Arc::clone(&shared), request)).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let realm = format!("{scheme}://{name}:{}/token", address.port());
        Ok(Self { realm, state, _server: server })
    }

    /// The URL of the challenge's `realm`.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// The public key as the JSON Web Key Set that the registry reads.
    pub fn jwks(&self) -> String {
        let public = URL_SAFE_NO_PAD.encode(self.state.key.der_bytes());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": KEY_ID, "x": public}]})
            .to_string()
    }

    /// Every request so far, in order of the answers.
    pub fn requests(&self) -> Vec<TokenRequestSeen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets all requests.
    pub fn forget_requests(&self) {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Answers everything with this status (such as 503), or works again with `None`.
    pub fn fail_with(&self, status: Option<u16>) {
        self.state.failing.store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// `expires_in` of later tokens, in seconds (300 at first). The registry accepts a token 60 s longer.
    pub fn set_lifetime(&self, seconds: u64) {
        self.state.lifetime_seconds.store(seconds, Ordering::Relaxed);
    }
}

async fn respond(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let scopes = scopes(request.uri().query().unwrap_or_default());
    let credentials = credentials(&request);
    let (status, body) = decide(&state, &request, &scopes, credentials.as_ref())?;
    state.seen.lock().unwrap_or_else(PoisonError::into_inner).push(TokenRequestSeen {
        user: credentials.map(|(user, _)| user),
        scopes,
        status: status.as_u16(),
    });
    Ok(Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?)
}

fn decide(
    state: &State,
    request: &Request<Incoming>,
    scopes: &[String],
    credentials: Option<&(String, String)>,
) -> Result<(StatusCode, serde_json::Value)> {
    let failing = state.failing.load(Ordering::Relaxed);
    if failing != 0 {
        return Ok((StatusCode::from_u16(failing)?, json!({"details": "the test told the token service to fail"})));
    }
    if request.method() != Method::GET || request.uri().path() != "/token" {
        return Ok((StatusCode::NOT_FOUND, json!({"details": "GET /token only"})));
    }
    let allowed: &[&str] = match credentials {
        Some((user, password)) if *user == state.user && *password == state.password => &["pull", "push", "delete"],
        None if state.anonymous_pull => &["pull"],
        _ => {
            return Ok((StatusCode::UNAUTHORIZED, json!({"details": "incorrect username or password"})));
        }
    };
    let lifetime = state.lifetime_seconds.load(Ordering::Relaxed);
    let subject = credentials.map_or("", |(user, _)| user.as_str());
    let token = signed_token(&state.key, subject, scopes, allowed, lifetime)?;
    Ok((StatusCode::OK, json!({"token": token, "access_token": token, "expires_in": lifetime})))
}

fn signed_token(key: &KeyPair, subject: &str, scopes: &[String], allowed: &[&str], lifetime: u64) -> Result<String> {
    let access: Vec<_> = scopes
        .iter()
        .filter_map(|scope| {
            // A repository may not hold a colon, but a registry's port in front of it may.
            let (kind, rest) = scope.split_once(':')?;
            let (name, actions) = rest.rsplit_once(':')?;
            let actions: Vec<_> = actions.split(',').filter(|action| allowed.contains(action)).collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        })
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let head = json!({"typ": "JWT", "alg": "EdDSA", "kid": KEY_ID});
    let claims = json!({
        "iss": ISSUER, "sub": subject, "aud": SERVICE, "jti": format!("{now}"),
        "iat": now, "nbf": now.saturating_sub(5), "exp": now + lifetime, "access": access,
    });
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(text.as_bytes()).context("the token can't be signed")?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn credentials(request: &Request<Incoming>) -> Option<(String, String)> {
    let text = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn scopes(query: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("scope="))
        .map(unescaped)
        .flat_map(|value| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The value of a form-encoded query parameter.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let code = std::str::from_utf8(&digits).ok().and_then(|text| u8::from_str_radix(text, 16).ok());
                bytes.push(code.unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
