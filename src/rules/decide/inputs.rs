//! The first phase: the inputs of a decision. A failed read affects only what depends on it.

use crate::model::{
    Finding, InstallationSettings, ObjectRef, Read, Reason, Snapshot, StoredImageSet, Subject, UnknownNode,
    lists::MOST_NAMED,
};
use crate::rules::failed_reads::failed_reads;

/// Returns findings about the inputs themselves: invalid settings, failed reads, and nodes of unknown platforms.
pub(super) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = snapshot.objections.clone();
    findings.extend(failed_reads(snapshot));
    findings.extend(unknown_nodes(snapshot));
    findings
}

/// Returns the settings of the Installation, or those of the policy until one exists; `None` while the Installation cannot be
/// read: every reference, and so every digest, follows from it.
pub(super) fn effective_installation(snapshot: &Snapshot) -> Option<InstallationSettings> {
    match &snapshot.installation {
        Read::Known(_) | Read::KindMissing => Some(snapshot.effective_installation().clone()),
        Read::Failed(_) => None,
    }
}

/// Returns the stored ImageSets; `None` while they cannot be read: an existing set must not be treated as missing.
pub(super) fn stored_sets(snapshot: &Snapshot) -> Option<&[StoredImageSet]> {
    match &snapshot.image_sets {
        Read::Known(sets) => Some(sets),
        Read::KindMissing => Some(&[]),
        Read::Failed(_) => None,
    }
}

/// Returns a finding if the cluster does not have the operator's custom resource definitions.
pub(super) fn kinds_missing(snapshot: &Snapshot) -> Option<Finding> {
    let message = "imagesets.operator.tigera.io is not installed";
    let missing = matches!(snapshot.image_sets, Read::KindMissing);
    missing.then(|| Finding::new(Reason::OperatorKindsMissing, Subject::OperatorKinds, message))
}

/// Returns one finding per node of an unknown platform. The last one counts the nodes that are not named.
fn unknown_nodes(snapshot: &Snapshot) -> Vec<Finding> {
    let (named, others) = snapshot.unknown_nodes.split_at(snapshot.unknown_nodes.len().min(MOST_NAMED));
    let finding = |(position, node): (usize, &UnknownNode)| {
        let more = match others.len() {
            more if more > 0 && position + 1 == named.len() => format!(" (and {more} more nodes)"),
            _ => String::new(),
        };
        let message = format!(
            "its kubelet reports the platform \"{}\"; images are not checked for this node{more}",
            node.platform
        );
        Finding::new(Reason::NodePlatformUnknown, ObjectRef::node(&node.node), message)
    };
    named.iter().enumerate().map(finding).collect()
}
