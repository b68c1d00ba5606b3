//! What registries in the field do beside the specification: HEAD that lies, tokens that hold for one scope, refusals by policy, images
//! that are hidden from strangers, names that differ in scopes. Each with the number of requests that it costs.

use std::sync::Arc;

use imageset_controller::model::{Coverage, FailureCause, Hints, Reason, Reference, RegistryFailureKind};
use imageset_controller::registry::{Access, DockerConfig};
use serde_json::json;

use crate::server::{Reply, Server};
use crate::{
    IMAGE, INDEX, basic, good, index, kinds, look_up, look_up_all, look_up_with, patient, plain, received_secret,
    reference, with_secret,
};

/// As many images as the newest releases have.
const IMAGES: usize = 23;

fn images(server: &Server, count: usize) -> Vec<Reference> {
    (0..count).map(|number| reference(server, &format!("calico/image-{number}"))).collect()
}

fn token(text: &str) -> Reply {
    Reply::new(200, "application/json", json!({"token": text, "expires_in": 300}).to_string())
}

fn bearer(server: &Server, repository: &str) -> Reply {
    let realm = server.url("/token");
    Reply::challenge(&format!(r#"Bearer realm="{realm}",service="reg",scope="repository:{repository}:pull""#))
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"errors": [{"code": code, "message": message, "detail": {}}]});
    Reply::new(status, "application/json", body.to_string())
}

/// The query of a token service for these repositories.
fn token_query<'a>(repositories: impl IntoIterator<Item = &'a str>) -> String {
    let mut query = url::form_urlencoded::Serializer::new("/token?service=reg".to_owned());
    for repository in repositories {
        query.append_pair("scope", &format!("repository:{repository}:pull"));
    }
    query.finish()
}

/// R1. Whatever HEAD answers about the manifests of an index and about tags, GET decides.
#[tokio::test]
async fn head_never_decides_that_something_is_missing() {
    let digest = |architecture: &str| imageset_controller::model::Digest::of(format!("node {architecture}").as_bytes());
    let hints = Hints { platforms: ["linux/amd64".parse().unwrap()].into(), ..Hints::default() };
    for head in [
        Reply::status(404),
        error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        Reply::status(400),
        Reply::status(403),
        Reply::status(405),
        Reply::status(410),
        Reply::status(500),
        Reply::status(501),
        Reply::status(502),
        Reply::new(200, "text/html", "<html>"),
        Reply::status(200).with("docker-content-digest", "sha256:x"),
        Reply::status(307).with("location", "http://169.254.169.254/"),
        Reply::status(204),
    ] {
        let server = Server::start().await;
        let child = format!("/v2/calico/node/manifests/{}", digest("amd64"));
        let tag = "/v2/calico/node/manifests/v1";
        server.on_manifest("calico/node", good("node")).on(&child, Reply::new(200, IMAGE, "node amd64"));
        server.on(&format!("HEAD {child}"), head.clone()).on(&format!("HEAD {tag}"), head.clone());
        let node = [reference(&server, "calico/node")];
        let (client, access) = (patient(), plain(&[&server]));
        let first = look_up_with(&client, &access, &node, &hints).await.remove(0).unwrap();
        assert_eq!(first.coverage(&"linux/amd64".parse().unwrap()), Coverage::Covered, "{head:?}");
        assert_eq!(server.requests(), [format!("GET {tag}"), format!("HEAD {child}"), format!("GET {child}")]);
        // Rechecked: the tag by GET as well, and nothing else changes.
        let known = Hints { known: [(node[0].clone(), first.clone())].into(), ..hints.clone() };
        let before = server.requests().len();
        assert_eq!(look_up_with(&client, &access, &node, &known).await.remove(0).unwrap(), first, "{head:?}");
        assert_eq!(server.requests()[before..before + 2], [format!("HEAD {tag}"), format!("GET {tag}")], "{head:?}");
    }
}

/// R1. What neither HEAD nor GET finds is absent.
#[tokio::test]
async fn what_get_does_not_find_is_absent() {
    let server = Server::start().await;
    server.on_manifest("calico/node", good("node"));
    let hints = Hints { platforms: ["linux/amd64".parse().unwrap()].into(), ..Hints::default() };
    let node = [reference(&server, "calico/node")];
    let image = look_up_with(&patient(), &plain(&[&server]), &node, &hints).await.remove(0).unwrap();
    assert_eq!(image.coverage(&"linux/amd64".parse().unwrap()), Coverage::Absent);
    assert_eq!(server.requests().len(), 3);
}

