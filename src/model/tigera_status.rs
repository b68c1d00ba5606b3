//! TigeraStatus objects, the operator's status of its components.

use serde::{Deserialize, Serialize};

/// The status of one component of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentStatus {
    /// Name of the component: `calico`, `apiserver`, `ippools`, …
    pub name: String,
    /// Condition Available is True.
    pub available: bool,
    /// Condition Progressing is True.
    pub progressing: bool,
    /// Reason and message of condition Degraded, if it is True. Releases up to v1.25 write the message into the reason.
    pub degraded: Option<Degraded>,
}

/// Why a component is degraded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Degraded {
    /// `reason`, unchanged.
    pub reason: String,
    /// `message`, cut.
    pub message: String,
}
