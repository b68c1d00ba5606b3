//! What drifts, on a real control plane and registry: each cause is made by hand, told within seconds or at the next check, once,
//! and not any more when it is mended.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::testbox::checkout::assert_contains;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::recorder::HUMAN;
use crate::world::{SOON, Scenery, World, eventually};

const SET: &str = "calico-v3.31.7";
const NODE: &str = "calico-node";

impl World {
    /// Findings of this reason, as the status has them.
    pub async fn findings(&self, reason: &str) -> Vec<Value> {
        let status = self.status().await;
        let all = status["findings"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|finding| finding["reason"] == reason).collect()
    }

    /// Returns how often an event of this reason was published about an object.
    pub async fn event_count(&self, kind: &str, name: &str, reason: &str) -> i32 {
        let events = self.events(kind, name).await;
        events.iter().filter(|(one, ..)| one == reason).map(|(_, count, _)| count).sum()
    }

    /// A cluster that runs v1.40.15 by digest.
    async fn adopted(&self) {
        self.installation(json!({})).await;
        self.operator("v1.40.15").await;
        self.policy(json!({ "mode": "Apply" })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_deleted_from_the_registry_is_reported_at_the_next_check() {
    let world = World::start(Scenery { name: "drift-registry", ..Scenery::default() }).await;
    world.adopted().await;
    let controller = world.controller("first").await;
    world.until("Drifted", "False", "NoDrift").await;
    world.until("Applied", "True", "ImageSetStored").await;

    let host = world.mirror.registry.host();
    let verify = ["verify", "--plain-http", &host];
    let (code, stdout, stderr) = world.verb(&verify).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(&stdout, &["ImageSet calico-v3.31.7 for operator v1.40.15: 18 of 18 entries in sync"]);

    // A tag moves. Nothing that is pinned changes; both short digests are reported, and the next step.
    let before = world.stored(SET).await.unwrap();
    let moved = Image::index("moved", LINUX_PLATFORMS).unwrap();
    world.push(&world.mirror.repository("calico/node"), "v3.31.7", &moved).await;
    let (code, _, stderr) = world.verb(&["refresh"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let message =
        world.until_message("Drifted", "True", "TagMoved", &["calico/node:v3.31.7", "spec.tagMoved: Repin"]).await;
    let found = world.findings("TagMoved").await;
    let cut = |digest: &str| digest[..19].to_owned();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["have"], json!(cut(&moved.digest())));
    assert_eq!(found[0]["want"], json!(cut(&before["calico/node"])));
    assert!(found[0]["since"].is_string() && found[0]["nextStep"].is_string(), "{found:?}");
    assert_eq!(found[0]["object"], json!({ "kind": "ImageSet", "name": SET }));
    let (_, screen, _) = world.verb(&["status"]).await;
    assert_contains(&screen, &["DRIFT", "TagMoved (", &cut(&moved.digest()), "→ find out why"]);
    let (code, stdout, _) = world.verb(&verify).await;
    assert_eq!(code, 1);
    assert_contains(&stdout, &["17 of 18 entries in sync", "TagMoved: calico/node: ", &cut(&moved.digest())]);

    // The registry collects what no tag names any more.
    let access = world.mirror.registry.access().unwrap();
    let repository = world.mirror.repository("calico/node");
    images::delete(&access, &repository, &before["calico/node"]).await.unwrap();
    world.verb(&["refresh"]).await;
    world.until_message("Drifted", "True", "DigestGone", &["calico/node", "push or mirror it again"]).await;
    assert_eq!(world.findings("TagMoved").await, found, "told since the same moment, in the same words: {message}");

    // An image is gone altogether.
    images::delete(&access, &world.mirror.repository("calico/csi"), &before["calico/csi"]).await.unwrap();
    world.verb(&["refresh"]).await;
    world.until_message("Drifted", "True", "DigestGone", &["calico/csi", "calico/node"]).await;
    assert_eq!(world.stored(SET).await.unwrap(), before);

    // Mended: the digests are there again, and the tags are what they were.
    for name in ["calico/node", "calico/csi"] {
        let image = Image::of_reference(&format!("quay.io/{name}:v3.31.7")).unwrap();
        assert_eq!(image.digest(), before[name]);
        world.push(&world.mirror.repository(name), "v3.31.7", &image).await;
    }
    world.verb(&["refresh"]).await;
    world.until("Drifted", "False", "NoDrift").await;
    // Events come after the status.
    let mended = async || (world.event_count("ImageSetPolicy", "default", "NoDrift").await > 0).then_some(());
    eventually("the event that all is well", mended).await;
    for (reason, times) in [("TagMoved", 1), ("DigestGone", 1), ("NoDrift", 1)] {
        let about = world.event_count("ImageSetPolicy", "default", reason).await;
        assert_eq!(about, times, "{reason}: {:?}", world.events("ImageSetPolicy", "default").await);
    }
    assert_eq!(world.event_count("ImageSet", SET, "TagMoved").await, 1);
    world.until_quiet().await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_people_is_reported_within_seconds() {
    let world = World::start(Scenery { name: "drift-people", ..Scenery::default() }).await;
    world.adopted().await;
    // The rollout ends in a later second than the one in which the set is written.
    let double = world.double(|options| options.roll_out = Duration::from_secs(2));
    let controller = world.controller("first").await;
    double.wait_adopted(SET, SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;

    // A template is changed while the operator is away: which workload, what it has, what is pinned.
    double.stop().await;
    let daemon_sets: Api<DaemonSet> = Api::namespaced(world.client.clone(), "calico-system");
    let pinned = daemon_sets.get(NODE).await.unwrap();
    let image = |set: &DaemonSet| {
        let containers = &set.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers;
        containers.iter().find(|one| one.name == NODE).unwrap().image.clone().unwrap()
    };
    let with = |image: &str| {
        let containers = json!([{ "name": NODE, "image": image }]);
        Patch::Strategic(json!({ "spec": { "template": { "spec": { "containers": containers } } } }))
    };
    let by_tag = format!("{}:v3.31.7", image(&pinned).split_once('@').unwrap().0);
    daemon_sets.patch(NODE, &PatchParams::default(), &with(&by_tag)).await.unwrap();
    let words = ["DaemonSet calico-system/calico-node", by_tag.as_str(), "see whether the operator runs"];
    world.until_message("Drifted", "True", "WorkloadNotPinned", &words).await;
    let message = world.until_message("Adopted", "False", "RollingOut", &["DaemonSet calico-system/calico-node"]).await;
    assert!(message.contains("not pinned yet"), "{message}");
    eventually("the event on the DaemonSet", async || {
        (world.event_count("DaemonSet", NODE, "WorkloadNotPinned").await == 1).then_some(())
    })
    .await;
    let (_, screen, _) = world.verb(&["status"]).await;
    assert_contains(
        &screen,
        &["ROLLING", "DaemonSet calico-system/calico-node   not pinned yet", "DRIFT", "WorkloadNotPinned"],
    );
    daemon_sets.patch(NODE, &PatchParams::default(), &with(&image(&pinned))).await.unwrap();
    world.until("Drifted", "False", "NoDrift").await;

    // Sets that no operator reads are noted, and nothing is wrong with that.
    let entries = json!({ "images": [{ "image": "calico/node", "digest": format!("sha256:{}", "a".repeat(64)) }] });
    world.create(OperatorKind::ImageSet, "calico-3.31.7", entries.clone()).await;
    eventually("the note", async || (world.findings("StrayImageSet").await.len() == 1).then_some(())).await;
    world.until("Drifted", "False", "NoDrift").await;
    world.recorder.allow_delete("calico-3.31.7");
    world.delete_set("calico-3.31.7").await;
    eventually("the end of the note", async || world.findings("StrayImageSet").await.is_empty().then_some(())).await;

    // Observe: an edited set stays, and the report says who changed what.
    world.policy(json!({ "mode": "Observe" })).await;
    // A reconcile that is still under way acts for the previous policy.
    world.until("Ready", "True", "Succeeded").await;
    world.edit_set(SET, |images| images.retain(|entry| entry["image"] != "calico/csi")).await;
    world.until_message("Drifted", "True", "ImageSetEdited", &[HUMAN, "calico/csi"]).await;
    let found = world.findings("ImageSetEdited").await;
    assert_eq!(found[0]["have"], json!("calico/csi no entry"), "{found:?}");
    world.policy(json!({ "mode": "Apply" })).await;
    world.until("Drifted", "False", "NoDrift").await;
    assert_eq!(world.stored(SET).await.unwrap(), world.wanted("v1.40.15", false));
    world.until_quiet().await;
    world.finish(&[&controller]).await;
}

/// The operator says nothing, and the wrong images run.
#[tokio::test(flavor = "multi_thread")]
async fn a_fips_cluster_with_non_fips_images_is_reported() {
    let scenery = Scenery { name: "drift-fips", releases: &["v1.38.6"], ..Scenery::default() };
    let world = World::start(scenery).await;
    world.installation(json!({ "fipsMode": "Enabled" })).await;
    world.operator("v1.38.6").await;
    let normal = world.wanted("v1.38.6", false);
    let images: Vec<Value> = normal.iter().map(|(image, digest)| json!({ "image": image, "digest": digest })).collect();
    world.create(OperatorKind::ImageSet, "calico-v3.30.3", json!({ "images": images })).await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let words = ["fipsMode is Enabled and the set pins the normal images", "calico/node:v3.30.3-fips"];
    world.until_message("Drifted", "True", "FipsMismatch", &words).await;
    world.until("Applied", "True", "ForeignImageSetAccepted").await;
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!(world.stored("calico-v3.30.3").await.unwrap(), normal, "it is somebody else's");
    // As the next step says.
    world.recorder.allow_take_ownership("calico-v3.30.3");
    world.recorder.allow_repin("calico-v3.30.3");
    world.policy(json!({ "mode": "Apply", "takeOwnership": true })).await;
    world.until("Drifted", "False", "NoDrift").await;
    assert_eq!(world.stored("calico-v3.30.3").await.unwrap(), world.wanted("v1.38.6", true));
    let sets = OperatorKind::ImageSet.api(&world.client).list(&ListParams::default()).await.unwrap();
    assert_eq!(sets.items.len(), 1);
    world.until_quiet().await;
    world.finish(&[&controller]).await;
}

/// Sets that are right for another version, place or choice of images than the cluster has now.
#[tokio::test(flavor = "multi_thread")]
async fn unsuitable_sets_are_reported_before_and_when_they_break_the_operator() {
    let mut world = World::with_calico(Scenery { name: "drift-sets", ..Scenery::default() }, "v1.40.15").await;
    let images = json!({ "onMissing": "OmitUnneeded" });
    world.policy(json!({ "mode": "Apply", "images": images })).await;
    let double = world.double(|_| {});
    let access = world.mirror.registry.access().unwrap();
    let wanted = world.wanted("v1.40.15", false);
    images::delete(&access, &world.mirror.repository("calico/whisker"), &wanted["calico/whisker"]).await.unwrap();
    let controller = world.controller("first").await;
    double.wait_adopted(SET, SOON).await.unwrap();
    world.until("Drifted", "False", "NoDrift").await;
    let note = world.findings("FeatureImageMissing").await;
    assert!(
        note[0]["message"].as_str().unwrap().contains("not listed: calico/whisker, required for Whisker"),
        "{note:?}"
    );

    // The feature is enabled: the operator requires what the registry does not have.
    world.create(OperatorKind::Whisker, "default", json!({})).await;
    world.create(OperatorKind::Goldmane, "default", json!({})).await;
    let words = ["operator v1.40.15 insists on calico/whisker for Whisker and Goldmane", "see Resolved"];
    world.until_message("Drifted", "True", "RequiredImageMissing", &words).await;
    world.until("Resolved", "False", "ImageMissing").await;
    let image = Image::of_reference("quay.io/calico/whisker:v3.31.7").unwrap();
    world.push(&world.mirror.repository("calico/whisker"), "v3.31.7", &image).await;
    world.verb(&["refresh"]).await;
    world.until("Drifted", "False", "NoDrift").await;
    double.wait_healthy(SOON).await.unwrap();
    assert_eq!(world.stored(SET).await.unwrap(), wanted);

    // While the policy observes the cluster moves to another place: the stored set has what was made from the old one.
    world.policy(json!({ "mode": "Observe" })).await;
    world.until("Ready", "True", "Succeeded").await;
    world.installation(json!({ "imagePath": "elsewhere" })).await;
    world.until_message("Drifted", "True", "ImageSetOutdated", &["made from another registry, imagePath"]).await;
    world.installation(json!({})).await;
    world.until("Drifted", "False", "NoDrift").await;

    // The Deployment moves, and nobody stores the next set: reported before the new operator stops, and after that.
    double.change(|options| options.hold_pods = true);
    world.operator("v1.42.4").await;
    let words = ["ImageSet calico-v3.32.1", "operator v1.42.4 is to run and will stop", SET];
    world.until_message("Drifted", "True", "ImageSetWillBlock", &words).await;
    double.change(|options| options.hold_pods = false);
    let words = ["ImageSet calico-v3.31.7", "operator v1.42.4 stops reconciling", "calico-v3.32.1"];
    world.until_message("Drifted", "True", "BlockingImageSet", &words).await;
    eventually("the operator to stop", async || (world.condition("OperatorDegraded").await.0 == "True").then_some(()))
        .await;
    let (_, screen, _) = world.verb(&["status"]).await;
    assert_contains(&screen, &["DRIFT", "BlockingImageSet", "DEGRADED", "TigeraStatus calico", "→ "]);
    world.policy(json!({ "mode": "Apply" })).await;
    world.until("Drifted", "False", "NoDrift").await;
    double.wait_healthy(SOON).await.unwrap();
    world.until("OperatorDegraded", "False", "NotDegraded").await;
    world.mirror.registry.stop();
    double.stop().await;
    world.finish(&[&controller]).await;
}
