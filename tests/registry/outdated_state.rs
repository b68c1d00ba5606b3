//! What is known of a registry may be outdated, and what applies to one image need not apply to another.
use std::time::Duration;

use imageset_controller::model::{Digest, Hints, Reference, RegistryFailureKind};
use imageset_controller::registry::{Access, DockerConfig, RegistryClient, RegistryClientSettings};
use serde_json::json;
use tokio::sync::watch;

use crate::certificates::ServerCertificate;
use crate::server::{Reply, Server};
use crate::{
    CANARY, USER, basic, good, hurried, kinds, look_up_all, look_up_with, patient, plain, reference, trusting,
    with_secret,
};

fn token(text: &str, seconds: u64) -> Reply {
    Reply::new(200, "application/json", json!({"token": text, "expires_in": seconds}).to_string())
}

#[tokio::test]
async fn a_connection_that_is_never_established_delays_no_image() {
    let certificate = ServerCertificate::create("an authority").unwrap();
    let server = Server::start_http2(&certificate).await;
    let tokens = Server::start_http2(&certificate).await;
    let realm = format!(r#"Bearer realm="{}",service="reg""#, tokens.url("/token"));
    server.on_manifest("calico/node", Reply::challenge(&realm).but_to("Bearer good-token", good("node")));
    tokens.on("/token", token("good-token", 0));
    server.on("/v2/", Reply::silence());
    let (client, access) = (hurried(), trusting(&server, &certificate));
    let node = [reference(&server, "calico/node")];
    let first = look_up_all(&client, &access, &node).await;
    assert!(first[0].is_ok(), "{first:?}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let again = tokio::time::timeout(Duration::from_secs(60), look_up_all(&client, &access, &node)).await;
    assert!(again.expect("it should not wait for the knock")[0].is_ok(), "{:?}", server.requests());
}

#[tokio::test]
async fn a_realm_that_moves_is_noticed() {
    let server = Server::start().await;
    let node = [reference(&server, "calico/node")];
    let realm = format!(r#"Bearer realm="{}",service="reg""#, server.url("/token"));
    server.on_manifest("calico/node", Reply::challenge(&realm).but_to("Bearer good-token", good("node")));
    server.on("/token", token("good-token", 0));
    let (client, access) = (patient(), with_secret(&[&server]));
    assert!(look_up_all(&client, &access, &node).await[0].is_ok());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let realm = format!(r#"Bearer realm="{}",service="reg""#, server.url("/new-token"));
    server.on_manifest("calico/node", Reply::challenge(&realm).but_to("Bearer new-token", good("node")));
    server.on("/token", Reply::status(404));
    server.on("/new-token", token("new-token", 300));
    assert!(look_up_all(&client, &access, &node).await[0].is_ok(), "asked {:?}", server.requests());
}

#[tokio::test]
async fn a_public_repository_beside_a_private_one() {
    let server = Server::start().await;
    let images = [reference(&server, "private/node"), reference(&server, "public/node")];
    server.on_manifest("private/node", Reply::challenge("Basic realm=\"x\"").but_to(&basic(), good("node")));
    server.on_manifest("public/node", good("node"));
    let secret = DockerConfig::of_password(&format!("{}/private", server.host()), USER, CANARY);
    let access = Access { credentials: vec![secret], ..plain(&[&server]) };
    let outcomes = look_up_all(&patient(), &access, &images).await;
    assert_eq!(kinds(&outcomes), [None, None], "{outcomes:?} {:?}", server.requests());
}

/// The response for one repository is reported for all; the secret that it echoes belongs to it alone. `look_up_all` searches for
/// it.
#[tokio::test]
async fn a_secret_echoed_for_one_repository_is_redacted_for_all() {
    let server = Server::start().await;
    let images = [reference(&server, "one/node"), reference(&server, "two/node")];
    let echo = Reply::new(429, "text/plain", format!("slow down, {}", basic()));
    server.on_manifest("one/node", Reply::challenge("Basic realm=\"x\"").but_to(&basic(), echo));
    let credentials = vec![
        DockerConfig::of_password(&format!("{}/one", server.host()), USER, CANARY),
        DockerConfig::of_password(&format!("{}/two", server.host()), USER, "other"),
    ];
    let access = Access { credentials, ..plain(&[&server]) };
    let client = RegistryClient::new(RegistryClientSettings { parallel_connections: 1, ..Default::default() });
    let limited = Some(RegistryFailureKind::RateLimited { retry_after_seconds: None });
    assert_eq!(kinds(&look_up_all(&client, &access, &images).await), [limited; 2]);
}

#[tokio::test]
async fn presence_checks_do_not_use_up_half_of_the_limit() {
    let certificate = ServerCertificate::create("an authority").unwrap();
    let server = Server::start_http2(&certificate).await;
    let images: Vec<Reference> = (0..23).map(|n| reference(&server, &format!("calico/image-{n}"))).collect();
    let (open, gate) = watch::channel(false);
    let limited = |reply: Reply| reply.with("ratelimit-limit", "100;w=21600").with("ratelimit-remaining", "77;w=21600");
    for image in &images {
        let name = image.repository();
        server.on_manifest(name, limited(good(name)));
        for architecture in ["amd64", "arm64"] {
            let digest = Digest::of(format!("{name} {architecture}").as_bytes());
            server.on(&format!("/v2/{name}/manifests/{digest}"), limited(Reply::status(200)).after(gate.clone()));
        }
    }
    let hints = Hints {
        platforms: ["linux/amd64", "linux/arm64"].iter().map(|p| p.parse().unwrap()).collect(),
        ..Hints::default()
    };
    let (client, access) = (patient(), trusting(&server, &certificate));
    // As many as the half allows are under way at a time; nobody takes that for the end of it.
    let opening = async {
        crate::until("as many requests as half of the limit allows", || server.requests().len() >= 23 + 20).await;
        open.send_replace(true);
    };
    let (outcomes, ()) = futures::join!(look_up_with(&client, &access, &images, &hints), opening);
    let failed: Vec<String> = outcomes.iter().filter_map(|o| o.as_ref().err().map(ToString::to_string)).collect();
    assert!(failed.is_empty(), "{} failed, as {}", failed.len(), failed[0]);
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_for_each_image() {
    let server = Server::start().await;
    let images: Vec<Reference> = (0..23).map(|n| reference(&server, &format!("calico/image-{n}"))).collect();
    for image in &images {
        let realm = format!(r#"Bearer realm="{}",service="reg""#, server.url("/token"));
        server.on_manifest(image.repository(), Reply::challenge(&realm));
    }
    server.on("/token", Reply::status(401));
    let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
    let logins = server.requests().iter().filter(|requested| requested.as_str() == "GET /token").count();
    assert_eq!(kinds(&outcomes), [Some(RegistryFailureKind::Unauthorized); 23]);
    assert!(logins <= 2, "{logins} failed logins");
}
