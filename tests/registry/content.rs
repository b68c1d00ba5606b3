//! Which content is trusted: the digest is the hash of the bytes, bodies are bounded, and content that no node can run is named.

use std::time::Duration;

use imageset_controller::model::{Content, Digest, RegistryFailureKind};
use imageset_controller::registry::{Access, RegistrySettings};
use serde_json::json;

use crate::certificates::ServerCertificate;
use crate::server::{Reply, Server};
use crate::{IMAGE, INDEX, failure_of, good, hurried, index, look_up, patient, plain, reference};

/// The size of a flood; the client reads 8 MiB, the rest of what was sent is in the kernel's buffers.
const FLOOD: u64 = 256 * 1024 * 1024;
const BUFFERED: u64 = 32 * 1024 * 1024;

#[tokio::test]
async fn the_digest_is_the_hash_of_the_bytes() {
    let server = Server::start().await;
    let bytes = index("node");
    let true_digest = Digest::of(&bytes);
    for reply in [
        good("node"),
        good("node").with("docker-content-digest", &true_digest.to_string()),
        // Another algorithm can't be pinned; ours is computed anyway.
        good("node").with("docker-content-digest", &format!("sha512:{}", "0".repeat(128))),
    ] {
        server.on_manifest("calico/node", reply);
        let image = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap();
        assert_eq!((image.digest, image.size, image.media_type.as_str()), (true_digest, bytes.len() as u64, INDEX));
        assert_eq!(image.platforms().len(), 2);
    }
    assert!(server.schemes().iter().all(Option::is_none), "nobody asked for credentials");
}

#[tokio::test]
async fn a_response_with_a_false_digest_header_is_rejected() {
    for claimed in [Digest::of(b"other bytes").to_string(), "sha256:".to_owned(), "garbage".to_owned()] {
        let failure = failure_of(good("node").with("docker-content-digest", &claimed)).await;
        assert_eq!(failure.kind, RegistryFailureKind::InvalidAnswer);
        assert!(failure.response.contains("Docker-Content-Digest") && failure.response.contains(&claimed), "{failure}");
    }
}

#[tokio::test]
async fn a_requested_digest_must_be_that_of_the_bytes() {
    let server = Server::start().await;
    let wanted = Digest::of(&index("node"));
    let pinned = reference(&server, "calico/node").with_digest(wanted);
    let path = format!("/v2/calico/node/manifests/{wanted}");
    for reply in [good("other"), good("other").with("docker-content-digest", &wanted.to_string())] {
        server.on(&path, reply);
        let failure = look_up(&patient(), &plain(&[&server]), &pinned).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::InvalidAnswer);
        assert!(failure.response.contains(&wanted.to_string()), "{failure}");
    }
    server.on(&path, good("node"));
    assert_eq!(look_up(&patient(), &plain(&[&server]), &pinned).await.unwrap().digest, wanted);
}

/// The platform of a single image is in its configuration, whose digest the manifest fixes.
#[tokio::test]
async fn a_configuration_must_be_the_one_that_the_manifest_names() {
    let server = Server::start().await;
    let config = br#"{"os": "linux", "architecture": "arm64", "rootfs": {}}"#;
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "config":
        {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(config), "size": config.len()}});
    server.on_manifest("calico/node", Reply::new(200, IMAGE, manifest.to_string()));
    let blob = format!("/v2/calico/node/blobs/{}", Digest::of(config));
    server.on(&blob, Reply::new(200, "application/octet-stream", &config[..]));
    let (access, reference) = (plain(&[&server]), reference(&server, "calico/node"));
    let image = look_up(&patient(), &access, &reference).await.unwrap();
    assert_eq!(image.content, Content::Manifest { platform: "linux/arm64".parse().unwrap() });
    server.on(&blob, Reply::new(200, "application/octet-stream", r#"{"os": "linux", "architecture": "amd64"}"#));
    assert_eq!(look_up(&patient(), &access, &reference).await.unwrap_err().kind, RegistryFailureKind::InvalidAnswer);
}

#[tokio::test]
async fn an_endless_manifest_is_dropped_at_the_limit() {
    for announced in [true, false] {
        let server = Server::start().await;
        server.on_manifest("calico/node", Reply::flood(INDEX, FLOOD, announced));
        let failure = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::TooLarge, "{failure}");
        let sent = server.flooded().await;
        assert!(sent < BUFFERED, "announced: {announced}: {sent} of {FLOOD} bytes were taken");
    }
}

