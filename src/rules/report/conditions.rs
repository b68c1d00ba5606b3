//! The conditions of a reconcile, all computed from the same input. `Ready`, `Reconciling` and `Stalled` have the meaning that
//! kstatus defines. The status writer adds the times.

mod adopted;
mod sets;

use crate::model::foreign_text::{LONGEST_MESSAGE, line};
use crate::model::{
    Condition, ConditionType, CurrentReport, Decision, Finding, Goal, GoalState, Mode, Outcome, PreparedReport,
    Purpose, Reason, Severity, Snapshot, Status,
};
use crate::rules::report::conditions::sets::waiting_finding;

/// The input of the conditions.
pub(crate) struct ConditionInput<'a> {
    pub snapshot: &'a Snapshot,
    pub decision: &'a Decision,
    pub outcome: &'a Outcome,
    /// The goals after the writes.
    pub goals: &'a [Goal],
    /// All findings but those of severity Normal, the worst first.
    pub findings: &'a [Finding],
    pub current: Option<&'a CurrentReport>,
    pub prepared: &'a [PreparedReport],
}

type Verdict = (Status, Reason, String);

/// Returns all conditions, in the order of [`ConditionType::ALL`].
pub(crate) fn all(input: &ConditionInput<'_>) -> Vec<Condition> {
    let verdicts = [
        (ConditionType::Ready, input.ready()),
        (ConditionType::Reconciling, input.reconciling()),
        (ConditionType::Stalled, input.stalled()),
        (ConditionType::VersionKnown, input.version_known()),
        (ConditionType::Resolved, input.resolved()),
        (ConditionType::Applied, input.applied()),
        (ConditionType::Prepared, input.prepared()),
        (ConditionType::Adopted, input.adopted()),
        (ConditionType::Drifted, input.worst(ConditionType::Drifted, Reason::NoDrift)),
        (ConditionType::OperatorDegraded, input.worst(ConditionType::OperatorDegraded, Reason::NotDegraded)),
        (ConditionType::ImagePullFailing, input.worst(ConditionType::ImagePullFailing, Reason::NoPullFailure)),
    ];
    let condition = |(r#type, (status, reason, message)): (ConditionType, Verdict)| Condition {
        r#type,
        status,
        reason,
        message: line(&message, LONGEST_MESSAGE),
    };
    verdicts.into_iter().map(condition).collect()
}

