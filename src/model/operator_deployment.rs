//! The operator's Deployment and its pods.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;

/// The template of the operator's Deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorDeployment {
    /// Image of the container, as written; `None` if the template has no container of the configured name.
    pub image: Option<String>,
    /// `TIGERA_OPERATOR_INIT_IMAGE_VERSION`, a hint that never decides alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_image_version: Option<String>,
    /// `CALICO_API_GROUP`, which decides on which API of Calico the operator runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calico_api_group: Option<String>,
    /// Value of the break-glass annotation: the image that the gate admits without a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// A pod of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorPod {
    /// Name of the pod.
    pub name: String,
    /// Image of the container in the template of the pod's ReplicaSet. Admission webhooks may have rewritten the one in the pod.
    pub image: String,
    /// Digest of the running image, if the runtime reports a repository digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
    /// Whether condition Ready is True, also while the pod is being deleted.
    #[serde(default)]
    pub ready: bool,
    /// Last transition of condition Ready, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Timestamp>,
}
