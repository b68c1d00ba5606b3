//! The controller's own kind, `ImageSetPolicy`. Doc comments are the descriptions that `kubectl explain` shows. This file holds
//! types, defaults and validation rules only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interval::Interval;
use super::policy_status::ImageSetPolicyStatus;
use super::registry_access::RegistryAccess;
use super::schema_text;
use crate::model::{Gate, Mode, OnMissing, TagMoved};

/// What the controller may do in this cluster, and how.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "imageset-controller.io",
    version = "v1alpha1",
    kind = "ImageSetPolicy",
    plural = "imagesetpolicies",
    shortname = "isp",
    category = "calico",
    status = "ImageSetPolicyStatus",
    derive = "PartialEq",
    doc = "An ImageSetPolicy tells the imageset-controller how to keep the tigera-operator's ImageSets: which digests \
           of Calico's images the nodes run, now and after the next upgrade of the operator.",
    validation = Rule::new("self.metadata.name == 'default'").message("name the policy 'default': a cluster has one operator, so there is one policy"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", description = "Whether the controller only shows its plan (Observe) or acts (Apply)"),
    printcolumn(name = "Operator", type_ = "string", json_path = ".status.operator.version", description = "Version of the operator that runs"),
    printcolumn(name = "ImageSet", type_ = "string", json_path = ".status.current.imageSet", description = "ImageSet of the operator that the Deployment asks for"),
    printcolumn(name = "Adopted", type_ = "boolean", json_path = ".status.current.adopted", description = "Whether all Calico workloads run this ImageSet"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Target", type_ = "string", priority = 1, json_path = ".status.operator.target", description = "Version of the operator that the Deployment asks for"),
    printcolumn(name = "Gate", type_ = "string", priority = 1, json_path = ".spec.gate", description = "What an unprepared operator image meets"),
    printcolumn(name = "Message", type_ = "string", priority = 1, json_path = ".status.conditions[?(@.type==\"Ready\")].message")
)]
#[serde(rename_all = "camelCase")]
// `namespace` is a reserved word of CEL. Without the underscores the API server does not know the maximum length of the text, and
// rejects the whole definition as too costly.
#[x_kube(validation = Rule::new("self.inspection.__namespace__ != self.operator.__namespace__")
    .message("give inspection a namespace of its own: its Jobs run under an account without any rights, away from the operator's secrets")
    .field_path(".inspection.namespace"))]
pub struct ImageSetPolicySpec {
    /// Observe only computes the plan and reports it in the status; Apply stores ImageSets.
    #[serde(default)]
    pub mode: Mode,

    /// Stops all work on this policy, the gate's list included, without forgetting what was found.
    #[serde(default)]
    pub suspend: bool,

    /// The Deployment of the tigera-operator.
    #[serde(default)]
    pub operator: OperatorDeployment,

    /// What to expect of the Installation until there is one; as soon as it exists, its own values count.
    #[serde(default)]
    pub installation: InstallationDefaults,

    /// Which operator versions to store ImageSets for before they are installed.
    #[serde(default)]
    pub prepare: Prepare,

    /// What a change of the operator's image meets when no ImageSet is prepared for it.
    #[serde(default)]
    pub gate: Gate,

    /// Exceptions for single images.
    #[serde(default)]
    pub images: ImageRules,

    /// What to do when the tag of an image resolves to another digest than the one that is pinned: Hold reports it and
    /// keeps the pin, Repin stores the new digest.
    #[serde(default)]
    pub tag_moved: TagMoved,

    /// Whether an ImageSet that somebody else made may be taken over. Otherwise it is left alone, and counts as
    /// prepared when it is right.
    #[serde(default)]
    pub take_ownership: bool,

    /// How many ImageSets of previous versions to keep for a rollback, besides those of the running and the target
    /// version. Only sets of this controller are ever deleted.
    #[serde(default = "retain")]
    #[schemars(range(min = 0, max = 20))]
    pub retain: i32,

    /// When to look again at what the registry serves.
    #[serde(default)]
    pub recheck: Recheck,

    /// How to ask an operator image that is not in the catalogue for its version and its images.
    #[serde(default)]
    pub inspection: InspectionRules,

    /// How to reach registries that need more than the Installation says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".to_owned()]))]
    pub registries: Vec<RegistryAccess>,
}

fn retain() -> i32 {
    3
}

impl Default for ImageSetPolicySpec {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            suspend: false,
            operator: OperatorDeployment::default(),
            installation: InstallationDefaults::default(),
            prepare: Prepare::default(),
            gate: Gate::default(),
            images: ImageRules::default(),
            tag_moved: TagMoved::default(),
            take_ownership: false,
            retain: retain(),
            recheck: Recheck::default(),
            inspection: InspectionRules::default(),
            registries: Vec::new(),
        }
    }
}

/// The Deployment and the container that run the tigera-operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OperatorDeployment {
    /// Namespace of the Deployment, where the Installation's pull secrets are, too.
    #[serde(default = "tigera_operator")]
    #[schemars(schema_with = "schema_text::namespace")]
    pub namespace: String,
    /// Name of the Deployment.
    #[serde(default = "tigera_operator")]
    #[schemars(schema_with = "schema_text::object_name")]
    pub deployment: String,
    /// Name of the container whose image is the operator.
    #[serde(default = "tigera_operator")]
    #[schemars(schema_with = "schema_text::container")]
    pub container: String,
}

fn tigera_operator() -> String {
    "tigera-operator".to_owned()
}

impl Default for OperatorDeployment {
    fn default() -> Self {
        Self { namespace: tigera_operator(), deployment: tigera_operator(), container: tigera_operator() }
    }
}

