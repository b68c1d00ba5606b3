//! The condition Adopted: whether the operator selected the set, and every workload runs it.

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{Condition, ConditionType, Read, Reason, Status};
use crate::rules::failed_reads::view_finding;
use crate::rules::report::conditions::{ConditionInput, Verdict};

impl ConditionInput<'_> {
    pub(super) fn adopted(&self) -> Verdict {
        if self.decision.inputs_unreadable {
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
            let finding = view_finding(failure);
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
                    list_first(&workloads.pending, MOST_NAMED)
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
            _ if self.findings.iter().any(|finding| finding.reason.is_image_set_fault()) => {
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
        let wanted = self.current_goals().last().map(|goal| goal.name.to_string());
        let others = self.snapshot.image_sets.known().into_iter().flatten();
        let others: Vec<&str> =
            others.map(|set| set.name.as_str()).filter(|name| Some(*name) != wanted.as_deref()).collect();
        match (wanted, others.is_empty()) {
            (Some(wanted), false) => {
                format!(
                    "the operator looks for {wanted} and uses no other; there is {}",
                    list_first(&others, MOST_NAMED)
                )
            }
            _ => meaning.to_owned(),
        }
    }
}
