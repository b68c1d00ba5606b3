//! The releases among a repository's tags, page by page; an incomplete list is a failure.

use imageset_controller::model::RegistryFailureKind;
use serde_json::json;

use crate::server::{Reply, Server};
use crate::{canaries, patient, plain, reference, secret_free, with_secret};

fn page(tags: &[&str]) -> Reply {
    Reply::new(200, "application/json", json!({"name": "tigera/operator", "tags": tags}).to_string())
}

const LIST: &str = "/v2/tigera/operator/tags/list";

async fn releases(server: &Server) -> Result<Vec<String>, RegistryFailureKind> {
    let found = patient().releases(&plain(&[server]), &reference(server, "tigera/operator")).await;
    secret_free(&format!("{found:?}"));
    found.map(|found| found.iter().map(ToString::to_string).collect()).map_err(|failure| failure.kind)
}

#[tokio::test]
async fn all_pages_are_read_with_a_token_of_the_pull_scope() {
    let server = Server::start().await;
    let more = |last: &str| format!("<{LIST}?n=1000&last={last}>; rel=\"next\"");
    let pages = page(&["latest", "v1.40.15", "v1.42.4-amd64"]).with("link", &more("v1.42.4-amd64"));
    let challenged = Reply::challenge(&format!(r#"Bearer realm="{}",service="reg""#, server.url("/token")));
    server.on(&format!("{LIST}?n=1000"), challenged.but_to("Bearer good-token", pages));
    server.on(&format!("{LIST}?n=1000&last=v1.42.4-amd64"), page(&["v1.43.0-rc1", "v1.43.0", "v1.38.2-1"]));
    server.on("/token", Reply::new(200, "application/json", r#"{"token": "good-token"}"#));
    let client = patient();
    let found = client.releases(&with_secret(&[&server]), &reference(&server, "tigera/operator")).await.unwrap();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["v1.38.2-1", "v1.40.15", "v1.43.0"]);
    assert!(server.seen()[1].query.contains("repository%3Atigera%2Foperator%3Apull"));
    assert!(!canaries().iter().any(|canary| found.join(" ").contains(canary)));
}

#[tokio::test]
async fn an_incomplete_list_is_a_failure() {
    use RegistryFailureKind::{InvalidAnswer, NotFound, ServerError, TooLarge};
    let to_itself = format!("<{LIST}?n=1000>; rel=\"next\"");
    for (first, second, kind) in [
        (Reply::status(404), Reply::status(200), NotFound),
        (Reply::new(200, "text/html", "<html>"), Reply::status(200), InvalidAnswer),
        (page(&["v1.42.4"]).with("link", &to_itself), Reply::status(200), InvalidAnswer),
        (page(&["v1.42.4"]).with("link", &format!("<{LIST}?last=x>; rel=next")), Reply::status(500), ServerError),
        (Reply::flood("application/json", 64 * 1024 * 1024, false), Reply::status(200), TooLarge),
    ] {
        let server = Server::start().await;
        server.on(&format!("{LIST}?n=1000"), first).on(&format!("{LIST}?last=x"), second);
        assert_eq!(releases(&server).await, Err(kind));
    }
}

#[tokio::test]
async fn the_next_page_is_never_read_elsewhere() {
    let (server, stranger) = (Server::start().await, Server::start_at("127.0.0.2", None).await);
    let elsewhere = format!("<{}?last=x>; rel=\"next\"", stranger.url(LIST));
    server.on(&format!("{LIST}?n=1000"), page(&["v1.42.4"]).with("link", &elsewhere));
    server.on(&format!("{LIST}?last=x"), page(&["v1.42.5"]));
    assert_eq!(releases(&server).await.unwrap(), ["v1.42.4", "v1.42.5"], "asked of the registry itself");
    assert_eq!(stranger.connections(), 0);
}
