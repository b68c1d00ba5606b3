//! The double as ReplicaSet and kubelet of the operator's Deployment: one pod per image, the old one stays until the new
//! one is Ready.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::timeline::What;
use super::{Options, Stage};

/// The label by which the operator's pods are found, as in upstream's manifest.
pub const POD_LABEL: (&str, &str) = ("k8s-app", "tigera-operator");

/// Since when each pod exists.
#[derive(Default)]
pub struct Memory {
    created: BTreeMap<String, Instant>,
    serial: u32,
}

/// A pod that runs, or will.
pub struct OperatorPod {
    pub name: String,
    pub image: String,
    pub image_id: String,
    pub ready: bool,
    pub created: i64,
}

/// The operator's pods, oldest first. One that is deleted runs and leads until it is gone.
pub async fn operator_pods(client: &Client, options: &Options) -> Result<Vec<OperatorPod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &options.namespace);
    let selector = ListParams::default().labels(&format!("{}={}", POD_LABEL.0, POD_LABEL.1));
    let mut pods: Vec<OperatorPod> = api
        .list(&selector)
        .await
        .context("listing the operator's pods")?
        .items
        .iter()
        .filter(|pod| is_of_replica_set(pod, &options.deployment))
        .map(|pod| read(pod, &options.deployment))
        .collect();
    pods.sort_by_key(|pod| pod.created);
    Ok(pods)
}

/// Whether a ReplicaSet of this Deployment controls the pod; a label is anybody's to set.
fn is_of_replica_set(pod: &Pod, deployment: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let prefix = format!("{deployment}-");
    owners.any(|owner| owner.controller == Some(true) && owner.kind == "ReplicaSet" && owner.name.starts_with(&prefix))
}

fn read(pod: &Pod, container: &str) -> OperatorPod {
    let image = pod.spec.iter().flat_map(|spec| &spec.containers).find(|found| found.name == container);
    let status = pod.status.as_ref();
    let container_status = status
        .and_then(|status| status.container_statuses.as_ref())
        .and_then(|all| all.iter().find(|found| found.name == container));
    OperatorPod {
        name: pod.name_any(),
        image: image.and_then(|found| found.image.clone()).unwrap_or_default(),
        image_id: container_status.map(|found| found.image_id.clone()).unwrap_or_default(),
        ready: status
            .and_then(|status| status.conditions.as_ref())
            .is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True")),
        created: pod.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
    }
}

