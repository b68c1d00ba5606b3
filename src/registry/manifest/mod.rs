//! Parses manifests and image configurations (OCI image specification 1.1; Docker image manifest version 2, schema 2). Pure: the
//! caller has bounded and hashed the bytes. Unknown fields are tolerated, contradictions are rejected: two readers might understand
//! them differently.

mod document;
mod platform;

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};

use super::error::{RegistryError, Result};
use super::json_object::JsonObject;
use crate::model::{Child, Digest, Platform, Presence, RegistryFailureKind};
use document::{ConfigDocument, Document, Entries, Entry};
use platform::{is_built_for, parse_platform};

/// Supported media types, in order of preference.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    /// One image per platform.
    Index {
        media_type: String,
        /// The entries that a node can run, in order of platform.
        children: Vec<Child>,
    },
    /// A single image, whose configuration names the platform.
    Image { media_type: String, config: Digest },
}

/// The parts of an image configuration that the controller uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageConfiguration {
    pub platform: Platform,
    /// The label `version`, which the operator's Dockerfile sets.
    pub version: Option<String>,
}

/// Content that contradicts itself, its header or the specification.
fn invalid(message: impl Into<String>) -> RegistryError {
    RegistryError::invalid(message)
}

/// The same, with a quote of the registry.
fn invalid_quoting(unquoted: impl Into<String>, message: &str) -> RegistryError {
    RegistryError::quoting(RegistryFailureKind::InvalidAnswer, unquoted, message)
}

/// Valid content that no node can run.
fn unsupported(unquoted: impl Into<String>, message: &str) -> RegistryError {
    RegistryError::quoting(RegistryFailureKind::UnsupportedContent, unquoted, message)
}

/// Parses a manifest that came with this `Content-Type`.
pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest> {
    let header = content_type.map(essence).filter(|header| !header.is_empty());
    let JsonObject(document): JsonObject<Document> = serde_json::from_slice(bytes).map_err(|error| {
        let kind = header.as_deref().unwrap_or("no content type");
        let place = format!("that is no manifest (line {}, column {})", error.line(), error.column());
        invalid_quoting(format!("a body {place}"), &format!("a body of {kind} {place}"))
    })?;
    if document.is_schema_1() {
        let message = "a manifest of schema 1, which current runtimes do not pull";
        return Err(unsupported(message, message));
    }
    if document.schema_version != Some(2) {
        return Err(invalid("a manifest without schemaVersion 2"));
    }
    let is_index = match (document.manifests.is_some(), document.config.is_some() || document.layers.is_some()) {
        (true, true) => return Err(invalid("both an index and an image in one body")),
        (false, false) => return Err(invalid("neither an index nor an image")),
        (is_index, _) => is_index,
    };
    let media_type = media_type(is_index, document.media_type.as_deref(), header.as_deref())?;
    if let Some(Entries(entries)) = document.manifests {
        return Ok(Manifest::Index { children: children(&entries)?, media_type });
    }
    let JsonObject(config) = document.config.ok_or_else(|| invalid("an image without configuration"))?;
    if document.layers.is_none() {
        return Err(invalid("an image without layers"));
    }
    let config_type = config.media_type.unwrap_or_default();
    if ![IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&config_type.as_str()) {
        let artifact = document.artifact_type.unwrap_or(config_type);
        let message = format!("an artifact of type {artifact:?}, not an image");
        return Err(unsupported("an artifact of another type, not an image", &message));
    }
    Ok(Manifest::Image { config: digest(&config.digest)?, media_type })
}

/// Parses an image configuration.
pub(crate) fn parse_configuration(bytes: &[u8]) -> Result<ImageConfiguration> {
    let JsonObject(document): JsonObject<ConfigDocument> = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        invalid(format!("an image configuration that cannot be read (line {line}, column {column})"))
    })?;
    let version = document.config.and_then(|JsonObject(config)| config.labels);
    let version = version.and_then(|JsonObject(labels)| labels.version);
    let (Some(os), Some(architecture)) = (document.os, document.architecture) else {
        return Err(invalid("an image configuration that names no platform"));
    };
    let platform = parse_platform(&os, &architecture, document.os_version.as_deref(), document.variant.as_deref())?;
    if !is_built_for(&platform) {
        let message = format!("an image for {platform}, which no node is");
        return Err(unsupported("an image for a platform that no node is", &message));
    }
    Ok(ImageConfiguration { platform, version })
}

