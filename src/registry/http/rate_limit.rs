//! The rate limit that a registry announces (`RateLimit-Limit` and `RateLimit-Remaining`, as Docker Hub sends them and as the IETF
//! draft has them). The controller leaves at least half of it to the nodes, which share the limit by their address or their pull
//! secret. Pure: the time is an argument.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::model::{RegistryFailureKind, registry_failure::LONGEST_RETRY_AFTER_SECONDS};
use crate::registry::error::{RegistryError, Result};

/// Length of the window if the registry names none, in seconds.
const DEFAULT_WINDOW_SECONDS: u64 = 60;

/// The limit that the latest responses announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateLimit {
    limit: u64,
    remaining: u64,
    window_seconds: u64,
    announced: Instant,
    /// Requests under way, which the registry may count before it responds.
    under_way: u64,
}

/// Whether a request may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Yes, and it is counted as under way.
    Taken,
    /// Not before the next response: the requests under way may turn out not to be counted.
    Later,
}

impl RateLimit {
    /// Parses the headers of a response; `None` if they are missing or malformed.
    pub(crate) fn parse(headers: &HeaderMap, now: Instant) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let (limit, window) = quota(text("ratelimit-limit")?)?;
        let (remaining, other_window) = quota(text("ratelimit-remaining")?)?;
        let reset = text("ratelimit-reset").and_then(|seconds| seconds.trim().parse().ok());
        let window_seconds = reset.or(window).or(other_window).unwrap_or(DEFAULT_WINDOW_SECONDS);
        let window_seconds = window_seconds.clamp(1, LONGEST_RETRY_AFTER_SECONDS);
        Some(Self { limit, remaining, window_seconds, announced: now, under_way: 0 })
    }

    /// Applies a later response. Responses can overtake each other: within one window the lowest number counts.
    pub(crate) fn update(&mut self, later: Self) {
        let same_window = self.limit == later.limit && !self.is_over(later.announced);
        let remaining = if same_window { self.remaining.min(later.remaining) } else { later.remaining };
        *self = Self { remaining, under_way: self.under_way, ..later };
    }

    /// Counts a request as under way, if at least half of the limit is left to the nodes in any case.
    pub(crate) fn take(&mut self) -> Result<Turn> {
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
        Err(RegistryError::new(
            kind,
            format!("{remaining} of {limit} requests are left, and half is kept for the nodes"),
        ))
    }

    /// Counts a request as ended.
    pub(crate) const fn give_back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Whether the announced window has ended.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.announced) >= Duration::from_secs(self.window_seconds)
    }
}

/// Parses `100;w=21600`: a number and, optionally, the window in seconds.
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
        RateLimit::parse(&headers, Instant::now())
    }

    #[test]
    fn headers_are_parsed_and_malformed_ones_ignored() {
        let hub = announced("100;w=21600", "76;w=21600").unwrap();
        assert_eq!((hub.limit, hub.remaining, hub.window_seconds), (100, 76, LONGEST_RETRY_AFTER_SECONDS));
        assert_eq!(announced("10, 10;w=1", "5"), None);
        assert_eq!(announced("many", "76"), None);
        assert_eq!(announced("100", "-1"), None);
        assert_eq!(announced("100", "50").unwrap().window_seconds, DEFAULT_WINDOW_SECONDS);
        assert_eq!(RateLimit::parse(&HeaderMap::new(), Instant::now()), None);
    }

    #[test]
    fn half_of_the_limit_is_left_whatever_is_under_way() {
        let mut limit = announced("100;w=60", "53").unwrap();
        assert!((0..3).all(|_| limit.take() == Ok(Turn::Taken)));
        assert_eq!(limit.take(), Ok(Turn::Later));
        // The response to one of them arrives, then an older one.
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
