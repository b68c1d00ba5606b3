//! Check for pods that run another digest than their template pins. Only repository digests are compared; the pinned index and
//! every manifest that it lists match. Other values that a runtime reports (preloaded images, CRI-O) count as unknown, never as
//! drift.

use std::collections::BTreeSet;

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Content, Digest, Evidence, Finding, ObjectRef, Reason, Reference};
use crate::rules::checks::input::CheckInput;

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let (Some(checked_set), Some(pods)) = (input.target(), input.snapshot.pods.known()) else { return Vec::new() };
    let pinned: BTreeSet<Digest> = checked_set.content.values().copied().collect();
    let mut findings = Vec::new();
    let mut unknown = BTreeSet::new();
    for one in &pods.running {
        let Ok(template) = one.image.parse::<Reference>() else { continue };
        // The image belongs to an older template, or is not in the set.
        let Some(pinned) = template.digest().copied().filter(|digest| pinned.contains(digest)) else { continue };
        match (one.digest, children(input, pinned)) {
            (Some(runs), _) if runs == pinned => {}
            (Some(runs), Some(children)) if children.contains(&runs) => {}
            (Some(runs), Some(_)) => {
                let message = format!("pods run {} where the template pins {}", runs.short(), template.short());
                let finding = Finding::new(Reason::PodsRunOther, one.workload.clone(), message);
                findings.push(finding.with_evidence(Evidence::digest(&runs, &pinned)));
            }
            // A runtime may report the manifest for its platform, and the manifests of this index are unknown.
            (_, None) | (None, _) => {
                unknown.insert(&one.workload);
            }
        }
    }
    let unknown: Vec<&ObjectRef> = unknown.into_iter().collect();
    findings.extend((!unknown.is_empty()).then(|| {
        let message = format!("what runs cannot be compared in {}", list_first(&unknown, MOST_NAMED));
        Finding::new(Reason::PodDigestsUnknown, checked_set.object(), message)
    }));
    findings
}

/// Returns the manifests that a pinned digest covers, from a record. Results of lookups are not used: they are available in some
/// reconciles only, and the finding would come and go with them.
fn children(input: &CheckInput<'_>, pinned: Digest) -> Option<BTreeSet<Digest>> {
    let mut recorded = input.snapshot.records.known().into_iter().flatten().flat_map(|record| record.images.values());
    let image = recorded.find(|image| image.digest == pinned)?;
    Some(match &image.content {
        Content::Index { children } => children.iter().map(|child| child.digest).collect(),
        Content::Manifest { .. } => BTreeSet::new(),
    })
}
