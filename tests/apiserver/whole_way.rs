//! The main job once, from a cluster that runs by tags to an upgrade that finds its set, and back.

use std::time::Duration;

use serde_json::json;

use crate::testbox::Kind;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::operator_double::What;
use crate::testbox::recorder::Verb;
use crate::world::{CANARY, SOON, Scenery, USER, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn from_tags_to_digests_through_an_upgrade_and_back() {
    whole_way("whole-way", None).await;
}

/// A far-away or overloaded API server: every step takes longer, and everything comes out the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_way_with_300_ms_on_every_api_request() {
    whole_way("whole-way-far", Some(Duration::from_millis(300))).await;
}

async fn whole_way(name: &'static str, api_delay: Option<Duration>) {
    let kind = Kind::Htpasswd { user: USER.to_owned(), password: CANARY.to_owned() };
    let mut world = World::start(Scenery { name, kind, api_delay, ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.pull_secret().await;
    world.operator("v1.40.15").await;
    let double = world.double(|_| {});
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();
    let rolled_out = |what: &What| matches!(what, What::RolledOut { workload } if workload.ends_with("/calico-node"));
    double.wait_for("the first roll-out", SOON, rolled_out).await.unwrap();
    let installations = OperatorKind::Installation.api(&world.client);
    eventually("the operator's last word on the first roll-out", async || {
        let installation = installations.get("default").await.unwrap();
        (installation.data["status"]["calicoVersion"] == "v3.31.7").then_some(())
    })
    .await;

    // Observe: the plan is reported, and nothing is written.
    world.mirror.registry.forget_requests().unwrap();
    world.policy(json!({ "mode": "Observe" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "PlanComputed").await;
    let words = ["calico-v3.31.7", "DaemonSet calico-system/calico-node", "set spec.mode: Apply"];
    world.until_message("Applied", "False", "ImageSetPlanned", &words).await;
    let plan = world.status().await["plan"].clone();
    assert_eq!(plan["changes"][0]["action"], "Create", "{plan}");
    assert_eq!(plan["changes"][0]["imageSet"], "calico-v3.31.7", "{plan}");
    assert!(plan["rollouts"].as_array().unwrap().contains(&json!("DaemonSet calico-system/calico-node")), "{plan}");
    world.until_quiet().await;
    world.assert_nothing_written();

    // Apply: stored exactly as this operator wants it, and adopted.
    world.policy(json!({ "mode": "Apply" })).await;
    world.until("Applied", "True", "ImageSetStored").await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
    world.until("Ready", "True", "Succeeded").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    let status = world.status().await;
    assert_eq!(status["current"]["adopted"], true, "{status}");
    assert_eq!(status["operator"]["calicoVersion"], "v3.31.7", "{status}");
    assert!(status["plan"].is_null(), "nothing is left to do: {status}");
    assert!(status["current"]["lastVerifiedTime"].is_string(), "{status}");
    // The operator itself: by tag, and how it would be pinned.
    let (image, digest) =
        (status["operator"]["image"].as_str().unwrap(), status["operator"]["digest"].as_str().unwrap());
    assert_eq!(
        (&status["operator"]["pinned"], &status["operator"]["pin"]),
        (&json!(false), &json!(format!("{image}@{digest}")))
    );

    // The upgrade: its set is made while the new pod starts, however long that takes, and without any help of the new operator.
    double.change(|options| options.hold_pods = true);
    let moved = world.operator("v1.42.4").await;
    eventually("the set of the new operator", async || world.stored("calico-v3.32.1").await).await;
    double.change(|options| options.hold_pods = false);
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    let stored = eventually("the recorder to see calico-v3.32.1", async || {
        let writes = world.writes();
        writes.into_iter().find(|write| write.name == "calico-v3.32.1" && write.verb == Verb::Create)
    })
    .await;
    let looked_for = |what: &What| matches!(what, What::LookedFor { name, .. } if name == "calico-v3.32.1");
    let first_look = double.events().into_iter().find(|seen| looked_for(&seen.what)).unwrap();
    assert_eq!(first_look.what, What::LookedFor { name: "calico-v3.32.1".to_owned(), found: true });
    assert_eq!(first_look.resource_version.as_deref(), Some(stored.resource_version.to_string().as_str()));
    assert!(stored.resource_version > moved);
    world.until("Adopted", "True", "AdoptionComplete").await;
    assert!(world.stored("calico-v3.31.7").await.is_some(), "the way back is kept");

    // Back, while the registry is down: everything is served from what is there.
    let (old, new) = (world.wanted("v1.40.15", false).len(), world.wanted("v1.42.4", false).len());
    // The two operator images beside: so that they, too, can be pinned.
    let served = async || (world.served_once() == old + new + 2).then_some(());
    eventually("each image to be asked for once", served).await;
    world.mirror.registry.stop();
    world.operator("v1.40.15").await;
    eventually("calico-v3.31.7 to be current", async || {
        (world.status().await["current"]["imageSet"] == "calico-v3.31.7").then_some(())
    })
    .await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until("Ready", "True", "Succeeded").await;
    world.until("Drifted", "False", "NoDrift").await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());

    // Then quiet, for a long time: once is enough.
    world.until_quiet().await;
    if api_delay.is_none() {
        world.recorder.assert_quiet(Duration::from_secs(60)).await.unwrap();
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(controller.get(path).await.unwrap(), (200, "ok\n".to_owned()));
    }
    let (status, metrics) = controller.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    for line in [
        r#"imageset_controller_condition{type="Ready",status="True"} 1"#,
        r#"imageset_controller_condition{type="Ready",status="False"} 0"#,
        r#"imageset_controller_condition{type="Adopted",status="True"} 1"#,
        "imageset_controller_adopted 1",
        "imageset_controller_stored 1",
        "imageset_controller_leader 1",
    ] {
        assert!(metrics.lines().any(|one| one == line), "no {line} in\n{metrics}");
    }

    // The policy is deleted: nothing else is, and nothing is said of it any more.
    world.policies().delete("default", &Default::default()).await.unwrap();
    eventually("the metrics to forget the policy", async || {
        (!controller.get("/metrics").await.unwrap().1.contains("imageset_controller_condition")).then_some(())
    })
    .await;
    assert!(world.stored("calico-v3.31.7").await.is_some() && world.stored("calico-v3.32.1").await.is_some());
    double.stop().await;
    world.finish(&[&controller]).await;
}
