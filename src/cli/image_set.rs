//! A complete ImageSet as a file: the same bytes for the same set, with a header that says for whom and from where.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::output::Failure;
use crate::api::operator::{ImageEntry, ImageSet};
use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::image_set::{CompleteImageSet, OPERATOR_ANNOTATION};
use crate::model::release::{ImageSetName, Release};

/// The object without the label that would make it the controller's: a file belongs to whoever keeps it.
pub(super) fn object(set: &CompleteImageSet) -> ImageSet {
    made(set.name(), set.origin().operator, set.entries())
}

/// The same of its parts.
pub(super) fn made(name: &ImageSetName, operator: Release, entries: &BTreeMap<ImageName, Digest>) -> ImageSet {
    let entries =
        entries.iter().map(|(image, digest)| ImageEntry { image: image.to_string(), digest: digest.to_string() });
    let mut object = ImageSet::new(name.as_str(), entries.collect());
    object.metadata.annotations = Some([(OPERATOR_ANNOTATION.to_owned(), operator.to_string())].into());
    object
}

/// One YAML document per set. `header` has the lines of the comment in front of each.
pub(super) fn yaml<'a>(
    sets: impl IntoIterator<Item = &'a CompleteImageSet>,
    header: impl Fn(&CompleteImageSet) -> Vec<String>,
) -> Result<String, Failure> {
    documents(sets.into_iter().map(|set| (header(set), object(set))))
}

/// One YAML document per object, with the lines of the comment in front of it.
pub(super) fn documents(objects: impl IntoIterator<Item = (Vec<String>, ImageSet)>) -> Result<String, Failure> {
    let mut text = String::new();
    for (header, object) in objects {
        if !text.is_empty() {
            text.push_str("---\n");
        }
        for line in header {
            // The names of files are in there.
            let _ = writeln!(text, "# {}", line.replace(char::is_control, "?"));
        }
        text.push_str(&serde_yaml_ng::to_string(&object).map_err(|error| unwritable(&error))?);
    }
    Ok(text)
}

/// One object, or a List of several.
pub(super) fn json<'a>(sets: impl IntoIterator<Item = &'a CompleteImageSet>) -> Result<String, Failure> {
    let mut objects: Vec<ImageSet> = sets.into_iter().map(object).collect();
    let text = match objects.pop() {
        Some(only) if objects.is_empty() => serde_json::to_string_pretty(&only),
        last => {
            objects.extend(last);
            serde_json::to_string_pretty(&List { api_version: "v1", kind: "List", items: objects })
        }
    };
    text.map_err(|error| unwritable(&error))
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<ImageSet>,
}

fn unwritable(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("the ImageSet cannot be written: {error}"))
}
