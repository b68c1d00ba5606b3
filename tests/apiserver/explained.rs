//! What operators say when they are Degraded, in the words of each era, told with its cause: seconds after it is said, once, on the
//! policy and on the TigeraStatus, and not any more when it is mended. The causes are made by hand and the double says what a real
//! operator of that release says; the words that it has no way to come to are put there as they were observed.

use serde_json::{Value, json};

use crate::testbox::checkout::assert_contains;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::operator_double::What;
use crate::testbox::recorder::{HUMAN, Verb, Write};
use crate::testbox::scenery;
use crate::world::{SOON, Scenery, World, eventually};

impl World {
    /// A TigeraStatus says that it is Degraded, with reason and message, or that all is well.
    pub async fn report_component(&self, component: &str, degraded: Option<(&str, &str)>, generation: i64) {
        let (reason, message) = degraded.unwrap_or(("AllObjectsAvailable", ""));
        let condition = |r#type: &str, holds: bool| {
            let status = if holds { "True" } else { "False" };
            json!({
                "type": r#type, "status": status, "reason": reason, "message": message, "observedGeneration": generation,
                "lastTransitionTime": scenery::SOME_TIME,
            })
        };
        let conditions = [
            condition("Available", degraded.is_none()),
            condition("Degraded", degraded.is_some()),
            condition("Progressing", false),
        ];
        let api = OperatorKind::TigeraStatus.api(&self.client);
        scenery::set_status(&api, component, json!({ "conditions": conditions })).await.unwrap();
    }

    /// Waits for the first event of this reason about a TigeraStatus.
    async fn until_event_about(&self, component: &str, reason: &str) {
        let reported = async || (self.event_count("TigeraStatus", component, reason).await >= 1).then_some(());
        eventually(&format!("the event {reason} on TigeraStatus {component}"), reported).await;
    }
}

