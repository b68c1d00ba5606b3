//! What operator images said of themselves when they were run, and when to run one: only an image that runs, is the
//! target or is listed in `prepare.versions`, that no list is known of, and never one that was only discovered. Pure;
//! [`crate::inspection`] builds the Job and reads its output, `cluster` makes and watches it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::decision::{Action, Decision, StartInspection};
use super::finding::{Finding, Reason};
use super::settings::{Mode, PrepareVersion};
use super::snapshot::Read;
use super::stored_time::elapsed;
use super::{Digest, ImageName, OperatorImages, Reference, Release, Snapshot};

/// The pause before an image is run again that did not answer at first.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_mins(1);
/// The longest such pause. A Job is kept longer than that, so that it tells when the next one is due, also after a restart.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(30);

/// The answer of one operator image, kept for good by its digest: an image never changes what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspected {
    /// The image as it was written where it was found.
    pub image: Reference,
    /// Its digest, which was run.
    pub digest: Digest,
    /// `LABEL version` of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it answered.
    pub answered_at: Timestamp,
    /// What it printed.
    pub images: OperatorImages,
    /// Names that it printed and then refused in a set of ours.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<ImageName>,
}

impl Inspected {
    /// Its list as that of the version that it counts as.
    #[must_use]
    pub fn list(&self, release: Release) -> OperatorImages {
        self.images.clone().of_release(release).rejecting(&self.refused)
    }

    /// Name of the ConfigMap.
    #[must_use]
    pub fn name(&self) -> String {
        object_name(&self.digest)
    }

    /// The version that it counts as. A vendor's rebuild often prints the version of its base: then the number of the
    /// rebuild is in the label, or in the tag.
    ///
    /// # Errors
    /// Label or tag and output are of different versions; in words, as nothing may be done on a guess.
    pub fn release(&self) -> Result<Release, String> {
        let printed = self.images.release();
        let labelled = self.label.as_deref().and_then(|label| label.parse::<Release>().ok());
        let tagged = || self.image.tag().and_then(|tag| tag.parse::<Release>().ok());
        match labelled.or_else(|| tagged().filter(|_| self.image.digest().is_none())) {
            Some(written) if written.base() != printed.base() => {
                let by = if labelled.is_some() { "labelled" } else { "tagged" };
                Err(format!("image {} is {by} {written} and prints {printed}", self.image))
            }
            Some(written) => Ok(written.max(printed)),
            None => Ok(printed),
        }
    }
}

/// Name of the Job and of the record for an image.
#[must_use]
pub fn object_name(digest: &Digest) -> String {
    let hexadecimal: String = digest.to_string().chars().skip("sha256:".len()).take(40).collect();
    format!("inspection-{hexadecimal}")
}

/// What was seen of inspections.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspections {
    /// The answers that are kept.
    pub kept: Vec<Inspected>,
    /// Jobs of ours.
    pub jobs: Read<Vec<InspectionJob>>,
}

/// A Job of ours that asks one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectionJob {
    /// `metadata.uid`, which a deletion of ours carries.
    pub uid: String,
    /// As in [`Inspected`].
    pub image: Reference,
    /// The digest that is run.
    pub digest: Digest,
    /// As in [`Inspected`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The how-manieth attempt it is, from 1.
    pub attempt: u32,
    /// Why the attempt before did not bring an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_before: Option<String>,
    /// How far it is.
    pub state: JobState,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobState {
    /// Not ended, or being deleted.
    Running {
        /// What keeps its pod from starting.
        trouble: Option<String>,
    },
    /// Ended well, and what it printed can be used.
    Answered {
        /// When it ended.
        at: Timestamp,
        /// What it printed.
        images: Box<OperatorImages>,
    },
    /// Ended well, and what it printed cannot be used.
    Unusable {
        /// When it ended.
        at: Timestamp,
        /// What is wrong, escaped and cut.
        why: String,
    },
    /// Ended badly, or its output cannot be read.
    Failed {
        /// When it ended.
        at: Timestamp,
        /// What is wrong, escaped and cut.
        why: String,
    },
}

