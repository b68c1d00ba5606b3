//! Reads the bytes of manifests and image configurations (OCI image specification 1.1; Docker image manifest version 2,
//! schema 2). Pure: the caller has bounded and hashed the bytes. Unknown fields are tolerated, contradictions are not: what two
//! readers could read differently is refused.

use oci_distribution::manifest::{
    IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::object::Object;
use crate::model::digest::Digest;
use crate::model::platform::Platform;
use crate::model::resolved_image::{Child, Presence};

/// What we ask for, in the order in which we like it best.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The most entries that an index may list; real ones have less than 20, attestations included.
const MOST_ENTRIES: usize = 512;

/// Go's operating systems (`go tool dist list`).
const SYSTEMS: [&str; 15] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
];
/// Go's processors.
const ARCHITECTURES: [&str; 14] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];
/// Variants of processors that are not numbered (`v7`, `v8.1`).
const VARIANTS: [&str; 8] =
    ["hardfloat", "power10", "power8", "power9", "rva20u64", "rva22u64", "rva23u64", "softfloat"];

/// A manifest that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manifest {
    /// One image per platform.
    Index {
        /// Media type of the index.
        media_type: String,
        /// The entries that a node can run, in order of platform.
        children: Vec<Child>,
    },
    /// A single image; its configuration tells the platform.
    Image {
        /// Media type of the manifest.
        media_type: String,
        /// Where its configuration is.
        config: Digest,
    },
}

/// What an image's configuration says that matters to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageConfiguration {
    /// What it runs on.
    pub platform: Platform,
    /// The image's label `version`, which the operator's Dockerfile sets.
    pub version: Option<String>,
}

/// Why bytes were not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestProblem {
    /// The bytes contradict themselves, their header or the specification.
    #[error("{}", .0.quoted)]
    Invalid(Words),
    /// Valid, but nothing that a node could run.
    #[error("{}", .0.quoted)]
    Unsupported(Words),
}

/// A problem in words, with and without what the registry wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// No text of the registry's choice.
    pub unquoted: String,
    /// Foreign in parts and not yet escaped.
    pub quoted: String,
}

