//! Versions of the operator, and of the Calico or Enterprise release that it deploys. The mapping between the two is compiled
//! into each operator and cannot be computed; the catalogue holds it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::foreign_text::cut;

/// A released operator version such as `v1.42.4`, or a vendor's rebuild of it such as `v1.38.2-1`, which is ordered after its
/// base. Alpha, beta and rc versions are not releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Release {
    major: u16,
    minor: u16,
    patch: u16,
    rebuild: Option<u16>,
}

/// The error for a text that is not a released operator version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a released operator version such as v1.42.4")]
pub struct InvalidRelease(String);

impl Release {
    /// Returns a release without rebuild number.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch, rebuild: None }
    }

    /// Returns the major version.
    #[must_use]
    pub const fn major(&self) -> u16 {
        self.major
    }

    /// Returns `(major, minor)`, which the releases of one patch channel share.
    #[must_use]
    pub const fn series(&self) -> (u16, u16) {
        (self.major, self.minor)
    }

    /// Parses the version that a build prints of itself. A rebuild of a release prints what `git describe` says of its source, as in
    /// the operator's Makefile (`v1.40.5-0-g91d909b`, `v1.30.5-dirty`), or leaves out the `v`. It is read as that release.
    ///
    /// # Errors
    /// The build is not made from a release.
    pub fn of_build(text: &str) -> Result<Self, InvalidRelease> {
        let described = text.strip_suffix("-dirty").unwrap_or(text);
        let release = without_commit(described);
        let release = if release.starts_with('v') { release.to_owned() } else { format!("v{release}") };
        release.parse().map_err(|_| InvalidRelease(cut(text, 100)))
    }

    /// Returns the upstream release that a rebuild was made from; an upstream release returns itself.
    #[must_use]
    pub const fn base(&self) -> Self {
        Self { rebuild: None, ..*self }
    }

    /// Returns this version if it and `other` can be of one image: both are of one upstream release. A vendor's rebuild often
    /// keeps the label or the output of its base.
    ///
    /// # Errors
    /// This version and the other one, if they contradict each other.
    pub fn agree(self, other: Option<Self>) -> Result<Self, (Self, Self)> {
        match other {
            Some(other) if other.base() != self.base() => Err((self, other)),
            _ => Ok(self),
        }
    }
}

/// Removes the number of commits since a tag and the commit: `v1.40.5` of `v1.40.5-0-g91d909b`.
fn without_commit(text: &str) -> &str {
    let is_commit = |hash: &str| (4..=40).contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = |count: &str| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let before_commit = text.rsplit_once("-g").filter(|(_, hash)| is_commit(hash)).map(|(before, _)| before);
    let tag = before_commit.and_then(|before| before.rsplit_once('-')).filter(|(_, count)| is_number(count));
    tag.map_or(text, |(tag, _)| tag)
}

impl FromStr for Release {
    type Err = InvalidRelease;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRelease(cut(text, 100));
        let number = |part: &str| match part.as_bytes() {
            [b'0'] => Ok(0),
            [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => part.parse().map_err(|_| invalid()),
            _ => Err(invalid()),
        };
        let rest = text.strip_prefix('v').ok_or_else(invalid)?;
        let (version, rebuild) = match rest.split_once('-') {
            Some((version, rebuild)) => (version, Some(number(rebuild)?)),
            None => (rest, None),
        };
        match version.split('.').collect::<Vec<_>>().as_slice() {
            [major, minor, patch] => {
                Ok(Self { major: number(major)?, minor: number(minor)?, patch: number(patch)?, rebuild })
            }
            _ => Err(invalid()),
        }
    }
}

as_text!(Release);

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        self.rebuild.map_or(Ok(()), |rebuild| write!(formatter, "-{rebuild}"))
    }
}

/// The product that the operator deploys. `Installation.spec.variant` spells Enterprise `TigeraSecureEnterprise` or, in newer
/// releases, `CalicoEnterprise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Variant {
    /// Open-source Calico.
    #[default]
    Calico,
    /// Calico Enterprise.
    Enterprise,
}

impl Variant {
    /// Returns the variant for `spec.variant` of an Installation; absent is Calico.
    #[must_use]
    pub fn of_installation(text: Option<&str>) -> Self {
        match text {
            Some("TigeraSecureEnterprise" | "CalicoEnterprise") => Self::Enterprise,
            _ => Self::Calico,
        }
    }

