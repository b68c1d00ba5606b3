//! How tests and the demo wait. No test measures time: each waits for a state with this limit, and only then for quiet.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::slow_machine;

/// The limit of every wait: only something that hangs reaches it, also with half a core for each process and 300 ms on every
/// API request.
pub const SOON: Duration = Duration::from_secs(300);

/// Interval at which a state that is waited for is checked.
const POLL: Duration = Duration::from_millis(50);

/// Waits until `check` returns a value, and returns it. `what` is for the error message.
///
/// # Errors
/// `check` failed, or returned no value within the limit.
pub async fn until<T>(what: &str, limit: Duration, mut check: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = check().await? {
            return Ok(value);
        }
        if started.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// How long nothing may be written until everything counts as said: longer where requests or processes are slowed down, because
/// a reconcile then pauses longer between two writes.
pub fn quiet_window() -> Duration {
    quiet_window_with(slow_machine::api_delay().ok().flatten().unwrap_or_default())
}

/// The same with this delay on every API request.
pub fn quiet_window_with(api_delay: Duration) -> Duration {
    let delays = api_delay * 20;
    let processes = slow_machine::cpu_share().ok().flatten().map_or(1.0, |share| (1.0 / share).max(1.0));
    Duration::from_secs(2).mul_f64(processes) + delays
}
