//! Roll-outs of the operator that go another way than forward, by real controllers: one that never ends, one that is undone, a
//! Deployment that is deleted, and an operator that is scaled away. What is pinned stays, and nothing is lost.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::testbox::kubelet::Plays;
use crate::testbox::operator_double::{OperatorDouble, What};
use crate::testbox::recorder::{Verb, Write};
use crate::testbox::{Controller, Kubelet, crds};
use crate::world::{SOON, Scenery, World, eventually};

const CALICO_V3_26: &str = "calico-v3.26.1";
const CALICO_V3_28: &str = "calico-v3.28.2";
const CALICO_V3_30: &str = "calico-v3.30.3";
const CALICO_V3_31: &str = "calico-v3.31.7";
const CALICO_V3_32: &str = "calico-v3.32.1";

/// A cluster in which this operator version has adopted this set.
struct Cluster {
    world: World,
    kubelet: Kubelet,
    double: OperatorDouble,
    controller: Controller,
}

impl Cluster {
    async fn running(name: &'static str, releases: &'static [&'static str], set: &str, policy: Value) -> Self {
        let world = World::start(Scenery { name, releases, roll_outs: true, ..Scenery::default() }).await;
        let kubelet = Kubelet::start_for_all(world.client.clone(), "node-1").await.unwrap();
        kubelet.play("", Plays::Runs);
        world.installation(json!({})).await;
        world.operator(releases[0]).await;
        let double = world.double(|options| (options.play_pods, options.play_workloads) = (false, false));
        world.policy(policy).await;
        let controller = world.controller("first").await;
        let cluster = Self { world, kubelet, double, controller };
        cluster.adopts(releases[0], set).await;
        let prepared = async || (cluster.world.condition("Prepared").await.0 == "True").then_some(());
        eventually("what may come to be prepared", prepared).await;
        cluster
    }

    /// Until the status says that this version runs, and all workloads by this set.
    async fn adopts(&self, version: &str, set: &str) {
        eventually("the status to say that the set is adopted", async || {
            let status = self.world.status().await;
            let (operator, current) = (&status["operator"], &status["current"]);
            let this = operator["version"] == version && operator["target"] == version && current["imageSet"] == set;
            (this && current["adopted"] == true).then_some(())
        })
        .await;
        self.double.wait_adopted(set, SOON).await.unwrap();
        self.world.until("Adopted", "True", "AdoptionComplete").await;
        self.world.until("Ready", "True", "Succeeded").await;
    }

    /// Until the status names these two versions.
    async fn until_versions(&self, running: &str, target: &str) {
        let words = format!("operator {running} runs, {target} is to run");
        self.world.until_message("VersionKnown", "True", "VersionFound", &[&words]).await;
        let operator = self.world.status().await["operator"].clone();
        assert_eq!((&operator["version"], &operator["target"]), (&json!(running), &json!(target)));
    }

    /// Changes the Deployment's image, as a person does.
    async fn upgrade(&self, version: &str) {
        self.world.set_image(&self.world.mirror.operator_image(version)).await.unwrap();
    }

    async fn scale(&self, replicas: i32) {
        let scale = json!({ "spec": { "replicas": replicas } });
        let human = PatchParams::default();
        self.world.deployments().patch_scale("tigera-operator", &human, &Patch::Merge(&scale)).await.unwrap();
    }

    /// Images and names of the operator's pods.
    async fn pods(&self) -> Vec<(String, String)> {
        let pods: Api<Pod> = Api::namespaced(self.world.client.clone(), "tigera-operator");
        let pods = pods.list(&ListParams::default()).await.unwrap().items.into_iter();
        pods.map(|pod| (pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap(), pod.name_any())).collect()
    }

    async fn no_pod_is_left(&self) {
        eventually("the operator's pods to go", async || self.pods().await.is_empty().then_some(())).await;
    }

    /// Until there is a pod of this version.
    async fn has_a_pod_of(&self, version: &str) {
        let image = self.world.mirror.operator_image(version);
        eventually("the new pod", async || self.pods().await.iter().any(|pod| pod.0 == image).then_some(())).await;
    }

    async fn until_stored(&self, set: &str, version: &str) {
        let wanted = self.world.wanted(version, false);
        eventually("the set", async || (self.world.stored(set).await.as_ref() == Some(&wanted)).then_some(())).await;
    }

    /// Writes of ImageSets so far, once the recorder has seen all sets as they are.
    async fn set_writes(&self) -> Vec<Write> {
        let sets = crds::Kind::ImageSet.api(&self.world.client);
        eventually("the recorder to see all sets", async || {
            let sets = sets.list(&ListParams::default()).await.unwrap().items.into_iter();
            let sets: BTreeMap<String, String> =
                sets.map(|set| (set.name_any(), set.resource_version().unwrap())).collect();
            let writes = self.world.writes().into_iter().filter(|write| write.kind == "ImageSet").collect::<Vec<_>>();
            let mut seen = BTreeMap::new();
            for write in &writes {
                match write.verb {
                    Verb::Delete => seen.remove(&write.name),
                    _ => seen.insert(write.name.clone(), write.resource_version.to_string()),
                };
            }
            (seen == sets).then_some(writes)
        })
        .await
    }

    /// How often an operator took over.
    fn take_overs(&self) -> usize {
        let events = self.double.events();
        events.iter().filter(|seen| matches!(seen.what, What::OperatorTookOver { .. })).count()
    }

    /// All went well for the operator, always.
    async fn finish(self) {
        assert!(self.double.degraded_moments().is_empty(), "{:#?}", self.double.degraded_moments());
        self.double.stop().await;
        drop(self.kubelet);
        self.world.finish(&[&self.controller]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_stays_because_the_new_one_is_never_pulled_keeps_its_set() {
    let versions = &["v1.34.5", "v1.30.4", "v1.32.0"];
    let policy = json!({ "mode": "Apply", "prepare": { "versions": ["v1.30.4"] }, "retain": 1 });
    let cluster = Cluster::running("never-pulled", versions, CALICO_V3_28, policy).await;
    cluster.upgrade("v1.30.4").await;
    cluster.adopts("v1.30.4", CALICO_V3_26).await;
    let world = &cluster.world;
    assert_eq!(world.status().await["retained"][0]["imageSet"], CALICO_V3_28);
    let before = cluster.set_writes().await;

    // A version that wants the same name with other content, and no way back kept: the old pod stays and leads.
    let message = || Plays::CannotPull("connection refused".to_owned());
    cluster.kubelet.play("operator:v1.32.0", message());
    cluster.upgrade("v1.32.0").await;
    world.policy(json!({ "mode": "Apply", "retain": 0 })).await;
    cluster.has_a_pod_of("v1.32.0").await;
    cluster.until_versions("v1.30.4", "v1.32.0").await;
    let words = ["ImageSet calico-v3.26.1", "v1.32.0 rejects calico/windows-upgrade", "v1.30.4 runs"];
    world.until_message("Applied", "False", "SameNameConflict", &words).await;
    world.until("Ready", "False", "SameNameConflict").await;
    assert_eq!(cluster.set_writes().await, before, "nothing is swapped, and nothing pruned");
    assert_eq!(world.stored(CALICO_V3_26).await.unwrap(), world.wanted("v1.30.4", false));

    // Another version, which is not pulled either: its set and that of the old one stay, although none is kept for a way back.
    cluster.kubelet.play("operator:v1.34.5", message());
    cluster.upgrade("v1.34.5").await;
    cluster.until_versions("v1.30.4", "v1.34.5").await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Ready", "True", "Succeeded").await;
    let words = ["the operator uses calico-v3.26.1, not calico-v3.28.2"];
    world.until_message("Adopted", "False", "NotSelected", &words).await;
    assert_eq!(cluster.set_writes().await, before, "both sets are needed");

    // It is pulled at last. Only now the old set is one too many.
    cluster.kubelet.play("operator:v1.34.5", Plays::Runs);
    cluster.adopts("v1.34.5", CALICO_V3_28).await;
    eventually("the old set to be pruned", async || world.stored(CALICO_V3_26).await.is_none().then_some(())).await;
    let pruned = cluster.set_writes().await.split_off(before.len());
    let pruned: Vec<_> = pruned.iter().map(|write| (write.verb, write.name.as_str())).collect();
    assert_eq!(pruned, [(Verb::Delete, CALICO_V3_26)]);
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_that_is_undone_half_way_leaves_all_as_it_was() {
    let policy = json!({ "mode": "Apply" });
    let cluster = Cluster::running("undone", &["v1.40.15", "v1.42.4"], CALICO_V3_31, policy).await;
    let world = &cluster.world;
    let pods = cluster.pods().await;
    cluster.kubelet.play("operator:v1.42.4", Plays::Waits);
    cluster.upgrade("v1.42.4").await;
    cluster.has_a_pod_of("v1.42.4").await;
    cluster.until_versions("v1.40.15", "v1.42.4").await;
    cluster.until_stored(CALICO_V3_32, "v1.42.4").await;
    world.until("Applied", "True", "ImageSetStored").await;
    let words = ["the operator uses calico-v3.31.7, not calico-v3.32.1"];
    world.until_message("Adopted", "False", "NotSelected", &words).await;

    undo(world, &world.mirror.operator_image("v1.40.15")).await;
    cluster.adopts("v1.40.15", CALICO_V3_31).await;
    eventually("the new pod to go", async || (cluster.pods().await == pods).then_some(())).await;
    assert_eq!(cluster.take_overs(), 1, "the old pod has led all the time");
    let retained = world.status().await["retained"].clone();
    let named = (&retained[0]["imageSet"], &retained[0]["operatorVersion"], retained.as_array().map(Vec::len));
    assert_eq!(named, (&json!(CALICO_V3_32), &json!("v1.42.4"), Some(1)), "{retained}");
    let writes = cluster.set_writes().await;
    let writes: Vec<_> = writes.iter().map(|write| (write.verb, write.name.as_str())).collect();
    assert_eq!(writes, [(Verb::Create, CALICO_V3_31), (Verb::Create, CALICO_V3_32)]);

    // The second attempt finds its set.
    cluster.kubelet.play("operator:v1.42.4", Plays::Runs);
    cluster.upgrade("v1.42.4").await;
    cluster.adopts("v1.42.4", CALICO_V3_32).await;
    assert_eq!(cluster.set_writes().await.len(), 2);
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_deleted_and_made_again_with_another_version_finds_its_set() {
    let policy = json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] } });
    let cluster = Cluster::running("deleted", &["v1.40.15", "v1.42.4", "v1.38.6"], CALICO_V3_31, policy).await;
    let world = &cluster.world;
    let before = cluster.set_writes().await;

    world.deployments().delete("tigera-operator", &DeleteParams::background()).await.unwrap();
    let words = ["Deployment tigera-operator/tigera-operator: it is gone", "nothing is changed"];
    world.until_message("VersionKnown", "True", "OperatorGone", &words).await;
    cluster.no_pod_is_left().await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    let status = world.status().await;
    assert_eq!(
        (&status["operator"]["version"], &status["operator"]["target"]),
        (&json!("v1.40.15"), &json!("v1.40.15"))
    );
    assert_eq!(status["current"]["imageSet"], CALICO_V3_31);
    assert_eq!(cluster.set_writes().await, before);

    // The version that was prepared.
    world.operator("v1.42.4").await;
    cluster.adopts("v1.42.4", CALICO_V3_32).await;
    assert_eq!(cluster.set_writes().await, before, "it was there");
    assert!(world.stored(CALICO_V3_31).await.is_some(), "the way back is kept");

    // And one that was not: its set comes while its pod starts, and that of the last one that ran stays.
    world.deployments().delete("tigera-operator", &DeleteParams::background()).await.unwrap();
    world.until_message("VersionKnown", "True", "OperatorGone", &words).await;
    cluster.no_pod_is_left().await;
    cluster.kubelet.play("operator:v1.38.6", Plays::Waits);
    world.operator("v1.38.6").await;
    cluster.until_versions("v1.42.4", "v1.38.6").await;
    cluster.until_stored(CALICO_V3_30, "v1.38.6").await;
    assert!(world.stored(CALICO_V3_32).await.is_some());
    cluster.kubelet.play("operator:v1.38.6", Plays::Runs);
    cluster.adopts("v1.38.6", CALICO_V3_30).await;
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_scaled_away_and_back_finds_all_as_it_left_it() {
    let policy = json!({ "mode": "Apply" });
    let cluster = Cluster::running("scaled", &["v1.30.4", "v1.32.0"], CALICO_V3_26, policy).await;
    let world = &cluster.world;
    let before = cluster.set_writes().await;
    cluster.scale(0).await;
    cluster.no_pod_is_left().await;
    world.until_message("VersionKnown", "True", "VersionFound", &["operator v1.30.4"]).await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Adopted", "True", "AdoptionComplete").await;
    assert_eq!(world.status().await["operator"]["version"], "v1.30.4", "the last that ran");
    assert_eq!(cluster.set_writes().await, before);

    cluster.scale(1).await;
    eventually("the operator to be back", async || (cluster.take_overs() == 2).then_some(())).await;
    cluster.adopts("v1.30.4", CALICO_V3_26).await;
    assert_eq!(cluster.set_writes().await, before);

    // Another version of the same name, while nobody runs: the content is swapped at once, and there is no gap.
    cluster.scale(0).await;
    cluster.no_pod_is_left().await;
    world.recorder.allow_repin(CALICO_V3_26);
    cluster.upgrade("v1.32.0").await;
    cluster.until_versions("v1.30.4", "v1.32.0").await;
    cluster.until_stored(CALICO_V3_26, "v1.32.0").await;
    world.until("Applied", "True", "ImageSetStored").await;
    cluster.scale(1).await;
    cluster.adopts("v1.32.0", CALICO_V3_26).await;
    let swap = cluster.set_writes().await.split_off(before.len());
    let swap: Vec<_> = swap.iter().map(|write| (write.verb, write.name.as_str())).collect();
    assert_eq!(swap, [(Verb::Update, CALICO_V3_26)]);
    assert_eq!(world.status().await["lastSwap"], Value::Null, "nobody has waited for it");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_operator_that_is_being_ended_keeps_its_set_until_it_is_gone() {
    let policy = json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] }, "retain": 0 });
    let cluster = Cluster::running("ending", &["v1.40.15", "v1.42.4"], CALICO_V3_31, policy).await;
    let world = &cluster.world;
    let before = cluster.set_writes().await;
    cluster.kubelet.hold_deleted(true);
    cluster.upgrade("v1.42.4").await;
    let new = world.mirror.operator_image("v1.42.4");
    let deployments = world.deployments();
    eventually("the roll-out to be complete", async || {
        let deployment = deployments.get("tigera-operator").await.unwrap();
        let status = deployment.status.unwrap();
        // The counts are those of the template that the controller has seen.
        let seen = status.observed_generation == deployment.metadata.generation;
        let counts = [status.updated_replicas, status.replicas, status.ready_replicas];
        (seen && counts == [Some(1); 3]).then_some(())
    })
    .await;
    assert_eq!(cluster.pods().await.iter().filter(|pod| pod.0 == new).count(), 1);
    cluster.until_versions("v1.40.15", "v1.42.4").await;
    world.policy(json!({ "mode": "Apply", "retain": 0 })).await;
    world.until("Applied", "True", "ImageSetStored").await;
    assert_eq!(cluster.set_writes().await, before, "the old one may still reconcile");

