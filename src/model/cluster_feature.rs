//! Objects of the cluster that make the operator require further images.

use serde::{Deserialize, Serialize};

/// An object, or a setting of the Installation, that makes the operator render a further component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Feature {
    /// An `APIServer` exists.
    ApiServer,
    /// A `Goldmane` exists.
    Goldmane,
    /// A `Whisker` exists.
    Whisker,
    /// A `GatewayAPI` exists.
    GatewayApi,
    /// An `Istio` exists.
    Istio,
    /// A `ManagementClusterConnection` exists.
    ManagementClusterConnection,
    /// The Installation's `calicoNetwork.windowsDataplane` is `HNS`.
    WindowsHns,
}

impl Feature {
    /// Every feature, in the order of the operator's documentation.
    pub const ALL: [Self; 7] = [
        Self::ApiServer,
        Self::Goldmane,
        Self::Whisker,
        Self::GatewayApi,
        Self::Istio,
        Self::ManagementClusterConnection,
        Self::WindowsHns,
    ];

    /// Returns the object or setting in the operator's terms, for messages.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ApiServer => "APIServer",
            Self::Goldmane => "Goldmane",
            Self::Whisker => "Whisker",
            Self::GatewayApi => "GatewayAPI",
            Self::Istio => "Istio",
            Self::ManagementClusterConnection => "ManagementClusterConnection",
            Self::WindowsHns => "windowsDataplane HNS",
        }
    }

    /// Returns the feature as one word without spaces.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::WindowsHns => "WindowsHNS",
            other => other.label(),
        }
    }

    /// Returns the images that operators of the known releases require because of this feature only.
    #[must_use]
    pub const fn images(self) -> &'static [&'static str] {
        match self {
            Self::ApiServer => &["calico/apiserver"],
            Self::Goldmane => &["calico/goldmane"],
            Self::Whisker => &["calico/whisker", "calico/whisker-backend"],
            Self::GatewayApi => &["calico/envoy-gateway", "calico/envoy-proxy", "calico/envoy-ratelimit"],
            Self::Istio => {
                &["calico/istio-pilot", "calico/istio-install-cni", "calico/istio-ztunnel", "calico/istio-proxyv2"]
            }
            Self::ManagementClusterConnection => &["calico/guardian"],
            // Not `calico/windows-upgrade` (v1.23 to v1.31): those releases also require it without Windows.
            Self::WindowsHns => &["calico/node-windows", "calico/cni-windows"],
        }
    }
}
