//! Inspections of operator images: the output that counts, and when to run an image. Only a running or target image, or one that
//! `prepare.versions` lists, is run, and only if its list is unknown; never one that was only discovered. [`crate::inspection`]
//! builds the Job and parses its output; `cluster` creates and watches it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::inspection::object_name;
use crate::model::{
    Action, Digest, Finding, Inspection, InspectionJob, JobState, Kind, Mode, ObjectRef, OperatorImages,
    PrepareVersion, Read, Reason, Reference, Snapshot, StartInspection, Subject, stored_time::elapsed,
};
use crate::rules::schedule::INSPECTION_PAUSE;

/// An image whose list is required and unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeededInspection {
    /// As in [`Inspection`].
    pub image: Reference,
    /// As in [`Inspection`].
    pub digest: Digest,
    /// As in [`Inspection`].
    pub label: Option<String>,
    /// Subject of the findings.
    pub subject: Subject,
    /// Why the list is unknown.
    pub why: String,
    /// Entry of `prepare.versions` that requires it; `None` for a running or target operator.
    pub prepared: Option<PrepareVersion>,
}

/// Actions and findings about inspections.
#[derive(Debug, Default)]
pub(crate) struct InspectionPlan {
    /// Storing inspections comes before everything that is made from them.
    pub first: Vec<Action>,
    /// Jobs come last: one that cannot be created holds up nothing.
    pub last: Vec<Action>,
    /// Why running or target versions are unknown.
    pub findings: Vec<Finding>,
    /// The same for versions to prepare.
    pub unknown: Vec<(PrepareVersion, Finding)>,
    /// When the next attempt is due.
    pub again: Option<Timestamp>,
}

/// Returns the inspections of completed Jobs that are not stored yet. They count like stored ones.
pub(crate) fn unstored_inspections(snapshot: &Snapshot) -> Vec<Inspection> {
    let kept: BTreeSet<Digest> = snapshot.inspections.kept.iter().map(|one| one.digest).collect();
    let jobs = snapshot.inspections.jobs.known().into_iter().flatten().filter(|job| !kept.contains(&job.digest));
    let inspections = jobs.filter_map(|job| match &job.state {
        JobState::Completed { at, images } => Some(Inspection {
            image: job.image.clone(),
            digest: job.digest,
            label: job.label.clone(),
            completed_at: *at,
            images: OperatorImages::clone(images),
            rejected: BTreeSet::new(),
        }),
        _ => None,
    });
    inspections.collect()
}

/// Plans to store completed inspections and `learned`, to delete Jobs that are no longer required, and to start those that are.
///
/// This does not depend on what holds the sets: without an inspection nothing would ever go on.
pub(crate) fn plan(snapshot: &Snapshot, needed: &[NeededInspection], learned: Option<&Inspection>) -> InspectionPlan {
    let mut plan = InspectionPlan::default();
    let is_updated = |inspection: &Inspection| learned.is_some_and(|learned| learned.digest == inspection.digest);
    let fresh = unstored_inspections(snapshot).into_iter().filter(|inspection| !is_updated(inspection));
    let keep = |inspection: Inspection| Action::KeepInspection(Box::new(inspection));
    plan.first.extend(fresh.chain(learned.cloned()).map(keep));
    for job in snapshot.inspections.jobs.known().into_iter().flatten() {
        let is_kept = snapshot.inspections.kept.iter().any(|one| one.digest == job.digest);
        let has_ended = !matches!(job.state, JobState::Running { .. });
        if matches!(job.state, JobState::Completed { .. }) || (is_kept && has_ended) {
            plan.last.push(end(job));
        }
    }
    let mut started = BTreeSet::new();
    for one in needed {
        let (finding, actions, due) = step(snapshot, one);
        if started.insert(one.digest) {
            plan.last.extend(actions);
            plan.again = [plan.again, due].into_iter().flatten().min();
        }
        match &one.prepared {
            Some(version) => plan.unknown.push((version.clone(), finding)),
            None if plan.findings.contains(&finding) => {}
            None => plan.findings.push(finding),
        }
    }
    plan
}

fn end(job: &InspectionJob) -> Action {
    Action::EndInspection { name: object_name(&job.digest), uid: job.uid.clone() }
}

