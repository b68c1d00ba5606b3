//! The upgrade gate on a real API server: what an unprepared operator image meets, in every way in which people change a
//! Deployment; and what is never held up.

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::testbox::scenery::{applied_by, deployment, with_image};
use crate::world::{GATE, GATE_KINDS, Scenery, World, eventually};

/// An image that nobody ever prepares: the gate is closed when it is rejected.
pub const UNPREPARED: &str = "registry.example/any/operator:v0.0.1";

impl World {
    fn gate(&self) -> Api<DynamicObject> {
        self.gate_of(GATE_KINDS[1])
    }

    /// Until neither object is there.
    pub async fn until_no_gate(&self) {
        for kind in GATE_KINDS {
            let gone = async || self.gate_of(kind).get_opt(GATE).await.unwrap().is_none().then_some(());
            eventually(&format!("the {} to be gone", kind.0), gone).await;
        }
    }

    /// The API server follows its own objects a moment later: until an image that nobody prepared is let through.
    pub async fn until_open(&self, image: &str) {
        eventually("the gate to be open", async || self.set_image(image).await.ok()).await;
    }

    pub async fn until_gate(&self, action: &str) {
        eventually("the gate", async || {
            let binding = self.gate().get_opt(GATE).await.unwrap()?;
            (binding.data["spec"]["validationActions"] == json!([action])).then_some(())
        })
        .await;
    }

    /// As Helm does it, and `kubectl replace`.
    async fn replace_image(&self, image: &str) -> Result<(), String> {
        eventually("a replacement without a conflict", async || {
            let mut deployment = self.deployments().get("tigera-operator").await.unwrap();
            let template = deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
            template.containers[0].image = Some(image.to_owned());
            match self.deployments().replace("tigera-operator", &PostParams::default(), &deployment).await {
                Ok(_) => Some(Ok(())),
                Err(kube::Error::Api(status)) if status.code == 409 => None,
                Err(kube::Error::Api(status)) => Some(Err(status.message.clone())),
                Err(error) => panic!("{error}"),
            }
        })
        .await
    }

    /// As Argo CD does it, and `kubectl apply --server-side --force-conflicts`.
    async fn apply_image(&self, image: &str) -> Result<(), String> {
        self.change_operator(Patch::Apply(deployment(image)), &applied_by("argocd-controller")).await
    }

    /// The warnings that come with a change to this image, or the refusal.
    async fn warned(&self, image: &str) -> Result<Vec<String>, String> {
        let patch = with_image(image);
        let request = http::Request::patch("/apis/apps/v1/namespaces/tigera-operator/deployments/tigera-operator")
            .header("content-type", "application/strategic-merge-patch+json")
            .body(kube::client::Body::from(patch.to_string().into_bytes()))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        if !response.status().is_success() {
            return Err(response.status().to_string());
        }
        let warnings = response.headers().get_all("warning").iter();
        Ok(warnings.map(|warning| warning.to_str().unwrap().to_owned()).collect())
    }