/// Returns a media type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Returns the media type that body and header agree on. A header that says nothing (`application/json`, text, bytes) is accepted if
/// the body names its type; nodes are not stricter.
fn media_type(is_index: bool, body: Option<&str>, header: Option<&str>) -> Result<String> {
    let known: [&str; 2] = if is_index {
        [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE]
    } else {
        [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE]
    };
    let what = if is_index { "an index" } else { "an image" };
    if let Some(other) = body.filter(|body| !known.contains(body)) {
        let message = format!("{what} that calls itself {other:?}");
        return Err(invalid_quoting(format!("{what} that calls itself something else"), &message));
    }
    let header =
        header.filter(|header| !["application/json", "text/plain", "application/octet-stream"].contains(header));
    if let Some(other) = header.filter(|header| !known.contains(header)) {
        let message = format!("{what} with the content type {other:?}");
        return Err(invalid_quoting(format!("{what} with the content type of something else"), &message));
    }
    match (body, header) {
        // Both are known types.
        (Some(body), Some(header)) if body != header => {
            Err(invalid(format!("{what} that calls itself {body:?} with the content type {header:?}")))
        }
        (Some(agreed), _) | (None, Some(agreed)) => Ok(agreed.to_owned()),
        (None, None) => Err(invalid(format!("{what} without media type in body or header"))),
    }
}

/// Returns the entries that a node can run. Left out are attestations (`unknown/unknown`), nested indexes, entries without platform or
/// with an empty one, platforms that Go does not know, for which no kubelet is built, and entries that cannot be read: container
/// runtimes match no node with any of these either. One of them says nothing about the others.
fn children(entries: &[Entry]) -> Result<Vec<Child>> {
    let mut children = Vec::new();
    let (mut attestations, mut nested, mut unnamed, mut unknown) = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut unreadable = Vec::new();
    for entry in entries {
        if matches!(entry.media_type.as_deref(), Some(OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE)) {
            nested += 1;
            continue;
        }
        match child(entry) {
            Ok(None) => unnamed += 1,
            Ok(Some(child)) if child.platform.is_unknown() => attestations += 1,
            Ok(Some(child)) if !is_built_for(&child.platform) => unknown += 1,
            Ok(Some(child)) => children.push(child),
            Err(error) => unreadable.push(error),
        }
    }
    children.sort();
    children.dedup();
    if !children.is_empty() {
        return Ok(children);
    }
    if let Some(error) = unreadable.into_iter().next() {
        return Err(error);
    }
    let message = format!(
        "an index without an image for any platform ({attestations} attestations, {nested} nested indexes, \
         {unnamed} entries without platform, {unknown} for unknown platforms)"
    );
    Err(unsupported(message.clone(), &message))
}

/// Returns an entry of an index; `None` if it names no platform.
fn child(entry: &Entry) -> Result<Option<Child>> {
    let digest = digest(entry.digest.as_deref().unwrap_or_default())?;
    let Some(JsonObject(named)) = &entry.platform else { return Ok(None) };
    let part = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (Some(os), Some(architecture)) = (part(&named.os), part(&named.architecture)) else { return Ok(None) };
    let platform = parse_platform(&os, &architecture, named.os_version.as_deref(), named.variant.as_deref())?;
    Ok(Some(Child { platform, digest, presence: Presence::Unchecked }))
}

fn digest(text: &str) -> Result<Digest> {
    text.parse()
        .map_err(|error| invalid_quoting("a digest that is not of the form sha256:<64 digits>", &format!("{error}")))
}

#[cfg(test)]
mod tests {
    use super::document::MAX_ENTRIES;
    use super::*;
    use crate::model::RegistryFailureKind::{InvalidAnswer, UnsupportedContent};
    use serde_json::json;

