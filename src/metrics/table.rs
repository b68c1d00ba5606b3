//! Every metric with its name, labels and help text, in one table. `docs/reference/metrics.md` is generated from it.

use crate::model::{Reason, Severity};

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; OpenMetrics adds `_total` to the name.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size; OpenMetrics adds `_bucket`, `_sum` and `_count` to the name.
    Histogram,
    /// Always 1, with the information in the labels; OpenMetrics adds `_info` to the name.
    Info,
}

/// Name, labels and help text of a metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricDescription {
    /// Name, without the product's prefix and the suffix of OpenMetrics.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Labels, each with a description of its values.
    pub labels: &'static [(&'static str, &'static str)],
    /// Help text.
    pub help: &'static str,
    /// Exported by the leader only, and only while a policy exists.
    pub of_policy: bool,
    /// A metric of every process, without the product's prefix.
    pub of_process: bool,
}

impl MetricDescription {
    const fn of_instance(name: &'static str, kind: Kind, labels: Labels, help: &'static str) -> Self {
        Self { name, kind, labels, help, of_policy: false, of_process: false }
    }

    const fn of_policy(name: &'static str, kind: Kind, labels: Labels, help: &'static str) -> Self {
        Self { of_policy: true, ..Self::of_instance(name, kind, labels, help) }
    }

    const fn of_process(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { of_process: true, ..Self::of_instance(name, kind, &[], help) }
    }

    /// Returns the name as Prometheus stores it; of a histogram, the common prefix of its three names.
    #[must_use]
    pub fn full_name(&self) -> String {
        let prefix = if self.of_process { "" } else { "imageset_controller_" };
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
            Kind::Info => "_info",
        };
        format!("{prefix}{}{suffix}", self.name)
    }
}

type Labels = &'static [(&'static str, &'static str)];

/// Results of a reconcile.
pub const RECONCILE_RESULTS: &[&str] = &["success", "failure"];
/// Results of a write.
pub const WRITE_RESULTS: &[&str] = &["done", "conflict", "refused"];
/// States of a version to prepare, as the status shows them.
pub const PREPARED_STATES: [&str; 5] = ["Staged", "Waiting", "Conflict", "Held", "NeedsInspection"];

const NONE: Labels = &[];
const VERB: (&str, &str) = ("verb", "get, watch, create, update, patch, delete; no time is told of a watch");

pub(super) const RECONCILES: MetricDescription = MetricDescription::of_instance(
    "passes",
    Kind::Counter,
    &[("result", "success, failure")],
    "Passes over the policy; one that failed could not write its status or came to no end",
);
pub(super) const RECONCILE_DURATION: MetricDescription =
    MetricDescription::of_instance("pass_duration_seconds", Kind::Histogram, NONE, "Time that a pass took");
pub(super) const WRITES: MetricDescription = MetricDescription::of_instance(
    "writes",
    Kind::Counter,
    &[("result", "done, conflict, refused")],
    "Writes of ImageSets, records, Jobs and the gate",
);
pub(super) const BREAK_GLASS: MetricDescription = MetricDescription::of_instance(
    "break_glass",
    Kind::Counter,
    NONE,
    "Operator images that passed the gate by the annotation break-glass alone",
);
pub(super) const REGISTRY_REQUESTS: MetricDescription = MetricDescription::of_instance(
    "registry_requests",
    Kind::Counter,
    &[
        ("verb", "get, head"),
        (
            "result",
            "Ok, Challenge, or why it failed: NotFound, Unauthorized, Forbidden, RateLimited, Unreachable, Tls, Timeout, …",
        ),
    ],
    "Requests to registries, those to token services not counted; Challenge is a 401 that says how to log in",
);
pub(super) const REGISTRY_DURATION: MetricDescription = MetricDescription::of_instance(
    "registry_request_duration_seconds",
    Kind::Histogram,
    &[("verb", "get, head")],
    "Time until a registry's answer was there",
);
pub(super) const API_REQUESTS: MetricDescription = MetricDescription::of_instance(
    "api_requests",
    Kind::Counter,
    &[VERB, ("result", "2xx, 3xx, 4xx, 5xx, error, timeout")],
    "Requests to the Kubernetes API server by class of answer; error and timeout are none",
);
pub(super) const API_DURATION: MetricDescription = MetricDescription::of_instance(
    "api_request_duration_seconds",
    Kind::Histogram,
    &[VERB],
    "Time until the API server began to answer",
);
pub(super) const BUILD: MetricDescription = MetricDescription::of_instance(
    "build",
    Kind::Info,
    &[("version", "of this controller")],
    "Version of this controller",
);
pub(super) const LEADER: MetricDescription =
    MetricDescription::of_instance("leader", Kind::Gauge, NONE, "1 if this instance leads");