    /// The gate takes effect a moment after its objects are there: until this image is refused.
    pub async fn until_rejected(&self, image: &str) -> String {
        eventually("the gate to refuse", async || {
            let rejected = self.set_image(image).await.err();
            if rejected.is_none() {
                // It was let through; back, which is always admitted.
                self.set_image(&self.mirror.operator_image("v1.40.15")).await.unwrap();
            }
            rejected
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unprepared_image_is_rejected_and_everything_else_is_admitted() {
    let world = World::with_calico(Scenery { name: "gate", ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply", "gate": "Deny" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    world.until_gate("Deny").await;

    let (old, new) = (world.mirror.operator_image("v1.40.15"), world.mirror.operator_image("v1.42.4"));
    // What once was the target is prepared by that; so another image finds out whether the gate is closed.
    world.until_rejected(UNPREPARED).await;
    world.until("Ready", "True", "Succeeded").await;
    let message = world.set_image(&new).await.unwrap_err();
    for words in [&new, "no ImageSet is ready", "spec.prepare.versions", "break-glass"] {
        assert!(message.contains(words), "{message}");
    }
    for rejected in [world.replace_image(&new).await, world.apply_image(&new).await] {
        assert!(rejected.unwrap_err().contains("no ImageSet is ready"));
    }

    // Another name of the container leads to no way around.
    let renamed = json!([{ "name": "other", "image": new }]);
    let renamed = Patch::Merge(json!({ "spec": { "template": { "spec": { "containers": renamed } } } }));
    let rejected = world.change_operator(renamed, &PatchParams::default()).await;
    assert!(rejected.unwrap_err().contains("no container tigera-operator any more"));

    // Never held up: scale, metadata, the same image, other Deployments.
    let scale = json!({ "spec": { "replicas": 2 } });
    world.deployments().patch_scale("tigera-operator", &PatchParams::default(), &Patch::Merge(&scale)).await.unwrap();
    let harmless = json!({
        "metadata": { "annotations": { "note": "x" }, "labels": { "note": "x" } }, "spec": { "replicas": 1 },
    });
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
    let events = eventually("an event of it", async || {
        let events = world.events("ImageSetPolicy", "default").await;
        let used: Vec<_> = events.into_iter().filter(|(reason, ..)| reason == "GlassBroken").collect();
        (!used.is_empty()).then_some(used)
    })
    .await;
    assert!(events.len() == 1 && events[0].1 == 1 && events[0].2.contains(&new), "{events:?}");
    // A reconcile counts what it has published when it ends.
    let reported = r#"imageset_controller_findings{reason="GlassBroken",condition="Prepared",severity="Warning"} 1"#;
    for line in ["imageset_controller_break_glass_total 1", reported] {
        eventually(line, async || {
            let metrics = controller.get("/metrics").await.unwrap().1;
            metrics.lines().any(|one| one == line).then_some(())
        })
        .await;
    }

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
        // By whatever way, and back.
        world.replace_image(&old).await.unwrap();
        world.replace_image(&image).await.unwrap();
        world.apply_image(&old).await.unwrap();
        world.apply_image(&image).await.unwrap();
        world.set_image(&old).await.unwrap();
    }
    world.until("Ready", "True", "Succeeded").await;

    // A namespace that is restored: the Deployment is created, whatever its image.
    world.deployments().delete("tigera-operator", &Default::default()).await.unwrap();
    world.operator_at(UNPREPARED).await;

    // A policy that only observes warns; without a gate nothing is left of it, and nothing is refused.
    world.policy(json!({ "mode": "Observe", "gate": "Deny" })).await;
    world.until_gate("Warn").await;
    let warning = eventually("a warning instead of a refusal", async || {
        let warnings = world.warned("registry.example/any/operator:v0.0.3").await.ok()?;
        world.set_image(UNPREPARED).await.ok()?;
        warnings.into_iter().next()
    })
    .await;
    assert!(
        warning.contains("no ImageSet is ready for operator image registry.example/any/operator:v0.0.3"),
        "{warning}"
    );
    world.policy(json!({ "mode": "Observe", "gate": "Disabled" })).await;
    world.until_no_gate().await;
    // The API server forgets it a moment later.
    let free = async || world.set_image("registry.example/any/operator:v0.0.2").await.ok();
    eventually("every image to get through", free).await;
    assert_eq!(world.status().await["gate"], Value::Null);
    world.finish(&[&controller]).await;
}

/// v1.38.1 and v1.38.2 look up one set.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_within_one_set_can_be_undone_under_a_closed_gate() {
    let releases = &["v1.38.1", "v1.38.2"];
    let world = World::with_calico(Scenery { name: "gate-undo", releases, ..Scenery::default() }, "v1.38.1").await;
    let double = world.double(|_| {});
    let policy = |prepare: &[&str]| json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": prepare } });
    world.policy(policy(&["v1.38.2"])).await;
    let controller = world.controller("first").await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.until_gate("Deny").await;
    eventually("the gate to reject", async || world.rejects(UNPREPARED).await.then_some(())).await;

    let (old, new) = (world.mirror.operator_image("v1.38.1"), world.mirror.operator_image("v1.38.2"));
    eventually("the prepared image to be admitted", async || world.set_image(&new).await.ok()).await;
    eventually("v1.38.2 to run", async || (world.status().await["operator"]["version"] == "v1.38.2").then_some(()))
        .await;
    world.policy(policy(&[])).await;
    world.until("Prepared", "True", "NothingToPrepare").await;
    let retained = world.status().await["retained"].clone();
    assert_eq!(retained[0]["operatorVersion"], "v1.38.1", "{retained}");
    assert!(retained[0]["operatorImage"].as_str().unwrap().starts_with(&old), "{retained}");

    // By tag, and by the digest that was looked up while it ran.
    let pinned = retained[0]["operatorImage"].as_str().unwrap().to_owned();
    eventually("the way back to be admitted", async || (!world.rejects(&old).await).then_some(())).await;
    assert!(!world.rejects(&pinned).await, "{pinned}");
    assert!(world.rejects(UNPREPARED).await);
    world.set_image(&old).await.unwrap();
    eventually("v1.38.1 to run", async || (world.status().await["operator"]["version"] == "v1.38.1").then_some(()))
        .await;
    eventually("the way forward again", async || (!world.rejects(&new).await).then_some(())).await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    double.stop().await;
    world.finish(&[&controller]).await;
}
