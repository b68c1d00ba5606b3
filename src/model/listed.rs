//! Lists in messages: the first few items, then how many more there are.

/// How many references a grouped message names.
pub(crate) const NAMED: usize = 5;

/// The first few of them, and how many more there are.
pub(crate) fn listed<T: ToString>(all: &[T], most: usize) -> String {
    let mut text = all.iter().take(most).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = all.len().checked_sub(most).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}
