//! An API server that is slow, silent or away: progress does not depend on speed, no wait is without an end, and SIGTERM ends
//! the process whatever it waits for.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpListener;

use crate::testbox::Kind;
use crate::testbox::api_proxy::in_front_of;
use crate::testbox::control_plane::kubeconfig_text;
use crate::testbox::controller::Manner;
use crate::world::{CANARY, Scenery, USER, World, eventually};

/// Long enough for the cluster to change meanwhile.
const SLOW: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_stored_however_long_reading_a_secret_takes() {
    let kind = Kind::Htpasswd { user: USER.to_owned(), password: CANARY.to_owned() };
    let world = World::start(Scenery { name: "slow-secret", kind, ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.pull_secret().await;
    world.operator("v1.40.15").await;
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] } })).await;
    let (slow, _proxy) = in_front_of(&world.kubeconfig().await, |upstream, request| async move {
        if request.uri().path().contains("/secrets/") {
            tokio::time::sleep(SLOW).await;
        }
        upstream.forward(request).await
    })
    .await
    .unwrap();
    let controller = world.controller_at(&Manner::default(), &slow, "first").await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    world.until_quiet().await;
    world.finish(&[&controller]).await;
}

/// Starts the controller against `server`, waits until it has logged `words`, and ends it by SIGTERM.
async fn ends_by_a_signal(server: &str, words: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (log, kubeconfig) = (folder.path().join("log"), folder.path().join("kubeconfig"));
    std::fs::write(&kubeconfig, kubeconfig_text(server, None, "nobody", "none")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_imageset-controller"))
        .args(["run", "--listen", "127.0.0.1:0", "--log-format", "json", "--kubeconfig"])
        .arg(&kubeconfig)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(std::fs::File::options().append(true).open(&log).unwrap())
        .spawn()
        .unwrap();
    let logged = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually(words, async || logged().contains(words).then_some(())).await;
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let status = eventually("the end of the process", async || child.try_wait().unwrap()).await;
    assert_eq!(status.code(), Some(0), "{}", logged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_an_api_server_is_retried_and_ends_by_a_signal() {
    // Nobody listens at a port that was free a moment ago.
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    ends_by_a_signal(&format!("https://{away}"), "cannot reach the API server; retrying").await;
    // Connections are accepted, and nothing is ever said.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("https://{}", silent.local_addr().unwrap());
    let keeps = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            connections.push(stream);
        }
    });
    ends_by_a_signal(&server, "cannot reach the API server; retrying").await;
    keeps.abort();
}
