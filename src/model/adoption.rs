//! How far the operator's workloads have rolled out the pinned images.

use serde::Serialize;

use crate::model::object_ref::ObjectRef;
use crate::model::workload::Workload;

/// Counts of workloads by how far they have adopted a set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// Workloads with images of the set.
    pub total: usize,
    /// Workloads whose template carries the pinned digests.
    pub pinned: usize,
    /// Workloads that are pinned and rolled out.
    pub complete: usize,
    /// Workloads that are not complete.
    pub pending: Vec<PendingWorkload>,
}

/// A workload that does not yet run the set in all its pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingWorkload {
    /// The workload.
    pub workload: ObjectRef,
    /// Whether its template carries the pinned digests.
    pub pinned: bool,
    /// Pods of the current template, in percent of the desired pods, rounded down to tens: with the exact share, every new pod
    /// would cause a write of the status.
    pub percent: u32,
}

impl PendingWorkload {
    /// Returns the progress of `workload`. A workload that is not pinned counts as 0 %.
    #[must_use]
    pub fn new(workload: &Workload, pinned: bool) -> Self {
        let tenths = workload.updated.min(workload.desired).saturating_mul(10).checked_div(workload.desired);
        Self { workload: workload.object(), pinned, percent: if pinned { tenths.unwrap_or_default() * 10 } else { 0 } }
    }
}

impl std::fmt::Display for PendingWorkload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.pinned, self.percent) {
            (false, _) => write!(formatter, "{} not pinned yet", self.workload),
            (true, 100) => write!(formatter, "{} updated, not available everywhere yet", self.workload),
            (true, percent) => write!(formatter, "{} {percent} %", self.workload),
        }
    }
}
