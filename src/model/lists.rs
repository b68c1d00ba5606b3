//! Lists in messages: the first few items, then the number of the others.

/// Maximum number of references in a message about several.
pub(crate) const MOST_NAMED: usize = 5;

/// Returns the first sentences, separated by semicolons, and the number of the others.
pub(crate) fn first_sentences(all: &[String]) -> String {
    let mut text = all.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    if let Some(more) = all.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        text.push_str(&format!("; and {more} more"));
    }
    text
}

/// Returns the first `most` items, separated by commas, and the number of the others.
pub(crate) fn list_first<T: ToString>(all: &[T], most: usize) -> String {
    let mut text = all.iter().take(most).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = all.len().checked_sub(most).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
