//! Causes that have nothing to do with images, by the words of the operator, the API server and kubelets.

use crate::model::Reason;

/// Phrases by cause, in lower case. The first match counts: what refuses a request is more specific than the object that is missing for it.
pub(crate) const PHRASES: [(Reason, &[&str]); 9] = [
    (
        Reason::ComponentKindsMissing,
        &[
            "no matches for kind",
            "ensure crds are installed first",
            "doesn't have a resource type",
            "could not find the requested resource",
            "no kind is registered for",
            "failed to get api group resources",
            "custom resource definitions",
            "customresourcedefinitions",
        ],
    ),
    (
        Reason::OperatorForbidden,
        &[
            "cannot get resource",
            "cannot list resource",
            "cannot watch resource",
            "cannot create resource",
            "cannot update resource",
            "cannot patch resource",
            "cannot delete resource",
            "attempting to grant rbac permissions",
            "forbidden: user",
        ],
    ),
    (
        Reason::AdmissionRefused,
        &[
            "admission webhook",
            "failed calling webhook",
            "failed to call webhook",
            "denied the request",
            "denied request",
            "violates podsecurity",
            "exceeded quota",
            "is forbidden: ",
        ],
    ),
    (
        Reason::InstallationInvalid,
        &[
            "invalidconfigurationerror",
            "invalid installation provided",
            "invalid computed config",
            "invalid value",
            "required value",
            "unsupported value",
            "must be specified",
            "is not supported",
            "not supported in combination",
            "could not resolve caliconetwork",
            "kubernetes provider",
            "error validating",
            "failed to validate",
        ],
    ),
    (
        Reason::DatastoreUnavailable,
        &[
            "connection is unauthorized",
            "clusterinformation",
            "datastore",
            "etcdserver",
            "deadline exceeded",
            "dial tcp",
            "connection refused",
            "connection reset",
            "i/o timeout",
            "timed out",
            "no route to host",
            "no such host",
            "leader changed",
            "apiserver not ready",
            "server is currently unable to handle the request",
            "server was unable to return a response",
            "asked for the client to provide credentials",
            "service unavailable",
            "client rate limiter",
            "calico api server is unavailable",
        ],
    ),
    (
        Reason::ClusterCertificateInvalid,
        &[
            "x509: ",
            "certificate",
            "tls: ",
            "tigera ca",
            "create ca",
            "load ca",
            "trusted bundle",
            "trust bundle",
            "key pair",
            "tls secret",
            "typha/felix secrets",
        ],
    ),
    (
        Reason::PodsCrashing,
        &[
            "crash looping container",
            "crashloopbackoff",
            "has terminated container",
            "restarting failed container",
            "oomkilled",
            "liveness probe",
            "readiness probe",
            "startup probe",
            "is running but not ready",
            "has failed",
            "some pods are failing",
            "podfailure",
            "createcontainerconfigerror",
            "createcontainererror",
            "runcontainererror",
        ],
    ),
    (
        Reason::PodsPending,
        &[
            "is pending",
            "failedscheduling",
            "nodes are available",
            "unschedulable",
            "containercreating",
            "podinitializing",
            "failedmount",
            "failed to create pod sandbox",
        ],
    ),
    (
        Reason::OperatorWaiting,
        &[
            "waiting for",
            "resourcenotready",
            "installation not found",
            "license not found",
            "not found, waiting",
            "is not ready",
            "not available yet",
            "not yet available",
            "object has been modified",
            "\" not found",
        ],
    ),
];

/// API groups of Kubernetes itself. A kind that is missing there is of a version that this Kubernetes no longer has.
const KUBERNETES_GROUPS: [&str; 18] = [
    "policy",
    "extensions",
    "apps",
    "batch",
    "autoscaling",
    "rbac.authorization.k8s.io",
    "networking.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "admissionregistration.k8s.io",
    "certificates.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "node.k8s.io",
    "events.k8s.io",
];

