//! What became of the writes of a reconcile.

use jiff::Timestamp;

use crate::model::object_ref::ObjectRef;

/// What became of the actions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How many of the decision's actions are behind us, in order. A gate that could not be set is among them.
    pub done: usize,
    /// When the last of them was.
    pub at: Option<Timestamp>,
    /// What ended it before the last one, or kept the gate from being set.
    pub failure: Option<ActionFailure>,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFailure {
    /// Somebody else wrote the object at the same moment (409): look again.
    pub conflict: bool,
    /// An object of this name exists, and the controller did not create it.
    pub not_managed: bool,
    /// The object that was to be written.
    pub object: ObjectRef,
    /// What the apiserver answered, escaped and cut.
    pub message: String,
}
