//! What many registries may use together: a few are in use at a time, and one that holds back its responses takes no other's share.

use imageset_controller::model::{Hints, Reference, RegistryFailureKind};
use tokio::sync::watch;

use crate::server::{Reply, Server};
use crate::{INDEX, good, look_up, patient, plain, reference};

/// As many as a printed image list may name.
const AT_A_TIME: usize = 8;

#[tokio::test]
async fn a_few_registries_are_in_use_at_a_time() {
    let (open, gate) = watch::channel(false);
    let mut servers = Vec::new();
    for _ in 0..AT_A_TIME + 3 {
        let server = Server::start().await;
        server.on("*", good("node").after(gate.clone()));
        servers.push(server);
    }
    let access = plain(&servers.iter().collect::<Vec<_>>());
    // Two images of each: they share their registry's place.
    let images = |server: &Server| [reference(server, "calico/node"), reference(server, "calico/cni")];
    let references: Vec<Reference> = servers.iter().flat_map(images).collect();
    let (client, hints) = (patient(), Hints::default());
    let requested = || servers.iter().filter(|server| !server.seen().is_empty()).count();
    let all = client.resolve(&access, &references, &hints, |_| {});
    tokio::pin!(all);
    tokio::select! {
        _ = &mut all => panic!("nobody has answered yet"),
        () = crate::until("a few registries in use", || requested() >= AT_A_TIME) => {}
    }
    for _ in 0..100 {
        tokio::select! {
            biased;
            _ = &mut all => panic!("nobody has answered yet"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(requested(), AT_A_TIME, "the others wait");
    open.send_replace(true);
    let outcomes = all.await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(requested(), AT_A_TIME + 3);
}

/// Longer than a small body: announced or not, it arrives complete.
#[tokio::test]
async fn a_long_body_has_its_turn() {
    for length in [40 * 1024, 1024 * 1024, 8 * 1024 * 1024] {
        let server = Server::start().await;
        let mut body = crate::index("node");
        body.resize(length, b' ');
        server.on_manifest("calico/node", Reply::new(200, INDEX, body.clone()));
        server.on_manifest("calico/cni", Reply::new(200, INDEX, body));
        let access = plain(&[&server]);
        let (one, other) = (reference(&server, "calico/node"), reference(&server, "calico/cni"));
        let client = patient();
        let (one, other) = tokio::join!(look_up(&client, &access, &one), look_up(&client, &access, &other));
        assert!(one.is_ok() && other.is_ok(), "{length}: {one:?} {other:?}");
    }
}

/// Long headers are not read to the end.
#[tokio::test]
async fn headers_are_bounded() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node").with("x-much", &"x".repeat(64 * 1024)));
    let failure = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::InvalidAnswer, "{failure}");
}