/// A proxy that closes the connection at HEAD.
#[tokio::test]
async fn a_connection_that_ends_at_head_is_no_failure() {
    let server = Server::start().await;
    let hints = |known| Hints { known, ..Hints::default() };
    server.on_manifest("calico/node", good("node"));
    let node = [reference(&server, "calico/node")];
    let (client, access) = (patient(), plain(&[&server]));
    let first = look_up_with(&client, &access, &node, &Hints::default()).await.remove(0).unwrap();
    let broken = good("node").with("content-length", "x y");
    server.on("HEAD /v2/calico/node/manifests/v1", broken);
    let known = hints([(node[0].clone(), first.clone())].into());
    assert_eq!(look_up_with(&client, &access, &node, &known).await.remove(0).unwrap(), first);
}

/// R2. `docker_auth`: a token for several scopes holds for the first of them, the others get 403 (or 401, or 404).
#[tokio::test]
async fn each_repository_gets_its_own_token_where_a_shared_one_does_not_hold() {
    for rejection in [
        error(403, "DENIED", "requested access to the resource is denied"),
        error(401, "UNAUTHORIZED", "authentication required"),
        error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        Reply::status(404),
    ] {
        let server = Server::start().await;
        let images = images(&server, IMAGES);
        server.on("/token", token("shared"));
        for image in &images {
            let name = image.repository();
            let own = format!("own-{}", name.replace('/', "-"));
            server.on(&token_query([name]), token(&own));
            let challenge = bearer(&server, name).but_to(&format!("Bearer {own}"), good(name));
            let first = images[0].repository() == name;
            let to_shared = if first { good(name) } else { rejection.clone() };
            server.on_manifest(name, challenge.but_to("Bearer shared", to_shared));
        }
        let client = patient();
        let outcomes = look_up_all(&client, &with_secret(&[&server]), &images).await;
        assert!(outcomes.iter().all(Result::is_ok), "{rejection:?}: {outcomes:?}");
        let cost = server.requests().len();
        assert!(cost <= 2 + 3 * IMAGES, "a challenge, a shared token, and three requests for each image: {cost}");
        // Known from then on: nothing but the images.
        let again = look_up_all(&client, &with_secret(&[&server]), &images).await;
        assert!(again.iter().all(Result::is_ok), "{again:?}");
        assert_eq!(server.requests().len(), cost + IMAGES);
    }
}

/// R2. A repository that may not be read stays forbidden, and costs a bounded number of requests.
#[tokio::test]
async fn a_forbidden_repository_is_forbidden_with_its_own_token_as_well() {
    let server = Server::start().await;
    let images = images(&server, 5);
    server.on("/token", token("shared"));
    for image in &images {
        let name = image.repository();
        let reply = if name.ends_with('3') { error(403, "DENIED", "no") } else { good(name) };
        server.on_manifest(name, bearer(&server, name).but_to("Bearer shared", reply));
    }
    let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
    let expected: Vec<_> = (0..5).map(|number| (number == 3).then_some(RegistryFailureKind::Forbidden)).collect();
    assert_eq!(kinds(&outcomes), expected, "{outcomes:?}");
    // The shared token, its own, and once more after asking for the challenge anew.
    assert!(server.requests().len() <= 2 + 5 + 5, "{:?}", server.requests());
}

