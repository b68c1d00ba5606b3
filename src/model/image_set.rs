//! The ImageSet that we write: complete by construction. What this type cannot hold cannot be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::record::RecordKey;
use crate::model::release::{ImageSetName, Release};

/// Annotation of an ImageSet: the operator version that it was made for.
pub const OPERATOR_ANNOTATION: &str = "imageset-controller.io/operator-version";

/// For what a set was made, kept in annotations of the ImageSet, so that a later look can tell an edit by hand from a
/// change of our own inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// The operator version whose list it holds.
    pub operator: Release,
    /// Name of the record that its digests come from.
    pub record: String,
    /// [`content_digest`] of the entries as we wrote them.
    pub content: Digest,
}

/// A set that may be stored: it has the one right name, exactly one well-formed digest per name, no name that the
/// operator version rejects and every name that it requires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompleteImageSet {
    name: ImageSetName,
    origin: Origin,
    entries: BTreeMap<ImageName, Digest>,
}

/// Why entries do not make a complete set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// The operator insists on these.
    #[error("the operator insists on {}", names(.0))]
    Missing(BTreeSet<ImageName>),
    /// The operator's validator does not know these.
    #[error("the operator rejects {}", names(.0))]
    Rejected(BTreeSet<ImageName>),
    /// A set without entries is never right.
    #[error("it has no entries")]
    Empty,
}

fn names(names: &BTreeSet<ImageName>) -> String {
    names.iter().map(ImageName::as_str).collect::<Vec<_>>().join(", ")
}

impl CompleteImageSet {
    /// Makes a set for an operator version.
    ///
    /// # Errors
    /// The entries are not what that version accepts and requires.
    pub fn new(
        name: ImageSetName,
        operator: Release,
        record: &RecordKey,
        entries: BTreeMap<ImageName, Digest>,
        required: &BTreeSet<ImageName>,
        accepts: impl Fn(&ImageName) -> bool,
    ) -> Result<Self, Incomplete> {
        let missing: BTreeSet<ImageName> =
            required.iter().filter(|name| !entries.contains_key(name)).cloned().collect();
        let rejected: BTreeSet<ImageName> = entries.keys().filter(|name| !accepts(name)).cloned().collect();
        if !missing.is_empty() {
            return Err(Incomplete::Missing(missing));
        }
        if !rejected.is_empty() {
            return Err(Incomplete::Rejected(rejected));
        }
        if entries.is_empty() {
            return Err(Incomplete::Empty);
        }
        let content = content_digest(entries.iter().map(|(name, digest)| (name.to_string(), digest.to_string())));
        let origin = Origin { operator, record: record.name(), content };
        Ok(Self { name, origin, entries })
    }

    /// The one name under which its operator version looks for it.
    #[must_use]
    pub const fn name(&self) -> &ImageSetName {
        &self.name
    }

    /// For what it was made.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its entries, sorted by name.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<ImageName, Digest> {
        &self.entries
    }
}

impl fmt::Display for CompleteImageSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({} images)", self.name, self.entries.len())
    }
}

/// One value for a whole set's content: the SHA-256 of its sorted `image digest` lines.
pub fn content_digest(entries: impl Iterator<Item = (String, String)>) -> Digest {
    let mut lines: Vec<String> = entries.map(|(image, digest)| format!("{image} {digest}\n")).collect();
    lines.sort();
    Digest::of(lines.concat().as_bytes())
}
