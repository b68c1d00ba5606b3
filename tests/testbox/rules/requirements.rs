//! Which images an operator requires, given the objects in the cluster (tables of `operator-behaviour.md`).

use std::collections::BTreeSet;

use super::eras::Era;
use super::{OperatorRules, Variant};

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
}

impl Features {
    /// Only an Installation.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything there is.
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
        }
    }
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
}

impl Component {
    /// All of them, in the order in which refusals are reported.
    pub const ALL: [Self; 8] = [
        Self::Calico,
        Self::ApiServer,
        Self::Goldmane,
        Self::Whisker,
        Self::GatewayApi,
        Self::Istio,
        Self::ManagementClusterConnection,
        Self::Windows,
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

    /// The rendered parts of a controller, each with the images it resolves, in the order in which it complains. Only names
    /// that the release lists: a controller that a release does not have asks for nothing.
    pub fn rendered(&self, component: Component, variant: Variant, features: Features) -> Vec<Vec<String>> {
        let parts: Vec<Vec<&str>> = match (variant, component) {
            (Variant::Calico, Component::Calico) => {
                let mut parts = vec![
                    vec!["calico/typha"],
                    vec!["calico/pod2daemon-flexvol", "calico/cni", "calico/node"],
                    // Insisted on at v1.25.7 and v1.30.4 on Linux-only clusters; listed from v1.23.0 to v1.31.x.
                    vec!["calico/windows-upgrade"],
                    vec!["calico/kube-controllers"],
                    // Listed from v1.28.0, insisted on at v1.30.4.
                    vec!["calico/csi", "calico/node-driver-registrar"],
                ];
                if features.certificate_management {
                    parts.push(vec!["tigera/key-cert-provisioner"]);
                }
                parts
            }
            (Variant::Calico, Component::ApiServer) if features.api_server => vec![vec!["calico/apiserver"]],
            (Variant::Calico, Component::Goldmane) if features.goldmane => vec![vec!["calico/goldmane"]],
            (Variant::Calico, Component::Whisker) if features.whisker => {
                vec![vec!["calico/whisker", "calico/whisker-backend"]]
            }
            (Variant::Calico, Component::GatewayApi) if features.gateway_api => {
                vec![vec!["calico/envoy-gateway", "calico/envoy-proxy", "calico/envoy-ratelimit"]]
            }
            (Variant::Calico, Component::Istio) if features.istio => vec![vec![
                "calico/istio-pilot",
                "calico/istio-install-cni",
                "calico/istio-ztunnel",
                "calico/istio-proxyv2",
            ]],
            (Variant::Calico, Component::ManagementClusterConnection) if features.management_cluster_connection => {
                vec![vec!["calico/guardian"]]
            }
            (Variant::Calico, Component::Windows) if features.windows_hns => {
                vec![vec!["calico/node-windows", "calico/cni-windows"]]
            }
            // Enterprise operators were not observed: only what every Enterprise cluster runs, under either of its names.
            (Variant::Enterprise, Component::Calico) => vec![
                vec!["tigera/typha"],
                vec!["tigera/cni", "tigera/cnx-node", "tigera/node"],
                vec!["tigera/kube-controllers"],
            ],
            _ => vec![],
        };
        parts
            .into_iter()
            .map(|part| {
                part.into_iter().filter(|name| self.lists(variant, name)).map(str::to_owned).collect::<Vec<_>>()
            })
            .filter(|part| !part.is_empty())
            .collect()
    }

    /// The image that the Tigera CA needs from v1.34 on, also without certificate management.
    pub fn authority_image(&self, variant: Variant) -> Option<&'static str> {
        (variant == Variant::Calico && Era::of(self.version).makes_authority_first())
            .then_some("calico/key-cert-provisioner")
    }

    /// Every name that must be in the set.
    pub fn required_names(&self, variant: Variant, features: Features) -> BTreeSet<String> {
        self.active_components(variant, features)
            .into_iter()
            .flat_map(|component| self.rendered(component, variant, features))
            .flatten()
            .chain(self.authority_image(variant).map(str::to_owned))
            .collect()
    }
}
