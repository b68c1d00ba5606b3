//! Hand-written subsets of the tigera-operator's kinds (group `operator.tigera.io/v1`, all cluster-scoped). They have only the
//! fields that the product reads, all of them optional, so that the objects of any release can be decoded. Only [`ImageSet`] is
//! ever written; its whole spec is known here.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::{ApiResource, ClusterResourceScope, GroupVersionKind, Resource};
use serde::{Deserialize, Serialize};

use crate::model::foreign_text;

/// The API group of the operator.
pub const GROUP: &str = "operator.tigera.io";
/// The one version of all its kinds.
pub const VERSION: &str = "v1";
/// Group and version, as objects carry them.
pub const API_VERSION: &str = "operator.tigera.io/v1";
/// The name of the Installation that the operator reads.
pub const INSTALLATION_NAME: &str = "default";
/// The name of the Installation whose fields are merged over it.
pub const INSTALLATION_OVERLAY_NAME: &str = "overlay";

/// Makes a type a kind of the operator. kube's own derive requires a `spec` in every object; the operator's CRDs do not.
macro_rules! operator_kind {
    ($type:ident, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = ClusterResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($type).into()
            }
            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                VERSION.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

operator_kind!(ImageSet, "imagesets");
operator_kind!(Installation, "installations");
operator_kind!(TigeraStatus, "tigerastatuses");

/// Digests for the images of one release. It has no status in any release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageSet {
    /// Always [`API_VERSION`]; server-side apply requires it in the object.
    #[serde(default = "image_set_api_version")]
    pub api_version: String,
    /// Always `ImageSet`.
    #[serde(default = "image_set_kind")]
    pub kind: String,
    /// Name, labels and owners.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Images of the set.
    #[serde(default)]
    pub spec: ImageSetSpec,
}

fn image_set_api_version() -> String {
    API_VERSION.to_owned()
}

fn image_set_kind() -> String {
    "ImageSet".to_owned()
}

impl ImageSet {
    /// Returns an ImageSet to apply, with a name and its images only.
    #[must_use]
    pub fn new(name: &str, images: Vec<ImageEntry>) -> Self {
        Self {
            api_version: image_set_api_version(),
            kind: image_set_kind(),
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: ImageSetSpec { images },
        }
    }
}

/// The images of a set. The list is atomic under server-side apply: whoever applies it owns all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageSetSpec {
    /// One entry per image name. If a name has several entries, the operator uses the first.
    #[serde(default, deserialize_with = "foreign_text::decode_list")]
    pub images: Vec<ImageEntry>,
}

/// One entry of a stored set. An entry that somebody else wrote may be invalid.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageEntry {
    /// Image name without registry and tag, such as `calico/node`.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub image: String,
    /// Digest. The operator only checks the prefix `sha256:`.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub digest: String,
}

/// The variant that is installed, and where its images are pulled from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Installation {
    /// Metadata; the name is `default` or `overlay`.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Desired state.
    #[serde(default)]
    pub spec: InstallationSpec,
    /// Observed state, as the operator reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<InstallationStatus>,
}

/// The fields of an Installation that determine which images are pulled and which are required.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstallationSpec {
    /// `Calico`, `TigeraSecureEnterprise` or `CalicoEnterprise`; absent means Calico.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub variant: Option<String>,
    /// Registry of all images; absent, empty or `UseDefault` means the default of the operator's version.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub registry: Option<String>,
    /// Path that replaces the organisation of all images.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub image_path: Option<String>,
    /// Prefix of the names of all images.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub image_prefix: Option<String>,
    /// Pull secrets in the operator's namespace.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "foreign_text::decode_list")]
    pub image_pull_secrets: Vec<SecretName>,
    /// `Enabled` or `Disabled`; absent means Disabled.
    #[serde(
        rename = "fipsMode",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "foreign_text::decode_optional_name"
    )]
    pub fips_mode: Option<String>,
    /// Platform, such as `EKS` or `RKE2`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub kubernetes_provider: Option<String>,
    /// Settings of Calico's network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calico_network: Option<CalicoNetwork>,
    /// Certificates of a signer of the cluster, which need an image of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_management: Option<CertificateManagement>,
    /// Plugins of the container network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cni: Option<Cni>,
}

/// Settings of certificates, of which only the existence counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CertificateManagement {}

/// Which plugins of the container network the operator installs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cni {
    /// `Calico`, or the plugin of a cloud.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub r#type: Option<String>,
    /// `All` or `CalicoOnly` (Enterprise v1.43 and later).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub install_mode: Option<String>,
}

/// A reference to a Secret by name (`LocalObjectReference`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretName {
    /// Name of the Secret.
    #[serde(default, deserialize_with = "foreign_text::decode_name")]
    pub name: String,
}

