//! Namespaces in which the operator keeps workloads.

/// Namespaces of either variant. Up to v1.42 `tigera-gateway` has the Envoy proxies of all Gateways, from v1.43 on each Gateway's
/// own namespace has its proxies (operator: `pkg/controller/gatewayapi`).
pub const CALICO_NAMESPACES: [&str; 3] = ["calico-system", "calico-apiserver", "tigera-gateway"];

/// Namespaces of Calico Enterprise in addition (operator: the constants `…Namespace` in `pkg/render` and `pkg/common`, v1.14 to
/// v1.43). Those of tenants and of egress gateways are anybody's and not among them.
pub const ENTERPRISE_NAMESPACES: [&str; 15] = [
    "tigera-amazon-cloud-integration",
    "tigera-compliance",
    "tigera-dex",
    "tigera-dpi",
    "tigera-eck-operator",
    "tigera-elasticsearch",
    "tigera-fluentd",
    "tigera-guardian",
    "tigera-intrusion-detection",
    "tigera-kibana",
    "tigera-manager",
    "tigera-packetcapture",
    "tigera-policy-recommendation",
    "tigera-prometheus",
    "tigera-system",
];

/// Whether all that is in this namespace is the operator's.
#[must_use]
pub fn is_managed_namespace(namespace: &str) -> bool {
    CALICO_NAMESPACES.contains(&namespace) || ENTERPRISE_NAMESPACES.contains(&namespace)
}
