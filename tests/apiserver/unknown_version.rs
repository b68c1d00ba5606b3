//! Operator versions that the catalogue does not know: the image itself is asked, once, by a real Job that the real
//! admission lets into a restricted namespace; failures are reported, and nothing is guessed.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use crate::testbox::Kubelet;
use crate::testbox::checkout::assert_contains;
use crate::testbox::kubelet::Plays;
use crate::testbox::operator_images::OperatorImages;
use crate::testbox::rules::OperatorRules;
use crate::world::{INSPECTION, INSPECTIONS, SOON, Scenery, World, eventually, newer};

/// What an operator without a service account writes to standard error; pod logs mix the two streams.
const NOISE: &str = "2026/11/24 02:41:57 [ERROR] Failed to read namespace file: open /var/run/secrets: no such file\n";

pub fn scenery(name: &'static str) -> Scenery {
    let operators = OperatorImages::new().with_tag("v1.44.0", newer());
    Scenery { name, releases: &["v1.43.0"], operators, jobs: true, ..Scenery::default() }
}

/// A cluster that runs v1.43.0, a registry that has v1.44.0 as well, and a kubelet for the Jobs that inspect it.
pub async fn with_kubelet(scenery: Scenery) -> (World, Kubelet) {
    let mut world = World::with_calico(scenery, "v1.43.0").await;
    world.mirror.push_build(&newer(), &[]).await.unwrap();
    let kubelet = Kubelet::start(world.client.clone(), "kubelet", INSPECTION).await.unwrap();
    (world, kubelet)
}

/// What v1.44.0 prints of itself.
pub fn prints_all() -> Plays {
    prints(newer().printed_version(), newer().printed_list())
}

pub fn prints(version: String, images: String) -> Plays {
    let printed = [("version", version), ("images", images)];
    Plays::Prints(printed.into_iter().map(|(name, text)| (name.to_owned(), format!("{NOISE}{text}"))).collect(), 0)
}

async fn no_job_and_no_pod_is_left(world: &World) {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), INSPECTION);
    eventually("Jobs and pods to be gone", async || {
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        (world.jobs().await.is_empty() && pods.is_empty()).then_some(())
    })
    .await;
}

