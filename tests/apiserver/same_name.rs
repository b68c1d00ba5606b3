//! Two operator releases that require one name with other content: v1.30.x requires `calico/windows-upgrade`, v1.32.0
//! rejects it. One write swaps the content, when the new operator has taken over.

use serde_json::json;

use crate::testbox::Kind;
use crate::testbox::operator_double::What;
use crate::testbox::recorder::Watched;
use crate::world::{CANARY, SOON, Scenery, USER, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn one_write_swaps_the_content_after_the_take_over() {
    let kind = Kind::Token { user: USER.to_owned(), password: CANARY.to_owned(), anonymous_pull: false };
    let scenery =
        Scenery { name: "same-name", kind, tls: true, releases: &["v1.30.4", "v1.32.0"], ..Scenery::default() };
    let world = World::start(scenery).await;
    world.pull_secret().await;
    world.installation(json!({})).await;
    world.operator("v1.30.4").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.32.0"] } })).await;
    let controller = world.controller("first").await;
    double.wait_adopted("calico-v3.26.1", SOON).await.unwrap();
    // The gap is announced beforehand; its length is reported afterwards.
    let words = ["v1.32.0 rejects calico/windows-upgrade", "a second or two"];
    world.until_message("Prepared", "True", "SameNameConflict", &words).await;
    assert_eq!(world.status().await["prepared"][0]["state"], "Conflict");
    let (before, after) = (world.wanted("v1.30.4", false), world.wanted("v1.32.0", false));
    assert_eq!(world.stored("calico-v3.26.1").await.unwrap(), before);
    world.until("Ready", "True", "Succeeded").await;

    // The registry is not needed for the swap.
    world.mirror.registry.forget_requests().unwrap();
    // The two releases also differ in images that both have: key-cert-provisioner and the operator's own.
    world.recorder.allow_repin("calico-v3.26.1");
    double.change(|options| options.hold_pods = true);
    world.operator("v1.32.0").await;
    world.until_message("Applied", "False", "SameNameConflict", &["ImageSet calico-v3.26.1", "v1.32.0"]).await;
    assert_eq!(world.stored("calico-v3.26.1").await.unwrap(), before, "the old pod still leads");
    double.change(|options| options.hold_pods = false);
    let took_over = |what: &What| matches!(what, What::OperatorTookOver { version, .. } if version == "v1.32.0");
    double.wait_for("the take-over", SOON, took_over).await.unwrap();
    eventually("the other content", async || (world.stored("calico-v3.26.1").await.unwrap() == after).then_some(()))
        .await;
    double.wait_adopted("calico-v3.26.1", SOON).await.unwrap();
    double.wait_healthy(SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    assert_eq!(world.mirror.registry.requests().unwrap(), [], "the registry was asked");
    let swap = world.status().await["lastSwap"].clone();
    assert_eq!((&swap["fromOperatorVersion"], &swap["operatorVersion"]), (&json!("v1.30.4"), &json!("v1.32.0")));
    assert!(swap["gapSeconds"].as_i64().is_some_and(|gap| gap > 0), "{swap}");
    let note = format!("at most {} s after that was Ready", swap["gapSeconds"]);
    let reported = eventually("the event", async || {
        let reported = world.events("ImageSetPolicy", "default").await;
        reported.iter().any(|(_, _, text)| text.contains("swapped in")).then_some(reported)
    })
    .await;
    assert!(reported.iter().any(|(_, _, text)| text.contains(&note)), "{reported:#?}");

    // By revisions: two writes in all, the second after the new pod was Ready.
    let new_image = world.mirror.operator_image("v1.32.0");
    let ready = eventually("the recorder to see the pod Ready", async || {
        world.recorder.first(|revision| {
            let pod = &revision.object.data;
            let is_ready = pod["status"]["conditions"][0]["status"] == "True";
            revision.watched == Watched::Pod && pod["spec"]["containers"][0]["image"] == new_image && is_ready
        })
    })
    .await;
    double.stop().await;
    let report = world.finish(&[&controller]).await;
    let swaps: Vec<u64> =
        report.writes.iter().filter(|write| write.kind == "ImageSet").map(|write| write.resource_version).collect();
    assert_eq!(swaps.len(), 2, "{:#?}", report.writes);
    assert!(swaps[1] > ready.resource_version);
}
