//! ImageSets and Installations in files, entry by entry, with the place of each.

use std::collections::BTreeSet;

use super::tree::{Node, Place};
use super::{Refused, tree};
use crate::model::feature::Feature;
use crate::model::image_set::OPERATOR_ANNOTATION;
use crate::model::registry_layout::RegistryLayout;
use crate::model::release::Variant;
use crate::model::settings::InstallationSettings;

/// The API group of the operator's kinds.
const GROUP: &str = "operator.tigera.io/";

/// An ImageSet in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileImageSet {
    /// `metadata.name`.
    pub name: String,
    /// For which operator version it says that it was made.
    pub operator: Option<String>,
    /// Where the object begins.
    pub place: Place,
    /// `spec.images`.
    pub entries: Vec<FileEntry>,
}

/// An entry as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// `image`; empty if there is none.
    pub image: String,
    /// `digest`; empty if there is none.
    pub digest: String,
    /// Where the digest stands, or else the entry.
    pub place: Place,
}

/// The ImageSets of a text, in their order, also those of a List. None is no error here.
///
/// # Errors
/// The text is no YAML, or an ImageSet is not written out.
pub fn image_sets(text: &str) -> Result<Vec<FileImageSet>, Refused> {
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

fn entry(node: &Node) -> Result<FileEntry, Refused> {
    let digest = node.path(&["digest"])?;
    Ok(FileEntry {
        image: node.text_at(&["image"])?.unwrap_or_default().to_owned(),
        digest: node.text_at(&["digest"])?.unwrap_or_default().to_owned(),
        place: digest.unwrap_or(node).place.clone(),
    })
}

/// What the Installation `default` of a text says of images; nothing if there is none.
///
/// # Errors
/// The text is no YAML, or it has several.
pub fn installation(text: &str) -> Result<Option<InstallationSettings>, Refused> {
    let mut found = None;
    for object in objects(text, |kind| kind == "Installation")? {
        if object.text_at(&["metadata", "name"])? != Some("default") {
            continue;
        }
        if found.is_some() {
            return Err(Refused::at(&object.place, "a second Installation default"));
        }
        let text = |key: &str| Ok(object.text_at(&["spec", key])?.unwrap_or_default().to_owned());
        let variant = Variant::of_installation(object.text_at(&["spec", "variant"])?);
        let (registry, image_path, image_prefix) = (text("registry")?, text("imagePath")?, text("imagePrefix")?);
        let layout = RegistryLayout { registry, image_path, image_prefix };
        let fips = text("fipsMode")? == "Enabled";
        found = Some(InstallationSettings { variant, layout, fips, ..InstallationSettings::default() });
    }
    Ok(found)
}

/// Which objects of a text make the operator insist on more images.
///
/// # Errors
/// The text is no YAML, or an Installation is not written out.
pub fn features(text: &str) -> Result<BTreeSet<Feature>, Refused> {
    let mut found = BTreeSet::new();
    for object in objects(text, |_| true)? {
        let kind = object.written_out("kind")?;
        found.extend(Feature::ALL.into_iter().filter(|feature| kind == Some(feature.kind())));
        if kind == Some("Installation")
            && object.text_at(&["spec", "calicoNetwork", "windowsDataplane"])? == Some("HNS")
        {
            found.insert(Feature::WindowsHns);
        }
    }
    Ok(found)
}

/// All objects of the operator's kinds that `kind` takes.
fn objects(text: &str, kind: impl Fn(&str) -> bool) -> Result<Vec<Node>, Refused> {
    let mut found = Vec::new();
    for object in tree::objects(text)? {
        let is_ours = object.written_out("apiVersion")?.is_some_and(|version| version.starts_with(GROUP));
        if is_ours && object.written_out("kind")?.is_some_and(&kind) {
            found.push(object);
        }
    }
    Ok(found)
}
