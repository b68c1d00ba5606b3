//! The time as the cloud has it. Signatures are valid for a few minutes only, and the clock of this machine may be off by more.

use std::sync::atomic::{AtomicI64, Ordering};

use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};

/// Differences up to this many seconds are left as they are: a `Date` has whole seconds, and a response takes a while.
const TOLERATED_SECONDS: i64 = 30;

/// See the module.
#[derive(Default)]
pub(crate) struct CloudClock {
    /// Seconds that the cloud is ahead of this machine.
    offset: AtomicI64,
}

impl CloudClock {
    /// Returns the cloud's time, as far as a response has shown it.
    pub(crate) fn now(&self) -> Timestamp {
        let local = Timestamp::now();
        local.checked_add(SignedDuration::from_secs(self.offset_seconds())).unwrap_or(local)
    }

    /// Returns how many seconds the cloud is ahead of this machine.
    pub(crate) fn offset_seconds(&self) -> i64 {
        self.offset.load(Ordering::Relaxed)
    }

    /// Learns from the `Date` of a response (RFC 9110, section 6.6.1).
    pub(crate) fn learn(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return };
        let offset = date.timestamp().as_second().saturating_sub(Timestamp::now().as_second());
        let offset = if offset.abs() <= TOLERATED_SECONDS { 0 } else { offset };
        self.offset.store(offset, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_difference_counts_and_a_small_one_does_not() {
        let clock = CloudClock::default();
        for (difference, least, most) in [(600, 595, 605), (-600, -605, -595), (5, 0, 0), (-10, 0, 0)] {
            let date = Timestamp::now().checked_add(SignedDuration::from_secs(difference)).unwrap();
            let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            clock.learn(&HeaderMap::from_iter([(header::DATE, date.parse().unwrap())]));
            let offset = clock.offset_seconds();
            assert!((least..=most).contains(&offset), "{difference}: {offset}");
        }
        clock.learn(&HeaderMap::from_iter([(header::DATE, "yesterday".parse().unwrap())]));
        assert_eq!(clock.offset_seconds(), 0);
    }
}
