//! What a client keeps between lookups, and what it discards: known digests, tokens, authentication schemes, rate limits.

use imageset_controller::model::{Digest, Hints, Reference, RegistryFailureKind, ResolvedImage};
use imageset_controller::registry::{Access, DockerConfig, RegistryClient};
use serde_json::json;
use tokio::sync::watch;

use crate::certificates::ServerCertificate;
use crate::server::{Reply, Server};
use crate::{
    CANARY, USER, basic, good, index, kinds, look_up, look_up_all, look_up_with, patient, plain, reference, trusting,
    with_secret,
};

/// As many images as the newest releases have.
const IMAGES: usize = 23;

fn images(server: &Server, count: usize) -> Vec<Reference> {
    (0..count).map(|number| reference(server, &format!("calico/image-{number}"))).collect()
}

fn token(text: &str, seconds: u64) -> Reply {
    Reply::new(200, "application/json", json!({"token": text, "expires_in": seconds}).to_string())
}

/// Serves all images for this token of the server's own token service.
fn serve_for_token(server: &Server, images: &[Reference], token: &str) {
    for image in images {
        let scope = format!("repository:{}:pull", image.repository());
        let realm = format!(r#"Bearer realm="{}",service="reg",scope="{scope}""#, server.url("/token"));
        let served = good(image.repository()).with("docker-content-digest", &digest_of(image).to_string());
        server.on_manifest(image.repository(), Reply::challenge(&realm).but_to(&format!("Bearer {token}"), served));
    }
}

fn digest_of(image: &Reference) -> Digest {
    Digest::of(&index(image.repository()))
}

fn known(images: &[ResolvedImage]) -> Hints {
    Hints { known: images.iter().map(|image| (image.reference.clone(), image.clone())).collect(), ..Hints::default() }
}

async fn resolved(client: &RegistryClient, access: &Access, images: &[Reference]) -> Vec<ResolvedImage> {
    look_up_all(client, access, images).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_known_digest_is_confirmed_by_one_head_for_each() {
    let server = Server::start().await;
    let images = images(&server, 5);
    serve_for_token(&server, &images, "good-token");
    server.on("/token", token("good-token", 300));
    let (client, access) = (patient(), with_secret(&[&server]));
    let first = resolved(&client, &access, &images).await;
    let before = server.requests().len();
    let again = look_up_with(&client, &access, &images, &known(&first)).await;
    assert_eq!(again.into_iter().map(Result::unwrap).collect::<Vec<_>>(), first);
    let requested = &server.requests()[before..];
    assert!(requested.len() == 5 && requested.iter().all(|requested| requested.starts_with("HEAD ")), "{requested:?}");
}

/// A header is a reason to fetch, never a trusted digest.
#[tokio::test]
async fn the_bytes_decide_whatever_a_head_response_says() {
    let server = Server::start().await;
    let node = reference(&server, "calico/node");
    server.on_manifest("calico/node", good("node"));
    let (client, access) = (patient(), plain(&[&server]));
    let first = resolved(&client, &access, std::slice::from_ref(&node)).await;
    let true_digest = Digest::of(&index("node"));
    for head in [
        good("node"),
        good("node").with("docker-content-digest", "sha256:../../etc/passwd"),
        good("node").with("docker-content-digest", &Digest::of(b"moved").to_string()),
        Reply::status(404),
        Reply::status(405),
        Reply::status(400),
    ] {
        server.on("HEAD /v2/calico/node/manifests/v1", head);
        let before = server.requests().len();
        let image =
            look_up_with(&client, &access, std::slice::from_ref(&node), &known(&first)).await.remove(0).unwrap();
        assert_eq!(image.digest, true_digest);
        let path = "/v2/calico/node/manifests/v1";
        assert_eq!(server.requests()[before..], [format!("HEAD {path}"), format!("GET {path}")]);
    }
    // The tag has moved, and HEAD and GET agree.
    server.on_manifest(
        "calico/node",
        good("moved").with("docker-content-digest", &Digest::of(&index("moved")).to_string()),
    );
    server.on("HEAD /v2/calico/node/manifests/v1", Reply::status(405));
    let image = look_up_with(&client, &access, std::slice::from_ref(&node), &known(&first)).await.remove(0).unwrap();
    assert_eq!(image.digest, Digest::of(&index("moved")));
    // A registry that is in trouble is not asked a second time for the same.
    server.on("HEAD /v2/calico/node/manifests/v1", Reply::status(429).with("retry-after", "5"));
    let before = server.requests().len();
    let failure = look_up_with(&client, &access, &[node], &known(&first)).await.remove(0).unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::RateLimited { retry_after_seconds: Some(5) });
    assert_eq!(server.requests().len(), before + 1);
}

#[tokio::test]
async fn tokens_are_kept_until_they_expire() {
    let server = Server::start().await;
    let images = images(&server, 3);
    serve_for_token(&server, &images, "good-token");
    server.on("/token", token("good-token", 300));
    let (client, access) = (patient(), with_secret(&[&server]));
    let tokens = || server.requests().iter().filter(|requested| requested.as_str() == "GET /token").count();
    for _ in 0..3 {
        resolved(&client, &access, &images).await;
        assert_eq!(tokens(), 1);
    }
    // It was taken back: one refusal for each, one new token for all.
    serve_for_token(&server, &images, "next-token");
    server.on("/token", token("next-token", 300));
    let before = server.requests().len();
    resolved(&client, &access, &images).await;
    assert_eq!((tokens(), server.requests().len() - before), (2, 3 + 1 + 3));
    // Another secret has tokens of its own. What the registry demands is known: nothing goes out bare.
    let other = Access { credentials: vec![DockerConfig::of_password(server.host(), USER, "other")], ..access };
    let before = server.requests().len();
    resolved(&client, &other, &images).await;
    assert_eq!((tokens(), server.requests().len() - before), (3, 1 + 3));
}

/// Tokens of a pull secret are discarded with it: another secret has its own rights.
#[tokio::test]
async fn a_rotated_secret_takes_effect_at_once() {
    let server = Server::start().await;
    let images = images(&server, 2);
    serve_for_token(&server, &images, "good-token");
    server.on("/token", Reply::status(401).but_to(&basic(), token("good-token", 300)));
    let client = patient();
    let old = Access { credentials: vec![DockerConfig::of_password(server.host(), USER, "old")], ..plain(&[&server]) };
    let rejected = look_up_all(&client, &old, &images).await;
    assert_eq!(kinds(&rejected), vec![Some(RegistryFailureKind::Unauthorized); 2]);
    resolved(&client, &with_secret(&[&server]), &images).await;
    // And back: the token of the good secret is not used for the old one.
    let rejected = look_up_all(&client, &old, &images).await;
    assert_eq!(kinds(&rejected), vec![Some(RegistryFailureKind::Unauthorized); 2]);
}

/// The kubelet tries all that match; the first accepted one counts.
#[tokio::test]
async fn several_secrets_are_tried_in_order() {
    let server = Server::start().await;
    server.on_manifest("calico/node", Reply::challenge(r#"Basic realm="reg""#).but_to(&basic(), good("node")));
    let secret = |user: &str, password: &str| DockerConfig::of_password(server.host(), user, password);
    let credentials = vec![secret("first", "1"), secret("second", "2"), secret(USER, CANARY), secret("last", "4")];
    let access = Access { credentials, ..plain(&[&server]) };
    look_up(&patient(), &access, &reference(&server, "calico/node")).await.unwrap();
    assert_eq!(server.requests().len(), 1 + 3, "bare, two that are refused, the one that is let in");
}

/// One 401, one token, then all images at a time: the first response is held back until the last request arrives.
#[tokio::test]
async fn a_set_behind_a_token_is_requested_at_once_over_one_connection() {
    let certificate = ServerCertificate::create("an authority").unwrap();
    let server = Server::start_http2(&certificate).await;
    let images = images(&server, IMAGES);
    let (open, gate) = watch::channel(false);
    for image in &images {
        let realm = format!(r#"Bearer realm="{}",service="reg""#, server.url("/token"));
        let served = good(image.repository()).after(gate.clone());
        server.on_manifest(image.repository(), Reply::challenge(&realm).but_to("Bearer good-token", served));
    }
    server.on("/token", token("good-token", 300));
    let (client, access) = (patient(), trusting(&server, &certificate));
    let all_there = async {
        crate::until("all requests", || server.requests().len() >= IMAGES + 2).await;
        open.send_replace(true);
    };
    let (outcomes, ()) = futures::join!(look_up_all(&client, &access, &images), all_there);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!((server.requests().len(), server.connections()), (IMAGES + 2, 1));
    // Known and warm: no question but the images.
    let again = resolved(&client, &access, &images).await;
    assert_eq!((again.len(), server.requests().len(), server.connections()), (IMAGES, 2 * IMAGES + 2, 1));
}

/// Docker Hub's headers. The nodes share the limit.
#[tokio::test]
async fn half_of_an_announced_limit_is_left_to_the_nodes() {
    let server = Server::start().await;
    let images = images(&server, IMAGES);
    for (number, image) in images.iter().enumerate() {
        let remaining = format!("{};w=21600", 60 - number);
        let announced = good(image.repository()).with("ratelimit-limit", "100;w=21600");
        server.on_manifest(image.repository(), announced.with("ratelimit-remaining", &remaining));
    }
    let client = patient();
    let outcomes = look_up_all(&client, &plain(&[&server]), &images).await;
    let served = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((2..=11).contains(&served), "60 of 100 were left after the first, and 50 are for the nodes: {served}");
    assert_eq!(server.requests().len(), served, "the others were not asked for");
    let failure = outcomes[IMAGES - 1].as_ref().unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::RateLimited { retry_after_seconds: Some(3600) });
    assert!(failure.response.contains("of 100 requests are left, and half is kept for the nodes"), "{failure}");
    assert_eq!(
        look_up(&client, &plain(&[&server]), &images[0]).await.unwrap_err().kind,
        failure.kind,
        "it is remembered"
    );
}

/// A repaired registry serves again, whatever scheme it required before; one lookup finds out.
#[tokio::test]
async fn a_changed_scheme_is_noticed() {
    let foreign = r#"Bearer realm="http://127.0.0.2:1/token""#;
    let kinds_before = [
        (Reply::challenge(foreign), RegistryFailureKind::ForeignTokenService),
        (Reply::challenge("Basic"), RegistryFailureKind::Unauthorized),
        (
            Reply::status(429).with("retry-after", "1"),
            RegistryFailureKind::RateLimited { retry_after_seconds: Some(1) },
        ),
    ];
    for (before, kind) in kinds_before {
        let server = Server::start().await;
        let images = images(&server, 5);
        server.on("*", before);
        let (client, access) = (patient(), with_secret(&[&server]));
        assert_eq!(kinds(&look_up_all(&client, &access, &images).await), vec![Some(kind); 5]);
        let requested = server.requests().len();
        assert_eq!(kinds(&look_up_all(&client, &access, &images).await), vec![Some(kind); 5]);
        assert_eq!(
            server.requests().len(),
            2 * requested,
            "the same again, and no oftener than by somebody who knows nothing"
        );
        server.on("*", good("node"));
        resolved(&client, &access, &images).await;
        assert_eq!(server.requests().len(), 2 * requested + 5, "nothing but the images");
    }
}