/// The data planes, which determine whether the Windows images are required.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CalicoNetwork {
    /// `Iptables`, `BPF`, `VPP` or `Nftables`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub linux_dataplane: Option<String>,
    /// `HNS` or `Disabled`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub windows_dataplane: Option<String>,
}

/// The status that the operator writes to the Installation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstallationStatus {
    /// Installed variant.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub variant: Option<String>,
    /// Name of the ImageSet in use. It proves selection, not that the pods run it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub image_set: Option<String>,
    /// Installed version of Calico.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "foreign_text::decode_optional_name")]
    pub calico_version: Option<String>,
    /// Effective spec: defaults filled in, overlay merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computed: Option<InstallationSpec>,
    /// Conditions, in newer releases only.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "foreign_text::decode_list")]
    pub conditions: Vec<OperatorCondition>,
}

/// The status of one component of the operator. The name of the object is that of the component (`calico`, `apiserver`, …).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TigeraStatus {
    /// Metadata; the name is that of the component.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Status; absent until the operator writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TigeraStatusStatus>,
}

/// The conditions of one component.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TigeraStatusStatus {
    /// `Available`, `Progressing` and `Degraded`.
    #[serde(default, deserialize_with = "foreign_text::decode_list")]
    pub conditions: Vec<OperatorCondition>,
}

/// A condition that the operator writes. Old releases leave out fields that newer ones set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OperatorCondition {
    /// `Available`, `Progressing` or `Degraded`; an Installation has others as well.
    #[serde(deserialize_with = "foreign_text::decode_name")]
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "foreign_text::decode_name")]
    pub status: String,
    /// Reason. Up to v1.25 the message may be here.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "foreign_text::decode_message")]
    pub reason: String,
    /// Message.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "foreign_text::decode_message")]
    pub message: String,
    /// Last transition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Generation that the condition is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// A kind whose objects make the operator require more images. Only their existence counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureKind {
    /// Kind, as objects carry it.
    pub kind: &'static str,
    /// Plural, as paths, rights and the name of the CRD have it.
    pub plural: &'static str,
}

impl FeatureKind {
    /// Returns the description of the kind for kube's dynamic and metadata APIs.
    #[must_use]
    pub fn api_resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, self.kind), self.plural)
    }

    /// Returns the name of the CRD.
    #[must_use]
    pub fn crd_name(&self) -> String {
        format!("{}.{GROUP}", self.plural)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_any_release_are_decoded() {
        let bare: ImageSet = serde_json::from_str(r#"{"metadata":{"name":"calico-v3.32.1"}}"#).unwrap();
        assert_eq!(bare, ImageSet::new("calico-v3.32.1", Vec::new()));
        let entry: ImageSet = serde_json::from_str(r#"{"spec":{"images":[{"image":"calico/node","new":1}]}}"#).unwrap();
        assert_eq!(entry.spec.images[0].digest, "");

        let _: Installation = serde_json::from_str("{}").unwrap();
        let installation: Installation = serde_json::from_str(
            r#"{"metadata":{"name":"default"},"spec":{"registry":"reg.example/","fipsMode":"Enabled","unknown":{},
            "imagePullSecrets":[{"name":"pull"}],"calicoNetwork":{"windowsDataplane":"HNS","mtu":1440}},
            "status":{"imageSet":"calico-v3.32.1","computed":{"variant":"Calico"},"conditions":[{"type":"Ready","status":"True"}]}}"#,
        )
        .unwrap();
        assert_eq!(installation.spec.fips_mode.as_deref(), Some("Enabled"));
        assert_eq!(installation.spec.image_pull_secrets[0].name, "pull");
        let status = installation.status.unwrap();
        assert_eq!(status.computed.unwrap().variant.as_deref(), Some("Calico"));

        let _: TigeraStatus = serde_json::from_str(r#"{"metadata":{"name":"calico"},"spec":{}}"#).unwrap();
        let status: TigeraStatus = serde_json::from_str(
            r#"{"status":{"conditions":[{"type":"Degraded","status":"True","lastTransitionTime":"2026-11-24T00:00:00Z"}]}}"#,
        )
        .unwrap();
        assert!(status.status.unwrap().conditions[0].last_transition_time.is_some());
    }

    #[test]
    fn an_applied_set_has_its_kind() {
        let set = ImageSet::new("calico-v3.32.1", vec![ImageEntry { image: "calico/node".into(), digest: "x".into() }]);
        let value = serde_json::to_value(set).unwrap();
        assert_eq!(value["apiVersion"], "operator.tigera.io/v1");
        assert_eq!(value["kind"], "ImageSet");
        assert_eq!(value["spec"]["images"][0]["image"], "calico/node");
        assert_eq!(ImageSet::url_path(&(), None), "/apis/operator.tigera.io/v1/imagesets");
    }
}
