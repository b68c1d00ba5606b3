//! Failing registries: every failure has a reason, every wait a deadline, and a registry that cannot serve gets one request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imageset_controller::model::{Hints, Reference, RegistryFailureKind};
use imageset_controller::registry::{RegistryClient, RegistryClientSettings};
use tokio::sync::watch;

use crate::server::{Reply, Server};
use crate::{failure_of, good, hurried, hurried_settings, kinds, look_up, look_up_all, patient, plain, reference};

/// How many images a set has in these tests.
const IMAGES: usize = 23;

fn set_of(server: &Server) -> Vec<Reference> {
    (0..IMAGES).map(|number| reference(server, &format!("calico/image-{number}"))).collect()
}

#[tokio::test]
async fn error_responses_have_different_reasons() {
    use RegistryFailureKind::{
        CredentialsMissing, Forbidden, NotFound, RateLimited, ServerError, Timeout, Unauthorized,
    };
    let limited = |seconds| RateLimited { retry_after_seconds: seconds };
    let unknown = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    for (reply, kind, words) in [
        (Reply::new(404, "application/json", unknown), NotFound, "404 MANIFEST_UNKNOWN manifest unknown"),
        (Reply::status(410), NotFound, "410"),
        (Reply::challenge(r#"Basic realm="x""#), CredentialsMissing, "401"),
        (Reply::status(401), Unauthorized, "401"),
        (Reply::status(403), Forbidden, "403"),
        (Reply::status(429), limited(None), "429"),
        (Reply::status(429).with("retry-after", "7"), limited(Some(7)), "429"),
        (Reply::status(429).with("retry-after", "99999999999999999999999"), limited(Some(3600)), "429"),
        (Reply::status(429).with("retry-after", "86400"), limited(Some(3600)), "429"),
        (Reply::status(429).with("retry-after", "Tue, 31 Dec 2999 23:59:59 GMT"), limited(Some(3600)), "429"),
        (Reply::status(429).with("retry-after", "-5"), limited(None), "429"),
        (Reply::status(503).with("retry-after", "9"), limited(Some(9)), "503"),
        (Reply::status(408), Timeout, "408"),
        (Reply::new(500, "text/plain", "disk full"), ServerError, "500 disk full"),
        (Reply::new(502, "text/html", "<html>"), ServerError, "502, text/html"),
        (Reply::status(503), ServerError, "503"),
    ] {
        let shown = format!("{reply:?}");
        let failure = failure_of(reply).await;
        assert_eq!(failure.kind, kind, "{shown}: {failure}");
        assert!(failure.response.contains(words), "{shown}: {failure}");
    }
}

#[tokio::test]
async fn a_silent_registry_ends_at_the_deadline() {
    let server = Server::start().await;
    server.on_manifest("calico/node", Reply::silence());
    let failure = look_up(&hurried(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::Timeout);
    assert!(failure.response.contains("no whole answer within 3s"), "{failure}");
    assert_eq!(server.seen().len(), 1);
}

/// Each byte arrives in time, but the response never does: the deadline is for the complete response.
#[tokio::test]
async fn a_byte_at_a_time_ends_at_the_deadline() {
    for status in [200, 500] {
        let server = Server::start().await;
        let drip = good("node").refusing(status).dripping(Duration::from_millis(100));
        server.on_manifest("calico/node", drip);
        let failure = look_up(&hurried(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::Timeout, "{status}: {failure}");
        assert_eq!(server.seen().len(), 1);
    }
}

/// One request proves one deadline: if each image had waited for its own, each would have sent one.
#[tokio::test]
async fn a_set_on_a_silent_registry_takes_one_deadline() {
    let server = Server::start().await;
    let images = set_of(&server);
    for number in 0..IMAGES {
        server.on_manifest(&format!("calico/image-{number}"), Reply::silence());
    }
    let outcomes = look_up_all(&hurried(), &plain(&[&server]), &images).await;
    assert_eq!(kinds(&outcomes), vec![Some(RegistryFailureKind::Timeout); IMAGES]);
    for (outcome, image) in outcomes.iter().zip(&images) {
        assert_eq!(outcome.as_ref().unwrap_err().reference.as_ref(), Some(image), "each is told for itself");
    }
    assert_eq!((server.seen().len(), server.connections()), (1, 1));
}

/// Silence after a first response counts as well: one lookup that timed out fails all that have not started.
#[tokio::test]
async fn a_registry_that_falls_silent_costs_one_more_deadline() {
    let server = Server::start().await;
    let images = set_of(&server);
    server.on_manifest("calico/image-0", good("0"));
    for number in 1..IMAGES {
        server.on_manifest(&format!("calico/image-{number}"), Reply::silence());
    }
    let client = RegistryClient::new(RegistryClientSettings { parallel_connections: 2, ..hurried_settings() });
    let outcomes = look_up_all(&client, &plain(&[&server]), &images).await;
    assert_eq!(kinds(&outcomes)[0], None);
    assert_eq!(kinds(&outcomes)[1..], vec![Some(RegistryFailureKind::Timeout); IMAGES - 1]);
    assert_eq!(server.seen().len(), 3, "the first, and two that waited for their deadline together");
}

/// A listener that accepts connections and never reads.
#[tokio::test]
async fn a_set_on_a_deaf_listener_takes_one_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let accepted = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&accepted);
    let deaf = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    // Without the opt-in: the TLS handshake is what is never answered.
    let images: Vec<Reference> =
        (0..IMAGES).map(|number| format!("{host}/calico/image-{number}:v1").parse().unwrap()).collect();
    let outcomes = look_up_all(&hurried(), &crate::Access::default(), &images).await;
    deaf.abort();
    let timeouts = outcomes.iter().all(|outcome| {
        matches!(outcome.as_ref().unwrap_err().kind, RegistryFailureKind::Timeout | RegistryFailureKind::Unreachable)
    });
    assert!(timeouts, "{outcomes:?}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_set_on_a_registry_that_is_not_there_fails_as_one() {
    let server = Server::start().await;
    let (access, images) = (plain(&[&server]), set_of(&server));
    server.close().await;
    let outcomes = look_up_all(&patient(), &access, &images).await;
    assert_eq!(kinds(&outcomes), vec![Some(RegistryFailureKind::Unreachable); IMAGES]);
}

#[tokio::test]
async fn a_set_on_a_registry_that_limits_the_rate_asks_once() {
    let server = Server::start().await;
    for number in 0..IMAGES {
        let busy = Reply::status(429).with("retry-after", "30");
        server.on_manifest(&format!("calico/image-{number}"), busy);
    }
    let outcomes = look_up_all(&patient(), &plain(&[&server]), &set_of(&server)).await;
    let limited = RegistryFailureKind::RateLimited { retry_after_seconds: Some(30) };
    assert_eq!(kinds(&outcomes), vec![Some(limited); IMAGES]);
    assert_eq!(server.seen().len(), 1);
}

/// A missing image says nothing about the others.
#[tokio::test]
async fn a_missing_image_does_not_fail_the_others() {
    let server = Server::start().await;
    for number in 1..IMAGES {
        server.on_manifest(&format!("calico/image-{number}"), good(&number.to_string()));
    }
    let outcomes = look_up_all(&patient(), &plain(&[&server]), &set_of(&server)).await;
    assert_eq!(kinds(&outcomes)[0], Some(RegistryFailureKind::NotFound));
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(server.seen().len(), IMAGES);
}

/// The slow registry responds only after the other one's images are resolved; waiting for it first would time out.
#[tokio::test]
async fn a_slow_registry_does_not_delay_another() {
    let (slow, quick) = (Server::start().await, Server::start().await);
    let (open, gate) = watch::channel(false);
    slow.on_manifest("calico/node", good("node").after(gate));
    for number in 0..IMAGES {
        quick.on_manifest(&format!("calico/image-{number}"), good(&number.to_string()));
    }
    let mut images = vec![reference(&slow, "calico/node")];
    images.extend(set_of(&quick));
    let opened = |done: usize| {
        if done == IMAGES {
            open.send_replace(true);
        }
    };
    let outcomes = patient().resolve(&plain(&[&slow, &quick]), &images, &Hints::default(), opened).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let places: Vec<&Reference> = outcomes.iter().map(|outcome| &outcome.as_ref().unwrap().reference).collect();
    assert_eq!(places, images.iter().collect::<Vec<_>>(), "in the order of the questions");
}
