//! How far the operator's workloads have rolled out the pinned images.

use serde::Serialize;

use crate::model::object_ref::ObjectRef;
use crate::model::workload::Workload;

/// How far workloads are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Progress {
    /// All with images of the set.
    pub total: usize,
    /// Whose template carries the pinned digests.
    pub pinned: usize,
    /// Pinned and rolled out.
    pub complete: usize,
    /// Those that are not complete.
    pub pending: Vec<PendingWorkload>,
}

/// A workload that does not run the set everywhere yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PendingWorkload {
    /// Which.
    pub workload: ObjectRef,
    /// Its template carries the pinned digests.
    pub pinned: bool,
    /// Pods of the current template, in percent of those that are wanted, in whole tens: a status that told each pod would
    /// be written for each.
    pub percent: u32,
}

impl PendingWorkload {
    /// How far it is.
    #[must_use]
    pub fn new(workload: &Workload, pinned: bool) -> Self {
        let share = workload.updated.min(workload.desired).saturating_mul(10).checked_div(workload.desired);
        Self { workload: workload.object(), pinned, percent: if pinned { share.unwrap_or_default() * 10 } else { 0 } }
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
