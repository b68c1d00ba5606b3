//! Objects and settings of the cluster that make the operator require further images.

use serde::{Deserialize, Serialize};

macro_rules! features {
    ($($name:ident, $kind:literal, $label:literal, $meaning:literal;)*) => {
        /// An object, or a setting of the cluster, that makes the operator render a further component.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Feature {
            $(#[doc = $meaning] $name,)*
        }

        impl Feature {
            /// Every feature: objects of Calico, settings of the cluster, then objects of Enterprise.
            pub const ALL: [Self; [$($kind),*].len()] = [$(Self::$name),*];

            /// Returns the feature as one word without spaces: the kind of the object, where it is one.
            #[must_use]
            pub const fn kind(self) -> &'static str {
                match self { $(Self::$name => $kind,)* }
            }

            /// Returns the object or setting in the operator's terms, for messages.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

features! {
    ApiServer, "APIServer", "APIServer", "An `APIServer` exists.";
    Goldmane, "Goldmane", "Goldmane", "A `Goldmane` exists.";
    Whisker, "Whisker", "Whisker", "A `Whisker` exists.";
    GatewayApi, "GatewayAPI", "GatewayAPI", "A `GatewayAPI` exists.";
    Istio, "Istio", "Istio", "An `Istio` exists.";
    ManagementClusterConnection, "ManagementClusterConnection", "ManagementClusterConnection", "A `ManagementClusterConnection` exists.";
    WindowsHns, "WindowsHNS", "windowsDataplane HNS", "The Installation's `calicoNetwork.windowsDataplane` is `HNS`.";
    CertificateManagement, "CertificateManagement", "certificateManagement", "The Installation has `certificateManagement`.";
    CniPlugins, "CNIPlugins", "the Calico CNI", "The Installation's `cni.type` is `Calico`, with all plugins installed.";
    OpenShiftOnAws, "OpenShiftOnAWS", "OpenShift on AWS", "The provider is OpenShift, and its infrastructure is AWS.";
    NativeDefinitions, "NativeV3Definitions", "native v3 definitions", "The operator runs on native `projectcalico.org` definitions (v1.42 and later).";
    NativeDefinitionsUnclear, "NativeV3DefinitionsUnclear", "either v3 definitions", "It is not known which definitions the operator runs on: it may require the images of both.";
    WindowsNodes, "WindowsNodes", "Windows nodes", "The cluster has Windows nodes.";
    EnterpriseDefinitions, "EnterpriseDefinitions", "Enterprise definitions", "A definition of an Enterprise kind is installed.";
    AmazonCloudIntegration, "AmazonCloudIntegration", "AmazonCloudIntegration", "An `AmazonCloudIntegration` exists.";
    ApplicationLayer, "ApplicationLayer", "ApplicationLayer", "An `ApplicationLayer` exists.";
    Authentication, "Authentication", "Authentication", "An `Authentication` exists.";
    Compliance, "Compliance", "Compliance", "A `Compliance` exists.";
    EgressGateway, "EgressGateway", "EgressGateway", "An `EgressGateway` exists, in any namespace.";
    IntrusionDetection, "IntrusionDetection", "IntrusionDetection", "An `IntrusionDetection` exists.";
    LogCollector, "LogCollector", "LogCollector", "A `LogCollector` exists.";
    LogStorage, "LogStorage", "LogStorage", "A `LogStorage` exists.";
    Manager, "Manager", "Manager", "A `Manager` exists.";
    Monitor, "Monitor", "Monitor", "A `Monitor` exists.";
    PacketCaptureApi, "PacketCaptureAPI", "PacketCaptureAPI", "A `PacketCaptureAPI` exists.";
    PolicyRecommendation, "PolicyRecommendation", "PolicyRecommendation", "A `PolicyRecommendation` exists.";
}
