//! The ImageSet that the controller writes: complete by construction, so that an incomplete set cannot be applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::record::RecordKey;
use crate::model::release::{ImageSetName, Release};

/// Annotation of an ImageSet: the operator version that it was made for.
pub const OPERATOR_ANNOTATION: &str = "imageset-controller.io/operator-version";

/// What a set was made from. Annotations of the ImageSet keep it, so that a later reconcile can distinguish a manual edit from a
/// change of the controller's own inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// The operator version whose images the set lists.
    pub operator: Release,
    /// Name of the record that its digests come from.
    pub record: String,
    /// [`content_digest`] of the entries as the controller wrote them.
    pub content: Digest,
}

/// A set that may be stored: it has the one right name, exactly one well-formed digest per name, no name that the operator
/// version rejects and every name that it requires.
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
    /// The operator requires these names.
    #[error("the operator insists on {}", names(.0))]
    Missing(BTreeSet<ImageName>),
    /// The operator's validator does not know these names.
    #[error("the operator rejects {}", names(.0))]
    Rejected(BTreeSet<ImageName>),
    /// A set without entries is never valid.
    #[error("it has no entries")]
    Empty,
}

fn names(names: &BTreeSet<ImageName>) -> String {
    names.iter().map(ImageName::as_str).collect::<Vec<_>>().join(", ")
}

impl CompleteImageSet {
    /// Creates a set for an operator version.
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

    /// Returns the one name under which its operator version looks it up.
    #[must_use]
    pub const fn name(&self) -> &ImageSetName {
        &self.name
    }

    /// Returns what the set was made from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the entries, sorted by name.
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

/// Returns one value for the content of a whole set: the SHA-256 of its sorted `image digest` lines.
pub fn content_digest(entries: impl Iterator<Item = (String, String)>) -> Digest {
    let mut lines: Vec<String> = entries.map(|(image, digest)| format!("{image} {digest}\n")).collect();
    lines.sort();
    Digest::of(lines.concat().as_bytes())
}
