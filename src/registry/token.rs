//! Fetches tokens (Docker's token authentication and OAuth2 flows) and holds the rules on whom credentials are shown to: the
//! registry's own host, a token service of the same owner, or the one that the policy names. Nobody else, never by fallback.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::access::Endpoint;
use super::address::{AddressClass, same_owner};
use super::budget::Share;
use super::challenge::BearerChallenge;
use super::credentials::{Credential, Secret};
use super::failure::Trouble;
use super::memory::Authorization;
use super::object::Object;
use super::transport::{Ask, Reach, Transport};
use crate::model::registry_failure::RegistryFailureKind;

/// The longest token that is taken, in bytes.
const LONGEST_TOKEN: usize = 64 * 1024;
/// The longest answer of a token service that is read, in bytes: two spellings of the token and some more.
const LONGEST_ANSWER: usize = 2 * LONGEST_TOKEN + 8 * 1024;

/// How long a token holds where the service does not say (Docker's token specification), in seconds.
const USUAL_LIFE_SECONDS: u64 = 60;
/// The longest that a token is kept, in seconds.
const LONGEST_LIFE_SECONDS: u64 = 3600;
/// A token is used up to this long before its end, in seconds (and at most half of its life): it has to hold when it arrives.
const BEFORE_THE_END_SECONDS: u64 = 10;
/// A token is used at least this long, in seconds, whatever its service says: those who waited for it share it.
const SHORTEST_LIFE_SECONDS: u64 = 1;

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    #[serde(default, deserialize_with = "seconds")]
    expires_in: Option<u64>,
}

/// A life that is no number of seconds says nothing; the token may be good all the same.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(serde_json::Value::deserialize(deserializer)?.as_u64())
}

/// A token as its service gave it.
#[derive(Debug)]
pub(super) struct Token {
    pub secret: Secret,
    /// How long it may be used from now on.
    pub life: Duration,
    /// It was given for a credential.
    pub confidential: bool,
}

impl Token {
    /// The header that carries it, and until when.
    pub(super) fn authorization(&self) -> Result<Authorization, Trouble> {
        let until = Some(Instant::now() + self.life);
        Ok(Authorization { header: header("Bearer", &self.secret)?, until, confidential: self.confidential })
    }
}

/// The token service that a registry named.
pub(super) struct TokenService<'a> {
    pub transport: &'a Transport,
    pub endpoint: &'a Endpoint,
    pub share: &'a Share,
    /// Where the registry stood when it said so.
    pub registry_class: AddressClass,
    pub challenge: &'a BearerChallenge,
}

impl TokenService<'_> {
    /// Asks for a token with these scopes.
    pub(super) async fn fetch(&self, scopes: &[String], credential: Option<&Credential>) -> Result<Token, Trouble> {
        let fetched = self.ask(scopes, credential).await;
        fetched.map_err(|trouble| Trouble { of_token_service: true, ..trouble })
    }

    async fn ask(&self, scopes: &[String], credential: Option<&Credential>) -> Result<Token, Trouble> {
        let Self { transport, endpoint, share, registry_class, challenge } = *self;
        let mut url = realm(endpoint, challenge, credential.is_some())?;
        let own_host = url.host_str() == endpoint.base.host_str();
        let reach = if own_host { Reach::Registry } else { Reach::SentBy(registry_class) };
        if url.origin() != endpoint.base.origin() && !share.may_lead_to(url.origin().ascii_serialization()) {
            let text = "a token service on yet another host, of which it named many lately";
            return Err(Trouble::new(RegistryFailureKind::RefusedTarget, text).of_whole_registry());
        }
        let mut ask = Ask { limit: LONGEST_ANSWER, reach, redirects: false, ..Ask::get(url.clone(), share) };
        ask.confidential = credential.is_some();
        if let Some(Credential::IdentityToken(token)) = credential {
            ask.form = Some(refresh_form(challenge, scopes, token));
        } else {
            {
                let mut query = url.query_pairs_mut();
                if let Some(service) = &challenge.service {
                    query.append_pair("service", service);
                }
                for scope in scopes {
                    query.append_pair("scope", scope);
                }
            }
            ask.url = url;
            let basic = credential.and_then(Credential::basic);
            ask.authorization = basic.map(|basic| header("Basic", &basic)).transpose()?;
        }
        // Where there is no answer to be had, no other image's token fares better.
        let answer = transport.ask(endpoint, ask).await.map_err(Trouble::of_whole_registry)?;
        if answer.status.is_redirection() {
            return Err(Trouble::invalid("the token service redirects").of_whole_registry());
        }
        if answer.status != http::StatusCode::OK {
            let trouble = answer.trouble().behind("token service: ");
            let server_error = trouble.kind == RegistryFailureKind::ServerError;
            return Err(if server_error { trouble.of_whole_registry() } else { trouble });
        }
        Ok(Token { confidential: credential.is_some(), ..read(&answer.body)? })
    }
}

