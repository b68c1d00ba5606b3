//! A build that nobody knows, with most components in one image, as the branch of v1.44 has them: inspected, prepared, run, and
//! rolled back from.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::pods::Cluster;
use crate::testbox::Kubelet;
use crate::testbox::kubelet::Plays;
use crate::testbox::operator_images::OperatorImages;
use crate::testbox::rules::{OperatorRules, Variant};
use crate::unknown_version::prints;
use crate::world::{INSPECTION, SOON, Scenery, World, eventually};

fn merged() -> OperatorRules {
    OperatorRules::merged("v1.44.0", "v3.33.0").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_to_a_build_with_merged_images_is_adopted_and_can_be_undone() {
    let rules = merged();
    assert_eq!(rules.names_of(Variant::Calico).len(), 13);
    let operators = OperatorImages::new().with_tag("v1.44.0", rules.clone());
    let scenery =
        Scenery { name: "merged-images", releases: &["v1.43.0"], operators, jobs: true, ..Scenery::default() };
    let mut world = World::with_calico(scenery, "v1.43.0").await;
    world.mirror.push_build(&rules, &[]).await.unwrap();
    let kubelet = Kubelet::start(world.client.clone(), "kubelet", INSPECTION).await.unwrap();
    kubelet.play("/operator@sha256:", prints(rules.printed_version(), rules.printed_list()));
    let double = world.double(|_| {});
    let images = json!({ "exclude": ["calico/node-windows"] });
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.44.0"] }, "images": images })).await;
    let controller = world.controller("first").await;
    double.wait_adopted("calico-v3.32.0", SOON).await.unwrap();
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    let mut wanted: BTreeMap<String, String> = world.mirror.wanted_by(&rules, false).unwrap();
    wanted.remove("calico/node-windows");
    assert_eq!(world.stored("calico-v3.33.0").await.unwrap(), wanted);
    world.until("Ready", "True", "Succeeded").await;
    let findings = world.status().await["findings"].to_string();
    assert!(findings.contains("OmissionUnproven") && findings.contains("calico/node-windows"), "{findings}");

    world.operator("v1.44.0").await;
    double.wait_adopted("calico-v3.33.0", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until("Drifted", "False", "NoDrift").await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());

    world.operator("v1.43.0").await;
    double.wait_adopted("calico-v3.32.0", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    double.stop().await;
    world.finish(&[&controller]).await;
}

/// Names of the objects of the findings of this reason.
async fn objects(world: &World, reason: &str) -> Vec<String> {
    let name = |finding: Value| finding["object"]["name"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = world.findings(reason).await.into_iter().map(name).collect();
    names.sort();
    names
}

/// Most workloads run one image, by one entry of the set. What goes wrong with one of them is not reported of the others.
#[tokio::test(flavor = "multi_thread")]
async fn workloads_that_share_an_image_are_reported_one_by_one() {
    const SET: &str = "calico-v3.33.0";
    let rules = merged();
    let operators = OperatorImages::new().with_tag("v1.44.0", rules.clone());
    let scenery = Scenery { name: "shared-image", releases: &[], operators, ..Scenery::default() };
    let mut world = World::start(Scenery { jobs: true, roll_outs: true, ..scenery }).await;
    world.mirror.push_build(&rules, &[]).await.unwrap();
    let kubelet = Kubelet::start_for_all(world.client.clone(), "node-1").await.unwrap();
    kubelet.play("", Plays::Runs);
    kubelet.play("/operator@sha256:", prints(rules.printed_version(), rules.printed_list()));
    world.installation(json!({})).await;
    world.operator("v1.44.0").await;
    let double = world.double(|options| (options.play_pods, options.play_workloads) = (false, false));
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let cluster = Cluster { world, kubelet, double };
    let world = &cluster.world;
    cluster.double.wait_adopted(SET, SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until("Drifted", "False", "NoDrift").await;

    // Typha and kube-controllers cannot pull any more; the CSI driver, which runs the same image, goes on.
    let digest = world.stored(SET).await.unwrap()["calico/calico"].clone();
    let image = format!("{}/mirror/calico/calico@{digest}", world.mirror.registry.host());
    let text = format!("failed to pull and unpack image \"{image}\": failed to resolve image: {image}: not found");
    cluster.kubelet.play("/calico@", Plays::CannotPull(text));
    let failing = ["calico-kube-controllers", "calico-typha"];
    for workload in failing {
        cluster.replace_pods_of(workload).await;
    }
    let all = async || (objects(world, "PullNotFound").await == failing).then_some(());
    eventually("both to be reported", all).await;
    for finding in world.findings("PullNotFound").await {
        let message = finding["message"].as_str().unwrap();
        assert!(message.contains(&format!("calico/calico of ImageSet {SET}")), "{message}");
    }
    let message =
        world.until_message("Adopted", "False", "RollingOut", &["Deployment calico-system/calico-typha"]).await;
    assert!(!message.contains("csi-node-driver"), "{message}");
    cluster.kubelet.play("/calico@", Plays::Runs);
    for workload in failing {
        cluster.replace_pods_of(workload).await;
    }
    world.until("ImagePullFailing", "False", "NoPullFailure").await;
    world.until("Adopted", "True", "AdoptionComplete").await;

    // Somebody sets one of them back to its tag while the operator is away.
    let Cluster { world, kubelet, double } = cluster;
    double.stop().await;
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), "calico-system");
    let by_tag = format!("{}:v3.33.0", image.split_once('@').unwrap().0);
    let containers = json!([{ "name": "calico-typha", "image": by_tag }]);
    let patch = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
    deployments.patch("calico-typha", &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    world
        .until_message("Drifted", "True", "WorkloadNotPinned", &["Deployment calico-system/calico-typha", &by_tag])
        .await;
    assert_eq!(objects(&world, "WorkloadNotPinned").await, ["calico-typha"]);
    let message =
        world.until_message("Adopted", "False", "RollingOut", &["Deployment calico-system/calico-typha"]).await;
    assert!(!message.contains("calico-kube-controllers"), "{message}");
    drop(kubelet);
    world.finish(&[&controller]).await;
}
