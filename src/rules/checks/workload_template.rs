//! Check for workloads whose template does not name the pinned digests although the operator has selected the set. It reads
//! templates only; pods that are still rolling are part of adoption.

use jiff::{SignedDuration, Timestamp};

use crate::model::{Finding, Reason, Workload, stored_time::elapsed};
use crate::rules::adoption::PinnedImages;
use crate::rules::checks::input::CheckInput;

/// How long a template may be outdated after a change of the set: the controllers of GatewayAPI and Istio do not watch ImageSets
/// and act at their resync, which is every five minutes (domain rules, "When it shows").
const SETTLES_WITHIN: SignedDuration = SignedDuration::from_mins(6);

pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let Some((pinned_images, workloads)) = selected(input) else { return Vec::new() };
    let settled = settles_at(input).is_none();
    let findings =
        workloads.iter().filter(|workload| settled || was_reported(input, workload)).filter_map(|workload| {
            let unpinned = pinned_images.unpinned(workload)?;
            let message =
                format!("its template has {}; the set pins {}", unpinned.image.short(), unpinned.pinned.short());
            let finding = Finding::new(Reason::WorkloadNotPinned, workload.object(), message);
            Some(finding.with_evidence(unpinned.evidence()))
        });
    findings.collect()
}

/// Returns when templates that are outdated now count as drift.
pub(super) fn due_at(input: &CheckInput<'_>) -> Option<Timestamp> {
    let settles_at = settles_at(input)?;
    let (pinned_images, workloads) = selected(input)?;
    workloads.iter().any(|workload| pinned_images.unpinned(workload).is_some()).then_some(settles_at)
}

/// Returns until when outdated templates are expected; `None` once every workload has run the set.
fn settles_at(input: &CheckInput<'_>) -> Option<Timestamp> {
    let remembered = &input.snapshot.remembered;
    let name = &input.target()?.name;
    let changed = input.stored(name)?.changed_at?;
    // A set that was prepared long ago is new to the templates when the rollout of its operator completes.
    let pods = input.snapshot.operator_pods.known().into_iter().flatten();
    let rollout_completed = pods.filter(|pod| pod.ready).filter_map(|pod| pod.ready_since).max();
    let since = changed.max(rollout_completed.unwrap_or(changed));
    let settles = since.checked_add(SETTLES_WITHIN).ok()?;
    // Both are in whole seconds: an equal time proves nothing.
    let of_this_set = remembered.current_image_set.as_deref().is_none_or(|set| set == name.as_str());
    let adopted = of_this_set && remembered.adopted_since.is_some_and(|since| since > changed);
    let elapsed = elapsed(since, input.snapshot.observed_at)?;
    (!adopted && elapsed < SETTLES_WITHIN.unsigned_abs()).then_some(settles)
}

/// Whether the previous reconcile reported this workload. Drift that was reported stays drift.
fn was_reported(input: &CheckInput<'_>, workload: &Workload) -> bool {
    let object = workload.object();
    let is_reported = |finding: &Finding| finding.reason == Reason::WorkloadNotPinned && finding.subject == object;
    input.snapshot.remembered.findings.iter().any(is_reported)
}

/// Returns the workloads, if the rollout of the target operator is complete and it has selected the target's set.
fn selected<'a>(input: &'a CheckInput<'_>) -> Option<(PinnedImages, &'a [Workload])> {
    let checked_set = input.target().filter(|_| input.operator.rollout_complete)?;
    let installation = input.snapshot.installation.known()?.as_ref()?;
    if installation.selected_image_set.as_deref() != Some(checked_set.name.as_str()) {
        return None;
    }
    let pinned_images = PinnedImages::new(&checked_set.images, input.installation, &checked_set.content);
    Some((pinned_images, input.snapshot.workloads.known()?))
}
