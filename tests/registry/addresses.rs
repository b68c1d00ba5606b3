//! Registries at IPv6 addresses: reached, trusted, and sent their own credentials only.

use imageset_controller::model::{Digest, RegistryFailureKind};
use imageset_controller::registry::{Access, DockerConfig, RegistrySettings};
use serde_json::json;

use crate::certificates::ServerCertificate;
use crate::server::{Reply, Server};
use crate::{CANARY, USER, basic, good, index, look_up, patient, plain, received_secret, reference, with_secret};

async fn at_ipv6(certificate: Option<&ServerCertificate>) -> Server {
    Server::start_at("::1", certificate).await
}

#[tokio::test]
async fn a_registry_at_an_ipv6_address_gets_the_credentials_of_its_port() {
    let server = at_ipv6(None).await;
    assert!(server.host().starts_with("[::1]:"), "{}", server.host());
    server.on_manifest("calico/node", Reply::challenge(r#"Basic realm="reg""#).but_to(&basic(), good("node")));
    let node = reference(&server, "calico/node");
    assert_eq!((node.registry(), node.repository()), (server.host(), "calico/node"));
    let image = look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap();
    assert_eq!((image.digest, image.reference), (Digest::of(&index("node")), node.clone()));
    assert!(server.received(&format!("\"host\": \"{}\"", server.host())), "{:?}", server.seen());

    // As the kubelet does: the text after the last colon is the port, and another port is another registry.
    for key in ["[::1]:1", "[::1]", "[::2]:5000"] {
        let credentials = vec![DockerConfig::of_password(key, USER, CANARY)];
        let other = at_ipv6(None).await;
        other.on_manifest("calico/node", Reply::challenge("Basic"));
        let access = Access { credentials, ..plain(&[&other]) };
        let failure = look_up(&patient(), &access, &reference(&other, "calico/node")).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::CredentialsMissing, "{failure}");
        assert!(!received_secret(&other), "{key}");
    }
}

#[tokio::test]
async fn only_its_own_address_is_its_token_service() {
    let server = at_ipv6(None).await;
    let stranger = Server::start().await;
    let token = Reply::new(200, "application/json", json!({"token": "good-token"}).to_string());
    for service in [&server, &stranger] {
        service.on("/token", token.clone());
    }
    for (realm, allowed) in [(server.url("/token"), true), (stranger.url("/token"), false)] {
        let challenge = Reply::challenge(&format!(r#"Bearer realm="{realm}",service="reg""#));
        server.on_manifest("calico/node", challenge.but_to("Bearer good-token", good("node")));
        let outcome = look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await;
        let kind = outcome.err().map(|failure| failure.kind);
        assert_eq!(kind, (!allowed).then_some(RegistryFailureKind::ForeignTokenService), "{realm}");
    }
    assert!(received_secret(&server) && stranger.seen().is_empty());
}

#[tokio::test]
async fn its_certificate_is_verified_against_the_address() {
    let certificate = ServerCertificate::create("private authority").unwrap();
    let server = at_ipv6(Some(&certificate)).await;
    server.on_manifest("calico/node", good("node"));
    let node = reference(&server, "calico/node");
    let trusting = Access {
        registries: vec![RegistrySettings {
            host: server.host().to_owned(),
            ca_pem: Some(certificate.authority_pem.clone().into_bytes()),
            ..RegistrySettings::default()
        }],
        ..Access::default()
    };
    look_up(&patient(), &trusting, &node).await.unwrap();
    let failure = look_up(&patient(), &Access::default(), &node).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::Tls, "{failure}");
}
