//! What an operator accepts as the entries of a set: `ValidateImageSet` and the resolving of rendered components, and stricter
//! rules where the operator is lenient (malformed digests, duplicates).

use std::collections::{BTreeMap, BTreeSet};

use crate::model::foreign_text::escaped;
use crate::model::{Digest, ImageName, OperatorImages, Release, StoredImage};

/// What is wrong with an entry, or with the lack of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryFault {
    /// The operator's validator does not know the name, and refuses the whole set.
    UnknownName,
    /// The name is listed before; the operator takes the first.
    ListedTwice,
    /// The digest has not the form `sha256:<64 lower-case hexadecimal digits>`.
    MalformedDigest,
    /// The operator requires the image, and it is not listed.
    NotListed,
}

/// An entry that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FaultyEntry<'a> {
    /// What is wrong.
    pub fault: EntryFault,
    /// Its position; `None` if it is not listed.
    pub position: Option<usize>,
    /// Name of the image as it is listed or required.
    pub name: &'a str,
    /// Its digest as it is listed; empty if it is not.
    pub digest: &'a str,
}

impl FaultyEntry<'_> {
    /// Returns what is wrong, for people. `certainly`: it is known what the operator requires.
    pub fn describe(&self, operator: Release, certainly: bool) -> String {
        let (name, may) = (escaped(self.name), if certainly { "insists on" } else { "may insist on" });
        match self.fault {
            EntryFault::UnknownName => format!("operator {operator} rejects {name}"),
            EntryFault::ListedTwice => format!("{name} is listed twice"),
            EntryFault::MalformedDigest => {
                format!(
                    "{name}: {:?} is not a digest of the form sha256:<64 lower-case hexadecimal digits>",
                    self.digest
                )
            }
            EntryFault::NotListed => format!("operator {operator} {may} {name}, which is not listed"),
        }
    }
}

/// The well-formed entries: position and digest by name.
pub(crate) type Pinned = BTreeMap<ImageName, (usize, Digest)>;

/// Returns everything that is wrong with the entries for this operator, which requires these names: in the order of the entries,
/// then what is not listed. The second value holds the entries with which nothing is wrong.
pub(crate) fn check_entries<'a>(
    entries: &'a [StoredImage],
    images: &OperatorImages,
    required: &'a BTreeSet<ImageName>,
) -> (Vec<FaultyEntry<'a>>, Pinned) {
    let (mut faulty, mut pinned, mut named) = (Vec::new(), Pinned::new(), BTreeSet::new());
    let known = images.known_names();
    for (position, StoredImage { image, digest }) in entries.iter().enumerate() {
        let name = image.parse::<ImageName>().ok().filter(|name| known.contains(name));
        let fault = match (name, digest.parse()) {
            (None, _) => EntryFault::UnknownName,
            (Some(name), _) if !named.insert(name.clone()) => EntryFault::ListedTwice,
            (Some(_), Err(_)) => EntryFault::MalformedDigest,
            (Some(name), Ok(digest)) => {
                pinned.insert(name, (position, digest));
                continue;
            }
        };
        faulty.push(FaultyEntry { fault, position: Some(position), name: image, digest });
    }
    faulty.extend(not_listed(required, |name| named.contains(name)));
    (faulty, pinned)
}

/// Returns the first thing that is wrong with entries whose names and digests are well-formed.
pub(crate) fn first_fault<'a>(
    entries: &'a BTreeMap<ImageName, Digest>,
    images: &OperatorImages,
    required: &'a BTreeSet<ImageName>,
) -> Option<FaultyEntry<'a>> {
    let known = images.known_names();
    let unknown = entries.keys().find(|name| !known.contains(*name));
    let unknown = unknown.map(|name| without_entry(EntryFault::UnknownName, name));
    unknown.or_else(|| not_listed(required, |name| entries.contains_key(name)).next())
}

/// Returns the required names that are not listed.
fn not_listed<'a>(
    required: &'a BTreeSet<ImageName>,
    is_listed: impl Fn(&ImageName) -> bool,
) -> impl Iterator<Item = FaultyEntry<'a>> {
    required.iter().filter(move |name| !is_listed(name)).map(|name| without_entry(EntryFault::NotListed, name))
}

fn without_entry(fault: EntryFault, name: &ImageName) -> FaultyEntry<'_> {
    FaultyEntry { fault, position: None, name: name.as_str(), digest: "" }
}