/// R3. Refused by the registry's policy, in its words as far as they can hold no secret; never missing, never gone.
#[tokio::test]
async fn a_refusal_by_policy_is_a_cause_of_its_own() {
    let words = "current image with \"High\" vulnerability cannot be pulled due to configured policy";
    let harbor = error(412, "PROJECTPOLICYVIOLATION", words);
    let xray = json!({"errors": [{"status": 403, "message": "Artifact download request rejected: download blocking policy in Xray"}]});
    for (reply, said) in [
        (
            harbor,
            "412 PROJECTPOLICYVIOLATION current image with high vulnerability cannot be pulled due to configured policy",
        ),
        (Reply::status(412), "412"),
        (Reply::new(403, "application/json", xray.to_string()), "download blocking policy in xray"),
        (Reply::new(403, "text/plain", "REQUESTED ITEM IS QUARANTINED"), "requested item is quarantined"),
        (error(403, "DENIED", "Quota exceeded for this project"), "quota exceeded for this project"),
        (error(402, "DENIED", "payment"), "402"),
        (error(404, "PROJECTPOLICYVIOLATION", "not signed"), "404 PROJECTPOLICYVIOLATION"),
    ] {
        let server = Server::start().await;
        server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&basic(), reply.clone()));
        let node = reference(&server, "calico/node");
        let failure = look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::RefusedByPolicy, "{reply:?}: {failure}");
        assert_eq!(Reason::from(&failure), Reason::RegistryPolicyRefusal);
        assert!(failure.response.to_lowercase().contains(&said.to_lowercase()), "{said}: {failure}");
        assert!(failure.to_string().contains("nodes"), "{failure}");
        assert_eq!(server.requests().len(), 2);
        // An index whose manifests are refused is not one that lacks them.
        let child = format!("/v2/calico/node/manifests/{}", imageset_controller::model::Digest::of(b"node amd64"));
        server.on_manifest("calico/node", good("node")).on(&child, reply.clone());
        let hints = Hints { platforms: ["linux/amd64".parse().unwrap()].into(), ..Hints::default() };
        let failure = look_up_with(&patient(), &plain(&[&server]), &[node], &hints).await.remove(0).unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::RefusedByPolicy, "{reply:?}: {failure}");
    }
}

/// R4. One odd entry of an index spoils no other.
#[tokio::test]
async fn an_index_with_odd_entries_is_read() {
    let server = Server::start().await;
    let mut value: serde_json::Value = serde_json::from_slice(&index("node")).unwrap();
    let digest = imageset_controller::model::Digest::of(b"x").to_string();
    for platform in [json!({}), json!({"os": "", "architecture": ""}), json!(null)] {
        let entry = json!({"mediaType": IMAGE, "digest": digest, "size": 1, "platform": platform});
        value["manifests"].as_array_mut().unwrap().insert(0, entry);
    }
    server.on_manifest("calico/node", Reply::new(200, INDEX, value.to_string()));
    let image = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap();
    assert_eq!(image.platforms().len(), 2);
}

