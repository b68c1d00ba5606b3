//! The names of images that any known operator release lists, and the one that a misspelt name resembles.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::Catalogue;
use crate::model::ImageName;

/// The most letters by which a misspelt word may differ.
const MOST_DIFFERENCES: usize = 2;

/// Returns the names of all releases.
#[must_use]
pub fn known() -> &'static BTreeSet<ImageName> {
    static KNOWN: OnceLock<BTreeSet<ImageName>> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let catalogue = Catalogue::embedded();
        let names = catalogue.releases().filter_map(|release| catalogue.get(&release));
        names.flat_map(|images| images.known_names()).collect()
    })
}

/// Returns the known name that a text is, or resembles.
#[must_use]
pub fn suggest(text: &str) -> Option<&'static ImageName> {
    closest(text, known().iter(), |name| name.as_str(), MOST_DIFFERENCES)
}

/// Returns the first of the items whose text differs in the fewest letters, `most` at most: letters that have to be added, removed
/// or replaced (Levenshtein).
pub fn closest<'a, T>(
    text: &str,
    items: impl Iterator<Item = &'a T>,
    of: impl Fn(&T) -> &str,
    most: usize,
) -> Option<&'a T> {
    // The text may be of any length.
    let items = items.filter(|item| text.len().abs_diff(of(item).len()) <= most);
    let differences = items.map(|item| (strsim::levenshtein(text, of(item)), item));
    differences.filter(|(count, _)| *count <= most).min_by_key(|(count, _)| *count).map(|(_, item)| item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_resemble_known_ones() {
        for (text, name) in [
            ("calico/nodeee", Some("calico/node")),
            ("calico/node", Some("calico/node")),
            ("calcio/typha", Some("calico/typha")),
            ("library/redis", None),
        ] {
            assert_eq!(suggest(text).map(ImageName::as_str), name, "{text}");
        }
    }
}
