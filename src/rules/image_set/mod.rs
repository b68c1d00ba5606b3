//! One ImageSet: how it is assembled, compared with the stored one, shared by two versions of one name, and retained.

pub(crate) mod assemble;
mod blockers;
pub(crate) mod entries;
pub(crate) mod impossible;
pub(crate) mod name_conflict;
mod nodes;
pub(crate) mod outcome;
pub(crate) mod pin;
pub(crate) mod plan;
pub(crate) mod retention;
pub(crate) mod set_edited;
pub(crate) mod set_owner;
pub(crate) mod spec;
pub(crate) mod stored_sets;
pub(crate) mod tag_moved;
