//! The scenery of the tests here: a control plane with the operator's CRDs, its Deployment and, where asked for, an Installation.

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use k8s_openapi::api::apps::v1::Deployment;

use crate::testbox::crds::{self, Kind};
use crate::testbox::operator_double::deployment;
use crate::testbox::recorder::{BREAK_GLASS, HUMAN, OUR_LABEL, Watched};
use crate::testbox::rules::{Entry, OperatorRules, Variant};
use crate::testbox::{ControlPlane, apply_yaml};

/// The product's field manager.
pub const PRODUCT: &str = "imageset-controller";

/// A control plane that is ready for the double.
pub struct Scene {
    pub control_plane: ControlPlane,
    pub client: Client,
}

impl Scene {
    pub async fn start(name: &str) -> Self {
        let control_plane = ControlPlane::start(name).await.unwrap();
        let client = control_plane.client();
        crds::install(&client).await.unwrap();
        let namespaces = "{apiVersion: v1, kind: Namespace, metadata: {name: tigera-operator}}\n---\n\
                          {apiVersion: v1, kind: Namespace, metadata: {name: imageset-controller}}\n";
        apply_yaml(client.clone(), namespaces).await.unwrap();
        Self { control_plane, client }
    }

    pub async fn installation(&self) {
        self.create(Kind::Installation, "default", json!({ "variant": "Calico" })).await;
    }

    /// Creates or moves the operator's Deployment.
    pub async fn operator(&self, version: &str) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), "tigera-operator");
        let deployment = deployment(&format!("quay.io/tigera/operator:{version}"));
        let human = PatchParams::apply(HUMAN).force();
        api.patch("tigera-operator", &human, &Patch::Apply(deployment)).await.unwrap();
    }

    /// Annotates the Deployment with the image that it may get.
    pub async fn break_glass(&self, image: &str) {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), "tigera-operator");
        let glass = json!({ "metadata": { "annotations": { BREAK_GLASS: image } } });
        api.patch("tigera-operator", &PatchParams::default(), &Patch::Merge(glass)).await.unwrap();
    }

    /// A policy with this gate, and a status that has one.
    pub async fn policy(&self, gate: &str) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &Watched::Policy.resource());
        let policy = json!({
            "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "metadata": { "name": "default" },
            "spec": { "mode": "Apply", "gate": gate },
        });
        api.patch("default", &PatchParams::apply(HUMAN).force(), &Patch::Apply(policy)).await.unwrap();
        let status = json!({ "status": { "gate": { "admittedImages": [] } } });
        api.patch_status("default", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    pub async fn create(&self, kind: Kind, name: &str, spec: Value) {
        let object = kind.object(name, spec);
        kind.api(&self.client).patch(name, &PatchParams::apply(HUMAN).force(), &Patch::Apply(object)).await.unwrap();
    }

    pub async fn delete_set(&self, name: &str) {
        Kind::ImageSet.api(&self.client).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Stores a set as a human does: without a label.
    pub async fn human_stores(&self, name: &str, entries: &[Entry]) {
        self.store(name, entries, HUMAN, false).await;
    }

    /// Stores a set as the product does.
    pub async fn product_stores(&self, name: &str, entries: &[Entry]) {
        self.store(name, entries, PRODUCT, true).await;
    }

    async fn store(&self, name: &str, entries: &[Entry], manager: &str, ours: bool) {
        let images: Vec<Value> =
            entries.iter().map(|(image, digest)| json!({ "image": image, "digest": digest })).collect();
        let mut object = Kind::ImageSet.object(name, json!({ "images": images }));
        if ours {
            object.labels_mut().insert(OUR_LABEL.to_owned(), "default".to_owned());
        }
        let params = PatchParams::apply(manager).force();
        Kind::ImageSet.api(&self.client).patch(name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// Status, reason and message of a condition; empty if there is none yet.
    pub async fn tigera_status(&self, name: &str, type_: &str) -> (String, String, String) {
        let Some(object) = Kind::TigeraStatus.api(&self.client).get_opt(name).await.unwrap() else {
            return Default::default();
        };
        let conditions = object.data["status"]["conditions"].as_array();
        let Some(one) = conditions.into_iter().flatten().find(|one| one["type"] == type_) else {
            return Default::default();
        };
        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    pub async fn image_of_node(&self) -> String {
        let api: Api<k8s_openapi::api::apps::v1::DaemonSet> = Api::namespaced(self.client.clone(), "calico-system");
        let pod = api.get("calico-node").await.unwrap().spec.unwrap().template.spec.unwrap();
        pod.containers[0].image.clone().unwrap()
    }

    pub async fn image_set_in_status(&self) -> String {
        let object = Kind::Installation.api(&self.client).get("default").await.unwrap();
        object.data["status"]["imageSet"].as_str().unwrap_or_default().to_owned()
    }
}

/// A well-formed digest, another for each text.
pub fn digest(text: &str) -> String {
    use sha2::Digest;
    let hex: String = sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Every name that a release takes, each with a digest of its own.
pub fn complete(version: &str) -> Vec<Entry> {
    let names = OperatorRules::for_version(version).unwrap().names_of(Variant::Calico);
    names.into_iter().map(|name| (name.clone(), digest(&name))).collect()
}

pub fn without(mut set: Vec<Entry>, name: &str) -> Vec<Entry> {
    set.retain(|(entry, _)| entry != name);
    set
}
