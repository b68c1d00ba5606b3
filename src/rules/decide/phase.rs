//! How a phase that can hold sets back ends.

/// The end of such a phase: the following phases go on with its output, or wait.
pub(crate) enum Phase<T> {
    /// The output, for the phases that follow.
    GoOn(T),
    /// Whatever depends on this phase waits.
    Wait(Because),
}

/// Why sets are held back.
pub(crate) enum Because {
    /// It is unknown which operator runs; a finding has the reason.
    OperatorUnclear,
    /// Stored sets were made from an Installation that is gone.
    InstallationGone,
    /// No set can be made for the running version, and without it any other set stops the operator. The text is the message.
    RunningSetFirst(String),
}

impl<T> Phase<T> {
    /// Returns the message of what the sets of other versions wait for.
    pub fn waits_for(self) -> Option<String> {
        match self {
            Self::Wait(Because::RunningSetFirst(message)) => Some(message),
            Self::GoOn(_) | Self::Wait(_) => None,
        }
    }
}
