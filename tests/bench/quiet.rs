//! What the controller asks of the API server when there is nothing to write, and while a DaemonSet changes its status many times a
//! second. Its watches do not count.

use std::time::{Duration, Instant};

use anyhow::Result;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::Measured;
use crate::testbox::apply_yaml;
use crate::testbox::controller::get;
use crate::testbox::recorder::Watched;

/// Reconciles that have nothing to write.
const RECONCILES: u32 = 10;
/// Between two changes of the DaemonSet's status.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it changes.
const CHANGES_FOR: Duration = Duration::from_secs(30);

/// A workload of the operator's, of images that nobody pins.
const WORKLOAD: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: calico-system}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: calico-system}
spec:
  selector: {matchLabels: {k8s-app: calico-node}}
  template:
    metadata: {labels: {k8s-app: calico-node}}
    spec: {containers: [{name: calico-node, image: 'quay.io/calico/node:v3.0.0'}]}
";

/// `port` is that of the controller's metrics.
pub async fn measure(client: &Client, port: u16, settle: impl AsyncFn() -> Result<()>) -> Result<Vec<Measured>> {
    apply_yaml(client.clone(), WORKLOAD).await?;
    settle().await?;
    let policies: Api<kube::api::DynamicObject> = Api::all_with(client.clone(), &Watched::Policy.resource());
    // A renewal of the Lease is a patch, and comes by the clock. What is written is measured elsewhere.
    let reads = |verb: &str| verb != "patch";
    let before = requests(port, reads).await?;
    for number in 0..RECONCILES {
        // An annotation that means nothing: it is looked at, at once.
        let patch = json!({ "metadata": { "annotations": { "bench": number.to_string() } } });
        policies.patch("default", &PatchParams::default(), &Patch::Merge(patch)).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let quiet = (requests(port, reads).await? - before) as f64 / f64::from(RECONCILES);

    let workloads: Api<DaemonSet> = Api::namespaced(client.clone(), "calico-system");
    let (before, started) = (requests(port, |_| true).await?, Instant::now());
    let mut number = 0;
    while started.elapsed() < CHANGES_FOR {
        number += 1;
        let status = json!({ "status": {
            "currentNumberScheduled": 1000, "numberMisscheduled": 0, "numberReady": 1000, "desiredNumberScheduled": 1000,
            "updatedNumberScheduled": number, "numberAvailable": number,
        } });
        workloads.patch_status("calico-node", &PatchParams::default(), &Patch::Merge(status)).await?;
        tokio::time::sleep(PAUSE).await;
    }
    let rate = (requests(port, |_| true).await? - before) as f64 / started.elapsed().as_secs_f64();
    println!("quiet: {number} changes of a DaemonSet's status in {:.0} s", started.elapsed().as_secs_f64());
    Ok(vec![
        Measured::limited("quiet_reconcile_api_requests", quiet, 0.0, "requests"),
        Measured::limited("requests_per_second_while_a_daemonset_changes", rate, 2.0, "requests/s"),
    ])
}

/// Requests to the API server so far with these verbs; watches do not count.
async fn requests(port: u16, counts: impl Fn(&str) -> bool) -> Result<u64> {
    let (_, text) = get(port, "/metrics").await?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("imageset_controller_api_requests_total{"));
    let count = |line: &str| {
        let verb = line.split("verb=\"").nth(1)?.split('"').next()?;
        let count = line.rsplit(' ').next()?.parse::<u64>().ok()?;
        (verb != "watch" && counts(verb)).then_some(count)
    };
    Ok(lines.filter_map(count).sum())
}
