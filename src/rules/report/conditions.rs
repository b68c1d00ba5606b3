//! The conditions of a reconcile, all computed from the same input. `Ready`, `Reconciling` and `Stalled` have the meaning that
//! kstatus defines. The status writer adds the times.

use crate::model::condition::{Condition, Status};
use crate::model::decision::{Decision, Goal, GoalState, Purpose};
use crate::model::finding::Finding;
use crate::model::foreign_text::{LONGEST_MESSAGE, line};
use crate::model::listed::{NAMED, listed};
use crate::model::outcome::Outcome;
use crate::model::read::Read;
use crate::model::reason::{ConditionType, Reason, Severity};
use crate::model::report::{CurrentReport, PreparedReport};
use crate::model::settings::Mode;
use crate::model::snapshot::Snapshot;

/// The input of the conditions.
pub(crate) struct Facts<'a> {
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

type Answer = (Status, Reason, String);

/// Returns all conditions, in the order of [`ConditionType::ALL`].
pub(crate) fn all(facts: &Facts<'_>) -> Vec<Condition> {
    let answers = [
        (ConditionType::Ready, facts.ready()),
        (ConditionType::Reconciling, facts.reconciling()),
        (ConditionType::Stalled, facts.stalled()),
        (ConditionType::VersionKnown, facts.version_known()),
        (ConditionType::Resolved, facts.resolved()),
        (ConditionType::Applied, facts.applied()),
        (ConditionType::Prepared, facts.prepared_answer()),
        (ConditionType::Adopted, facts.adopted()),
        (ConditionType::Drifted, facts.worst(ConditionType::Drifted, Reason::NoDrift)),
        (ConditionType::OperatorDegraded, facts.worst(ConditionType::OperatorDegraded, Reason::NotDegraded)),
        (ConditionType::ImagePullFailing, facts.worst(ConditionType::ImagePullFailing, Reason::NoPullFailure)),
    ];
    let condition = |(r#type, (status, reason, message)): (ConditionType, Answer)| Condition {
        r#type,
        status,
        reason,
        message: line(&message, LONGEST_MESSAGE),
    };
    answers.into_iter().map(condition).collect()
}