/// An image whose list is needed and not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// As in [`Inspected`].
    pub image: Reference,
    /// As in [`Inspected`].
    pub digest: Digest,
    /// As in [`Inspected`].
    pub label: Option<String>,
    /// What findings name as their object.
    pub object: String,
    /// Why it is not known otherwise.
    pub why: String,
    /// The entry of `prepare.versions` that asks for it; `None` for an operator that runs or is to run.
    pub prepared: Option<PrepareVersion>,
}

/// What is to be done and said of inspections.
#[derive(Debug, Default)]
pub(super) struct InspectionPlan {
    /// Keeping answers comes before all that is made of them.
    pub first: Vec<Action>,
    /// Jobs come last: one that cannot be made is in nobody's way.
    pub last: Vec<Action>,
    /// Why versions that run or are to run are not known.
    pub findings: Vec<Finding>,
    /// The same for versions to prepare.
    pub unknown: Vec<(PrepareVersion, Finding)>,
    /// When a Job is due that is not due yet.
    pub again: Option<Timestamp>,
}

impl InspectionPlan {
    /// Into the decision on everything else.
    pub fn add_to(self, decision: &mut Decision) {
        decision.plan.splice(0..0, self.first);
        decision.plan.extend(self.last);
        decision.findings.extend(self.findings);
        decision.unknown.extend(self.unknown);
        let told = decision.unknown.iter().map(|(_, finding)| finding.clone());
        decision.findings.extend(told.collect::<Vec<_>>());
        decision.look_again = [decision.look_again, self.again].into_iter().flatten().min();
    }
}

/// The answers of Jobs that are not kept yet; they count like those that are.
pub(super) fn fresh_answers(snapshot: &Snapshot) -> Vec<Inspected> {
    let kept: BTreeSet<Digest> = snapshot.inspections.kept.iter().map(|one| one.digest).collect();
    let jobs = snapshot.inspections.jobs.known().into_iter().flatten().filter(|job| !kept.contains(&job.digest));
    let answers = jobs.filter_map(|job| match &job.state {
        JobState::Answered { at, images } => Some(Inspected {
            image: job.image.clone(),
            digest: job.digest,
            label: job.label.clone(),
            answered_at: *at,
            images: OperatorImages::clone(images),
            refused: BTreeSet::new(),
        }),
        _ => None,
    });
    answers.collect()
}

/// Keeps what was answered and `learned`, ends Jobs that are of no more use, and starts those that are wanted.
pub(super) fn plan(snapshot: &Snapshot, wanted: Vec<Wanted>, learned: Option<Inspected>) -> InspectionPlan {
    let mut plan = InspectionPlan::default();
    let is_learned = |answer: &Inspected| learned.as_ref().is_some_and(|learned| learned.digest == answer.digest);
    let fresh = fresh_answers(snapshot).into_iter().filter(|answer| !is_learned(answer));
    let keep = |answer: Inspected| Action::KeepInspection(Box::new(answer));
    plan.first.extend(fresh.chain(learned.clone()).map(keep));
    for job in snapshot.inspections.jobs.known().into_iter().flatten() {
        let is_kept = snapshot.inspections.kept.iter().any(|one| one.digest == job.digest);
        let has_ended = !matches!(job.state, JobState::Running { .. });
        if matches!(job.state, JobState::Answered { .. }) || (is_kept && has_ended) {
            plan.last.push(end(job));
        }
    }
    let mut started = BTreeSet::new();
    for one in wanted {
        let (finding, actions, due) = step(snapshot, &one);
        if started.insert(one.digest) {
            plan.last.extend(actions);
            plan.again = [plan.again, due].into_iter().flatten().min();
        }
        match one.prepared {
            Some(version) => plan.unknown.push((version, finding)),
            None if plan.findings.contains(&finding) => {}
            None => plan.findings.push(finding),
        }
    }
    plan
}

/// Whether there is a Job to look after, or will be.
#[must_use]
pub fn is_under_way(snapshot: &Snapshot, decision: &Decision) -> bool {
    let jobs = snapshot.inspections.jobs.known().is_some_and(|jobs| !jobs.is_empty());
    jobs || decision.actions.iter().any(|action| matches!(action, Action::StartInspection(_)))
}

