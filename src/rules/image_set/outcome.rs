//! The outcome of the work on one set.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::model::action::Action;
use crate::model::decision::GoalState;
use crate::model::digest::Digest;
use crate::model::finding::Finding;
use crate::model::image_name::ImageName;

/// What became of one set.
pub(crate) struct Worked {
    pub state: GoalState,
    /// Content that is stored or will be.
    pub entries: Option<BTreeMap<ImageName, Digest>>,
    pub omitted: Vec<ImageName>,
    pub resolved_at: Option<Timestamp>,
    pub actions: Vec<Action>,
    pub findings: Vec<Finding>,
}

impl Worked {
    pub fn held(findings: Vec<Finding>) -> Self {
        Self { findings, ..Self::in_state(GoalState::Held, None) }
    }

    pub fn in_state(state: GoalState, entries: Option<BTreeMap<ImageName, Digest>>) -> Self {
        Self { state, entries, omitted: Vec::new(), resolved_at: None, actions: Vec::new(), findings: Vec::new() }
    }
}
