//! What users get wrong and what breaks around us: each has a condition whose message names the object and the fix,
//! nothing is written on it and nothing is lost, and work goes on by itself when it is mended.

use serde_json::{Value, json};

use crate::testbox::Kind;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::operator_images::OperatorImages;
use crate::testbox::rules::OperatorRules;
use crate::world::{CANARY, PULL_SECRET, SOON, Scenery, USER, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_unrecognizable_version_is_never_guessed() {
    let labelled = |version: &'static str| {
        Image::index_with_labels(&format!("labelled {version}"), LINUX_PLATFORMS, &[("version", version)]).unwrap()
    };
    let old = OperatorRules::for_version("v1.40.15").unwrap();
    let builds = OperatorImages::new().with(&labelled("v1.40.15").digest(), old);
    let scenery = Scenery { name: "bad-version", releases: &["v1.40.15"], operators: builds, ..Scenery::default() };
    let world = World::start(scenery).await;
    let operators = world.mirror.repository("tigera/operator");
    world.push(&operators, "custom", &Image::index("no label", LINUX_PLATFORMS).unwrap()).await;
    world.push(&operators, "v1.42.4-1", &labelled("v1.40.15")).await;
    world.push(&operators, "future", &labelled("v9.9.9")).await;
    let rebuilt = world.push(&operators, "rebuilt", &labelled("v1.40.15")).await;
    world.installation(json!({})).await;
    world.policy(json!({ "mode": "Apply", "inspection": { "enabled": false } })).await;
    let object = "Deployment tigera-operator/tigera-operator";
    let custom = world.mirror.operator_image("custom");
    world.operator_at(&custom).await;
    let controller = world.controller("first").await;
    let words = [object, &custom, "no version label", "set spec.inspection.enabled: true"];
    world.until_message("VersionKnown", "False", "InspectionDisabled", &words).await;
    world.until("Ready", "False", "InspectionDisabled").await;
    world.until("Applied", "False", "NothingToApply").await;

    world.operator("v1.42.4-1").await;
    let words = [object, "tagged v1.42.4-1", "labelled v1.40.15", "pin the operator by digest"];
    world.until_message("VersionKnown", "False", "OperatorVersionAmbiguous", &words).await;

    world.operator("future").await;
    eventually("the unknown release to be told", async || {
        world.condition("VersionKnown").await.2.contains("v9.9.9 is not in the catalogue").then_some(())
    })
    .await;

    world.operator_at("Not/An:Image:Reference").await;
    world.until_message("VersionKnown", "False", "OperatorImageInvalid", &[object, "correct the image"]).await;
    world.assert_nothing_written();

    // A tag that says nothing, and a label that does; by digest with a stale tag beside it, the bytes count.
    world.operator_at(&format!("{}@{rebuilt}", world.mirror.operator_image("v1.42.4"))).await;
    world.until("Applied", "True", "ImageSetStored").await;
    let status = world.status().await;
    assert_eq!(status["operator"]["target"], "v1.40.15", "{status}");
    assert_eq!(status["operator"]["pinned"], true, "{status}");
    assert!(world.stored("calico-v3.31.7").await.is_some() && world.stored("calico-v3.32.1").await.is_none());
    // Events are written after the status that they belong to.
    for reason in ["InspectionDisabled", "OperatorVersionAmbiguous", "OperatorImageInvalid", "ImageSetStored"] {
        let reported = async || (world.event_count("ImageSetPolicy", "default", reason).await > 0).then_some(());
        eventually(&format!("the event {reason}"), reported).await;
    }
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_pull_secrets_and_outages_are_reported_and_survived() {
    let kind = Kind::Htpasswd { user: USER.to_owned(), password: CANARY.to_owned() };
    let mut world = World::with_calico(Scenery { name: "bad-registry", kind, ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let secret = format!("Secret tigera-operator/{PULL_SECRET}");
    let words = [&secret, "does not exist", "create it in the operator's namespace"];
    world.until_message("Resolved", "False", "PullSecretMissing", &words.map(|word| word as &str)).await;

    world.pull_secret_with(&format!("{{\"auths\": {{\"{}\": \"{CANARY}\"}}}}", world.mirror.registry.host())).await;
    let words = [&secret, "kubectl create secret docker-registry"];
    world.until_message("Resolved", "False", "PullSecretInvalid", &words.map(|word| word as &str)).await;

    let wrong = world.mirror.registry.docker_config_json().replace(CANARY, "not-the-password");
    world.pull_secret_with(&wrong.replace("\"auth\":", "\"unused\":")).await;
    let host = world.mirror.registry.host();
    let words = [host.as_str(), "imagePullSecrets"];
    world.until_message("Resolved", "False", "RegistryUnauthorized", &words).await;
    world.assert_nothing_written();

    // The right one: it goes on by itself.
    world.pull_secret().await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Ready", "True", "Succeeded").await;

    // The registry is down when the next version is wanted: what is stored stays, and it goes on when it is back.
    world.mirror.registry.stop();
    let before = world.stored("calico-v3.31.7").await;
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] } })).await;
    world.until_message("Prepared", "False", "NotPrepared", &["v1.42.4", &host, "cannot be reached"]).await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.operator("v1.42.4").await;
    world.until_message("Resolved", "False", "RegistryUnreachable", &[&host, "check the network policy"]).await;
    world.until("Ready", "False", "RegistryUnreachable").await;
    assert_eq!(world.stored("calico-v3.31.7").await, before);
    assert_eq!(world.stored("calico-v3.32.1").await, None);
    world.mirror.registry.start_again().await.unwrap();
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    assert_eq!(world.stored("calico-v3.31.7").await, before);
    world.finish(&[&controller]).await;
}

