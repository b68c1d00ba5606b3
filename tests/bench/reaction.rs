//! How fast the controller reacts: the operator's Deployment changes to a version that was never resolved, and its set is
//! stored; less the time for which the registry was asked. And what the controller needs when it has nothing to do.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::Measured;
use crate::memory::mebibytes;
use crate::proxy::Proxy;
use crate::statistics::median;
use crate::testbox::crds::{self, Kind};
use crate::testbox::process::{Folders, Process, free_port};
use crate::testbox::recorder::Watched;
use crate::testbox::rules::{OperatorRules, Variant, all_versions};
use crate::testbox::scenery::{self, CONTROLLER, OPERATOR};
use crate::testbox::{ControlPlane, Registry, apply_yaml, images, rights};

/// How often the reaction is measured, each time with another version.
const ROUNDS: usize = 20;
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// The newest releases that want sets of different names, oldest first.
pub fn versions() -> Vec<OperatorRules> {
    let mut names = std::collections::BTreeSet::new();
    let mut versions: Vec<OperatorRules> = all_versions()
        .into_iter()
        .rev()
        .map(|version| OperatorRules::new(version).unwrap())
        .filter(|rules| rules.release_name(Variant::Calico).starts_with('v'))
        .filter(|rules| names.insert(rules.expected_set_name(Variant::Calico)))
        .take(ROUNDS + 1)
        .collect();
    versions.reverse();
    versions
}

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let control_plane = ControlPlane::start("bench").await?;
    let client = control_plane.client();
    let registry = Registry::start(crate::testbox::Kind::Anonymous).await?;
    let proxy = Proxy::start(registry.host()).await?;
    let versions = versions();
    for rules in &versions {
        push(&registry, rules).await?;
    }
    let (first, rest) = versions.split_first().context("no versions")?;
    set_the_scene(&client, proxy.host(), first).await?;

    let folders = Folders::create("bench-controller")?;
    let mut command = Command::new(binary);
    let port = free_port()?;
    command.arg("run").arg("--kubeconfig").arg(control_plane.kubeconfig());
    command.args(["--listen", &format!("127.0.0.1:{port}")]);
    let controller = Process::spawn("imageset-controller", command, &folders.logs.join("controller.log"))?;
    let mut reactions = Vec::new();
    let mut resolving = Vec::new();
    stored(&client, first, async || Ok(())).await?;
    for rules in rest {
        settle(&client).await?;
        proxy.forget();
        let took = stored(&client, rules, async || move_operator(&client, rules).await).await?;
        resolving.push(proxy.busy().as_secs_f64() * 1000.0);
        reactions.push((took.saturating_sub(proxy.busy())).as_secs_f64() * 1000.0);
    }
    settle(&client).await?;
    let before = revision(&client).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let writes = revision(&client).await? - before;
    println!(
        "reaction: median of {ROUNDS}, worst {:.1} ms; resolving {:.1} ms at the median, not counted",
        reactions.iter().copied().fold(0.0, f64::max),
        median(&mut resolving)
    );
    let memory = mebibytes(controller.id(), "VmRSS").context("no VmRSS")?;
    let cause_to_condition = crate::reported::measure(&client, async || settle(&client).await).await?;
    let beside = crate::go_controller::idle_memory(&client, control_plane.kubeconfig()).await?;
    let mut measured = crate::quiet::measure(&client, port, async || settle(&client).await).await?;
    measured.extend([
        cause_to_condition,
        Measured::limited("reaction_less_resolving", median(&mut reactions), 50.0, "ms"),
        Measured::limited("idle_memory", memory, 16.0, "MiB"),
        Measured::beside("idle_memory_of_a_go_controller", beside, "MiB"),
        Measured::limited("idle_memory_to_a_go_controller", memory / beside, 1.0 / 3.0, "of it"),
        // The Lease is renewed; nothing else is written.
        Measured::limited("steady_state_writes", writes as f64, 0.0, "writes"),
    ]);
    Ok(measured)
}

/// Pushes the images of a release.
pub async fn push(registry: &Registry, rules: &OperatorRules) -> Result<()> {
    images::push_release(&registry.access()?, &rules.calico_references(), None).await?;
    Ok(())
}

pub async fn set_the_scene(client: &Client, registry: &str, first: &OperatorRules) -> Result<()> {
    crds::install(client).await?;
    rights::install_kind(client).await?;
    scenery::namespaces(client).await?;
    scenery::operator(client, &image_of(first)).await?;
    apply_yaml(client.clone(), "{apiVersion: v1, kind: Node, metadata: {name: one}}").await?;
    let installation = json!({ "variant": "Calico", "registry": registry });
    scenery::create(client, Kind::Installation, "default", installation).await?;
    let spec = json!({ "mode": "Apply", "registries": [{ "host": registry, "plainHttp": true }] });
    scenery::apply(&scenery::policies(client), &scenery::policy(spec)).await?;
    Ok(())
}

pub async fn move_operator(client: &Client, rules: &OperatorRules) -> Result<()> {
    let patch = Patch::Strategic(scenery::with_image(&image_of(rules)));
    scenery::operators(client).patch(OPERATOR, &PatchParams::default(), &patch).await?;
    Ok(())
}

fn image_of(rules: &OperatorRules) -> String {
    format!("quay.io/tigera/operator:{}", rules.version)
}

/// Does `change`, and says how long it takes from its end until the release's set is there.
pub async fn stored(
    client: &Client,
    rules: &OperatorRules,
    change: impl AsyncFnOnce() -> Result<()>,
) -> Result<Duration> {
    let name = rules.expected_set_name(Variant::Calico);
    let sets = Kind::ImageSet.api(client);
    let list = sets.list(&ListParams::default()).await?;
    let from = list.metadata.resource_version.unwrap_or_default();
    let mut events = sets.watch(&WatchParams::default(), &from).await?.boxed();
    let there = list.items.iter().any(|set| set.name_any() == name);
    change().await?;
    let started = Instant::now();
    if there {
        return Ok(Duration::ZERO);
    }
    let wait = async {
        while let Some(event) = events.try_next().await? {
            if let WatchEvent::Added(set) = event
                && set.name_any() == name
            {
                return Ok(started.elapsed());
            }
        }
        bail!("the watch ended before {name} was stored")
    };
    tokio::time::timeout(STORED_WITHIN, wait).await.with_context(|| format!("{name} was not stored"))?
}

/// Waits until nothing has been written for a second, our Lease apart.
pub async fn settle(client: &Client) -> Result<()> {
    loop {
        let before = revision(client).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        if revision(client).await? == before {
            return Ok(());
        }
    }
}

/// Grows with every write of anything that the controller may write but its Lease: the sum of what each kind is at.
async fn revision(client: &Client) -> Result<u64> {
    let mut sum = 0;
    let records = Api::namespaced_with(client.clone(), CONTROLLER, &Watched::ConfigMap.resource());
    let lists = [Kind::ImageSet.api(client), scenery::policies(client), records];
    for api in lists {
        for object in api.list(&ListParams::default()).await?.items {
            sum += object.resource_version().unwrap_or_default().parse::<u64>()?;
        }
    }
    Ok(sum)
}
