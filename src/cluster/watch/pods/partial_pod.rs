//! A Pod, as far as its images go, and what is read from it. A pod of Calico is 19 KB on the wire; all but these fields is passed
//! over while it is decoded.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Deserializer};

use crate::model::foreign_text::{self, escaped};
use crate::model::{Digest, FailedImage, Kind, ObjectRef, PodImages, Reference};
use crate::rules::explain::kubelet_messages::{classify, reports_cause, repository_digest};

/// A Pod.
#[derive(Resource, Debug, Clone, Deserialize)]
#[resource(inherit = core::Pod)]
pub struct PartialPod {
    #[serde(deserialize_with = "partial_metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(deserialize_with = "foreign_text::decode_list")]
    containers: Vec<Container>,
    #[serde(deserialize_with = "foreign_text::decode_list")]
    init_containers: Vec<Container>,
}

#[derive(Debug, Clone, Deserialize)]
struct Container {
    #[serde(deserialize_with = "foreign_text::decode_name")]
    name: String,
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    image: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    #[serde(deserialize_with = "foreign_text::decode_name")]
    phase: String,
    #[serde(deserialize_with = "foreign_text::decode_list")]
    container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "foreign_text::decode_list")]
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    #[serde(deserialize_with = "foreign_text::decode_name")]
    name: String,
    #[serde(rename = "imageID", deserialize_with = "foreign_text::decode_name")]
    image_id: String,
    state: State,
    last_state: State,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<ContainerReport>,
    terminated: Option<ContainerReport>,
}

/// The kubelet's report about a container that waits or has ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerReport {
    #[serde(deserialize_with = "foreign_text::decode_name")]
    reason: String,
    #[serde(deserialize_with = "foreign_text::decode_message")]
    message: String,
    exit_code: i32,
}

/// Decodes only the metadata that a watch requires, and the owner.
pub fn partial_metadata<'a, D: Deserializer<'a>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PartialMetadata {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        #[serde(default, deserialize_with = "foreign_text::decode_list")]
        owner_references: Vec<Owner>,
    }
    #[derive(Deserialize)]
    struct Owner {
        #[serde(deserialize_with = "foreign_text::decode_name")]
        kind: String,
        #[serde(deserialize_with = "foreign_text::decode_name")]
        name: String,
        #[serde(default)]
        controller: bool,
    }
    let partial = PartialMetadata::deserialize(deserializer)?;
    let owner = partial.owner_references.into_iter().find(|owner| owner.controller);
    let owner = owner.map(|owner| OwnerReference {
        kind: owner.kind,
        name: owner.name,
        controller: Some(true),
        ..OwnerReference::default()
    });
    Ok(ObjectMeta {
        name: partial.name,
        namespace: partial.namespace,
        resource_version: partial.resource_version,
        owner_references: owner.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    })
}

impl ContainerStatus {
    /// Returns the failures that the kubelet reports for this container, the newest first.
    fn failures(&self) -> impl Iterator<Item = &ContainerReport> {
        let has_failed =
            self.state.waiting.is_some() || self.state.terminated.as_ref().is_some_and(|one| one.exit_code != 0);
        let all = [&self.state.waiting, &self.state.terminated, &self.last_state.terminated];
        all.into_iter().flatten().filter(move |_| has_failed)
    }
}

impl PartialPod {
    /// Returns what the pod reports about its images.
    pub fn images(&self) -> PodImages {
        let mut images = PodImages { workload: self.workload(), running: Vec::new(), failing: Vec::new() };
        // A pod that has ended runs nothing.
        if matches!(self.status.phase.as_str(), "Succeeded" | "Failed") {
            return images;
        }
        let mut running: BTreeSet<(&str, Option<Digest>)> = BTreeSet::new();
        let statuses = self.status.init_container_statuses.iter().chain(&self.status.container_statuses);
        for status in statuses {
            let mut containers = self.spec.init_containers.iter().chain(&self.spec.containers);
            let Some(container) = containers.find(|one| one.name == status.name) else { continue };
            let image = container.image.as_str();
            let failure =
                status.failures().find_map(|report| Some((report, classify(&report.reason, &report.message)?)));
            if let Some((report, kind)) = failure {
                let kind = reports_cause(&report.reason, &report.message).then_some(kind);
                images.failing.push(FailedImage { image: image.to_owned(), kind, message: report.message.clone() });
            } else if !status.image_id.is_empty() && image.parse::<Reference>().is_ok_and(|one| one.digest().is_some())
            {
                running.insert((image, repository_digest(&status.image_id)));
            }
        }
        images.running = running.into_iter().map(|(image, digest)| (image.to_owned(), digest)).collect();
        images
    }

