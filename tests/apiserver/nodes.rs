//! Nodes that an image cannot run on: what a single node reports and what Windows nodes lack is a warning, and so is what the operator's
//! own image lacks.

use serde_json::{Value, json};

use crate::testbox::images::Image;
use crate::testbox::scenery::node;
use crate::world::{Scenery, World, eventually};

impl World {
    /// Until the findings of this reason are such, each as its message.
    async fn until_findings(&self, reason: &str, such: impl Fn(&[String]) -> bool) -> Vec<String> {
        eventually(reason, async || {
            let message = |finding: &Value| finding["message"].as_str().unwrap_or_default().to_owned();
            let messages: Vec<String> = self.findings(reason).await.iter().map(message).collect();
            such(&messages).then_some(messages)
        })
        .await
    }
}

/// What the kubelet of a Windows node reports.
fn windows(kernel: &str) -> Value {
    let mut info = crate::testbox::scenery::node_info("amd64");
    (info["operatingSystem"], info["kernelVersion"]) = (json!("windows"), json!(kernel));
    info
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_no_image_fits_is_a_warning_and_the_set_is_stored() {
    let scenery = Scenery { name: "odd-nodes", releases: &["v1.42.4"], ..Scenery::default() };
    let world = World::start(scenery).await;
    // The mirror has amd64 and arm64, and Windows images for Server 2019 and 2022.
    world.node("edge-1", "s390x").await;
    node(&world.client, "win-old", windows("10.0.14393.7606")).await.unwrap();
    node(&world.client, "win-new", windows("10.0.26100.1742")).await.unwrap();
    world.installation(json!({ "calicoNetwork": { "windowsDataplane": "Disabled" } })).await;
    world.operator("v1.42.4").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    world.until("Applied", "True", "ImageSetStored").await;
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    let found = world.until_findings("NodesNotServed", |found| found.len() == 1).await;
    assert!(found[0].contains("edge-1 (linux/s390x)") && !found[0].contains("win"), "{found:?}");

    // With a Windows data plane, the node that is too old for all images is named; a later one runs those for Server 2022.
    world.installation(json!({ "calicoNetwork": { "windowsDataplane": "HNS" } })).await;
    let found = world.until_findings("NodesNotServed", |found| found.iter().any(|one| one.contains("win-old"))).await;
    assert!(found[0].contains("calico/node-windows") && !found[0].contains("win-new"), "{found:?}");
    world.until("Ready", "True", "Succeeded").await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_image_that_lacks_a_platform_is_a_warning_until_it_is_mirrored() {
    let scenery = Scenery { name: "operator-platform", releases: &["v1.42.4"], ..Scenery::default() };
    let world = World::start(scenery).await;
    let repository = world.mirror.repository("tigera/operator");
    let labels = [("version", "v1.42.4")];
    let single = Image::single_with_labels("operator", ("linux", "amd64", None), &labels).unwrap();
    world.push(&repository, "v1.42.4", &single).await;
    world.installation(json!({})).await;
    world.operator("v1.42.4").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    let found = world.until_findings("OperatorPlatformMissing", |found| found.len() == 1).await;
    assert!(found[0].contains("nothing for linux/arm64 (it has linux/amd64)"), "{found:?}");
    // No reconcile asks for it before the next check, and the finding stays.
    world.until_quiet().await;
    assert_eq!(world.until_findings("OperatorPlatformMissing", |found| found.len() == 1).await, found);

    let whole = Image::of_reference("quay.io/tigera/operator:v1.42.4").unwrap();
    world.push(&repository, "v1.42.4", &whole).await;
    world.verb(&["refresh"]).await;
    world.until_findings("OperatorPlatformMissing", <[String]>::is_empty).await;
    world.finish(&[&controller]).await;
}
