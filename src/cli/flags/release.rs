//! The version of an operator as people type it. What is not one is recognised as what people mean by it, if that is known.

use crate::catalogue::Catalogue;
use crate::model::{ProductVersion, Release, Variant};

/// Parses an operator version of the command line.
///
/// # Errors
/// The text is no operator version, or is that of a product. The message names the versions that are probably meant.
pub(in crate::cli) fn parse(text: &str) -> Result<Release, String> {
    match text.parse() {
        Ok(release) if Catalogue::embedded().releases().any(|known| known == release) => Ok(release),
        parsed => match product(text).or_else(|| series(text)).or_else(|| rebuild(text)) {
            Some(message) => Err(message),
            None => parsed.map_err(|error| error.to_string()),
        },
    }
}

/// Returns the name of a product, as its messages have it.
const fn name(variant: Variant) -> &'static str {
    match variant {
        Variant::Calico => "Calico",
        Variant::Enterprise => "Calico Enterprise",
    }
}

/// Returns all releases with the version that each installs of a product.
fn versions(variant: Variant) -> impl DoubleEndedIterator<Item = (Release, &'static ProductVersion)> {
    Catalogue::embedded().versions().map(move |(release, calico, enterprise)| match variant {
        Variant::Calico => (release, calico),
        Variant::Enterprise => (release, enterprise),
    })
}

/// Recognises the version of a product, also as the name of an ImageSet has it.
fn product(text: &str) -> Option<String> {
    let prefixes = [Variant::Calico, Variant::Enterprise].map(Variant::image_set_prefix);
    let bare = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)?.strip_prefix('-')).unwrap_or(text);
    let version = format!("v{}", bare.trim_start_matches('v'));
    // Versions of Calico Enterprise have a second number, which people leave out.
    let is_meant = |product: &ProductVersion| {
        product.as_str().strip_prefix(&version).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let found = [Variant::Calico, Variant::Enterprise].into_iter().filter_map(|variant| {
        let installing: Vec<Release> =
            versions(variant).filter(|(_, product)| is_meant(product)).map(|(release, _)| release).collect();
        (!installing.is_empty()).then(|| format!("{version} is a {} version; {}", name(variant), install(&installing)))
    });
    let found: Vec<String> = found.collect();
    (!found.is_empty()).then(|| found.join(", and ")).or_else(|| newer_product(&version))
}

/// Recognises the version of a product that no known operator installs, by its first number.
fn newer_product(version: &str) -> Option<String> {
    let release: Release = version.parse().ok()?;
    let (newest, installed) = versions(Variant::Calico).next_back()?;
    let is_product = installed.as_str().starts_with(&format!("v{}.", release.major()));
    (is_product && release.major() != newest.major()).then(|| {
        format!("{version} looks like a Calico version, which no known operator installs; the newest is {newest} with {installed}")
    })
}

fn install(releases: &[Release]) -> String {
    let texts: Vec<String> = releases.iter().map(Release::to_string).collect();
    match texts.as_slice() {
        [one] => format!("operator {one} installs it"),
        [first @ .., last] => format!("operators {} and {last} install it", first.join(", ")),
        [] => String::new(),
    }
}

/// Recognises the name of a series, of the operator or of Calico: `v1.42`.
fn series(text: &str) -> Option<String> {
    let series = format!("v{}.", text.trim_start_matches('v'));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if series.matches('.').count() != 2 || !series[1..series.len() - 1].split('.').all(is_number) {
        return None;
    }
    let of_operator = versions(Variant::Calico).rev().find(|(release, _)| release.to_string().starts_with(&series));
    let of_product = || versions(Variant::Calico).rev().find(|(_, product)| product.as_str().starts_with(&series));
    match of_operator {
        Some((release, _)) => Some(format!("name one release; the newest known of this series is {release}")),
        None => of_product().map(|(release, product)| format!("this is Calico; operator {release} installs {product}")),
    }
}

/// Recognises what a rebuild prints as its version.
fn rebuild(text: &str) -> Option<String> {
    let release = Release::of_build(text).ok()?;
    if text.parse() == Ok(release) {
        return None;
    }
    Some(match format!("v{text}") == release.to_string() {
        true => format!("did you mean {release}?"),
        false => {
            format!("this is a rebuild of {release}; name that version, or have the image run with --inspect=IMAGE")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn versions_of_products_are_recognised() {
        assert_eq!(message("v3.32.1"), "v3.32.1 is a Calico version; operators v1.42.3 and v1.42.4 install it");
        assert_eq!(message("3.32.1"), message("v3.32.1"));
        assert_eq!(message("calico-v3.32.1"), message("v3.32.1"));
        assert!(message("v3.24.0-1.0").contains("v3.24.0-1.0 is a Calico Enterprise version; operator"));
        assert!(message("enterprise-v3.24.0-1.0").contains("v3.24.0-1.0 is a Calico Enterprise version; operator"));
        let both = message("v3.20.1");
        assert!(
            both.contains("is a Calico version") && both.contains(", and v3.20.1 is a Calico Enterprise"),
            "{both}"
        );
        assert!(message("v3.99.0").contains("looks like a Calico version"), "{}", message("v3.99.0"));
        // Every version that an operator installs is told apart from an operator's.
        for (_, product) in versions(Variant::Calico).filter(|(_, product)| !product.is_pre_release_marker()) {
            assert!(message(product.as_str()).contains("is a Calico version"), "{product}");
        }
    }

    #[test]
    fn what_is_nearly_a_version_is_completed() {
        assert_eq!(message("1.42.4"), "did you mean v1.42.4?");
        assert!(message("v1.42").ends_with("is v1.42.4") && message("1.42").ends_with("is v1.42.4"));
        assert!(message("v3.32").starts_with("this is Calico; operator "), "{}", message("v3.32"));
        assert!(message("v1.40.5-0-g91d909b").starts_with("this is a rebuild of v1.40.5; "));
        assert!(message("v1.30.5-dirty").starts_with("this is a rebuild of v1.30.5; "));
        for text in ["latest", "v1", "master", "", "v1.42.4.1"] {
            assert!(message(text).contains("is not a released operator version"), "{text}: {}", message(text));
        }
    }

    #[test]
    fn a_version_that_this_build_does_not_know_is_one() {
        for text in ["v1.42.4", "v1.44.0", "v1.38.2-1", "v2.0.0"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }
}
