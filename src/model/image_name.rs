//! The key of an image in an ImageSet: the last two path segments of its default reference.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::foreign_text::cut;

/// An ImageSet key such as `calico/node`: two path segments, whatever registry and path the image is pulled from (operator:
/// `gcr.io/some/path/calico/node:…` is `calico/node`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// The error for a text that is not two path segments of a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an image name of the form organisation/image, such as calico/node")]
pub struct InvalidImageName(String);

impl ImageName {
    /// Returns the key of a repository path: its last two segments.
    ///
    /// # Errors
    /// The path has fewer than two segments, or a segment that no repository can have.
    pub fn of_repository(repository: &str) -> Result<Self, InvalidImageName> {
        let mut segments = repository.rsplit('/');
        let (Some(image), Some(organisation)) = (segments.next(), segments.next()) else {
            return Err(InvalidImageName(cut(repository, 100)));
        };
        format!("{organisation}/{image}").parse()
    }

    /// Returns the whole key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last segment, which `imagePrefix` is prepended to.
    #[must_use]
    pub fn image(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(_, image)| image)
    }

    /// Whether the image is for Windows nodes, by the names that the operator uses.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        self.0.ends_with("-windows") || self.image() == "windows-upgrade"
    }
}

/// Whether the text is a path segment of the OCI distribution specification: lower-case letters and digits, separated by `.`, `_`
/// or `-`.
fn is_segment(segment: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = segment.as_bytes();
    bytes.first().is_some_and(|byte| inner(*byte))
        && bytes.last().is_some_and(|byte| inner(*byte))
        && bytes.iter().all(|byte| inner(*byte) || matches!(byte, b'.' | b'_' | b'-'))
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((organisation, image)) if is_segment(organisation) && is_segment(image) => Ok(Self(text.to_owned())),
            _ => Err(InvalidImageName(cut(text, 100))),
        }
    }
}

as_text!(ImageName);

impl fmt::Display for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for ImageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_repository_is_its_last_two_segments() {
        assert_eq!(ImageName::of_repository("some/path/calico/node").map(String::from), Ok("calico/node".to_owned()));
        assert!(ImageName::of_repository("node").is_err());
        assert!("calico/Node".parse::<ImageName>().is_err());
        assert!("a/b/c".parse::<ImageName>().is_err());
    }

    #[test]
    fn windows_images_are_recognized_by_name() {
        for (name, windows) in [("calico/node-windows", true), ("calico/windows-upgrade", true), ("calico/node", false)]
        {
            assert_eq!(name.parse::<ImageName>().map(|name| name.is_windows()), Ok(windows));
        }
    }
}