    fn entry(os: &str, architecture: &str) -> serde_json::Value {
        json!({"mediaType": OCI_IMAGE_MEDIA_TYPE, "digest": Digest::of(os.as_bytes()), "size": 1,
               "platform": {"os": os, "architecture": architecture, "os.features": ["x"]}, "future": true})
    }

    fn index(entries: &[serde_json::Value]) -> serde_json::Value {
        json!({"schemaVersion": 2, "mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "manifests": entries, "future": {}})
    }

    fn image() -> serde_json::Value {
        json!({"schemaVersion": 2, "mediaType": IMAGE_MANIFEST_MEDIA_TYPE, "layers": [{"digest": "x"}],
               "config": {"mediaType": IMAGE_DOCKER_CONFIG_MEDIA_TYPE, "digest": Digest::of(b"c"), "size": 1}})
    }

    fn parse_json(value: &serde_json::Value, content_type: Option<&str>) -> Result<Manifest> {
        parse(&serde_json::to_vec(value).unwrap(), content_type)
    }

    fn kind(parsed: &Result<Manifest>) -> Option<RegistryFailureKind> {
        parsed.as_ref().err().map(|error| error.kind)
    }

    fn without(mut value: serde_json::Value, field: &str) -> serde_json::Value {
        value.as_object_mut().unwrap().remove(field);
        value
    }

    fn with(mut value: serde_json::Value, field: &str, to: serde_json::Value) -> serde_json::Value {
        value.as_object_mut().unwrap().insert(field.to_owned(), to);
        value
    }

    #[test]
    fn an_index_lists_its_platforms_without_attestations() {
        let value = index(&[entry("linux", "amd64"), entry("unknown", "unknown"), entry("linux", "arm64")]);
        for content_type in [Some(OCI_IMAGE_INDEX_MEDIA_TYPE), None, Some("application/json; charset=utf-8")] {
            let Ok(Manifest::Index { media_type, children }) = parse_json(&value, content_type) else { panic!() };
            let platforms: Vec<String> = children.iter().map(|child| child.platform.to_string()).collect();
            assert_eq!(
                (media_type.as_str(), platforms),
                (OCI_IMAGE_INDEX_MEDIA_TYPE, vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()])
            );
        }
        let typed_by_header = parse_json(&without(value, "mediaType"), Some(OCI_IMAGE_INDEX_MEDIA_TYPE));
        assert!(matches!(typed_by_header, Ok(Manifest::Index { .. })));
    }

    #[test]
    fn an_image_points_to_its_configuration() {
        let expected = Manifest::Image { media_type: IMAGE_MANIFEST_MEDIA_TYPE.to_owned(), config: Digest::of(b"c") };
        assert_eq!(parse_json(&image(), Some(IMAGE_MANIFEST_MEDIA_TYPE)), Ok(expected));
        let config = json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1", "rootfs": {},
                            "config": {"Labels": {"version": "v1"}, "Env": []}});
        let read = parse_configuration(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(
            (read.platform.to_string().as_str(), read.version.as_deref()),
            ("windows/amd64/10.0.20348.1", Some("v1"))
        );
        assert!(parse_configuration(b"{}").is_err());
    }

