//! The upgrade gate through what befalls a cluster: a backup that is put back, policies that go and come, a controller
//! that is down. It never locks anybody out, and what it says stays the same for as long as nobody decides otherwise.

use kube::ResourceExt;
use kube::api::{DeleteParams, DynamicObject, PostParams, PropagationPolicy};
use serde_json::json;

use crate::gate::UNPREPARED;
use crate::testbox::Controller;
use crate::world::{GATE, GATE_KINDS, Scenery, World, eventually};

impl World {
    /// Runs v1.40.15 under a closed gate.
    async fn closed(&self, more: serde_json::Value) -> Controller {
        self.installation(json!({})).await;
        self.operator("v1.40.15").await;
        let mut policy = json!({ "mode": "Apply", "gate": "Deny" });
        policy.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        self.policy(policy).await;
        let controller = self.controller("first").await;
        self.until("Ready", "True", "Succeeded").await;
        self.until_gate("Deny").await;
        self.until_rejected(UNPREPARED).await;
        controller
    }

    /// The policy's uid.
    async fn policy_uid(&self) -> String {
        self.policies().get("default").await.unwrap().uid().unwrap()
    }

    /// Until both objects of the gate belong to the policy object with this uid. Owners that are gone, as a backup brings
    /// them back, count for nothing with the garbage collector.
    async fn until_owned_by(&self, uid: &str) {
        for kind in GATE_KINDS {
            eventually(&format!("the {} to belong to the policy", kind.0), async || {
                let object = self.gate_of(kind).get_opt(GATE).await.unwrap()?;
                object.owner_references().iter().any(|owner| owner.uid == uid).then_some(())
            })
            .await;
        }
    }

    async fn delete_policy(&self, how: PropagationPolicy) {
        let parameters = DeleteParams { propagation_policy: Some(how), ..DeleteParams::default() };
        self.policies().delete("default", &parameters).await.unwrap();
        let gone = async || self.policies().get_opt("default").await.unwrap().is_none().then_some(());
        eventually("the policy to be gone", gone).await;
    }

    /// Until the API server decides by what the policy says now: the controller has told it, and this image is admitted.
    async fn until_admitted(&self, image: &str) {
        eventually(&format!("{image} to be admitted"), async || self.set_image(image).await.ok()).await;
    }
}