    /// Returns the owner; that of a ReplicaSet is the Deployment of its name without the hash at the end. The API server does not
    /// check kinds and names of owners: an invalid kind becomes `Owner`.
    fn workload(&self) -> ObjectRef {
        let object =
            |kind, name: &str| ObjectRef::namespaced(kind, &self.namespace().unwrap_or_default(), &escaped(name));
        match self.metadata.owner_references.iter().flatten().next() {
            Some(owner) if owner.kind == "ReplicaSet" => {
                let deployment = owner.name.rsplit_once('-').map_or(owner.name.as_str(), |(name, _)| name);
                object(Kind::Deployment, deployment)
            }
            Some(owner) => object(owner.kind.parse().unwrap_or_else(|_| Kind::Other("Owner".into())), &owner.name),
            None => object(Kind::Pod, &self.name_any()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PullFailureKind;
    use serde_json::{Value, json};

    const PINNED: &str = "quay.io/calico/node@sha256:e684c5ccef0e2de6e758e01576ae3eb2add65aa7b63e916c5e475c09c4db3c94";

    fn pod(owner: Value, status: Value) -> PodImages {
        let pod = json!({
            "metadata": {
                "name": "calico-node-x", "namespace": "calico-system", "labels": { "a": "b" }, "ownerReferences": [owner],
            },
            "spec": { "nodeName": "n", "containers": [{ "name": "node", "image": PINNED, "env": [{ "name": "A" }] }] },
            "status": { "containerStatuses": [status] },
        });
        serde_json::from_value::<PartialPod>(pod).unwrap().images()
    }

    fn daemon_set() -> Value {
        json!({ "kind": "DaemonSet", "name": "calico-node", "controller": true, "uid": "1", "apiVersion": "apps/v1" })
    }

    #[test]
    fn a_workload_is_the_one_that_people_know() {
        let owned = |kind: &str, name: &str| pod(json!({ "kind": kind, "name": name, "controller": true }), json!({}));
        assert_eq!(owned("DaemonSet", "calico-node").workload.to_string(), "DaemonSet calico-system/calico-node");
        assert_eq!(
            owned("ReplicaSet", "calico-typha-5d8f").workload.to_string(),
            "Deployment calico-system/calico-typha"
        );
        assert_eq!(owned("Job", "certgen").workload.to_string(), "Job calico-system/certgen");
        let none = pod(json!({ "kind": "Node", "name": "n", "controller": false }), json!({}));
        assert_eq!(none.workload.to_string(), "Pod calico-system/calico-node-x");
    }

    #[test]
    fn only_repository_digests_identify_what_runs() {
        let digest: Digest = PINNED.split_once('@').unwrap().1.parse().unwrap();
        for (id, expected) in [
            (PINNED.to_owned(), vec![(PINNED.to_owned(), Some(digest))]),
            (format!("docker-pullable://{PINNED}"), vec![(PINNED.to_owned(), Some(digest))]),
            (digest.to_string(), vec![(PINNED.to_owned(), None)]),
            ("0a1b".repeat(16), vec![(PINNED.to_owned(), None)]),
            // It has not started yet.
            (String::new(), vec![]),
        ] {
            let seen = pod(daemon_set(), json!({ "name": "node", "imageID": id, "state": { "running": {} } }));
            assert_eq!(seen.running, expected, "{id}");
            assert_eq!(seen.failing, []);
        }
    }

    #[test]
    fn an_image_of_another_platform_is_reported_while_the_container_does_not_run() {
        let message = "failed to create containerd task: exec /usr/bin/start_runit: exec format error: unknown";
        let ended = json!({ "terminated": { "reason": "StartError", "message": message, "exitCode": 128 } });
        let waits = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting" } });
        let status = |state: &Value| json!({ "name": "node", "imageID": PINNED, "state": state, "lastState": ended });
        let seen = pod(daemon_set(), status(&waits));
        assert_eq!(seen.failing[0].kind, Some(PullFailureKind::ExecFormat));
        assert_eq!(seen.failing[0].message, message);
        let seen = pod(daemon_set(), status(&json!({ "running": {} })));
        assert_eq!((seen.failing.len(), seen.running.len()), (0, 1), "that was before");
    }
}