    /// Returns the prefix of the name of the ImageSet that the operator looks up.
    #[must_use]
    pub const fn image_set_prefix(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::Enterprise => "enterprise",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Calico => "Calico",
            Self::Enterprise => "Enterprise",
        })
    }
}

/// The version that `operator --version` prints after `Calico:` or `Enterprise:`. It is a release such as `v3.32.1`, or the
/// marker of a build that was cut before its product release (`master`, `release-calient-v3.20`), whose images are not releases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct ProductVersion(String);

impl ProductVersion {
    /// Whether this is a marker instead of a release. Releases start with `v` and a digit.
    #[must_use]
    pub fn is_pre_release_marker(&self) -> bool {
        !(self.0.starts_with('v') && self.0[1..].starts_with(|first: char| first.is_ascii_digit()))
    }

    /// Whether an operator can print this text: it is part of a tag and of an object's name, at most 63 characters.
    #[must_use]
    pub fn is_printable(text: &str) -> bool {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
    }

    /// Returns the text as the operator prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ProductVersion {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<ProductVersion> for String {
    fn from(version: ProductVersion) -> Self {
        version.0
    }
}

impl fmt::Display for ProductVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// The one name under which an operator looks up its ImageSet: `calico-v3.32.1` or `enterprise-v3.23.1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageSetName(String);

impl ImageSetName {
    /// Returns the name for a released product version; `None` for a pre-release marker, for which no ImageSet is made.
    #[must_use]
    pub fn new(variant: Variant, version: &ProductVersion) -> Option<Self> {
        (!version.is_pre_release_marker()).then(|| Self(format!("{}-{version}", variant.image_set_prefix())))
    }

    /// Returns the whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImageSetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_by_number_and_rebuilds_follow_their_base() {
        let mut releases: Vec<Release> =
            ["v1.38.10", "v1.38.2", "v1.38.2-1", "v1.4.0"].iter().map(|text| text.parse().unwrap()).collect();
        releases.sort();
        let sorted: Vec<String> = releases.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["v1.4.0", "v1.38.2", "v1.38.2-1", "v1.38.10"]);
    }

    #[test]
    fn a_rebuild_agrees_with_its_base_and_with_no_other_release() {
        let release = |text: &str| text.parse::<Release>().unwrap();
        assert_eq!(release("v1.38.2-1").agree(Some(release("v1.38.2"))), Ok(release("v1.38.2-1")));
        assert_eq!(release("v1.38.2").agree(Some(release("v1.38.2-1"))), Ok(release("v1.38.2")));
        assert_eq!(release("v1.38.2").agree(None), Ok(release("v1.38.2")));
        let contradiction = (release("v1.38.2"), release("v1.38.3"));
        assert_eq!(contradiction.0.agree(Some(contradiction.1)), Err(contradiction));
    }

    #[test]
    fn malformed_releases_are_rejected() {
        for text in
            ["1.42.4", "v1.42", "v1.42.4-rc1", "v1.42.4-0.dev", "v1.42.04", "master", "v1.42.4-amd64", "v1.42.99999"]
        {
            assert!(text.parse::<Release>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rebuild_is_read_as_the_release_that_it_was_built_from() {
        for (text, base) in [
            ("v1.40.5", "v1.40.5"),
            ("v1.40.5-0-g91d909b", "v1.40.5"),
            ("v1.40.5-3-g91d909b8a1c2-dirty", "v1.40.5"),
            ("v1.30.5-dirty", "v1.30.5"),
            ("1.40.5", "v1.40.5"),
            ("1.38.2-1-dirty", "v1.38.2-1"),
        ] {
            assert_eq!(Release::of_build(text), Ok(base.parse().unwrap()), "{text}");
        }
        for text in [
            "v1.99.0-0.dev-12-gabcdef",
            "v1.42.4-dev-build",
            "v1.42.4-rc1-0-gabcdef",
            "v1.42.4-0-gxyz",
            "master",
            "91d909b",
        ] {
            assert!(Release::of_build(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pre_release_marker_has_no_image_set_name() {
        let name = |variant, text: &str| ImageSetName::new(variant, &text.to_owned().into());
        assert_eq!(name(Variant::Calico, "v3.32.1").unwrap().as_str(), "calico-v3.32.1");
        assert_eq!(name(Variant::Enterprise, "v3.23.0-1.0").unwrap().as_str(), "enterprise-v3.23.0-1.0");
        assert_eq!(name(Variant::Calico, "master"), None);
        assert_eq!(name(Variant::Enterprise, "release-calient-v3.20"), None);
    }
}