impl Facts<'_> {
    fn ready(&self) -> Answer {
        let settings = &self.snapshot.settings;
        if let Some(finding) = self.findings.iter().find(|finding| self.holds_ready(finding)) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let waits = |prepared: &PreparedReport| {
            matches!(prepared.state, None | Some(GoalState::Held | GoalState::Resolving)) && self.is_named(prepared)
        };
        let prepared_waits = self.prepared.iter().any(waits);
        let resolving =
            self.asked_for().any(|goal| goal.state == GoalState::Resolving) || !self.decision.questions.holds_nothing();
        if let Some(finding) = self.inspecting().next() {
            return (Status::False, finding.reason, finding.sentence());
        }
        let Some(current) = self.current else {
            return (Status::False, Reason::Progressing, "the operator's version is being found out".to_owned());
        };
        if resolving {
            return (Status::False, Reason::Progressing, "registries are being asked".to_owned());
        }
        if prepared_waits {
            let (_, reason, message) = self.prepared_answer();
            return (Status::False, reason, message);
        }
        let name = &current.image_set;
        if settings.mode == Mode::Observe && !current.stored {
            return (Status::True, Reason::PlanComputed, self.plan_told());
        }
        if current.stored {
            return (
                Status::True,
                Reason::Succeeded,
                format!("ImageSet {name} is stored with {} images", current.images),
            );
        }
        if let Some(waits) = self.wanted().last().and_then(waits_for_takeover) {
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
            && !self.of_request(finding)
    }

    fn reconciling(&self) -> Answer {
        let resolving =
            self.asked_for().any(|goal| goal.state == GoalState::Resolving) || !self.decision.questions.holds_nothing();
        let conflict = self.outcome.failure.as_ref().is_some_and(|failure| failure.conflict);
        if resolving {
            (Status::True, Reason::Progressing, "registries are being asked".to_owned())
        } else if let Some(finding) = self.inspecting().next() {
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

    fn stalled(&self) -> Answer {
        match self.findings.iter().find(|finding| finding.reason.severity() == Severity::Stalled) {
            Some(finding) => (Status::True, finding.reason, finding.sentence()),
            None => (Status::False, Reason::NotStalled, String::new()),
        }
    }

    fn version_known(&self) -> Answer {
        let concern = ConditionType::VersionKnown;
        let of_operators = || self.of(concern).filter(|finding| !self.only_ahead(finding));
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

    fn resolved(&self) -> Answer {
        let mine = |finding: &&Finding| finding.blocks() && !self.only_ahead(finding);
        if let Some(finding) = self.of(ConditionType::Resolved).find(mine) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let wanted: Vec<&Goal> = self.wanted().collect();
        if wanted.iter().any(|goal| goal.state == GoalState::Resolving) || !self.decision.questions.holds_nothing() {
            return (Status::Unknown, Reason::Resolving, "registries are being asked".to_owned());
        }
        match wanted.last() {
            None => (Status::Unknown, Reason::NothingToResolve, Reason::NothingToResolve.meaning().to_owned()),
            Some(goal) if goal.images == 0 => {
                (Status::Unknown, Reason::NothingToResolve, format!("ImageSet {} is held", goal.name))
            }
            Some(goal) => (Status::True, Reason::AllImagesResolved, format!("{} images of {}", goal.images, goal.name)),
        }
    }

    fn applied(&self) -> Answer {
        let mine = |finding: &&Finding| finding.reason.severity() > Severity::Note && !self.only_ahead(finding);
        if let Some(finding) = self.of(ConditionType::Applied).find(mine) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let Some(current) = self.current else {
            let unread = self.snapshot.installation.failure().or(self.snapshot.image_sets.failure());
            if let Some(finding) = unread.map(crate::rules::failed_reads::read_finding) {
                return (Status::Unknown, finding.reason, finding.sentence());
            }
            return (Status::False, Reason::NothingToApply, Reason::NothingToApply.meaning().to_owned());
        };
        let name = &current.image_set;
        if current.stored {
            let accepted =
                self.decision.findings.iter().find(|finding| finding.reason == Reason::ForeignImageSetAccepted);
            return match accepted {
                Some(finding) => (Status::True, finding.reason, finding.sentence()),
                None => (Status::True, Reason::ImageSetStored, format!("{name} with {} images", current.images)),
            };
        }
        if let Some(finding) = self.findings.iter().find(|finding| finding.blocks()) {
            return (Status::False, finding.reason, finding.sentence());
        }
        if let Some(waits) = self.wanted().last().and_then(waits_for_takeover) {
            return (Status::False, waits.reason, waits.sentence());
        }
        match self.wanted().last().map(|goal| goal.state) {
            Some(GoalState::Ready) if self.snapshot.settings.suspend => {
                (Status::False, Reason::Suspended, format!("{name} would be stored; {}", Reason::Suspended.next_step()))
            }
            Some(GoalState::Ready) if self.snapshot.settings.mode == Mode::Observe => {
                (Status::False, Reason::ImageSetPlanned, self.plan_told())
            }
            _ => (Status::False, Reason::Progressing, format!("{name} is not stored yet")),
        }
    }

    fn prepared_answer(&self) -> Answer {
        if self.snapshot.settings.prepare.is_empty() {
            return (Status::True, Reason::NothingToPrepare, Reason::NothingToPrepare.meaning().to_owned());
        }
        let observe = self.snapshot.settings.mode == Mode::Observe;
        let done = |prepared: &&PreparedReport| match prepared.state {
            Some(GoalState::Stored | GoalState::Waiting | GoalState::Conflict) => true,
            Some(GoalState::Ready) => observe,
            _ => false,
        };
        match self.prepared.iter().find(|prepared| self.is_named(prepared) && !done(prepared)) {
            Some(prepared) => {
                let message = prepared.message.as_deref().unwrap_or("it is not stored yet");
                let unmakeable = self.decision.unmakeable.iter().any(|(version, _)| *version == prepared.version);
                if unmakeable {
                    return (Status::False, Reason::PreReleaseMarker, message.to_owned());
                }
                let mut unknown = self.decision.unknown.iter();
                if let Some((_, finding)) = unknown.find(|(version, _)| *version == prepared.version) {
                    let needs =
                        if finding.reason.is_of_inspection() { Reason::NeedsInspection } else { Reason::NotPrepared };
                    return (Status::False, needs, message.to_owned());
                }
                let reason = match prepared.state {
                    None if self.goals.is_empty() => Reason::NotPrepared,
                    None => Reason::Resolving,
                    Some(GoalState::Resolving) => Reason::Resolving,
                    _ => Reason::NotPrepared,
                };
                (Status::False, reason, format!("operator {}: {message}", prepared.version))
            }
            None => {
                let conflict = |goal: &&Goal| {
                    let ahead = matches!(goal.purpose, Purpose::Prepared(_)) && self.is_of_spec(&goal.purpose);
                    ahead && goal.state == GoalState::Conflict
                };
                if let Some(waits) = self.goals.iter().find(conflict).and_then(waits_for_takeover) {
                    return (Status::True, waits.reason, waits.sentence());
                }
                let asked_for = self.prepared.iter().filter(|prepared| self.is_named(prepared));
                let versions: Vec<String> = asked_for.map(|prepared| prepared.version.to_string()).collect();
                (Status::True, Reason::AllVersionsPrepared, versions.join(", "))
            }
        }
    }

    fn adopted(&self) -> Answer {
        if self.decision.blind {
            let before = &self.snapshot.remembered.conditions;
            let before = before.iter().find(|condition| condition.r#type == ConditionType::Adopted);
            let known = |before: &Condition| (before.status, before.reason, before.message.clone());
            let unknown = || (Status::Unknown, Reason::ReadFailed, Reason::ReadFailed.meaning().to_owned());
            return before.map_or_else(unknown, known);
        }
        if !matches!(self.snapshot.installation, Read::Known(Some(_))) {
            return (Status::Unknown, Reason::NoInstallation, Reason::NoInstallation.meaning().to_owned());
        }
        let Some(current) = self.current.filter(|current| current.stored) else {
            return (Status::False, Reason::NothingToAdopt, self.nothing_to_adopt());
        };
        if let Some(failure) = self.snapshot.workloads.failure() {
            let finding = crate::rules::failed_reads::view_finding(failure);
            return (Status::Unknown, finding.reason, finding.sentence());
        }
        let name = &current.image_set;
        let workloads = &current.workloads;
        if current.adopted {
            let message = format!("{name} in all {} workloads", workloads.total);
            return (Status::True, Reason::AdoptionComplete, message);
        }
        let installation = self.snapshot.installation.known().and_then(Option::as_ref);
        match installation.and_then(|seen| seen.selected_image_set.as_deref()) {
            Some(selected) if selected == name && workloads.total == 0 => {
                (Status::False, Reason::RollingOut, format!("{name} is selected; no workload of it is to be seen yet"))
            }
            Some(selected) if selected == name => {
                let message = format!(
                    "{name} is selected; {} of {} workloads are pinned, {} rolled out: {}",
                    workloads.pinned,
                    workloads.total,
                    workloads.complete,
                    listed(&workloads.pending, NAMED)
                );
                (Status::False, Reason::RollingOut, message)
            }
            Some(other) => {
                let message = format!("the operator uses {other}, not {name} (yet){}", self.why_not_selected());
                (Status::False, Reason::NotSelected, message)
            }
            None => {
                let message = format!("the operator has not selected {name} (yet){}", self.why_not_selected());
                (Status::False, Reason::NotSelected, message)
            }
        }
    }

    /// Returns what keeps the operator from selecting the set: it selects one at the end of a reconcile that leaves `calico`
    /// available.
    fn why_not_selected(&self) -> &'static str {
        let calico = self.snapshot.component_statuses.known().into_iter().flatten().find(|one| one.name == "calico");
        match calico {
            _ if self.findings.iter().any(|finding| finding.reason.is_fault_of_a_set()) => {
                ": it is stopped, see OperatorDegraded"
            }
            _ if self.findings.iter().any(|finding| finding.reason == Reason::PodsCannotPull) => {
                ": pods cannot pull, see ImagePullFailing"
            }
            Some(calico) if calico.degraded.is_some() => ": calico is Degraded for another cause, see OperatorDegraded",
            Some(calico) if calico.progressing || !calico.available => {
                ": it does when calico is available, which is rolling out"
            }
            _ => "",
        }
    }

    /// Returns why nothing can be adopted: the exact set is not stored, whether or not others are.
    fn nothing_to_adopt(&self) -> String {
        let meaning = Reason::NothingToAdopt.meaning();
        let wanted = self.wanted().last().map(|goal| goal.name.to_string());
        let others = self.snapshot.image_sets.known().into_iter().flatten();
        let others: Vec<&str> =
            others.map(|set| set.name.as_str()).filter(|name| Some(*name) != wanted.as_deref()).collect();
        match (wanted, others.is_empty()) {
            (Some(wanted), false) => {
                format!("the operator looks for {wanted} and uses no other; there is {}", listed(&others, NAMED))
            }
            _ => meaning.to_owned(),
        }
    }

    /// Returns an abnormal-true condition: True with the worst finding that concerns it, Unknown while a read that it depends on
    /// fails.
    fn worst(&self, concern: ConditionType, fine: Reason) -> Answer {
        if let Some(failure) = self.snapshot.unread(concern) {
            let finding = match concern {
                ConditionType::Drifted => crate::rules::failed_reads::read_finding(failure),
                _ => crate::rules::failed_reads::view_finding(failure),
            };
            return (Status::Unknown, finding.reason, finding.sentence());
        }
        let mut findings = self.of(concern).filter(|finding| finding.reason.severity() >= Severity::Warning);
        match findings.next() {
            None => (Status::False, fine, String::new()),
            Some(first) => {
                let more = findings.count();
                let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
                (Status::True, first.reason, format!("{}{more}", first.sentence()))
            }
        }
    }

    fn of(&self, concern: ConditionType) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.reason.condition() == concern)
    }

    /// Returns the sets of the running and the target version.
    fn wanted(&self) -> impl Iterator<Item = &Goal> {
        self.goals.iter().filter(|goal| goal.purpose.is_wanted_now())
    }

    /// Returns the sets that the policy's spec requires.
    fn asked_for(&self) -> impl Iterator<Item = &Goal> {
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
    fn of_request(&self, finding: &Finding) -> bool {
        let mut about = self.decision.unknown.iter().filter(|(_, one)| one == finding).peekable();
        about.peek().is_some() && about.all(|(version, _)| !self.snapshot.settings.prepare.contains(version))
    }

    /// Whether a finding concerns only versions that are prepared or discovered.
    fn only_ahead(&self, finding: &Finding) -> bool {
        let unknown = self.decision.unknown.iter().any(|(_, one)| one == finding);
        unknown || self.concerns_only(finding, |purpose| !purpose.is_wanted_now())
    }

    /// Whether a finding belongs to sets of such purposes only.
    fn concerns_only(&self, finding: &Finding, such: impl Fn(&Purpose) -> bool) -> bool {
        let mut concerned = self.goals.iter().filter(|goal| goal.findings.contains(finding)).peekable();
        concerned.peek().is_some() && concerned.all(|goal| such(&goal.purpose))
    }

    /// Returns findings about operator images whose inspection is under way.
    fn inspecting(&self) -> impl Iterator<Item = &Finding> {
        let running = self.findings.iter().filter(|finding| finding.reason == Reason::InspectionRunning);
        running.filter(|finding| !self.of_request(finding))
    }

    fn plan_told(&self) -> String {
        let stores = self.decision.plan.iter().filter_map(crate::model::action::Action::image_set);
        let stores: Vec<String> = stores.map(|store| store.set.to_string()).collect();
        let rolls = match self.decision.rollouts.as_slice() {
            [] => String::new(),
            rollouts => format!("; these roll: {}", listed(rollouts, usize::MAX)),
        };
        let stores = if stores.is_empty() { "nothing".to_owned() } else { stores.join(", ") };
        format!("would store {stores}{rolls}; {}", Reason::ImageSetPlanned.next_step())
    }
}

/// Returns why a set that is ready waits: its name is in use.
fn waits_for_takeover(goal: &Goal) -> Option<&Finding> {
    let such = |finding: &&Finding| matches!(finding.reason, Reason::WaitingForTakeover | Reason::SameNameConflict);
    let waits = matches!(goal.state, GoalState::Waiting | GoalState::Conflict);
    goal.findings.iter().find(such).filter(|_| waits)
}
