//! The operator's image in a manifest, and the same text with another image in its place.

use granit_parser::ScalarStyle;

use super::tree::{Node, Place, Value};
use super::{ManifestError, tree};

/// Kinds with a pod template in `spec.template`.
const WORKLOADS: [&str; 4] = ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"];

/// The operator's image in a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorImage {
    /// The value, without quotes.
    pub image: String,
    /// Where it is.
    pub place: Place,
    style: ScalarStyle,
}

/// How a file deploys the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorManifest {
    /// Neither a container of that name, nor a kustomization, nor values of the chart.
    None,
    /// Containers of workloads, in their order.
    Workloads(Vec<OperatorImage>),
    /// A kustomization, which has the image in fields of its own.
    Kustomization {
        /// `images[]`.
        images: Vec<KustomizedImage>,
    },
    /// Values of the tigera-operator chart.
    HelmValues(HelmValues),
}

/// `tigeraOperator` in the values of the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelmValues {
    /// `registry`.
    pub registry: Option<String>,
    /// `image`.
    pub image: Option<String>,
    /// `version`.
    pub version: Option<String>,
}

/// An entry of a kustomization's `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KustomizedImage {
    /// `name`: the image in the resources.
    pub name: String,
    /// `newName`.
    pub new_name: Option<String>,
    /// `newTag`.
    pub new_tag: Option<String>,
    /// `digest`.
    pub digest: Option<String>,
}

/// Finds the operator's image: that of every container of this name in a workload, also in a List.
///
/// # Errors
/// The text is not YAML, or has the image in a way that cannot be changed in one place.
pub fn operator_images(text: &str, container: &str) -> Result<OperatorManifest, ManifestError> {
    let mut images = Vec::new();
    let objects = tree::objects(text)?;
    for object in &objects {
        if is_kustomization(object)? {
            return kustomization(object);
        }
        let is_object = object.get("apiVersion")?.is_some() && object.get("kind")?.is_some();
        if let (false, Some(values)) = (is_object, object.get("tigeraOperator")?) {
            let text = |key: &str| Ok(values.text_at(&[key])?.map(str::to_owned));
            let (registry, image, version) = (text("registry")?, text("image")?, text("version")?);
            return Ok(OperatorManifest::HelmValues(HelmValues { registry, image, version }));
        }
        add_workload(object, container, &mut images)?;
    }
    Ok(if images.is_empty() { OperatorManifest::None } else { OperatorManifest::Workloads(images) })
}

/// Whether an object is a kustomization, whose kind may be omitted.
fn is_kustomization(object: &Node) -> Result<bool, ManifestError> {
    if let Some(kind) = object.written_out("kind")? {
        return Ok(kind == "Kustomization");
    }
    let is_list = |key: &str| Ok(object.get(key)?.is_some_and(|value| matches!(value.value, Value::Sequence(_))));
    Ok(object.get("apiVersion")?.is_none() && (is_list("resources")? || is_list("images")?))
}

/// Adds the images of a workload.
fn add_workload(object: &Node, container: &str, images: &mut Vec<OperatorImage>) -> Result<(), ManifestError> {
    let kind = object.written_out("kind")?.unwrap_or_default();
    if !WORKLOADS.contains(&kind) {
        return Ok(());
    }
    let Some(containers) = object.path(&["spec", "template", "spec", "containers"])? else { return Ok(()) };
    containers.not_alias()?;
    for one in containers.items() {
        if one.text_at(&["name"])? != Some(container) {
            continue;
        }
        let Some(image) = one.get("image")? else {
            let message = format!("container {container} has no image of its own here (a merge key is not followed)");
            return Err(ManifestError::at(&one.place, message));
        };
        images.push(operator_image(image)?);
    }
    Ok(())
}

fn operator_image(node: &Node) -> Result<OperatorImage, ManifestError> {
    let reject = |message: &str| Err(ManifestError::at(&node.place, message));
    match &node.value {
        Value::Alias => reject("the image is an alias; pin it where its anchor stands"),
        Value::Scalar { .. } if node.anchored => {
            reject("the image has an anchor; whatever refers to it would be changed as well")
        }
        Value::Scalar { text, style } => match style {
            ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                Ok(OperatorImage { image: text.clone(), place: node.place.clone(), style: *style })
            }
            _ => reject("the image is a block of text; write it on one line"),
        },
        _ => reject("the image is no text"),
    }
}

fn kustomization(document: &Node) -> Result<OperatorManifest, ManifestError> {
    let mut images = Vec::new();
    for entry in document.get("images")?.map(Node::items).unwrap_or_default() {
        let text = |key: &str| Ok(entry.text_at(&[key])?.map(str::to_owned));
        let Some(name) = text("name")? else { continue };
        images.push(KustomizedImage {
            name,
            new_name: text("newName")?,
            new_tag: text("newTag")?,
            digest: text("digest")?,
        });
    }
    Ok(OperatorManifest::Kustomization { images })
}

/// Returns the text with another image at this place; every other byte stays.
///
/// # Errors
/// The text there is not the image as it reads: it has escapes, or several lines.
pub fn with_image(text: &str, found: &OperatorImage, image: &str) -> Result<String, ManifestError> {
    let quote = match found.style {
        ScalarStyle::SingleQuoted => "'",
        ScalarStyle::DoubleQuoted => "\"",
        _ => "",
    };
    let expected = format!("{quote}{}{quote}", found.image);
    if text.get(found.place.bytes.clone()) != Some(expected.as_str()) {
        return Err(ManifestError::at(
            &found.place,
            "the image is not written as it reads; write it plainly on one line",
        ));
    }
    let (before, after) = (&text[..found.place.bytes.start], &text[found.place.bytes.end..]);
    Ok(format!("{before}{quote}{image}{quote}{after}"))
}