/// The announced length is enough: reading on would exceed the deadline first.
#[tokio::test]
async fn an_announced_length_beyond_the_limit_is_not_read() {
    let server = Server::start().await;
    let long = good("node").with("content-length", &(9 * 1024 * 1024).to_string());
    server.on_manifest("calico/node", long.dripping(Duration::from_millis(100)));
    let failure = look_up(&hurried(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::TooLarge, "{failure}");
}

/// Of an error response only the beginning is read.
#[tokio::test]
async fn an_endless_error_response_is_an_error() {
    let server = Server::start().await;
    server.on_manifest("calico/node", Reply::flood("text/html", FLOOD, false).refusing(404));
    let failure = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::NotFound, "{failure}");
    assert!(server.flooded().await < BUFFERED);
}

#[tokio::test]
async fn content_that_is_no_image_is_named() {
    use RegistryFailureKind::{InvalidAnswer, UnsupportedContent};
    let whole = index("node");
    let entry = |platform: serde_json::Value| json!({"mediaType": IMAGE, "digest": Digest::of(b"x").to_string(), "size": 1, "platform": platform});
    let attestation = entry(json!({"os": "unknown", "architecture": "unknown"}));
    let attestations = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation]});
    let artifact = json!({"schemaVersion": 2, "mediaType": IMAGE, "layers": [], "artifactType": "application/spdx",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}").to_string(), "size": 2}});
    let schema_1 = json!({"schemaVersion": 1, "name": "calico/node", "tag": "v1", "fsLayers": [], "signatures": []});
    let schema_1_type = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    let both =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "layers": [], "config": {"digest": "x"}});
    for (reply, kind, words) in [
        (Reply::new(200, "text/html; charset=utf-8", "<html>Log in</html>"), InvalidAnswer, "text/html"),
        (Reply::new(200, INDEX, whole[..whole.len() / 2].to_vec()), InvalidAnswer, "no manifest"),
        (Reply::new(200, INDEX, ""), InvalidAnswer, "no manifest"),
        (Reply::new(200, INDEX, "[".repeat(200_000)), InvalidAnswer, "no manifest"),
        (Reply::new(200, schema_1_type, schema_1.to_string()), UnsupportedContent, "schema 1"),
        (Reply::new(200, INDEX, attestations.to_string()), UnsupportedContent, "1 attestations"),
        (Reply::new(200, IMAGE, artifact.to_string()), UnsupportedContent, "application/spdx"),
        (Reply::new(200, INDEX, both.to_string()), InvalidAnswer, "both an index and an image"),
        (Reply::new(200, INDEX, whole.clone()).with("content-encoding", "gzip"), InvalidAnswer, "compressed"),
        (Reply::new(206, INDEX, whole.clone()), InvalidAnswer, "206"),
        (Reply::status(204), InvalidAnswer, "204"),
    ] {
        let shown = format!("{reply:?}").chars().take(300).collect::<String>();
        let failure = failure_of(reply).await;
        assert_eq!(failure.kind, kind, "{shown}: {failure}");
        assert!(failure.response.contains(words) && !failure.advice.is_empty(), "{shown}: {failure}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_no_response() {
    let failure = failure_of(good("node").with("content-length", &index("node").len().to_string()).cut_off()).await;
    assert_eq!(failure.kind, RegistryFailureKind::Unreachable, "{failure}");
}

#[tokio::test]
async fn trust_requires_the_named_authority_and_plain_http_requires_opt_in() {
    let certificate = ServerCertificate::create("an authority of nobody").unwrap();
    let server = Server::start_at("127.0.0.1", Some(&certificate)).await;
    server.on_manifest("calico/node", good("node"));
    let node = reference(&server, "calico/node");
    assert_eq!(look_up(&patient(), &Access::default(), &node).await.unwrap_err().kind, RegistryFailureKind::Tls);
    assert!(server.seen().is_empty(), "nothing is said before there is trust");
    let settings = RegistrySettings {
        host: server.host().to_owned(),
        ca_pem: Some(certificate.authority_pem.into_bytes()),
        ..RegistrySettings::default()
    };
    let access = Access { registries: vec![settings], ..Access::default() };
    assert_eq!(look_up(&patient(), &access, &node).await.unwrap().digest, Digest::of(&index("node")));

    let spoken_plainly = Server::start().await;
    spoken_plainly.on_manifest("calico/node", good("node"));
    let node = reference(&spoken_plainly, "calico/node");
    assert_eq!(look_up(&patient(), &Access::default(), &node).await.unwrap_err().kind, RegistryFailureKind::Tls);
    assert!(spoken_plainly.seen().is_empty(), "no request goes out in the clear");
    look_up(&patient(), &plain(&[&spoken_plainly]), &node).await.unwrap();
}
