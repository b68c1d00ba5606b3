//! Operator versions that can have no ImageSet: nothing is stored for them, the cause is reported, and what stops the operator is named.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use crate::world::{SOON, Scenery, World, eventually};

impl World {
    /// OpenShift on a cloud, as far as operator and controller look at it.
    async fn on_openshift(&self, cloud: &str) {
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "infrastructures.config.openshift.io",
                "annotations": { "api-approved.kubernetes.io": "https://github.com/openshift/api" } },
            "spec": {
                "group": "config.openshift.io", "scope": "Cluster",
                "names": { "kind": "Infrastructure", "plural": "infrastructures" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema":
                    { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }],
            },
        });
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let definition = serde_json::from_value(definition).unwrap();
        definitions.create(&PostParams::default(), &definition).await.unwrap();
        let kind = GroupVersionKind::gvk("config.openshift.io", "v1", "Infrastructure");
        let resource = ApiResource::from_gvk_with_plural(&kind, "infrastructures");
        let infrastructures: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let mut cluster = DynamicObject::new("cluster", &resource);
        cluster.data = json!({ "status": { "platform": cloud, "platformStatus": { "type": cloud } } });
        eventually("the kind to be served", async || {
            infrastructures.create(&PostParams::default(), &cluster).await.ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_openshift_on_aws_nothing_is_stored_and_a_set_is_named_as_what_stops_the_operator() {
    let scenery = Scenery { name: "openshift-aws", releases: &["v1.42.4"], ..Scenery::default() };
    let world = World::start(scenery).await;
    world.on_openshift("AWS").await;
    world.installation(json!({ "kubernetesProvider": "OpenShift" })).await;
    world.operator("v1.42.4").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let words = ["on OpenShift on AWS, operator v1.42.4 requires tigera/operator", "no ImageSet is stored for it"];
    world.until_message("Applied", "False", "ImageSetImpossible", &words).await;
    world.until_message("Ready", "False", "ImageSetImpossible", &["imageset-controller disarm"]).await;
    world.until_quiet().await;
    world.assert_nothing_written();
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());

    // Somebody stores the set of the documented procedure: the operator stops, and the finding names the set.
    let images: Vec<_> = world
        .wanted("v1.42.4", false)
        .into_iter()
        .map(|(image, digest)| json!({ "image": image, "digest": digest }))
        .collect();
    world.store_set("calico-v3.32.1", json!({ "images": images })).await;
    double.wait_degraded("calico", SOON).await.unwrap();
    world.until_message("Drifted", "True", "BlockingImageSet", &["calico-v3.32.1", "it stops at this set"]).await;
    world
        .until_message("OperatorDegraded", "True", "ImagesNotListed", &["tigera/operator", "no set is possible"])
        .await;
    world.delete_set("calico-v3.32.1").await;
    double.wait_healthy(SOON).await.unwrap();
    world.until("Drifted", "False", "NoDrift").await;
    world.until_quiet().await;
    assert_eq!(world.stored("calico-v3.32.1").await, None);
    double.stop().await;
    drop(controller);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_openshift_on_another_cloud_the_set_is_stored() {
    let scenery = Scenery { name: "openshift-gcp", releases: &["v1.42.4"], ..Scenery::default() };
    let world = World::start(scenery).await;
    world.installation(json!({ "kubernetesProvider": "OpenShift" })).await;
    world.operator("v1.42.4").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    // The kind appears while the controller runs.
    world.on_openshift("GCP").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    double.stop().await;
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fips_cluster_cannot_be_upgraded_to_a_release_without_fips() {
    let scenery = Scenery { name: "fips-removed", releases: &["v1.42.4", "v1.43.0"], ..Scenery::default() };
    let world = World::start(scenery).await;
    world.installation(json!({ "fipsMode": "Enabled" })).await;
    world.operator("v1.42.4").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": ["v1.43.0"] } })).await;
    let controller = world.controller("first").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    let words = ["operator v1.43.0 rejects an Installation with fipsMode: Enabled"];
    world.until_message("Prepared", "False", "NotPrepared", &words).await;
    world.until_gate("Deny").await;
    let next = world.mirror.operator_image("v1.43.0");
    eventually("the gate to refuse", async || world.rejects(&next).await.then_some(())).await;
    assert_eq!(world.stored("calico-v3.32.0").await, None);
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    double.stop().await;
    world.finish(&[&controller]).await;
}