/// R5, R7. The token service is named, with what to do about it.
#[tokio::test]
async fn a_token_service_that_is_not_used_is_named() {
    let (server, stranger) = (Server::start().await, Server::start_at("127.0.0.2", None).await);
    let challenge = format!(r#"Bearer realm="{}",service="reg""#, stranger.url("/token"));
    server.on_manifest("calico/node", Reply::challenge(&challenge));
    let node = reference(&server, "calico/node");
    let failure = look_up(&patient(), &with_secret(&[&server]), &node).await.unwrap_err();
    assert_eq!(
        (failure.kind, Reason::from(&failure)),
        (RegistryFailureKind::ForeignTokenService, Reason::TokenServiceForeign)
    );
    assert!(failure.to_string().contains("127.0.0.2"), "{failure}");
    assert!(stranger.seen().is_empty());
}

/// R7. An https registry whose token service is named over plain http.
#[tokio::test]
async fn a_token_service_over_plain_http_is_a_setting_of_the_registry() {
    let certificate = crate::certificates::ServerCertificate::create("an authority").unwrap();
    let server = Server::start_at("127.0.0.1", Some(&certificate)).await;
    let realm = format!("http://{}/service/token", server.host());
    server
        .on_manifest("calico/node", Reply::challenge(&format!(r#"Bearer realm="{realm}",service="harbor-registry""#)));
    let access = Access {
        credentials: vec![DockerConfig::of_password(server.host(), crate::USER, crate::CANARY)],
        ..crate::trusting(&server, &certificate)
    };
    let failure = look_up(&patient(), &access, &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!(failure.cause, Some(FailureCause::TokenServiceAddress), "{failure}");
    assert_eq!(Reason::from(&failure), Reason::TokenServiceFailing);
    for words in ["token service 127.0.0.1", "external_url", "http://127.0.0.1"] {
        assert!(failure.to_string().contains(words), "{words}: {failure}");
    }
    assert!(!received_secret(&server) && server.requests().len() == 1);
}

/// R6. A registry that hides what a stranger must not see.
#[tokio::test]
async fn credentials_are_tried_where_a_registry_hides_behind_404() {
    for hidden in [
        Reply::status(404),
        error(404, "NAME_UNKNOWN", "unknown"),
        error(404, "MANIFEST_UNKNOWN", "x"),
        Reply::status(403),
        error(400, "UNAUTHORIZED", "[ERROR-400] DOCKER Either Authorization header is missing or invalid"),
    ] {
        let server = Server::start().await;
        let images = images(&server, 5);
        server.on("/v2/", Reply::challenge(r#"Basic realm="reg""#));
        for image in &images {
            server.on_manifest(image.repository(), hidden.clone().but_to(&basic(), good(image.repository())));
        }
        let client = patient();
        let outcomes = look_up_all(&client, &with_secret(&[&server]), &images).await;
        assert!(outcomes.iter().all(Result::is_ok), "{hidden:?}: {outcomes:?}");
        let cost = server.requests().len();
        assert!(cost <= 2 * 5 + 1, "one look at the root, and each image once or twice: {:?}", server.requests());
        // With a token service.
        let server = Server::start().await;
        server.on("/v2/", bearer(&server, "x")).on("/token", token("good-token"));
        server.on_manifest("calico/node", hidden.clone().but_to("Bearer good-token", good("node")));
        look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap();
        assert_eq!(server.requests().len(), 4, "{:?}", server.requests());
        // What is missing for its owner is missing.
        server.on_manifest("calico/node", error(404, "MANIFEST_UNKNOWN", "x"));
        let failure =
            look_up(&patient(), &with_secret(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
        assert_eq!(failure.kind, RegistryFailureKind::NotFound, "{failure}");
        assert_eq!(server.requests().len(), 8);
    }
}

/// R6. Without credentials there is nothing to try.
#[tokio::test]
async fn without_credentials_a_404_is_final() {
    let server = Server::start().await;
    server.on("/v2/", Reply::challenge("Basic"));
    let failure = look_up(&patient(), &plain(&[&server]), &reference(&server, "calico/node")).await.unwrap_err();
    assert_eq!((failure.kind, server.requests().len()), (RegistryFailureKind::NotFound, 1));
}

/// R8. A token that the registry no longer takes, refused without a challenge: a new one, once.
#[tokio::test]
async fn a_token_that_expired_early_is_replaced_once() {
    let server = Server::start().await;
    let images = images(&server, 5);
    let serve = |text: &str| {
        for image in &images {
            // Only strangers get a challenge.
            let refused = Reply::status(401).but_to(&format!("Bearer {text}"), good(image.repository()));
            server.on_manifest(image.repository(), refused);
        }
        server.on("/v2/", bearer(&server, "x")).on("/token", token(text));
    };
    serve("old");
    let (client, access) = (patient(), with_secret(&[&server]));
    assert!(look_up_all(&client, &access, &images).await.iter().all(Result::is_ok));
    serve("new");
    let before = server.requests().len();
    let outcomes = look_up_all(&client, &access, &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let requests = server.requests()[before..].to_vec();
    assert_eq!(requests.iter().filter(|request| *request == "GET /token").count(), 1, "{requests:?}");
    assert!(requests.len() <= 2 * images.len() + 1, "{requests:?}");
}

/// R8. A failing token service is told apart from a registry that fails or refuses.
#[tokio::test]
async fn a_failing_token_service_is_told_apart() {
    for reply in [
        Reply::status(503),
        Reply::status(500),
        Reply::new(200, "text/html", "<html>"),
        Reply::new(200, "application/json", "{}"),
        Reply::status(302).with("location", "/login"),
        token("x").cut_off(),
    ] {
        let server = Server::start().await;
        server.on("/token", reply.clone());
        let images = images(&server, 3);
        for image in &images {
            server.on_manifest(image.repository(), bearer(&server, image.repository()));
        }
        let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
        for outcome in &outcomes {
            let failure = outcome.as_ref().unwrap_err();
            assert_eq!(failure.cause, Some(FailureCause::TokenServiceFailing), "{reply:?}: {failure}");
            assert_eq!(Reason::from(failure), Reason::TokenServiceFailing);
            assert!(failure.summary().contains("token service"), "{failure}");
        }
        assert_eq!(server.requests().len(), 2);
    }
}

/// R9. Artifactory names repositories otherwise in scopes: what one challenge shows serves the others.
#[tokio::test]
async fn a_rewritten_scope_costs_no_request_for_each_image() {
    for (repository, scope) in [("docker-remote/calico", "calico"), ("calico", "docker-remote/calico")] {
        let server = Server::start().await;
        let name = |number: usize| format!("{repository}/image-{number}");
        let images: Vec<_> = (0..IMAGES).map(|number| reference(&server, &name(number))).collect();
        let scopes: Vec<String> = (0..IMAGES).map(|number| format!("{scope}/image-{number}")).collect();
        let mut in_order: Vec<usize> = (0..IMAGES).collect();
        in_order.sort_by_key(|number| name(*number));
        server.on("/token", Reply::status(403));
        let all = token_query(in_order.iter().map(|number| scopes[*number].as_str()));
        server.on(&all, token("shared"));
        for (number, scope) in scopes.iter().enumerate() {
            server.on_manifest(&name(number), bearer(&server, scope).but_to("Bearer shared", good("x")));
        }
        let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(server.requests().len(), IMAGES + 2, "{:?}", server.requests());
    }
}

/// R9. Names that no rule explains: each image asks for its own challenge, at most.
#[tokio::test]
async fn an_unexplained_scope_resolves_in_a_bounded_number_of_requests() {
    let server = Arc::new(Server::start().await);
    let images = images(&server, 8);
    server.on("/token", Reply::status(403));
    for (number, image) in images.iter().enumerate() {
        let scope = format!("virtual-{number}");
        server.on(&token_query([scope.as_str()]), token(&format!("token-{number}")));
        let challenge = bearer(&server, &scope).but_to(&format!("Bearer token-{number}"), good("x"));
        server.on_manifest(image.repository(), challenge);
    }
    let outcomes = look_up_all(&patient(), &with_secret(&[&server]), &images).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(server.requests().len() <= 6 * images.len(), "{:?}", server.requests());
}

/// C1, C2, C5. Each credential goes out as the bytes that it is.
#[tokio::test]
async fn credentials_go_out_as_they_are() {
    let google = "X2pzb25fa2V5OnsKICJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCIsCiAicHJpdmF0ZV9rZXkiOiAieCIKfQo=";
    let folded = format!("{}\n{}\n", &google[..76], &google[76..]);
    for (auth, sent) in [(google.to_owned(), google), (folded, google), ("dXNlcjpw5HNz".to_owned(), "dXNlcjpw5HNz")] {
        let server = Server::start().await;
        server.on_manifest("calico/node", Reply::challenge("Basic").but_to(&format!("Basic {sent}"), good("node")));
        let config =
            json!({"auths": {server.host(): {"auth": auth}, "old.example": {"auth": "not base64"}, "x.example": null}});
        let config = DockerConfig::parse_dockerconfigjson(config.to_string().as_bytes()).unwrap();
        let access = Access { credentials: vec![config], ..plain(&[&server]) };
        look_up(&patient(), &access, &reference(&server, "calico/node")).await.unwrap();
        assert_eq!(server.requests().len(), 2);
    }
}

/// A pull-through cache that does not know a digest until its tag was pulled.
#[tokio::test]
async fn a_cache_is_warmed_by_the_tag_once() {
    let server = Server::start().await;
    let digest = imageset_controller::model::Digest::of(&index("node"));
    let by_digest = format!("/v2/calico/node/manifests/{digest}");
    server.on_manifest("calico/node", good("node"));
    let pinned: Reference = format!("{}/calico/node:v1@{digest}", server.host()).parse().unwrap();
    let failure = look_up(&patient(), &plain(&[&server]), &pinned).await.unwrap_err();
    assert_eq!(failure.kind, RegistryFailureKind::NotFound);
    let tag = "GET /v2/calico/node/manifests/v1".to_owned();
    assert_eq!(server.requests(), [format!("GET {by_digest}"), tag, format!("GET {by_digest}")]);
}
