//! Rules on stored sets: whether they are managed, whether their operator accepts them, whether they are as the controller wrote
//! them, and what to do about one that is not.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Action, CompleteImageSet, Digest, Finding, GoalState, ImageName, Motive, ObjectRef, Precondition, Read, Reason,
    Record, RecordKey, RejectedContent, Snapshot, StoreImageSet, StoredImageSet, TagMoved, image_set::content_digest,
};
use crate::rules::image_set::assemble::Assembled;
use crate::rules::image_set::entries::{FaultyEntry, check_entries, first_fault};
use crate::rules::image_set::outcome::SetOutcome;
use crate::rules::image_set::spec::SetSpec;
use crate::rules::image_set::{set_edited, set_owner};

/// A managed set that was restored this often within ten minutes is contested, and left as it is.
pub const CONTESTED_AFTER: u32 = 3;

/// Compares the stored set with the assembled one, and returns the write, or why there is none.
pub(crate) fn compare(existing: Option<&StoredImageSet>, assembled: Assembled, spec: &SetSpec<'_>) -> SetOutcome {
    let mut findings = Vec::new();
    let motive = match existing {
        None => Motive::Create,
        Some(stored) if !stored.managed => Motive::TakeOver,
        Some(stored) if has_same_content(stored, &assembled.set) => return unchanged(assembled),
        Some(stored) if is_edited(stored) && !is_made_for_other(stored, &assembled.set) => {
            match not_restored(stored, &assembled, spec) {
                Some(finding) => return not_written(assembled, finding),
                None => findings.push(set_edited::finding(stored, &assembled.set)),
            }
            Motive::Restore
        }
        Some(_) => Motive::Update,
    };
    let Assembled { set, record, omitted, mut warnings, resolved_at, .. } = assembled;
    warnings.extend(findings);
    let mut actions: Vec<Action> = record.into_iter().map(|record| Action::WriteRecord(Box::new(record))).collect();
    let replaced = existing.filter(|_| motive == Motive::Update);
    if let Some(stored) = replaced.filter(|stored| !is_edited(stored) && is_used(spec.snapshot, &stored.name)) {
        record_accepted(stored, spec, &mut actions);
    }
    let entries = Some(set.entries().clone());
    if !matches!(spec.snapshot.image_sets, Read::KindMissing) {
        let precondition =
            existing.map_or(Precondition::Absent, |stored| Precondition::Unchanged(stored.resource_version.clone()));
        actions.push(Action::StoreImageSet(Box::new(StoreImageSet { set, precondition, motive })));
    }
    SetOutcome { omitted, resolved_at, actions, findings: warnings, ..SetOutcome::in_state(GoalState::Ready, entries) }
}

/// Returns the outcome for a set that is stored with the right content. At most its record is written.
fn unchanged(assembled: Assembled) -> SetOutcome {
    let Assembled { set, record, omitted, warnings, resolved_at, .. } = assembled;
    let actions = record.into_iter().map(|record| Action::WriteRecord(Box::new(record))).collect();
    let stored = SetOutcome::in_state(GoalState::Stored, Some(set.entries().clone()));
    SetOutcome { omitted, resolved_at, actions, findings: warnings, ..stored }
}

/// Returns the outcome for a set that is not written because of this finding.
fn not_written(assembled: Assembled, finding: Finding) -> SetOutcome {
    let Assembled { set, omitted, mut warnings, resolved_at, .. } = assembled;
    warnings.push(finding);
    let held = SetOutcome::in_state(GoalState::Held, Some(set.entries().clone()));
    SetOutcome { omitted, resolved_at, findings: warnings, ..held }
}

