//! A build that nobody knows, with most components in one image, as the branch of v1.44 has them: inspected, prepared, run, and
//! rolled back from.

use std::collections::BTreeMap;

use serde_json::json;

use crate::testbox::Kubelet;
use crate::testbox::operator_images::OperatorImages;
use crate::testbox::rules::{OperatorRules, Variant};
use crate::unknown_version::prints;
use crate::world::{INSPECTION, SOON, Scenery, World};

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
