//! Values of charts: of Tigera's, which joins registry, image and version; and of others, which have a repository and a tag.

use super::found::{KustomizedImage, MissingVersion};
use super::kinds::RKE2_CHART;
use crate::manifest::ManifestError;
use crate::manifest::tree::{Node, Value};

/// The key of the operator's values in Tigera's chart.
const KEY: &str = "tigeraOperator";
/// The image of Tigera's chart.
const IMAGE: &str = "tigera/operator";

/// What the values of a chart say about an image.
pub(super) enum Values<'n> {
    /// The version of the operator, which follows the name and a colon.
    Version { node: &'n Node, name: String },
    /// Values of the operator without a version, and the lines to add.
    Missing((&'n Node, MissingVersion)),
    /// Another image that the chart runs.
    Other { node: &'n Node, image: String },
}

impl MissingVersion {
    pub(super) fn at(self, line: usize) -> Self {
        Self { line, ..self }
    }
}

impl KustomizedImage {
    /// Whether it is the operator's.
    #[must_use]
    pub fn is_operator(&self) -> bool {
        self.name == IMAGE || self.name.ends_with("/tigera/operator")
    }
}

impl Values<'_> {
    /// Whether a value is the one that was found, or has it in a field.
    pub(super) fn has(&self, value: &Node) -> bool {
        let node = match self {
            Self::Version { node, .. } | Self::Missing((node, _)) | Self::Other { node, .. } => *node,
        };
        let is_field = |mapping: &Node| match &mapping.value {
            Value::Mapping(pairs) => pairs.iter().any(|(_, field)| std::ptr::eq(field, node)),
            _ => false,
        };
        std::ptr::eq(value, node) || is_field(value)
    }
}

/// Returns what a mapping says, if it has values of a chart: as a mapping, as a list of parameters, or with keys joined by dots.
pub(super) fn values(mapping: &Node) -> Result<Vec<Values<'_>>, ManifestError> {
    let Value::Mapping(pairs) = &mapping.value else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (key, value) in pairs {
        match key.text().unwrap_or_default() {
            KEY if matches!(value.value, Value::Mapping(_)) => found.push(of_tigera(value)?),
            "image" if matches!(value.value, Value::Mapping(_)) => found.extend(of_repository(value)?),
            "calicoctl" => found.extend(other(value)?),
            "parameters" | "set" => found.extend(parameters(value)?),
            _ => {}
        }
    }
    Ok(found)
}

/// Returns the lines that set the version in values that lack it.
pub(super) fn missing(chart: &str, keys: &[&str]) -> MissingVersion {
    let name =
        if chart == RKE2_CHART { "docker.io/rancher/mirrored-calico-operator" } else { "quay.io/tigera/operator" };
    let keys = keys.iter().chain(&[KEY, "version"]).map(|key| (*key).to_owned()).collect();
    MissingVersion { keys, name: name.to_owned(), line: 1 }
}

/// Joins registry and image as Tigera's chart does.
fn joined(registry: Option<&str>, image: Option<&str>) -> String {
    let (registry, image) = (registry.unwrap_or("quay.io").trim_end_matches('/'), image.unwrap_or(IMAGE));
    if registry.is_empty() { image.to_owned() } else { format!("{registry}/{image}") }
}

/// Reads `tigeraOperator` of Tigera's chart.
fn of_tigera(values: &Node) -> Result<Values<'_>, ManifestError> {
    let name = joined(values.text_at(&["registry"])?, values.text_at(&["image"])?);
    Ok(match values.path(&["version"])? {
        Some(node) if node.text() != Some("") => Values::Version { node, name },
        _ => {
            let missing = missing("", &[]);
            Values::Missing((values, MissingVersion { name, ..missing }))
        }
    })
}

/// Reads `image` of a chart that has `repository` and `tag`.
fn of_repository(values: &Node) -> Result<Option<Values<'_>>, ManifestError> {
    let Some(repository) = values.text_at(&["repository"])? else { return Ok(None) };
    let is_operator =
        repository == IMAGE || repository.ends_with("/tigera/operator") || repository.ends_with("calico-operator");
    let name = match values.text_at(&["registry"])?.map(|registry| registry.trim_end_matches('/')) {
        Some(registry) if !registry.is_empty() => format!("{registry}/{repository}"),
        _ => repository.to_owned(),
    };
    let tag = values.path(&["tag"])?.filter(|tag| tag.text() != Some(""));
    Ok(match tag {
        Some(node) if is_operator => Some(Values::Version { node, name }),
        None if is_operator => {
            let keys = vec!["image".to_owned(), "tag".to_owned()];
            Some(Values::Missing((values, MissingVersion { keys, name, line: 1 })))
        }
        _ => None,
    })
}

/// Reads `calicoctl` of Tigera's chart, which OpenShift runs before the operator.
fn other(values: &Node) -> Result<Option<Values<'_>>, ManifestError> {
    let (image, tag) = (values.text_at(&["image"])?, values.text_at(&["tag"])?);
    Ok(image.zip(tag).map(|(image, tag)| Values::Other { node: values, image: format!("{image}:{tag}") }))
}

/// Reads `tigeraOperator.version` of a list of names and values, or of a mapping with dots in its keys.
fn parameters(list: &Node) -> Result<Option<Values<'_>>, ManifestError> {
    let of = |key: &str| -> Result<Option<&Node>, ManifestError> {
        let name = format!("{KEY}.{key}");
        if let Value::Mapping(_) = list.value {
            return list.get(&name);
        }
        for one in list.items() {
            if one.written_out("name")?.is_some_and(|written| written == name || written.ends_with(&format!(".{name}")))
            {
                return one.get("value");
            }
        }
        Ok(None)
    };
    let (registry, image) = (of("registry")?.and_then(Node::text), of("image")?.and_then(Node::text));
    Ok(of("version")?.map(|node| Values::Version { node, name: joined(registry, image) }))
}
