//! The one thing that must never be wrong, seen by others: for the same reference of the real registry we name the very digest
//! that `crane digest` and `skopeo inspect` name, however the registry asks who we are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use imageset_controller::model::{Content, Hints, Reference};
use imageset_controller::registry::{Access, DockerConfig, RegistryClient, RegistryClientSettings, RegistrySettings};

use crate::testbox::certificates::ServerCertificate;
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::peers::{Peer, Peers};
use crate::testbox::{Kind, Registry};

mod bundle;

#[path = "../testbox/mod.rs"]
mod testbox;

const USER: &str = "robot";
const PASSWORD: &str = "Canary:9d41/Zq+x";
/// A docker config file of somebody who never logged in.
const NO_CREDENTIALS: &str = r#"{"auths": {}}"#;

fn htpasswd() -> Kind {
    Kind::Htpasswd { user: USER.to_owned(), password: PASSWORD.to_owned() }
}

fn token(anonymous_pull: bool) -> Kind {
    Kind::Token { user: USER.to_owned(), password: PASSWORD.to_owned(), anonymous_pull }
}

/// References of an index and of a single manifest, by tag and by digest, with the digest of the bytes pushed.
async fn push(registry: &Registry) -> Vec<(Reference, String)> {
    let index = Image::index("an index", LINUX_PLATFORMS).unwrap();
    let single = Image::single("a single manifest", ("linux", "amd64", None)).unwrap();
    let mut pushed = Vec::new();
    for (repository, image) in [("calico/node", &index), ("tigera/operator", &single)] {
        let digest = images::push(&registry.access().unwrap(), repository, "v1", image).await.unwrap();
        for end in [":v1".to_owned(), format!("@{digest}")] {
            let reference = format!("{}/{repository}{end}", registry.host());
            pushed.push((reference.parse().unwrap(), digest.clone()));
        }
    }
    pushed
}

async fn all_agree(registry: &Registry, with_credentials: bool) {
    let pushed = push(registry).await;
    let config = if with_credentials { registry.docker_config_json() } else { NO_CREDENTIALS.to_owned() };
    let settings = RegistrySettings {
        host: registry.host(),
        ca_pem: registry.ca_pem().map(|pem| pem.as_bytes().to_vec()),
        plain_http: registry.ca_pem().is_none(),
        ..RegistrySettings::default()
    };
    let secret = with_credentials.then(|| DockerConfig::parse_dockerconfigjson(config.as_bytes()).unwrap());
    let access = Access { credentials: secret.into_iter().collect(), registries: vec![settings], ..Access::default() };
    let references: Vec<Reference> = pushed.iter().map(|(reference, _)| reference.clone()).collect();
    let client = RegistryClient::new(RegistryClientSettings::default());
    let resolved = client.resolve(&access, &references, &Hints::default(), |_| {}).await;

    let peers = Peers::new(&config, registry.ca_pem()).await.unwrap();
    assert_eq!(resolved.len(), pushed.len());
    for ((reference, digest), resolved) in pushed.iter().zip(resolved) {
        let resolved = resolved.unwrap();
        assert_eq!(resolved.digest.to_string(), *digest, "{reference}");
        let is_index = reference.repository() == "calico/node";
        assert_eq!(matches!(resolved.content, Content::Index { .. }), is_index, "{reference}");
        for peer in Peer::ALL {
            let theirs = peers.digest(peer, &reference.to_string(), "linux").await.unwrap();
            assert_eq!(theirs, resolved.digest.to_string(), "{peer:?} of {reference}");
        }
    }
}

async fn of_each_transport(kind: Kind, with_credentials: bool) {
    for tls in [false, true] {
        let registry = Registry::start_as_localhost(kind.clone(), tls).await.unwrap();
        all_agree(&registry, with_credentials).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_anonymous_registry() {
    of_each_transport(Kind::Anonymous, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_registry_with_a_password_file() {
    of_each_transport(htpasswd(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_registry_with_a_token_service() {
    of_each_transport(token(false), true).await;
    of_each_transport(token(true), false).await;
}

/// Or else the above would prove nothing about credentials and authorities.
#[tokio::test(flavor = "multi_thread")]
async fn no_peer_gets_a_digest_without_the_credentials_or_the_authority() {
    let registry = Registry::start_as_localhost(token(false), true).await.unwrap();
    let (reference, _) = push(&registry).await.remove(0);
    let stranger = ServerCertificate::create("a stranger").unwrap().authority_pem;
    let config = registry.docker_config_json();
    for (config, authority) in [(NO_CREDENTIALS, registry.ca_pem()), (&config, Some(stranger.as_str()))] {
        let peers = Peers::new(config, authority).await.unwrap();
        for peer in Peer::ALL {
            peers.digest(peer, &reference.to_string(), "linux").await.unwrap_err();
        }
    }
}
