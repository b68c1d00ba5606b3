//! What objects of the cluster say about features: which kinds have objects, on what OpenShift runs, and which definitions of Calico are
//! installed. The Installation and the operator's environment add the rest.

use std::collections::BTreeSet;

use crate::api::operator::{FeatureKind, InstallationSpec};
use crate::model::Feature;

/// The features that depend on the existence of an object, and its kind. A release without one of these CRDs does not have the
/// feature.
pub const FEATURES: [(Feature, FeatureKind); 18] = [
    (Feature::ApiServer, FeatureKind { kind: "APIServer", plural: "apiservers" }),
    (Feature::Goldmane, FeatureKind { kind: "Goldmane", plural: "goldmanes" }),
    (Feature::Whisker, FeatureKind { kind: "Whisker", plural: "whiskers" }),
    (Feature::GatewayApi, FeatureKind { kind: "GatewayAPI", plural: "gatewayapis" }),
    (Feature::Istio, FeatureKind { kind: "Istio", plural: "istios" }),
    (
        Feature::ManagementClusterConnection,
        FeatureKind { kind: "ManagementClusterConnection", plural: "managementclusterconnections" },
    ),
    (
        Feature::AmazonCloudIntegration,
        FeatureKind { kind: "AmazonCloudIntegration", plural: "amazoncloudintegrations" },
    ),
    (Feature::ApplicationLayer, FeatureKind { kind: "ApplicationLayer", plural: "applicationlayers" }),
    (Feature::Authentication, FeatureKind { kind: "Authentication", plural: "authentications" }),
    (Feature::Compliance, FeatureKind { kind: "Compliance", plural: "compliances" }),
    (Feature::EgressGateway, FeatureKind { kind: "EgressGateway", plural: "egressgateways" }),
    (Feature::IntrusionDetection, FeatureKind { kind: "IntrusionDetection", plural: "intrusiondetections" }),
    (Feature::LogCollector, FeatureKind { kind: "LogCollector", plural: "logcollectors" }),
    (Feature::LogStorage, FeatureKind { kind: "LogStorage", plural: "logstorages" }),
    (Feature::Manager, FeatureKind { kind: "Manager", plural: "managers" }),
    (Feature::Monitor, FeatureKind { kind: "Monitor", plural: "monitors" }),
    (Feature::PacketCaptureApi, FeatureKind { kind: "PacketCaptureAPI", plural: "packetcaptureapis" }),
    (Feature::PolicyRecommendation, FeatureKind { kind: "PolicyRecommendation", plural: "policyrecommendations" }),
];

/// Definitions by which the operator sees on which API it runs: the first group is of the datastore before v3 definitions, the second of
/// native v3 definitions, which an aggregated API server serves without them (operator: `UseV3CRDS`).
pub const DEFINITIONS: [&str; 2] =
    ["felixconfigurations.crd.projectcalico.org", "felixconfigurations.projectcalico.org"];

/// The kinds by which the operator takes a cluster for one of Enterprise, as far as they are watched.
const ENTERPRISE_DEFINITIONS: [Feature; 7] = [
    Feature::LogCollector,
    Feature::LogStorage,
    Feature::Compliance,
    Feature::IntrusionDetection,
    Feature::ApplicationLayer,
    Feature::Monitor,
    Feature::EgressGateway,
];

/// What is there of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The kind is not installed.
    KindMissing,
    /// No object exists.
    NoObject,
    /// At least one object exists.
    Exists,
}

/// Returns the features that objects show. `kinds` is in the order of [`FEATURES`], `definitions` in that of [`DEFINITIONS`].
pub fn observed(kinds: &[Presence], infrastructure_is_aws: bool, definitions: [bool; 2]) -> BTreeSet<Feature> {
    let pairs = || FEATURES.into_iter().map(|(feature, _)| feature).zip(kinds);
    let mut features: BTreeSet<Feature> =
        pairs().filter(|(_, presence)| **presence == Presence::Exists).map(|(feature, _)| feature).collect();
    let is_enterprise = |(feature, presence): (Feature, &Presence)| {
        ENTERPRISE_DEFINITIONS.contains(&feature) && *presence != Presence::KindMissing
    };
    if pairs().any(is_enterprise) {
        features.insert(Feature::EnterpriseDefinitions);
    }
    if infrastructure_is_aws {
        features.insert(Feature::OpenShiftOnAws);
    }
    features.extend(match definitions {
        [true, _] => None,
        [false, true] => Some(Feature::NativeDefinitions),
        [false, false] => Some(Feature::NativeDefinitionsUnclear),
    });
    features
}

