//! Which images an operator requires, given the objects in the cluster (`tests/facts/required-images.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::Deserialize;

use super::eras::Era;
use super::{OperatorRules, Variant, Version};

/// The objects that make images required, beside the Installation itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// An `APIServer` exists.
    pub api_server: bool,
    /// A `Goldmane` exists.
    pub goldmane: bool,
    /// A `Whisker` exists.
    pub whisker: bool,
    /// A `GatewayAPI` exists.
    pub gateway_api: bool,
    /// An `Istio` exists.
    pub istio: bool,
    /// A `ManagementClusterConnection` exists.
    pub management_cluster_connection: bool,
    /// `spec.calicoNetwork.windowsDataplane` is `HNS`.
    pub windows_hns: bool,
    /// `spec.certificateManagement` is set.
    pub certificate_management: bool,
    /// The operator runs on native v3 definitions.
    pub native_v3: bool,
    /// The provider is OpenShift, and its infrastructure is AWS.
    pub openshift_aws: bool,
    /// `spec.fipsMode` is `Enabled`.
    pub fips: bool,
    /// `spec.cni` is another than all plugins of Calico.
    pub other_cni: bool,
    /// A definition of an Enterprise kind is installed.
    pub enterprise_definitions: bool,
    /// A node runs Windows.
    pub windows_nodes: bool,
    /// Objects of Enterprise.
    pub enterprise: EnterpriseObjects,
}

/// The kinds of Enterprise, each with the TigeraStatus of its controller.
const ENTERPRISE_KINDS: [(&str, Component); 12] = [
    ("AmazonCloudIntegration", Component::CloudIntegration),
    ("ApplicationLayer", Component::ApplicationLayer),
    ("Authentication", Component::Authentication),
    ("Compliance", Component::Compliance),
    ("EgressGateway", Component::EgressGateway),
    ("IntrusionDetection", Component::IntrusionDetection),
    ("LogCollector", Component::LogCollector),
    ("LogStorage", Component::LogStorage),
    ("Manager", Component::Manager),
    ("Monitor", Component::Monitor),
    ("PacketCaptureAPI", Component::PacketCapture),
    ("PolicyRecommendation", Component::PolicyRecommendation),
];

/// Which kinds of Enterprise have an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnterpriseObjects(u16);

impl EnterpriseObjects {
    /// One more kind.
    ///
    /// # Panics
    /// No such kind.
    #[must_use]
    pub fn with(self, kind: &str) -> Self {
        let at = ENTERPRISE_KINDS.iter().position(|(known, _)| *known == kind);
        Self(self.0 | 1 << at.unwrap_or_else(|| panic!("{kind} is no kind of Enterprise")))
    }

    /// True if the kind has an object.
    pub fn has(self, kind: &str) -> bool {
        ENTERPRISE_KINDS.iter().position(|(known, _)| *known == kind).is_some_and(|at| self.0 >> at & 1 == 1)
    }
}

impl Features {
    /// Only an Installation.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every object of Calico, and every setting that an operator can run with.
    pub fn all() -> Self {
        Self {
            api_server: true,
            goldmane: true,
            whisker: true,
            gateway_api: true,
            istio: true,
            management_cluster_connection: true,
            windows_hns: true,
            certificate_management: true,
            ..Self::default()
        }
    }

    /// True if an object of this kind exists.
    fn exists(&self, kind: &str) -> bool {
        match kind {
            "APIServer" => self.api_server,
            "Goldmane" => self.goldmane,
            "Whisker" => self.whisker,
            "GatewayAPI" => self.gateway_api,
            "Istio" => self.istio,
            "ManagementClusterConnection" => self.management_cluster_connection,
            "Infrastructure.config.openshift.io" => self.openshift_aws,
            "Node with kubernetes.io" => self.windows_nodes,
            other => self.enterprise.has(other),
        }
    }

    /// True if a field says what a rule wants. Fields that nobody sets here are as in a cluster of one tenant.
    fn says(&self, field: &str) -> bool {
        match field {
            "Installation.spec.certificateManagement is set" => self.certificate_management,
            "Installation.spec.calicoNetwork.windowsDataplane = HNS" => self.windows_hns,
            "Installation.spec.kubernetesProvider = OpenShift"
            | "Infrastructure.status.platform = AWS"
            | "Infrastructure.status.platformStatus.type = AWS" => self.openshift_aws,
            "Installation.spec.cni.type = Calico" | "Installation.spec.cni.installMode != CalicoOnly" => {
                !self.other_cni
            }
            "native-v3-crds = true" => self.native_v3,
            "native-v3-crds = false" => !self.native_v3,
            "Enterprise CRDs installed" => self.enterprise_definitions,
            "Manager CRD scope = Cluster"
            | "Manager CRD scope = Cluster, or no ManagementCluster/tigera-secure"
            | "ApplicationLayer.spec.sidecarInjection = Enabled"
            | "ConfigMap operator-bootstrap-config data.ELASTIC_EXTERNAL != true" => true,
            other => panic!("tests/facts/required-images.json has a field that nobody knows: {other}"),
        }
    }
}

