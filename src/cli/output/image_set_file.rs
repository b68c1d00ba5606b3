//! ImageSets as files: the same bytes for the same set, with a comment above each that names its operator and its source.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Failure, Output, serialized};
use crate::api::operator::{ImageEntry, ImageSet};
use crate::model::{CompleteImageSet, Digest, ImageName, ImageSetName, Release, image_set::OPERATOR_ANNOTATION};

/// What cannot be written, in a failure.
const IMAGE_SET: &str = "the ImageSet";

fn object_of(set: &CompleteImageSet) -> ImageSet {
    object(set.name(), set.origin().operator, set.entries())
}

/// Returns the object without the label that would make it managed by the controller: a file belongs to its owner.
pub(in crate::cli) fn object(
    name: &ImageSetName,
    operator: Release,
    entries: &BTreeMap<ImageName, Digest>,
) -> ImageSet {
    let entries =
        entries.iter().map(|(image, digest)| ImageEntry { image: image.to_string(), digest: digest.to_string() });
    let mut object = ImageSet::new(name.as_str(), entries.collect());
    object.metadata.annotations = Some([(OPERATOR_ANNOTATION.to_owned(), operator.to_string())].into());
    object
}

/// Returns one YAML document per set. `header` has the lines of the comment above it.
pub(in crate::cli) fn yaml<'a>(
    sets: impl IntoIterator<Item = &'a CompleteImageSet>,
    header: impl Fn(&CompleteImageSet) -> Vec<String>,
) -> Result<Output, Failure> {
    documents(sets.into_iter().map(|set| (header(set), object_of(set))))
}

/// Returns one YAML document per object, with the lines of the comment above it.
pub(in crate::cli) fn documents(objects: impl IntoIterator<Item = (Vec<String>, ImageSet)>) -> Result<Output, Failure> {
    let mut text = String::new();
    for (header, object) in objects {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        for line in header {
            // Names of files are in it.
            let _ = writeln!(text, "# {}", line.replace(char::is_control, "?"));
        }
        text.push_str(&serialized::yaml_text(IMAGE_SET, &object)?);
    }
    Ok(Output::text(text))
}

/// Returns one object, or a List of several, as JSON.
pub(in crate::cli) fn json<'a>(sets: impl IntoIterator<Item = &'a CompleteImageSet>) -> Result<Output, Failure> {
    let mut items: Vec<ImageSet> = sets.into_iter().map(object_of).collect();
    match items.pop() {
        Some(only) if items.is_empty() => serialized::json(IMAGE_SET, &only),
        last => {
            items.extend(last);
            serialized::json(IMAGE_SET, &List { api_version: "v1", kind: "List", items })
        }
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<ImageSet>,
}