impl ConditionInput<'_> {
    fn ready(&self) -> Verdict {
        let settings = &self.snapshot.settings;
        if let Some(finding) = self.findings.iter().find(|finding| self.holds_ready(finding)) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let waits = |prepared: &PreparedReport| {
            matches!(prepared.state, None | Some(GoalState::Held | GoalState::Resolving)) && self.is_named(prepared)
        };
        let prepared_waits = self.prepared.iter().any(waits);
        let resolving = self.spec_goals().any(|goal| goal.state == GoalState::Resolving)
            || !self.decision.lookups.blocks_no_write();
        if let Some(finding) = self.running_inspections().next() {
            return (Status::False, finding.reason, finding.sentence());
        }
        let Some(current) = self.current else {
            return (Status::False, Reason::Progressing, "the operator's version is being found out".to_owned());
        };
        if resolving {
            return (Status::False, Reason::Progressing, "registries are being asked".to_owned());
        }
        if prepared_waits {
            let (_, reason, message) = self.prepared();
            return (Status::False, reason, message);
        }
        let name = &current.image_set;
        if settings.mode == Mode::Observe && !current.stored {
            return (Status::True, Reason::PlanComputed, self.plan_message());
        }
        if current.stored {
            return (
                Status::True,
                Reason::Succeeded,
                format!("ImageSet {name} is stored with {} images", current.images),
            );
        }
        if let Some(waits) = self.current_goals().last().and_then(waiting_finding) {
            return (Status::False, waits.reason, waits.sentence());
        }
        if settings.suspend {
            return (
                Status::False,
                Reason::Suspended,
                format!("ImageSet {name} is not stored; {}", Reason::Suspended.next_step()),
            );
        }
        (Status::False, Reason::Progressing, format!("ImageSet {name} is being stored"))
    }

    /// Whether a finding keeps Ready from being True. Drift, adoption, Degraded and discovered versions never do, so that GitOps
    /// health waits for exactly what the spec requires.
    fn holds_ready(&self, finding: &Finding) -> bool {
        let concern = finding.reason.condition();
        finding.blocks()
            && !matches!(concern, ConditionType::Adopted | ConditionType::Drifted | ConditionType::OperatorDegraded)
            && !self.concerns_only(finding, |purpose| !self.is_of_spec(purpose))
            && !self.is_of_request(finding)
    }

    fn reconciling(&self) -> Verdict {
        let resolving = self.spec_goals().any(|goal| goal.state == GoalState::Resolving)
            || !self.decision.lookups.blocks_no_write();
        let conflict = self.outcome.failure.as_ref().is_some_and(|failure| failure.conflict);
        if resolving {
            (Status::True, Reason::Progressing, "registries are being asked".to_owned())
        } else if let Some(finding) = self.running_inspections().next() {
            (Status::True, Reason::Progressing, finding.sentence())
        } else if conflict {
            (
                Status::True,
                Reason::Progressing,
                "an object changed while it was written; it is looked at again".to_owned(),
            )
        } else {
            (Status::False, Reason::NoWorkUnderWay, String::new())
        }
    }

    fn stalled(&self) -> Verdict {
        match self.findings.iter().find(|finding| finding.reason.severity() == Severity::Stalled) {
            Some(finding) => (Status::True, finding.reason, finding.sentence()),
            None => (Status::False, Reason::NotStalled, String::new()),
        }
    }

    fn version_known(&self) -> Verdict {
        let concern = ConditionType::VersionKnown;
        let of_operators = || self.findings_of(concern).filter(|finding| !self.is_ahead_only(finding));
        if let Some(finding) = of_operators().find(|finding| finding.blocks()) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let knowledge = &self.decision.operator;
        if let Some(finding) = of_operators().next() {
            let known = if finding.reason == Reason::InspectionRunning { Status::Unknown } else { Status::True };
            return (known, finding.reason, finding.sentence());
        }
        match (&knowledge.running, &knowledge.target) {
            (_, Some(target)) if knowledge.first_install => (
                Status::True,
                Reason::FirstInstall,
                format!("no operator was seen yet; {} is to be installed", target.release),
            ),
            (Some(running), Some(target)) if running.release != target.release => {
                let message = format!("operator {} runs, {} is to run", running.release, target.release);
                (Status::True, Reason::VersionFound, message)
            }
            (_, Some(target)) => (Status::True, Reason::VersionFound, format!("operator {}", target.release)),
            (_, None) => (Status::Unknown, Reason::Progressing, "the operator's version is being found out".to_owned()),
        }
    }

    /// Returns an abnormal-true condition: True with the worst finding that concerns it, Unknown while a read that it depends on
    /// fails.
    fn worst(&self, concern: ConditionType, fine: Reason) -> Verdict {
        if let Some(failure) = self.snapshot.failed_read_for(concern) {
            let finding = match concern {
                ConditionType::Drifted => crate::rules::failed_reads::read_finding(failure),
                _ => crate::rules::failed_reads::view_finding(failure),
            };
            return (Status::Unknown, finding.reason, finding.sentence());
        }
        let mut findings = self.findings_of(concern).filter(|finding| finding.reason.severity() >= Severity::Warning);
        match findings.next() {
            None => (Status::False, fine, String::new()),
            Some(first) => {
                let more = findings.count();
                let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
                (Status::True, first.reason, format!("{}{more}", first.sentence()))
            }
        }
    }

    fn findings_of(&self, concern: ConditionType) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.reason.condition() == concern)
    }

    /// Returns the sets of the running and the target version.
    fn current_goals(&self) -> impl Iterator<Item = &Goal> {
        self.goals.iter().filter(|goal| goal.purpose.is_current())
    }

    /// Returns the sets that the policy's spec requires.
    fn spec_goals(&self) -> impl Iterator<Item = &Goal> {
        self.goals.iter().filter(|goal| self.is_of_spec(&goal.purpose))
    }

    /// Whether the spec requires the version. Discovered versions and those that only an annotation requests do not count,
    /// because Ready is about a generation of the spec.
    fn is_of_spec(&self, purpose: &Purpose) -> bool {
        match purpose {
            Purpose::Running | Purpose::Target => true,
            Purpose::Prepared(version) => self.snapshot.settings.prepare.contains(version),
            Purpose::Discovered(_) => false,
        }
    }

    /// Whether the spec names the reported version.
    fn is_named(&self, prepared: &PreparedReport) -> bool {
        self.snapshot.settings.prepare.contains(&prepared.version)
    }

    /// Whether a finding is about the image of a version that only an annotation requests.
    fn is_of_request(&self, finding: &Finding) -> bool {
        let mut about = self.decision.unknown.iter().filter(|(_, one)| one == finding).peekable();
        about.peek().is_some() && about.all(|(version, _)| !self.snapshot.settings.prepare.contains(version))
    }

    /// Whether a finding concerns only versions that are prepared or discovered.
    fn is_ahead_only(&self, finding: &Finding) -> bool {
        let unknown = self.decision.unknown.iter().any(|(_, one)| one == finding);
        unknown || self.concerns_only(finding, |purpose| !purpose.is_current())
    }

    /// Whether a finding belongs to sets of such purposes only.
    fn concerns_only(&self, finding: &Finding, such: impl Fn(&Purpose) -> bool) -> bool {
        let mut concerned = self.goals.iter().filter(|goal| goal.findings.contains(finding)).peekable();
        concerned.peek().is_some() && concerned.all(|goal| such(&goal.purpose))
    }

    /// Returns findings about operator images whose inspection is under way.
    fn running_inspections(&self) -> impl Iterator<Item = &Finding> {
        let running = self.findings.iter().filter(|finding| finding.reason == Reason::InspectionRunning);
        running.filter(|finding| !self.is_of_request(finding))
    }
}