/// A range of releases with equal rules, as `required-images.json` has it.
#[derive(Deserialize)]
struct Published {
    releases: Vec<String>,
    variant: String,
    always: Vec<String>,
    when: Vec<Rule>,
    unsatisfiable: Vec<Rule>,
}

/// Images that are required while a condition holds.
#[derive(Deserialize)]
struct Rule {
    id: String,
    images: Vec<String>,
    #[serde(default)]
    objects: Objects,
    #[serde(default)]
    fields: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Objects {
    #[serde(default)]
    all: Vec<String>,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    none: Vec<String>,
}

impl Rule {
    fn holds(&self, features: &Features) -> bool {
        let exists = |object: &String| features.exists(object.split('/').next().unwrap_or_default());
        let Objects { all, any, none } = &self.objects;
        all.iter().all(exists)
            && (any.is_empty() || any.iter().any(exists))
            && !none.iter().any(exists)
            && self.fields.iter().all(|field| features.says(field))
    }

    /// The controller that resolves these images.
    fn component(&self) -> Component {
        match self.id.as_str() {
            "certificateManagement" | "openshift-aws" | "cni-calico" => Component::Calico,
            "apiserver" | "apiserver-packetcapture" | "apiserver-sidecar" | "native-v3-crds" => Component::ApiServer,
            "goldmane" => Component::Goldmane,
            "whisker" => Component::Whisker,
            "gatewayapi" => Component::GatewayApi,
            "istio" => Component::Istio,
            "managementclusterconnection" => Component::ManagementClusterConnection,
            "windows" => Component::Windows,
            id => {
                let id = id.split('-').next().unwrap_or_default();
                let kind = ENTERPRISE_KINDS.iter().find(|(kind, _)| kind.to_lowercase() == id);
                kind.unwrap_or_else(|| panic!("no controller is known for the rule {id}")).1
            }
        }
    }
}

fn published() -> &'static BTreeMap<(Version, Variant), Published> {
    static PUBLISHED: OnceLock<BTreeMap<(Version, Variant), Published>> = OnceLock::new();
    PUBLISHED.get_or_init(|| {
        let ranges: Vec<Published> = serde_json::from_str(include_str!("../../facts/required-images.json"))
            .expect("tests/facts/required-images.json is JSON of the shape its page describes");
        let first = |range: &Published| range.releases[0].parse().expect("releases are named vX.Y.Z");
        ranges.into_iter().map(|range| ((first(&range), Variant::from_fact(&range.variant)), range)).collect()
    })
}

/// The rules of a release: of the range that begins last before it.
fn rules_of(version: Version, variant: Variant) -> &'static Published {
    let mut before = published().iter().filter(|((from, of), _)| *of == variant && *from <= version);
    before.next_back().expect("the facts begin with the first release that knows ImageSets").1
}

/// A controller of the operator, each with a TigeraStatus of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The core controller.
    Calico,
    /// APIServer.
    ApiServer,
    /// Goldmane.
    Goldmane,
    /// Whisker.
    Whisker,
    /// GatewayAPI.
    GatewayApi,
    /// Istio.
    Istio,
    /// ManagementClusterConnection.
    ManagementClusterConnection,
    /// The Windows node images (v1.32 on; before, they are part of the core controller).
    Windows,
    /// AmazonCloudIntegration.
    CloudIntegration,
    /// ApplicationLayer.
    ApplicationLayer,
    /// Authentication.
    Authentication,
    /// Compliance.
    Compliance,
    /// EgressGateway.
    EgressGateway,
    /// IntrusionDetection.
    IntrusionDetection,
    /// LogCollector.
    LogCollector,
    /// LogStorage.
    LogStorage,
    /// Manager.
    Manager,
    /// Monitor.
    Monitor,
    /// PacketCaptureAPI.
    PacketCapture,
    /// PolicyRecommendation.
    PolicyRecommendation,
}

impl Component {
    /// All of them, in the order in which refusals are reported.
    pub const ALL: [Self; 20] = [
        Self::Calico,
        Self::ApiServer,
        Self::Goldmane,
        Self::Whisker,
        Self::GatewayApi,
        Self::Istio,
        Self::ManagementClusterConnection,
        Self::Windows,
        Self::CloudIntegration,
        Self::ApplicationLayer,
        Self::Authentication,
        Self::Compliance,
        Self::EgressGateway,
        Self::IntrusionDetection,
        Self::LogCollector,
        Self::LogStorage,
        Self::Manager,
        Self::Monitor,
        Self::PacketCapture,
        Self::PolicyRecommendation,
    ];

