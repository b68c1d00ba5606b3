//! Files that have the operator's image, and the image that they mean.

use std::collections::BTreeSet;

use super::files;
use crate::cli::output::Failure;
use crate::manifest::{self, Addition, ManifestError, OperatorFile};
use crate::model::{Reference, Release};

/// The name of the operator's container in every manifest of Tigera.
pub(in crate::cli) const CONTAINER: &str = "tigera-operator";

/// Returns what a file says about the operator's image.
///
/// # Errors
/// It is not YAML, has the image where it cannot be changed, or does not have it. All of these places are named.
pub(in crate::cli) fn read(name: &str, text: &str, container: &str) -> Result<OperatorFile, Failure> {
    let found = manifest::operator_file(text, container).map_err(|error| files::malformed(name, &error))?;
    let has_any = !found.places.is_empty() || !found.additions.is_empty();
    let hidden = found.notices.iter().filter(|notice| notice.has_image || !has_any);
    let failures = hidden.map(|notice| files::malformed(name, &ManifestError::from(notice.clone())));
    match failures.reduce(Failure::and) {
        Some(failure) => Err(failure),
        None if has_any => Ok(found),
        None => {
            let message = format!("no workload in this file has a container named {container}");
            Err(files::malformed(name, &ManifestError { line: 1, column: 1, message }))
        }
    }
}

/// Returns the image of each place, with its line. Values without a version and kustomizations without a tag have none.
pub(in crate::cli) fn images(found: &OperatorFile) -> Vec<(usize, String)> {
    let mut images: Vec<(usize, String)> =
        found.places.iter().map(|place| (place.place.line, place.image.clone())).collect();
    for addition in &found.additions {
        let Addition::Kustomization { images: entries, line } = addition else { continue };
        for entry in entries.iter().filter(|entry| entry.is_operator()) {
            let name = entry.new_name.as_ref().unwrap_or(&entry.name);
            let tag = entry.new_tag.as_ref().map(|tag| format!(":{tag}"));
            let digest = entry.digest.as_ref().map(|digest| format!("@{digest}"));
            if tag.is_some() || digest.is_some() {
                images.push((*line, format!("{name}{}{}", tag.unwrap_or_default(), digest.unwrap_or_default())));
            }
        }
    }
    images
}

/// What manifests run, for a mirror.
#[derive(Debug, Default)]
pub(in crate::cli) struct ManifestImages {
    /// Versions of the operator.
    pub releases: BTreeSet<Release>,
    /// The images as written, by tag: the operator's, and those of other containers, such as `calico/ctl`.
    pub images: BTreeSet<Reference>,
}

impl ManifestImages {
    /// Reads files that have the operator's image. A single one without it is an error.
    ///
    /// # Errors
    /// As for [`read`]; or an image has no tag, by which it could be copied.
    pub fn of_files(names: &[String]) -> Result<Self, Failure> {
        let mut all = Self::default();
        for name in names {
            let text = files::read(name)?;
            let found = read(name, &text, CONTAINER)?;
            let others = found.other_images.iter().map(|other| (other.line, other.image.clone()));
            let operators = images(&found);
            for (line, image) in operators.iter().cloned().chain(others) {
                let place = format!("{}:{line}", files::display_name(name));
                let reference = parse_image(&place, &image)?;
                let Some(tag) = reference.tag() else {
                    return Err(Failure::new(format!("{place}: {image} has no tag, and a mirror would lose it"))
                        .hint("write the tag in front of the digest"));
                };
                all.images.insert(reference.with_tag(tag));
            }
            let release =
                |(_, image): &(usize, String)| image.parse::<Reference>().ok()?.tag()?.parse::<Release>().ok();
            all.releases.extend(operators.iter().filter_map(release));
        }
        Ok(all)
    }

    /// Returns the versions of the files and those that are named, each once.
    pub fn releases_with(&self, named: &[Release]) -> Vec<Release> {
        let all: BTreeSet<Release> = named.iter().copied().chain(self.releases.iter().copied()).collect();
        all.into_iter().collect()
    }
}

/// Parses an image. The hint for a frequent typo is the image without it.
pub(in crate::cli) fn parse_image(place: &str, image: &str) -> Result<Reference, Failure> {
    image.parse().map_err(|error| {
        let failure = Failure::new(format!("{place}: {image:?} is no image reference: {error}"));
        match without_typo(image) {
            Some(correct) => failure.hint(format!("write {correct}")),
            None => failure,
        }
    })
}

/// Returns an image without a scheme, empty segments, blanks and signs at its ends, and in lower case, if it is a reference then.
fn without_typo(image: &str) -> Option<String> {
    let ends = |letter: char| letter.is_whitespace() || matches!(letter, ':' | '/' | '?' | ',' | ';' | '"' | '\'');
    let bare = image.trim_matches(ends);
    let bare = bare.split_once("://").map_or(bare, |(_, rest)| rest);
    let segments: Vec<&str> = bare.split('/').filter(|segment| !segment.is_empty()).collect();
    let joined = segments.join("/");
    let lower = joined.to_ascii_lowercase();
    [joined, lower].into_iter().find(|text| text.parse::<Reference>().is_ok())
}
