//! ImageSets and Installations in files, entry by entry, with the place of each.

use std::collections::BTreeSet;

use super::tree::{Node, Place, Value};
use super::{ManifestError, tree};
use crate::model::{Feature, InstallationSettings, RegistryLayout, Variant, image_set::OPERATOR_ANNOTATION};

/// The API group of the operator's kinds.
const GROUP: &str = "operator.tigera.io/";

/// An ImageSet in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileImageSet {
    /// `metadata.name`.
    pub name: String,
    /// The operator version that its annotation names.
    pub operator: Option<String>,
    /// The place of the object.
    pub place: Place,
    /// `spec.images`.
    pub entries: Vec<FileEntry>,
}

/// An entry of an ImageSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// `image`; empty if there is none.
    pub image: String,
    /// `digest`; empty if there is none.
    pub digest: String,
    /// The place of the digest, or of the entry if it has none.
    pub place: Place,
}

/// Returns the ImageSets of a text in their order, also those of a List.
///
/// # Errors
/// The text is not YAML, or an ImageSet has aliases or merge keys.
pub fn image_sets(text: &str) -> Result<Vec<FileImageSet>, ManifestError> {
    let mut found = Vec::new();
    for object in objects(text, |kind| kind == "ImageSet")? {
        let images = object.path(&["spec", "images"])?;
        let entries = images.map(Node::items).unwrap_or_default().iter().map(entry);
        found.push(FileImageSet {
            name: object.text_at(&["metadata", "name"])?.unwrap_or_default().to_owned(),
            operator: object.text_at(&["metadata", "annotations", OPERATOR_ANNOTATION])?.map(str::to_owned),
            place: object.place.clone(),
            entries: entries.collect::<Result<_, _>>()?,
        });
    }
    Ok(found)
}

fn entry(node: &Node) -> Result<FileEntry, ManifestError> {
    let digest = node.path(&["digest"])?;
    Ok(FileEntry {
        image: node.text_at(&["image"])?.unwrap_or_default().to_owned(),
        digest: node.text_at(&["digest"])?.unwrap_or_default().to_owned(),
        place: digest.unwrap_or(node).place.clone(),
    })
}

/// Returns the image settings of the Installation `default`, if the text has one.
///
/// # Errors
/// The text is not YAML, or has several.
pub fn installation(text: &str) -> Result<Option<InstallationSettings>, ManifestError> {
    let mut found = None;
    for object in objects(text, |kind| kind == "Installation")? {
        if object.text_at(&["metadata", "name"])? != Some("default") {
            continue;
        }
        if found.is_some() {
            return Err(ManifestError::at(&object.place, "a second Installation default"));
        }
        let spec = object.path(&["spec"])?.map(settings).transpose()?.flatten();
        found = Some(spec.unwrap_or_default());
    }
    Ok(found)
}

/// Returns the image settings of the spec of an Installation, or of the same fields in values of a chart; `None` if it is no mapping.
pub(super) fn settings(spec: &Node) -> Result<Option<InstallationSettings>, ManifestError> {
    if !matches!(spec.value, Value::Mapping(_)) {
        return Ok(None);
    }
    let text = |key: &str| Ok::<_, ManifestError>(spec.text_at(&[key])?.unwrap_or_default().to_owned());
    let variant = Variant::of_installation(spec.text_at(&["variant"])?);
    let (registry, image_path, image_prefix) = (text("registry")?, text("imagePath")?, text("imagePrefix")?);
    let layout = RegistryLayout { registry, image_path, image_prefix };
    let fips = text("fipsMode")? == "Enabled";
    Ok(Some(InstallationSettings { variant, layout, fips, ..InstallationSettings::default() }))
}

/// Returns the features of a text: objects and settings that make the operator require further images.
///
/// # Errors
/// The text is not YAML, or an Installation has aliases or merge keys.
pub fn features(text: &str) -> Result<BTreeSet<Feature>, ManifestError> {
    let mut found = BTreeSet::new();
    for object in objects(text, |_| true)? {
        let kind = object.written_out("kind")?;
        found.extend(Feature::ALL.into_iter().filter(|feature| kind == Some(feature.kind())));
        if kind != Some("Installation") {
            continue;
        }
        if object.text_at(&["spec", "calicoNetwork", "windowsDataplane"])? == Some("HNS") {
            found.insert(Feature::WindowsHns);
        }
        if object.path(&["spec", "certificateManagement"])?.is_some() {
            found.insert(Feature::CertificateManagement);
        }
    }
    Ok(found)
}

/// Returns the objects of those kinds of the operator that `kind` selects.
fn objects(text: &str, kind: impl Fn(&str) -> bool) -> Result<Vec<Node>, ManifestError> {
    let mut found = Vec::new();
    for object in tree::objects(text)? {
        let is_of_the_operator = object.written_out("apiVersion")?.is_some_and(|version| version.starts_with(GROUP));
        if is_of_the_operator && object.written_out("kind")?.is_some_and(&kind) {
            found.push(object);
        }
    }
    Ok(found)
}
