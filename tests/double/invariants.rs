//! The recorder must catch what is planted, and nothing else.

use std::time::Duration;

use kube::api::{Api, Patch};
use serde_json::json;

use crate::stage::{PRODUCT, Scene, complete, digest, without};
use crate::testbox::apply_yaml;
use crate::testbox::crds::{self, Kind};
use crate::testbox::operator_double::{OperatorDouble, Options};
use crate::testbox::patience::SOON;
use crate::testbox::recorder::{Config, InvariantRecorder, RecorderReport, Revision, Verb, Watched};
use crate::testbox::rights;
use crate::testbox::rules::Entry;
use crate::testbox::scenery;

/// An operator v1.40.15 that runs, all digests of the tests known, and a recorder.
async fn scene(name: &str) -> (Scene, OperatorDouble, InvariantRecorder) {
    let scene = Scene::start(name).await;
    scene.installation().await;
    let options = Options {
        pod_start: Duration::from_millis(50),
        roll_out: Duration::from_millis(50),
        poll: Duration::from_millis(30),
        ..Options::default()
    };
    let double = OperatorDouble::start(scene.client.clone(), options);
    let config = Config::default();
    config.known_digests.lock().unwrap().extend(
        ["v1.40.15", "v1.42.4"].into_iter().flat_map(complete).map(|(_, digest)| digest).chain([digest("another")]),
    );
    let recorder = InvariantRecorder::start(scene.client.clone(), config).await.unwrap();
    scene.operator("v1.40.15").await;
    double.wait_for("tags", SOON, |what| what.to_string() == "uses tags").await.unwrap();
    (scene, double, recorder)
}

fn rules_of(report: &RecorderReport) -> Vec<&'static str> {
    report.violations.iter().map(|violation| violation.rule).collect()
}

