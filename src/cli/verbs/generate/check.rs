//! Whether a file still has the sets that would be generated now. Comments and labels in it belong to people.

use std::collections::BTreeMap;
use std::path::Path;

use crate::cli::inputs::files;
use crate::cli::output::digest_changes::compare;
use crate::cli::output::{Failure, Output};
use crate::manifest::{self, FileImageSet};
use crate::model::CompleteImageSet;

/// Compares the sets of a file by name and entries, and prints what differs.
pub(super) fn check(path: &Path, sets: &[CompleteImageSet]) -> Result<Output, Failure> {
    let name = path.to_string_lossy();
    let text = files::read(&name)?;
    let mut lines = Vec::new();
    let mut in_file: BTreeMap<String, FileImageSet> = BTreeMap::new();
    for set in manifest::image_sets(&text).map_err(|error| files::malformed(&name, &error))? {
        if let Some(twice) = in_file.insert(set.name.clone(), set) {
            lines.push(format!("{name}: ImageSet {} is there twice", twice.name));
        }
    }
    for set in sets {
        match in_file.remove(set.name().as_str()) {
            Some(file) => lines.extend(differences(&name, &file, set)),
            None => lines.push(format!("{name}: {} is missing", title(set))),
        }
    }
    lines.extend(in_file.keys().map(|left| format!("{name}: ImageSet {left} is of no version that was asked for")));
    if !lines.is_empty() {
        return Ok(Output::lines(lines).drifted());
    }
    let all = if sets.len() == 1 { "the set is" } else { "all sets are" };
    Ok(Output::lines([format!("{name}: {all} as it should be")]))
}

fn title(set: &CompleteImageSet) -> String {
    format!("ImageSet {} for operator {}", set.name(), set.origin().operator)
}

/// Returns what of one set in the file is not as it should be.
fn differences(name: &str, file: &FileImageSet, set: &CompleteImageSet) -> Vec<String> {
    let mut lines = Vec::new();
    // Of two entries of one name the operator takes the first.
    let mut current: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in &file.entries {
        match current.contains_key(entry.image.as_str()) {
            true => lines.push(format!("{name}:{}: {} is listed twice", entry.place.line, entry.image)),
            false => drop(current.insert(&entry.image, &entry.digest)),
        }
    }
    let operator = set.origin().operator.to_string();
    if let Some(other) = file.operator.as_ref().filter(|other| **other != operator) {
        lines.push(format!("{name}:{}: {} says that it was made for {other}", file.place.line, title(set)));
    }
    let changes = compare(&current, set);
    if !changes.lines.is_empty() {
        lines.push(format!("{name}: {} differs in {} of {} entries", title(set), changes.lines.len(), changes.total));
        lines.extend(changes.lines.into_iter().map(|change| format!("  {change}")));
    }
    lines
}