    cluster.kubelet.hold_deleted(false);
    cluster.adopts("v1.42.4", CALICO_V3_32).await;
    eventually("the old set to be pruned", async || world.stored(CALICO_V3_31).await.is_none().then_some(())).await;
    cluster.finish().await;
}

/// As `kubectl rollout undo` does it: the template of the ReplicaSet before.
async fn undo(world: &World, image: &str) {
    let sets: Api<ReplicaSet> = Api::namespaced(world.client.clone(), "tigera-operator");
    let sets = sets.list(&ListParams::default()).await.unwrap().items.into_iter();
    let mut templates = sets.map(|set| json!(set.spec.unwrap().template));
    let mut template = templates.find(|template| template["spec"]["containers"][0]["image"] == image).unwrap();
    template["metadata"]["labels"].as_object_mut().unwrap().remove("pod-template-hash");
    let back = Patch::Merge(json!({ "spec": { "template": template } }));
    world.change_operator(back, &PatchParams::default()).await.unwrap();
}

/// Gives the operator's pods of this image another one, as an admission webhook that swaps registries and pins digests does.
async fn rewrite_images(world: &World, image: &str) {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "tigera-operator");
    let digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    eventually("the pods to be rewritten", async || {
        let found = pods.list(&ListParams::default()).await.unwrap().items;
        let name = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap_or_default();
        for pod in found.iter().filter(|pod| name(pod) == image) {
            let swapped = image.split_once('/').unwrap().1;
            let containers =
                json!([{ "name": "tigera-operator", "image": format!("swap.example/{swapped}@{digest}") }]);
            let patch = Patch::Strategic(json!({ "spec": { "containers": containers } }));
            pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await.unwrap();
        }
        found.iter().any(|pod| name(pod).starts_with("swap.example/")).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_completes_although_a_webhook_rewrites_the_images_of_pods() {
    let policy = json!({ "mode": "Apply", "retain": 0 });
    let cluster = Cluster::running("rewritten", &["v1.40.15", "v1.42.4"], CALICO_V3_31, policy).await;
    let world = &cluster.world;
    let (old, new) = (world.mirror.operator_image("v1.40.15"), world.mirror.operator_image("v1.42.4"));
    rewrite_images(world, &old).await;
    cluster.kubelet.play("operator:v1.42.4", Plays::Waits);
    cluster.upgrade("v1.42.4").await;
    rewrite_images(world, &new).await;
    cluster.until_versions("v1.40.15", "v1.42.4").await;
    cluster.until_stored(CALICO_V3_32, "v1.42.4").await;

    // The new pod gets Ready, the old one goes, and with it the set that only that one needed.
    cluster.kubelet.play("operator:v1.42.4", Plays::Runs);
    cluster.adopts("v1.42.4", CALICO_V3_32).await;
    eventually("the old set to be pruned", async || world.stored(CALICO_V3_31).await.is_none().then_some(())).await;
    cluster.finish().await;
}
