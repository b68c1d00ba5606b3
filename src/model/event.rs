//! A Kubernetes event to emit.

use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `true`: type Warning; `false`: type Normal.
    pub warning: bool,
    /// A word of the closed list.
    pub reason: String,
    /// What was done. Kubernetes counts events of one action, reason and object as one, and keeps the first note.
    pub action: &'static str,
    /// In words.
    pub note: String,
    /// The objects that it is about beside the policy, such as `ImageSet calico-v3.31.7`, each with what is told there.
    pub about: Vec<(String, String)>,
}
