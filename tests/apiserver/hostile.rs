//! What others write into objects that the controller reads: records, pods with the operator's labels, the policy's status, objects of
//! the names that it needs. Nothing pinned changes, nothing is switched off or blocked for good, and nobody's object is overwritten.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PostParams};
use serde_json::{Value, json};

use crate::gate::UNPREPARED;
use crate::rejected_writes::touch;
use crate::testbox::apply_yaml;
use crate::testbox::images::{Image, LINUX_PLATFORMS};
use crate::testbox::recorder::HUMAN;
use crate::testbox::scenery::{self, edited_by, running_and_ready};
use crate::unknown_version::{prints_all, scenery, with_kubelet};
use crate::world::{GATE, GATE_KINDS, INSPECTION, SOON, Scenery, World, eventually};

const SET: &str = "calico-v3.31.7";
const LABEL: &str = "imageset-controller.io/record";

impl World {
    /// The record of a version, labelled or not.
    async fn record_of(&self, version: &str) -> ConfigMap {
        let prefix = format!("record-{version}-");
        self.records().await.into_iter().find(|map| map.name_any().starts_with(&prefix)).unwrap()
    }

    /// Writes another text into a record, as this field manager.
    async fn edit_record(&self, name: &str, manager: &str, text: &str) {
        let patch = Patch::Merge(json!({ "data": { "record.yaml": text } }));
        self.own::<ConfigMap>().patch(name, &edited_by(manager), &patch).await.unwrap();
    }

    /// Until an event of this reason with these words was published: what a correction ends, the status soon forgets.
    async fn until_event(&self, reason: &str, words: &[&str]) {
        eventually(&format!("an event {reason} with {words:?}"), async || {
            let events = self.events("ImageSetPolicy", "default").await;
            let is_it = |note: &str| words.iter().all(|word| note.contains(word));
            events.iter().any(|(one, _, note)| one == reason && is_it(note)).then_some(())
        })
        .await;
    }

    /// Until the status has a finding of this reason with these words.
    async fn until_found(&self, reason: &str, words: &[&str]) {
        eventually(&format!("a finding {reason} with {words:?}"), async || {
            let found = self.findings(reason).await;
            found.iter().any(|one| words.iter().all(|word| one.to_string().contains(word))).then_some(())
        })
        .await;
    }

    async fn set_writes(&self) -> usize {
        self.writes().iter().filter(|write| write.kind == "ImageSet").count()
    }
}

fn text_of(map: &ConfigMap) -> String {
    map.data.as_ref().unwrap()["record.yaml"].clone()
}