pub(super) const CONDITION: MetricDescription = MetricDescription::of_policy(
    "condition",
    Kind::Gauge,
    &[("type", "of the condition"), ("status", "True, False, Unknown")],
    "1 for the status that a condition of the policy has",
);
pub(super) const FINDINGS: MetricDescription = MetricDescription::of_policy(
    "findings",
    Kind::Gauge,
    &[("reason", "of the closed list"), ("condition", "that it explains"), ("severity", "Note to Stalled")],
    "Things that a person should know, by reason; 0 for a reason that nothing has",
);
pub(super) const STORED: MetricDescription =
    MetricDescription::of_policy("stored", Kind::Gauge, NONE, "1 if the target's set is stored and right");
pub(super) const ADOPTED: MetricDescription =
    MetricDescription::of_policy("adopted", Kind::Gauge, NONE, "1 if every workload runs the target's set");
pub(super) const IMAGES: MetricDescription =
    MetricDescription::of_policy("image_set_images", Kind::Gauge, NONE, "Images that the target's set lists");
pub(super) const WORKLOADS: MetricDescription =
    MetricDescription::of_policy("workloads", Kind::Gauge, NONE, "Workloads with images of the target's set");
pub(super) const WORKLOADS_PINNED: MetricDescription = MetricDescription::of_policy(
    "workloads_pinned",
    Kind::Gauge,
    NONE,
    "Those whose template names the pinned digests",
);
pub(super) const WORKLOADS_ROLLED_OUT: MetricDescription =
    MetricDescription::of_policy("workloads_rolled_out", Kind::Gauge, NONE, "Those that are pinned and rolled out");
pub(super) const VERIFIED: MetricDescription = MetricDescription::of_policy(
    "last_verification_timestamp_seconds",
    Kind::Gauge,
    NONE,
    "When all digests of the target's set were last compared with the registry, 0 for never",
);
pub(super) const PREPARED_VERSION: MetricDescription = MetricDescription::of_policy(
    "prepared_version",
    Kind::Gauge,
    &[("version", "operator version, of the first 64"), ("state", "Staged, Waiting, Conflict, Held, NeedsInspection")],
    "1 for the state of an operator version that is to be prepared",
);
pub(super) const PREPARED_VERSIONS: MetricDescription = MetricDescription::of_policy(
    "prepared_versions",
    Kind::Gauge,
    &[("state", "Staged, Waiting, Conflict, Held, NeedsInspection")],
    "Operator versions that the policy or an annotation asks for, by state",
);
pub(super) const TIGERASTATUS: MetricDescription = MetricDescription::of_policy(
    "tigerastatus_condition",
    Kind::Gauge,
    &[("component", "name of a TigeraStatus, of the first 64"), ("type", "Available, Progressing, Degraded")],
    "1 if this condition of a TigeraStatus is True",
);
pub(super) const OPERATOR: MetricDescription = MetricDescription::of_policy(
    "operator",
    Kind::Info,
    &[("running", "version"), ("target", "version"), ("image_set", "name")],
    "The operator's versions and the target's set",
);

pub(super) const RESIDENT: MetricDescription =
    MetricDescription::of_process("process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes");
pub(super) const CPU: MetricDescription = MetricDescription::of_process(
    "process_cpu_seconds",
    Kind::Counter,
    "Total user and system CPU time spent in seconds",
);
pub(super) const START: MetricDescription = MetricDescription::of_process(
    "process_start_time_seconds",
    Kind::Gauge,
    "Start time of the process since unix epoch in seconds",
);

/// Every metric, in the order of the reference page.
pub const ALL: [MetricDescription; 26] = [
    CONDITION,
    FINDINGS,
    STORED,
    ADOPTED,
    IMAGES,
    WORKLOADS,
    WORKLOADS_PINNED,
    WORKLOADS_ROLLED_OUT,
    VERIFIED,
    PREPARED_VERSION,
    PREPARED_VERSIONS,
    TIGERASTATUS,
    OPERATOR,
    RECONCILES,
    RECONCILE_DURATION,
    WRITES,
    BREAK_GLASS,
    REGISTRY_REQUESTS,
    REGISTRY_DURATION,
    API_REQUESTS,
    API_DURATION,
    LEADER,
    BUILD,
    RESIDENT,
    CPU,
    START,
];

/// Returns the reasons that findings can have.
pub fn reasons_of_findings() -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(|reason| reason.severity() >= Severity::Note)
}
