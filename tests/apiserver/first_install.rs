//! Git delivers the policy first: the set is there before Calico is, and its pods start by digest.

use kube::api::DeleteParams;
use serde_json::json;

use crate::testbox::crds;
use crate::testbox::images::Image;
use crate::testbox::operator_double::What;
use crate::world::{SOON, Scenery, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_comes_first_and_calico_starts_by_digest() {
    let scenery =
        Scenery { name: "first-install", operator_kinds: false, releases: &["v1.42.4"], ..Scenery::default() };
    let world = World::start(scenery).await;
    let layout = world.layout();

    // Several versions: which one is to be installed is not for us to say.
    let several = json!({ "versions": ["v1.40.15", "v1.42.4"] });
    world.policy(json!({ "mode": "Apply", "installation": layout, "prepare": several })).await;
    let controller = world.controller("first").await;
    let words = ["Deployment tigera-operator/tigera-operator", "2 versions", "spec.prepare.versions"];
    world.until_message("VersionKnown", "False", "FirstInstallAmbiguous", &words).await;
    world.until("Ready", "False", "FirstInstallAmbiguous").await;
    world.policy(json!({ "mode": "Apply", "installation": layout })).await;
    let words = ["Deployment tigera-operator/tigera-operator", "spec.prepare.versions"];
    world.until_message("VersionKnown", "False", "OperatorNotFound", &words).await;
    world.assert_nothing_written();

    // One version: the set is ready, but the operator's kinds are not there. It goes on by itself when they are.
    let one = json!({ "versions": ["v1.42.4"] });
    world.policy(json!({ "mode": "Apply", "installation": layout, "prepare": one })).await;
    let words = ["imagesets.operator.tigera.io", "by itself"];
    world.until_message("Applied", "False", "OperatorKindsMissing", &words).await;
    world.until_message("VersionKnown", "True", "FirstInstall", &["v1.42.4"]).await;
    world.until("Ready", "False", "OperatorKindsMissing").await;
    crds::install(&world.client).await.unwrap();
    world.until("Ready", "True", "Succeeded").await;
    world.until("Adopted", "Unknown", "NoInstallation").await;
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    let writes = world.writes().len();

    // The Installation appears, with another place in mind: it wins, and the difference is reported.
    for name in world.wanted("v1.42.4", false).into_keys() {
        let same = Image::of_reference(&format!("quay.io/{name}:v3.32.1")).unwrap();
        world.push(&name.replace("calico/", "other/calico/"), "v3.32.1", &same).await;
    }
    let rebuilt = Image::index("another build of node", crate::testbox::images::LINUX_PLATFORMS).unwrap();
    let rebuilt = world.push("other/calico/node", "v3.32.1", &rebuilt).await;
    world.recorder.allow_repin("calico-v3.32.1");
    world.installation(json!({ "imagePath": "other/calico" })).await;
    let words = ["Installation default", "other/calico", "mirror/calico", "spec.installation"];
    world.until_message("Drifted", "True", "InstallationDiffers", &words).await;
    eventually("the set of the Installation's registry", async || {
        (world.stored("calico-v3.32.1").await.unwrap()["calico/node"] == rebuilt).then_some(())
    })
    .await;
    world.until("Ready", "True", "Succeeded").await;
    let after: Vec<_> = world.writes().split_off(writes);
    let sets = after.iter().filter(|write| write.kind == "ImageSet").count();
    assert_eq!(sets, 1, "one write swaps the content: {after:#?}");

    // The operator appears: the first template of each workload is by digest already, and no second one comes.
    let double = world.double(|_| {});
    world.operator("v1.42.4").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    let events = double.events();
    let rendered = |workload: &str| {
        let of = |what: &What| matches!(what, What::Rendered { workload: one } if one == workload);
        events.iter().filter(|seen| of(&seen.what)).count()
    };
    for seen in &events {
        assert_ne!(seen.what, What::UsesTags);
        if let What::Rendered { workload } = &seen.what {
            assert_eq!(rendered(workload), 1, "{workload} rolled twice");
        }
    }
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());

    // The Deployment disappears: nothing is swapped or deleted, whatever the policy asks for meanwhile.
    let writes = world.writes().len();
    world.deployments().delete("tigera-operator", &DeleteParams::default()).await.unwrap();
    let words = ["Deployment tigera-operator/tigera-operator", "put the Deployment back"];
    world.until_message("VersionKnown", "True", "OperatorGone", &words).await;
    let other = json!({ "versions": ["v1.40.15"] });
    world.policy(json!({ "mode": "Apply", "installation": layout, "prepare": other })).await;
    world.until("VersionKnown", "True", "OperatorGone").await;
    assert_eq!(world.status().await["operator"]["target"], "v1.42.4");
    double.stop().await;
    world.until_quiet().await;
    assert_eq!(world.writes().len(), writes);
    world.finish(&[&controller]).await;
}
