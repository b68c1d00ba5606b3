//! Redirects: followed a few times, without credentials across origins, and never further in than the registry's address.

use imageset_controller::model::{Digest, RegistryFailureKind};

use crate::server::{Reply, Server};
use crate::{basic, good, index, look_up, patient, plain, received_secret, reference, with_secret};

fn redirect(status: u16, location: &str) -> Reply {
    Reply::status(status).with("location", location)
}

#[tokio::test]
async fn another_host_or_port_gets_no_authorization() {
    for address in ["127.0.0.2", "127.0.0.1"] {
        for status in [301, 302, 303, 307, 308] {
            let (server, other) = (Server::start().await, Server::start_at(address, None).await);
            let challenged =
                Reply::challenge(r#"Basic realm="reg""#).but_to(&basic(), redirect(status, &other.url("/blob?x=1")));
            server.on_manifest("calico/node", challenged);
            other.on("/blob", good("node"));
            let image =
                look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap();
            assert_eq!(image.digest, Digest::of(&index("node")));
            assert_eq!(other.schemes(), [None], "{address} {status}");
            assert!(!received_secret(&other) && received_secret(&server));
        }
    }
}

/// Not even if the redirects lead back to the registry.
#[tokio::test]
async fn authorization_stays_within_the_origin_and_does_not_come_back() {
    let (server, other) = (Server::start().await, Server::start_at("127.0.0.2", None).await);
    let challenged = Reply::challenge(r#"Basic realm="reg""#);
    server.on_manifest("calico/node", challenged.clone().but_to(&basic(), redirect(307, "/elsewhere")));
    server.on("/elsewhere", challenged.but_to(&basic(), redirect(307, &other.url("/round"))));
    other.on("/round", redirect(307, &server.url("/back")));
    server.on("/back", good("node"));
    look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap();
    let shown: Vec<_> = server.seen().into_iter().map(|seen| (seen.path, seen.scheme.is_some())).collect();
    let manifest = "/v2/calico/node/manifests/v1".to_owned();
    let expected =
        [(manifest.clone(), false), (manifest, true), ("/elsewhere".to_owned(), true), ("/back".to_owned(), false)];
    assert_eq!(shown, expected);
    assert!(!received_secret(&other));
}

#[tokio::test]
async fn three_redirects_are_followed_and_no_more() {
    let server = Server::start().await;
    server.on_manifest("calico/node", redirect(307, "/1")).on("/1", redirect(307, "/2")).on("/2", redirect(307, "/3"));
    server.on("/3", good("node"));
    let node = reference(&server, "calico/node");
    look_up(&patient(), &plain(&[&server]), &node).await.unwrap();
    server.on("/3", redirect(307, "/4")).on("/4", good("node"));
    let failure = look_up(&patient(), &plain(&[&server]), &node).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::RefusedTarget, "{failure}");
    assert!(failure.response.contains("more than 3 redirects"), "{failure}");
    assert!(server.seen().iter().all(|seen| seen.path != "/4"), "the fourth is not followed");
}

#[tokio::test]
async fn no_redirect_leads_to_a_forbidden_place() {
    use RegistryFailureKind::{InvalidAnswer, RefusedTarget};
    for (location, kind) in [
        ("http://169.254.169.254/latest/meta-data", RefusedTarget),
        ("http://[::ffff:169.254.169.254]/", RefusedTarget),
        ("http://robot:password@127.0.0.1/", RefusedTarget),
        ("ftp://127.0.0.1/x", RefusedTarget),
        ("file:///etc/passwd", RefusedTarget),
        ("http://", InvalidAnswer),
    ] {
        let server = Server::start().await;
        server.on_manifest("calico/node", redirect(302, location));
        let outcome = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await;
        let failure = outcome.unwrap_err();
        assert_eq!(failure.kind, kind, "{location}: {failure}");
        assert_eq!(server.seen().len(), 1);
    }
}

/// Another host cannot request the registry's credentials, nor have its token service contacted.
#[tokio::test]
async fn a_challenge_of_another_host_is_not_the_registrys() {
    let third = Server::start_at("127.0.0.3", None).await;
    third.on("*", Reply::new(200, "application/json", r#"{"token": "good-token"}"#));
    for challenge in [format!(r#"Bearer realm="{}",service="x""#, third.url("/token")), "Basic".to_owned()] {
        for address in ["127.0.0.2", "127.0.0.1"] {
            let (server, other) = (Server::start().await, Server::start_at(address, None).await);
            server.on_manifest("calico/node", redirect(307, &other.url("/blob")));
            other.on("/blob", Reply::challenge(&challenge));
            for access in [plain(&[&server]), with_secret(&[&server])] {
                let failure = look_up(&patient(), &access, &reference(&server, "calico/node")).await.unwrap_err();
                assert_eq!(failure.kind, RegistryFailureKind::InvalidAnswer, "{failure}");
                assert!(failure.response.contains("wants credentials of its own"), "{failure}");
            }
            assert!(other.schemes().iter().all(Option::is_none) && !received_secret(&server));
            assert_eq!(server.seen().len(), 2, "asked once each");
        }
    }
    assert_eq!(third.connections(), 0);
}

/// Its rate limits and its HTTP version are not the registry's either.
#[tokio::test]
async fn limits_of_another_host_are_not_the_registrys() {
    let (server, other) = (Server::start().await, Server::start_at("127.0.0.2", None).await);
    let (one, two) = (reference(&server, "calico/node"), reference(&server, "calico/cni"));
    server.on_manifest("calico/node", redirect(307, &other.url("/blob"))).on_manifest("calico/cni", good("cni"));
    other.on("/blob", good("node").with("ratelimit-limit", "1;w=60").with("ratelimit-remaining", "0;w=60"));
    let client = patient();
    look_up(&client, &plain(&[&server]), &one).await.unwrap();
    look_up(&client, &plain(&[&server]), &two).await.unwrap();
}

/// Each host would have a connection of its own.
#[tokio::test]
async fn a_registry_leads_to_a_few_other_hosts_only() {
    let server = Server::start().await;
    let mut others = Vec::new();
    for number in 0..9 {
        let other = Server::start_at("127.0.0.2", None).await;
        other.on("*", good("node"));
        server.on_manifest(&format!("calico/image-{number}"), redirect(307, &other.url("/blob")));
        others.push(other);
    }
    let client = patient();
    let mut kinds = Vec::new();
    for number in 0..9 {
        let outcome =
            look_up(&client, &plain(&[&server]), &reference(&server, &format!("calico/image-{number}"))).await;
        kinds.push(outcome.err().map(|failure| failure.kind));
    }
    assert_eq!(kinds[..8], [None; 8]);
    assert_eq!((kinds[8], others[8].connections()), (Some(RegistryFailureKind::RefusedTarget), 0));
}
