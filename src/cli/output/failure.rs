//! Why a verb has no output, for the person at the terminal.

use super::text::{DRIFTED, FAILED};
use crate::model::Reason;

/// One failure or several: what happened to which object, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub(super) message: String,
    pub(super) reason: Option<Reason>,
    pub(super) hint: Option<String>,
    /// The message is clap's, which has its own `error:` and its own hints.
    pub(super) is_whole: bool,
    /// Further failures.
    pub(super) others: Vec<Failure>,
    pub(super) code: u8,
}

impl Failure {
    /// Returns a failure of this message: what happened, to which object.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), reason: None, hint: None, is_whole: false, others: Vec::new(), code: FAILED }
    }

    /// Returns the failure for invalid arguments, with the message of the argument parser.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { is_whole: true, ..Self::new(message) }
    }

    /// Adds the reason, by the closed list that conditions, events and metrics share.
    #[must_use]
    pub fn reason(self, reason: Reason) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Returns the same failure with exit code 1: it is known that what was checked is not so.
    #[must_use]
    pub fn known(self) -> Self {
        Self { code: DRIFTED, ..self }
    }

    /// Adds another failure; the worse exit code counts.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.code = self.code.max(other.code);
        self.others.push(other);
        self
    }

    /// Returns what happened, without reason and hint.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<anyhow::Error> for Failure {
    /// The whole chain of causes in one line.
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}