/// Returns the features with what the Installation, if there is one, and the operator's environment say.
///
/// A provider that the Installation names is the one that counts; without one the operator detects OpenShift by the objects that it has.
/// `CALICO_API_GROUP` overrides what definitions show.
pub fn with_settings(
    mut features: BTreeSet<Feature>,
    installation: Option<&InstallationSpec>,
    api_group: Option<&str>,
) -> BTreeSet<Feature> {
    if let Some(spec) = installation {
        let network = spec.calico_network.as_ref();
        if network.and_then(|network| network.windows_dataplane.as_deref()) == Some("HNS") {
            features.insert(Feature::WindowsHns);
        }
        if spec.certificate_management.is_some() {
            features.insert(Feature::CertificateManagement);
        }
        let cni = spec.cni.clone().unwrap_or_default();
        let is =
            |text: &Option<String>, other: &str| text.as_deref().is_none_or(|text| text == other || text.is_empty());
        if is(&cni.r#type, "Calico") && cni.install_mode.as_deref() != Some("CalicoOnly") {
            features.insert(Feature::CniPlugins);
        }
        if !is(&spec.kubernetes_provider, "OpenShift") {
            features.remove(&Feature::OpenShiftOnAws);
        }
    }
    if let Some(group) = api_group.filter(|group| !group.is_empty()) {
        features.remove(&Feature::NativeDefinitions);
        features.remove(&Feature::NativeDefinitionsUnclear);
        if group == "projectcalico.org/v3" {
            features.insert(Feature::NativeDefinitions);
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operator::{CertificateManagement, Cni};

    fn set(features: &[Feature]) -> BTreeSet<Feature> {
        features.iter().copied().collect()
    }

    #[test]
    fn objects_show_features_and_installed_kinds_show_enterprise() {
        let mut kinds = [Presence::KindMissing; FEATURES.len()];
        assert_eq!(observed(&kinds, false, [true, false]), set(&[]));
        kinds[0] = Presence::Exists;
        kinds[12] = Presence::NoObject;
        assert_eq!(
            observed(&kinds, true, [true, true]),
            set(&[Feature::ApiServer, Feature::OpenShiftOnAws, Feature::EnterpriseDefinitions])
        );
        assert_eq!(observed(&[], false, [false, true]), set(&[Feature::NativeDefinitions]));
        assert_eq!(observed(&[], false, [false, false]), set(&[Feature::NativeDefinitionsUnclear]));
    }

    #[test]
    fn the_installation_names_the_provider_and_the_environment_the_definitions() {
        let aws = || set(&[Feature::OpenShiftOnAws]);
        let spec = |provider: &str| InstallationSpec {
            kubernetes_provider: Some(provider.to_owned()),
            cni: Some(Cni { r#type: Some("AmazonVPC".to_owned()), ..Cni::default() }),
            ..InstallationSpec::default()
        };
        assert_eq!(with_settings(aws(), None, None), aws(), "detected");
        assert_eq!(with_settings(aws(), Some(&spec("")), None), aws());
        assert_eq!(with_settings(aws(), Some(&spec("OpenShift")), None), aws());
        assert_eq!(with_settings(aws(), Some(&spec("EKS")), None), set(&[]));
        let certificates =
            InstallationSpec { certificate_management: Some(CertificateManagement::default()), ..spec("") };
        assert_eq!(with_settings(set(&[]), Some(&certificates), None), set(&[Feature::CertificateManagement]));
        assert_eq!(
            with_settings(set(&[]), Some(&InstallationSpec::default()), Some("projectcalico.org/v3")),
            set(&[Feature::CniPlugins, Feature::NativeDefinitions])
        );
        assert_eq!(with_settings(set(&[Feature::NativeDefinitions]), None, Some("crd.projectcalico.org/v1")), set(&[]));
    }
}