    /// The name of its TigeraStatus.
    pub fn tigera_status(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::ApiServer => "apiserver",
            Self::Goldmane => "goldmane",
            Self::Whisker => "whisker",
            Self::GatewayApi => "gatewayapi",
            Self::Istio => "istio",
            Self::ManagementClusterConnection => "management-cluster-connection",
            Self::Windows => "windows",
            Self::CloudIntegration => "amazon-cloud-integration",
            Self::ApplicationLayer => "applicationlayer",
            Self::Authentication => "authentication",
            Self::Compliance => "compliance",
            Self::EgressGateway => "egressgateway",
            Self::IntrusionDetection => "intrusion-detection",
            Self::LogCollector => "log-collector",
            Self::LogStorage => "log-storage",
            Self::Manager => "manager",
            Self::Monitor => "monitor",
            Self::PacketCapture => "packetcaptureapi",
            Self::PolicyRecommendation => "policy-recommendation",
        }
    }

    /// True where the Tigera CA is created before images are checked (seen for these two).
    pub fn makes_authority(self) -> bool {
        matches!(self, Self::Calico | Self::ApiServer)
    }

    /// True where ImageSets are not watched: changes are noticed at the five-minute resync only.
    pub fn notices_at_resync_only(self) -> bool {
        matches!(self, Self::GatewayApi | Self::Istio)
    }
}

/// The parts that the core controller renders, in the order in which it complains, each with its images by their last segment.
const CORE_PARTS: [&[&str]; 5] = [
    &["typha"],
    &["pod2daemon-flexvol", "cni", "node", "cnx-node"],
    &["windows-upgrade"],
    &["kube-controllers"],
    &["csi", "node-driver-registrar"],
];

/// The components of Calico that the branch of v1.44 has in one image.
const MERGED: [&str; 11] = [
    "apiserver",
    "cni",
    "csi",
    "goldmane",
    "guardian",
    "key-cert-provisioner",
    "kube-controllers",
    "node-driver-registrar",
    "pod2daemon-flexvol",
    "typha",
    "whisker-backend",
];

/// The image that a component is in where most are in one.
pub(super) fn in_merged(name: &str) -> String {
    let merged = name.strip_prefix("calico/").is_some_and(|image| MERGED.contains(&image) || image == "webhooks");
    if merged { "calico/calico".to_owned() } else { name.to_owned() }
}

/// Takes the images of the core controller apart; what no part has comes last.
fn core_parts(mut names: Vec<String>) -> Vec<Vec<String>> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let mut parts: Vec<Vec<String>> = Vec::new();
    for images in CORE_PARTS {
        let of_part = images.iter().filter_map(|image| names.iter().position(|name| last(name) == *image));
        let of_part: Vec<String> = of_part.map(|at| names[at].clone()).collect();
        names.retain(|name| !of_part.contains(name));
        parts.push(of_part);
    }
    parts.push(names);
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

impl OperatorRules {
    /// The controllers that are at work, given the objects in the cluster, and that resolve images.
    pub fn active_components(&self, variant: Variant, features: Features) -> Vec<Component> {
        Component::ALL
            .into_iter()
            .filter(|component| {
                *component == Component::Calico || !self.rendered(*component, variant, features).is_empty()
            })
            .collect()
    }

    /// The rendered parts of a controller, each with the images it resolves, in the order in which it complains.
    pub fn rendered(&self, component: Component, variant: Variant, features: Features) -> Vec<Vec<String>> {
        let names = self.resolved(component, variant, features);
        match component {
            Component::Calico => core_parts(names),
            _ if names.is_empty() => Vec::new(),
            _ => vec![names],
        }
    }

    fn resolved(&self, component: Component, variant: Variant, features: Features) -> Vec<String> {
        let rules = rules_of(self.rules_of, variant);
        let always = if component == Component::Calico { &rules.always[..] } else { &[] };
        let when = rules.when.iter().chain(&rules.unsatisfiable);
        let when = when.filter(|rule| rule.component() == component && rule.holds(&features));
        let mut names: Vec<String> = Vec::new();
        for name in always.iter().chain(when.flat_map(|rule| &rule.images)).map(|name| self.image_of(name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if self.merged && component == Component::Calico {
            names.push("calico/third-party-cni-plugins".to_owned());
        }
        names
    }

    /// The image that the Tigera CA needs from v1.34 on, also without certificate management.
    pub fn authority_image(&self, variant: Variant) -> Option<String> {
        let always = rules_of(self.rules_of, variant).always.iter();
        let mut provisioner = always.filter(|name| name.ends_with("/key-cert-provisioner"));
        provisioner.next().filter(|_| Era::of(self.version).makes_authority_first()).map(|name| self.image_of(name))
    }

    /// True if the operator of this release refuses an Installation in FIPS mode (`validation.go`), whatever sets there are.
    pub fn refuses_fips(&self, variant: Variant) -> bool {
        let Version(major, minor, patch) = self.version;
        let enterprise = match (major, minor) {
            (1, 34) => patch >= 8,
            (1, 36) => patch >= 4,
            (1, minor) => minor >= 37,
            _ => true,
        };
        self.version >= Version(1, 43, 0) || (variant == Variant::Enterprise && enterprise)
    }

    /// Every name that must be in the set.
    pub fn required_names(&self, variant: Variant, features: Features) -> BTreeSet<String> {
        self.active_components(variant, features)
            .into_iter()
            .flat_map(|component| self.rendered(component, variant, features))
            .flatten()
            .chain(self.authority_image(variant))
            .collect()
    }
}
