//! Every metric with its name, labels and help, in one table. `docs/reference/metrics.md` is made from it.

use crate::model::reason::{Reason, Severity};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; OpenMetrics adds `_total` to its name.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size; OpenMetrics adds `_bucket`, `_sum` and `_count`.
    Histogram,
    /// Always 1, what is told is in its labels; OpenMetrics adds `_info`.
    Info,
}

/// A metric as it is documented.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// Its name without the product's prefix and what OpenMetrics adds.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, each with the values that it takes, in words.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it tells.
    pub help: &'static str,
    /// It is told by the instance that leads, and only while there is a policy.
    pub of_policy: bool,
    /// It is one that every process has, without the product's prefix.
    pub of_process: bool,
}

impl Described {
    const fn of_instance(name: &'static str, kind: Kind, labels: Labels, help: &'static str) -> Self {
        Self { name, kind, labels, help, of_policy: false, of_process: false }
    }

    const fn of_policy(name: &'static str, kind: Kind, labels: Labels, help: &'static str) -> Self {
        Self { of_policy: true, ..Self::of_instance(name, kind, labels, help) }
    }

    const fn of_process(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { of_process: true, ..Self::of_instance(name, kind, &[], help) }
    }

    /// The name as Prometheus stores it; of a histogram, the one that its three names begin with.
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

/// How a pass ends.
pub const PASS_RESULTS: &[&str] = &["success", "failure"];
/// How a write ends.
pub const WRITE_RESULTS: &[&str] = &["done", "conflict", "refused"];
/// States of a version that is to be prepared, as the status has them.
pub const PREPARED_STATES: [&str; 5] = ["Staged", "Waiting", "Conflict", "Held", "NeedsInspection"];

const NONE: Labels = &[];
const VERB: (&str, &str) = ("verb", "get, watch, create, update, patch, delete; no time is told of a watch");

pub(super) const PASSES: Described = Described::of_instance(
    "passes",
    Kind::Counter,
    &[("result", "success, failure")],
    "Passes over the policy; one that failed could not write its status or came to no end",
);
pub(super) const PASS_DURATION: Described =
    Described::of_instance("pass_duration_seconds", Kind::Histogram, NONE, "Time that a pass took");
pub(super) const WRITES: Described = Described::of_instance(
    "writes",
    Kind::Counter,
    &[("result", "done, conflict, refused")],
    "Writes of ImageSets, records, Jobs and the gate",
);
pub(super) const BREAK_GLASS: Described = Described::of_instance(
    "break_glass",
    Kind::Counter,
    NONE,
    "Operator images that passed the gate by the annotation break-glass alone",
);
pub(super) const REGISTRY_REQUESTS: Described = Described::of_instance(
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
pub(super) const REGISTRY_DURATION: Described = Described::of_instance(
    "registry_request_duration_seconds",
    Kind::Histogram,
    &[("verb", "get, head")],
    "Time until a registry's answer was there",
);
pub(super) const API_REQUESTS: Described = Described::of_instance(
    "api_requests",
    Kind::Counter,
    &[VERB, ("result", "2xx, 3xx, 4xx, 5xx, error, timeout")],
    "Requests to the Kubernetes API server by class of answer; error and timeout are none",
);
pub(super) const API_DURATION: Described = Described::of_instance(
    "api_request_duration_seconds",
    Kind::Histogram,
    &[VERB],
    "Time until the API server began to answer",
);
pub(super) const BUILD: Described =
    Described::of_instance("build", Kind::Info, &[("version", "of this controller")], "Version of this controller");
pub(super) const LEADER: Described = Described::of_instance("leader", Kind::Gauge, NONE, "1 if this instance leads");

pub(super) const CONDITION: Described = Described::of_policy(
    "condition",
    Kind::Gauge,
    &[("type", "of the condition"), ("status", "True, False, Unknown")],
    "1 for the status that a condition of the policy has",
);
pub(super) const FINDINGS: Described = Described::of_policy(
    "findings",
    Kind::Gauge,
    &[("reason", "of the closed list"), ("condition", "that it explains"), ("severity", "Note to Stalled")],
    "Things that a person should know, by reason; 0 for a reason that nothing has",
);
pub(super) const STORED: Described =
    Described::of_policy("stored", Kind::Gauge, NONE, "1 if the target's set is stored and right");
pub(super) const ADOPTED: Described =
    Described::of_policy("adopted", Kind::Gauge, NONE, "1 if every workload runs the target's set");
pub(super) const IMAGES: Described =
    Described::of_policy("image_set_images", Kind::Gauge, NONE, "Images that the target's set lists");
pub(super) const WORKLOADS: Described =
    Described::of_policy("workloads", Kind::Gauge, NONE, "Workloads with images of the target's set");
pub(super) const WORKLOADS_PINNED: Described =
    Described::of_policy("workloads_pinned", Kind::Gauge, NONE, "Those whose template names the pinned digests");
pub(super) const WORKLOADS_ROLLED_OUT: Described =
    Described::of_policy("workloads_rolled_out", Kind::Gauge, NONE, "Those that are pinned and rolled out");
pub(super) const VERIFIED: Described = Described::of_policy(
    "last_verification_timestamp_seconds",
    Kind::Gauge,
    NONE,
    "When all digests of the target's set were last compared with the registry, 0 for never",
);
pub(super) const PREPARED_VERSION: Described = Described::of_policy(
    "prepared_version",
    Kind::Gauge,
    &[("version", "operator version, of the first 64"), ("state", "Staged, Waiting, Conflict, Held, NeedsInspection")],
    "1 for the state of an operator version that is to be prepared",
);
pub(super) const PREPARED_VERSIONS: Described = Described::of_policy(
    "prepared_versions",
    Kind::Gauge,
    &[("state", "Staged, Waiting, Conflict, Held, NeedsInspection")],
    "Operator versions that the policy or an annotation asks for, by state",
);
pub(super) const TIGERASTATUS: Described = Described::of_policy(
    "tigerastatus_condition",
    Kind::Gauge,
    &[("component", "name of a TigeraStatus, of the first 64"), ("type", "Available, Progressing, Degraded")],
    "1 if this condition of a TigeraStatus is True",
);
pub(super) const OPERATOR: Described = Described::of_policy(
    "operator",
    Kind::Info,
    &[("running", "version"), ("target", "version"), ("image_set", "name")],
    "The operator's versions and the target's set",
);

pub(super) const RESIDENT: Described =
    Described::of_process("process_resident_memory_bytes", Kind::Gauge, "Resident memory size in bytes");
pub(super) const CPU: Described =
    Described::of_process("process_cpu_seconds", Kind::Counter, "Total user and system CPU time spent in seconds");
pub(super) const START: Described = Described::of_process(
    "process_start_time_seconds",
    Kind::Gauge,
    "Start time of the process since unix epoch in seconds",
);

/// Every metric, in the order of the reference page.
pub const ALL: [Described; 26] = [
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
    PASSES,
    PASS_DURATION,
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

/// The reasons that findings can have.
pub fn reasons_of_findings() -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(|reason| reason.severity() >= Severity::Note)
}
