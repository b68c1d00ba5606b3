//! A finding: one thing that a person should know, about one object, with the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::digest::{Digest, ShortDigest};
use crate::model::foreign_text::line;
use crate::model::reason::{Reason, Severity};
use crate::model::subject::Subject;

/// One thing that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// Why.
    pub reason: Reason,
    /// What it is about.
    #[serde(rename = "object")]
    pub subject: Subject,
    /// What happened, in words, without the subject's name in front. Nothing is decided by it.
    pub message: String,
    /// What is there and what should be, where that can be put side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// What was observed, and what is expected in its place. Digests are cut, as the status has room for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "SideBySide", into = "SideBySide")]
pub enum Evidence {
    /// A digest in the place of another.
    Digest {
        /// What is there.
        observed: ShortDigest,
        /// What is pinned.
        expected: ShortDigest,
    },
    /// Pinned digests with nothing in their place: the tag or the digest itself is gone.
    Gone {
        /// What is pinned.
        expected: Vec<ShortDigest>,
    },
    /// A set that pins the images of the wrong FIPS mode.
    FipsMode {
        /// Whether FIPS images are expected.
        expected: bool,
        /// Pinned digests that are known to be of the other mode.
        observed: Vec<ShortDigest>,
    },
    /// Two texts for people. Nothing is decided by them.
    Words {
        /// What is there.
        observed: String,
        /// What should be.
        expected: String,
    },
}

/// Evidence as two texts: in the status and in snapshot files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideBySide {
    /// What is there.
    pub have: String,
    /// What should be.
    pub want: String,
}

/// What stands in the place of digests that are gone.
const NOTHING: &str = "nothing";

/// The images of clusters with and without FIPS mode.
const FIPS_IMAGES: &str = "FIPS images";

const NORMAL_IMAGES: &str = "normal images";

/// Most digests that evidence lists.
const MOST_DIGESTS: usize = 16;

impl Evidence {
    /// A digest in the place of another.
    #[must_use]
    pub const fn digest(observed: &Digest, expected: &Digest) -> Self {
        Self::Digest { observed: observed.short(), expected: expected.short() }
    }

    /// Pinned digests with nothing in their place.
    #[must_use]
    pub fn gone<'a>(expected: impl IntoIterator<Item = &'a Digest>) -> Self {
        Self::Gone { expected: expected.into_iter().take(MOST_DIGESTS).map(Digest::short).collect() }
    }

    /// Pinned digests of the mode that is not the `expected` one.
    #[must_use]
    pub fn fips_mode<'a>(expected: bool, observed: impl IntoIterator<Item = &'a Digest>) -> Self {
        Self::FipsMode { expected, observed: observed.into_iter().take(MOST_DIGESTS).map(Digest::short).collect() }
    }

    /// Two texts, made safe and cut. Those that mean one of the other kinds become that.
    #[must_use]
    pub fn words(observed: impl Into<String>, expected: impl Into<String>) -> Self {
        SideBySide { have: observed.into(), want: expected.into() }.into()
    }
}

impl From<Evidence> for SideBySide {
    fn from(evidence: Evidence) -> Self {
        let all = |digests: &[ShortDigest]| digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let images = |fips: bool| if fips { FIPS_IMAGES } else { NORMAL_IMAGES };
        let (have, want) = match evidence {
            Evidence::Digest { observed, expected } => (observed.to_string(), expected.to_string()),
            Evidence::Gone { expected } => (NOTHING.to_owned(), all(&expected)),
            Evidence::FipsMode { expected, observed } => {
                let have = format!("{} {}", images(!expected), all(&observed));
                (have.trim_end().to_owned(), images(expected).to_owned())
            }
            Evidence::Words { observed, expected } => (observed, expected),
        };
        Self { have, want }
    }
}

impl From<SideBySide> for Evidence {
    fn from(SideBySide { have, want }: SideBySide) -> Self {
        let all = |text: &str| -> Option<Vec<ShortDigest>> { text.split(", ").map(ShortDigest::parse).collect() };
        let observed_images = |images: &str| match have.strip_prefix(images)? {
            "" => Some(Vec::new()),
            digests => all(digests.strip_prefix(' ')?),
        };
        let known = match (have.as_str(), want.as_str()) {
            (NOTHING, _) => all(&want).map(|expected| Self::Gone { expected }),
            (_, FIPS_IMAGES) => {
                observed_images(NORMAL_IMAGES).map(|observed| Self::FipsMode { expected: true, observed })
            }
            (_, NORMAL_IMAGES) => {
                observed_images(FIPS_IMAGES).map(|observed| Self::FipsMode { expected: false, observed })
            }
            _ => ShortDigest::parse(&have)
                .zip(ShortDigest::parse(&want))
                .map(|(observed, expected)| Self::Digest { observed, expected }),
        };
        let words = || Self::Words { observed: line(&have, LONGEST_EVIDENCE), expected: line(&want, LONGEST_EVIDENCE) };
        known.unwrap_or_else(words)
    }
}

/// Longest message of a finding, in bytes.
pub const LONGEST_MESSAGE: usize = 2048;

/// Longest text of evidence, in bytes.
const LONGEST_EVIDENCE: usize = 512;

impl Finding {
    /// A finding about `subject`. The message is made safe and cut: parts of it are foreign.
    #[must_use]
    pub fn new(reason: Reason, subject: impl Into<Subject>, message: impl Into<String>) -> Self {
        Self { reason, subject: subject.into(), message: line(&message.into(), LONGEST_MESSAGE), evidence: None }
    }

    /// With what is there and what should be.
    #[must_use]
    pub fn with_evidence(self, evidence: Evidence) -> Self {
        Self { evidence: Some(evidence), ..self }
    }

    /// Whether both tell of one and the same thing, if perhaps in other words.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = self.reason == other.reason && self.subject == other.subject;
        // The one reason of which a set has one finding per image.
        same && (self.reason != Reason::TagMoved || self.evidence == other.evidence)
    }

    /// Whether it holds up what the policy asks for.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.reason.severity() >= Severity::Blocking
    }

    /// One sentence for a condition or an event: subject, what happened, what to do.
    #[must_use]
    pub fn sentence(&self) -> String {
        let next = self.reason.next_step();
        let separator = if next.is_empty() { "" } else { "; " };
        format!("{}: {}{separator}{next}", self.subject, self.message)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_reads_back_from_its_texts() {
        let [one, other] = [Digest::of(b"one"), Digest::of(b"other")];
        let (first, second) = (one.short(), other.short());
        for (evidence, have, want) in [
            (Evidence::digest(&one, &other), first.to_string(), second.to_string()),
            (Evidence::gone([&one]), "nothing".to_owned(), first.to_string()),
            (Evidence::gone([&one, &other]), "nothing".to_owned(), format!("{first}, {second}")),
            (Evidence::fips_mode(true, []), "normal images".to_owned(), "FIPS images".to_owned()),
            (
                Evidence::fips_mode(false, [&one, &other]),
                format!("FIPS images {first}, {second}"),
                "normal images".to_owned(),
            ),
            (Evidence::words("no entry", "calico/csi"), "no entry".to_owned(), "calico/csi".to_owned()),
            (Evidence::words("nothing", "a set"), "nothing".to_owned(), "a set".to_owned()),
        ] {
            let texts = SideBySide { have, want };
            assert_eq!(SideBySide::from(evidence.clone()), texts);
            assert_eq!(Evidence::from(texts), evidence);
        }
    }
}
