//! The entries of an ImageSet in which it differs from the one that it should be.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{CompleteImageSet, Digest};

/// What differs between the entries of two sets.
pub(in crate::cli) struct DigestChanges {
    /// One line per entry, such as `calico/node: sha256:0123456789ab → sha256:ba9876543210`.
    pub lines: Vec<String>,
    /// The entries of the larger set.
    pub total: usize,
}

/// Compares entries, digests by image name, with those of a complete set.
pub(in crate::cli) fn compare(current: &BTreeMap<&str, &str>, expected: &CompleteImageSet) -> DigestChanges {
    let expected: BTreeMap<&str, String> =
        expected.entries().iter().map(|(name, digest)| (name.as_str(), digest.to_string())).collect();
    let names: BTreeSet<&str> = current.keys().chain(expected.keys()).copied().collect();
    let change = |name: &str| match (current.get(name), expected.get(name)) {
        (Some(current), Some(expected)) if current == expected => None,
        (Some(current), Some(expected)) => Some(format!("{name}: {} → {}", short(current), short(expected))),
        (Some(current), None) => Some(format!("{name}: {} → not listed", short(current))),
        (None, Some(expected)) => Some(format!("{name}: not listed → {}", short(expected))),
        (None, None) => None,
    };
    let total = current.len().max(expected.len());
    DigestChanges { lines: names.into_iter().filter_map(change).collect(), total }
}

/// Returns a digest cut short, or other text as it is.
fn short(text: &str) -> String {
    text.parse::<Digest>().map_or_else(|_| text.to_owned(), |digest| digest.short().to_string())
}
