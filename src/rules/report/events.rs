//! The events of a reconcile: writes that were made, conditions that changed, and findings that are new. Each finding is reported
//! once, by comparison with the previous status.

use std::collections::BTreeSet;

use crate::model::{
    Condition, Decision, Event, Finding, Motive, ObjectRef, Outcome, Reason, Severity, Snapshot, StoreImageSet, Swap,
    report::MOST_FINDINGS,
};
use crate::rules::gate;
use crate::rules::report::written::{pruned_by, stored_by};

/// Maximum number of objects that one event is emitted on.
const MOST_OBJECTS: usize = 5;

/// Returns the events since the previous reconcile: writes, and conditions whose status or reason changed for the worse or
/// recovered.
pub(crate) fn since_last_reconcile(
    snapshot: &Snapshot,
    decision: &Decision,
    outcome: &Outcome,
    conditions: &[Condition],
    findings: &[Finding],
    swap: Option<&Swap>,
) -> Vec<Event> {
    let mut events: Vec<Event> = stored_by(decision, outcome).map(|store| write_event(store, swap)).collect();
    events.extend(pruned_by(decision, outcome).map(|prune| Event {
        warning: false,
        reason: Reason::ImageSetPruned,
        action: "Prune",
        note: format!(
            "deleted ImageSet {}: spec.retain keeps {} previous sets",
            prune.image_set, snapshot.settings.retain
        ),
        about: Vec::new(),
    }));
    // If the inputs are unreadable, the previous status stays as it is, and the next reconcile would emit the same event again.
    events.extend(gate::admitted_by_annotation(snapshot).filter(|_| !decision.inputs_unreadable).map(|image| Event {
        warning: true,
        reason: Reason::GlassBroken,
        action: "Admit",
        note: format!("operator image {image} passed the gate by annotation; no ImageSet was ready for it"),
        about: Vec::new(),
    }));
    events.extend(new_findings(snapshot, findings));
    let before = &snapshot.remembered.conditions;
    for condition in conditions {
        let was = before.iter().find(|was| was.r#type == condition.r#type);
        if was.is_some_and(|was| was.status == condition.status && was.reason == condition.reason) {
            continue;
        }
        let reason = condition.reason;
        // Ready, Reconciling and Stalled repeat what the other conditions report.
        let own = reason.condition() == condition.r#type;
        // Findings about the observed cluster have events of their own.
        let warning = reason.severity() >= Severity::Warning && !condition.r#type.is_about_cluster();
        let was_warning = was.is_some_and(|was| was.reason.severity() >= Severity::Warning);
        let healed = was_warning && reason.severity() == Severity::Normal;
        if own && (warning || healed) {
            let note = if condition.message.is_empty() { reason.meaning() } else { condition.message.as_str() };
            events.push(Event { warning, reason, action: "Reconcile", note: note.to_owned(), about: Vec::new() });
        }
    }
    events
}

/// Returns one event per reason for findings that were not reported before, on the policy and on the first few objects concerned.
fn new_findings(snapshot: &Snapshot, findings: &[Finding]) -> Vec<Event> {
    let is_new = |finding: &&Finding| !snapshot.remembered.findings.iter().any(|before| before.is_same(finding));
    let of_cluster = |finding: &&Finding| {
        finding.reason.condition().is_about_cluster() && finding.reason.severity() >= Severity::Warning
    };
    // A finding that the status does not hold would be new in every reconcile.
    let new: Vec<&Finding> = findings.iter().take(MOST_FINDINGS).filter(of_cluster).filter(is_new).collect();
    let reasons: BTreeSet<Reason> = new.iter().map(|finding| finding.reason).collect();
    let event = |reason: Reason| {
        let mut of_reason = new.iter().filter(|finding| finding.reason == reason);
        let first = of_reason.next()?;
        let more = of_reason.count();
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        let mut about: Vec<(ObjectRef, String)> = Vec::new();
        for finding in new.iter().filter(|finding| finding.reason == reason) {
            let Some(object) = finding.subject.object() else { continue };
            if about.len() < MOST_OBJECTS && !about.iter().any(|(other, _)| other == object) {
                about.push((object.clone(), finding.sentence()));
            }
        }
        let note = format!("{}{more}", first.sentence());
        Some(Event { warning: true, reason, action: "Check", note, about })
    };
    reasons.into_iter().filter_map(event).collect()
}

fn write_event(store: &StoreImageSet, swap: Option<&Swap>) -> Event {
    let set = &store.set;
    let operator = set.origin().operator;
    let swap = swap.filter(|swap| swap.image_set == set.name().as_str());
    let (warning, reason, action, did) = match store.motive {
        Motive::Create => (false, Reason::ImageSetStored, "Store", "stored"),
        Motive::Update if swap.is_some() => (false, Reason::ImageSetStored, "Swap", "swapped in"),
        Motive::Update => (false, Reason::ImageSetStored, "Update", "updated"),
        Motive::TakeOver => (false, Reason::ImageSetStored, "TakeOver", "took over"),
        Motive::Restore => (true, Reason::ImageSetEdited, "PutBack", "put back"),
        Motive::StandIn => (true, Reason::ImageSetRefused, "StandIn", "refused; put back what was accepted in"),
    };
    let gap = swap.map(|swap| format!(", at most {} s after that was Ready", swap.gap_seconds)).unwrap_or_default();
    let note = format!("{did} ImageSet {set} for operator {operator}{gap}");
    let about = vec![(ObjectRef::image_set(set.name().as_str()), note.clone())];
    Event { warning, reason, action, note, about }
}
