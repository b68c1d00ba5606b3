//! The objects of a cluster as people write them: nodes, the Installation, the operator's Deployment, pull secrets and the policy. The
//! field manager is [`HUMAN`] where no other is named.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::Result;
use base64::Engine as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Secret};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::apply_yaml;
use super::crds::Kind;
use super::recorder::{HUMAN, Watched};

/// Namespace, Deployment and container of the operator.
pub const OPERATOR: &str = "tigera-operator";
/// Namespace and ServiceAccount of the controller.
pub const CONTROLLER: &str = "imageset-controller";
/// Name of the pull secret: the one that the Role of `deploy/base` names.
pub const PULL_SECRET: &str = "tigera-pull-secret";
/// A time for conditions whose time does not matter.
pub const SOME_TIME: &str = "2026-01-01T00:00:00Z";

/// Parameters of a server-side apply that takes fields over from other managers.
pub fn applied_by(manager: &str) -> PatchParams {
    PatchParams::apply(manager).force()
}

/// Parameters of any other patch.
pub fn edited_by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// Creates or changes an object by server-side apply.
///
/// # Errors
/// The API server refuses it.
pub async fn apply<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, object: &Value) -> kube::Result<K> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    api.patch(name, &applied_by(HUMAN), &Patch::Apply(object)).await
}

/// Changes an object by a merge patch, as `kubectl edit`.
///
/// # Errors
/// The API server refuses it.
pub async fn edit<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, patch: Value) -> kube::Result<K> {
    api.patch(name, &edited_by(HUMAN), &Patch::Merge(patch)).await
}

/// Sets fields of an object's status.
///
/// # Errors
/// The API server refuses it.
pub async fn set_status<K: DeserializeOwned>(api: &Api<K>, name: &str, status: Value) -> kube::Result<K> {
    let patch = Patch::Merge(json!({ "status": status }));
    api.patch_status(name, &edited_by(HUMAN), &patch).await
}

/// Creates the namespaces of the operator and of the controller.
///
/// # Errors
/// The API server refuses one.
pub async fn namespaces(client: &Client) -> Result<()> {
    for name in [OPERATOR, CONTROLLER] {
        namespace(client, name).await?;
    }
    Ok(())
}

/// Creates a namespace.
///
/// # Errors
/// The API server refuses it.
pub async fn namespace(client: &Client, name: &str) -> Result<()> {
    apply_yaml(client.clone(), &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")).await?;
    Ok(())
}

/// Creates or changes a node whose kubelet reports this (`status.nodeInfo`).
///
/// # Errors
/// The API server refuses it.
pub async fn node(client: &Client, name: &str, info: Value) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    apply(&nodes, &json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } })).await?;
    set_status(&nodes, name, json!({ "nodeInfo": info })).await?;
    Ok(())
}

/// What the kubelet of a Linux node of this architecture reports.
pub fn node_info(architecture: &str) -> Value {
    json!({
        "operatingSystem": "linux", "architecture": architecture, "kernelVersion": "6.1", "osImage": "Linux",
        "containerRuntimeVersion": "containerd://2", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
        "machineID": "", "systemUUID": "", "bootID": "",
    })
}

/// Creates or changes an object of the operator's group.
///
/// # Errors
/// The API server refuses it.
pub async fn create(client: &Client, kind: Kind, name: &str, spec: Value) -> Result<DynamicObject> {
    let object = serde_json::to_value(kind.object(name, spec))?;
    Ok(apply(&kind.api(client), &object).await?)
}

/// A TigeraStatus that is Degraded with this message.
///
/// # Errors
/// The API server refuses it.
pub async fn degraded(client: &Client, component: &str, reason: &str, message: &str) -> Result<()> {
    create(client, Kind::TigeraStatus, component, json!({})).await?;
    let condition = json!({
        "type": "Degraded", "status": "True", "reason": reason, "message": message, "lastTransitionTime": SOME_TIME,
    });
    set_status(&Kind::TigeraStatus.api(client), component, json!({ "conditions": [condition] })).await?;
    Ok(())
}

/// The Deployments of the operator's namespace.
pub fn operators(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), OPERATOR)
}

/// The operator's Deployment with this image, as small as the operator double needs it; for server-side apply.
pub fn deployment(image: &str) -> Value {
    let labels = json!({ "k8s-app": OPERATOR });
    let container = json!({ "name": OPERATOR, "image": image });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": OPERATOR },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
        },
    })
}

/// Creates the operator's Deployment, or gives it this image.
///
/// # Errors
/// The API server refuses it.
pub async fn operator(client: &Client, image: &str) -> kube::Result<Deployment> {
    apply(&operators(client), &deployment(image)).await
}

/// A strategic merge patch that gives the operator's Deployment this image, as `kubectl set image`.
pub fn with_image(image: &str) -> Value {
    let containers = json!([{ "name": OPERATOR, "image": image }]);
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}

/// Creates a pod and sets its status. The namespace has to exist.
///
/// # Errors
/// The API server refuses it.
pub async fn pod(client: &Client, namespace: &str, pod: Value, status: Value) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    set_status(&pods, &name, status).await?;
    Ok(())
}

/// The status of a pod that runs and is Ready.
pub fn running_and_ready() -> Value {
    let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": SOME_TIME });
    json!({ "phase": "Running", "conditions": [ready] })
}

/// Creates or changes [`PULL_SECRET`] in the operator's namespace. `docker_config` is its text, valid or not.
///
/// # Errors
/// The API server refuses it.
pub async fn pull_secret(client: &Client, docker_config: &str) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), OPERATOR);
    // Of type `kubernetes.io/dockerconfigjson`, the API server itself would refuse a malformed one.
    let data = base64::engine::general_purpose::STANDARD.encode(docker_config);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": PULL_SECRET }, "type": "Opaque",
        "data": { ".dockerconfigjson": data },
    });
    apply(&secrets, &secret).await?;
    Ok(())
}

/// The policies.
pub fn policies(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &Watched::Policy.resource())
}

/// The policy with this spec.
pub fn policy(spec: Value) -> Value {
    json!({
        "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "metadata": { "name": "default" },
        "spec": spec,
    })
}

/// The conditions of an object's status.
pub fn conditions(object: &DynamicObject) -> Vec<Value> {
    object.data["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// Status, reason and message of a condition; empty without it.
pub fn condition(object: &DynamicObject, r#type: &str) -> (String, String, String) {
    let Some(one) = conditions(object).into_iter().find(|one| one["type"] == r#type) else {
        return Default::default();
    };
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

/// Image and digest of each entry of an ImageSet.
pub fn entries(set: &DynamicObject) -> BTreeMap<String, String> {
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let images = set.data["spec"]["images"].as_array().into_iter().flatten();
    images.map(|entry| (text(entry, "image"), text(entry, "digest"))).collect()
}

/// The spec of an ImageSet with these entries.
pub fn with_entries<'a>(entries: impl IntoIterator<Item = (&'a String, &'a String)>) -> Value {
    let images = entries.into_iter().map(|(image, digest)| json!({ "image": image, "digest": digest }));
    json!({ "images": images.collect::<Vec<_>>() })
}
