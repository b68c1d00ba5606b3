//! Small CRDs of the operator's API group (`operator.tigera.io/v1`), as far as the domain notes know them, and their
//! installation into a control plane.

use anyhow::Result;
use futures::future::try_join_all;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;

use super::apply_yaml;

/// A kind of the operator's API group. All are cluster-scoped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The digests of one Calico release.
    ImageSet,
    /// What to install.
    Installation,
    /// How one controller of the operator fares.
    TigeraStatus,
    /// Makes `calico/apiserver` required.
    ApiServer,
    /// Makes `calico/goldmane` required.
    Goldmane,
    /// Makes `calico/whisker` and its backend required.
    Whisker,
    /// Makes the envoy images required.
    GatewayApi,
    /// Makes the istio images required.
    Istio,
    /// Makes `calico/guardian` required.
    ManagementClusterConnection,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ImageSet,
        Self::Installation,
        Self::TigeraStatus,
        Self::ApiServer,
        Self::Goldmane,
        Self::Whisker,
        Self::GatewayApi,
        Self::Istio,
        Self::ManagementClusterConnection,
    ];

    /// The CRD's text.
    pub fn yaml(self) -> &'static str {
        match self {
            Self::ImageSet => include_str!("crds/imagesets.yaml"),
            Self::Installation => include_str!("crds/installations.yaml"),
            Self::TigeraStatus => include_str!("crds/tigerastatuses.yaml"),
            Self::ApiServer => include_str!("crds/apiservers.yaml"),
            Self::Goldmane => include_str!("crds/goldmanes.yaml"),
            Self::Whisker => include_str!("crds/whiskers.yaml"),
            Self::GatewayApi => include_str!("crds/gatewayapis.yaml"),
            Self::Istio => include_str!("crds/istios.yaml"),
            Self::ManagementClusterConnection => include_str!("crds/managementclusterconnections.yaml"),
        }
    }

    /// `kind` and plural.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::ImageSet => ("ImageSet", "imagesets"),
            Self::Installation => ("Installation", "installations"),
            Self::TigeraStatus => ("TigeraStatus", "tigerastatuses"),
            Self::ApiServer => ("APIServer", "apiservers"),
            Self::Goldmane => ("Goldmane", "goldmanes"),
            Self::Whisker => ("Whisker", "whiskers"),
            Self::GatewayApi => ("GatewayAPI", "gatewayapis"),
            Self::Istio => ("Istio", "istios"),
            Self::ManagementClusterConnection => ("ManagementClusterConnection", "managementclusterconnections"),
        }
    }

    /// For the dynamic API.
    pub fn resource(self) -> ApiResource {
        let (kind, plural) = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("operator.tigera.io", "v1", kind), plural)
    }

    /// The dynamic API of this kind.
    pub fn api(self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    /// A new object of this kind.
    pub fn object(self, name: &str, spec: serde_json::Value) -> DynamicObject {
        let mut object = DynamicObject::new(name, &self.resource());
        object.data = serde_json::json!({ "spec": spec });
        object
    }
}

/// Installs all CRDs and waits until their objects can be listed.
///
/// # Errors
/// The API server refuses one, or does not serve it.
pub async fn install(client: &Client) -> Result<()> {
    install_only(client, &Kind::ALL).await
}

/// Installs some CRDs and waits until their objects can be listed.
///
/// # Errors
/// As [`install`].
pub async fn install_only(client: &Client, kinds: &[Kind]) -> Result<()> {
    try_join_all(kinds.iter().map(|kind| apply_yaml(client.clone(), kind.yaml()))).await?;
    Ok(())
}
