//! Check for workloads whose template does not name the pinned digests although the operator has selected the set. It reads
//! templates only; pods that are still rolling are part of adoption.

use jiff::{SignedDuration, Timestamp};

use crate::model::finding::Finding;
use crate::model::reason::Reason;
use crate::model::stored_time::elapsed;
use crate::model::workload::Workload;
use crate::rules::adoption::PinnedImages;
use crate::rules::checks::view::View;

/// How long a template may be outdated after a change of the set: the controllers of GatewayAPI and Istio do not watch ImageSets
/// and act at their resync, which is every five minutes (domain rules, "When it shows").
const SETTLES_WITHIN: SignedDuration = SignedDuration::from_mins(6);

pub(super) fn check(view: &View<'_>) -> Vec<Finding> {
    let Some((pulled, workloads)) = selected(view) else { return Vec::new() };
    let settled = settles_at(view).is_none();
    let told = workloads.iter().filter(|workload| settled || was_told(view, workload)).filter_map(|workload| {
        let unpinned = pulled.unpinned(workload)?;
        let message = format!("its template has {}; the set pins {}", unpinned.image.short(), unpinned.pinned.short());
        let finding = Finding::new(Reason::WorkloadNotPinned, workload.object(), message);
        Some(finding.with_evidence(unpinned.evidence()))
    });
    told.collect()
}

/// Returns when templates that are outdated now count as drift.
pub(super) fn look_again(view: &View<'_>) -> Option<Timestamp> {
    let settles_at = settles_at(view)?;
    let (pulled, workloads) = selected(view)?;
    workloads.iter().any(|workload| pulled.unpinned(workload).is_some()).then_some(settles_at)
}

/// Returns until when outdated templates are expected; `None` once every workload has run the set.
fn settles_at(view: &View<'_>) -> Option<Timestamp> {
    let remembered = &view.snapshot.remembered;
    let name = &view.target()?.name;
    let changed = view.stored(name)?.changed_at?;
    // A set that was prepared long ago is new to the templates when the rollout of its operator completes.
    let pods = view.snapshot.operator_pods.known().into_iter().flatten();
    let taken_over = pods.filter(|pod| pod.ready).filter_map(|pod| pod.ready_since).max();
    let since = changed.max(taken_over.unwrap_or(changed));
    let settles = since.checked_add(SETTLES_WITHIN).ok()?;
    // Both are in whole seconds: an equal time proves nothing.
    let of_this_set = remembered.current_image_set.as_deref().is_none_or(|set| set == name.as_str());
    let adopted = of_this_set && remembered.adopted_since.is_some_and(|since| since > changed);
    let elapsed = elapsed(since, view.snapshot.observed_at)?;
    (!adopted && elapsed < SETTLES_WITHIN.unsigned_abs()).then_some(settles)
}

/// Whether the previous reconcile reported this workload. Drift that was reported stays drift.
fn was_told(view: &View<'_>, workload: &Workload) -> bool {
    let object = workload.object();
    let told = |finding: &Finding| finding.reason == Reason::WorkloadNotPinned && finding.subject == object;
    view.snapshot.remembered.findings.iter().any(told)
}

/// Returns the workloads, if the rollout of the target operator is complete and it has selected the target's set.
fn selected<'a>(view: &'a View<'_>) -> Option<(PinnedImages, &'a [Workload])> {
    let look = view.target().filter(|_| view.operator.taken_over)?;
    let installation = view.snapshot.installation.known()?.as_ref()?;
    if installation.selected_image_set.as_deref() != Some(look.name.as_str()) {
        return None;
    }
    let pulled = PinnedImages::new(&look.images, view.installation, &look.content);
    Some((pulled, view.snapshot.workloads.known()?))
}
