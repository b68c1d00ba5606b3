//! The outcome of planning one set.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::{Action, Digest, Finding, GoalState, ImageName, Reference};

/// The outcome of planning one set.
pub(crate) struct SetOutcome {
    pub state: GoalState,
    /// Entries that are stored, or will be.
    pub entries: Option<BTreeMap<ImageName, Digest>>,
    pub omitted: Vec<ImageName>,
    pub resolved_at: Option<Timestamp>,
    pub actions: Vec<Action>,
    pub findings: Vec<Finding>,
    /// Images to look up.
    pub lookups: BTreeSet<Reference>,
    /// References whose lookup result cannot be part of a set.
    pub unsuitable: BTreeSet<Reference>,
}

impl SetOutcome {
    /// Returns a set that findings hold.
    pub fn held(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::in_state(GoalState::Held, None) }
    }

    /// Returns a set in this state, with nothing to do.
    pub fn in_state(state: GoalState, entries: Option<BTreeMap<ImageName, Digest>>) -> Self {
        Self {
            state,
            entries,
            omitted: Vec::new(),
            resolved_at: None,
            actions: Vec::new(),
            findings: Vec::new(),
            lookups: BTreeSet::new(),
            unsuitable: BTreeSet::new(),
        }
    }
}
