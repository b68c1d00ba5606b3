//! How a phase of a decision ends.

/// The end of a phase: the next phases go on with its output, or wait.
pub(crate) enum Phase<T> {
    /// The output, for the phases that follow.
    GoOn(T),
    /// What depends on this phase waits.
    Wait(Because),
}

/// Why a phase waits.
pub(crate) enum Because {
    /// A read failed without which nothing can be concluded about versions and sets.
    InputsUnreadable,
    /// Which operator runs cannot be told; a finding says why.
    OperatorUnclear,
    /// Stored sets were made from an Installation that is gone.
    InstallationGone,
    /// No set can be made for the running version, and without it any other set stops the operator. The text says what is waited for.
    RunningSetFirst(String),
}

impl<T> Phase<T> {
    /// What the sets of other versions wait for.
    pub fn waits_for(self) -> Option<String> {
        match self {
            Self::Wait(Because::RunningSetFirst(message)) => Some(message),
            Self::GoOn(_) | Self::Wait(_) => None,
        }
    }
}
