//! The first phase: what was observed, as far as a decision needs it. A read that failed takes away only what needs it.

use crate::model::finding::Finding;
use crate::model::listed::NAMED;
use crate::model::object_ref::ObjectRef;
use crate::model::platform::UnknownNode;
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::settings::InstallationSettings;
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::StoredImageSet;
use crate::model::subject::Subject;
use crate::rules::decide::phase::{Because, Phase};
use crate::rules::failed_reads::failed_reads;

/// Findings about the inputs themselves: invalid settings, failed reads, and nodes of unknown platforms.
pub(super) fn findings(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = snapshot.objections.clone();
    findings.extend(failed_reads(snapshot));
    findings.extend(unknown_nodes(snapshot));
    findings
}

/// The Installation's settings, or those that the policy names for the time before there is one.
///
/// Waits while the Installation cannot be read: every reference, and so every digest, follows from it.
pub(super) fn effective_installation(snapshot: &Snapshot) -> Phase<InstallationSettings> {
    match &snapshot.installation {
        Read::Known(Some(installation)) => Phase::GoOn(installation.settings.clone()),
        Read::Known(None) | Read::KindMissing => Phase::GoOn(snapshot.settings.installation.clone()),
        Read::Failed(_) => Phase::Wait(Because::InputsUnreadable),
    }
}

/// The stored ImageSets.
///
/// Waits while they cannot be read: a set that exists must not be taken for one that is missing.
pub(super) fn stored_sets(snapshot: &Snapshot) -> Phase<&[StoredImageSet]> {
    match &snapshot.image_sets {
        Read::Known(sets) => Phase::GoOn(sets),
        Read::KindMissing => Phase::GoOn(&[]),
        Read::Failed(_) => Phase::Wait(Because::InputsUnreadable),
    }
}

/// The finding for a cluster without the operator's definitions.
pub(super) fn kinds_missing(snapshot: &Snapshot) -> Option<Finding> {
    let message = "imagesets.operator.tigera.io is not installed";
    let missing = matches!(snapshot.image_sets, Read::KindMissing);
    missing.then(|| Finding::new(Reason::OperatorKindsMissing, Subject::OperatorKinds, message))
}

/// One finding per node of an unknown platform. The last one counts those that are not named.
fn unknown_nodes(snapshot: &Snapshot) -> Vec<Finding> {
    let (named, others) = snapshot.unknown_nodes.split_at(snapshot.unknown_nodes.len().min(NAMED));
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
