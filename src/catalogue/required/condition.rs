//! The conditions under which an operator requires an image, by the identifiers of the data file.

use std::collections::BTreeSet;

use crate::model::Feature;

macro_rules! conditions {
    ($($name:ident, $id:literal, $label:literal, $holds:expr;)*) => {
        /// A condition under which an operator requires images, or under which no ImageSet is possible.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum RuleCondition {
            $(#[doc = $label] $name,)*
        }

        impl RuleCondition {
            /// Every condition, in the order of the identifiers.
            pub const ALL: [Self; [$($id),*].len()] = [$(Self::$name),*];

            /// Returns the identifier in the data file.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$name => $id,)* }
            }

            /// Returns the objects and settings in the operator's terms, for messages.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// Whether the condition holds in a cluster with these features. A part that no feature shows counts as given: a name
            /// too many holds a set back, a missing one stops the operator.
            #[must_use]
            pub fn holds(self, features: &BTreeSet<Feature>) -> bool {
                let has = |feature: Feature| features.contains(&feature);
                match self { $(Self::$name => $holds(&has),)* }
            }
        }
    };
}

/// Whether the cluster has a feature.
type Has<'a> = &'a dyn Fn(Feature) -> bool;

/// Returns a condition that is one object or setting.
macro_rules! exists {
    ($feature:ident) => {
        |has: Has<'_>| has(Feature::$feature)
    };
}

conditions! {
    Always, "always", "any Installation", |_: Has<'_>| true;
    AmazonCloudIntegration, "amazoncloudintegration", "AmazonCloudIntegration", exists!(AmazonCloudIntegration);
    ApiServer, "apiserver", "APIServer", exists!(ApiServer);
    ApiServerAggregated, "apiserver-aggregated", "APIServer", |has: Has<'_>| {
        has(Feature::ApiServer) && (!has(Feature::NativeDefinitions) || has(Feature::NativeDefinitionsUnclear))
    };
    // Not in multi-tenant management clusters, which no feature shows.
    ApiServerPacketCapture, "apiserver-packetcapture", "APIServer", exists!(ApiServer);
    ApiServerSidecar, "apiserver-sidecar", "APIServer and ApplicationLayer", |has: Has<'_>| {
        has(Feature::ApiServer) && has(Feature::ApplicationLayer)
    };
    ApplicationLayer, "applicationlayer", "ApplicationLayer", exists!(ApplicationLayer);
    Authentication, "authentication", "Authentication", exists!(Authentication);
    CertificateManagement, "certificateManagement", "certificateManagement", exists!(CertificateManagement);
    CniCalico, "cni-calico", "the Calico CNI", exists!(CniPlugins);
    Compliance, "compliance", "Compliance", exists!(Compliance);
    EgressGateway, "egressgateway", "EgressGateway", exists!(EgressGateway);
    // A setting of the Installation, not a feature: see `OperatorImages::no_set`.
    Fips, "fips", "fipsMode", |_: Has<'_>| false;
    GatewayApi, "gatewayapi", "GatewayAPI", exists!(GatewayApi);
    Goldmane, "goldmane", "Goldmane", exists!(Goldmane);
    IntrusionDetection, "intrusiondetection", "IntrusionDetection", exists!(IntrusionDetection);
    IntrusionDetectionSingleTenant, "intrusiondetection-single-tenant", "IntrusionDetection", exists!(IntrusionDetection);
    IntrusionDetectionUnmanaged, "intrusiondetection-unmanaged", "IntrusionDetection", |has: Has<'_>| {
        has(Feature::IntrusionDetection) && !has(Feature::ManagementClusterConnection)
    };
    Istio, "istio", "Istio", exists!(Istio);
    IstioEnterprise, "istio-enterprise", "Istio", |has: Has<'_>| {
        has(Feature::Istio) && has(Feature::EnterpriseDefinitions)
    };
    LogCollector, "logcollector", "LogCollector", exists!(LogCollector);
    LogCollectorWindows, "logcollector-windows", "LogCollector with Windows nodes", |has: Has<'_>| {
        has(Feature::LogCollector) && has(Feature::WindowsNodes)
    };
    LogStorage, "logstorage", "LogStorage", owns_log_storage;
    LogStorageElastic, "logstorage-elastic", "LogStorage", owns_log_storage;
    LogStorageOrManaged, "logstorage-or-managed", "LogStorage or ManagementClusterConnection", |has: Has<'_>| {
        has(Feature::LogStorage) || has(Feature::ManagementClusterConnection)
    };
    LogStorageSingleTenant, "logstorage-single-tenant", "LogStorage", owns_log_storage;
    ManagementClusterConnection, "managementclusterconnection", "ManagementClusterConnection", exists!(ManagementClusterConnection);
    Manager, "manager", "Manager", exists!(Manager);
    Monitor, "monitor", "Monitor", exists!(Monitor);
    NativeDefinitions, "native-v3-crds", "APIServer with native v3 definitions", |has: Has<'_>| {
        has(Feature::ApiServer) && (has(Feature::NativeDefinitions) || has(Feature::NativeDefinitionsUnclear))
    };
    OpenShiftOnAws, "openshift-aws", "OpenShift on AWS", exists!(OpenShiftOnAws);
    PacketCaptureApi, "packetcaptureapi", "PacketCaptureAPI", exists!(PacketCaptureApi);
    PolicyRecommendation, "policyrecommendation", "PolicyRecommendation", exists!(PolicyRecommendation);
    Whisker, "whisker", "Whisker and Goldmane", |has: Has<'_>| has(Feature::Whisker) && has(Feature::Goldmane);
    Windows, "windows", "windowsDataplane HNS", exists!(WindowsHns);
}

/// Whether the cluster stores logs itself, and not in a management cluster.
fn owns_log_storage(has: Has<'_>) -> bool {
    has(Feature::LogStorage) && !has(Feature::ManagementClusterConnection)
}

impl RuleCondition {
    /// Returns the condition with this identifier.
    #[must_use]
    pub fn of_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.id() == id)
    }
}