/// Returns the finding about one image, the actions, and when the next attempt is due.
fn step(snapshot: &Snapshot, needed: &NeededInspection) -> (Finding, Vec<Action>, Option<Timestamp>) {
    let settings = &snapshot.settings;
    let report =
        |reason: Reason, what: String| Finding::new(reason, needed.subject.clone(), format!("{}; {what}", needed.why));
    let image = needed.image.with_digest(needed.digest);
    if !settings.inspection_enabled {
        return (report(Reason::InspectionDisabled, format!("{image} was not asked")), Vec::new(), None);
    }
    let jobs = match &snapshot.inspections.jobs {
        Read::Known(jobs) => jobs.as_slice(),
        Read::KindMissing => &[],
        Read::Failed(failure) => {
            let what = format!("{image} cannot be asked: {}: {}", failure.what, failure.message);
            return (report(Reason::InspectionFailed, what), Vec::new(), None);
        }
    };
    let may_run = settings.mode == Mode::Apply && !settings.suspend;
    let planned = || report(Reason::InspectionPlanned, format!("{image} would be run and asked"));
    let name = ObjectRef::namespaced(Kind::Job, &settings.inspection_namespace, &object_name(&needed.digest));
    let start = |attempt: u32, failed_before: Option<String>| {
        Action::StartInspection(Box::new(StartInspection {
            image: needed.image.clone(),
            digest: needed.digest,
            label: needed.label.clone(),
            attempt,
            failed_before,
        }))
    };
    let Some(job) = jobs.iter().find(|job| job.digest == needed.digest) else {
        let actions = vec![start(1, None)];
        return match may_run {
            true => (report(Reason::InspectionRunning, format!("{image} is asked by {name}")), actions, None),
            false => (planned(), actions, None),
        };
    };
    let failed = |why: &str| report(Reason::InspectionFailed, format!("{name} brought no answer: {why}"));
    let (finding, at, why) = match &job.state {
        JobState::Running { start_problem: Some(cause) } => return (failed(cause), Vec::new(), None),
        JobState::Running { start_problem: None } => {
            let running = || report(Reason::InspectionRunning, format!("{image} is asked by {name}"));
            // While no attempt is better than the one before, the finding stays the same.
            return (job.failed_before.as_deref().map_or_else(running, failed), Vec::new(), None);
        }
        // Its list counts from now on, so that it is no longer required.
        JobState::Completed { .. } => return (planned(), Vec::new(), None),
        JobState::Unusable { at, why } => {
            (report(Reason::InspectionOutputInvalid, format!("what {image} prints cannot be used: {why}")), at, why)
        }
        JobState::Failed { at, why } => (failed(why), at, why),
    };
    let pause = INSPECTION_PAUSE.after(job.attempt.saturating_sub(1));
    let waited = elapsed(*at, snapshot.observed_at);
    let due = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
    match may_run && waited.is_none_or(|waited| waited >= pause) {
        true => (finding, vec![end(job), start(job.attempt.saturating_add(1), Some(why.clone()))], None),
        false => (finding, Vec::new(), may_run.then_some(due)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuild_that_prints_its_base_counts_as_the_rebuild() {
        let images = crate::catalogue::Catalogue::embedded().get(&"v1.38.2".parse().unwrap()).unwrap();
        let release = |label: Option<&str>, image: &str| {
            let inspected = Inspection {
                image: image.parse().unwrap(),
                digest: Digest::of(b"x"),
                label: label.map(str::to_owned),
                completed_at: Timestamp::UNIX_EPOCH,
                images: images.clone(),
                rejected: BTreeSet::new(),
            };
            inspected.release().map(|release| release.to_string())
        };
        assert_eq!(release(Some("v1.38.2-1"), "mcr.example/oss/tigera/operator:other").unwrap(), "v1.38.2-1");
        assert_eq!(release(None, "mcr.example/oss/tigera/operator:v1.38.2-1").unwrap(), "v1.38.2-1");
        assert_eq!(release(Some("master"), "mcr.example/oss/tigera/operator:latest").unwrap(), "v1.38.2");
        assert!(release(Some("v1.38.3"), "mcr.example/oss/tigera/operator:v1.38.2").unwrap_err().contains("prints"));
        assert!(release(None, "mcr.example/oss/tigera/operator:v1.38.3").is_err());
    }
}
