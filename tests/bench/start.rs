//! How soon a controller is ready after its start, with the Lease free, how soon another one leads after the leader was killed,
//! and how soon one ends by SIGTERM while the API server cannot be reached.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::net::TcpListener;

use crate::Measured;
use crate::statistics::median;
use crate::testbox::control_plane::kubeconfig_text;
use crate::testbox::patience::{SOON, until};
use crate::testbox::process::{Folders, Process};
use crate::testbox::{ControlPlane, Controller, apply_yaml, rights};

/// How often a start is measured.
const STARTS: usize = 9;
/// The Lease of 15 s, and one look of the other one, which comes every 2 s.
const TAKE_OVER: f64 = 17.0;
/// How long a controller tries to reach the API server before it is ended: in the middle of its first attempt, and of a later one.
const TRIES_FOR: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(8)];

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let control_plane = ControlPlane::start("bench-start").await?;
    let client = control_plane.client();
    rights::install_kind(&client).await?;
    apply_yaml(client, "{apiVersion: v1, kind: Namespace, metadata: {name: imageset-controller}}").await?;
    let start =
        async |name: String| Controller::start(binary, control_plane.kubeconfig(), &name, control_plane.logs()).await;
    let mut starts = Vec::new();
    for number in 0..STARTS {
        let started = Instant::now();
        let mut controller = start(format!("start-{number}")).await?;
        starts.push(started.elapsed().as_secs_f64());
        controller.wait_until_leading().await?;
        controller.terminate().await?;
    }
    let mut leader = start("leader".to_owned()).await?;
    leader.wait_until_leading().await?;
    let mut other = start("other".to_owned()).await?;
    leader.kill();
    let killed = Instant::now();
    while !other.leads().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let take_over = killed.elapsed().as_secs_f64();
    other.terminate().await?;
    Ok(vec![
        Measured::limited("start_to_ready", median(&mut starts), 1.0, "s"),
        Measured::limited("take_over", take_over, TAKE_OVER, "s"),
        Measured::limited("end_without_an_api_server", end_without_an_api_server(binary).await?, 2.0, "s"),
    ])
}

/// The longest time from SIGTERM to the end of the process, in seconds: while nothing listens at the API server's address, and while
/// something does that never responds.
async fn end_without_an_api_server(binary: &Path) -> Result<f64> {
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let away = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let folders = Folders::create("bench-end")?;
    let mut longest: f64 = 0.0;
    for server in [silent.local_addr()?, away] {
        let kubeconfig =
            folders.write("kubeconfig", kubeconfig_text(&format!("https://{server}"), None, "nobody", "none"))?;
        for tries_for in TRIES_FOR {
            let mut command = Command::new(binary);
            command.args(["run", "--listen", "127.0.0.1:0", "--kubeconfig"]).arg(&kubeconfig);
            let mut controller = Process::spawn("imageset-controller", command, &folders.logs.join("controller.log"))?;
            tokio::time::sleep(tries_for).await;
            let sent = Instant::now();
            ensure!(
                Command::new("kill").args(["-TERM", &controller.id().to_string()]).status()?.success(),
                "no signal"
            );
            until("the controller to end", SOON, async || controller.exit_code()).await?;
            longest = longest.max(sent.elapsed().as_secs_f64());
        }
    }
    Ok(longest)
}
