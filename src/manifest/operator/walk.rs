//! The walk through a file: containers, values of charts, kustomizations and patches, wherever they are, also in strings that are YAML
//! themselves.

use granit_parser::ScalarStyle;

use super::chart::{self, Values};
use super::found::{Addition, KustomizedImage, Notice, OperatorFile, OperatorPlace, OtherImage};
use super::kinds;
use crate::manifest::ManifestError;
use crate::manifest::image_sets;
use crate::manifest::source::Source;
use crate::manifest::tree::{self, MERGE_KEY, Node, Value};
use crate::model::Reference;

/// The last two segments of the operator's repository, where no mirror renames it.
const OPERATOR: &str = "tigera/operator";
/// The most strings within strings that are read.
const MAX_STRINGS: usize = 4;
/// Text in which kubectl keeps what was applied; it is not what runs.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Fields of a pod's spec with containers.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Finds the operator's image in a file: in containers of this name and in others of the same image.
///
/// # Errors
/// The text is not YAML, or has the image in a way that cannot be changed in one place.
pub fn operator_file(text: &str, container: &str) -> Result<OperatorFile, ManifestError> {
    let mut walk = Walk { container, found: OperatorFile::default(), kind: String::new(), strings: 0 };
    walk.documents(&Source::of_file(text))?;
    let mut found = walk.found;
    found.places.sort_by_key(|place| place.place.bytes.start);
    Ok(found)
}

/// Returns the reference of a text that is the operator's image, with a tag or a digest.
fn operator_reference(text: &str) -> Option<Reference> {
    let name = text.split(['@', ' ', '\n']).next().unwrap_or_default();
    let repository =
        name.rsplit_once(':').map_or(name, |(repository, tag)| if tag.contains('/') { name } else { repository });
    let is_operator = repository == OPERATOR || repository.ends_with(&format!("/{OPERATOR}"));
    text.parse().ok().filter(|_| is_operator && repository.len() < text.len())
}

struct Walk<'w> {
    container: &'w str,
    found: OperatorFile,
    /// The kind of the object around.
    kind: String,
    /// How many strings are around.
    strings: usize,
}

