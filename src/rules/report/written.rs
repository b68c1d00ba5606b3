//! The sets that a reconcile stored and deleted.

use crate::model::{Action, Decision, Outcome, PruneImageSet, StoreImageSet};

pub(crate) fn stored_by<'a>(decision: &'a Decision, outcome: &Outcome) -> impl Iterator<Item = &'a StoreImageSet> {
    decision.actions.iter().take(outcome.completed).filter_map(Action::image_set)
}

pub(crate) fn pruned_by<'a>(decision: &'a Decision, outcome: &Outcome) -> impl Iterator<Item = &'a PruneImageSet> {
    decision.actions.iter().take(outcome.completed).filter_map(|action| match action {
        Action::PruneImageSet(prune) => Some(prune),
        _ => None,
    })
}
