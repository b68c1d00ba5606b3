//! Findings: each is one fact about one object that a person should know, with the next step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::digest::{Digest, ShortDigest};
use crate::model::foreign_text::line;
use crate::model::reason::{Reason, Severity};
use crate::model::subject::Subject;

/// One fact that a person should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "StoredFinding")]
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

/// A finding as snapshot files have it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StoredFinding {
    reason: Reason,
    object: Subject,
    message: String,
    #[serde(default)]
    evidence: Option<EvidenceText>,
}

impl From<StoredFinding> for Finding {
    fn from(StoredFinding { reason, object, message, evidence }: StoredFinding) -> Self {
        Self { reason, subject: object, message, evidence: evidence.map(|texts| Evidence::parse(reason, &texts)) }
    }
}

/// Observed and expected values. Digests are shortened to fit into the status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "EvidenceText")]
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

    /// Returns evidence of two texts, escaped and cut.
    #[must_use]
    pub fn text(observed: impl Into<String>, expected: impl Into<String>) -> Self {
        let cut = |text: String| line(&text, LONGEST_EVIDENCE);
        Self::Text { observed: cut(observed.into()), expected: cut(expected.into()) }
    }

    /// Returns the evidence of a stored finding. The reason determines the variant; of the texts only digests and the values of
    /// `fipsMode` are read, so that other words around them change nothing.
    #[must_use]
    pub fn parse(reason: Reason, EvidenceText { have, want }: &EvidenceText) -> Self {
        let words = |text: &'_ str| text.split([' ', ',']).map(str::to_owned).collect::<Vec<_>>();
        let digests = |text: &str| -> Vec<ShortDigest> {
            words(text).iter().filter_map(|word| ShortDigest::parse(word)).take(MOST_DIGESTS).collect()
        };
        let mode = |fips: bool| words(want).iter().any(|word| word == fips_mode(fips)).then_some(fips);
        let parsed = match reason {
            Reason::TagGone | Reason::DigestGone => {
                Some(digests(want)).filter(|all| !all.is_empty()).map(|expected| Self::Gone { expected })
            }
            Reason::FipsMismatch => {
                mode(true).or_else(|| mode(false)).map(|expected| Self::FipsMode { expected, observed: digests(have) })
            }
            Reason::TagMoved => {
                let (observed, expected) = (digests(have), digests(want));
                let both = observed.first().copied().zip(expected.first().copied());
                both.map(|(observed, expected)| Self::Digest { observed, expected })
            }
            _ => ShortDigest::parse(have)
                .zip(ShortDigest::parse(want))
                .map(|(observed, expected)| Self::Digest { observed, expected }),
        };
        parsed.unwrap_or_else(|| Self::text(have, want))
    }
}

/// Returns the value of an Installation's `spec.fipsMode`.
const fn fips_mode(enabled: bool) -> &'static str {
    if enabled { "Enabled" } else { "Disabled" }
}

impl From<Evidence> for EvidenceText {
    fn from(evidence: Evidence) -> Self {
        let all = |digests: &[ShortDigest]| digests.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let images = |fips: bool| format!("images for fipsMode {}", fips_mode(fips));
        let (have, want) = match evidence {
            Evidence::Digest { observed, expected } => (observed.to_string(), expected.to_string()),
            Evidence::Gone { expected } => ("nothing".to_owned(), all(&expected)),
            Evidence::FipsMode { expected, observed } => {
                let have = format!("{} {}", images(!expected), all(&observed));
                (have.trim_end().to_owned(), images(expected))
            }
            Evidence::Text { observed, expected } => (observed, expected),
        };
        Self { have, want }
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

    fn texts(have: &str, want: &str) -> EvidenceText {
        EvidenceText { have: have.to_owned(), want: want.to_owned() }
    }

    #[test]
    fn evidence_parses_back_from_its_texts() {
        let [one, other] = [Digest::of(b"one"), Digest::of(b"other")];
        let (first, second) = (one.short().to_string(), other.short().to_string());
        let both = format!("{first}, {second}");
        for (reason, evidence, have, want) in [
            (Reason::TagMoved, Evidence::digest(&one, &other), first.as_str(), second.as_str()),
            (Reason::PodsRunOther, Evidence::digest(&one, &other), &first, &second),
            (Reason::TagGone, Evidence::gone([&one]), "nothing", &first),
            (Reason::DigestGone, Evidence::gone([&one, &other]), "nothing", &both),
            (
                Reason::FipsMismatch,
                Evidence::fips_mode(true, []),
                "images for fipsMode Disabled",
                "images for fipsMode Enabled",
            ),
            (
                Reason::FipsMismatch,
                Evidence::fips_mode(false, [&one, &other]),
                &format!("images for fipsMode Enabled {both}"),
                "images for fipsMode Disabled",
            ),
            (Reason::RequiredImageMissing, Evidence::text("no entry", "calico/csi"), "no entry", "calico/csi"),
            (Reason::DigestGone, Evidence::text("nothing", "a set"), "nothing", "a set"),
        ] {
            assert_eq!(EvidenceText::from(evidence.clone()), texts(have, want));
            assert_eq!(Evidence::parse(reason, &texts(have, want)), evidence);
        }
    }

    #[test]
    fn other_words_around_the_values_change_nothing() {
        let one = Digest::of(b"one");
        let short = one.short();
        for (reason, have, want, evidence) in [
            (Reason::TagGone, "not served", format!("pinned: {short}"), Evidence::gone([&one])),
            (Reason::DigestGone, "", format!("image {short}"), Evidence::gone([&one])),
            (Reason::TagMoved, &format!("now {short}"), format!("was {short}"), Evidence::digest(&one, &one)),
            (
                Reason::FipsMismatch,
                &format!("another build: {short}"),
                "that of Enabled".to_owned(),
                Evidence::fips_mode(true, [&one]),
            ),
        ] {
            assert_eq!(Evidence::parse(reason, &texts(have, &want)), evidence);
        }
        // Words alone choose nothing.
        let sets = texts("nothing", &short.to_string());
        assert!(matches!(Evidence::parse(Reason::BlockingImageSet, &sets), Evidence::Text { .. }));
    }
}
