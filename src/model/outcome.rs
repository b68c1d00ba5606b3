//! Outcome of the writes of a reconcile.

use jiff::Timestamp;

use crate::model::object_ref::ObjectRef;

/// How many actions were carried out, and what failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Number of the decision's actions that were carried out, in order. A gate that could not be written counts.
    pub completed: usize,
    /// When the last of them was carried out.
    pub at: Option<Timestamp>,
    /// The failure that ended the writes, or that of the gate.
    pub failure: Option<ActionFailure>,
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionFailure {
    /// Whether the object was written concurrently (409). A fresh read solves it.
    pub conflict: bool,
    /// Whether an object of this name exists that the controller did not create.
    pub not_managed: bool,
    /// The object to be written.
    pub object: ObjectRef,
    /// Response of the API server, escaped and cut.
    pub message: String,
}
