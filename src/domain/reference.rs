//! Where an image is pulled from: registry, repository and a tag, a digest or both. Parsing is the OCI library's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, ImageName};

/// A parsed image reference. `docker.io` is the registry of a reference that names none, as for the kubelet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The text is not an image reference that a node could pull.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {cause}")]
pub struct InvalidReference {
    text: String,
    cause: String,
}

impl Reference {
    /// Host and port, such as `quay.io` or `registry.example.com:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path on the registry, such as `calico/node`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given. It decides; a tag beside it is decoration.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The key of this image in an ImageSet.
    ///
    /// # Errors
    /// The repository has a single segment, which no image of the operator has.
    pub fn image_name(&self) -> Result<ImageName, super::image_name::InvalidImageName> {
        ImageName::of_repository(&self.repository)
    }

    /// The same repository with this tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// The same repository by digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// `registry/repository`, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |cause: String| InvalidReference { text: text.chars().take(300).collect(), cause };
        let parsed: oci_distribution::Reference = text.parse().map_err(|error| invalid(format!("{error}")))?;
        let digest = parsed.digest().map(str::parse).transpose().map_err(|error| invalid(format!("{error}")))?;
        Ok(Self {
            registry: parsed.registry().to_owned(),
            repository: parsed.repository().to_owned(),
            tag: parsed.tag().map(str::to_owned),
            digest,
        })
    }
}

impl TryFrom<String> for Reference {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("registry.example.com:5000/a/calico/node:v1@{digest}").parse().unwrap();
        assert_eq!(reference.registry(), "registry.example.com:5000");
        assert_eq!(reference.repository(), "a/calico/node");
        assert_eq!((reference.tag(), reference.digest()), (Some("v1"), Some(&digest)));
        assert_eq!(reference.image_name().unwrap().as_str(), "calico/node");
        assert_eq!("calico/node:v1".parse::<Reference>().unwrap().to_string(), "docker.io/calico/node:v1");
    }

    #[test]
    fn what_no_node_can_pull_is_refused() {
        for text in ["", "quay.io/tigera/operator:", "quay.io/Tigera/operator:v1", "x@sha256:nonsense", "a b"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
