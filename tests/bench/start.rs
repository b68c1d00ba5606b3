//! How soon a controller is ready after its start, with the Lease free, and how soon another one leads after the leader was killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Measured;
use crate::statistics::median;
use crate::testbox::{ControlPlane, Controller, apply_yaml, rights};

/// How often a start is measured.
const STARTS: usize = 9;
/// The Lease of 15 s, and one look of the other one, which comes every 2 s.
const TAKE_OVER: f64 = 17.0;

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
    ])
}
