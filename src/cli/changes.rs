//! Two lists of digests side by side: what differs, in one line each. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::digest::Digest;

/// Entries that are not the same: `calico/node: sha256:0123456789ab → sha256:ba9876543210`.
pub(super) fn of(have: &BTreeMap<&str, &str>, want: &BTreeMap<&str, String>) -> Vec<String> {
    let cut =
        |digest: &str| digest.parse::<Digest>().map_or_else(|_| digest.to_owned(), |digest| digest.short().to_string());
    let names: BTreeSet<&str> = have.keys().chain(want.keys()).copied().collect();
    let change = |name: &str| match (have.get(name), want.get(name)) {
        (Some(have), Some(want)) if have == want => None,
        (Some(have), Some(want)) => Some(format!("{name}: {} → {}", cut(have), cut(want))),
        (Some(have), None) => Some(format!("{name}: {} → not listed", cut(have))),
        (None, want) => Some(format!("{name}: not listed → {}", want.map(|want| cut(want)).unwrap_or_default())),
    };
    names.into_iter().filter_map(change).collect()
}
