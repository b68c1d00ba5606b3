//! What strangers can do to the running controller: connections to its port that hang, and objects of the cluster that hold as much
//! text as an API server stores. Measured are the slowest probe and the peak of memory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::Measured;
use crate::memory::mebibytes;
use crate::reaction::{push, set_the_scene, versions};
use crate::testbox::patience::until;
use crate::testbox::process::Folders;
use crate::testbox::scenery;
use crate::testbox::{ControlPlane, Controller, Registry};

const HANGING: usize = 64;
const PROBES: usize = 20;
const SHOWN_WITHIN: Duration = Duration::from_secs(60);
/// The most that foreign text may cost, in MiB.
const MOST_MEMORY: f64 = 64.0;
/// What is reported, in the form that is hardest to show.
const ODD: &str = "\u{1b}[31m\n::error::";

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let control_plane = ControlPlane::start("bench-foreign").await?;
    let client = control_plane.client();
    let registry = Registry::start(crate::testbox::Kind::Anonymous).await?;
    let newest = versions().pop().context("no versions")?;
    push(&registry, &newest).await?;
    set_the_scene(&client, &registry.host(), &newest).await?;
    let folders = Folders::create("bench-foreign-controller")?;
    let start = async |instance: &'static str| {
        let mut controller = Controller::start(binary, control_plane.kubeconfig(), instance, &folders.logs).await?;
        controller.wait_until_leading().await?;
        anyhow::Ok(controller)
    };
    let peak = |controller: &Controller| mebibytes(controller.process_id(), "VmHWM").context("no VmHWM");

    let mut controller = start("hanging").await?;
    shown(&client, |status| condition(status, "Applied") == "True").await?;
    let probe = slowest_probe(&controller).await?;
    controller.terminate().await?;

    let nodes: Api<Node> = Api::all(client.clone());
    let long = ODD.repeat(300 * 1024 / ODD.len());
    let mut info = scenery::node_info(&long);
    (info["operatingSystem"], info["osImage"]) = (json!(long), json!(long));
    scenery::node(&client, "one", info).await?;
    let mut controller = start("node").await?;
    shown(&client, |status| finds(status, "NodePlatformUnknown")).await?;
    let node = peak(&controller)?;
    controller.terminate().await?;
    nodes.delete("one", &Default::default()).await?;

    scenery::degraded(&client, "calico", "Bench", &"no image: ".repeat(100 * 1024)).await?;
    let mut controller = start("tigerastatus").await?;
    shown(&client, |status| finds(status, "DegradedUnexplained")).await?;
    let tigera_status = peak(&controller)?;
    controller.terminate().await?;
    Ok(vec![
        Measured::limited("slowest_probe_while_64_connections_hang", probe, 1.0, "s"),
        Measured::limited("node_text_of_900_kib_peak", node, MOST_MEMORY, "MiB"),
        Measured::limited("tigerastatus_of_1_mb_peak", tigera_status, MOST_MEMORY, "MiB"),
    ])
}

/// While connections hang that never send, send half a head, or never read what they asked for.
async fn slowest_probe(controller: &Controller) -> Result<f64> {
    let mut slowest = Duration::ZERO;
    for sent in ["", "GET /met", "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut hanging = Vec::new();
        for _ in 0..HANGING {
            let mut stream = TcpStream::connect(("127.0.0.1", controller.port())).await?;
            stream.write_all(sent.as_bytes()).await?;
            hanging.push(stream);
        }
        for probe in 0..PROBES {
            let path = if probe % 2 == 0 { "/livez" } else { "/readyz" };
            let started = Instant::now();
            let (status, _) = controller.get(path).await?;
            if status != 200 {
                bail!("{path} answered {status} while connections hang");
            }
            slowest = slowest.max(started.elapsed());
        }
    }
    Ok(slowest.as_secs_f64())
}

fn finds(status: &Value, reason: &str) -> bool {
    status["findings"].as_array().is_some_and(|findings| findings.iter().any(|one| one["reason"] == reason))
}

fn condition(status: &Value, wanted: &str) -> String {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|condition| condition["type"] == wanted);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

/// Waits until the policy's status is as wanted.
async fn shown(client: &Client, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let policies = scenery::policies(client);
    until("the wanted status", SHOWN_WITHIN, async || {
        Ok(wanted(&policies.get("default").await?.data["status"]).then_some(()))
    })
    .await
}
