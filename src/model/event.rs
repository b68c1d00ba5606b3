//! Kubernetes events to emit.

use serde::Serialize;

use crate::model::object_ref::ObjectRef;
use crate::model::reason::Reason;

/// An event about the policy and related objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Type of the event: `true` is Warning, `false` is Normal.
    pub warning: bool,
    /// Reason of the event.
    pub reason: Reason,
    /// What the controller did. Kubernetes counts events of one action, reason and object as one and keeps the first note.
    pub action: &'static str,
    /// Message for people.
    pub note: String,
    /// Further objects that the event is about, each with the note for it.
    pub about: Vec<(ObjectRef, String)>,
}
