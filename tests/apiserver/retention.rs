//! The way back: how many sets of previous versions stay, and which. Only ours go, only those that nothing needs, and only
//! while the policy says Apply: who leaves the product keeps every set.

use std::collections::BTreeSet;

use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::operator_double::OperatorDouble;
use crate::world::{SOON, Scenery, World, eventually};

impl World {
    async fn set_names(&self) -> BTreeSet<String> {
        let sets = OperatorKind::ImageSet.api(&self.client).list(&ListParams::default()).await.unwrap();
        sets.items.iter().map(ResourceExt::name_any).collect()
    }

    async fn until_sets(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        eventually(&format!("the sets {wanted:?}"), async || (self.set_names().await == wanted).then_some(())).await;
    }

    /// Names in `status.retained`, in their order, once it is these.
    async fn until_retained(&self, wanted: &[&str]) {
        eventually(&format!("{wanted:?} to be retained"), async || {
            let retained = self.status().await["retained"].as_array().cloned().unwrap_or_default();
            let names: Vec<&str> = retained.iter().filter_map(|one| one["imageSet"].as_str()).collect();
            (names == wanted).then_some(())
        })
        .await;
    }

    /// The operator moves, takes over when its set is stored, and its set is in use.
    async fn moved(&self, double: &OperatorDouble, version: &str, set: &str) {
        double.change(|options| options.hold_pods = true);
        self.operator(version).await;
        let wanted = self.wanted(version, false);
        eventually(&format!("{set} to be stored"), async || (self.stored(set).await? == wanted).then_some(())).await;
        double.change(|options| options.hold_pods = false);
        eventually(&format!("{version} to run"), async || {
            let operator = self.status().await["operator"].clone();
            (operator["version"] == version && operator["target"] == version).then_some(())
        })
        .await;
        double.wait_adopted(set, SOON).await.unwrap();
        self.until("Adopted", "True", "AdoptionComplete").await;
    }

    async fn until_seen(&self, policy: Value) {
        self.policy(policy).await;
        eventually("the policy to be seen", async || {
            let policy = self.policies().get("default").await.unwrap();
            (policy.data["status"]["observedGeneration"].as_i64() == policy.metadata.generation).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn previous_sets_are_kept_by_use_and_who_leaves_keeps_them_all() {
    let releases = &["v1.38.6", "v1.40.15", "v1.42.4", "v1.43.0"];
    let world = World::with_calico(Scenery { name: "retention", releases, ..Scenery::default() }, "v1.38.6").await;
    let double = world.double(|_| {});
    let policy = |retain: u32, prepare: &[&str]| {
        let prepare = json!({ "versions": prepare });
        json!({ "mode": "Apply", "retain": retain, "prepare": prepare })
    };
    world.policy(policy(1, &[])).await;
    let mut controller = world.controller("first").await;
    world.moved(&double, "v1.38.6", "calico-v3.30.3").await;
    // Unmanaged, neither counted nor touched.
    let foreign = "calico-v3.29.0";
    world.create(OperatorKind::ImageSet, foreign, json!({ "images": [] })).await;

    // Up: the one before stays, the one before that goes.
    world.moved(&double, "v1.40.15", "calico-v3.31.7").await;
    world.until_retained(&["calico-v3.30.3"]).await;
    world.until_sets(&[foreign, "calico-v3.30.3", "calico-v3.31.7"]).await;
    world.moved(&double, "v1.42.4", "calico-v3.32.1").await;
    world.until_retained(&["calico-v3.31.7"]).await;
    world.until_sets(&[foreign, "calico-v3.31.7", "calico-v3.32.1"]).await;
    let pruned = eventually("the event", async || {
        let reported = world.events("ImageSetPolicy", "default").await;
        let pruned: Vec<_> = reported.into_iter().filter(|(reason, ..)| reason == "ImageSetPruned").collect();
        (!pruned.is_empty()).then_some(pruned)
    })
    .await;
    assert!(pruned.len() == 1 && pruned[0].2.contains("calico-v3.30.3"), "{pruned:#?}");

    // Back, to the set that was kept for it, and on to the next: what was left last is the way back.
    world.moved(&double, "v1.40.15", "calico-v3.31.7").await;
    world.until_retained(&["calico-v3.32.1"]).await;
    // Prepared sets are no previous ones: with these two, nothing is one too many.
    world.policy(policy(1, &["v1.42.4", "v1.43.0"])).await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.moved(&double, "v1.43.0", "calico-v3.32.0").await;
    world.until_retained(&["calico-v3.31.7"]).await;
    let four = [foreign, "calico-v3.31.7", "calico-v3.32.0", "calico-v3.32.1"];
    world.until_sets(&four).await;
    world.until_quiet().await;
    // No longer prepared, it is the one that was used longest ago.
    world.policy(policy(2, &[])).await;
    world.until_retained(&["calico-v3.31.7", "calico-v3.32.1"]).await;
    world.until_sets(&four).await;
    world.policy(policy(1, &[])).await;
    let three = [foreign, "calico-v3.31.7", "calico-v3.32.0"];
    world.until_sets(&three).await;
    world.until_retained(&["calico-v3.31.7"]).await;

    // Back to Observe, the policy deleted, the controller stopped: whatever retain says, no set goes.
    world.until_seen(json!({ "mode": "Observe", "retain": 0 })).await;
    let plan = world.status().await["plan"].clone();
    assert!(plan.to_string().contains("calico-v3.31.7"), "what Apply would delete is told: {plan}");
    world.until_quiet().await;
    world.policies().delete("default", &DeleteParams::default()).await.unwrap();
    world.until_quiet().await;
    assert_eq!(controller.terminate().await.unwrap(), 0);
    world.until_quiet().await;
    world.until_sets(&three).await;
    assert_eq!(world.stored("calico-v3.32.0").await.unwrap(), world.wanted("v1.43.0", false));

    // With Apply it is as announced.
    let controller = world.controller("second").await;
    world.until_seen(json!({ "mode": "Apply", "retain": 0 })).await;
    world.until_sets(&[foreign, "calico-v3.32.0"]).await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    double.stop().await;
    world.finish(&[&controller]).await;
}
