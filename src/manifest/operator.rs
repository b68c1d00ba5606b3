//! Where a manifest names the operator's image, and the same text with another image there.

use granit_parser::ScalarStyle;

use super::tree::{Node, Place, Value};
use super::{Refused, tree};

/// Kinds that have a pod template, and where.
const WORKLOADS: [&str; 4] = ["Deployment", "DaemonSet", "StatefulSet", "ReplicaSet"];

/// The operator's image, as a manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorImage {
    /// As it is meant, without quotes.
    pub image: String,
    /// Where it stands.
    pub place: Place,
    style: ScalarStyle,
}

/// What a file has of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Neither a container of that name, nor a kustomization, nor values of the chart.
    Nothing,
    /// Containers of workloads, in their order.
    Images(Vec<OperatorImage>),
    /// A kustomization; what it says of this image is kept by kustomize's own fields.
    Kustomization {
        /// `images[]` with this name: its `newName` and `newTag`, and whether it has a `digest` already.
        images: Vec<KustomizedImage>,
    },
    /// Values of the tigera-operator chart.
    HelmValues {
        /// `tigeraOperator.registry`.
        registry: Option<String>,
        /// `tigeraOperator.image`.
        image: Option<String>,
        /// `tigeraOperator.version`.
        version: Option<String>,
    },
}

/// An entry of a kustomization's `images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KustomizedImage {
    /// What it stands for in the resources.
    pub name: String,
    /// What stands there instead.
    pub new_name: Option<String>,
    /// The tag.
    pub new_tag: Option<String>,
    /// The digest.
    pub digest: Option<String>,
}

/// Finds the operator's image: that of every container of this name in a workload, also in a List.
///
/// # Errors
/// The text is no YAML, or names the operator in a way that cannot be changed in one place.
pub fn operator_images(text: &str, container: &str) -> Result<Found, Refused> {
    let mut images = Vec::new();
    let objects = tree::objects(text)?;
    for object in &objects {
        if is_kustomization(object)? {
            return kustomization(object);
        }
        let is_object = object.get("apiVersion")?.is_some() && object.get("kind")?.is_some();
        if let (false, Some(values)) = (is_object, object.get("tigeraOperator")?) {
            let text = |key: &str| Ok(values.text_at(&[key])?.map(str::to_owned));
            return Ok(Found::HelmValues {
                registry: text("registry")?,
                image: text("image")?,
                version: text("version")?,
            });
        }
        of_object(object, container, &mut images)?;
    }
    Ok(if images.is_empty() { Found::Nothing } else { Found::Images(images) })
}

/// The kind may be left out of a kustomization.
fn is_kustomization(object: &Node) -> Result<bool, Refused> {
    if let Some(kind) = object.written_out("kind")? {
        return Ok(kind == "Kustomization");
    }
    let is_list = |key: &str| Ok(object.get(key)?.is_some_and(|value| matches!(value.value, Value::Sequence(_))));
    Ok(object.get("apiVersion")?.is_none() && (is_list("resources")? || is_list("images")?))
}

fn of_object(object: &Node, container: &str, images: &mut Vec<OperatorImage>) -> Result<(), Refused> {
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
            return Err(Refused::at(&one.place, message));
        };
        images.push(operator_image(image)?);
    }
    Ok(())
}

fn operator_image(node: &Node) -> Result<OperatorImage, Refused> {
    let refuse = |message: &str| Err(Refused::at(&node.place, message));
    match &node.value {
        Value::Alias => refuse("the image is an alias; pin it where its anchor stands"),
        Value::Scalar { .. } if node.anchored => {
            refuse("the image has an anchor; whatever refers to it would be changed as well")
        }
        Value::Scalar { text, style } => match style {
            ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                Ok(OperatorImage { image: text.clone(), place: node.place.clone(), style: *style })
            }
            _ => refuse("the image is a block of text; write it on one line"),
        },
        _ => refuse("the image is no text"),
    }
}

fn kustomization(document: &Node) -> Result<Found, Refused> {
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
    Ok(Found::Kustomization { images })
}

/// The text with another image at this place; every other byte is as it was.
///
/// # Errors
/// What stands there is not what was found.
pub fn with_image(text: &str, found: &OperatorImage, image: &str) -> Result<String, Refused> {
    let quote = match found.style {
        ScalarStyle::SingleQuoted => "'",
        ScalarStyle::DoubleQuoted => "\"",
        _ => "",
    };
    let expected = format!("{quote}{}{quote}", found.image);
    // Escapes, or lines that are folded into one.
    if text.get(found.place.bytes.clone()) != Some(expected.as_str()) {
        return Err(Refused::at(&found.place, "the image is not written as it reads; write it plainly on one line"));
    }
    let (before, after) = (&text[..found.place.bytes.start], &text[found.place.bytes.end..]);
    Ok(format!("{before}{quote}{image}{quote}{after}"))
}