/// Returns why an edited set is not restored: it is contested, or nothing proves which digests are right.
fn not_restored(stored: &StoredImageSet, assembled: &Assembled, spec: &SetSpec<'_>) -> Option<Finding> {
    let (snapshot, set) = (spec.snapshot, &assembled.set);
    let object = ObjectRef::image_set(set.name().as_str());
    let restored = snapshot.restored.get(&stored.name).copied().unwrap_or_default();
    if restored >= CONTESTED_AFTER {
        let message = format!("it was changed by {} and put back {restored} times within ten minutes", stored.owner());
        return Some(Finding::new(Reason::ContestedOwnership, object, message));
    }
    // Without its annotations only its entries show what the set was.
    let follows = stored.origin.as_ref().map(|origin| origin.content == set.origin().content);
    let is_lost = follows == Some(false) && spec.own_record().is_none();
    let disagree = !assembled.contradictions.is_empty();
    let is_unproven = is_lost || (follows != Some(true) && (disagree || spec.contradicts_lookup(stored)));
    let message = match disagree {
        true => "it was edited, and its record and the registry have different digests",
        false => "it was edited, its record is lost, and the registry serves other digests now",
    };
    let repins = snapshot.settings.tag_moved == TagMoved::Repin;
    (is_unproven && !repins).then(|| Finding::new(Reason::TagMoved, object, message))
}

/// Whether the record that a set would be restored from is not the one that it was made from: its content is not the one of the
/// set's annotation. The registry decides then.
pub(crate) fn puts_record_in_doubt(stored: &StoredImageSet, assembled: &Assembled, spec: &SetSpec<'_>) -> bool {
    let set = &assembled.set;
    let follows = match &stored.origin {
        Some(origin) => origin.content == set.origin().content,
        None => parse_entries(stored).is_some_and(|entries| entries == *set.entries()),
    };
    stored.managed && is_edited(stored) && !is_made_for_other(stored, set) && !follows && spec.own_record().is_some()
}

/// Whether the set was made for another version or another layout. An edit of it then does not matter.
fn is_made_for_other(stored: &StoredImageSet, set: &CompleteImageSet) -> bool {
    let own = set.origin();
    stored.origin.as_ref().is_some_and(|origin| origin.operator != own.operator || origin.record != own.record)
}

/// Whether the operator uses the set of this name, and no component is degraded.
pub(crate) fn is_used(snapshot: &Snapshot, name: &str) -> bool {
    let seen = snapshot.installation.known().and_then(Option::as_ref);
    seen.is_some_and(|seen| seen.selected_image_set.as_deref() == Some(name))
        && snapshot.component_statuses.known().is_some_and(|all| all.iter().all(|one| one.degraded.is_none()))
}

/// Stores the replaced content in the record of the new one, to go back to it if the operator rejects the new one.
fn record_accepted(set: &StoredImageSet, spec: &SetSpec<'_>, actions: &mut Vec<Action>) {
    let accepted = parse_entries(set);
    match actions.first_mut() {
        Some(Action::WriteRecord(record)) => record.accepted = accepted,
        _ => actions.push(Action::WriteRecord(Box::new(Record { accepted, ..spec.record() }))),
    }
}

/// Plans to restore the content that the operator accepted before, in place of one that it rejects. It is used if it is recorded
/// and has none of the rejected entries. The rejected content is not written again, and nothing else is until the operator image
/// has been inspected.
pub(crate) fn restore_accepted(
    existing: Option<&StoredImageSet>,
    rejected: &RejectedContent,
    spec: &SetSpec<'_>,
) -> SetOutcome {
    let mut record = spec.record();
    let mut actions = Vec::new();
    if record.rejected.as_ref() != Some(rejected) {
        record.rejected = Some(rejected.clone());
        actions.push(Action::WriteRecord(Box::new(record.clone())));
    }
    let resolved_at = Some(record.resolved_at);
    let accepted = record.accepted.filter(|accepted| rejected.takes(accepted));
    let set = accepted.and_then(|accepted| {
        // The operator's own list is unknown: the accepted content is all that is known.
        let (name, release) = (spec.name.clone(), spec.images.release());
        CompleteImageSet::new(name, release, spec.key, accepted, &BTreeSet::new(), |_| true).ok()
    });
    let Some(set) = set else {
        let state = if existing.is_some() { GoalState::Stored } else { GoalState::Held };
        return SetOutcome { actions, resolved_at, ..SetOutcome::in_state(state, existing.and_then(parse_entries)) };
    };
    let entries = Some(set.entries().clone());
    if existing.is_some_and(|stored| has_same_content(stored, &set)) {
        return SetOutcome { actions, resolved_at, ..SetOutcome::in_state(GoalState::Stored, entries) };
    }
    let precondition =
        existing.map_or(Precondition::Absent, |stored| Precondition::Unchanged(stored.resource_version.clone()));
    let store = StoreImageSet { set, precondition, motive: Motive::StandIn };
    actions.push(Action::StoreImageSet(Box::new(store)));
    SetOutcome { actions, resolved_at, ..SetOutcome::in_state(GoalState::Ready, entries) }
}