/// The fields of an Installation that decide which images are pulled, for the time before there is one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstallationDefaults {
    /// The product that will be installed.
    #[serde(default)]
    pub variant: InstallationVariant,
    /// Registry that all images will be pulled from, such as registry.example.com/; left out, the operator's default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema_text::installation_registry")]
    pub registry: String,
    /// Path that replaces the organisation of every image, such as mirror/calico.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema_text::image_path")]
    pub image_path: String,
    /// Text in front of every image's name, such as mirrored-calico-.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(schema_with = "schema_text::image_prefix")]
    pub image_prefix: String,
    /// Whether the FIPS builds of the images will be used.
    #[serde(default)]
    pub fips_mode: FipsMode,
    /// Secrets in the operator's namespace with credentials of the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub image_pull_secrets: Vec<ObjectName>,
}

/// The product that an Installation installs (operator: `ProductVariant`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum InstallationVariant {
    /// Calico Open Source.
    #[default]
    Calico,
    /// Calico Enterprise, by its first name.
    TigeraSecureEnterprise,
    /// Calico Enterprise, by its newer name.
    CalicoEnterprise,
}

/// Whether the FIPS builds of the images are used (operator: `FIPSMode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum FipsMode {
    /// The normal builds.
    #[default]
    Disabled,
    /// The `-fips` builds.
    Enabled,
}

/// The name of an object whose kind and namespace are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectName {
    /// Name of the object.
    #[schemars(schema_with = "schema_text::object_name")]
    pub name: String,
}

/// Operator versions that may come next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prepare {
    /// Operator versions, such as v1.42.4, or full references of operator images, to store ImageSets for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema_text::operator_versions")]
    pub versions: Vec<String>,
    /// Looks for newer versions in the operator image's own repository.
    #[serde(default)]
    pub discover: Discover,
}

/// The search for newer operator releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discover {
    /// Which newer versions to prepare: Patch stays in the running minor version, Minor takes newer ones, too.
    #[serde(default)]
    pub channel: Channel,
    /// How often to look, between 5m and 720h.
    #[serde(default = "discover_interval")]
    #[schemars(schema_with = "schema_text::interval")]
    #[x_kube(validation = Rule::new(interval_within("5m", "720h")).message("look for releases at most every 5m and at least every 720h"))]
    pub interval: Interval,
    /// How many of the newest versions to prepare.
    #[serde(default = "discover_limit")]
    #[schemars(range(min = 1, max = 10))]
    pub limit: i32,
}

fn discover_interval() -> Interval {
    Interval::from_hours(6)
}

fn discover_limit() -> i32 {
    2
}

impl Default for Discover {
    fn default() -> Self {
        Self { channel: Channel::default(), interval: discover_interval(), limit: discover_limit() }
    }
}

/// Returns a CEL rule for the bounds of an interval. It passes if another rule has found that the text is not an interval.
fn interval_within(least: &str, most: &str) -> String {
    format!(
        "!self.matches(r'^([0-9]+h)?([0-9]+m)?([0-9]+s)?$') || self == '' \
         || (duration(self) >= duration('{least}') && duration(self) <= duration('{most}'))"
    )
}

/// Which newer operator versions are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// None.
    #[default]
    Disabled,
    /// Newer patch releases of the target's minor version.
    Patch,
    /// Newer releases of the target's major version.
    Minor,
}

/// Exceptions for single images.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageRules {
    /// What to do about an image that the registry doesn't have: Hold stores nothing until it is there; OmitUnneeded
    /// leaves it out where the objects in the cluster prove that the operator doesn't need it.
    #[serde(default)]
    pub on_missing: OnMissing,
    /// Images to leave out, such as calico/node-windows. Names that a release doesn't know are ignored; one that the
    /// operator requires is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema_text::image_names")]
    pub exclude: Vec<String>,
    /// Digests to use instead of what the registry says, by image name: for instance a hardened rebuild of calico/node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema_text::digests")]
    pub digests: BTreeMap<String, String>,
}

/// When to look again at what the registry serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recheck {
    /// How often to compare the pinned digests with the registry, between 1m and 720h.
    #[serde(default = "recheck_interval")]
    #[schemars(schema_with = "schema_text::interval")]
    #[x_kube(validation = Rule::new(interval_within("1m", "720h")).message("check the registry at most every 1m and at least every 720h"))]
    pub interval: Interval,
}

fn recheck_interval() -> Interval {
    Interval::from_hours(1)
}

impl Default for Recheck {
    fn default() -> Self {
        Self { interval: recheck_interval() }
    }
}

/// The Job that asks an operator image itself, under an account without any rights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct InspectionRules {
    /// Whether such Jobs may run at all; otherwise an unknown version is reported and nothing is guessed.
    #[serde(default = "enabled")]
    pub enabled: bool,
    /// Namespace of the Jobs, used for nothing else.
    #[serde(default = "inspection_namespace")]
    #[schemars(schema_with = "schema_text::namespace")]
    pub namespace: String,
    /// Runs the Jobs in the node's network, for clusters whose pod network isn't up yet. The namespace must then admit
    /// privileged pods.
    #[serde(default)]
    pub host_network: bool,
    /// Secrets in that namespace with credentials for the operator's image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub image_pull_secrets: Vec<ObjectName>,
    /// Labels of the nodes that the Jobs may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema_text::node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the Jobs tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
}

fn enabled() -> bool {
    true
}

fn inspection_namespace() -> String {
    "imageset-inspection".to_owned()
}

impl Default for InspectionRules {
    fn default() -> Self {
        Self {
            enabled: enabled(),
            namespace: inspection_namespace(),
            host_network: false,
            image_pull_secrets: Vec::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
        }
    }
}
