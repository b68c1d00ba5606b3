//! Hand-kept subsets of Kubernetes' own workload kinds: only the fields that we read. The full types are some hundred structs,
//! which cost 0.4 MB of the binary and, for every pod that is read, memory that nothing looks at.

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
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What runs.
    pub spec: Option<PodSpec>,
    /// How it runs.
    pub status: Option<PodStatus>,
}

/// A Deployment.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = apps::Deployment)]
pub struct Deployment {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: Option<DeploymentSpec>,
    /// How far it is.
    pub status: Option<DeploymentStatus>,
}

/// What a Deployment wants.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DeploymentSpec {
    /// How many pods.
    pub replicas: Option<i32>,
    /// Which pods are its own.
    #[serde(default)]
    pub selector: LabelSelector,
    /// What they run.
    #[serde(default)]
    pub template: PodTemplate,
}

/// A DaemonSet.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = apps::DaemonSet)]
pub struct DaemonSet {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: Option<TemplateSpec>,
    /// How far it is.
    pub status: Option<DaemonSetStatus>,
}

/// A Job.
#[derive(Resource, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[resource(inherit = batch::Job)]
pub struct Job {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: Option<TemplateSpec>,
    /// How it went.
    pub status: Option<JobStatus>,
}

/// A spec of which only the template matters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TemplateSpec {
    /// What its pods run.
    #[serde(default)]
    pub template: PodTemplate,
}

/// The template of pods.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PodTemplate {
    /// What runs.
    pub spec: Option<PodSpec>,
}

/// What runs in a pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Side by side.
    #[serde(default, deserialize_with = "foreign_text::decode_list")]
    pub containers: Vec<Container>,
    /// Before them.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub init_containers: Option<Vec<Container>>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
    /// Its image.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub image: Option<String>,
    /// What is run, in the place of the image's entrypoint.
    pub command: Option<Vec<String>>,
    /// With these arguments.
    pub args: Option<Vec<String>>,
    /// And these variables.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub env: Option<Vec<EnvVar>>,
}

/// A variable of a container.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
    /// Its value, where it is written down.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub value: Option<String>,
}

/// A condition of a Pod or a Job.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadCondition {
    /// Which question it answers.
    #[serde(default, rename = "type", deserialize_with = "foreign_text::decode_name")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub status: String,
    /// Why, in a word.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
    /// Since when.
    pub last_transition_time: Option<Time>,
}

/// How a pod runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded` or `Failed`.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub phase: Option<String>,
    /// Why it is so, in a word.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Why, in words.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
    /// Its conditions.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub conditions: Option<Vec<WorkloadCondition>>,
    /// How its containers are.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub container_statuses: Option<Vec<ContainerStatus>>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Its name.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
    /// The image that runs, as the runtime names it.
    #[serde(default, rename = "imageID", deserialize_with = "foreign_text::decode_name")]
    pub image_id: String,
    /// What it does.
    pub state: Option<ContainerState>,
}

/// What a container does; neither, while it runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ContainerState {
    /// It has not started.
    pub waiting: Option<Waiting>,
    /// It has ended.
    pub terminated: Option<Terminated>,
}

/// Why a container has not started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Waiting {
    /// In a word.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// In words.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// Its exit code.
    #[serde(default)]
    pub exit_code: i32,
    /// Why, in a word.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_name")]
    pub reason: Option<String>,
    /// Its last words.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_message")]
    pub message: Option<String>,
}

/// How far a Deployment is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentStatus {
    /// The generation that this is about.
    pub observed_generation: Option<i64>,
    /// All its pods.
    pub replicas: Option<i32>,
    /// Those of the current template.
    pub updated_replicas: Option<i32>,
    /// Those that are available.
    pub available_replicas: Option<i32>,
}

/// How far a DaemonSet is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSetStatus {
    /// The generation that this is about.
    pub observed_generation: Option<i64>,
    /// Nodes that should run it.
    #[serde(default)]
    pub desired_number_scheduled: i32,
    /// Those that run the current template.
    pub updated_number_scheduled: Option<i32>,
    /// Those on which it is available.
    pub number_available: Option<i32>,
}

/// How a Job went.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its conditions.
    #[serde(default, deserialize_with = "foreign_text::decode_optional_list")]
    pub conditions: Option<Vec<WorkloadCondition>>,
    /// Pods that failed.
    pub failed: Option<i32>,
}