/// The token service's address, if the rules let us go there (and with credentials, if there are some).
pub(super) fn realm(endpoint: &Endpoint, challenge: &BearerChallenge, with_credentials: bool) -> Result<Url, Trouble> {
    let whole = |kind, unquoted: &str, text: &str| Err(Trouble::quoting(kind, unquoted, text).of_whole_registry());
    let invalid = || {
        let text = format!("token realm {:?}", challenge.realm);
        whole(RegistryFailureKind::InvalidAnswer, "a token realm that is no address", &text)
    };
    let Ok(url) = Url::parse(&challenge.realm) else { return invalid() };
    let (Some(host), true) = (url.host_str(), url.username().is_empty() && url.password().is_none()) else {
        return invalid();
    };
    let secure = url.scheme() == "https" || (url.scheme() == "http" && endpoint.plain_http);
    if !secure {
        let text = format!("token service {}://{host}", url.scheme());
        return whole(RegistryFailureKind::RefusedTarget, "a token service without TLS", &text);
    }
    let listed = endpoint.token_service.as_deref().is_some_and(|listed| is_listed(listed, &url));
    let own = endpoint.base.host_str().is_some_and(|registry| same_owner(registry, host));
    if with_credentials && !own && !listed {
        let text = format!("token service {host}");
        return whole(RegistryFailureKind::ForeignTokenService, "a token service on a host of another owner", &text);
    }
    Ok(url)
}

