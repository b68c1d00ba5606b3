//! Kinds that people take for a file with the operator's image, and what to do with them.

/// Kinds without the image that are not changed, each with what to do.
const WITHOUT_IMAGE: [(&str, &str); 11] = [
    (
        "ImageSetConfiguration",
        "this is oc-mirror's list of what to mirror, and not the operator's ImageSet: its images go into mirror.additionalImages, \
         which imageset-controller images lists",
    ),
    ("ImageDigestMirrorSet", "this tells nodes of OpenShift where mirrors are, and has no image of the operator"),
    ("ImageTagMirrorSet", "this tells nodes of OpenShift where mirrors are, and has no image of the operator"),
    ("ImageContentSourcePolicy", "this tells nodes of OpenShift where mirrors are, and has no image of the operator"),
    ("ImageSet", "this is the operator's list of digests: imageset-controller verify checks it"),
    ("ClusterResourceSet", "it names the ConfigMaps and Secrets with manifests: pin those files"),
    ("Subscription", "OLM installs the ClusterServiceVersion of its catalogue: pin the image there"),
    ("CatalogSource", "OLM installs the ClusterServiceVersion of its catalogue: pin the image there"),
    ("HelmRepository", "it says where the chart is; the version of the operator is in the values of a HelmRelease"),
    ("GitRepository", "it says where the files are; pin the file there that has the operator's image"),
    ("OCIRepository", "it says where the chart is; the version of the operator is in the values of a HelmRelease"),
];

/// Returns what to do with a kind that has no image of the operator.
pub(super) fn without_image(kind: &str) -> Option<&'static str> {
    WITHOUT_IMAGE.iter().find(|(known, _)| *known == kind).map(|(_, message)| *message)
}

/// The chart of the operator.
const CHART: &str = "tigera-operator";

/// A kind that holds values of a chart.
pub(super) struct ValuesKind {
    kind: &'static str,
    /// Fields that name the chart.
    pub chart: &'static [&'static [&'static str]],
    /// Keys down to the values. The text below a key with `: |-` is a string.
    pub keys: &'static [&'static str],
}

static WITH_VALUES: [ValuesKind; 5] = [
    ValuesKind { kind: "HelmChartConfig", chart: &[&["metadata", "name"]], keys: &["spec", "valuesContent: |-"] },
    ValuesKind {
        kind: "HelmChart",
        chart: &[&["spec", "chart"], &["metadata", "name"]],
        keys: &["spec", "valuesContent: |-"],
    },
    ValuesKind {
        kind: "HelmRelease",
        chart: &[&["spec", "chart", "spec", "chart"], &["spec", "chartRef", "name"], &["spec", "releaseName"]],
        keys: &["spec", "values"],
    },
    ValuesKind {
        kind: "Application",
        chart: &[&["spec", "source", "chart"]],
        keys: &["spec", "source", "helm", "valuesObject"],
    },
    ValuesKind { kind: "HelmChartProxy", chart: &[&["spec", "chartName"]], keys: &["spec", "valuesTemplate: |-"] },
];

/// Returns where objects of a kind hold values of a chart, if they do.
pub(super) fn with_values(kind: &str) -> Option<&'static ValuesKind> {
    WITH_VALUES.iter().find(|known| known.kind == kind)
}

/// Whether a text names the operator's chart. RKE2 calls it `rke2-calico`.
pub(super) fn is_chart(name: &str) -> bool {
    let last = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last == CHART || last == RKE2_CHART || last.starts_with("tigera-operator-")
}

/// The chart of the operator in RKE2, whose images are Rancher's copies.
pub(super) const RKE2_CHART: &str = "rke2-calico";
