//! A TigeraStatus.

use serde::{Deserialize, Serialize};

/// A TigeraStatus.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentStatus {
    /// `calico`, `apiserver`, `ippools`, …
    pub name: String,
    /// Condition Available is True.
    pub available: bool,
    /// Condition Progressing is True.
    pub progressing: bool,
    /// Condition Degraded is True: its reason and message. Releases up to v1.25 put the text into the reason.
    pub degraded: Option<Degraded>,
}

/// What a degraded component says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Degraded {
    /// `reason` as it is.
    pub reason: String,
    /// `message` as it is, cut.
    pub message: String,
}
