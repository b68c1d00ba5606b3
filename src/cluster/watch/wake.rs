//! Says that something has changed, and how urgent that is. Several changes are one.

use tokio::sync::Notify;

/// How soon a change is acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// With others, at most about once in a second.
    Soon,
    /// At once.
    Now,
}

/// What a reconcile waits for.
#[derive(Debug, Default)]
pub struct Wake {
    /// Something that is acted upon at once.
    pub now: Notify,
    /// Something that can wait for others.
    pub soon: Notify,
}

impl Wake {
    /// Something has changed.
    pub fn up(&self, urgency: Urgency) {
        match urgency {
            Urgency::Now => self.now.notify_one(),
            Urgency::Soon => self.soon.notify_one(),
        }
    }
}
