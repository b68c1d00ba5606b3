//! Times from a status, a record, a Lease or any other object of the cluster. Another clock may have written them, a backup may
//! have restored them, and anybody with the right can change them.

use std::time::Duration;

use jiff::Timestamp;

/// Maximum difference between the clocks of two machines in one cluster.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Returns how long ago a stored time was.
///
/// Returns `None` for a time further in the future than [`CLOCK_SKEW`]. Nothing follows from such a time: whatever waits for it
/// is due now. A time in the future within that counts as now.
#[must_use]
pub fn elapsed(since: Timestamp, now: Timestamp) -> Option<Duration> {
    match Duration::try_from(now.duration_since(since)) {
        Ok(elapsed) => Some(elapsed),
        Err(_) if since.duration_since(now).unsigned_abs() <= CLOCK_SKEW => Some(Duration::ZERO),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_future_proves_nothing() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
        let at = |text: &str| elapsed(text.parse().unwrap(), now);
        assert_eq!(at("2026-11-28T11:00:00Z"), Some(Duration::from_secs(3600)));
        assert_eq!(at("2026-11-28T12:00:00Z"), Some(Duration::ZERO));
        assert_eq!(at("2026-11-28T12:01:00Z"), Some(Duration::ZERO), "clocks differ");
        assert_eq!(at("2026-11-28T12:01:01Z"), None);
        assert_eq!(at("9999-12-30T00:00:00Z"), None);
        assert_eq!(elapsed(Timestamp::MAX, Timestamp::MIN), None);
    }
}