/// Component, reason, message (operator facts, verbatim), the cause, and words that the finding must have.
type Said = (&'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

const SAID: [Said; 12] = [
    (
        "calico",
        "Error getting ImageSet",
        "ImageSets exist but none with the expected name calico-v3.22.2",
        "ExactImageSetMissing",
        &["the operator wants calico-v3.22.2 and finds calico-v3.32.1"],
    ),
    (
        "apiserver",
        "ResourceCreateError",
        "Unable to create the Tigera CA: ImageSets exist but none with the expected name calico-v3.32.1",
        "ExactImageSetMissing",
        &["the operator wanted calico-v3.32.1: it is stored by now, and the operator has not looked again yet"],
    ),
    (
        "apiserver",
        "ResourceUpdateError",
        "Error with images from ImageSet: ImageSet calico-v3.32.1: unexpected images: tigera/operator",
        "UnexpectedImages",
        &["tigera/operator is refused from v1.36.0 on, drop it"],
    ),
    (
        "calico",
        "Error resolving ImageSet for components",
        "Invalid ImageSet: ImageSet did not contain image calico/windows-upgrade",
        "ImagesNotListed",
        &["entries that it needs are missing: calico/windows-upgrade"],
    ),
    (
        "apiserver",
        "ResourceCreateError",
        "Unable to create the Tigera CA: ImageSet did not contain image calico/key-cert-provisioner",
        "ImagesNotListed",
        &["calico/key-cert-provisioner", "the documented script leaves such names out"],
    ),
    (
        "gatewayapi",
        "ResourceCreateError",
        "Error with images from ImageSet: invalid ImageSet: ImageSet did not contain image calico/envoy-proxy",
        "ImagesNotListed",
        &["calico/envoy-proxy", "for GatewayAPI"],
    ),
    (
        "calico",
        "ResourceValidationError",
        "Error validating ImageSet: ImageSet calico-v3.32.1: bad digest images: calico/csi@md5:5371aa",
        "DigestsMalformed",
        &["entries without a digest of sha256: calico/csi@md5:5371aa"],
    ),
    (
        "calico",
        "PodFailure",
        "Pod calico-system/calico-node-7dv74 failed to pull container image for: flexvol-driver",
        "PodsCannotPull",
        &["a pod of calico-system/calico-node cannot pull the image of flexvol-driver"],
    ),
    (
        "calico",
        "PodFailure",
        "Pod calico-system/calico-node-7dv74 failed to pull container image \"quay.io/calico/node:v3.32.1\" for container calico-node",
        "PodsCannotPull",
        &["a pod of calico-system/calico-node cannot pull the image of calico-node: ", "calico/node"],
    ),
    (
        "calico",
        "ResourceReadError",
        "Error getting ImageSet: etcdserver: request timed out",
        "DatastoreUnavailable",
        &["not because of images", "etcdserver: request timed out"],
    ),
    (
        "calico",
        "ResourceReadError",
        "Error with images of tomorrow",
        "DegradedUnexplained",
        &["Error with images of tomorrow"],
    ),
    (
        "ippools",
        "ResourceReadError",
        "Error querying IP pools: no matches for kind IPPool",
        "ComponentKindsMissing",
        &["not because of images"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_degraded_messages_of_every_era_are_explained_until_the_operator_recovers() {
    let scenery = Scenery { name: "explained-words", releases: &["v1.42.4"], ..Scenery::default() };
    let world = World::with_calico(scenery, "v1.42.4").await;
    for component in ["calico", "apiserver", "gatewayapi", "ippools"] {
        world.create(OperatorKind::TigeraStatus, component, json!({})).await;
        world.report_component(component, None, 0).await;
    }
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    for (at, (component, reason, message, cause, words)) in (1..).zip(SAID) {
        world.report_component(component, Some((reason, message)), at).await;
        let object = format!("TigeraStatus {component}");
        let words: Vec<&str> = [object.as_str()].iter().chain(words).copied().collect();
        world.until_message("OperatorDegraded", "True", cause, &words).await;
        let found = world.findings(cause).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["object"], json!({ "kind": "TigeraStatus", "name": component }));
        assert!(found[0]["since"].is_string() && found[0]["nextStep"].is_string(), "{found:?}");
        world.until_event_about(component, cause).await;
        let (_, screen, _) = world.verb(&["status"]).await;
        assert_contains(&screen, &["DEGRADED", cause, &object, "→ "]);
        // What it says concerns what is there, never whether we did our part.
        assert_eq!(world.condition("Ready").await.0, "True");
        let metrics = controller.get("/metrics").await.unwrap().1;
        let line = format!(
            "imageset_controller_findings{{reason=\"{cause}\",condition=\"OperatorDegraded\",severity=\"Warning\"}} 1"
        );
        assert!(metrics.lines().any(|one| one == line), "no {line} in\n{metrics}");
        world.report_component(component, None, at).await;
        world.until("OperatorDegraded", "False", "NotDegraded").await;
        let (_, screen, _) = world.verb(&["status"]).await;
        assert_contains(&screen, &["DEGRADED   none"]);
    }
    world.until_quiet().await;
    let reported = world.events("TigeraStatus", "gatewayapi").await;
    assert_eq!(
        reported.iter().map(|(reason, count, _)| (reason.as_str(), *count)).collect::<Vec<_>>(),
        [("ImagesNotListed", 1)]
    );
    world.finish(&[&controller]).await;
}

/// An operator release, its set, a set that it stops at, and a name that it does not know.
const ERAS: [(&str, &str, &str, &str); 4] = [
    ("v1.25.7", "calico-v3.22.2", "enterprise-v3.12.2", "calico/csi"),
    ("v1.30.4", "calico-v3.26.1", "foo", "calico/whisker"),
    ("v1.34.5", "calico-v3.28.2", "calico-v0.0.0", "calico/windows-upgrade"),
    ("v1.42.4", "calico-v3.32.1", "calico-v0.0.0", "tigera/operator"),
];

/// Sets that people make, one mistake after the other, and the operator of each era stops at them.
#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_people_are_explained_whatever_the_release_reports() {
    let releases = &["v1.25.7", "v1.30.4", "v1.34.5", "v1.42.4"];
    let world = World::start(Scenery { name: "explained-eras", releases, ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.operator(ERAS[0].0).await;
    let double = world.double(|_| {});
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();
    world.policy(json!({ "mode": "Observe" })).await;
    let controller = world.controller("first").await;
    for (release, set, blocking, unknown) in ERAS {
        world.operator(release).await;
        world.until_message("VersionKnown", "True", "VersionFound", &[release]).await;
        let right: Vec<Value> = world.wanted(release, false).iter().map(entry).collect();

        let other = json!({ "images": [entry((&"calico/node".to_owned(), &format!("sha256:{}", "a".repeat(64))))] });
        world.create(OperatorKind::ImageSet, blocking, other).await;
        let words = ["TigeraStatus", &format!("the operator wants {set} and finds {blocking}")];
        world.until_message("OperatorDegraded", "True", "ExactImageSetMissing", &words).await;

        let forgotten: Vec<&Value> = right.iter().filter(|entry| entry["image"] != "calico/typha").collect();
        world.create(OperatorKind::ImageSet, set, json!({ "images": forgotten })).await;
        let words = ["TigeraStatus", "entries that it needs are missing: calico/typha"];
        world.until_message("OperatorDegraded", "True", "ImagesNotListed", &words).await;

        let malformed = right.iter().cloned().map(|mut entry| {
            if entry["image"] == "calico/cni" {
                entry["digest"] = json!("md5:5371aa");
            }
            entry
        });
        world.create(OperatorKind::ImageSet, set, json!({ "images": malformed.collect::<Vec<_>>() })).await;
        let words = ["TigeraStatus", "entries without a digest of sha256: calico/cni@md5:5371aa"];
        world.until_message("OperatorDegraded", "True", "DigestsMalformed", &words).await;

        let digest = right[0]["digest"].as_str().unwrap().to_owned();
        let more: Vec<Value> = right.iter().cloned().chain([entry((&unknown.to_owned(), &digest))]).collect();
        world.create(OperatorKind::ImageSet, set, json!({ "images": more })).await;
        let words = ["TigeraStatus", "entries that this operator does not know", unknown];
        world.until_message("OperatorDegraded", "True", "UnexpectedImages", &words).await;
        for reason in ["ExactImageSetMissing", "ImagesNotListed", "DigestsMalformed", "UnexpectedImages"] {
            world.until_event_about("calico", reason).await;
        }

        world.create(OperatorKind::ImageSet, set, json!({ "images": right })).await;
        world.until("OperatorDegraded", "False", "NotDegraded").await;
        double.wait_healthy(SOON).await.unwrap();
        for name in [blocking, set] {
            world.recorder.allow_delete(name);
            world.delete_set(name).await;
        }
    }
    // The deletions are those above; nothing of ours was stored.
    let kept = |write: &Write| write.verb == Verb::Delete || write.manager.as_deref() == Some(HUMAN);
    assert!(world.writes().iter().all(kept), "{:#?}", world.writes());
    double.stop().await;
    world.finish(&[&controller]).await;
}

fn entry((image, digest): (&String, &String)) -> Value {
    json!({ "image": image, "digest": digest })
}