/// All lines but the one that says when.
fn timeless(map: &ConfigMap) -> Vec<String> {
    text_of(map).lines().filter(|line| !line.starts_with("resolvedAt:")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_record_changes_no_set_and_is_written_again() {
    let world = World::with_calico(Scenery { name: "hostile-record", ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let mut controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    let before = world.stored(SET).await.unwrap();
    let record = world.record_of("v1.40.15").await;
    let (name, set_writes) = (record.name_any(), world.set_writes().await);
    // A digest that the registry has, of another image: only the content shows it.
    let edited = text_of(&record).replace(&before["calico/node"], &before["calico/cni"]);
    assert_ne!(edited, text_of(&record));
    let corrected = async || {
        eventually("the record to be corrected", async || {
            (timeless(&world.record_of("v1.40.15").await) == timeless(&record)).then_some(())
        })
        .await;
    };

    // By hand, while the controller runs.
    world.edit_record(&name, "kubectl-edit", &edited).await;
    touch(&world).await;
    corrected().await;
    world.until_event("RecordEdited", &["was written by kubectl-edit", &name]).await;

    // By a writer that pretends to be the controller, between two runs of it.
    for life in ["running", "restarted"] {
        if life == "restarted" {
            controller.kill();
        }
        world.edit_record(&name, "imageset-controller", &edited).await;
        if life == "restarted" {
            controller = world.controller("second").await;
        } else {
            touch(&world).await;
        }
        corrected().await;
        world.until_event("RecordEdited", &[&format!("ImageSet {SET}"), "calico/node:v3.31.7"]).await;
    }
    assert_eq!(world.stored(SET).await.unwrap(), before);
    assert_eq!(world.set_writes().await, set_writes);

    // The set and its record, with one and the same digest: what was pinned is put back, and not what both say.
    let digest = before["calico/cni"].clone();
    world.edit_record(&name, "imageset-controller", &edited).await;
    world
        .edit_set(SET, |images| {
            let node = images.iter_mut().find(|entry| entry["image"] == "calico/node").unwrap();
            node["digest"] = json!(digest);
        })
        .await;
    eventually("the set to be put back", async || (world.stored(SET).await.unwrap() == before).then_some(())).await;
    corrected().await;

    // A record that has lost its label is no obstacle, and is not written over.
    let unlabelled = world.record_of("v1.40.15").await;
    let unlabel = Patch::Merge(json!({ "metadata": { "labels": { LABEL: null } } }));
    world.own::<ConfigMap>().patch(&name, &edited_by(HUMAN), &unlabel).await.unwrap();
    world.verb(&["refresh"]).await;
    eventually("the label to be back", async || {
        world.record_of("v1.40.15").await.labels().contains_key(LABEL).then_some(())
    })
    .await;
    assert_eq!(text_of(&world.record_of("v1.40.15").await), text_of(&unlabelled));
    world.until("Ready", "True", "Succeeded").await;

    // Something else of the name of a record that is needed: named, left alone, and in nobody's way once it is gone.
    let taken = name.replace("v1.40.15", "v1.42.4");
    let theirs = json!({ "metadata": { "name": taken }, "data": { "theirs": "keep" } });
    let theirs: ConfigMap = serde_json::from_value(theirs).unwrap();
    let parameters = PostParams { field_manager: Some(HUMAN.to_owned()), ..PostParams::default() };
    let theirs = world.own::<ConfigMap>().create(&parameters, &theirs).await.unwrap();
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] } })).await;
    world.until_found("ObjectNotManaged", &[&taken, "left as it is", "delete or rename"]).await;
    let now = world.own::<ConfigMap>().get(&taken).await.unwrap();
    assert_eq!((now.resource_version(), now.data), (theirs.resource_version(), theirs.data));
    world.own::<ConfigMap>().delete(&taken, &DeleteParams::default()).await.unwrap();
    touch(&world).await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_the_future_does_not_switch_checks_off() {
    let world = World::with_calico(Scenery { name: "hostile-time", ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let mut controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    controller.kill();
    let moved = Image::index("moved", LINUX_PLATFORMS).unwrap();
    world.push(&world.mirror.repository("calico/node"), "v3.31.7", &moved).await;
    let status = Patch::Merge(json!({ "status": { "current": { "lastVerifiedTime": "2099-01-01T00:00:00Z" } } }));
    world.policies().patch_status("default", &edited_by(HUMAN), &status).await.unwrap();
    // Its answers are not remembered: without a check that is due nobody would be asked.
    let controller = world.controller("second").await;
    world.until_message("Drifted", "True", "TagMoved", &["calico/node:v3.31.7"]).await;
    let verified = world.status().await["current"]["lastVerifiedTime"].as_str().unwrap().to_owned();
    assert!(verified.starts_with("20") && !verified.starts_with("2099"), "{verified}");
    world.until_quiet().await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmanaged_pod_with_the_operators_labels_changes_nothing() {
    let world = World::with_calico(Scenery { name: "hostile-pod", ..Scenery::default() }, "v1.40.15").await;
    let double = world.double(|_| {});

    // A pod that claims to be the operator's, and is Ready. Another claims a ReplicaSet that there is not. Its name is not one of the
    // operator's: the recorder goes by names, the product by UIDs.
    let owner = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "stranger-1", "uid": "0f3a", "controller": true,
    }]);
    for (name, image, owners) in
        [("stranger", UNPREPARED, json!([])), ("orphan", "quay.io/tigera/operator:v1.42.4", owner)]
    {
        let template = scenery::deployment(image)["spec"]["template"].clone();
        let metadata = json!({ "name": name, "labels": template["metadata"]["labels"], "ownerReferences": owners });
        let pod = json!({ "metadata": metadata, "spec": template["spec"] });
        scenery::pod(&world.client, "tigera-operator", pod, running_and_ready()).await.unwrap();
    }

    // Unmanaged objects have the gate's names.
    let [(kind, _), _] = GATE_KINDS;
    let text = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata: {{name: {GATE}}}\nspec:\n  validations: [{{expression: 'true'}}]\n  \
         matchConstraints: {{resourceRules: [{{apiGroups: [example], apiVersions: [v1], operations: [CREATE], resources: [nothing]}}]}}\n"
    );
    apply_yaml(world.client.clone(), &text).await.unwrap();
    let theirs = world.gate_of(GATE_KINDS[0]).get(GATE).await.unwrap();

    world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": ["v1.42.4"] } })).await;
    let controller = world.controller("first").await;
    world.until_found("GateNotManaged", &[GATE, "delete or rename it"]).await;
    world.until("Applied", "True", "ImageSetStored").await;
    eventually("the prepared set", async || world.stored("calico-v3.32.1").await).await;
    double.wait_adopted(SET, SOON).await.unwrap();
    let now = world.gate_of(GATE_KINDS[0]).get(GATE).await.unwrap();
    assert_eq!(now.resource_version(), theirs.resource_version(), "it is left as it is");
    assert!(world.gate_of(GATE_KINDS[1]).get_opt(GATE).await.unwrap().is_none());

    // They are deleted: the gate is created, admits what is prepared, and not what an unmanaged pod runs.
    world.gate_of(GATE_KINDS[0]).delete(GATE, &DeleteParams::default()).await.unwrap();
    world.until_gate("Deny").await;
    eventually("the gate to be closed", async || world.rejects(UNPREPARED).await.then_some(())).await;
    world.recorder.gate_is_in_force().await.unwrap();
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    let status = world.status().await;
    assert!(!status["gate"]["admittedImages"].to_string().contains(UNPREPARED), "{status}");
    assert_eq!(status["operator"]["version"], "v1.40.15");
    // The API server follows the policy's status a moment later.
    world.until_open(&world.mirror.operator_image("v1.42.4")).await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    eventually("the new operator to have taken over", async || {
        (world.status().await["operator"]["version"] == "v1.42.4").then_some(())
    })
    .await;
    double.stop().await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlabelled_or_unmanaged_job_blocks_no_version_forever() {
    let (world, kubelet) = with_kubelet(scenery("hostile-job")).await;
    let policy = |mode: &str| json!({ "mode": mode, "prepare": { "versions": ["v1.44.0"] } });
    world.policy(policy("Apply")).await;
    let controller = world.controller("first").await;
    world.until_message("Prepared", "False", "NeedsInspection", &["is asked by Job imageset-inspection/"]).await;
    let all: Api<Job> = Api::namespaced(world.client.clone(), INSPECTION);
    let first = eventually("the Job", async || world.jobs().await.into_iter().next()).await;

    // Without its label the controller does not see it: it is made again.
    let unlabel = Patch::Merge(json!({ "metadata": { "labels": { "imageset-controller.io/inspection": null } } }));
    all.patch(&first.name_any(), &edited_by(HUMAN), &unlabel).await.unwrap();
    touch(&world).await;
    eventually("another Job", async || {
        let now = all.get_opt(&first.name_any()).await.unwrap()?;
        (now.uid() != first.uid() && now.labels().contains_key("imageset-controller.io/inspection")).then_some(())
    })
    .await;

    // An unmanaged Job of that name is left alone, and named.
    world.policy(policy("Observe")).await;
    world.until("Prepared", "False", "NeedsInspection").await;
    all.delete(&first.name_any(), &DeleteParams::background()).await.unwrap();
    eventually("the Job to be gone", async || all.get_opt(&first.name_any()).await.unwrap().is_none().then_some(()))
        .await;
    let container = |image: &str| -> Value {
        json!({
            "name": "theirs", "image": image,
            "securityContext": {
                "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1, "capabilities": { "drop": ["ALL"] },
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        })
    };
    let theirs = json!({
        "metadata": { "name": first.name_any() },
        "spec": { "suspend": true, "template": { "spec": { "restartPolicy": "Never", "containers": [container("a.example/b:c")] } } },
    });
    let theirs = all.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();
    world.policy(policy("Apply")).await;
    world.until_found("ObjectNotManaged", &["did not create", "left as it is"]).await;
    assert_eq!(all.get(&first.name_any()).await.unwrap().uid(), theirs.uid());

    kubelet.play("/operator@sha256:", prints_all());
    all.delete(&first.name_any(), &DeleteParams::background()).await.unwrap();
    touch(&world).await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.finish(&[&controller]).await;
}
