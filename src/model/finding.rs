//! Findings: each is one fact about one object that a person should know, with the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::digest::{Digest, ShortDigest};
use crate::model::foreign_text::line;
use crate::model::reason::{Reason, Severity};
use crate::model::subject::Subject;

/// One fact that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// Why, from the closed list.
    pub reason: Reason,
    /// What the finding is about.
    #[serde(rename = "object")]
    pub subject: Subject,
    /// What happened, without the subject's name in front. For display only: no rule reads it.
    pub message: String,
    /// Observed and expected values, where they can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// Observed and expected values. Digests are shortened to fit into the status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "EvidenceText", into = "EvidenceText")]
pub enum Evidence {
    /// A digest that differs from the pinned one.
    Digest {
        /// Observed digest.
        observed: ShortDigest,
        /// Pinned digest.
        expected: ShortDigest,
    },
    /// Pinned images whose tag, or whose digest itself, is gone from the registry.
    Gone {
        /// Pinned digests.
        expected: Vec<ShortDigest>,
    },
    /// A set that pins the images of the wrong FIPS mode.
    FipsMode {
        /// Whether FIPS images are expected.
        expected: bool,
        /// Pinned digests that are known to be of the other mode.
        observed: Vec<ShortDigest>,
    },
    /// Two texts for display only.
    Text {
        /// Observed value.
        observed: String,
        /// Expected value.
        expected: String,
    },
}

/// Evidence as two texts, the form of the status and of snapshot files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceText {
    /// Observed value.
    pub have: String,
    /// Expected value.
    pub want: String,
}

/// Observed text for images that are gone from the registry.
const NOTHING: &str = "nothing";

/// Names of the images for clusters with and without FIPS mode.
const FIPS_IMAGES: &str = "FIPS images";

const NORMAL_IMAGES: &str = "normal images";

/// Maximum number of digests that evidence lists.
const MOST_DIGESTS: usize = 16;

impl Evidence {
    /// Returns evidence of a digest that differs from the pinned one.
    #[must_use]
    pub const fn digest(observed: &Digest, expected: &Digest) -> Self {
        Self::Digest { observed: observed.short(), expected: expected.short() }
    }

    /// Returns evidence of pinned images whose tag or digest is gone.
    #[must_use]
    pub fn gone<'a>(expected: impl IntoIterator<Item = &'a Digest>) -> Self {
        Self::Gone { expected: expected.into_iter().take(MOST_DIGESTS).map(Digest::short).collect() }
    }

    /// Returns evidence of pinned digests of the mode that is not `expected`.
    #[must_use]
    pub fn fips_mode<'a>(expected: bool, observed: impl IntoIterator<Item = &'a Digest>) -> Self {
        Self::FipsMode { expected, observed: observed.into_iter().take(MOST_DIGESTS).map(Digest::short).collect() }
    }

    /// Returns evidence of two texts, escaped and cut. Texts in the form of another variant become that variant.
    #[must_use]
    pub fn text(observed: impl Into<String>, expected: impl Into<String>) -> Self {
        EvidenceText { have: observed.into(), want: expected.into() }.into()
    }
}

impl From<Evidence> for EvidenceText {
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
            Evidence::Text { observed, expected } => (observed, expected),
        };
        Self { have, want }
    }
}

impl From<EvidenceText> for Evidence {
    fn from(EvidenceText { have, want }: EvidenceText) -> Self {
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
        let words = || Self::Text { observed: line(&have, LONGEST_EVIDENCE), expected: line(&want, LONGEST_EVIDENCE) };
        known.unwrap_or_else(words)
    }
}

/// Maximum length of the message of a finding, in bytes.
pub const LONGEST_MESSAGE: usize = 2048;

/// Maximum length of a text of evidence, in bytes.
const LONGEST_EVIDENCE: usize = 512;

impl Finding {
    /// Returns a finding about `subject`. The message is escaped and cut, because parts of it are foreign text.
    #[must_use]
    pub fn new(reason: Reason, subject: impl Into<Subject>, message: impl Into<String>) -> Self {
        Self { reason, subject: subject.into(), message: line(&message.into(), LONGEST_MESSAGE), evidence: None }
    }

    /// Returns the finding with evidence.
    #[must_use]
    pub fn with_evidence(self, evidence: Evidence) -> Self {
        Self { evidence: Some(evidence), ..self }
    }

    /// Whether both findings report the same fact, possibly with different messages.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same = self.reason == other.reason && self.subject == other.subject;
        // TagMoved is the one reason for which a set has a finding per image.
        same && (self.reason != Reason::TagMoved || self.evidence == other.evidence)
    }

    /// Whether the finding holds up what the policy requires.
    #[must_use]
    pub fn blocks(&self) -> bool {
        self.reason.severity() >= Severity::Blocking
    }

    /// Returns one sentence for a condition or an event: subject, what happened, next step.
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
    fn evidence_parses_back_from_its_texts() {
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
            (Evidence::text("no entry", "calico/csi"), "no entry".to_owned(), "calico/csi".to_owned()),
            (Evidence::text("nothing", "a set"), "nothing".to_owned(), "a set".to_owned()),
        ] {
            let texts = EvidenceText { have, want };
            assert_eq!(EvidenceText::from(evidence.clone()), texts);
            assert_eq!(Evidence::from(texts), evidence);
        }
    }
}
