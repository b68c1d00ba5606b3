//! The operator's Deployment and its pods.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;

/// The operator Deployment's template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorDeployment {
    /// The container's image as written; `None` if the template has no container of the configured name.
    pub image: Option<String>,
    /// `TIGERA_OPERATOR_INIT_IMAGE_VERSION`, a hint that never decides alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_image_version: Option<String>,
    /// The annotation that breaks the gate's glass; its value is the image that it admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// An operator pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorPod {
    /// Its name.
    pub name: String,
    /// The container's image as the pod's spec has it.
    pub image: String,
    /// Digest of what really runs, where the runtime tells a repository digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Digest>,
    /// Condition Ready is True, whether the pod is being deleted or not.
    #[serde(default)]
    pub ready: bool,
    /// Since when condition Ready is as it is, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<Timestamp>,
}
