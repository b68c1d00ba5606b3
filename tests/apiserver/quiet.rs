//! A reconcile of an unchanged cluster makes no API request: what it needs is in the stores of the watches.

use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::testbox::controller::Manner;
use crate::testbox::{Controller, apply_yaml};
use crate::world::{Scenery, World, eventually};

/// Requests of a controller to the API server so far, its watches apart.
async fn requests(controller: &Controller) -> u64 {
    let metrics = controller.get("/metrics").await.unwrap().1;
    let lines = metrics.lines().filter(|line| line.starts_with("imageset_controller_api_requests_total{"));
    let counts = lines.filter(|line| !line.contains("verb=\"watch\"")).filter_map(|line| line.rsplit(' ').next());
    counts.map(|count| count.parse::<u64>().unwrap()).sum()
}

/// Reconciles so far.
fn reconciles(controller: &Controller) -> usize {
    controller.logged("reconcile completed").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconcile_of_an_unchanged_cluster_makes_no_api_request() {
    let world = World::start(Scenery { name: "quiet", releases: &["v1.40.15"], ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    // Renewals of a Lease come by the clock.
    let arguments = vec!["--leader-elect=false".to_owned()];
    let controller = world.controller_as(&Manner { arguments, ..Manner::default() }, "first").await;
    world.until("Ready", "True", "Succeeded").await;
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: calico-system}}";
    apply_yaml(world.client.clone(), namespace).await.unwrap();
    let workloads: Api<DaemonSet> = Api::namespaced(world.client.clone(), "calico-system");
    let labels = json!({ "app": "other" });
    let other = json!({
        "metadata": { "name": "other" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "a", "image": "a.example/b:c" }] } },
        },
    });
    workloads.create(&PostParams::default(), &serde_json::from_value(other).unwrap()).await.unwrap();
    world.until_quiet().await;

    // What is none of its business, so that it reconciles and has nothing to write.
    let (requested, reconciled) = (requests(&controller).await, reconciles(&controller));
    for number in 0..5 {
        world.annotate(json!({ "unrelated": number.to_string() })).await;
        let so_far = reconciles(&controller);
        eventually("a reconcile", async || (reconciles(&controller) > so_far).then_some(())).await;
    }
    assert_eq!(requests(&controller).await, requested, "{} reconciles", reconciles(&controller) - reconciled);

    // A status that changes often is acted upon about once in a second, and what is not kept of it not at all.
    let (reconciled, started) = (reconciles(&controller), Instant::now());
    let status = async |field: &str, number: u32| {
        let status = json!({ "status": { "currentNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
            "desiredNumberScheduled": 100, field: number } });
        workloads.patch_status("other", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    };
    for number in 1..=60 {
        status("updatedNumberScheduled", number).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let most = 4 + usize::try_from(started.elapsed().as_secs()).unwrap();
    let during = reconciles(&controller) - reconciled;
    assert!(during <= most, "{during} reconciles in {:?}", started.elapsed());
    world.until_quiet().await;
    let (requested, reconciled) = (requests(&controller).await, reconciles(&controller));
    for number in 1..=20 {
        status("numberReady", number).await;
    }
    world.annotate(json!({ "unrelated": "last" })).await;
    eventually("a reconcile", async || (reconciles(&controller) > reconciled).then_some(())).await;
    assert_eq!(reconciles(&controller), reconciled + 1, "for the annotation alone");
    assert_eq!(requests(&controller).await, requested);
    world.finish(&[&controller]).await;
}
