//! A finding: one thing that a person should know, about one object, with the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::foreign_text::line;
use crate::model::reason::{Reason, Severity};

/// One thing that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// Why.
    pub reason: Reason,
    /// What it is about, such as `ImageSet calico-v3.31.7`.
    pub object: String,
    /// What happened, in words, without the object's name in front.
    pub message: String,
    /// What is there and what should be, where that can be put side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What was found and what is wanted in its place, such as two digests, cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What is there.
    pub have: String,
    /// What should be.
    pub want: String,
}

/// Longest message of a finding, in bytes.
pub const LONGEST_MESSAGE: usize = 2048;

/// Longest object and longest value of evidence, in bytes.
const LONGEST_OBJECT: usize = 512;

impl Finding {
    /// A finding about `object`. Both texts are made safe and cut: parts of them are foreign.
    #[must_use]
    pub fn new(reason: Reason, object: impl Into<String>, message: impl Into<String>) -> Self {
        let (object, message) = (line(&object.into(), LONGEST_OBJECT), line(&message.into(), LONGEST_MESSAGE));
        Self { reason, object, message, evidence: None }
    }

    /// With what is there and what should be, made safe and cut.
    #[must_use]
    pub fn with_evidence(self, have: impl Into<String>, want: impl Into<String>) -> Self {
        let (have, want) = (line(&have.into(), LONGEST_OBJECT), line(&want.into(), LONGEST_OBJECT));
        Self { evidence: Some(Evidence { have, want }), ..self }
    }

    /// Whether both tell of one and the same thing, if perhaps in other words.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = self.reason == other.reason && self.object == other.object;
        // The one reason of which a set has one finding per image.
        same && (self.reason != Reason::TagMoved || self.evidence == other.evidence)
    }

    /// Whether it holds up what the policy asks for.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.reason.severity() >= Severity::Blocking
    }

    /// One sentence for a condition or an event: object, what happened, what to do.
    #[must_use]
    pub fn sentence(&self) -> String {
        let next = self.reason.next_step();
        let separator = if next.is_empty() { "" } else { "; " };
        format!("{}: {}{separator}{next}", self.object, self.message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence())
    }
}
