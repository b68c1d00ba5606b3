//! Every way in which a registry fails, seen from the cluster: a set is pinned and due for its recheck, and another one is to be
//! prepared. Each row has the scripted fault, the client's reason, the finding, part of its message, and the number of requests. What
//! applies to all rows is in `cluster`.

use std::time::Duration;

use imageset_controller::model::{Digest, Reason, RegistryFailureKind};
use imageset_controller::registry::{Access, RegistryClient, RegistryClientSettings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::json;

use crate::certificates::ServerCertificate;
use crate::cluster::{Cluster, Expected, Requests};
use crate::server::{Reply, Server};
use crate::{
    IMAGE, INDEX, basic, good, hurried_settings, index, patient, plain, received_secret, trusting, with_secret,
};

use Reason::{
    ContentUnsupported, ImageMissing, NodeCredentialsOnly, RegistryAnswerInvalid, RegistryCertificateInvalid,
    RegistryRateLimited, RegistryUnauthorized, RegistryUnreachable, RegistryWithoutTls, TokenServiceFailing,
    TokenServiceForeign,
};
use RegistryFailureKind::{
    CredentialsMissing, Forbidden, ForeignTokenService, InvalidAnswer, NotFound, RefusedTarget, ServerError, Timeout,
    Tls, TooLarge, Unauthorized, Unreachable, UnsupportedContent,
};
use Requests::{
    AtMost, AtMostEachTimes, ByTagThenByDigest, Each, EachAfter, Exactly, HeadThenGet, HeadThenGetAfter,
    HeadThenGetTimes, Never, Once, RootThenByTagThenByDigest,
};

type Row<Script> = (Script, RegistryFailureKind, Reason, &'static str, Requests);

fn rate_limited(seconds: impl Into<Option<u64>>) -> RegistryFailureKind {
    RegistryFailureKind::RateLimited { retry_after_seconds: seconds.into() }
}

/// Every request gets the same response.
async fn all_respond(rows: Vec<Row<Reply>>, client: impl Fn() -> RegistryClient) {
    for (script, kind, reason, words, requested) in rows {
        let server = Server::start().await;
        server.on("*", script.clone());
        let cluster = Cluster::pinned_to(server.host());
        let expected = Expected { kind, reason, words, requested };
        cluster.meets(&format!("{script:?}"), client(), with_secret(&[&server]), &[&server], expected).await;
    }
}

#[tokio::test]
async fn refusals() {
    let wait = |text: &str| Reply::status(429).with("retry-after", text);
    let rows = vec![
        (Reply::status(401), Unauthorized, RegistryUnauthorized, "does not let us in (401)", HeadThenGetAfter(1)),
        (Reply::status(403), Forbidden, RegistryUnauthorized, "forbids it (403)", HeadThenGetAfter(1)),
        (Reply::status(404), NotFound, ImageMissing, "does not have", RootThenByTagThenByDigest),
        (Reply::status(410), NotFound, ImageMissing, "does not have", ByTagThenByDigest),
        (wait("7"), rate_limited(7), RegistryRateLimited, "asks to wait 7 s", Once),
        (wait("Tue, 31 Dec 2999 23:59:59 GMT"), rate_limited(3600), RegistryRateLimited, "to wait 3600 s", Once),
        (wait("99999999999999999999"), rate_limited(3600), RegistryRateLimited, "to wait 3600 s", Once),
        (wait("-1"), rate_limited(None), RegistryRateLimited, "limits the rate (429)", Once),
        (wait("soon"), rate_limited(None), RegistryRateLimited, "limits the rate (429)", Once),
        (Reply::status(429), rate_limited(None), RegistryRateLimited, "limits the rate (429)", Once),
        (Reply::status(503).with("retry-after", "9"), rate_limited(9), RegistryRateLimited, "to wait 9 s", Once),
        (Reply::status(500), ServerError, RegistryUnreachable, "failed (500)", HeadThenGet),
        (Reply::status(502), ServerError, RegistryUnreachable, "failed (502)", HeadThenGet),
        (Reply::status(503), ServerError, RegistryUnreachable, "failed (503)", Each),
    ];
    all_respond(rows, patient).await;
}

/// Content that is served for every image, but is not an image.
#[tokio::test]
async fn contents() {
    let half = Reply::new(200, INDEX, index("node")[..200].to_vec());
    let html = Reply::new(200, "text/html", "<html>Log in</html>");
    let claiming = |digest: &str| good("node").with("docker-content-digest", digest);
    let (other, garbage) = (claiming(&Digest::of(b"other").to_string()), claiming("sha256:../../etc/passwd"));
    let both = json!({"schemaVersion": 2, "manifests": [], "layers": [], "config": {"digest": "x"}});
    let both = Reply::new(200, INDEX, both.to_string());
    let schema_1 = json!({"schemaVersion": 1, "name": "calico/node", "tag": "v1", "fsLayers": [], "signatures": []});
    let schema_1 = Reply::new(200, IMAGE, schema_1.to_string());
    let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2});
    let artifact = json!({"schemaVersion": 2, "layers": [], "artifactType": "application/spdx", "config": empty});
    let artifact = Reply::new(200, IMAGE, artifact.to_string());
    let list = |entry: &str, count: usize| {
        let entries = vec![entry; count].join(",");
        Reply::new(200, INDEX, format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#))
    };
    let nameless = list(&format!(r#"{{"digest":"{}","size":1}}"#, Digest::of(b"x")), 500);
    let (million, long_million) = (list("{}", 1_000_000), list(r#"{"digest":""}"#, 1_000_000));
    let endless = |announced| Reply::flood(INDEX, 1 << 40, announced);
    let rows = vec![
        (half, InvalidAnswer, RegistryAnswerInvalid, "no manifest", HeadThenGet),
        (html, InvalidAnswer, RegistryAnswerInvalid, "text/html", HeadThenGet),
        (Reply::status(200), InvalidAnswer, RegistryAnswerInvalid, "no manifest", HeadThenGet),
        (Reply::status(204), InvalidAnswer, RegistryAnswerInvalid, "204", HeadThenGet),
        (other, InvalidAnswer, RegistryAnswerInvalid, "Docker-Content-Digest", HeadThenGet),
        (garbage, InvalidAnswer, RegistryAnswerInvalid, "sha256:../../etc/passwd", HeadThenGet),
        (both, InvalidAnswer, RegistryAnswerInvalid, "both an index and an image", HeadThenGet),
        (schema_1, UnsupportedContent, ContentUnsupported, "schema 1", HeadThenGet),
        (artifact, UnsupportedContent, ContentUnsupported, "application/spdx", HeadThenGet),
        (nameless, UnsupportedContent, ContentUnsupported, "500 entries without platform", HeadThenGet),
        (million, InvalidAnswer, RegistryAnswerInvalid, "no manifest", HeadThenGet),
        (long_million, TooLarge, RegistryAnswerInvalid, "answered too much", HeadThenGet),
        (endless(true), TooLarge, RegistryAnswerInvalid, "answered too much", HeadThenGet),
        (endless(false), TooLarge, RegistryAnswerInvalid, "answered too much", HeadThenGet),
        (endless(false).refusing(500), ServerError, RegistryUnreachable, "failed (500", HeadThenGet),
        // Side by side until the first connection breaks, which is one for all.
        (good("node").cut_off(), Unreachable, RegistryUnreachable, "cannot be reached", AtMost(16)),
    ];
    all_respond(rows, patient).await;
}

/// All lookups wait together, and none is repeated.
#[tokio::test]
async fn silence_and_dripping() {
    let hurried = || {
        let settings = RegistryClientSettings { parallel_connections: 64, ..hurried_settings() };
        RegistryClient::new(settings)
    };
    let drip = good("node").dripping(Duration::from_millis(200));
    let rows = vec![
        (Reply::silence(), Timeout, RegistryUnreachable, "no whole answer within 3s", Exactly(2)),
        (drip, Timeout, RegistryUnreachable, "no whole answer within 3s", AtMostEachTimes(2)),
    ];
    all_respond(rows, hurried).await;
}

#[tokio::test]
async fn redirects() {
    let to = |location: &str| Reply::status(307).with("location", location);
    let rows = vec![
        (
            to("http://169.254.169.254/latest"),
            RefusedTarget,
            RegistryAnswerInvalid,
            "sent to 169.254.169.254",
            HeadThenGet,
        ),
        (
            to("http://[::ffff:169.254.169.254]/"),
            RefusedTarget,
            RegistryAnswerInvalid,
            "sent to ::ffff:169.254",
            HeadThenGet,
        ),
        (to("http://robot:x@127.0.0.2/"), RefusedTarget, RegistryAnswerInvalid, "with credentials in the", HeadThenGet),
        (to("file:///etc/passwd"), RefusedTarget, RegistryAnswerInvalid, "redirected to file://", HeadThenGet),
        (to("/again"), RefusedTarget, RegistryAnswerInvalid, "more than 3 redirects", HeadThenGetTimes(4)),
        (to("http://"), InvalidAnswer, RegistryAnswerInvalid, "a redirect to nowhere", HeadThenGet),
    ];
    all_respond(rows, patient).await;
}

/// Another host fails, too; it receives no credentials, and its challenge is not the registry's.
#[tokio::test]
async fn a_redirect_to_another_host_or_port() {
    for address in ["127.0.0.1", "127.0.0.2"] {
        let (server, other) = (Server::start().await, Server::start_at(address, None).await);
        other.on("*", bearer(&other.url("/token"))).on("/token", token("good"));
        server
            .on("*", Reply::challenge("Basic").but_to(&basic(), Reply::status(307).with("location", &other.url("/"))));
        let expected = Expected {
            kind: InvalidAnswer,
            reason: RegistryAnswerInvalid,
            words: "redirected to another host, which wants credentials of its own (401)",
            requested: AtMostEachTimes(4),
        };
        let cluster = Cluster::pinned_to(server.host());
        cluster.meets(address, patient(), with_secret(&[&server]), &[&server], expected).await;
        assert!(received_secret(&server) && !received_secret(&other));
        assert!(other.seen().iter().all(|seen| seen.path == "/"), "its token service is not visited");
    }
}

fn bearer(realm: &str) -> Reply {
    Reply::challenge(&format!(r#"Bearer realm="{realm}",service="reg""#))
}

fn token(text: &str) -> Reply {
    Reply::new(200, "application/json", json!({"token": text}).to_string())
}

/// The registry requires a token of its own token service, which fails.
#[tokio::test]
async fn token_services() {
    let rows = vec![
        (Reply::status(500), ServerError, TokenServiceFailing, "token service: 500", Exactly(2)),
        (Reply::status(503), ServerError, TokenServiceFailing, "token service: 503", Exactly(2)),
        (
            Reply::status(429).with("retry-after", "11"),
            rate_limited(11),
            RegistryRateLimited,
            "to wait 11 s",
            Exactly(2),
        ),
        (Reply::status(401), Unauthorized, RegistryUnauthorized, "token service: 401", Exactly(3)),
        (Reply::status(403), Forbidden, RegistryUnauthorized, "token service: 403", EachAfter(2)),
        (token("good\nX-Injected: yes"), InvalidAnswer, TokenServiceFailing, "no header can carry", Exactly(2)),
        (token("good\r\n"), InvalidAnswer, TokenServiceFailing, "no header can carry", Exactly(2)),
        (token(&"x".repeat(70_000)), TooLarge, TokenServiceFailing, "more than 64 KiB", Exactly(2)),
        (Reply::flood("application/json", 1 << 40, false), TooLarge, TokenServiceFailing, "more than", Exactly(2)),
        (
            Reply::new(200, "text/html", "<html>"),
            InvalidAnswer,
            TokenServiceFailing,
            "something that is no token",
            Exactly(2),
        ),
        (token("x").cut_off(), Unreachable, TokenServiceFailing, "fails", Exactly(2)),
        (Reply::status(307).with("location", "/other"), InvalidAnswer, TokenServiceFailing, "redirects", Exactly(2)),
        (token("wrong"), Unauthorized, RegistryUnauthorized, "does not let us in (401)", AtMostEachTimes(6)),
    ];
    for (script, kind, reason, words, requested) in rows {
        let server = Server::start().await;
        server.on("*", bearer(&server.url("/token"))).on("/token", script.clone());
        let cluster = Cluster::pinned_to(server.host());
        let expected = Expected { kind, reason, words, requested };
        cluster.meets(&format!("{script:?}"), patient(), with_secret(&[&server]), &[&server], expected).await;
        assert!(received_secret(&server), "the token service is the registry's own");
    }
}

/// Realms that must not receive credentials, or must not be contacted at all.
#[tokio::test]
async fn realms() {
    let stranger = Server::start_at("127.0.0.2", None).await;
    let rows: Vec<Row<(String, bool)>> = vec![
        ((stranger.url("/token"), true), ForeignTokenService, TokenServiceForeign, "token service 127.0.0.2", Once),
        (("http://169.254.169.254/".to_owned(), true), ForeignTokenService, TokenServiceForeign, "169.254", Once),
        (("http://169.254.169.254/".to_owned(), false), RefusedTarget, TokenServiceFailing, "169.254", Once),
        (("http://0.0.0.0:1/token".to_owned(), false), RefusedTarget, TokenServiceFailing, "0.0.0.0", Once),
        (("file:///etc/passwd".to_owned(), true), InvalidAnswer, TokenServiceFailing, "token realm", Once),
        (("".to_owned(), true), InvalidAnswer, TokenServiceFailing, "token realm", Once),
    ];
    for ((realm, secret), kind, reason, words, requested) in rows {
        let server = Server::start().await;
        server.on("*", bearer(&realm));
        let access = if secret { with_secret(&[&server]) } else { plain(&[&server]) };
        let expected = Expected { kind, reason, words, requested };
        Cluster::pinned_to(server.host()).meets(&realm, patient(), access, &[&server, &stranger], expected).await;
        assert!(!received_secret(&server));
    }
    assert_eq!(stranger.connections(), 0);
}

/// The registry requires credentials: there are none, none match, or they are rejected.
#[tokio::test]
async fn credentials() {
    let server = Server::start().await;
    server.on("*", Reply::challenge("Basic"));
    let cluster = || Cluster::pinned_to(server.host());
    let missing = |reason, words| Expected { kind: CredentialsMissing, reason, words, requested: Once };
    let none = missing(NodeCredentialsOnly, "wants credentials");
    cluster().without_pull_secrets().meets("no secret", patient(), plain(&[&server]), &[&server], none).await;

    let server = Server::start().await;
    server.on("*", Reply::challenge("Basic"));
    let cluster = Cluster::pinned_to(server.host());
    let unfit = missing(RegistryUnauthorized, "wants credentials");
    cluster.meets("no secret that fits", patient(), plain(&[&server]), &[&server], unfit).await;

    let server = Server::start().await;
    server.on("*", Reply::challenge("Basic"));
    let refused = Expected {
        kind: Unauthorized,
        reason: RegistryUnauthorized,
        words: "does not let us in (401)",
        requested: Exactly(2),
    };
    let cluster = Cluster::pinned_to(server.host());
    cluster.meets("another secret", patient(), with_secret(&[&server]), &[&server], refused).await;
    assert!(received_secret(&server));
}

/// The authority's own certificate, which names the server as well.
fn authority_as_server() -> ServerCertificate {
    let mut authority = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    ServerCertificate { authority_pem: pem.clone(), certificate_pem: pem, key_pem: key.serialize_pem() }
}

#[tokio::test]
async fn certificates() {
    let right = || ServerCertificate::create("an authority").unwrap();
    let (own, authority) = (right(), authority_as_server());
    let other = ServerCertificate::create("another authority").unwrap();
    let end = |certificate: &mut CertificateParams| certificate.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = ServerCertificate::create_with("an authority", &["127.0.0.1"], end).unwrap();
    let elsewhere = ServerCertificate::create_with("an authority", &["registry.example"], |_| {}).unwrap();
    for (fault, certificate, trusted, words) in [
        ("expired", &expired, &expired, "expired"),
        ("another name", &elsewhere, &elsewhere, "not valid for name"),
        ("unknown authority", &own, &other, "UnknownIssuer"),
        ("an authority in the place of a server", &authority, &other, "CaUsedAsEndEntity"),
    ] {
        let server = Server::start_at("127.0.0.1", Some(certificate)).await;
        server.on("*", good("node"));
        let expected = Expected { kind: Tls, reason: RegistryCertificateInvalid, words, requested: Never };
        let cluster = Cluster::pinned_to(server.host());
        cluster.meets(fault, patient(), trusting(&server, trusted), &[&server], expected).await;
        assert_eq!(server.connections(), 2, "{fault}: one for all images, and one when it was due again");
    }
    let clear = Server::start().await;
    let expected = Expected { kind: Tls, reason: RegistryWithoutTls, words: "answers without TLS", requested: Never };
    let access = Access { credentials: with_secret(&[&clear]).credentials, ..Access::default() };
    Cluster::pinned_to(clear.host()).meets("no TLS at all", patient(), access, &[&clear], expected).await;
}

/// A redirect never leaves TLS.
#[tokio::test]
async fn a_redirect_from_https_to_http() {
    let certificate = ServerCertificate::create("an authority").unwrap();
    let (server, clear) = (Server::start_http2(&certificate).await, Server::start().await);
    server.on("*", Reply::status(307).with("location", &clear.url("/")));
    let words = "redirected to http://127.0.0.1";
    let expected = Expected { kind: RefusedTarget, reason: RegistryAnswerInvalid, words, requested: HeadThenGet };
    let cluster = Cluster::pinned_to(server.host());
    cluster.meets("downgrade", patient(), trusting(&server, &certificate), &[&server, &clear], expected).await;
}

#[tokio::test]
async fn nobody_there() {
    let server = Server::start().await;
    let (host, access) = (server.host().to_owned(), with_secret(&[&server]));
    server.close().await;
    let expected =
        Expected { kind: Unreachable, reason: RegistryUnreachable, words: "cannot be reached", requested: Never };
    Cluster::pinned_to(&host).meets("refused", patient(), access, &[], expected).await;
    Cluster::pinned_to("registry.invalid").meets("no such name", patient(), Access::default(), &[], expected).await;
}