/// What a person does who does not want to wait for the next attempt.
async fn delete_the_job(world: &World) {
    let all: Api<Job> = Api::namespaced(world.client.clone(), INSPECTION);
    for job in world.jobs().await {
        all.delete(&job.name_any(), &DeleteParams::background()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_release_is_inspected_once_and_its_set_is_stored_before_it_runs() {
    let (mut world, kubelet) = with_kubelet(scenery("unknown-version")).await;
    let double = world.double(|_| {});

    // Observe runs nothing and says so.
    let prepare = json!({ "versions": ["v1.44.0"] });
    world.policy(json!({ "mode": "Observe", "prepare": prepare })).await;
    let mut controller = world.controller("first").await;
    let words = ["v1.44.0 is not in the catalogue", "would be run and asked", "set spec.mode: Apply"];
    world.until_message("Prepared", "False", "NeedsInspection", &words).await;
    world.until("VersionKnown", "True", "VersionFound").await;
    world.assert_nothing_written();
    assert!(world.jobs().await.is_empty());

    // Apply asks. The controller dies while the image is asked, and the answer comes to nobody.
    world.policy(json!({ "mode": "Apply", "prepare": prepare })).await;
    world.until_message("Prepared", "False", "NeedsInspection", &["is asked by Job imageset-inspection/"]).await;
    world.until("Applied", "True", "ImageSetStored").await;
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), INSPECTION);
    eventually("the pod", async || pods.list(&ListParams::default()).await.unwrap().items.into_iter().next()).await;
    controller.kill();
    kubelet.play("/operator@sha256:", prints_all());
    let status = |job: &Job| job.status.as_ref().and_then(|status| status.succeeded);
    eventually("the Job to end", async || world.jobs().await.iter().any(|job| status(job) == Some(1)).then_some(()))
        .await;
    let mut controller = world.controller("second").await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    assert_eq!(world.stored("calico-v3.33.0").await.unwrap(), world.mirror.wanted_by(&newer(), false).unwrap());
    no_job_and_no_pod_is_left(&world).await;
    let kept = ListParams::default().labels(INSPECTIONS);
    assert_eq!(world.own::<ConfigMap>().list(&kept).await.unwrap().items.len(), 1);
    world.until_quiet().await;

    // The upgrade, with the registry gone and a third life of the controller: everything is known.
    world.mirror.registry.stop();
    controller.kill();
    let controller = world.controller("third").await;
    world.operator("v1.44.0").await;
    double.wait_adopted("calico-v3.33.0", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until("Ready", "True", "Succeeded").await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    assert_eq!(kubelet.started().len(), 1, "{:?}", kubelet.started());
    assert!(kubelet.started()[0].contains("@sha256:"), "it ran by digest");

    // The verbs for files know what the image said of itself, too.
    world.mirror.registry.start_again().await.unwrap();
    let host = world.mirror.registry.host();
    let (code, set, stderr) = world.verb(&["generate", "--from-cluster", "--plain-http", &host]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(
        &set,
        &["tigera-operator v1.44.0", "#   imageset-controller generate --from-cluster ", "name: calico-v3.33.0"],
    );
    for (name, digest) in world.stored("calico-v3.33.0").await.unwrap() {
        assert_contains(&set, &[&format!("  - image: {name}\n    digest: {digest}\n")]);
    }
    let (code, stdout, stderr) = world.verb(&["verify", "--plain-http", &host]).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_contains(&stdout, &["ImageSet calico-v3.33.0 for operator v1.44.0: ", "entries in sync"]);
    double.stop().await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_inspection_is_reported_and_nothing_is_guessed() {
    let (world, kubelet) = with_kubelet(scenery("bad-inspection")).await;
    let play = |plays: Plays| kubelet.play("/operator@sha256:", plays);
    play(Plays::CannotPull("401 Unauthorized\u{1b}[31m".to_owned()));
    let prepare = json!({ "versions": ["v1.44.0"] });
    world.policy(json!({ "mode": "Apply", "prepare": prepare })).await;
    let controller = world.controller("first").await;
    let reported = async |words: &[&str]| world.until_message("Prepared", "False", "NeedsInspection", words).await;
    reported(&["brought no answer: ErrImagePull: 401 Unauthorized\\u{1b}[31m", "see spec.inspection"]).await;
    // What runs is not touched by any of this.
    world.until("VersionKnown", "True", "VersionFound").await;
    world.until("Applied", "True", "ImageSetStored").await;
    let before = world.writes().len();

    let exits = BTreeMap::from([("version".to_owned(), "flag provided but not defined: -version".to_owned())]);
    play(Plays::Prints(exits, 2));
    delete_the_job(&world).await;
    reported(&["container version ended with exit code 2 (Error) and said: flag provided but not defined"]).await;

    let (version, list) = (newer().printed_version(), newer().printed_list());
    let cut: String = list.lines().take(9).map(|line| format!("{line}\n")).collect();
    let megabytes = "registry.example/calico/node:v1\n".repeat(320_000);
    for (plays, words) in [
        (prints(version.clone(), String::new()), "has no image"),
        (prints(version.clone(), cut), "does not have the operator's own image"),
        (prints(version.clone(), megabytes), "no operator prints more than"),
        (prints("usage: true\n".to_owned(), list.clone()), "has no line `Operator: …`"),
        (prints(version.replace("v1.44.0", "v1.43.7"), list.clone()), "--version was printed by operator v1.43.7"),
        (prints(version.clone(), list.replace(":v1.44.0", "")), "which is not an image by tag"),
    ] {
        play(plays);
        delete_the_job(&world).await;
        let words = imageset_text(words);
        reported(&["prints cannot be used", &words]).await;
    }

    // Both lists of the image agree on a version other than its label.
    let other = |text: &str| text.replace("v1.44.0", "v1.43.7");
    play(prints(other(&version), other(&list)));
    delete_the_job(&world).await;
    let words = ["is labelled v1.44.0 and prints v1.43.7"];
    world.until_message("Prepared", "False", "NotPrepared", &words).await;
    no_job_and_no_pod_is_left(&world).await;
    let writes: Vec<_> = world.writes().split_off(before);
    assert!(writes.iter().all(|write| write.kind == "ConfigMap"), "{writes:#?}");

    // The answer is kept for good: only who throws it away has it asked again.
    play(prints(version, list));
    world.delete_records(INSPECTIONS).await;
    world.policy(json!({ "mode": "Apply", "prepare": prepare, "retain": 2 })).await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.until("Ready", "True", "Succeeded").await;
    no_job_and_no_pod_is_left(&world).await;
    world.finish(&[&controller]).await;
}

/// A vendor's build under an upstream tag: it prints a name, and refuses it in a set.
#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_refuses_the_set_of_its_version_gets_its_own() {
    let upstream = OperatorRules::for_version("v1.43.0").unwrap();
    let fork = upstream.clone().refusing("calico/webhooks");
    let operators = OperatorImages::new().with_tag("v1.43.0", fork.clone());
    let world = World::start(Scenery { operators, ..scenery("fork") }).await;
    let kubelet = Kubelet::start(world.client.clone(), "kubelet", INSPECTION).await.unwrap();
    world.installation(json!({})).await;
    world.operator("v1.43.0").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let words = ["operator v1.43.0 refuses a set", "it rejects calico/webhooks", "is asked by Job"];
    world.until_message("VersionKnown", "Unknown", "InspectionRunning", &words).await;
    kubelet.play("/operator@sha256:", prints(upstream.printed_version(), upstream.printed_list()));
    double.wait_adopted("calico-v3.32.0", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    let wanted = world.mirror.wanted_by(&fork, false).unwrap();
    assert_eq!(world.stored("calico-v3.32.0").await.unwrap(), wanted);
    no_job_and_no_pod_is_left(&world).await;

    // Known for good: what it refused is not written again, whoever throws the set away.
    world.recorder.allow_delete("calico-v3.32.0");
    world.delete_set("calico-v3.32.0").await;
    eventually("the set to be back", async || world.stored("calico-v3.32.0").await).await;
    assert_eq!(world.stored("calico-v3.32.0").await.unwrap(), wanted);
    assert_eq!(kubelet.started().len(), 1);
    drop(controller);
    // That it refuses something could only be found out by one set that it refuses.
    let violations = world.recorder.finish().await.unwrap().violations;
    assert_eq!(violations.len(), 1, "{violations:#?}");
    assert!(violations[0].rule == "S2" && violations[0].text.contains("calico/webhooks"), "{violations:#?}");
}

/// As conditions show it: nothing beyond ASCII.
fn imageset_text(text: &str) -> String {
    text.replace('…', "\\u{2026}")
}
