//! A limit on how often the controller acts. Times are arguments; nothing reads a clock.

use std::time::{Duration, Instant};

/// A token bucket that limits how often the controller acts on changes that can wait. It acts at once on the first change after a
/// quiet time.
#[derive(Debug)]
pub struct TokenBucket {
    burst: u32,
    refill: Duration,
    tokens: u32,
    /// Since when the next token has been due to grow.
    since: Instant,
}

impl TokenBucket {
    /// Returns a full bucket of `burst` tokens, which gains one in each `refill`.
    #[must_use]
    pub const fn new(burst: u32, refill: Duration, now: Instant) -> Self {
        Self { burst, refill, tokens: burst, since: now }
    }

    /// Returns when a token is available.
    #[must_use]
    pub fn ready_at(&self, now: Instant) -> Instant {
        if self.tokens > 0 { now } else { (self.since + self.refill).max(now) }
    }

    /// Takes a token; returns whether one was available.
    pub fn take(&mut self, now: Instant) -> bool {
        while self.tokens < self.burst && now.saturating_duration_since(self.since) >= self.refill {
            self.tokens += 1;
            self.since += self.refill;
        }
        if self.tokens == self.burst {
            self.since = now;
        }
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_changes_act_at_once_and_then_one_in_each_second() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2, SECOND, start);
        assert!(bucket.take(start) && bucket.take(start) && !bucket.take(start));
        assert_eq!(bucket.ready_at(start), start + SECOND);
        let mut taken = 0;
        for tick in 1..=600_u32 {
            let now = start + SECOND * tick / 20;
            if bucket.ready_at(now) <= now && bucket.take(now) {
                taken += 1;
            }
        }
        assert_eq!(taken, 30);
        let quiet = start + 100 * SECOND;
        assert!(bucket.take(quiet) && bucket.take(quiet) && !bucket.take(quiet));
    }
}