fn with(mut set: Vec<Entry>, name: &str, digest: &str) -> Vec<Entry> {
    set.iter_mut().find(|(entry, _)| entry == name).unwrap().1 = digest.to_owned();
    set
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_run_is_clean_and_every_write_is_seen() {
    let (scene, double, recorder) = scene("recorder-good").await;
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    scene.operator("v1.42.4").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    // A human edits ours, and it is put back; both are seen, and neither is a violation.
    let edit = json!({ "spec": { "images": [] } });
    scenery::edit(&Kind::ImageSet.api(&scene.client), "calico-v3.32.1", edit).await.unwrap();
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    double.stop().await;

    recorder.assert_quiet(Duration::from_millis(500)).await.unwrap();
    scene.human_stores("foo", &[]).await;
    let report = recorder.finish_ok().await.unwrap();
    let sets: Vec<String> = report
        .writes
        .iter()
        .filter(|write| write.kind == "ImageSet")
        .map(|write| format!("{:?} {} {}", write.verb, write.name, write.manager.clone().unwrap_or_default()))
        .collect();
    assert_eq!(
        sets,
        [
            "Create calico-v3.31.7 imageset-controller",
            "Create calico-v3.32.1 imageset-controller",
            "Update calico-v3.32.1 human",
            "Update calico-v3.32.1 imageset-controller",
            "Create foo human",
        ]
    );
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);
    assert!(report.writes.is_sorted_by_key(|write| write.resource_version));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_violation_is_caught() {
    let (scene, double, recorder) = scene("recorder-planted").await;
    // S1: the next version's set first.
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    // S2: an image that the running release requires is missing; and an unknown name.
    scene.product_stores("calico-v3.31.7", &without(complete("v1.40.15"), "calico/csi")).await;
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    // S3: a digest that no registry holds. (For an image that was not stored yet: else it is S4 too.)
    scene.product_stores("calico-v3.30.7", &with(complete("v1.38.13"), "calico/node", &digest("from nowhere"))).await;
    // S4: another digest for the same image of the same version.
    scene.product_stores("calico-v3.31.7", &with(complete("v1.40.15"), "calico/node", &digest("another"))).await;
    // S5: the set of the running version deleted; a foreign set changed by us; a foreign set deleted.
    scene.human_stores("foo", &[]).await;
    let label = json!({ "metadata": { "labels": { "touched": "yes" } } });
    let sets = Kind::ImageSet.api(&scene.client);
    sets.patch("foo", &scenery::edited_by(PRODUCT), &Patch::Merge(label)).await.unwrap();
    scene.delete_set("foo").await;
    scene.product_stores("calico-v3.31.7", &[]).await;
    scene.delete_set("calico-v3.31.7").await;
    // Pruning one that neither runs nor is next is fine.
    scene.delete_set("calico-v3.30.7").await;
    double.stop().await;

    let report = recorder.finish().await.unwrap();
    let found: Vec<String> =
        report.violations.iter().map(|violation| format!("{} {}", violation.rule, violation.object)).collect();
    assert_eq!(
        found,
        [
            "S1 calico-v3.32.1",
            "S2 calico-v3.31.7",
            "S3 calico-v3.30.7",
            "S4 calico-v3.31.7",
            "S5 foo",
            "S5 foo",
            "S2 calico-v3.31.7",
            "S5 calico-v3.31.7",
            "S5 calico-v3.31.7",
        ],
        "{:#?}",
        report.violations
    );
    assert!(report.violations[1].text.contains("insists on calico/csi"), "{}", report.violations[1].text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_test_declares_is_no_violation() {
    let (scene, double, recorder) = scene("recorder-declared").await;
    recorder.allow_repin("calico-v3.31.7");
    recorder.allow_delete("calico-v3.31.7");
    recorder.allow_take_ownership("calico-v3.32.1");
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    scene.product_stores("calico-v3.31.7", &with(complete("v1.40.15"), "calico/node", &digest("another"))).await;
    scene.human_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    scene.delete_set("calico-v3.31.7").await;
    double.stop().await;
    recorder.finish_ok().await.unwrap();
}

/// S6: no gate stands here, so that everything gets in.
#[tokio::test(flavor = "multi_thread")]
async fn an_unprepared_image_that_gets_past_the_gate_is_caught() {
    let (scene, double, recorder) = scene("recorder-gate").await;
    rights::install_kind(&scene.client).await.unwrap();
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    scene.policy("Deny").await;
    // The kind is new, and the recorder finds it by looking again.
    let output =
        |revision: &Revision| revision.watched == Watched::Policy && revision.object.data["status"]["gate"].is_object();
    let seen = async {
        while recorder.first(output).is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, seen).await.unwrap();
    recorder.gate_is_in_force().await.unwrap();
    scene.operator("v1.42.4").await;
    scene.operator("v1.43.0").await;
    scene.operator("v1.40.15").await;
    // What is only recorded waits for its operator; what has a name in the annotation was let through by a person.
    let record =
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: record-v1.38.6-calico-1, namespace: imageset-controller}}";
    apply_yaml(scene.client.clone(), record).await.unwrap();
    scene.operator("v1.38.6").await;
    scene.break_glass("quay.io/tigera/operator:v1.36.0").await;
    scene.operator("v1.36.0").await;
    scene.operator("v1.34.5").await;
    scene.policy("Warn").await;
    scene.operator("v1.30.4").await;
    double.stop().await;
    let report = recorder.finish().await.unwrap();
    let found: Vec<&str> = report.violations.iter().map(|one| one.text.as_str()).collect();
    let admitted =
        |version: &str| format!("quay.io/tigera/operator:{version} was admitted, and nothing is ready for it");
    assert_eq!(found, [admitted("v1.43.0"), admitted("v1.34.5")], "{:#?}", report.violations);
    assert!(report.violations[0].to_string().contains("Deployment tigera-operator"), "{}", report.violations[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_set_wins_while_a_new_pod_does_not_start() {
    let (scene, double, recorder) = scene("recorder-stuck").await;
    double.change(|options| options.unpullable.extend(["quay.io/tigera/operator:v1.42.4".to_owned()]));
    scene.operator("v1.42.4").await;
    double
        .wait_for("the new pod", SOON, |what| what.to_string().ends_with("created: quay.io/tigera/operator:v1.42.4"))
        .await
        .unwrap();
    // The target's set alone would break the build that still leads.
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    double.stop().await;
    let report = recorder.finish().await.unwrap();
    assert_eq!(rules_of(&report), ["S1"], "{:?}", report.violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_survive_a_restart_of_the_api_server_and_late_crds() {
    let (mut scene, double, recorder) = scene("recorder-restart").await;
    double.stop().await;
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    scene.control_plane.restart_apiserver().await.unwrap();
    apply_yaml(scene.client.clone(), POLICY).await.unwrap();
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(scene.client.clone(), "imageset-controller");
    for count in 0..20 {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "record" },
            "data": { "count": count.to_string() },
        });
        maps.patch("record", &scenery::applied_by(PRODUCT), &Patch::Apply(map)).await.unwrap();
    }
    let report = recorder.finish_ok().await.unwrap();
    let of = |kind: &str| report.writes.iter().filter(|write| write.kind == kind).count();
    assert_eq!(of("ConfigMap"), 20);
    assert_eq!(of("ImageSetPolicy"), 1);
    let created = report.writes.iter().find(|write| write.kind == "ImageSetPolicy").unwrap();
    assert_eq!(created.verb, Verb::Create);
}

const POLICY: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: imagesetpolicies.imageset-controller.io}
spec:
  group: imageset-controller.io
  names: {kind: ImageSetPolicy, plural: imagesetpolicies}
  scope: Cluster
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: imageset-controller.io/v1alpha1
kind: ImageSetPolicy
metadata: {name: default}
spec: {mode: Apply, prepare: {versions: [v1.42.4]}}
";

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_install_the_announced_version_comes_first() {
    let scene = Scene::start("recorder-first").await;
    apply_yaml(scene.client.clone(), POLICY).await.unwrap();
    let config = Config::default();
    let digests = ["v1.40.15", "v1.42.4"].into_iter().flat_map(complete).map(|(_, digest)| digest);
    config.known_digests.lock().unwrap().extend(digests);
    let recorder = InvariantRecorder::start(scene.client.clone(), config.clone()).await.unwrap();
    scene.product_stores("calico-v3.32.1", &complete("v1.42.4")).await;
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    let report = recorder.finish_ok().await.unwrap();
    assert!(report.gaps.is_empty(), "{:?}", report.gaps);

    // A later recorder knows what was pinned before it, and judges only what is written from then on.
    config.known_digests.lock().unwrap().insert(digest("another"));
    let recorder = InvariantRecorder::start(scene.client.clone(), config.clone()).await.unwrap();
    scene.product_stores("calico-v3.32.1", &with(complete("v1.42.4"), "calico/node", &digest("another"))).await;
    assert_eq!(rules_of(&recorder.finish().await.unwrap()), ["S4"]);

    scene.delete_set("calico-v3.32.1").await;
    scene.delete_set("calico-v3.31.7").await;
    let recorder = InvariantRecorder::start(scene.client.clone(), config).await.unwrap();
    scene.product_stores("calico-v3.31.7", &complete("v1.40.15")).await;
    assert_eq!(rules_of(&recorder.finish().await.unwrap()), ["S1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_can_be_installed_in_part() {
    let control_plane = crate::testbox::ControlPlane::start("double-crds").await.unwrap();
    crds::install_only(&control_plane.client(), &[Kind::ImageSet]).await.unwrap();
    let sets = Kind::ImageSet.api(&control_plane.client());
    assert!(sets.list(&Default::default()).await.unwrap().items.is_empty());
    assert!(Kind::Installation.api(&control_plane.client()).list(&Default::default()).await.is_err());
    crds::install(&control_plane.client()).await.unwrap();
    assert!(Kind::Installation.api(&control_plane.client()).list(&Default::default()).await.is_ok());
}