    #[test]
    fn contradictions_are_rejected() {
        let index = index(&[entry("linux", "amd64")]);
        for (value, content_type) in [
            (with(index.clone(), "layers", json!([])), None),
            (with(index.clone(), "config", json!({"digest": "x"})), None),
            (index.clone(), Some(OCI_IMAGE_MEDIA_TYPE)),
            (index.clone(), Some(IMAGE_MANIFEST_LIST_MEDIA_TYPE)),
            (index.clone(), Some("text/html")),
            (with(index.clone(), "mediaType", json!(OCI_IMAGE_MEDIA_TYPE)), None),
            (without(index.clone(), "mediaType"), None),
            (without(index.clone(), "schemaVersion"), None),
            (without(index.clone(), "manifests"), None),
            (without(image(), "layers"), None),
            (with(index.clone(), "manifests", json!([{"digest": "sha256:../../etc/passwd"}])), None),
            (super::tests::index(&[entry("linux", "amd64/../x")]), None),
            (json!([]), None),
            (json!([2, null, OCI_IMAGE_INDEX_MEDIA_TYPE, [entry("linux", "amd64")]]), Some(OCI_IMAGE_INDEX_MEDIA_TYPE)),
            (
                super::tests::index(&[
                    json!([OCI_IMAGE_MEDIA_TYPE, Digest::of(b"x"), {"os": "linux", "architecture": "arm"}]),
                ]),
                None,
            ),
            (with(image(), "config", json!([IMAGE_DOCKER_CONFIG_MEDIA_TYPE, Digest::of(b"c")])), None),
        ] {
            let parsed = parse_json(&value, content_type);
            assert_eq!(kind(&parsed), Some(InvalidAnswer), "{value} {content_type:?}: {parsed:?}");
        }
        let twice = br#"{"schemaVersion":2,"mediaType":"a","mediaType":"b","manifests":[]}"#;
        assert_eq!(kind(&parse(twice, None)), Some(InvalidAnswer));
        assert_eq!(kind(&parse(b"<html>", Some("text/html"))), Some(InvalidAnswer));
        assert_eq!(kind(&parse("[".repeat(100_000).as_bytes(), None)), Some(InvalidAnswer));
    }

    #[test]
    fn content_that_no_node_can_run_is_unsupported() {
        let nested = json!({"mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "digest": Digest::of(b""), "size": 1});
        let artifact = json!({"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": Digest::of(b"c")});
        for value in [
            json!({"schemaVersion": 1, "name": "x", "fsLayers": [], "signatures": []}),
            index(&[]),
            index(&[entry("unknown", "unknown")]),
            index(&[nested]),
            with(image(), "config", artifact),
        ] {
            let parsed = parse_json(&value, None);
            assert_eq!(kind(&parsed), Some(UnsupportedContent), "{value}: {parsed:?}");
        }
    }

    #[test]
    fn odd_entries_beside_good_ones_are_left_out() {
        let good = entry("linux", "amd64");
        let platform = |platform: serde_json::Value| with(good.clone(), "platform", platform);
        let odd = [
            platform(json!({})),
            platform(json!({"os": "", "architecture": ""})),
            platform(json!({"os": "linux"})),
            platform(json!({"os": null, "architecture": null})),
            platform(json!({"os": "linux", "architecture": "amd64/../x"})),
            platform(serde_json::Value::Null),
            without(good.clone(), "platform"),
            without(good.clone(), "digest"),
            with(good.clone(), "digest", serde_json::Value::Null),
            with(good.clone(), "digest", json!(format!("sha512:{}", "0".repeat(128)))),
            with(good.clone(), "digest", json!("sha256:../../etc/passwd")),
            json!({}),
        ];
        for odd in odd {
            for entries in [[odd.clone(), entry("linux", "arm64")], [entry("linux", "arm64"), odd.clone()]] {
                let parsed = parse_json(&index(&entries), None);
                let Ok(Manifest::Index { children, .. }) = parsed else { panic!("{odd}: {parsed:?}") };
                let platforms: Vec<String> = children.iter().map(|child| child.platform.to_string()).collect();
                assert_eq!(platforms, ["linux/arm64"], "{odd}");
            }
        }
    }

    #[test]
    fn too_many_entries_are_rejected() {
        let strange = [entry("linux", "63616e617279"), entry("63616e617279", "amd64"), entry("linux", "amd64")];
        let Ok(Manifest::Index { children, .. }) = parse_json(&index(&strange), None) else { panic!() };
        assert_eq!(children.len(), 1, "names of the registry's choice are left out");
        let entries: Vec<_> = (0..=MAX_ENTRIES).map(|number| entry("linux", &format!("a{number}"))).collect();
        assert_eq!(kind(&parse_json(&index(&entries), None)), Some(InvalidAnswer));
    }
}