fn end(job: &InspectionJob) -> Action {
    Action::EndInspection { name: object_name(&job.digest), uid: job.uid.clone() }
}

/// What is said of one image, what is done, and when more is.
fn step(snapshot: &Snapshot, wanted: &Wanted) -> (Finding, Vec<Action>, Option<Timestamp>) {
    let settings = &snapshot.settings;
    let told =
        |reason: Reason, what: String| Finding::new(reason, wanted.object.clone(), format!("{}; {what}", wanted.why));
    let image = wanted.image.with_digest(wanted.digest);
    if !settings.inspection_enabled {
        return (told(Reason::InspectionDisabled, format!("{image} was not asked")), Vec::new(), None);
    }
    let jobs = match &snapshot.inspections.jobs {
        Read::Known(jobs) => jobs.as_slice(),
        Read::KindMissing => &[],
        Read::Failed(failure) => {
            let what = format!("{image} cannot be asked: {}: {}", failure.what, failure.message);
            return (told(Reason::InspectionFailed, what), Vec::new(), None);
        }
    };
    let may_run = settings.mode == Mode::Apply && !settings.suspend;
    let planned = || told(Reason::InspectionPlanned, format!("{image} would be run and asked"));
    let name = format!("Job {}/{}", settings.inspection_namespace, object_name(&wanted.digest));
    let start = |attempt: u32, failed_before: Option<String>| {
        Action::StartInspection(Box::new(StartInspection {
            image: wanted.image.clone(),
            digest: wanted.digest,
            label: wanted.label.clone(),
            attempt,
            failed_before,
        }))
    };
    let Some(job) = jobs.iter().find(|job| job.digest == wanted.digest) else {
        let actions = vec![start(1, None)];
        return match may_run {
            true => (told(Reason::InspectionRunning, format!("{image} is asked by {name}")), actions, None),
            false => (planned(), actions, None),
        };
    };
    let failed = |why: &str| told(Reason::InspectionFailed, format!("{name} brought no answer: {why}"));
    let (finding, at, why) = match &job.state {
        JobState::Running { trouble: Some(trouble) } => return (failed(trouble), Vec::new(), None),
        JobState::Running { trouble: None } => {
            let running = || told(Reason::InspectionRunning, format!("{image} is asked by {name}"));
            // As long as no attempt is better than the one before, the same is said.
            return (job.failed_before.as_deref().map_or_else(running, failed), Vec::new(), None);
        }
        // Its list counts from now on, so that nobody wants it.
        JobState::Answered { .. } => return (planned(), Vec::new(), None),
        JobState::Unusable { at, why } => {
            (told(Reason::InspectionOutputInvalid, format!("what {image} prints cannot be used: {why}")), at, why)
        }
        JobState::Failed { at, why } => (failed(why), at, why),
    };
    let pause = pause(job.attempt);
    let waited = elapsed(*at, snapshot.observed_at);
    let due = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
    match may_run && waited.is_none_or(|waited| waited >= pause.unsigned_abs()) {
        true => (finding, vec![end(job), start(job.attempt.saturating_add(1), Some(why.clone()))], None),
        false => (finding, Vec::new(), may_run.then_some(due)),
    }
}

/// The pause after an attempt, doubling from one to the next.
fn pause(attempt: u32) -> SignedDuration {
    let factor = 1 << attempt.saturating_sub(1).min(10);
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let minutes: Vec<i64> = [1, 2, 3, 5, 6, 40].iter().map(|attempt| pause(*attempt).as_mins()).collect();
        assert_eq!(minutes, [1, 2, 4, 16, 30, 30]);
    }

    #[test]
    fn a_rebuild_that_prints_its_base_counts_as_the_rebuild() {
        let images = crate::domain::Catalogue::embedded().get(&"v1.38.2".parse().unwrap()).unwrap();
        let release = |label: Option<&str>, image: &str| {
            let inspected = Inspected {
                image: image.parse().unwrap(),
                digest: Digest::of(b"x"),
                label: label.map(str::to_owned),
                answered_at: Timestamp::UNIX_EPOCH,
                images: images.clone(),
                refused: BTreeSet::new(),
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
