//! From an object of the API server to the small value that a decision needs of it. The same for lists and for watches.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};

use crate::api;
use crate::api::operator::InstallationStatus;
use crate::api::workload::{DaemonSet, Deployment, Pod, PodSpec, PodTemplate, ReplicaSet};
use crate::cluster::{CONTENT_ANNOTATION, POLICY_LABEL, RECORD_ANNOTATION};
use crate::model::{
    AppliedBy, ComponentStatus, Degraded, Digest, Kind, OperatorDeployment, OperatorLocation, OperatorPod, Origin,
    Read, StoredImage, StoredImageSet, Workload, foreign_text, image_set::OPERATOR_ANNOTATION,
};
use crate::rules::explain::kubelet_messages::repository_digest;

/// Labels of the workloads and pods that envoy-gateway makes for a Gateway, in any namespace (envoy-gateway: `EnvoyAppLabel`).
pub const GATEWAY_PROXIES: &str = "app.kubernetes.io/managed-by=envoy-gateway,app.kubernetes.io/component=proxy";

/// Longest message of a TigeraStatus that is kept, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// On the operator's Deployment: admits the one operator image that is its value, whatever the gate's list.
const BREAK_GLASS_ANNOTATION: &str = "imageset-controller.io/break-glass";
/// The variable that holds the operator's version in upstream manifests.
const VERSION_VARIABLE: &str = "TIGERA_OPERATOR_INIT_IMAGE_VERSION";
/// The variable that decides on which API of Calico the operator runs (v1.42 and later).
const API_GROUP_VARIABLE: &str = "CALICO_API_GROUP";

/// The operator's Deployment, with what ties its pods to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedDeployment {
    /// The fields of its template.
    pub operator: OperatorDeployment,
    /// Its UID, which its ReplicaSets name.
    pub uid: Option<String>,
    /// Changes with every change of its spec.
    pub generation: Option<i64>,
    /// Selects its pods and ReplicaSets by their labels.
    pub selector: String,
}

/// A pod with the operator in it that a ReplicaSet controls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedPod {
    /// UID of the ReplicaSet.
    pub replica_set: String,
    /// The operator in it.
    pub operator: OperatorPod,
}

/// A ReplicaSet that a Deployment controls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedReplicaSet {
    /// Its UID.
    pub uid: String,
    /// UID of the Deployment.
    pub deployment: String,
    /// Image of the operator's container in its template, as it was in the Deployment's; `None` without such a container.
    pub image: Option<String>,
}

/// The operator's Deployment, its pods and its ReplicaSets.
pub type OperatorObjects = (Read<Option<ObservedDeployment>>, Read<Vec<OwnedPod>>, Read<Vec<OwnedReplicaSet>>);

/// The operator's Deployment; `container` is the name of the operator's container.
pub fn operator_deployment(deployment: &Deployment, container: &str) -> ObservedDeployment {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = template.and_then(|spec| spec.containers.iter().find(|one| one.name == container));
    let variable = |name: &str| {
        let variables = container.into_iter().flat_map(|one| one.env.iter().flatten());
        variables.filter(|variable| variable.name == name).find_map(|variable| variable.value.clone())
    };
    let operator = OperatorDeployment {
        image: container.map(|one| one.image.clone().unwrap_or_default()),
        init_image_version: variable(VERSION_VARIABLE),
        calico_api_group: variable(API_GROUP_VARIABLE),
        break_glass: deployment.annotations().get(BREAK_GLASS_ANNOTATION).map(|image| foreign_text::name(image)),
    };
    ObservedDeployment {
        operator,
        uid: deployment.uid(),
        generation: deployment.metadata.generation,
        selector: selector(deployment),
    }
}

