//! Names of images that people type: one that no operator has is an error, with the name that is probably meant.

use std::collections::BTreeSet;

use crate::catalogue::{Catalogue, names::closest};
use crate::cli::output::Failure;
use crate::model::{ImageName, OperatorImages};

/// The most characters that differ in a name that is suggested.
const MOST_DIFFERENT: usize = 3;

/// Checks names against those of the operators in question, and of every known release: a name may be left out of many releases at once.
///
/// # Errors
/// No operator has an image of that name.
pub(in crate::cli) fn check<'a>(
    names: impl IntoIterator<Item = &'a ImageName>,
    operators: &[OperatorImages],
) -> Result<(), Failure> {
    let catalogue = Catalogue::embedded();
    let listed = || operators.iter().flat_map(OperatorImages::printed_names).map(str::to_owned);
    let mut known: Option<BTreeSet<String>> = None;
    for name in names {
        if listed().any(|one| one == name.as_str()) {
            continue;
        }
        let of_releases = || catalogue.releases().filter_map(|release| catalogue.printed_names(&release)).flatten();
        let known = known.get_or_insert_with(|| of_releases().map(str::to_owned).chain(listed()).collect());
        if !known.contains(name.as_str()) {
            let failure = Failure::new(format!("no operator has an image {name}"));
            return Err(match closest(name.as_str(), known.iter(), String::as_str, MOST_DIFFERENT) {
                Some(nearest) => failure.hint(format!("did you mean {nearest}?")),
                None => failure.hint("imageset-controller images VERSION lists those of a release"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested() {
        let name = |text: &str| text.parse::<ImageName>().unwrap();
        let hint = |text: &str| format!("{:?}", check([&name(text)], &[]).unwrap_err());
        assert!(hint("calico/nodeee").contains("did you mean calico/node?"));
        assert!(hint("calico/ndoe").contains("did you mean calico/node?"));
        assert!(hint("calico/something-else").contains("imageset-controller images VERSION"));
        assert!(check([&name("calico/node"), &name("tigera/operator")], &[]).is_ok());
        for (text, name) in [("abc", ""), ("sitting", "kitten"), ("a", "a")] {
            let names = [name.to_owned()];
            let found = |most| closest(text, names.iter(), String::as_str, most).is_some();
            assert_eq!((found(3), found(2)), (true, text == name), "{text}");
        }
    }
}
