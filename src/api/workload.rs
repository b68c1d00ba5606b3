//! Hand-written subsets of Kubernetes' own workload kinds, with the fields that the product reads. The full types are some
//! hundred structs. They cost 0.4 MB of the binary and, for every pod that is read, memory for unused fields.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Serialize};

use crate::model::foreign_text;

/// A Pod.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = core::Pod)]
pub struct Pod {
    /// Metadata of the object.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: Option<PodSpec>,
    /// Observed state.
    pub status: Option<PodStatus>,
}

/// A Deployment.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = apps::Deployment)]
pub struct Deployment {
    /// Metadata of the object.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: Option<DeploymentSpec>,
    /// Observed state.
    pub status: Option<DeploymentStatus>,
}

/// The desired state of a Deployment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// Number of desired pods.
    pub replicas: Option<i32>,
    /// Selector of its pods.
    #[serde(default)]
    pub selector: LabelSelector,
    /// Template of its pods.
    #[serde(default)]
    pub template: PodTemplate,
}

/// A ReplicaSet.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = apps::ReplicaSet)]
pub struct ReplicaSet {
    /// Metadata of the object.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: Option<TemplateSpec>,
}

/// A DaemonSet.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = apps::DaemonSet)]
pub struct DaemonSet {
    /// Metadata of the object.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: Option<TemplateSpec>,
    /// Observed state.
    pub status: Option<DaemonSetStatus>,
}

/// A Job.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = batch::Job)]
pub struct Job {
    /// Metadata of the object.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Desired state.
    pub spec: Option<TemplateSpec>,
    /// Observed state.
    pub status: Option<JobStatus>,
}

/// A spec of which only the template is read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TemplateSpec {
    /// Template of its pods.
    #[serde(default)]
    pub template: PodTemplate,
}

/// A pod template.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodTemplate {
    /// Desired state of the pods.
    pub spec: Option<PodSpec>,
}

/// The desired state of a pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Containers.
    #[serde(default, deserialize_with = "foreign_text::decode_list")]
    pub containers: Vec<Container>,
    /// Init containers.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub init_containers: Option<Vec<Container>>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Container {
    /// Name of the container.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
    /// Image of the container.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub image: Option<String>,
    /// Command that replaces the entrypoint of the image.
    pub command: Option<Vec<String>>,
    /// Arguments.
    pub args: Option<Vec<String>>,
    /// Environment variables.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub env: Option<Vec<EnvVar>>,
}

/// An environment variable of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EnvVar {
    /// Name of the variable.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
    /// Value, if it is written in the spec.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub value: Option<String>,
}

/// A condition of a Pod or a Job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCondition {
    /// Type of the condition.
    #[serde(default, rename = "type", deserialize_with = "foreign_text::decode_name")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub status: String,
    /// Reason.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Message.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
    /// Last transition.
    pub last_transition_time: Option<Time>,
}

/// The observed state of a pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub phase: Option<String>,
    /// Reason of the phase.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Message of the phase.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
    /// Conditions of the pod.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub conditions: Option<Vec<WorkloadCondition>>,
    /// Observed state of its containers.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub container_statuses: Option<Vec<ContainerStatus>>,
}

/// The observed state of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Name of the container.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
    /// Running image, as the runtime names it.
    #[serde(default, rename = "imageID", deserialize_with = "foreign_text::decode_name")]
    pub image_id: String,
    /// State of the container.
    pub state: Option<ContainerState>,
}

/// The state of a container. Both fields are absent while it runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ContainerState {
    /// Set if the container has not started.
    pub waiting: Option<Waiting>,
    /// Set if the container has ended.
    pub terminated: Option<Terminated>,
}

/// Why a container has not started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Waiting {
    /// Reason.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Message.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// Exit code.
    #[serde(default)]
    pub exit_code: i32,
    /// Reason.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Message.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
}

/// The observed state of a Deployment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// Generation that the status is about.
    pub observed_generation: Option<i64>,
    /// Number of pods.
    pub replicas: Option<i32>,
    /// Number of pods of the current template.
    pub updated_replicas: Option<i32>,
    /// Number of available pods.
    pub available_replicas: Option<i32>,
}

/// The observed state of a DaemonSet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// Generation that the status is about.
    pub observed_generation: Option<i64>,
    /// Number of nodes that should run it.
    #[serde(default)]
    pub desired_number_scheduled: i32,
    /// Number of nodes that run the current template.
    pub updated_number_scheduled: Option<i32>,
    /// Number of nodes on which it is available.
    pub number_available: Option<i32>,
}

/// The observed state of a Job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JobStatus {
    /// Conditions of the Job.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub conditions: Option<Vec<WorkloadCondition>>,
    /// Number of failed pods.
    pub failed: Option<i32>,
}