/// Returns the cause of a message; `None` if its words name none.
#[must_use]
pub(crate) fn classify(text: &str) -> Option<Reason> {
    let words = text.to_ascii_lowercase();
    let has = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    match PHRASES.iter().find(|(_, phrases)| has(phrases))?.0 {
        Reason::ComponentKindsMissing if names_kubernetes_group(&words) => Some(Reason::KubernetesApiGone),
        cause => Some(cause),
    }
}

/// Returns the cause of what is said beside a message about an image: the datastore's own words, and no others.
#[must_use]
pub(crate) fn beside_images(text: &str) -> Option<Reason> {
    let words = text.to_ascii_lowercase();
    ["connection is unauthorized", "clusterinformation", "datastore"]
        .iter()
        .any(|phrase| words.contains(phrase))
        .then_some(Reason::DatastoreUnavailable)
}

/// Whether a message about missing kinds names kinds of the operator itself.
#[must_use]
pub(crate) fn names_operator_kind(text: &str) -> bool {
    let words = text.to_ascii_lowercase().replace(['"', '\'', '\\'], "");
    ["operator.tigera.io", "kind installation", "kind imageset", "kind apiserver", "tigerastatus"]
        .iter()
        .any(|phrase| words.contains(phrase))
}

/// Whether a message names the version of a Kubernetes API, such as `in version "policy/v1beta1"`.
fn names_kubernetes_group(words: &str) -> bool {
    let versions = words.split("in version").skip(1);
    versions.into_iter().any(|rest| {
        let group = rest.trim_start_matches([' ', '"', '\\', '\'']).split('/').next().unwrap_or_default();
        KUBERNETES_GROUPS.contains(&group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_without_images_are_distinguished_by_kind() {
        for (text, cause) in [
            (r#"no matches for kind "Installation" in version "operator.tigera.io/v1""#, Reason::ComponentKindsMissing),
            ("error: the server doesn't have a resource type \"tigerastatus\"", Reason::ComponentKindsMissing),
            (r#"no matches for kind "PodSecurityPolicy" in version "policy/v1beta1""#, Reason::KubernetesApiGone),
            (
                r#"no matches for kind "Gateway" in version "gateway.networking.k8s.io/v1""#,
                Reason::ComponentKindsMissing,
            ),
            (
                r#"tiers.projectcalico.org is forbidden: User "system:serviceaccount:tigera-operator:tigera-operator" cannot list resource "tiers""#,
                Reason::OperatorForbidden,
            ),
            (r#"admission webhook "validate.kyverno.svc-fail" denied the request: no"#, Reason::AdmissionRefused),
            (
                r#"pods "calico-node-x" is forbidden: violates PodSecurity "restricted:latest": privileged"#,
                Reason::AdmissionRefused,
            ),
            (
                "Invalid Installation provided: installation spec.FIPSMode=Enabled is not supported",
                Reason::InstallationInvalid,
            ),
            ("Failed to get: tls: failed to verify certificate: x509: expired", Reason::ClusterCertificateInvalid),
            (
                "error getting ClusterInformation: connection is unauthorized: Unauthorized",
                Reason::DatastoreUnavailable,
            ),
            ("Get \"https://10.96.0.1:443/api\": dial tcp 10.96.0.1:443: i/o timeout", Reason::DatastoreUnavailable),
            ("Pod calico-system/calico-node-x has crash looping container: calico-node", Reason::PodsCrashing),
            ("0/3 nodes are available: 3 node(s) had untolerated taint", Reason::PodsPending),
            ("Waiting for Calico API server to be ready", Reason::OperatorWaiting),
            ("secrets \"tigera-pull-secret\" not found", Reason::OperatorWaiting),
        ] {
            assert_eq!(classify(text), Some(cause), "{text}");
        }
        assert_eq!(classify("the sky is blue"), None);
        assert_eq!(classify("All objects available"), None);
    }
}