/// Nodes with a credential provider need no pull secret; the controller does. A mirror that lost a platform is seen, too.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_the_policy_serve_where_nodes_have_their_own() {
    let kind = Kind::Htpasswd { user: USER.to_owned(), password: CANARY.to_owned() };
    let scenery = Scenery { name: "node-credentials", kind, tls: true, releases: &["v1.40.15"], ..Scenery::default() };
    let world = World::start(scenery).await;
    let access = world.mirror.registry.access().unwrap();
    let node = Image::of_reference("quay.io/calico/node:v3.31.7").unwrap();
    let arm64 = node.manifests.iter().find(|manifest| manifest.platform == "linux/arm64").unwrap();
    let repository = world.mirror.repository("calico/node");
    images::delete(&access, &repository, &arm64.digest).await.unwrap();
    world.installation(json!({ "imagePullSecrets": [] })).await;
    world.operator("v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let host = world.mirror.registry.host();
    let words = [host.as_str(), "wants credentials", "spec.registries[].credentials"];
    world.until_message("Resolved", "False", "NodeCredentialsOnly", &words).await;

    world.pull_secret().await;
    let secret = json!({ "secretRef": { "namespace": "tigera-operator", "name": PULL_SECRET } });
    let mut policy = world.policies().get("default").await.unwrap().data["spec"].clone();
    policy["registries"][0]["credentials"] = secret;
    world.policy_as(policy).await.unwrap();
    let words = ["calico/node:v3.31.7 lists linux/arm64", "does not have that manifest", "mirror the whole index"];
    world.until_message("Resolved", "False", "PlatformMissing", &words).await;
    world.assert_nothing_written();

    world.push(&repository, "v3.31.7", &node).await;
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Ready", "True", "Succeeded").await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_mirror_lacks_holds_the_set_unless_nothing_needs_it() {
    let world = World::start(Scenery { name: "bad-mirror", releases: &["v1.42.4"], ..Scenery::default() }).await;
    let access = world.mirror.registry.access().unwrap();
    let wanted = world.wanted("v1.42.4", false);
    for name in ["calico/node", "calico/istio-pilot"] {
        images::delete(&access, &world.mirror.repository(name), &wanted[name]).await.unwrap();
    }
    // One platform of an index, as pull, tag and push leave it behind.
    let single = Image::single("quay.io/calico/typha:v3.32.1", ("linux", "arm64", None)).unwrap();
    world.push(&world.mirror.repository("calico/typha"), "v3.32.1", &single).await;
    world.installation(json!({})).await;
    world.operator("v1.42.4").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let words = ["ImageSet calico-v3.32.1", "calico/node:v3.32.1", "the operator insists on", "push or mirror"];
    world.until_message("Resolved", "False", "ImageMissing", &words).await;
    world.until("Ready", "False", "ImageMissing").await;
    let reported = |findings: &Value, reason: &str, words: &str| {
        let mut all = findings.as_array().unwrap().iter();
        let reported = all.any(|one| one["reason"] == reason && one["message"].as_str().unwrap().contains(words));
        assert!(reported, "no {reason} with {words:?} in {findings}");
    };
    let findings = world.status().await["findings"].clone();
    reported(&findings, "ImageMissing", "calico/istio-pilot:v3.32.1, which nothing in the cluster needs");
    reported(&findings, "PlatformMissing", "typha:v3.32.1 has no manifest for linux/amd64 (it has linux/arm64)");

    // OmitUnneeded leaves out what is provably not needed, and nothing else.
    world.policy(json!({ "mode": "Apply", "images": { "onMissing": "OmitUnneeded" } })).await;
    world.until_message("Resolved", "False", "ImageMissing", &["calico/node:v3.32.1", "the operator insists on"]).await;
    let findings = world.status().await["findings"].clone();
    assert!(!findings.to_string().contains("istio-pilot"), "{findings}");
    world.assert_nothing_written();

    // The needed one is pushed: then only the platform is in the way; then nothing.
    for name in ["calico/node", "calico/typha"] {
        if name == "calico/typha" {
            let words = ["ImageSet calico-v3.32.1", "typha", "linux/amd64", "mirror the whole index"];
            world.until_message("Resolved", "False", "PlatformMissing", &words).await;
            world.assert_nothing_written();
        }
        let image = Image::of_reference(&format!("quay.io/{name}:v3.32.1")).unwrap();
        world.push(&world.mirror.repository(name), "v3.32.1", &image).await;
    }
    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Ready", "True", "Succeeded").await;
    let mut stored = world.stored("calico-v3.32.1").await.unwrap();
    assert_eq!(world.status().await["current"]["omitted"], json!(["calico/istio-pilot"]));
    stored.insert("calico/istio-pilot".to_owned(), wanted["calico/istio-pilot"].clone());
    assert_eq!(stored, wanted);
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_that_others_edit_are_put_back_and_sets_of_others_are_left_alone() {
    let world = World::with_calico(Scenery { name: "bad-neighbours", ..Scenery::default() }, "v1.40.15").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    let wanted = world.wanted("v1.40.15", false);

    // Edited once: put back, with one event on the set and one on the policy.
    let without = |name: &str| {
        let entries = wanted.iter().filter(|(image, _)| *image != name);
        entries.map(|(image, digest)| json!({ "image": image, "digest": digest })).collect::<Vec<_>>()
    };
    let restored = async || {
        eventually("the edit to be put back", async || {
            (world.stored("calico-v3.31.7").await.unwrap() == wanted).then_some(())
        })
        .await;
    };
    world.edit_set("calico-v3.31.7", |images| *images = without("calico/csi")).await;
    restored().await;
    for (kind, name) in [("ImageSet", "calico-v3.31.7"), ("ImageSetPolicy", "default")] {
        let edited = eventually("the event", async || {
            let events = world.events(kind, name).await;
            Some(events.into_iter().filter(|event| event.0 == "ImageSetEdited").collect::<Vec<_>>())
                .filter(|events| !events.is_empty())
        })
        .await;
        assert_eq!((edited.len(), edited[0].1), (1, 1), "{edited:?}");
        assert!(edited[0].2.contains("calico-v3.31.7"), "{edited:?}");
    }
    world.until("Ready", "True", "Succeeded").await;
    world.until("Drifted", "False", "NoDrift").await;

    // Again and again: left alone after the third time, and reported.
    for name in ["calico/node", "calico/cni"] {
        world.edit_set("calico-v3.31.7", |images| *images = without(name)).await;
        restored().await;
    }
    world.edit_set("calico-v3.31.7", |images| *images = without("calico/csi")).await;
    let words = ["ImageSet calico-v3.31.7", "changed by human", "3 times"];
    world.until_message("Stalled", "True", "ContestedOwnership", &words).await;
    world.until("Ready", "False", "ContestedOwnership").await;
    assert!(!world.stored("calico-v3.31.7").await.unwrap().contains_key("calico/csi"));
    double.wait_degraded("calico", SOON).await.unwrap();
    world.until_message("OperatorDegraded", "True", "ImagesNotListed", &["calico/csi"]).await;
    // The human gives in.
    let whole: Vec<_> = wanted.iter().map(|(image, digest)| json!({ "image": image, "digest": digest })).collect();
    world.edit_set("calico-v3.31.7", |images| *images = whole).await;
    world.until("Stalled", "False", "NotStalled").await;
    double.wait_healthy(SOON).await.unwrap();

    // An unmanaged set under the next required name: a valid one is accepted as it is.
    let next: Vec<_> = world.wanted("v1.42.4", false).into_iter().collect();
    let next: Vec<_> = next.iter().map(|(image, digest)| json!({ "image": image, "digest": digest })).collect();
    let sets = OperatorKind::ImageSet.api(&world.client);
    let stored = world.store_set("calico-v3.32.1", json!({ "images": next })).await;
    world.operator("v1.42.4").await;
    let words = ["ImageSet calico-v3.32.1", "made by human"];
    world.until_message("Applied", "True", "ForeignImageSetAccepted", &words).await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until("Ready", "True", "Succeeded").await;
    let now = sets.get("calico-v3.32.1").await.unwrap();
    assert_eq!(now.metadata.resource_version, stored.metadata.resource_version, "it was touched");

    // An invalid one is reported, and left alone too.
    let short: Vec<_> = next.into_iter().filter(|entry| entry["image"] != "calico/csi").collect();
    world.edit_set("calico-v3.32.1", |images| *images = short).await;
    let words = ["ImageSet calico-v3.32.1", "insists on calico/csi", "spec.takeOwnership: true"];
    world.until_message("Applied", "False", "ForeignImageSetInvalid", &words).await;
    world.until("Ready", "False", "ForeignImageSetInvalid").await;
    double.stop().await;
    world.finish(&[&controller]).await;
}
