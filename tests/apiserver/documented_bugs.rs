//! The four public bugs of the documented way (tigera/operator and Calico issues), on real parts.

use serde_json::{Value, json};

use crate::testbox::operator_double::What;
use crate::testbox::recorder::Verb;
use crate::world::{SOON, Scenery, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_set_of_the_documented_script_is_recognized_and_replaced() {
    let world =
        World::with_calico(Scenery { name: "documented-script", tls: true, ..Scenery::default() }, "v1.42.4").await;
    let double = world.double(|_| {});
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();

    // The script's fixed names: the operator's own is among them, calico/csi is not.
    let script =
        ["node", "cni", "typha", "kube-controllers", "apiserver", "pod2daemon-flexvol", "key-cert-provisioner"];
    let right = world.wanted("v1.42.4", false);
    let digest = right["calico/node"].clone();
    let mut entries: Vec<Value> = script
        .iter()
        .map(|name| format!("calico/{name}"))
        .map(|name| json!({ "image": name, "digest": right[&name] }))
        .collect();
    entries.push(json!({ "image": "tigera/operator", "digest": digest }));
    world.store_set("calico-v3.32.1", json!({ "images": entries })).await;
    double.wait_degraded("calico", SOON).await.unwrap();
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let words = ["ImageSet calico-v3.32.1", "rejects tigera/operator", "spec.takeOwnership: true"];
    world.until_message("Applied", "False", "ForeignImageSetInvalid", &words).await;
    let words = ["TigeraStatus", "tigera/operator is refused from v1.36.0 on, drop it"];
    world.until_message("OperatorDegraded", "True", "UnexpectedImages", &words).await;

    // Without the operator's name it forgets what the operator requires.
    entries.retain(|entry| entry["image"] != "tigera/operator");
    world.store_set("calico-v3.32.1", json!({ "images": entries })).await;
    eventually("the forgotten image to be told", async || {
        let (_, reason, message) = world.condition("Applied").await;
        (reason == "ForeignImageSetInvalid" && message.contains("insists on calico/csi")).then_some(())
    })
    .await;
    world.assert_nothing_written();

    // Allowed to, we store the whole of it: nothing that this operator rejects, nothing forgotten.
    world.recorder.allow_take_ownership("calico-v3.32.1");
    world.recorder.allow_repin("calico-v3.32.1");
    world.policy(json!({ "mode": "Apply", "takeOwnership": true })).await;
    world.until("Applied", "True", "ImageSetStored").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    double.wait_healthy(SOON).await.unwrap();
    let stored = world.stored("calico-v3.32.1").await.unwrap();
    assert_eq!(stored, right);
    assert!(stored.contains_key("calico/csi") && stored.contains_key("calico/key-cert-provisioner"));
    assert!(!stored.contains_key("tigera/operator"));
    world.until("OperatorDegraded", "False", "NotDegraded").await;
    world.until("Adopted", "True", "AdoptionComplete").await;
    double.stop().await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_of_the_running_version_is_stored_first_during_an_upgrade_and_fips_images_are_distinguished() {
    let world = World::with_calico(Scenery { name: "running-first", ..Scenery::default() }, "v1.40.15").await;
    let next = world.mirror.operator_image("v1.42.4");
    let double = world.double(|options| options.unpullable = [next.clone()].into());
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();

    // The Deployment has moved and its pod does not start; then the controller comes.
    world.operator("v1.42.4").await;
    let created = |what: &What| *what == What::OperatorPodCreated { image: next.clone() };
    double.wait_for("the new pod", SOON, created).await.unwrap();
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.until_message("VersionKnown", "True", "VersionFound", &["v1.40.15 runs", "v1.42.4"]).await;
    let created = async |name: &str| {
        eventually("the set to be seen", async || {
            let writes = world.writes();
            writes.into_iter().find(|write| write.name == name && write.verb == Verb::Create)
        })
        .await
        .resource_version
    };
    let (running, target) = (created("calico-v3.31.7").await, created("calico-v3.32.1").await);
    assert!(running < target, "calico-v3.31.7 at {running}, calico-v3.32.1 at {target}");
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    double.change(|options| options.unpullable.clear());
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));

    // FIPS mode: the twins' digests, and only they.
    world.recorder.allow_repin("calico-v3.32.1");
    world.installation(json!({ "fipsMode": "Enabled" })).await;
    let (normal, fips) = (world.wanted("v1.42.4", false), world.wanted("v1.42.4", true));
    assert_ne!(normal["calico/node"], fips["calico/node"]);
    eventually("the FIPS digests", async || (world.stored("calico-v3.32.1").await.unwrap() == fips).then_some(()))
        .await;
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until("Ready", "True", "Succeeded").await;
    double.stop().await;
    world.finish(&[&controller]).await;
}
