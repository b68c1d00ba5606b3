//! Two operator versions that look up the same name, each for its own content. The content of the running version stays until the
//! rollout of the other one completes. Meanwhile that content either serves the other version as well, or the other version is
//! without its set for a while, which is reported.
//!
//! The content of the running version is never reduced to what both versions accept, although that would serve both more often:
//! an image can be required by something that no object of the cluster shows (docs/adr/0014).

use std::collections::BTreeMap;

use crate::model::{
    Action, CompleteImageSet, Digest, Finding, GoalState, ImageName, ObjectRef, Reason, Release, lists::list_first,
};
use crate::rules::image_set::assemble::Assembled;
use crate::rules::image_set::outcome::SetOutcome;
use crate::rules::image_set::spec::SetSpec;
use crate::rules::image_set::stored_sets::why_rejected;

/// Maximum number of names in a message.
const MOST_NAMED: usize = 3;

/// The claim of an earlier goal to a name.
pub(crate) struct NameClaim {
    pub release: Release,
    /// Whether its operator runs or is the target, and is not only staged.
    pub runs: bool,
    /// Content that is stored under the name, or will be.
    pub content: Option<BTreeMap<ImageName, Digest>>,
    pub state: GoalState,
}

impl NameClaim {
    /// Returns whose content it is: that of an operator in use, or content that is stored ahead.
    fn describe(&self, runs_with: &str, stored: &str) -> String {
        match self.runs {
            true => format!("operator {} runs with{runs_with}", self.release),
            false => format!("{stored} stored for operator {}", self.release),
        }
    }
}

/// Plans the second set of one name: the stored content serves both versions, or the second content waits for its operator.
pub(crate) fn plan_second(assembled: Assembled, claim: &NameClaim, spec: &SetSpec<'_>) -> SetOutcome {
    let Assembled { set, record, omitted, warnings, resolved_at, .. } = assembled;
    let actions = record.into_iter().map(|record| Action::WriteRecord(Box::new(record))).collect();
    let outcome = |state: GoalState, entries: &BTreeMap<ImageName, Digest>| SetOutcome {
        actions,
        omitted,
        resolved_at,
        findings: warnings,
        ..SetOutcome::in_state(state, Some(entries.clone()))
    };
    let Some(content) = &claim.content else {
        let message = format!("it waits for what {}", claim.describe("", "is"));
        return with_finding(outcome(GoalState::Waiting, set.entries()), Reason::WaitingForTakeover, &set, message);
    };
    if content == set.entries() {
        return outcome(claim.state, content);
    }
    let release = set.origin().operator;
    let other = differing(content, &set);
    if let Some(why) = why_rejected(content, spec) {
        let message = format!(
            "{why}, and {}; the content of {release} is ready and swapped in by one write after the take-over, without which \
             it reconciles nothing ({})",
            claim.describe(" it", "it is"),
            describe_gap(spec)
        );
        return with_finding(outcome(GoalState::Conflict, set.entries()), Reason::SameNameConflict, &set, message);
    }
    let required_now = spec.required_now();
    let pulled: Vec<&ImageName> = other.iter().copied().filter(|name| required_now.contains(name)).collect();
    let swap = "swapped in by one write after the take-over";
    if pulled.is_empty() {
        let message = format!(
            "operator {release} takes the content of {}, which has all that it insists on; its own ({}) is {swap}",
            claim.release,
            list_first(&other, MOST_NAMED)
        );
        return with_finding(outcome(claim.state, content), Reason::WaitingForTakeover, &set, message);
    }
    let message = format!(
        "{} under this name ({}); those of {release} are {swap} ({})",
        claim.describe(" other digests", "other digests are"),
        list_first(&pulled, MOST_NAMED),
        describe_gap(spec)
    );
    with_finding(outcome(GoalState::Waiting, set.entries()), Reason::WaitingForTakeover, &set, message)
}

fn with_finding(mut outcome: SetOutcome, reason: Reason, set: &CompleteImageSet, message: String) -> SetOutcome {
    outcome.findings.push(Finding::new(reason, ObjectRef::image_set(set.name().as_str()), message));
    outcome
}

/// Returns the names that are in one of them only, or with another digest.
fn differing<'a>(content: &'a BTreeMap<ImageName, Digest>, set: &'a CompleteImageSet) -> Vec<&'a ImageName> {
    let own = set.entries();
    let mut names: Vec<&ImageName> = content.keys().chain(own.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| content.get(*name) != own.get(*name));
    names
}

/// Returns how long the new operator is without its content, estimated from the last swap.
fn describe_gap(spec: &SetSpec<'_>) -> String {
    match &spec.snapshot.remembered.last_swap {
        Some(swap) => format!("at most {} s the last time, for {}", swap.gap_seconds, swap.image_set),
        None => "a second or two; status.lastSwap will tell".to_owned(),
    }
}
