//! A real registry with a token service and the images of one operator release, far away: behind TLS and a latency proxy,
//! with the token service under the same name or under another.

use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::front::{Front, Routes};
use crate::latency::{Far, LatencyProxy};
use crate::testbox::certificates::ServerCertificate;
use crate::testbox::rules::OperatorRules;
use crate::testbox::token_service::TokenService;
use crate::testbox::{Kind, Registry, images};

/// The release whose images are resolved: 23 of them.
pub const RELEASE: &str = "v1.42.4";
const USER: &str = "robot";
const PASSWORD: &str = "of-the-bench";

/// One name with what is behind it.
pub struct Place {
    host: String,
    front: Front,
    proxy: LatencyProxy,
}

/// What went through a [`Place`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub requests: usize,
    pub connections: usize,
}

impl Place {
    /// `HOST:PORT`, as references and realms name it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What went through since this was last asked.
    pub fn take_traffic(&self) -> Traffic {
        Traffic { requests: self.front.take_requests(), connections: self.proxy.take_connections() }
    }
}

/// Where the token service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenServiceAt {
    SameHost,
    OtherHost,
}

/// See the module.
pub struct FarRegistry {
    registry: Registry,
    certificate: ServerCertificate,
    references: Vec<String>,
    with_tokens: Place,
    without_tokens: Place,
    tokens: Place,
}

impl FarRegistry {
    /// Starts all of it, with the images of [`RELEASE`] in it.
    pub async fn start() -> Result<Self> {
        let kind = Kind::Token { user: USER.to_owned(), password: PASSWORD.to_owned(), anonymous_pull: false };
        let registry = Registry::start(kind).await?;
        let rules = OperatorRules::for_version(RELEASE)?;
        let references = rules.calico_references();
        images::push_release(&registry.access()?, &references, None).await?;

        let certificate = ServerCertificate::create("an authority of the bench")?;
        let with_tokens = place(&certificate, &registry, "127.0.0.1", None).await?;
        let tokens = place(&certificate, &registry, "localhost", None).await?;
        let without_tokens = place(&certificate, &registry, "127.0.0.1", Some(&tokens.host)).await?;
        Ok(Self { registry, certificate, references, with_tokens, without_tokens, tokens })
    }

    /// The registry's name in this arrangement.
    pub fn registry(&self, at: TokenServiceAt) -> &Place {
        match at {
            TokenServiceAt::SameHost => &self.with_tokens,
            TokenServiceAt::OtherHost => &self.without_tokens,
        }
    }

    /// The token service's name where it is another.
    pub fn other_host(&self) -> &Place {
        &self.tokens
    }

    /// The 23 references in this arrangement.
    pub fn references(&self, at: TokenServiceAt) -> Vec<String> {
        let host = self.registry(at).host();
        let placed = |reference: &String| {
            let (repository, tag) = images::repository_and_tag(reference);
            format!("{host}/{repository}:{tag}")
        };
        self.references.iter().map(placed).collect()
    }

    /// Gives out the tokens.
    pub fn token_service(&self) -> Result<&TokenService> {
        self.registry.token_service().context("no token service")
    }

    /// The authority to trust.
    pub fn ca_pem(&self) -> &str {
        &self.certificate.authority_pem
    }

    /// Credentials for both names of the registry.
    pub fn docker_config_json(&self) -> String {
        let entry = json!({ "auth": STANDARD.encode(format!("{USER}:{PASSWORD}")) });
        json!({ "auths": { self.with_tokens.host(): entry, self.without_tokens.host(): entry } }).to_string()
    }

    fn places(&self) -> [&Place; 3] {
        [&self.with_tokens, &self.without_tokens, &self.tokens]
    }
}

impl Far for FarRegistry {
    fn set_round_trip(&self, round_trip: Duration) {
        for place in self.places() {
            place.proxy.set_round_trip(round_trip);
        }
    }

    async fn cut(&self) {
        for place in self.places() {
            place.proxy.cut().await;
            place.take_traffic();
        }
    }
}

/// A name for the registry and its token service. The realm is under that name too, unless `tokens_at` says another.
async fn place(
    certificate: &ServerCertificate,
    registry: &Registry,
    name: &str,
    tokens_at: Option<&str>,
) -> Result<Place> {
    let listener = LatencyProxy::listener().await?;
    let host = format!("{name}:{}", listener.local_addr()?.port());
    let realm = registry.token_service().context("no token service")?.realm().to_owned();
    let token_service = realm.trim_start_matches("http://").trim_end_matches("/token").to_owned();
    let output = format!("https://{}/token", tokens_at.unwrap_or(&host));
    let routes = Routes { registry: registry.host(), token_service, realm: (realm, output) };
    let front = Front::start(certificate, routes).await?;
    let proxy = LatencyProxy::start(listener, front.host().to_owned());
    Ok(Place { host, front, proxy })
}
