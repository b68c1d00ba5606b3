//! What a registry lets us ask (`RateLimit-Limit` and `RateLimit-Remaining`, as Docker Hub sends them and as the IETF draft
//! has them), and how much of it we take: at least half is left for the nodes, which share the limit by their address or their
//! pull secret. Pure, but for the clock that it is given.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::failure::Trouble;
use crate::model::registry_failure::LONGEST_RETRY_AFTER_SECONDS;
use crate::model::registry_failure::RegistryFailureKind;

/// The window that counts where the registry names none, in seconds.
const USUAL_WINDOW_SECONDS: u64 = 60;

/// A registry's announced limit, as the latest answers have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RateLimit {
    limit: u64,
    remaining: u64,
    window_seconds: u64,
    announced: Instant,
    /// Requests that are under way, which the registry may count before it answers.
    under_way: u64,
}

/// What comes of wanting to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask.
    Taken,
    /// What is under way may not be counted after all: wait for the next of its answers.
    Later,
}

impl RateLimit {
    /// Reads the headers of an answer; `None` without them, or with nonsense in them.
    pub(super) fn read(headers: &HeaderMap, now: Instant) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let (limit, window) = quota(text("ratelimit-limit")?)?;
        let (remaining, other_window) = quota(text("ratelimit-remaining")?)?;
        let reset = text("ratelimit-reset").and_then(|seconds| seconds.trim().parse().ok());
        let window_seconds = reset.or(window).or(other_window).unwrap_or(USUAL_WINDOW_SECONDS);
        let window_seconds = window_seconds.clamp(1, LONGEST_RETRY_AFTER_SECONDS);
        Some(Self { limit, remaining, window_seconds, announced: now, under_way: 0 })
    }

    /// Takes over what a later answer says. Answers can overtake each other: within one window the lowest counts.
    pub(super) fn update(&mut self, later: Self) {
        let same_window = self.limit == later.limit && !self.is_over(later.announced);
        let remaining = if same_window { self.remaining.min(later.remaining) } else { later.remaining };
        *self = Self { remaining, under_way: self.under_way, ..later };
    }

    /// Counts one request in, if at least half of the limit is left for the nodes whatever becomes of it.
    pub(super) fn take(&mut self) -> Result<Turn, Trouble> {
        let kept = self.limit.div_ceil(2);
        if self.remaining.saturating_sub(self.under_way) > kept {
            self.under_way += 1;
            return Ok(Turn::Taken);
        }
        if self.remaining > kept && self.under_way > 0 {
            return Ok(Turn::Later);
        }
        let (limit, remaining) = (self.limit, self.remaining);
        let kind = RegistryFailureKind::RateLimited { retry_after_seconds: Some(self.window_seconds) };
        Err(Trouble::new(kind, format!("{remaining} of {limit} requests are left, and half is kept for the nodes")))
    }

    /// Counts one request out.
    pub(super) const fn give_back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Whether what was announced says nothing any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.announced) >= Duration::from_secs(self.window_seconds)
    }
}

/// `100;w=21600`: a number and, perhaps, the window in seconds.
fn quota(text: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = text.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok());
    Some((number, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(limit: &str, remaining: &str) -> Option<RateLimit> {
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-limit", limit.parse().unwrap());
        headers.insert("ratelimit-remaining", remaining.parse().unwrap());
        RateLimit::read(&headers, Instant::now())
    }

    #[test]
    fn headers_are_read_and_nonsense_is_none() {
        let hub = announced("100;w=21600", "76;w=21600").unwrap();
        assert_eq!((hub.limit, hub.remaining, hub.window_seconds), (100, 76, LONGEST_RETRY_AFTER_SECONDS));
        assert_eq!(announced("10, 10;w=1", "5"), None);
        assert_eq!(announced("many", "76"), None);
        assert_eq!(announced("100", "-1"), None);
        assert_eq!(announced("100", "50").unwrap().window_seconds, USUAL_WINDOW_SECONDS);
        assert_eq!(RateLimit::read(&HeaderMap::new(), Instant::now()), None);
    }

    #[test]
    fn half_is_left_whatever_is_under_way() {
        let mut limit = announced("100;w=60", "53").unwrap();
        assert!((0..3).all(|_| limit.take() == Ok(Turn::Taken)));
        assert_eq!(limit.take(), Ok(Turn::Later));
        // The answer to one of them arrives, then an older one.
        limit.give_back();
        limit.update(announced("100;w=60", "52").unwrap());
        limit.update(announced("100;w=60", "53").unwrap());
        assert_eq!((limit.remaining, limit.under_way), (52, 2));
        assert_eq!(limit.take(), Ok(Turn::Later));
        limit.update(announced("100;w=60", "50").unwrap());
        let refused = limit.take().unwrap_err();
        assert_eq!(refused.kind, RegistryFailureKind::RateLimited { retry_after_seconds: Some(60) });
        for (limit, remaining) in [("1", "1"), ("0", "0"), ("7", "4")] {
            assert!(announced(limit, remaining).unwrap().take().is_err(), "{remaining} of {limit}");
        }
        assert!(announced("7", "5").unwrap().take().is_ok());
    }
}
