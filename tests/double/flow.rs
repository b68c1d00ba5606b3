//! The double on a real API server: from tags to an adopted set, through the refusals of several releases.

use std::time::Duration;

use serde_json::json;

use crate::stage::{Scene, complete, digest, without};
use crate::testbox::crds::Kind;
use crate::testbox::operator_double::{OperatorDouble, Options, What};
use crate::testbox::patience::SOON;

fn quick() -> Options {
    let poll = Duration::from_millis(30);
    Options { pod_start: Duration::from_millis(100), roll_out: Duration::from_millis(100), poll, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_tags_to_an_adopted_set_and_through_an_upgrade() {
    let scene = Scene::start("double-flow").await;
    scene.installation().await;
    let double = OperatorDouble::start(scene.client.clone(), quick());

    // No set: tags, and all is well.
    scene.operator("v1.40.15").await;
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();
    double.wait_for("the roll-out of calico-node", SOON, rolled_out("calico-node")).await.unwrap();
    assert_eq!(scene.image_of_node().await, "quay.io/calico/node:v3.31.7");
    assert!(double.degraded_moments().is_empty());

    // Another version's set only: everything stops.
    scene.create(Kind::ApiServer, "default", json!({})).await;
    double.wait_for("calico-apiserver", SOON, rolled_out("calico-apiserver")).await.unwrap();
    scene.human_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    let span = double.wait_degraded("calico", SOON).await.unwrap();
    let cause = "Unable to create the Tigera CA: ImageSets exist but none with the expected name calico-v3.31.7";
    assert_eq!((span.reason.as_str(), span.message.as_str()), ("ResourceCreateError", cause));
    double.wait_degraded("apiserver", SOON).await.unwrap();
    assert_eq!(scene.image_of_node().await, "quay.io/calico/node:v3.31.7", "nothing is rendered while blocked");

    // The exact one: adopted, by digest everywhere.
    scene.human_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    double.wait_healthy(SOON).await.unwrap();
    assert_eq!(scene.image_of_node().await, format!("quay.io/calico/node@{}", digest("calico/node")));
    assert_eq!(scene.image_set_in_status().await, "calico-v3.31.7");
    assert_eq!(scene.tigera_status("calico", "Available").await.0, "True");
    assert_eq!(scene.tigera_status("calico", "Degraded").await.0, "False");

    // Upgrade with the set in place: found at the first reconcile of the new build.
    scene.operator("v1.42.4").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    let events = double.events();
    let took_over = |seen: &What| matches!(seen, What::OperatorTookOver { version, .. } if version == "v1.42.4");
    let at = events.iter().position(|seen| took_over(&seen.what)).unwrap();
    assert_eq!(events[at + 1].what, What::LookedFor { name: "calico-v3.32.1".to_owned(), found: true });
    assert!(events[at + 1].resource_version.is_some());
    assert!(double.degraded_moments().iter().all(|span| span.from < events[at].at), "no Degraded since");

    // Upgrade without one: Degraded, the old images stay.
    scene.operator("v1.43.0").await;
    let span = double.wait_degraded("calico", SOON).await.unwrap();
    assert!(span.message.ends_with("none with the expected name calico-v3.32.0"), "{}", span.message);
    assert_eq!(scene.tigera_status("calico", "Degraded").await.2, span.message);

    // An image of a feature is missing: only that component suffers.
    scene.human_stores("calico-v3.32.0", &without(complete("v1.43.0"), "calico/goldmane")).await;
    double.wait_adopted("calico-v3.32.0", SOON).await.unwrap();
    scene.create(Kind::Goldmane, "default", json!({})).await;
    let span = double.wait_degraded("goldmane", SOON).await.unwrap();
    assert!(span.message.ends_with("ImageSet did not contain image calico/goldmane"), "{}", span.message);
    assert_eq!(scene.tigera_status("calico", "Degraded").await.0, "False");

    // All sets gone: tags again.
    for name in ["calico-v3.31.7", "calico-v3.32.1", "calico-v3.32.0"] {
        scene.delete_set(name).await;
    }
    double.wait_healthy(SOON).await.unwrap();
    until(async || scene.image_of_node().await == "quay.io/calico/node:v3.32.0").await;
    until(async || scene.image_set_in_status().await.is_empty()).await;
    double.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_era_complains_in_its_own_words() {
    let scene = Scene::start("double-eras").await;
    scene.installation().await;
    let double = OperatorDouble::start(scene.client.clone(), quick());
    scene.human_stores("foo", &[]).await;
    for (version, reason, message) in [
        ("v1.25.7", "Error getting ImageSet", Some("ImageSets exist but none with the expected name calico-v3.22.2")),
        (
            "v1.30.4",
            "ResourceReadError",
            Some("Error getting ImageSet: ImageSets exist but none with the expected name calico-v3.26.1"),
        ),
        ("v1.34.5", "", None),
    ] {
        scene.operator(version).await;
        let took_over = |what: &What| matches!(what, What::OperatorTookOver { version: now, .. } if now == version);
        double.wait_for(version, SOON, took_over).await.unwrap();
        match message {
            Some(message) => {
                let expected = ("True".to_owned(), reason.to_owned(), message.to_owned());
                until(async || scene.tigera_status("calico", "Degraded").await == expected).await;
            }
            None => double.wait_healthy(SOON).await.unwrap(),
        }
    }
    double.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_starts_leaves_the_old_build_at_work() {
    let scene = Scene::start("double-stuck").await;
    scene.installation().await;
    let stuck = "quay.io/tigera/operator:v1.42.4".to_owned();
    let options = Options { unpullable: [stuck.clone()].into(), ..quick() };
    let double = OperatorDouble::start(scene.client.clone(), options);
    scene.operator("v1.40.15").await;
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();
    scene.operator("v1.42.4").await;
    let created = |what: &What| *what == What::OperatorPodCreated { image: stuck.clone() };
    double.wait_for("the new pod", SOON, created).await.unwrap();
    scene.human_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    scene.operator("v1.40.15").await;
    let removed = |what: &What| *what == What::OperatorPodRemoved { image: stuck.clone() };
    double.wait_for("the stuck pod to go", SOON, removed).await.unwrap();
    double.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_api_notices_image_sets_at_its_resync_only() {
    let scene = Scene::start("double-resync").await;
    scene.installation().await;
    scene.create(Kind::GatewayApi, "default", json!({})).await;
    scene.human_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    let double = OperatorDouble::start(scene.client.clone(), quick());
    scene.operator("v1.42.4").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();

    scene.human_stores("calico-v3.32.1", &without(complete("v1.42.4"), "calico/envoy-proxy")).await;
    let found_twice = async || {
        let found = What::LookedFor { name: "calico-v3.32.1".to_owned(), found: true };
        double.events().iter().filter(|seen| seen.what == found).count() == 2
    };
    until(found_twice).await;
    assert!(double.degraded_moments().is_empty());
    double.change(|options| options.resync = Duration::ZERO);
    let span = double.wait_degraded("gatewayapi", SOON).await.unwrap();
    assert!(span.message.ends_with("ImageSet did not contain image calico/envoy-proxy"), "{}", span.message);
    double.stop().await;
}

fn rolled_out(name: &'static str) -> impl Fn(&What) -> bool {
    move |what| matches!(what, What::RolledOut { workload } if workload.ends_with(&format!("/{name}")))
}

async fn until(done: impl AsyncFn() -> bool) {
    crate::testbox::patience::until("it to come true", SOON, async || Ok(done().await.then_some(()))).await.unwrap();
}