fn selector(deployment: &Deployment) -> String {
    let labels = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// `None` for a pod that no ReplicaSet controls, as labels are anybody's to set, and for one without a container of this name: the
/// namespace may hold many others. The same for a list of what the Deployment selects and for a watch of the namespace.
pub fn owned_pod(pod: &Pod, container: &str) -> Option<OwnedPod> {
    let replica_set = controller_of(&pod.metadata, "ReplicaSet")?.uid.clone();
    Some(OwnedPod { replica_set, operator: operator_pod(pod, container)? })
}

/// `None` for a ReplicaSet that no Deployment of the operator's name controls.
pub fn owned_replica_set(replica_set: &ReplicaSet, location: &OperatorLocation) -> Option<OwnedReplicaSet> {
    let owner = controller_of(&replica_set.metadata, "Deployment").filter(|owner| owner.name == location.deployment)?;
    let template = replica_set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let image = template.and_then(|spec| image_in(spec, &location.container));
    Some(OwnedReplicaSet { uid: replica_set.metadata.uid.clone()?, deployment: owner.uid.clone(), image })
}

fn image_in(spec: &PodSpec, container: &str) -> Option<String> {
    spec.containers.iter().find(|one| one.name == container)?.image.clone()
}

/// The object of this kind of the API group `apps` that controls the object, if one does.
fn controller_of<'a>(metadata: &'a ObjectMeta, kind: &str) -> Option<&'a OwnerReference> {
    let mut owners = metadata.owner_references.iter().flatten();
    let controls = |owner: &&OwnerReference| owner.controller == Some(true);
    owners.find(controls).filter(|owner| owner.kind == kind && owner.api_version.starts_with("apps/"))
}

fn operator_pod(pod: &Pod, container: &str) -> Option<OperatorPod> {
    let image = image_in(pod.spec.as_ref()?, container)?;
    let status = pod.status.as_ref();
    let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    let runs = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let image_id = runs.clone().find(|one| one.name == container).map(|one| one.image_id.as_str());
    let image_digest = image_id.and_then(repository_digest);
    Some(OperatorPod {
        name: pod.name_any(),
        image,
        image_digest,
        // One that is being deleted runs on, and may lead, until its condition changes or it is gone.
        ready: ready.is_some_and(|ready| ready.status == "True"),
        ready_since: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
    })
}

/// An object without the history of its fields.
pub fn without_history<K: Resource>(mut object: K) -> Option<K> {
    object.meta_mut().managed_fields = None;
    Some(object)
}

/// The fields of an Installation that decisions read, and its name.
pub fn installation(installation: api::operator::Installation) -> api::operator::Installation {
    let status = installation.status.map(|status| InstallationStatus {
        image_set: status.image_set,
        calico_version: status.calico_version,
        ..InstallationStatus::default()
    });
    let metadata = ObjectMeta { name: installation.metadata.name, ..ObjectMeta::default() };
    api::operator::Installation { metadata, spec: installation.spec, status }
}

/// An ImageSet, managed or unmanaged.
pub fn stored_image_set(set: &api::operator::ImageSet) -> StoredImageSet {
    let annotations = set.annotations();
    let origin = || {
        Some(Origin {
            operator: annotations.get(OPERATOR_ANNOTATION)?.parse().ok()?,
            record: foreign_text::name(annotations.get(RECORD_ANNOTATION)?),
            content: annotations.get(CONTENT_ANNOTATION)?.parse::<Digest>().ok()?,
        })
    };
    let newest = set.managed_fields().iter().max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    StoredImageSet {
        name: set.name_any(),
        resource_version: set.resource_version().unwrap_or_default(),
        managed: set.labels().contains_key(POLICY_LABEL),
        origin: origin(),
        images: set
            .spec
            .images
            .iter()
            .map(|entry| StoredImage { image: entry.image.clone(), digest: entry.digest.clone() })
            .collect(),
        manager: newest.and_then(|entry| entry.manager.as_deref()).map(foreign_text::escaped),
        changed_at: newest.and_then(|entry| entry.time.as_ref()).map(|time| time.0),
        applied_by: applied_by(set),
    }
}

/// Labels and annotations by which tools know what they apply, the most specific first.
const MARKS: [(&str, AppliedBy); 6] = [
    ("addonmanager.kubernetes.io/mode", AppliedBy::AddonManager),
    ("argocd.argoproj.io/tracking-id", AppliedBy::ArgoCd),
    ("kustomize.toolkit.fluxcd.io/name", AppliedBy::Flux),
    ("helm.toolkit.fluxcd.io/name", AppliedBy::Flux),
    ("meta.helm.sh/release-name", AppliedBy::Helm),
    ("kubectl.kubernetes.io/last-applied-configuration", AppliedBy::Kubectl),
];

/// Returns the tool that applies an object and will put its content back.
fn applied_by(set: &api::operator::ImageSet) -> Option<AppliedBy> {
    let has = |mark: &str| set.labels().contains_key(mark) || set.annotations().contains_key(mark);
    MARKS.iter().find(|(mark, _)| has(mark)).map(|(_, tool)| *tool)
}

