//! What a person waits for: `generate` for one release, from start to exit.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::Measured;
use crate::far_registry::{FarRegistry, RELEASE, TokenServiceAt};
use crate::latency::Far as _;
use crate::statistics::median;

const RUNS: usize = 7;
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// What a cold resolve takes at best: connection, TLS, the registry's demand, a token, the manifests.
const FEWEST_ROUND_TRIPS: f64 = 5.0;

/// `generate` of [`RELEASE`] from this registry, in a surrounding without cluster and without Docker's configuration.
pub fn command(binary: &Path, registry: &str, authority: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(["generate", RELEASE, "--registry", registry, "--ca-file"]).arg(authority);
    command.env_clear().env("HOME", "/nowhere").kill_on_drop(true);
    command
}

pub async fn measure(binary: &Path, far: &FarRegistry) -> Result<Vec<Measured>> {
    let near = milliseconds(binary, far, Duration::ZERO).await?;
    let away = milliseconds(binary, far, ROUND_TRIP).await?;
    println!("generate: {near:.0} ms at 0, {away:.0} ms at {}", ROUND_TRIP.as_millis());
    let best = FEWEST_ROUND_TRIPS * ROUND_TRIP.as_secs_f64() * 1000.0 + near;
    Ok(vec![Measured::limited("generate_50ms", away / best, 1.5, "of 5 round trips and the time at 0 ms")])
}

async fn milliseconds(binary: &Path, far: &FarRegistry, round_trip: Duration) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let (authority, config) = (folder.path().join("ca.pem"), folder.path().join("config.json"));
    std::fs::write(&authority, far.ca_pem())?;
    std::fs::write(&config, far.docker_config_json())?;
    far.set_round_trip(round_trip);
    let mut took = Vec::new();
    for _ in 0..RUNS {
        let mut command = command(binary, far.registry(TokenServiceAt::SameHost).host(), &authority);
        command.arg("--registry-config").arg(&config);
        let started = Instant::now();
        let output = command.output().await?;
        took.push(started.elapsed().as_secs_f64() * 1000.0);
        ensure!(output.status.success(), "generate: {}", String::from_utf8_lossy(&output.stderr));
    }
    far.set_round_trip(Duration::ZERO);
    Ok(median(&mut took))
}
