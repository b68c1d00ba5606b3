//! The finding for a managed set that was edited. `stored_sets` uses it, because it decides whether to restore the
//! set.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{CompleteImageSet, Evidence, Finding, ObjectRef, Reason, StoredImageSet};

/// Returns the finding, with who changed which entries.
pub(in crate::rules) fn finding(stored: &StoredImageSet, set: &CompleteImageSet) -> Finding {
    let have: BTreeMap<&str, &str> =
        stored.images.iter().map(|entry| (entry.image.as_str(), entry.digest.as_str())).collect();
    let wanted: BTreeMap<&str, String> =
        set.entries().iter().map(|(name, digest)| (name.as_str(), digest.short().to_string())).collect();
    let full: BTreeMap<&str, String> =
        set.entries().iter().map(|(name, digest)| (name.as_str(), digest.to_string())).collect();
    let names: BTreeSet<&str> = have.keys().chain(wanted.keys()).copied().collect();
    let differing: Vec<&str> =
        names.into_iter().filter(|name| have.get(name).copied() != full.get(name).map(String::as_str)).collect();
    let by = stored.owner();
    let object = ObjectRef::image_set(set.name().as_str());
    let what =
        if differing.is_empty() { "its annotations or order".to_owned() } else { list_first(&differing, MOST_NAMED) };
    let finding =
        Finding::new(Reason::ImageSetEdited, object, format!("{by} changed {what}: it is not what is recorded"));
    let Some(first) = differing.first() else { return finding };
    let cut = |digest: &str| {
        let short = digest.parse().map(|digest: crate::model::Digest| digest.short().to_string());
        short.unwrap_or_else(|_| digest.chars().take(19).collect())
    };
    let have = have.get(first).map_or_else(|| "no entry".to_owned(), |digest| cut(digest));
    let want = wanted.get(first).cloned().unwrap_or_else(|| "no entry".to_owned());
    finding.with_evidence(Evidence::text(format!("{first} {have}"), format!("{first} {want}")))
}
