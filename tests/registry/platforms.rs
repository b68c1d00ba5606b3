//! The registry has what nodes need: the manifests that an index lists for their platforms are looked up by digest.

use imageset_controller::model::{Coverage, Digest, Hints, RegistryFailureKind, ResolvedImage};

use crate::server::{Reply, Server};
use crate::{IMAGE, good, look_up_with, patient, plain, reference};

fn nodes(platforms: &[&str]) -> Hints {
    Hints { platforms: platforms.iter().map(|platform| platform.parse().unwrap()).collect(), ..Hints::default() }
}

fn coverage(image: &ResolvedImage) -> Vec<Coverage> {
    ["linux/amd64", "linux/arm64", "linux/s390x"].map(|node| image.coverage(&node.parse().unwrap())).to_vec()
}

/// The path of a child of [`crate::index`].
fn child(architecture: &str) -> String {
    format!("/v2/calico/node/manifests/{}", Digest::of(format!("node {architecture}").as_bytes()))
}

async fn resolve(server: &Server, hints: &Hints) -> crate::Outcome {
    look_up_with(&patient(), &plain(&[server]), &[reference(server, "calico/node")], hints).await.remove(0)
}

#[tokio::test]
async fn only_what_nodes_need_is_looked_up() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node")).on(&child("amd64"), Reply::new(200, IMAGE, "{}"));
    let image = resolve(&server, &nodes(&["linux/amd64", "linux/s390x", "windows/amd64/10.0.17763"])).await.unwrap();
    assert_eq!(coverage(&image), [Coverage::Covered, Coverage::Unchecked, Coverage::None]);
    assert_eq!(server.requests()[1..], [format!("HEAD {}", child("amd64"))]);
    let image = resolve(&server, &Hints::default()).await.unwrap();
    assert_eq!(coverage(&image), [Coverage::Unchecked, Coverage::Unchecked, Coverage::None]);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_sparse_mirror_is_detected() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node")).on(&child("amd64"), Reply::new(200, IMAGE, "{}"));
    let hints = nodes(&["linux/amd64", "linux/arm64"]);
    let sparse = resolve(&server, &hints).await.unwrap();
    assert_eq!(coverage(&sparse), [Coverage::Covered, Coverage::Absent, Coverage::None]);

    // Mirrored in full later: what is known to be there is not asked for again, what was absent is.
    server.on(&child("arm64"), Reply::new(200, IMAGE, "{}"));
    let digest = sparse.digest.to_string();
    server.on("HEAD /v2/calico/node/manifests/v1", good("node").with("docker-content-digest", &digest));
    let before = server.requests().len();
    let known = [(sparse.reference.clone(), sparse)].into();
    let whole = resolve(&server, &Hints { known, ..hints }).await.unwrap();
    assert_eq!(coverage(&whole), [Coverage::Covered, Coverage::Covered, Coverage::None]);
    let tag = "HEAD /v2/calico/node/manifests/v1".to_owned();
    assert_eq!(server.requests()[before..], [tag, format!("HEAD {}", child("arm64"))]);
}

/// If it cannot be determined whether a manifest exists, that is a failure, not an absence.
#[tokio::test]
async fn a_failure_is_not_an_absence() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node"));
    for (reply, kind) in [
        (Reply::status(500), RegistryFailureKind::ServerError),
        (Reply::status(403), RegistryFailureKind::Forbidden),
        (Reply::status(429), RegistryFailureKind::RateLimited { retry_after_seconds: None }),
    ] {
        server.on(&child("amd64"), reply);
        assert_eq!(resolve(&server, &nodes(&["linux/amd64"])).await.unwrap_err().kind, kind);
    }
}

/// Without HEAD support the bytes are fetched, and must be those that the index lists.
#[tokio::test]
async fn without_head_the_bytes_are_fetched() {
    let server = Server::start().await;
    let body = "node amd64";
    server.on_manifest("calico/node", good("node")).on(&child("amd64"), Reply::new(200, IMAGE, body));
    server.on(&format!("HEAD {}", child("amd64")), Reply::status(405));
    let image = resolve(&server, &nodes(&["linux/amd64"])).await.unwrap();
    assert_eq!(coverage(&image)[0], Coverage::Covered);
    server.on(&child("amd64"), Reply::new(200, IMAGE, "other bytes"));
    let failure = resolve(&server, &nodes(&["linux/amd64"])).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::InvalidAnswer, "{failure}");
}