impl Walk<'_> {
    fn documents(&mut self, source: &Source<'_>) -> Result<(), ManifestError> {
        tree::objects(source.text())?.iter().try_for_each(|object| self.object(source, object))
    }

    /// Finds the places in an object, or in a document without a kind, such as values of a chart.
    fn object(&mut self, source: &Source<'_>, object: &Node) -> Result<(), ManifestError> {
        let kind = object.written_out("kind")?.unwrap_or_default().to_owned();
        let before = (self.found.places.len(), self.found.additions.len());
        let around = std::mem::replace(&mut self.kind, kind.clone());
        if let Some(message) = kinds::without_image(&kind) {
            self.notice(source, object, message.to_owned(), false);
        } else {
            self.node(source, object)?;
            let found_none = before == (self.found.places.len(), self.found.additions.len());
            if is_kustomization(object)? {
                self.kustomization(source, object, found_none)?;
            } else if found_none {
                self.wrapping(source, object, &kind)?;
            }
        }
        self.kind = around;
        Ok(())
    }

    fn node(&mut self, source: &Source<'_>, node: &Node) -> Result<(), ManifestError> {
        match &node.value {
            Value::Mapping(pairs) => self.mapping(source, node, pairs),
            Value::Sequence(items) => items.iter().try_for_each(|item| self.node(source, item)),
            Value::Scalar { text, style } => self.scalar(source, node, text, *style),
            Value::Alias => Ok(()),
        }
    }

    fn mapping(&mut self, source: &Source<'_>, node: &Node, pairs: &[(Node, Node)]) -> Result<(), ManifestError> {
        let values = chart::values(node)?;
        for one in &values {
            self.chart(source, one)?;
        }
        for (key, value) in pairs {
            let name = key.text().unwrap_or_default();
            let is_object = matches!(value.value, Value::Mapping(_)) && value.written_out("kind")?.is_some();
            match name {
                LAST_APPLIED => {}
                "installation" if self.is_values() && self.found.installation.is_none() => {
                    self.found.installation = image_sets::settings(value)?;
                }
                _ if CONTAINERS.contains(&name) && matches!(value.value, Value::Sequence(_) | Value::Alias) => {
                    self.containers(source, node, value)?;
                }
                // What is found by its meaning is not found again by its words.
                _ if values.iter().any(|one| one.has(value)) => {}
                _ if is_object && value.written_out("apiVersion")?.is_some() => self.object(source, value)?,
                _ => self.node(source, value)?,
            }
        }
        Ok(())
    }

    /// Whether the walk is in values of a chart, or in a string that may hold some.
    fn is_values(&self) -> bool {
        self.kind.is_empty() || self.strings > 0 || kinds::with_values(&self.kind).is_some()
    }

    /// Finds the operator's image in the containers of a pod, and names the others.
    fn containers(&mut self, source: &Source<'_>, pod: &Node, containers: &Node) -> Result<(), ManifestError> {
        let mut operator_name = None;
        for key in CONTAINERS {
            for one in pod.get(key)?.map(Node::items).unwrap_or_default() {
                let reference =
                    if one.written_out("name")? == Some(self.container) { one.written_out("image")? } else { None };
                operator_name =
                    operator_name.or(reference.and_then(|image| image.parse().ok()).map(|one: Reference| one.name()));
            }
        }
        let is_pod =
            |text: &str| operator_name.as_deref() == text.parse::<Reference>().ok().map(|one| one.name()).as_deref();
        if matches!(containers.value, Value::Alias) {
            // Only an alias around the operator's own container hides its image.
            return if operator_name.is_some() || self.kind.is_empty() { Ok(()) } else { containers.not_alias() };
        }
        for one in containers.items() {
            let is_operator = one.text_at(&["name"])? == Some(self.container);
            let Some(image) = one.get("image")? else {
                if is_operator {
                    self.without_image(source, one)?;
                }
                continue;
            };
            let text = image.text().unwrap_or_default();
            if is_operator || operator_reference(text).is_some() || operator_name.is_some() && is_pod(text) {
                self.found.places.push(OperatorPlace::new(source, image, None)?);
            } else if image.text().is_some() {
                let line = source.place(&image.place).line;
                self.found.other_images.push(OtherImage { image: text.to_owned(), line });
            }
            // Everything else of a container, such as its environment.
            let Value::Mapping(pairs) = &one.value else { continue };
            for (_, value) in pairs.iter().filter(|(key, _)| key.text() != Some("image")) {
                self.node(source, value)?;
            }
        }
        Ok(())
    }

    /// Names the operator's container without an image: a patch, a merge key, or a typo.
    fn without_image(&mut self, source: &Source<'_>, container: &Node) -> Result<(), ManifestError> {
        let name = self.container;
        let Value::Mapping(pairs) = &container.value else { return Ok(()) };
        let letters =
            |key: &str| key.chars().filter(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
        let typo = pairs.iter().map(|(key, _)| key).find(|key| key.text().map(letters).as_deref() == Some("image"));
        if let Some(key) = typo {
            let message =
                format!("{:?} is not a field of container {name}: write image", key.text().unwrap_or_default());
            return Err(ManifestError::at(&source.place(&key.place), message));
        }
        if container.get(MERGE_KEY)?.is_some() {
            let message = format!("container {name} has no image of its own here (a merge key is not followed)");
            return Err(ManifestError::at(&source.place(&container.place), message));
        }
        let message = format!("this patch of container {name} has no image: pin the file that has it");
        self.notice(source, container, message, false);
        Ok(())
    }

    /// Finds the version in values of a chart.
    fn chart(&mut self, source: &Source<'_>, values: &Values<'_>) -> Result<(), ManifestError> {
        match values {
            Values::Version { node, name } => {
                let version = node.text().unwrap_or_default();
                let is_plain = matches!(node.value, Value::Scalar { style: ScalarStyle::Plain, .. });
                if is_plain && version.parse::<f64>().is_ok() {
                    let message = format!(
                        "{version} is a number to Helm, which may write it otherwise: quote it, and write the whole version"
                    );
                    return Err(ManifestError::at(&source.place(&node.place), message));
                }
                self.found.places.push(OperatorPlace::new(source, node, Some(format!("{name}:{version}")))?);
            }
            Values::Missing(missing) => {
                let line = source.place(&missing.0.place).line;
                self.found.additions.push(Addition::Values(missing.1.clone().at(line)));
            }
            Values::Other { node, image } => {
                let line = source.place(&node.place).line;
                self.found.other_images.push(OtherImage { image: image.clone(), line });
            }
        }
        Ok(())
    }

    /// Finds the operator's image in a scalar, or in the YAML that it holds.
    fn scalar(
        &mut self,
        source: &Source<'_>,
        node: &Node,
        text: &str,
        style: ScalarStyle,
    ) -> Result<(), ManifestError> {
        if operator_reference(text).is_some() && style != ScalarStyle::Literal && style != ScalarStyle::Folded {
            self.found.places.push(OperatorPlace::new(source, node, None)?);
            return Ok(());
        }
        let names_container = || text.contains("containers") && text.contains(self.container);
        let is_nested = text.contains('\n') || text.trim_start().starts_with(['{', '[']);
        if !is_nested || !(text.contains("tigeraOperator") || text.contains(OPERATOR) || names_container()) {
            return Ok(());
        }
        let has_image = text.contains("tigeraOperator:")
            || text.contains(&format!("{OPERATOR}:"))
            || text.contains(&format!("{OPERATOR}@"));
        let Some(nested) = source.of_string(node).filter(|_| self.strings < MAX_STRINGS) else {
            if has_image {
                let message = "this string has the operator's image and is folded: write it as a block with |, or pin what it becomes";
                self.notice(source, node, message.to_owned(), true);
            }
            return Ok(());
        };
        let before = (self.found.places.len(), self.found.additions.len());
        self.strings += 1;
        let read = self.documents(&nested);
        self.strings -= 1;
        match read {
            Ok(()) if before != (self.found.places.len(), self.found.additions.len()) || !has_image => Ok(()),
            // Text that is no YAML for people, such as a script or a template.
            Err(error) if !has_image => {
                let _ = error;
                Ok(())
            }
            Ok(()) | Err(_) => {
                self.found.places.truncate(before.0);
                let why = "this string names the operator's image and is no YAML that can be pinned, such as a script or a template: pin what it becomes";
                self.notice(source, node, why.to_owned(), true);
                Ok(())
            }
        }
    }

    /// Finds the images of a kustomization. Its patches were read before.
    fn kustomization(&mut self, source: &Source<'_>, object: &Node, found_none: bool) -> Result<(), ManifestError> {
        let mut images = Vec::new();
        for entry in object.get("images")?.map(Node::items).unwrap_or_default() {
            let text = |key: &str| Ok::<_, ManifestError>(entry.text_at(&[key])?.map(str::to_owned));
            let Some(name) = text("name")? else { continue };
            let (new_name, new_tag, digest) = (text("newName")?, text("newTag")?, text("digest")?);
            images.push(KustomizedImage { name, new_name, new_tag, digest });
        }
        if found_none || images.iter().any(KustomizedImage::is_operator) {
            let line = source.place(&object.place).line;
            self.found.additions.push(Addition::Kustomization { images, line });
        }
        Ok(())
    }

    /// Asks for the version in an object that holds values of the operator's chart and does not set it.
    fn wrapping(&mut self, source: &Source<'_>, object: &Node, kind: &str) -> Result<(), ManifestError> {
        let Some(kinds::ValuesKind { chart: fields, keys, .. }) = kinds::with_values(kind) else {
            return Ok(());
        };
        let mut named = fields.iter().filter_map(|path| object.text_at(path).transpose());
        let chart = named.find(|name| name.as_ref().is_ok_and(|name| kinds::is_chart(name))).transpose()?;
        let Some(chart) = chart else { return Ok(()) };
        let line = source.place(&object.place).line;
        self.found.additions.push(Addition::Values(chart::missing(chart, keys).at(line)));
        Ok(())
    }

    fn notice(&mut self, source: &Source<'_>, node: &Node, message: String, has_image: bool) {
        let place = source.place(&node.place);
        let kind = if self.kind.is_empty() { "a document".to_owned() } else { self.kind.clone() };
        self.found.notices.push(Notice { kind, line: place.line, column: place.column, message, has_image });
    }
}

/// Whether an object is a kustomization or a component of some, whose kind may be omitted.
fn is_kustomization(object: &Node) -> Result<bool, ManifestError> {
    if let Some(kind) = object.written_out("kind")? {
        let group = object.written_out("apiVersion")?.unwrap_or("kustomize.config.k8s.io/v1beta1");
        return Ok(matches!(kind, "Kustomization" | "Component") && group.starts_with("kustomize.config.k8s.io/"));
    }
    let is_list = |key: &str| {
        Ok::<_, ManifestError>(object.get(key)?.is_some_and(|value| matches!(value.value, Value::Sequence(_))))
    };
    Ok(object.get("apiVersion")?.is_none() && (is_list("resources")? || is_list("images")?))
}