/// The operator's report about one component.
pub fn component_status(status: &api::operator::TigeraStatus) -> ComponentStatus {
    let conditions = status.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
    let find =
        |wanted: &str| conditions.iter().find(|condition| condition.r#type == wanted && condition.status == "True");
    // Messages of newer operators have several lines.
    let cut = |text: &str| foreign_text::line(&text.replace(char::is_whitespace, " "), LONGEST_MESSAGE);
    ComponentStatus {
        name: status.metadata.name.clone().unwrap_or_default(),
        available: find("Available").is_some(),
        progressing: find("Progressing").is_some(),
        degraded: find("Degraded")
            .map(|condition| Degraded { reason: cut(&condition.reason), message: cut(&condition.message) }),
    }
}

/// How far a DaemonSet is.
pub fn daemon_set(set: &DaemonSet) -> Workload {
    let status = set.status.clone().unwrap_or_default();
    let desired = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or_default();
    // As `kubectl rollout status` judges a DaemonSet.
    let rolled_out = status.observed_generation >= set.metadata.generation
        && updated >= desired
        && status.number_available.unwrap_or_default() >= desired;
    let template = set.spec.as_ref().map(|spec| &spec.template);
    workload(Kind::DaemonSet, &set.metadata, template, rolled_out, updated, desired)
}

/// How far a Deployment is.
pub fn deployment(deployment: &Deployment) -> Workload {
    let status = deployment.status.clone().unwrap_or_default();
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    // As `kubectl rollout status` judges a Deployment.
    let rolled_out = status.observed_generation >= deployment.metadata.generation
        && updated >= desired
        && status.replicas.unwrap_or_default() <= updated
        && status.available_replicas.unwrap_or_default() >= updated;
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    workload(Kind::Deployment, &deployment.metadata, template, rolled_out, updated, desired)
}

fn workload(
    kind: Kind,
    metadata: &ObjectMeta,
    template: Option<&PodTemplate>,
    rolled_out: bool,
    updated: i32,
    desired: i32,
) -> Workload {
    Workload {
        kind,
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        images: template.and_then(|template| template.spec.as_ref()).map(images).unwrap_or_default(),
        rolled_out,
        updated: u32::try_from(updated).unwrap_or_default(),
        desired: u32::try_from(desired).unwrap_or_default(),
    }
}

fn images(template: &PodSpec) -> Vec<String> {
    let containers = template.containers.iter().chain(template.init_containers.iter().flatten());
    containers.filter_map(|container| container.image.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_ends_as_kubectl_judges_it() {
        let yaml = "metadata: {name: a, namespace: n, generation: 2}\nspec: {selector: {}, template: {}}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2, currentNumberScheduled: 2, numberMisscheduled: 0, numberReady: 2}";
        let mut set: DaemonSet = crate::yaml::from_str(yaml).unwrap();
        assert!(!daemon_set(&set).rolled_out, "the controller has not seen this template yet");
        set.metadata.generation = Some(1);
        assert!(daemon_set(&set).rolled_out);
        set.status.as_mut().unwrap().number_available = Some(1);
        assert!(!daemon_set(&set).rolled_out);
    }

    #[test]
    fn others_of_the_namespace_are_no_operators() {
        let owner = |kind: &str, name: &str| {
            format!("[{{apiVersion: apps/v1, kind: {kind}, name: {name}, uid: uid-of-{name}, controller: true}}]")
        };
        let pod = |container: &str| -> Pod {
            let text = format!(
                "metadata: {{name: a, ownerReferences: {}}}\nspec: {{containers: [{{name: {container}, image: b}}]}}",
                owner("ReplicaSet", "of-it")
            );
            crate::yaml::from_str(&text).unwrap()
        };
        let found = owned_pod(&pod("tigera-operator"), "tigera-operator").unwrap();
        assert_eq!((found.replica_set.as_str(), found.operator.image.as_str()), ("uid-of-of-it", "b"));
        assert_eq!(owned_pod(&pod("another"), "tigera-operator"), None);
        let replica_set = |deployment: &str| -> ReplicaSet {
            let text = format!("metadata: {{name: a, uid: one, ownerReferences: {}}}", owner("Deployment", deployment));
            crate::yaml::from_str(&text).unwrap()
        };
        let location = OperatorLocation::default();
        let found = owned_replica_set(&replica_set("tigera-operator"), &location).unwrap();
        assert_eq!((found.uid.as_str(), found.deployment.as_str()), ("one", "uid-of-tigera-operator"));
        assert_eq!(owned_replica_set(&replica_set("another"), &location), None);
    }
}
