//! The decision: from a snapshot to actions, findings and lookups. It is pure: the same snapshot always leads to the same
//! decision.
//!
//! [`decide`] is a list of phases. Each is a function from values to values, and its documentation gives the reason for its
//! place. Unreadable inputs end the decision early; `hold` holds sets back for a reason (`phase::Because`).

mod finish;
mod hold;
mod inputs;
pub(crate) mod phase;
mod retain;

use crate::catalogue::Catalogue;
use crate::model::{Decision, Snapshot};
use crate::rules::checks::input::{CheckInput, CheckedSet};
use crate::rules::decide::finish::Phases;
use crate::rules::image_set::plan::Context;
use crate::rules::version::inspection;
use crate::rules::{checks, gate, image_set, version};

/// Decides what is written, looked up and reported for this snapshot.
///
/// `embedded` is the compiled-in catalogue.
#[must_use]
pub fn decide(snapshot: &Snapshot, embedded: &Catalogue<'_>) -> Decision {
    let findings = inputs::findings(snapshot);
    let Some(installation) = inputs::effective_installation(snapshot) else {
        return finish::without_inputs(snapshot, findings, None);
    };
    let versions = version::determine(snapshot, embedded, &installation);
    let Some(stored) = inputs::stored_sets(snapshot) else {
        return finish::without_inputs(snapshot, findings, Some(versions));
    };
    let gone = hold::installation_gone(snapshot, &installation, &versions.operator, &versions.effective);
    let running_set = hold::running_set(snapshot, &installation, &versions.operator, versions.effective.catalogue());
    let context = Context {
        snapshot,
        installation: &installation,
        versions: &versions,
        stored,
        unmakeable: running_set.waits_for(),
        installation_gone: !gone.is_empty(),
    };
    let sets = image_set::plan::plan(&context);
    let checked_sets: Vec<&CheckedSet> = sets.iter().map(|set| &set.checked_set).collect();
    let checked = checks::run(&CheckInput {
        snapshot,
        installation: &installation,
        effective: &versions.effective,
        operator: &versions.operator,
        checked_sets: &checked_sets,
        frozen: versions.frozen,
        rejected: versions.has_rejection(),
    });
    let held = hold::hold(&versions, sets, &checked, !gone.is_empty());
    let retained = retain::plan(snapshot, &versions, &held, &installation);
    let gate = gate::plan(snapshot);
    let inspections = inspection::plan(snapshot, &versions.inspections, versions.learned.as_ref());
    let unmakeable = versions.unmakeable(installation.variant);
    finish::finish(
        snapshot,
        Phases { findings, versions, unmakeable, checked, gone, held, retained, gate, inspections },
    )
}
