//! A Kubernetes event to emit.

use serde::Serialize;

use crate::model::object_ref::ObjectRef;
use crate::model::reason::Reason;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `true`: type Warning; `false`: type Normal.
    pub warning: bool,
    /// Why.
    pub reason: Reason,
    /// What was done. Kubernetes counts events of one action, reason and object as one, and keeps the first note.
    pub action: &'static str,
    /// In words.
    pub note: String,
    /// The objects that it is about beside the policy, each with what is told there.
    pub about: Vec<(ObjectRef, String)>,
}