/// An object as a backup has it: without what only the API server writes. Owners are kept, as Velero keeps them.
fn backed_up(mut object: DynamicObject) -> DynamicObject {
    object.metadata.uid = None;
    object.metadata.resource_version = None;
    object.metadata.creation_timestamp = None;
    object.metadata.generation = None;
    object.metadata.managed_fields = None;
    object.data.as_object_mut().unwrap().remove("status");
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_status_blocks_nothing_and_the_gate_becomes_the_new_policys() {
    let world = World::start(Scenery { name: "gate-backup", ..Scenery::default() }).await;
    let mut controller = world.closed(json!({ "prepare": { "versions": ["v1.42.4"] } })).await;
    let (old, new) = (world.mirror.operator_image("v1.40.15"), world.mirror.operator_image("v1.42.4"));
    let before = world.policy_uid().await;
    world.until_owned_by(&before).await;

    // All is lost, ours and the operator's, but what the cluster itself keeps.
    controller.kill();
    let policy = backed_up(world.policies().get("default").await.unwrap());
    let mut gate = Vec::new();
    for kind in GATE_KINDS {
        gate.push((kind, backed_up(world.gate_of(kind).get(GATE).await.unwrap())));
    }
    let mut deployment = world.deployments().get("tigera-operator").await.unwrap();
    deployment.metadata.resource_version = None;
    deployment.metadata.uid = None;
    deployment.status = None;
    world.deployments().delete("tigera-operator", &DeleteParams::default()).await.unwrap();
    world.delete_policy(PropagationPolicy::Background).await;
    for (kind, _) in &gate {
        world.gate_of(*kind).delete(GATE, &DeleteParams::default()).await.unwrap();
    }
    for name in ["calico-v3.31.7", "calico-v3.32.1"] {
        world.recorder.allow_delete(name);
        world.delete_set(name).await;
    }
    let maps = world.own::<k8s_openapi::api::core::v1::ConfigMap>();
    maps.delete_collection(&DeleteParams::default(), &kube::api::ListParams::default()).await.unwrap();

    // The gate comes back first, then the Deployment, then the policy: in none of these states is anybody held up.
    for (kind, object) in &gate {
        world.gate_of(*kind).create(&PostParams::default(), object).await.unwrap();
    }
    let admits = async |place: &str| {
        for image in [UNPREPARED, new.as_str(), old.as_str()] {
            world.set_image(image).await.unwrap_or_else(|rejected| panic!("{place}: {rejected}"));
        }
    };
    world.deployments().create(&PostParams::default(), &deployment).await.unwrap();
    admits("without a policy").await;
    world.policies().create(&PostParams::default(), &policy).await.unwrap();
    admits("with a policy without status").await;
    let now = world.policy_uid().await;
    assert_ne!(before, now);

    // The controller comes last: the gate is set again, for the policy that is there now, and closes.
    let controller = world.controller("second").await;
    world.until("Ready", "True", "Succeeded").await;
    world.until_owned_by(&now).await;
    world.until_rejected(UNPREPARED).await;
    world.until_admitted(&new).await;
    world.set_image(&old).await.unwrap();
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_goes_with_its_policy_and_with_no_other() {
    let mut world = World::start(Scenery { name: "gate-owner", ..Scenery::default() }).await;
    world.control_plane.collect_garbage().await.unwrap();
    let mut controller = world.closed(json!({})).await;

    // Taken away by hand, it is back, whatever else is quiet.
    for kind in GATE_KINDS {
        world.gate_of(kind).delete(GATE, &DeleteParams::default()).await.unwrap();
        let back = async || world.gate_of(kind).get_opt(GATE).await.unwrap();
        eventually(&format!("the {} to be back", kind.0), back).await;
    }

    // kubectl delete --cascade=orphan, and the policy again: another object of the same name.
    let before = world.policy_uid().await;
    world.until_owned_by(&before).await;
    let policy = backed_up(world.policies().get("default").await.unwrap());
    world.delete_policy(PropagationPolicy::Orphan).await;
    for kind in GATE_KINDS {
        assert!(world.gate_of(kind).get_opt(GATE).await.unwrap().is_some(), "{kind:?} was not left behind");
    }
    world.policies().create(&PostParams::default(), &policy).await.unwrap();
    let now = world.policy_uid().await;
    assert_ne!(before, now);
    world.until_owned_by(&now).await;
    world.until("Ready", "True", "Succeeded").await;
    world.until_rejected(UNPREPARED).await;

    // Deleted, it takes the gate along, also while nobody of ours is there. The set stays.
    controller.kill();
    world.delete_policy(PropagationPolicy::Background).await;
    world.until_no_gate().await;
    world.until_open(UNPREPARED).await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn suspend_freezes_what_is_admitted_and_a_controller_that_is_down_changes_nothing() {
    let world = World::start(Scenery { name: "gate-frozen", ..Scenery::default() }).await;
    let mut controller = world.closed(json!({})).await;
    let (old, new) = (world.mirror.operator_image("v1.40.15"), world.mirror.operator_image("v1.42.4"));
    let admitted = async || world.status().await["gate"]["admittedImages"].clone();

    // Suspended, the list stays as it is: nothing is staged, and nothing more is admitted.
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "suspend": true })).await;
    eventually("the suspension to be seen", async || {
        let policy = world.policies().get("default").await.unwrap();
        (policy.data["status"]["observedGeneration"].as_i64() == policy.metadata.generation).then_some(())
    })
    .await;
    let before = admitted().await;
    let prepare = json!({ "versions": ["v1.42.4"] });
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "suspend": true, "prepare": prepare })).await;
    world.until_message("Prepared", "False", "NotPrepared", &[]).await;
    assert_eq!(admitted().await, before);
    assert!(world.set_image(&new).await.is_err());

    // Down: refused is what was refused.
    controller.kill();
    assert!(world.set_image(&new).await.is_err() && world.set_image(UNPREPARED).await.is_err());
    world.set_image(&old).await.unwrap();

    // Staged by the next one. Down again: the upgrade goes through, and what nobody prepared does not.
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": prepare })).await;
    let mut controller = world.controller("second").await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.until_admitted(&new).await;
    world.set_image(&old).await.unwrap();
    controller.kill();
    world.set_image(&new).await.unwrap();
    assert!(world.set_image(UNPREPARED).await.unwrap_err().contains("no ImageSet is ready"));
    world.set_image(&old).await.unwrap();
    world.finish(&[&controller]).await;
}