impl<T: Into<String>> From<T> for Words {
    /// Words that quote nothing.
    fn from(words: T) -> Self {
        let unquoted = words.into();
        Self { quoted: unquoted.clone(), unquoted }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Entries>,
    config: Option<Object<Descriptor>>,
    layers: Option<Vec<IgnoredAny>>,
    artifact_type: Option<String>,
    fs_layers: Option<IgnoredAny>,
    signatures: Option<IgnoredAny>,
}

/// The entries of an index. A text of millions of them is let go at the first one too many.
struct Entries(Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Entries;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "at most {MOST_ENTRIES} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Entries, A::Error> {
                let mut kept = Vec::new();
                while let Some(Object(entry)) = entries.next_element()? {
                    if kept.len() == MOST_ENTRIES {
                        return Err(serde::de::Error::invalid_length(MOST_ENTRIES + 1, &self));
                    }
                    kept.push(entry);
                }
                Ok(Entries(kept))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    media_type: Option<String>,
    digest: String,
    platform: Option<Object<EntryPlatform>>,
}

#[derive(Deserialize)]
struct EntryPlatform {
    architecture: String,
    os: String,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    variant: Option<String>,
}

/// Only what is needed: a flattened struct or a map of all labels would take many times the text's own memory.
#[derive(Deserialize)]
struct ConfigDocument {
    architecture: Option<String>,
    os: Option<String>,
    #[serde(rename = "os.version")]
    os_version: Option<String>,
    variant: Option<String>,
    config: Option<Object<ConfigSection>>,
}

#[derive(Deserialize)]
struct ConfigSection {
    #[serde(rename = "Labels")]
    labels: Option<Object<Labels>>,
}

#[derive(Deserialize)]
struct Labels {
    version: Option<String>,
}

fn invalid(words: impl Into<Words>) -> ManifestProblem {
    ManifestProblem::Invalid(words.into())
}

fn unsupported(words: impl Into<Words>) -> ManifestProblem {
    ManifestProblem::Unsupported(words.into())
}

fn quoting(unquoted: impl Into<String>, quoted: String) -> Words {
    Words { unquoted: unquoted.into(), quoted }
}

/// Reads a manifest that came with this `Content-Type`.
///
/// # Errors
/// See [`ManifestProblem`].
pub fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest, ManifestProblem> {
    let header = content_type.map(essence).filter(|header| !header.is_empty());
    let Object(document): Object<Document> = serde_json::from_slice(bytes).map_err(|error| {
        let kind = header.as_deref().unwrap_or("no content type");
        let place = format!("that is no manifest (line {}, column {})", error.line(), error.column());
        invalid(quoting(format!("a body {place}"), format!("a body of {kind} {place}")))
    })?;
    if document.schema_version == Some(1) || document.fs_layers.is_some() || document.signatures.is_some() {
        return Err(unsupported("a manifest of schema 1, which current runtimes do not pull"));
    }
    if document.schema_version != Some(2) {
        return Err(invalid("a manifest without schemaVersion 2"));
    }
    let (index, image) = (document.manifests.is_some(), document.config.is_some() || document.layers.is_some());
    let kind = match (index, image) {
        (true, true) => return Err(invalid("both an index and an image in one body")),
        (false, false) => return Err(invalid("neither an index nor an image")),
        (index, _) => index,
    };
    let media_type = media_type(kind, document.media_type.as_deref(), header.as_deref())?;
    if let Some(Entries(entries)) = document.manifests {
        return Ok(Manifest::Index { children: children(&entries)?, media_type });
    }
    let Object(config) = document.config.ok_or_else(|| invalid("an image without configuration"))?;
    if document.layers.is_none() {
        return Err(invalid("an image without layers"));
    }
    let config_type = config.media_type.unwrap_or_default();
    if ![IMAGE_CONFIG_MEDIA_TYPE, IMAGE_DOCKER_CONFIG_MEDIA_TYPE].contains(&config_type.as_str()) {
        let artifact = document.artifact_type.unwrap_or(config_type);
        let quoted = format!("an artifact of type {artifact:?}, not an image");
        return Err(unsupported(quoting("an artifact of another type, not an image", quoted)));
    }
    Ok(Manifest::Image { config: digest(&config.digest)?, media_type })
}

/// Reads an image's configuration.
///
/// # Errors
/// It is no configuration, or names no platform.
pub fn read_configuration(bytes: &[u8]) -> Result<ImageConfiguration, ManifestProblem> {
    let Object(document): Object<ConfigDocument> = serde_json::from_slice(bytes).map_err(|error| {
        invalid(format!(
            "an image configuration that cannot be read (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let (Some(os), Some(architecture)) = (document.os, document.architecture) else {
        return Err(invalid("an image configuration that names no platform"));
    };
    let platform = EntryPlatform { architecture, os, os_version: document.os_version, variant: document.variant };
    let platform = platform.narrowed()?;
    if !is_built_for(&platform) {
        let quoted = format!("an image for {platform}, which no node is");
        return Err(unsupported(quoting("an image for a platform that no node is", quoted)));
    }
    let version = document.config.and_then(|Object(config)| config.labels).and_then(|Object(labels)| labels.version);
    Ok(ImageConfiguration { platform, version })
}

/// A media type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The one media type that body and header agree upon. Headers that say nothing (`application/json`, text, bytes) are no
/// objection where the body names itself; nodes are stricter with nothing.
fn media_type(index: bool, body: Option<&str>, header: Option<&str>) -> Result<String, ManifestProblem> {
    let known: [&str; 2] = if index {
        [OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE]
    } else {
        [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE]
    };
    let what = if index { "an index" } else { "an image" };
    if let Some(other) = body.filter(|body| !known.contains(body)) {
        let quoted = format!("{what} that calls itself {other:?}");
        return Err(invalid(quoting(format!("{what} that calls itself something else"), quoted)));
    }
    let header =
        header.filter(|header| !["application/json", "text/plain", "application/octet-stream"].contains(header));
    if let Some(other) = header.filter(|header| !known.contains(header)) {
        let quoted = format!("{what} with the content type {other:?}");
        return Err(invalid(quoting(format!("{what} with the content type of something else"), quoted)));
    }
    match (body, header) {
        // Both are among the known ones.
        (Some(body), Some(header)) if body != header => {
            Err(invalid(format!("{what} that calls itself {body:?} with the content type {header:?}")))
        }
        (Some(agreed), _) | (None, Some(agreed)) => Ok(agreed.to_owned()),
        (None, None) => Err(invalid(format!("{what} without media type in body or header"))),
    }
}

/// The entries that a node can run. Left out: attestations (`unknown/unknown`), nested indexes, entries without platform and
/// those for platforms that Go does not know, for which no kubelet is built.
fn children(entries: &[Entry]) -> Result<Vec<Child>, ManifestProblem> {
    let mut children = Vec::new();
    let (mut attestations, mut nested, mut nameless, mut strange) = (0_usize, 0_usize, 0_usize, 0_usize);
    for entry in entries {
        let entry_digest = digest(&entry.digest)?;
        match (entry.media_type.as_deref(), &entry.platform) {
            (Some(OCI_IMAGE_INDEX_MEDIA_TYPE | IMAGE_MANIFEST_LIST_MEDIA_TYPE), _) => nested += 1,
            (_, None) => nameless += 1,
            (_, Some(Object(platform))) => {
                let platform = platform.narrowed()?;
                if platform.is_unknown() {
                    attestations += 1;
                } else if !is_built_for(&platform) {
                    strange += 1;
                } else {
                    children.push(Child { platform, digest: entry_digest, presence: Presence::Unasked });
                }
            }
        }
    }
    children.sort();
    children.dedup();
    if children.is_empty() {
        return Err(unsupported(format!(
            "an index without an image for any platform ({attestations} attestations, {nested} nested indexes, \
             {nameless} entries without platform, {strange} for unknown platforms)"
        )));
    }
    Ok(children)
}

/// Whether Go knows this platform. Platforms get into messages: a closed list leaves no room for a text of the registry's
/// choice, such as a credential.
fn is_built_for(platform: &Platform) -> bool {
    let plain_variant = |variant: &str| {
        let numbers = |text: &str| text.len() == 1 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor) = variant.strip_prefix('v').map_or(("", None), |version| match version.split_once('.') {
            Some((major, minor)) => (major, Some(minor)),
            None => (version, None),
        });
        VARIANTS.contains(&variant) || (numbers(major) && minor.is_none_or(numbers))
    };
    let plain_build =
        |build: &str| build.len() <= 24 && build.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    SYSTEMS.contains(&platform.os.as_str())
        && ARCHITECTURES.contains(&platform.architecture.as_str())
        && platform.variant.as_deref().is_none_or(plain_variant)
        && platform.os_version.as_deref().is_none_or(plain_build)
}

fn digest(text: &str) -> Result<Digest, ManifestProblem> {
    text.parse()
        .map_err(|error| invalid(quoting("a digest that is not of the form sha256:<64 digits>", format!("{error}"))))
}

impl EntryPlatform {
    /// The platform as ours; parts that could not be written and read back are refused.
    fn narrowed(&self) -> Result<Platform, ManifestProblem> {
        let part = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
                let quoted = format!("a platform part {text:?}");
                return Err(invalid(quoting("a platform part with characters that none has", quoted)));
            }
            Ok(text.to_owned())
        };
        let optional = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(part).transpose();
        let mut platform = Platform::new(&part(&self.os)?, &part(&self.architecture)?);
        if platform.is_windows() {
            platform.os_version = optional(&self.os_version)?;
        } else {
            platform.variant = optional(&self.variant)?;
        }
        Ok(platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn read_json(value: &serde_json::Value, content_type: Option<&str>) -> Result<Manifest, ManifestProblem> {
        read(&serde_json::to_vec(value).unwrap(), content_type)
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
            let Ok(Manifest::Index { media_type, children }) = read_json(&value, content_type) else { panic!() };
            let platforms: Vec<String> = children.iter().map(|child| child.platform.to_string()).collect();
            assert_eq!(
                (media_type.as_str(), platforms),
                (OCI_IMAGE_INDEX_MEDIA_TYPE, vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()])
            );
        }
        let typed_by_header = read_json(&without(value, "mediaType"), Some(OCI_IMAGE_INDEX_MEDIA_TYPE));
        assert!(matches!(typed_by_header, Ok(Manifest::Index { .. })));
    }

    #[test]
    fn an_image_points_to_its_configuration() {
        let expected = Manifest::Image { media_type: IMAGE_MANIFEST_MEDIA_TYPE.to_owned(), config: Digest::of(b"c") };
        assert_eq!(read_json(&image(), Some(IMAGE_MANIFEST_MEDIA_TYPE)), Ok(expected));
        let config = json!({"os": "windows", "architecture": "amd64", "os.version": "10.0.20348.1", "rootfs": {},
                            "config": {"Labels": {"version": "v1"}, "Env": []}});
        let read = read_configuration(&serde_json::to_vec(&config).unwrap()).unwrap();
        assert_eq!(
            (read.platform.to_string().as_str(), read.version.as_deref()),
            ("windows/amd64/10.0.20348.1", Some("v1"))
        );
        assert!(read_configuration(b"{}").is_err());
    }

    #[test]
    fn contradictions_are_refused() {
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
            let answer = read_json(&value, content_type);
            assert!(matches!(answer, Err(ManifestProblem::Invalid(_))), "{value} {content_type:?}: {answer:?}");
        }
        let twice = br#"{"schemaVersion":2,"mediaType":"a","mediaType":"b","manifests":[]}"#;
        assert!(matches!(read(twice, None), Err(ManifestProblem::Invalid(_))));
        assert!(matches!(read(b"<html>", Some("text/html")), Err(ManifestProblem::Invalid(_))));
        assert!(matches!(read("[".repeat(100_000).as_bytes(), None), Err(ManifestProblem::Invalid(_))));
    }

