//! The conditions about the sets: Resolved, Applied and Prepared.

use crate::model::{
    Action, ConditionType, Finding, Goal, GoalState, Mode, PreparedReport, Purpose, Reason, Severity, Status,
    lists::list_first,
};
use crate::rules::failed_reads::read_finding;
use crate::rules::report::conditions::{ConditionInput, Verdict};

impl ConditionInput<'_> {
    pub(super) fn resolved(&self) -> Verdict {
        let mine = |finding: &&Finding| finding.blocks() && !self.is_ahead_only(finding);
        if let Some(finding) = self.findings_of(ConditionType::Resolved).find(mine) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let wanted: Vec<&Goal> = self.current_goals().collect();
        if wanted.iter().any(|goal| goal.state == GoalState::Resolving) || !self.decision.lookups.blocks_no_write() {
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

    pub(super) fn applied(&self) -> Verdict {
        let mine = |finding: &&Finding| finding.reason.severity() > Severity::Note && !self.is_ahead_only(finding);
        if let Some(finding) = self.findings_of(ConditionType::Applied).find(mine) {
            return (Status::False, finding.reason, finding.sentence());
        }
        let Some(current) = self.current else {
            let unread = self.snapshot.installation.failure().or(self.snapshot.image_sets.failure());
            if let Some(finding) = unread.map(read_finding) {
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
        if let Some(waits) = self.current_goals().last().and_then(waiting_finding) {
            return (Status::False, waits.reason, waits.sentence());
        }
        match self.current_goals().last().map(|goal| goal.state) {
            Some(GoalState::Ready) if self.snapshot.settings.suspend => {
                (Status::False, Reason::Suspended, format!("{name} would be stored; {}", Reason::Suspended.next_step()))
            }
            Some(GoalState::Ready) if self.snapshot.settings.mode == Mode::Observe => {
                (Status::False, Reason::ImageSetPlanned, self.plan_message())
            }
            _ => (Status::False, Reason::Progressing, format!("{name} is not stored yet")),
        }
    }

    pub(super) fn prepared(&self) -> Verdict {
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
                    let needs = if finding.reason.is_about_inspection() {
                        Reason::NeedsInspection
                    } else {
                        Reason::NotPrepared
                    };
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
                if let Some(waits) = self.goals.iter().find(conflict).and_then(waiting_finding) {
                    return (Status::True, waits.reason, waits.sentence());
                }
                let requested = self.prepared.iter().filter(|prepared| self.is_named(prepared));
                let versions: Vec<String> = requested.map(|prepared| prepared.version.to_string()).collect();
                (Status::True, Reason::AllVersionsPrepared, versions.join(", "))
            }
        }
    }

    pub(super) fn plan_message(&self) -> String {
        let stores = self.decision.plan.iter().filter_map(Action::image_set);
        let stores: Vec<String> = stores.map(|store| store.set.to_string()).collect();
        let rolls = match self.decision.rollouts.as_slice() {
            [] => String::new(),
            rollouts => format!("; these roll: {}", list_first(rollouts, usize::MAX)),
        };
        let stores = if stores.is_empty() { "nothing".to_owned() } else { stores.join(", ") };
        format!("would store {stores}{rolls}; {}", Reason::ImageSetPlanned.next_step())
    }
}

/// Returns why a set that is ready waits: its name is in use.
pub(super) fn waiting_finding(goal: &Goal) -> Option<&Finding> {
    let such = |finding: &&Finding| matches!(finding.reason, Reason::WaitingForTakeover | Reason::SameNameConflict);
    let waits = matches!(goal.state, GoalState::Waiting | GoalState::Conflict);
    goal.findings.iter().find(such).filter(|_| waits)
}
