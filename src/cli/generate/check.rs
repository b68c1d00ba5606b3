//! Whether a file still holds the sets that would be made now. What people add to it, comments and labels, is theirs.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::output::{Answer, Failure};
use crate::cli::{changes, files};
use crate::manifest;
use crate::model::image_set::CompleteImageSet;

/// Compares by name and entries; tells what differs, entry by entry.
pub(super) fn against(path: &Path, sets: &[CompleteImageSet]) -> Result<Answer, Failure> {
    let name = path.to_string_lossy();
    let text = files::read(&name)?;
    let mut lines = Vec::new();
    let mut kept: BTreeMap<String, manifest::FileImageSet> = BTreeMap::new();
    for set in manifest::image_sets(&text).map_err(|refused| files::refused(&name, &refused))? {
        if let Some(twice) = kept.insert(set.name.clone(), set) {
            lines.push(format!("{name}: ImageSet {} is there twice", twice.name));
        }
    }
    for set in sets {
        let wanted_by = format!("ImageSet {} for operator {}", set.name(), set.origin().operator);
        let Some(file) = kept.remove(set.name().as_str()) else {
            lines.push(format!("{name}: {wanted_by} is missing"));
            continue;
        };
        let want: BTreeMap<&str, String> =
            set.entries().iter().map(|(name, digest)| (name.as_str(), digest.to_string())).collect();
        // Of two entries of one name the operator takes the first.
        let mut have: BTreeMap<&str, &str> = BTreeMap::new();
        for entry in &file.entries {
            match have.contains_key(entry.image.as_str()) {
                true => lines.push(format!("{name}:{}: {} is listed twice", entry.place.line, entry.image)),
                false => drop(have.insert(&entry.image, &entry.digest)),
            }
        }
        let operator = set.origin().operator.to_string();
        if let Some(other) = file.operator.as_ref().filter(|other| **other != operator) {
            lines.push(format!("{name}:{}: {wanted_by} says that it was made for {other}", file.place.line));
        }
        let changes = changes::of(&have, &want);
        if !changes.is_empty() {
            lines.push(format!(
                "{name}: {wanted_by} differs in {} of {} entries",
                changes.len(),
                have.len().max(want.len())
            ));
            lines.extend(changes.into_iter().map(|change| format!("  {change}")));
        }
    }
    for left in kept.keys() {
        lines.push(format!("{name}: ImageSet {left} is of no version that was asked for"));
    }
    match lines.is_empty() {
        true => Ok(Answer::lines([format!(
            "{name}: {} as it should be",
            if sets.len() == 1 { "the set is" } else { "all sets are" }
        )])),
        false => Ok(Answer::lines(lines).drifted()),
    }
}
