//! Hand-kept subsets of Kubernetes' own workload kinds: only the fields that we read. The full types are some hundred structs,
//! which cost 0.4 MB of the binary and, for every pod that is read, memory that nothing looks at.

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};

/// A Pod.
#[derive(Resource, Debug, Clone, Default, Serialize, Deserialize)]
#[resource(inherit = core::Pod)]
pub struct Pod {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What runs.
    pub spec: Option<PodSpec>,
    /// How it runs.
    pub status: Option<core::PodStatus>,
}

/// A Deployment.
#[derive(Resource, Debug, Clone, Default, Serialize, Deserialize)]
#[resource(inherit = apps::Deployment)]
pub struct Deployment {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: Option<DeploymentSpec>,
    /// How far it is.
    pub status: Option<apps::DeploymentStatus>,
}

/// What a Deployment wants.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
#[derive(Resource, Debug, Clone, Default, Serialize, Deserialize)]
#[resource(inherit = apps::DaemonSet)]
pub struct DaemonSet {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: Option<TemplateSpec>,
    /// How far it is.
    pub status: Option<apps::DaemonSetStatus>,
}

/// A Job.
#[derive(Resource, Debug, Clone, Default, Serialize, Deserialize)]
#[resource(inherit = batch::Job)]
pub struct Job {
    /// Its metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: Option<TemplateSpec>,
    /// How it went.
    pub status: Option<batch::JobStatus>,
}

/// A spec of which only the template matters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TemplateSpec {
    /// What its pods run.
    #[serde(default)]
    pub template: PodTemplate,
}

/// The template of pods.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PodTemplate {
    /// What runs.
    pub spec: Option<PodSpec>,
}

/// What runs in a pod.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Side by side.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// Before them.
    pub init_containers: Option<Vec<Container>>,
}

/// A container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Container {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its image.
    pub image: Option<String>,
    /// What is run, in the place of the image's entrypoint.
    pub command: Option<Vec<String>>,
    /// With these arguments.
    pub args: Option<Vec<String>>,
    /// And these variables.
    pub env: Option<Vec<core::EnvVar>>,
}
