//! A duration in the notation of the API: `6h`, `1h30m`, `90s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::foreign_text::cut;

/// A duration of whole hours, minutes and seconds in this order, each at most once: a subset of Go's durations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Interval(Duration);

/// The error for a text that is not an interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", describe(.0))]
pub struct InvalidInterval(String);

fn describe(text: &str) -> String {
    match text.parse::<u32>() {
        Ok(number) => format!("{text:?} needs a unit, such as {number}m"),
        Err(_) => format!("{text:?} is not an interval: write hours, minutes and seconds, such as 6h, 1h30m or 90s"),
    }
}

impl Interval {
    /// Returns an interval of whole hours.
    #[must_use]
    pub const fn from_hours(hours: u32) -> Self {
        Self(Duration::from_secs(hours as u64 * 3600))
    }

    /// Returns the interval as a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Interval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self).ok_or_else(|| InvalidInterval(cut(text, 32)))
    }
}

fn parse(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut rest = text;
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            if number.is_empty() || number.len() > 6 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            seconds += number.parse::<u64>().ok()? * length;
            rest = after;
        }
    }
    (rest.is_empty() && !text.is_empty()).then(|| Duration::from_secs(seconds))
}

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 {
            return formatter.write_str("0s");
        }
        for (value, unit) in [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')] {
            if value > 0 {
                write!(formatter, "{value}{unit}")?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Interval {
    type Error = InvalidInterval;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_parses_back_from_its_text() {
        for (text, seconds, printed) in [
            ("6h", 21600, "6h"),
            ("1h30m", 5400, "1h30m"),
            ("90s", 90, "1m30s"),
            ("0s", 0, "0s"),
            ("2h5s", 7205, "2h5s"),
        ] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!((interval.duration().as_secs(), interval.to_string().as_str()), (seconds, printed));
        }
        for text in ["", "6", "h", "-1h", "1.5h", "1m1h", "1h1h", "1d", " 1h", "1h ", "9999999h"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }
}
