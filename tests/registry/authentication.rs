//! Credentials: sent to the registry or its own token service, to nobody else, and never part of a failure.

use imageset_controller::model::RegistryFailureKind;
use imageset_controller::registry::{Access, DockerConfig};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::{
    CANARY, USER, basic, good, index, kinds, look_up, look_up_all, patient, plain, received_secret, reference,
    with_secret,
};

fn bearer(realm: &str) -> Reply {
    Reply::challenge(&format!(r#"Bearer realm="{realm}",service="reg",scope="repository:calico/node:pull""#))
}

fn token(text: &str) -> Reply {
    Reply::new(200, "application/json", json!({"token": text, "expires_in": 300}).to_string())
}

fn scheme(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A registry whose manifest requires a token of its own token service, which responds with `reply`.
async fn token_registry(reply: Reply) -> Server {
    let server = Server::start().await;
    let challenged = bearer(&server.url("/token")).but_to("Bearer good-token", good("node"));
    server.on_manifest("calico/node", challenged).on("/token", reply);
    server
}

#[tokio::test]
async fn basic_is_sent_only_when_required() {
    let server = Server::start().await;
    let challenged = Reply::challenge(r#"Basic realm="reg""#).but_to(&basic(), good("node"));
    server.on_manifest("calico/node", challenged);
    let node = reference(&server, "calico/node");
    let image = look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap();
    assert_eq!(image.digest, imageset_controller::model::Digest::of(&index("node")));
    assert_eq!(server.schemes(), [None, scheme("Basic")]);

    let failure = look_up(&patient(), &plain(&[&server]), &node).await.unwrap_err();
    assert_eq!((failure.kind, server.seen().len()), (RegistryFailureKind::CredentialsMissing, 3), "{failure}");
    let wrong =
        Access { credentials: vec![DockerConfig::of_password(server.host(), USER, "old")], ..plain(&[&server]) };
    assert_eq!(look_up(&patient(), &wrong, &node).await.unwrap_err().kind, RegistryFailureKind::Unauthorized);
}

#[tokio::test]
async fn a_token_is_fetched_and_sent() {
    let server = token_registry(Reply::status(401).but_to(&basic(), token("good-token"))).await;
    let node = reference(&server, "calico/node");
    look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap();
    assert_eq!(server.schemes(), [None, scheme("Basic"), scheme("Bearer")]);
    let requested = &server.seen()[1];
    assert_eq!(
        (requested.path.as_str(), requested.query.as_str()),
        ("/token", "service=reg&scope=repository%3Acalico%2Fnode%3Apull")
    );

    // Without credentials the service refuses; a service that serves anybody does so.
    let rejected = look_up(&patient(), &plain(&[&server]), &node).await.unwrap_err();
    assert_eq!(rejected.kind, RegistryFailureKind::CredentialsMissing, "{rejected}");
    server.on("/token", token("good-token"));
    look_up(&patient(), &plain(&[&server]), &node).await.unwrap();
}

#[tokio::test]
async fn an_identity_token_goes_to_the_token_service_in_a_form() {
    let server = token_registry(token("good-token")).await;
    let config = json!({"auths": {server.host(): {"identitytoken": CANARY}}}).to_string();
    let credentials = vec![DockerConfig::parse_dockerconfigjson(config.as_bytes()).unwrap()];
    let access = Access { credentials, ..plain(&[&server]) };
    look_up(&patient(), &access, &reference(&server, "calico/node")).await.unwrap();
    assert_eq!(server.schemes(), [None, None, scheme("Bearer")]);
    assert!(received_secret(&server) && !server.seen()[1].query.contains("Canary"), "in the body, not in the address");
}

#[tokio::test]
async fn one_token_serves_a_whole_set() {
    let server = Server::start().await;
    let images: Vec<_> = (0..23).map(|number| reference(&server, &format!("calico/image-{number}"))).collect();
    for image in &images {
        let challenged = bearer(&server.url("/token")).but_to("Bearer good-token", good(image.repository()));
        server.on_manifest(image.repository(), challenged);
    }
    server.on("/token", token("good-token"));
    let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(server.seen().len(), images.len() + 2, "one refusal, one token, one request for each");
}

#[tokio::test]
async fn a_token_service_of_another_owner_gets_no_credentials() {
    let (server, stranger) = (Server::start().await, Server::start_at("127.0.0.2", None).await);
    stranger.on("/token", token("good-token"));
    let challenged = bearer(&stranger.url("/token")).but_to("Bearer good-token", good("node"));
    server.on_manifest("calico/node", challenged);
    let node = reference(&server, "calico/node");
    let failure = look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::ForeignTokenService, "{failure}");
    assert!(failure.response.contains("127.0.0.2") && failure.advice.contains("tokenService"), "{failure}");
    assert!(stranger.seen().is_empty() && stranger.connections() == 0 && !received_secret(&server));

    // Without credentials there is nothing to protect; named in the policy it is meant.
    look_up(&patient(), &plain(&[&server]), &node).await.unwrap();
    assert_eq!(stranger.schemes(), [None]);
    let mut access = with_secret(&[&server]);
    access.registries[0].token_service = Some(stranger.host().to_owned());
    look_up(&patient(), &access, &node).await.unwrap();
    assert_eq!(stranger.schemes(), [None, scheme("Basic")]);
}

#[tokio::test]
async fn a_redirecting_token_service_takes_no_credentials_along() {
    let stranger = Server::start_at("127.0.0.2", None).await;
    stranger.on("/token", token("good-token"));
    let server = token_registry(Reply::status(307).with("location", &stranger.url("/token"))).await;
    let failure = look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::InvalidAnswer, "{failure}");
    assert_eq!(stranger.connections(), 0);
}

/// Nowhere further in than the registry's own address, and nothing that is not an address.
#[tokio::test]
async fn a_realm_on_a_metadata_address_is_not_visited() {
    use RegistryFailureKind::{InvalidAnswer, RefusedTarget};
    for (realm, kind) in [
        ("http://169.254.169.254/latest/meta-data", RefusedTarget),
        ("http://0.0.0.0:1/token", RefusedTarget),
        ("file:///etc/passwd", InvalidAnswer),
        ("http://robot:x@127.0.0.1/token", InvalidAnswer),
        ("not an address", InvalidAnswer),
        ("", InvalidAnswer),
    ] {
        let server = Server::start().await;
        server.on_manifest("calico/node", bearer(realm));
        let failure = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{realm}: {failure}");
    }
}

#[tokio::test]
async fn malformed_tokens_are_rejected_and_not_quoted() {
    use RegistryFailureKind::{InvalidAnswer, TooLarge};
    for (reply, kind) in [
        (token("good\nX-Injected: token"), InvalidAnswer),
        (token("good\r\n"), InvalidAnswer),
        (token("gööd"), InvalidAnswer),
        (token(""), InvalidAnswer),
        (token(&"good-token".repeat(7_000)), TooLarge),
        (token(&"good-token".repeat(1_000_000)), TooLarge),
        (Reply::flood("application/json", 64 * 1024 * 1024, false), TooLarge),
        (Reply::new(200, "text/html", "<html>good-token</html>"), InvalidAnswer),
        (Reply::new(200, "application/json", r#"{"expires_in": 5}"#), InvalidAnswer),
        (Reply::new(200, "application/json", r#"{"token": 5}"#), InvalidAnswer),
        (token("good-token").cut_off(), RegistryFailureKind::Unreachable),
    ] {
        let server = token_registry(reply).await;
        let failure =
            look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(!failure.to_string().contains("good"), "a token is not quoted: {failure}");
        assert!(!server.schemes().contains(&scheme("Bearer")), "nothing of it is shown to the registry");
    }
}

#[tokio::test]
async fn a_failing_token_service_is_named_and_asked_once_for_a_set() {
    use RegistryFailureKind::{RateLimited, ServerError, Unauthorized};
    for (reply, kind, once) in [
        (Reply::status(500), ServerError, true),
        (Reply::status(503), ServerError, true),
        (Reply::status(429).with("retry-after", "11"), RateLimited { retry_after_seconds: Some(11) }, true),
        (Reply::status(401), Unauthorized, false),
    ] {
        let server = token_registry(reply).await;
        let images: Vec<_> = (0..5).map(|number| reference(&server, &format!("calico/image-{number}"))).collect();
        for image in &images {
            server.on_manifest(image.repository(), bearer(&server.url("/token")));
        }
        let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
        assert_eq!(kinds(&outcomes), vec![Some(kind); images.len()]);
        let failure = outcomes[0].as_ref().unwrap_err();
        assert!(failure.response.contains("token service"), "{failure}");
        if once {
            assert_eq!(server.seen().len(), 2, "one refusal and one visit to the token service");
        }
    }
}

/// A registry that echoes what it received, wherever a response has room for it.
#[tokio::test]
async fn a_secret_that_the_registry_echoes_is_redacted() {
    let body = json!({"errors": [{"code": "DENIED", "message": format!("{CANARY} is wrong, as is {}", basic())}]});
    for echo in [
        Reply::new(403, "application/json", body.to_string()),
        Reply::new(500, "text/plain", format!("{USER}:{CANARY}")),
        good("node").with("docker-content-digest", CANARY),
        good("node").with("docker-content-digest", &basic()),
        Reply::new(200, &format!("text/x-{CANARY}"), index("node")),
        Reply::new(404, &format!("text/x-{CANARY}"), "x"),
        Reply::new(200, &basic(), index("node")),
        Reply::new(200, crate::INDEX, json!({"schemaVersion": 2, "mediaType": CANARY, "manifests": []}).to_string()),
    ] {
        let server = Server::start().await;
        server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&basic(), echo));
        // `look_up` looks for the secret.
        look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
        assert!(received_secret(&server), "it could be echoed");
    }
}

/// The response of an honest registry is kept: its status, and a code of the specification.
#[tokio::test]
async fn status_and_code_of_a_registry_with_credentials_are_quoted() {
    let body = |code: &str, message: &str| json!({"errors": [{"code": code, "message": message}]}).to_string();
    for (code, before, after) in
        [("DENIED", "403 DENIED not for you", "403 DENIED"), ("HUNTER_TWO", "403 HUNTER_TWO not for you", "403")]
    {
        let reply = Reply::new(403, "application/json", body(code, "not for you"));
        let server = Server::start().await;
        let node = reference(&server, "calico/node");
        server.on_manifest("calico/node", reply.clone());
        let client = patient();
        let failure = look_up(&client, &with_secret(&[&server]), &node).await.unwrap_err();
        assert_eq!(failure.response, before, "it was sent nothing yet");
        server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&basic(), reply.clone()));
        let failure = look_up(&client, &with_secret(&[&server]), &node).await.unwrap_err();
        assert_eq!(failure.response, after);
        // From then on it knows, whatever it is asked, and whoever asks.
        server.on_manifest("calico/node", reply);
        let failure = look_up(&client, &plain(&[&server]), &node).await.unwrap_err();
        assert_eq!(failure.response, after);
    }
}

/// An anonymous token is no secret: responses of public registries are quoted.
#[tokio::test]
async fn responses_to_an_anonymous_token_are_quoted() {
    let server = Server::start().await;
    let rejection = Reply::new(404, "text/plain", "gone fishing");
    let challenged = bearer(&server.url("/token")).but_to("Bearer good-token", rejection);
    server.on_manifest("calico/node", challenged).on("/token", token("good-token"));
    let failure = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.response, "404 gone fishing");
}

/// Wherever a response has room for text, in every spelling, whether the registry, its token service or a host that it redirects to
/// writes it. `look_up` searches for all spellings.
#[tokio::test]
async fn a_secret_in_disguise_is_not_quoted() {
    for disguise in crate::disguises() {
        let plain_form: String = disguise.chars().filter(|character| !character.is_whitespace()).collect();
        let error = |code: &str, message: &str| {
            let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
            Reply::new(403, "application/json", body)
        };
        let entry =
            json!({"mediaType": crate::IMAGE, "digest": disguise, "platform": {"os": "linux", "architecture": "x"}});
        let list = |entry| json!({"schemaVersion": 2, "mediaType": crate::INDEX, "manifests": [entry]}).to_string();
        let platform = |os: &str, architecture: &str, variant: &str| {
            let platform = json!({"os": os, "architecture": architecture, "variant": variant});
            let digest = imageset_controller::model::Digest::of(b"x").to_string();
            Reply::new(200, crate::INDEX, list(json!({"digest": digest, "platform": platform})))
        };
        let host: String = plain_form.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
        let strange_type = json!({"schemaVersion": 2, "mediaType": disguise, "manifests": []}).to_string();
        let artifact = json!({"schemaVersion": 2, "layers": [], "artifactType": disguise, "config": {"digest": "x"}});
        for reply in [
            error("DENIED", &disguise),
            error(&disguise, ""),
            Reply::new(500, "text/plain", disguise.clone()),
            Reply::new(404, &format!("text/x-{disguise}"), "x"),
            Reply::new(200, &disguise, index("node")),
            Reply::new(200, &format!("text/{disguise}"), "x"),
            good("node").with("docker-content-digest", &disguise),
            Reply::new(200, crate::INDEX, strange_type),
            Reply::new(200, crate::INDEX, list(entry.clone())),
            Reply::new(200, crate::IMAGE, artifact.to_string()),
            platform(&plain_form, "amd64", ""),
            platform("linux", &plain_form, ""),
            platform("linux", "amd64", &plain_form),
            Reply::status(307).with("location", &format!("http://{host}.invalid/")),
            Reply::status(307).with("location", &format!("ftp://{host}.example/")),
            Reply::status(307).with("location", &format!("http://robot:x@{host}.example/")),
            bearer(&format!("http://{host}.example/token")),
            bearer(&format!("{host} and nothing else")),
        ] {
            let server = Server::start().await;
            server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&basic(), reply.clone()));
            let outcome = look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await;
            assert!(outcome.is_err(), "{reply:?}");
            assert!(!format!("{outcome:?}").to_lowercase().contains(&host.to_lowercase()), "{outcome:?}");
            assert!(received_secret(&server), "it could be written");
        }

        // By the token service, and by the registry that got its token.
        let (server, other) = (Server::start().await, Server::start_at("127.0.0.2", None).await);
        let rejection = Reply::new(403, "text/plain", disguise.clone());
        server.on("/token", Reply::status(401).but_to(&basic(), rejection.clone()));
        server.on_manifest("calico/node", bearer(&server.url("/token")));
        let node = reference(&server, "calico/node");
        look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap_err();
        let challenged = bearer(&server.url("/token")).but_to("Bearer good-token", rejection.clone());
        server.on("/token", token("good-token")).on_manifest("calico/node", challenged);
        look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap_err();

        // By a host that was never sent it, and got it in the address of a redirect.
        let redirect = Reply::status(307).with("location", &other.url(&format!("/{host}")));
        server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&basic(), redirect));
        other.on("*", rejection);
        look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap_err();
        assert_eq!(other.seen().len(), 1);
    }
}
