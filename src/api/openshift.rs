//! A hand-written subset of OpenShift's `Infrastructure` (group `config.openshift.io/v1`, cluster-scoped). Its one object, `cluster`,
//! says on which cloud a cluster runs.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, Resource};
use serde::{Deserialize, Serialize};

use crate::model::foreign_text;

/// The cloud as OpenShift spells it.
const AWS: &str = "AWS";

/// The infrastructure of a cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Infrastructure {
    /// Metadata; the name is `cluster`.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Observed state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<InfrastructureStatus>,
}

/// The cloud, in the field of either age: the operator reads `platform` up to v1.26 and `platformStatus` from v1.27 on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InfrastructureStatus {
    /// Deprecated by OpenShift, and still written.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub platform: Option<String>,
    /// Replaces `platform`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform_status: Option<PlatformStatus>,
}

/// The cloud with its settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlatformStatus {
    /// Cloud, such as `AWS`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub r#type: Option<String>,
}

impl Infrastructure {
    /// Whether the cluster runs on AWS.
    #[must_use]
    pub fn is_aws(&self) -> bool {
        let status = self.status.as_ref();
        let platform = status.and_then(|status| status.platform_status.as_ref()).and_then(|one| one.r#type.as_deref());
        platform.or_else(|| status.and_then(|status| status.platform.as_deref())) == Some(AWS)
    }
}

impl Resource for Infrastructure {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Infrastructure".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "config.openshift.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "infrastructures".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_field_names_the_cloud() {
        let is_aws = |text: &str| serde_json::from_str::<Infrastructure>(text).unwrap().is_aws();
        assert!(is_aws(r#"{"status":{"platform":"AWS"}}"#));
        assert!(is_aws(r#"{"status":{"platformStatus":{"type":"AWS","aws":{"region":"x"}}}}"#));
        assert!(!is_aws(r#"{"status":{"platform":"GCP","platformStatus":{"type":"GCP"}}}"#));
        assert!(!is_aws(r#"{"metadata":{"name":"cluster"}}"#));
    }
}
