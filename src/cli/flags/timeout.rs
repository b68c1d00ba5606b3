//! How long a verb waits for the controller.

use std::time::Duration;

use clap::Args;

use crate::api::Interval;

/// `--timeout`, as it is typed and as it is counted. Verbs that wait longer than most set a default of their own.
#[derive(Debug, Clone, Copy, Args)]
pub(in crate::cli) struct TimeoutFlag {
    /// How long to wait
    #[arg(long, default_value = "2m", value_name = "TIME")]
    pub timeout: Interval,
}

impl TimeoutFlag {
    /// Returns how long to wait.
    pub fn duration(&self) -> Duration {
        self.timeout.duration()
    }
}
