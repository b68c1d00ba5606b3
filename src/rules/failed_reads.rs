//! Findings for failed reads.

use crate::model::{Finding, ReadFailure, Reason, Snapshot, Subject};
use crate::rules::gate;

/// Returns one finding per failed read that a rule depends on.
pub(crate) fn failed_reads(snapshot: &Snapshot) -> Vec<Finding> {
    let gate = snapshot.gate.failure().filter(|_| gate::is_enabled(&snapshot.settings));
    let failures = [
        snapshot.operator.failure(),
        snapshot.operator_pods.failure(),
        snapshot.installation.failure(),
        snapshot.image_sets.failure(),
        snapshot.features.failure(),
        snapshot.nodes.failure(),
        snapshot.records.failure(),
        gate,
    ];
    let views = [snapshot.component_statuses.failure(), snapshot.workloads.failure(), snapshot.pods.failure()];
    let views = views.into_iter().flatten().map(view_finding);
    failures.into_iter().flatten().map(read_finding).chain(views).collect()
}

/// Returns the finding for a failed read that only affects what is reported: no decision depends on it.
pub(crate) fn view_finding(failure: &ReadFailure) -> Finding {
    let reason = if failure.forbidden { Reason::ViewForbidden } else { Reason::ViewFailed };
    Finding { reason, ..read_finding(failure) }
}

/// Returns the finding for a failed read.
pub(crate) fn read_finding(failure: &ReadFailure) -> Finding {
    let reason = if failure.forbidden { Reason::ReadForbidden } else { Reason::ReadFailed };
    Finding::new(reason, Subject::read(&failure.what), failure.message.clone())
}