/// Whether `host[:port]` of the policy names this address. Without port any port of that host is meant.
fn is_listed(listed: &str, url: &Url) -> bool {
    let Ok(named) = Url::parse(&format!("{}://{listed}/", url.scheme())) else { return false };
    let has_port = named.port().is_some() || listed.ends_with(":443") || listed.ends_with(":80");
    named.host_str() == url.host_str() && (!has_port || named.port_or_known_default() == url.port_or_known_default())
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

/// The token in a token service's answer.
pub(super) fn read(body: &[u8]) -> Result<Token, Trouble> {
    let Object(answer): Object<TokenAnswer> = serde_json::from_slice(body)
        .map_err(|_| Trouble::invalid("the token service answered something that is no token").of_whole_registry())?;
    let given = |token: Option<Secret>| token.filter(|token| !token.expose().is_empty());
    let token = given(answer.token)
        .or_else(|| given(answer.access_token))
        .ok_or_else(|| Trouble::invalid("the token service answered without a token").of_whole_registry())?;
    if token.expose().len() > LONGEST_TOKEN {
        return Err(Trouble::new(RegistryFailureKind::TooLarge, "a token of more than 64 KiB").of_whole_registry());
    }
    header("Bearer", &token)?;
    let life = answer.expires_in.unwrap_or(USUAL_LIFE_SECONDS).min(LONGEST_LIFE_SECONDS);
    Ok(Token {
        secret: token,
        confidential: true,
        life: Duration::from_secs((life - BEFORE_THE_END_SECONDS.min(life / 2)).max(SHORTEST_LIFE_SECONDS)),
    })
}

/// An `Authorization` value, marked sensitive. What cannot be a header is refused; the bytes are not quoted.
pub(super) fn header(scheme: &str, secret: &Secret) -> Result<HeaderValue, Trouble> {
    let text = Zeroizing::new(format!("{scheme} {}", secret.expose()));
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let value = plain.then(|| HeaderValue::from_str(&text).ok()).flatten();
    let mut value = value.ok_or_else(|| {
        Trouble::invalid(format!("a {scheme} credential with characters that no header can carry")).of_whole_registry()
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The scope to ask for: the one of the challenge reduced to pulling, where it names a repository (some registries rewrite
/// names), else ours.
pub(super) fn scope(challenge: Option<&BearerChallenge>, repository: &str) -> String {
    let named = challenge.and_then(|challenge| challenge.scope.as_deref()).and_then(|scope| {
        let (name, _) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
        (!name.is_empty() && name.len() <= 256 && name.bytes().all(plain)).then_some(name)
    });
    format!("repository:{}:pull", named.unwrap_or(repository))
}

/// The address that a URL names without asking a name server.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::{Access, RegistrySettings};
    use super::*;

    fn endpoint(host: &str, token_service: Option<&str>, plain_http: bool) -> Endpoint {
        let settings = RegistrySettings {
            host: host.to_owned(),
            token_service: token_service.map(str::to_owned),
            plain_http,
            ..RegistrySettings::default()
        };
        let access = Access { registries: vec![settings], ..Access::default() };
        access.endpoint(&format!("{host}/calico/node:v1").parse().unwrap()).unwrap().0
    }

    fn challenge(realm: &str) -> BearerChallenge {
        BearerChallenge { realm: realm.to_owned(), ..BearerChallenge::default() }
    }

    fn allowed(endpoint: &Endpoint, to: &str, with_credentials: bool) -> Result<(), RegistryFailureKind> {
        realm(endpoint, &challenge(to), with_credentials).map(drop).map_err(|trouble| trouble.kind)
    }

    #[test]
    fn credentials_go_to_the_owner_or_the_listed_service_only() {
        use RegistryFailureKind::{ForeignTokenService, InvalidAnswer, RefusedTarget};
        let hub = endpoint("docker.io", None, false);
        assert_eq!(allowed(&hub, "https://auth.docker.io/token", true), Ok(()));
        assert_eq!(allowed(&hub, "https://registry-1.docker.io:5001/token", true), Ok(()));
        assert_eq!(allowed(&hub, "https://evil.example/token", true), Err(ForeignTokenService));
        assert_eq!(allowed(&hub, "https://evil.example/token", false), Ok(()));
        assert_eq!(allowed(&hub, "http://auth.docker.io/token", false), Err(RefusedTarget));
        assert_eq!(allowed(&hub, "file:///etc/passwd", false), Err(InvalidAnswer));
        assert_eq!(allowed(&hub, "https://u:p@auth.docker.io/", true), Err(InvalidAnswer));
        assert_eq!(allowed(&hub, "", true), Err(InvalidAnswer));
        let listed = endpoint("reg.example.com", Some("auth.example.org"), false);
        assert_eq!(allowed(&listed, "https://auth.example.org/token", true), Ok(()));
        assert_eq!(allowed(&listed, "https://auth.example.org.evil.example/token", true), Err(ForeignTokenService));
        let with_port = endpoint("reg.example.com", Some("auth.example.org:8443"), false);
        assert_eq!(allowed(&with_port, "https://auth.example.org:8443/token", true), Ok(()));
        assert_eq!(allowed(&with_port, "https://auth.example.org/token", true), Err(ForeignTokenService));
        assert_eq!(allowed(&endpoint("reg:5000", None, true), "http://reg:5001/token", true), Ok(()));
    }

    #[test]
    fn tokens_are_bounded_and_fit_a_header() {
        let token = |body: &str| read(body.as_bytes()).map(|token| token.secret.expose().to_owned());
        assert_eq!(token(r#"{"token": "abc", "access_token": "def", "expires_in": 60}"#), Ok("abc".to_owned()));
        assert_eq!(token(r#"{"access_token": "def"}"#), Ok("def".to_owned()));
        for (expires, life) in
            [("300", 290), ("5", 3), ("0", 1), ("9e99", 50), ("\"soon\"", 50), ("-1", 50), ("1000000", 3590)]
        {
            let body = format!(r#"{{"token": "abc", "expires_in": {expires}}}"#);
            assert_eq!(read(body.as_bytes()).unwrap().life, Duration::from_secs(life), "{expires}");
        }
        for body in
            ["", "{}", r#"{"token": ""}"#, r#"{"token": "a\nb"}"#, r#"{"token": "é"}"#, r#"{"token": 1}"#, r#"["abc"]"#]
        {
            assert_eq!(token(body).unwrap_err().kind, RegistryFailureKind::InvalidAnswer, "{body}");
        }
        let long = format!(r#"{{"token": "{}"}}"#, "a".repeat(LONGEST_TOKEN + 1));
        assert_eq!(token(&long).unwrap_err().kind, RegistryFailureKind::TooLarge);
    }

    #[test]
    fn a_scope_only_ever_asks_for_pulling() {
        let with = |scope: &str| BearerChallenge { scope: Some(scope.to_owned()), ..BearerChallenge::default() };
        assert_eq!(scope(None, "calico/node"), "repository:calico/node:pull");
        assert_eq!(
            scope(Some(&with("repository:cache/calico/node:pull,push,*")), "x"),
            "repository:cache/calico/node:pull"
        );
        for strange in ["registry:catalog:*", "repository::pull", "repository:a b:pull", "repository:x"] {
            assert_eq!(scope(Some(&with(strange)), "calico/node"), "repository:calico/node:pull", "{strange}");
        }
    }
}
