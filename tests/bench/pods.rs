//! Pods at scale: 15,000 pods of calico-node, 19 KB each, on 5,000 nodes. No real API server of a test holds that many, and none is
//! needed: in front of the box's own stands a server of ours (`server`) that answers for the pods of Calico's namespaces and for the
//! nodes itself and passes everything else on. What it says looks as the real one's does, by streamed lists or by pages.
//!
//! Measured is the whole controller, from its start to the report that tells of the one pod that cannot pull. Beside it stands the same
//! number of pods in a default typed store of kube's (`peer`), in a process of its own.

pub mod peer;
mod server;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use self::server::{Fails, MadeUpPods, PODS};
use crate::Measured;
use crate::memory::{mebibytes, processor_time};
use crate::reaction::{push, set_the_scene, versions};
use crate::statistics::median;
use crate::testbox::patience::until;
use crate::testbox::process::Folders;
use crate::testbox::scenery;
use crate::testbox::{ControlPlane, Controller, Registry};

/// Pods that change while the controller's processor time is measured.
const UPDATES: usize = 10_000;
const REPORTED_WITHIN: Duration = Duration::from_secs(300);
const SCRAPES: usize = 20;

/// Names of what is measured: peak of memory, time to the first report, processor time.
struct Names([&'static str; 3]);

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let control_plane = ControlPlane::start("bench-pods").await?;
    let client = control_plane.client();
    let registry = Registry::start(crate::testbox::Kind::Anonymous).await?;
    let newest = versions().pop().context("no versions")?;
    push(&registry, &newest).await?;
    set_the_scene(&client, &registry.host(), &newest).await?;

    let folders = Folders::create("bench-pods-controller")?;
    let pods = MadeUpPods::start(control_plane.kubeconfig()).await?;
    let mut measured = Vec::new();
    for (streams, names) in [
        (
            true,
            Names(["pods_streamed_peak_memory", "pods_streamed_first_report", "pods_streamed_cpu_per_1000_updates"]),
        ),
        (false, Names(["pods_paged_peak_memory", "pods_paged_first_report", "pods_paged_cpu_per_1000_updates"])),
    ] {
        pods.begin(streams, Fails::NotFound);
        let started = Instant::now();
        let instance = if streams { "streamed" } else { "paged" };
        let mut controller = Controller::start(binary, pods.kubeconfig(), instance, &folders.logs).await?;
        reported(&client, "PullNotFound").await?;
        let first_report = started.elapsed().as_secs_f64();
        let process = controller.process_id();
        let after_listing = mebibytes(process, "VmHWM").context("no VmHWM")?;

        let before = processor_time(process).context("no processor time")?;
        pods.update(UPDATES).await?;
        pods.fail(Fails::Unauthorized).await?;
        reported(&client, "PullUnauthorized").await?;
        let took = processor_time(process).context("no processor time")? - before;
        let peak = mebibytes(process, "VmHWM").context("no VmHWM")?;
        println!("pods: {instance}, {after_listing:.1} MiB after the listing, {peak:.1} MiB after {UPDATES} updates");
        let [memory, report, time] = names.0;
        measured.push(Measured::limited(memory, peak, 20.0, "MiB"));
        measured.push(Measured::beside(report, first_report, "s"));
        measured.push(Measured::beside(time, took.as_secs_f64() * 1e6 / UPDATES as f64, "ms"));
        if !streams {
            let mut scrapes = Vec::new();
            let mut size = 0;
            for _ in 0..SCRAPES {
                let started = Instant::now();
                size = controller.get("/metrics").await?.1.len();
                scrapes.push(started.elapsed().as_secs_f64() * 1000.0);
            }
            measured.push(Measured::limited("pods_metrics_size", size as f64 / 1024.0, 64.0, "KiB"));
            measured.push(Measured::limited("pods_metrics_scrape", median(&mut scrapes), 10.0, "ms"));
        }
        // So that the next one leads at once.
        controller.terminate().await?;
        if !streams {
            let store = typed_store(pods.kubeconfig()).await?;
            measured.push(Measured::beside("pods_typed_store_peak_memory", store, "MiB"));
            measured.push(Measured::beside("pods_typed_store_ratio", store / peak, "times"));
        }
    }
    Ok(measured)
}

/// Waits until the policy says so.
async fn reported(client: &Client, reason: &str) -> Result<()> {
    let policies = scenery::policies(client);
    until(&format!("the reason {reason}"), REPORTED_WITHIN, async || {
        let policy = policies.get("default").await?;
        Ok((scenery::condition(&policy, "ImagePullFailing").1 == reason).then_some(()))
    })
    .await
}

/// Peak of the process that keeps all pods in a store.
async fn typed_store(kubeconfig: &Path) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("peer-store").arg(kubeconfig).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let id = child.id().context("it has ended")?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let line =
        tokio::time::timeout(REPORTED_WITHIN, lines.next_line()).await??.context("it ended before it had all pods")?;
    if line != PODS.to_string() {
        bail!("the store has {line} pods");
    }
    let peak = mebibytes(id, "VmHWM").context("no VmHWM")?;
    child.kill().await?;
    Ok(peak)
}
