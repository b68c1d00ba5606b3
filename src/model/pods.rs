//! Aggregated state of the pods of the operator's workloads: which images they pull and run. There is one entry per workload,
//! image and state, however many pods share it.

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::object_ref::ObjectRef;

/// Aggregated state of all pods. Its size does not depend on the number of pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSummary {
    /// Running images, of those that a template names by digest.
    pub running: Vec<RunningImage>,
    /// Images that pods cannot pull or start.
    pub failing: Vec<FailingImage>,
}

/// A running container image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningImage {
    /// Workload that owns the pods, such as `DaemonSet calico-system/calico-node`.
    pub workload: ObjectRef,
    /// Image in the pods' spec.
    pub image: String,
    /// Digest of the running image, if the runtime reports a repository digest (`repository@sha256:…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Number of pods.
    pub pods: u32,
}

/// A container image that pods cannot pull or start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailingImage {
    /// Workload that owns the pods.
    pub workload: ObjectRef,
    /// Image in the pods' spec.
    pub image: String,
    /// Cause.
    pub kind: PullFailureKind,
    /// Number of pods.
    pub pods: u32,
    /// Message of the first of them, escaped and cut.
    pub message: String,
}

/// Why an image cannot be pulled or started: a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PullFailureKind {
    /// The registry does not have the image.
    NotFound,
    /// The registry rejects the node's credentials.
    Unauthorized,
    /// The image has no manifest for the node's platform.
    PlatformMissing,
    /// The registry limits the node's rate.
    RateLimited,
    /// A policy of the registry or of the node refuses the image.
    Refused,
    /// The registry, its token service or its proxy responds with an error of its own.
    RegistryFailing,
    /// What arrives has another digest than the image.
    ContentInvalid,
    /// A layer cannot be unpacked.
    LayerInvalid,
    /// The node has no space left.
    DiskFull,
    /// The node does not trust the registry's certificate, or the registry does not speak TLS.
    Untrusted,
    /// The image is not a reference.
    NameInvalid,
    /// The pull policy is `Never`, and the node does not have the image.
    NeverPolicy,
    /// The registry did not respond in time, or is unreachable.
    Timeout,
    /// The image was pulled, but is for another platform.
    ExecFormat,
    /// Any other cause.
    Other,
}

/// The images of one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodImages {
    /// Workload that owns the pod.
    pub workload: ObjectRef,
    /// Images by digest, each with the digest of the running image if the runtime reports it.
    pub running: Vec<(String, Option<Digest>)>,
    /// Images that the pod cannot pull or start.
    pub failing: Vec<FailedImage>,
}

/// An image that a pod cannot pull or start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedImage {
    /// Image in the pod's spec.
    pub image: String,
    /// Cause; `None` if the kubelet only reports a back-off.
    pub kind: Option<PullFailureKind>,
    /// Message of the kubelet.
    pub message: String,
}
