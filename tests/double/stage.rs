//! The scenery of the tests here: a control plane with the operator's CRDs, its Deployment and, where asked for, an Installation.

use kube::api::{Api, DeleteParams, Patch};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::testbox::ControlPlane;
use crate::testbox::crds::{self, Kind};
use crate::testbox::recorder::{BREAK_GLASS, HUMAN, OUR_LABEL};
use crate::testbox::registry_client::digest_of;
use crate::testbox::rules::{Entry, OperatorRules, Variant};
use crate::testbox::scenery::{self, OPERATOR, applied_by, with_entries};

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
        scenery::namespaces(&client).await.unwrap();
        Self { control_plane, client }
    }

    pub async fn installation(&self) {
        self.create(Kind::Installation, "default", json!({ "variant": "Calico" })).await;
    }

    /// Creates or moves the operator's Deployment.
    pub async fn operator(&self, version: &str) {
        scenery::operator(&self.client, &format!("quay.io/tigera/operator:{version}")).await.unwrap();
    }

    /// Annotates the Deployment with the image that it may get.
    pub async fn break_glass(&self, image: &str) {
        let glass = json!({ "metadata": { "annotations": { BREAK_GLASS: image } } });
        scenery::edit(&scenery::operators(&self.client), OPERATOR, glass).await.unwrap();
    }

    /// A policy with this gate, and a status that has one.
    pub async fn policy(&self, gate: &str) {
        let policies = scenery::policies(&self.client);
        scenery::apply(&policies, &scenery::policy(json!({ "mode": "Apply", "gate": gate }))).await.unwrap();
        scenery::set_status(&policies, "default", json!({ "gate": { "admittedImages": [] } })).await.unwrap();
    }

    pub async fn create(&self, kind: Kind, name: &str, spec: Value) {
        scenery::create(&self.client, kind, name, spec).await.unwrap();
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

    async fn store(&self, name: &str, entries: &[Entry], manager: &str, managed: bool) {
        let entries = entries.iter().map(|(image, digest)| (image, digest));
        let mut object = Kind::ImageSet.object(name, with_entries(entries));
        if managed {
            object.labels_mut().insert(OUR_LABEL.to_owned(), "default".to_owned());
        }
        Kind::ImageSet.api(&self.client).patch(name, &applied_by(manager), &Patch::Apply(object)).await.unwrap();
    }

    /// Status, reason and message of a condition; empty if there is none yet.
    pub async fn tigera_status(&self, name: &str, type_: &str) -> (String, String, String) {
        let object = Kind::TigeraStatus.api(&self.client).get_opt(name).await.unwrap();
        object.map(|object| scenery::condition(&object, type_)).unwrap_or_default()
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
    digest_of(text.as_bytes())
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
