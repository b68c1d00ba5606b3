//! The upgrade gate on a real API server: what an unprepared operator image meets, in every way in which people change a
//! Deployment; and what is never held up.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::world::{Scenery, World, eventually};

const GATE: &str = "imageset-controller-gate";

impl World {
    fn gate(&self) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding");
        let resource = ApiResource::from_gvk_with_plural(&kind, "validatingadmissionpolicybindings");
        Api::all_with(self.client.clone(), &resource)
    }

    async fn until_gate(&self, action: &str) {
        eventually("the gate", async || {
            let binding = self.gate().get_opt(GATE).await.unwrap()?;
            (binding.data["spec"]["validationActions"] == json!([action])).then_some(())
        })
        .await;
    }

    /// The gate takes effect a moment after its objects are there: until this image is refused.
    async fn until_refused(&self, image: &str) -> String {
        eventually("the gate to refuse", async || {
            let refused = self.set_image(image).await.err();
            if refused.is_none() {
                // It was let through; back, which is always admitted.
                self.set_image(&self.mirror.operator_image("v1.40.15")).await.unwrap();
            }
            refused
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unprepared_image_is_refused_and_everything_else_goes_through() {
    let world = World::start(Scenery { name: "gate", ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    world.policy(json!({ "mode": "Apply", "gate": "Deny" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    world.until_gate("Deny").await;

    let (old, new) = (world.mirror.operator_image("v1.40.15"), world.mirror.operator_image("v1.42.4"));
    // What once was the target is prepared by that; so another image finds out whether the gate is closed.
    world.until_refused("registry.example/any/operator:v0.0.1").await;
    world.until("Ready", "True", "Succeeded").await;
    let message = world.set_image(&new).await.unwrap_err();
    for words in [&new, "no ImageSet is ready", "spec.prepare.versions", "break-glass"] {
        assert!(message.contains(words), "{message}");
    }
    // As Argo CD does it, and as Helm does it.
    let mut deployment = world.deployments().get("tigera-operator").await.unwrap();
    let template = deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    template.containers[0].image = Some(new.clone());
    let replaced = world.deployments().replace("tigera-operator", &PostParams::default(), &deployment).await;
    assert!(replaced.unwrap_err().to_string().contains("no ImageSet is ready"));
    let labels = json!({ "k8s-app": "tigera-operator" });
    let containers = json!([{ "name": "tigera-operator", "image": new }]);
    let applied = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "tigera-operator" },
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": containers } } },
    });
    let refused = world.change_operator(Patch::Apply(applied), &PatchParams::apply("argocd-controller").force()).await;
    assert!(refused.unwrap_err().contains("no ImageSet is ready"));

    // Never held up: scale, metadata, the same image, other Deployments.
    let scale = json!({ "spec": { "replicas": 2 } });
    world.deployments().patch_scale("tigera-operator", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    let harmless = json!({ "metadata": { "annotations": { "note": "x" } }, "spec": { "replicas": 1 } });
    world.change_operator(Patch::Merge(harmless), &PatchParams::default()).await.unwrap();
    world.set_image(&old).await.unwrap();

    // Broken glass admits the image that it names, and no other.
    let glass = |image: &str| json!({ "metadata": { "annotations": { "imageset-controller.io/break-glass": image } } });
    world.change_operator(Patch::Merge(glass("something/else:v1")), &PatchParams::default()).await.unwrap();
    assert!(world.set_image(&new).await.is_err());
    world.change_operator(Patch::Merge(glass(&new)), &PatchParams::default()).await.unwrap();
    world.set_image(&new).await.unwrap();
    eventually("the use of it to be told", async || {
        world.status().await["findings"].to_string().contains("GlassBroken").then_some(())
    })
    .await;
    world.until("Ready", "True", "Succeeded").await;

    // Back to the version before; then prepared, each form is admitted.
    world.set_image(&old).await.unwrap();
    world.change_operator(Patch::Merge(glass("none")), &PatchParams::default()).await.unwrap();
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": ["v1.42.4"] } })).await;
    world.until("Ready", "True", "Succeeded").await;
    let digest = eventually("the digest of the prepared operator", async || {
        let admitted = world.status().await["gate"]["admittedImages"].clone();
        let mut images = admitted.as_array()?.iter().filter_map(Value::as_str);
        images.find_map(|image| image.strip_prefix(&format!("{new}@")).map(str::to_owned))
    })
    .await;
    let repository = new.rsplit_once(':').unwrap().0;
    for image in [new.clone(), format!("{new}@{digest}"), format!("{repository}@{digest}")] {
        eventually("a prepared form to be admitted", async || world.set_image(&image).await.ok()).await;
        world.set_image(&old).await.unwrap();
    }
    world.until("Ready", "True", "Succeeded").await;

    // A namespace that is restored: the Deployment is created, whatever its image.
    world.deployments().delete("tigera-operator", &Default::default()).await.unwrap();
    world.operator_at("registry.example/any/operator:v0.0.1").await;

    // A policy that only observes warns; without a gate nothing is left of it, and nothing is refused.
    world.policy(json!({ "mode": "Observe", "gate": "Deny" })).await;
    world.until_gate("Warn").await;
    world.policy(json!({ "mode": "Observe", "gate": "Disabled" })).await;
    eventually("the gate to be gone", async || world.gate().get_opt(GATE).await.unwrap().is_none().then_some(())).await;
    // The API server forgets it a moment later.
    let free = async || world.set_image("registry.example/any/operator:v0.0.2").await.ok();
    eventually("every image to get through", free).await;
    assert_eq!(world.status().await["gate"], Value::Null);
    world.finish(&[&controller]).await;
}