    #[test]
    fn what_no_node_can_run_is_told_apart() {
        let nested = json!({"mediaType": OCI_IMAGE_INDEX_MEDIA_TYPE, "digest": Digest::of(b""), "size": 1});
        let artifact = json!({"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": Digest::of(b"c")});
        for value in [
            json!({"schemaVersion": 1, "name": "x", "fsLayers": [], "signatures": []}),
            index(&[]),
            index(&[entry("unknown", "unknown")]),
            index(&[nested]),
            with(image(), "config", artifact),
        ] {
            let answer = read_json(&value, None);
            assert!(matches!(answer, Err(ManifestProblem::Unsupported(_))), "{value}: {answer:?}");
        }
    }

    #[test]
    fn a_platform_reads_back_as_it_was_written() {
        let platform = EntryPlatform {
            architecture: "arm64".to_owned(),
            os: "linux".to_owned(),
            os_version: Some("6.1".to_owned()),
            variant: Some("v8".to_owned()),
        };
        let platform = platform.narrowed().unwrap();
        assert_eq!(platform.to_string().parse(), Ok(platform));
    }

    #[test]
    fn too_many_entries_are_refused() {
        let strange = [entry("linux", "63616e617279"), entry("63616e617279", "amd64"), entry("linux", "amd64")];
        let Ok(Manifest::Index { children, .. }) = read_json(&index(&strange), None) else { panic!() };
        assert_eq!(children.len(), 1, "names of the registry's choice are left out");
        let entries: Vec<_> = (0..=MOST_ENTRIES).map(|number| entry("linux", &format!("a{number}"))).collect();
        assert!(matches!(read_json(&index(&entries), None), Err(ManifestProblem::Invalid(_))));
    }
}