impl Stage {
    pub(super) async fn play_pods(&mut self, options: &Options) -> Result<()> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &options.namespace);
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &options.namespace);
        let deployment = deployments.get_opt(&options.deployment).await.context("reading the operator's Deployment")?;
        let wanted = deployment.as_ref().filter(|found| replicas(found) > 0).and_then(|found| image_of(found, options));
        let pods = operator_pods(&self.client, options).await?;

        for pod in &pods {
            if !pod.ready && !options.hold_pods && !options.unpullable.contains(&pod.image) {
                let created = *self.pods.created.entry(pod.name.clone()).or_insert_with(Instant::now);
                if created.elapsed() >= options.pod_start {
                    self.set_pod_status(&api, options, pod, true).await?;
                    self.timeline.note(What::OperatorPodReady { image: pod.image.clone() }, None);
                    return Ok(());
                }
            }
        }
        let new = pods.iter().find(|pod| Some(&pod.image) == wanted.as_ref());
        match (&deployment, &wanted, new) {
            (Some(deployment), Some(image), None) => {
                let new = self.create_pod(&api, options, deployment, image).await?;
                // Without any delay it takes over in this very reconcile.
                let starts = !options.hold_pods && !options.unpullable.contains(image);
                if options.pod_start.is_zero() && starts {
                    self.set_pod_status(&api, options, &new, true).await?;
                    self.timeline.note(What::OperatorPodReady { image: image.clone() }, None);
                    self.remove(&api, pods.iter()).await?;
                }
                return Ok(());
            }
            (_, wanted, new) if wanted.is_none() || new.is_some_and(|pod| pod.ready) => {
                self.remove(&api, pods.iter().filter(|pod| new.is_none_or(|new| new.name != pod.name))).await?;
            }
            // A pod for an image that is no longer wanted and never got Ready goes at once.
            _ => {
                let stuck = pods.iter().filter(|pod| !pod.ready && Some(&pod.image) != wanted.as_ref());
                self.remove(&api, stuck).await?;
            }
        }
        match deployment {
            Some(deployment) => set_deployment_status(&deployments, &deployment, wanted.as_deref(), &pods).await,
            None => Ok(()),
        }
    }

    async fn remove(&mut self, api: &Api<Pod>, pods: impl Iterator<Item = &OperatorPod>) -> Result<()> {
        for pod in pods {
            api.delete(&pod.name, &DeleteParams::default().grace_period(0)).await?;
            self.pods.created.remove(&pod.name);
            self.timeline.note(What::OperatorPodRemoved { image: pod.image.clone() }, None);
        }
        Ok(())
    }

    async fn create_pod(
        &mut self,
        api: &Api<Pod>,
        options: &Options,
        deployment: &Deployment,
        image: &str,
    ) -> Result<OperatorPod> {
        self.pods.serial += 1;
        let generation = deployment.metadata.generation.unwrap_or_default();
        let replica_set = format!("{}-{generation}", options.deployment);
        let name = format!("{replica_set}-{}", self.pods.serial);
        let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.clone());
        let mut labels = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.template.metadata.as_ref())
            .and_then(|metadata| metadata.labels.clone())
            .unwrap_or_default();
        labels.insert(POD_LABEL.0.to_owned(), POD_LABEL.1.to_owned());
        let owner = self.replica_set(options, deployment, &replica_set, &labels).await?;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set,
                    "uid": owner.uid().unwrap_or_default(), "controller": true,
                }],
            },
            "spec": spec,
        }))?;
        let created = api.create(&PostParams::default(), &pod).await.context("creating an operator pod")?;
        self.pods.created.insert(name, Instant::now());
        self.timeline.note(What::OperatorPodCreated { image: image.to_owned() }, created.resource_version());
        let pod = read(&created, &options.deployment);
        self.set_pod_status(api, options, &pod, false).await?;
        Ok(pod)
    }

    /// The ReplicaSet of the Deployment's template, as the Deployment controller makes it.
    async fn replica_set(
        &self,
        options: &Options,
        deployment: &Deployment,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<ReplicaSet> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &options.namespace);
        let uid = deployment.uid().unwrap_or_default();
        if let Some(found) = api.get_opt(name).await.context("reading a ReplicaSet")? {
            let owned = found.owner_references().iter().any(|owner| owner.uid == uid);
            if owned {
                return Ok(found);
            }
            // Of a Deployment that was deleted; nobody collects garbage here.
            api.delete(name, &DeleteParams::default()).await.context("deleting a ReplicaSet")?;
        }
        let made: ReplicaSet = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": labels,
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": options.deployment, "uid": uid,
                    "controller": true,
                }],
            },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": deployment.spec.as_ref().and_then(|spec| spec.template.spec.clone()),
                },
            },
        }))?;
        api.create(&PostParams::default(), &made).await.context("creating a ReplicaSet")
    }

    async fn set_pod_status(&self, api: &Api<Pod>, options: &Options, pod: &OperatorPod, ready: bool) -> Result<()> {
        let now = k8s_openapi::jiff::Timestamp::now().to_string();
        let text = if ready { "True" } else { "False" };
        let waiting = if options.unpullable.contains(&pod.image) { "ImagePullBackOff" } else { "ContainerCreating" };
        let state = if ready {
            json!({ "running": { "startedAt": now } })
        } else {
            json!({ "waiting": { "reason": waiting } })
        };
        let image_id = if ready { options.images.image_id(&pod.image) } else { String::new() };
        let status = json!({ "status": {
            "phase": if ready { "Running" } else { "Pending" },
            "conditions": [{ "type": "Ready", "status": text, "lastTransitionTime": now }],
            "containerStatuses": [{
                "name": options.deployment, "image": pod.image, "imageID": image_id,
                "ready": ready, "started": ready, "restartCount": 0, "state": state,
            }],
        }});
        api.patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(status)).await.context("a pod's status")?;
        Ok(())
    }
}

fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn image_of(deployment: &Deployment, options: &Options) -> Option<String> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.iter().find(|container| container.name == options.deployment)?.image.clone()
}

async fn set_deployment_status(
    api: &Api<Deployment>,
    deployment: &Deployment,
    wanted: Option<&str>,
    pods: &[OperatorPod],
) -> Result<()> {
    let total = pods.len() as i32;
    let updated = pods.iter().filter(|pod| Some(pod.image.as_str()) == wanted).count() as i32;
    let ready = pods.iter().filter(|pod| pod.ready).count() as i32;
    // The pods were counted before old ones were removed; the next reconcile corrects it.
    let status = deployment.status.clone().unwrap_or_default();
    let same = status.observed_generation == deployment.metadata.generation
        && status.replicas.unwrap_or_default() == total
        && status.updated_replicas.unwrap_or_default() == updated
        && status.ready_replicas.unwrap_or_default() == ready;
    if same {
        return Ok(());
    }
    let patch = json!({ "status": {
        "observedGeneration": deployment.metadata.generation,
        "replicas": total, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready,
        "conditions": [{ "type": "Available", "status": if ready > 0 { "True" } else { "False" }, "reason": "Double" }],
    }});
    api.patch_status(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
        .context("the status of the operator's Deployment")?;
    Ok(())
}
