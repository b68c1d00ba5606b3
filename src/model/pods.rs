//! What the pods of the operator's workloads pull and run, folded: one entry per workload, image and answer, however many
//! pods say the same. Pure values, and the one place that understands what kubelets and container runtimes say of a pull.

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::object_ref::ObjectRef;

/// All of it. Nothing in here grows with the number of pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct SeenPods {
    /// What runs, of images that a template names by digest.
    pub running: Vec<RunningImage>,
    /// What cannot be pulled or started.
    pub failing: Vec<FailingImage>,
}

/// A container image that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningImage {
    /// The workload that owns the pods, such as `DaemonSet calico-system/calico-node`.
    pub workload: ObjectRef,
    /// The image as the pods' spec has it.
    pub image: String,
    /// Digest of what runs, where the runtime tells a repository digest (`repository@sha256:…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// How many pods.
    pub pods: u32,
}

/// A container image that cannot be pulled, or not be started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailingImage {
    /// The workload that owns the pods.
    pub workload: ObjectRef,
    /// The image as the pods' spec has it.
    pub image: String,
    /// Why.
    pub kind: PullFailureKind,
    /// How many pods.
    pub pods: u32,
    /// What the first of them said, escaped and cut.
    pub message: String,
}

/// Why an image cannot be pulled or started. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PullFailureKind {
    /// The registry does not have it.
    NotFound,
    /// The registry refuses the node.
    Unauthorized,
    /// It has nothing for the node's platform.
    PlatformMissing,
    /// The registry asks the node to come later.
    RateLimited,
    /// No answer in time, or no way to the registry.
    Timeout,
    /// Pulled, and of another platform.
    ExecFormat,
    /// Something else.
    Other,
}

/// What one pod says of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPod {
    /// The workload that owns it.
    pub workload: ObjectRef,
    /// Images by digest, each with the digest of what runs where that is told.
    pub running: Vec<(String, Option<Digest>)>,
    /// What cannot be pulled or started.
    pub failing: Vec<Failing>,
}

/// An image that a pod cannot get or start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// As the pod's spec has it.
    pub image: String,
    /// Why; nothing where the kubelet only says that it waits before it tries again.
    pub kind: Option<PullFailureKind>,
    /// In the kubelet's words.
    pub message: String,
}