/// Plans for an unmanaged set: it is validated by the operator's own rules and left as it is.
pub(crate) fn judge_unmanaged(set: &StoredImageSet, spec: &SetSpec<'_>) -> SetOutcome {
    match validate(set, spec) {
        Ok(entries) => {
            let findings = vec![set_owner::accepted(set, entries.len())];
            SetOutcome { findings, ..SetOutcome::in_state(GoalState::Stored, Some(entries)) }
        }
        Err(cause) => SetOutcome::held(vec![set_owner::invalid(set, &cause)]),
    }
}

/// Plans for a managed set that must not change now, whatever it should hold.
pub(crate) fn leave_unchanged(set: &StoredImageSet, spec: &SetSpec<'_>) -> SetOutcome {
    let made_for_it = set.origin.as_ref().is_some_and(|origin| origin.operator == spec.images.release());
    let valid = !is_edited(set) && made_for_it && validate(set, spec).is_ok();
    SetOutcome::in_state(if valid { GoalState::Stored } else { GoalState::Held }, parse_entries(set))
}

/// Validates a set by the rules of the operator of this spec: its entries, or the first thing that is wrong with them.
pub(crate) fn validate(set: &StoredImageSet, spec: &SetSpec<'_>) -> Result<BTreeMap<ImageName, Digest>, String> {
    let required = spec.required_now();
    let (faulty, pinned) = check_entries(&set.images, spec.images, &required);
    match faulty.first() {
        Some(faulty) => Err(describe(faulty, spec)),
        None => Ok(pinned.into_iter().map(|(name, (_, digest))| (name, digest)).collect()),
    }
}

/// Returns why the operator of this spec rejects such entries.
pub(crate) fn why_rejected(entries: &BTreeMap<ImageName, Digest>, spec: &SetSpec<'_>) -> Option<String> {
    first_fault(entries, spec.images, &spec.required_now()).map(|faulty| describe(&faulty, spec))
}

fn describe(faulty: &FaultyEntry<'_>, spec: &SetSpec<'_>) -> String {
    let is_known = spec.snapshot.features.known().is_some() && spec.images.has_known_requirements();
    faulty.describe(spec.images.release(), is_known)
}

/// Whether a managed set is as the controller wrote it from this record. Its digests then stay pinned, with or without the
/// record.
pub(crate) fn is_unchanged_for(set: &StoredImageSet, key: &RecordKey) -> bool {
    let made_for_this =
        set.origin.as_ref().is_some_and(|origin| origin.operator == key.operator && origin.record == key.name());
    set.managed && made_for_this && !is_edited(set)
}

pub(crate) fn parse_entries(set: &StoredImageSet) -> Option<BTreeMap<ImageName, Digest>> {
    set.images.iter().map(|entry| Some((entry.image.parse().ok()?, entry.digest.parse().ok()?))).collect()
}

/// Whether the entries differ from those that the controller wrote.
pub(crate) fn is_edited(set: &StoredImageSet) -> bool {
    let content = content_digest(set.images.iter().map(|entry| (entry.image.clone(), entry.digest.clone())));
    set.origin.as_ref().is_none_or(|origin| origin.content != content)
}

fn has_same_content(stored: &StoredImageSet, set: &CompleteImageSet) -> bool {
    stored.images.len() == set.entries().len()
        && parse_entries(stored).is_some_and(|entries| entries == *set.entries())
        && stored.origin.as_ref() == Some(set.origin())
}
