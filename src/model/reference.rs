//! Image references: registry, repository and a tag, a digest or both. The grammar is that of Docker and of the OCI library
//! (`oci-distribution`). The library parses by a regular expression that alone takes 10 MiB of memory, so this parser is written
//! by hand and tested against the library (docs/adr/0010).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::as_text::as_text;
use crate::model::digest::Digest;
use crate::model::foreign_text::cut;
use crate::model::image_name::ImageName;

/// A parsed image reference. A reference without a registry is one of `docker.io`, as for the kubelet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The error for a text that is not an image reference that a node could pull.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {cause}")]
pub struct InvalidReference {
    text: String,
    cause: String,
}

impl InvalidReference {
    /// Returns the error about a setting that references are made of.
    pub(crate) fn of_setting(value: &str, cause: String) -> Self {
        Self { text: cut(value, 300), cause }
    }
}

impl Reference {
    /// Returns host and port, such as `quay.io` or `registry.example.com:5000`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the path on the registry, such as `calico/node`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag, if the reference has one.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if the reference has one. It takes precedence over the tag.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the last two segments of the repository, or the only one.
    pub(crate) fn key(&self) -> &str {
        let start = self.repository.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
        &self.repository[start..]
    }

    /// Returns the key of this image in an ImageSet.
    ///
    /// # Errors
    /// The repository has a single segment, which no image of the operator has.
    pub fn image_name(&self) -> Result<ImageName, crate::model::image_name::InvalidImageName> {
        ImageName::of_repository(&self.repository)
    }

    /// Returns the same repository with this tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// Returns the same repository by digest alone.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Returns the same tag and digest under another `registry/repository`.
    ///
    /// # Errors
    /// `name` is not a registry and repository; for instance, it has a tag of its own.
    pub fn renamed(&self, name: &str) -> Result<Self, InvalidReference> {
        let (registry, repository) =
            parse_name(name).map_err(|cause| InvalidReference { text: cut(name, 300), cause })?;
        Ok(Self { registry, repository, ..self.clone() })
    }

    /// Returns the text with a shortened digest, for messages.
    #[must_use]
    pub fn short(&self) -> String {
        let Some(digest) = self.digest() else { return self.to_string() };
        let tag = self.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
        format!("{}{tag}@{}", self.name(), digest.short())
    }

    /// Returns `registry/repository`, without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns every text that parses to this reference: an image of Docker Hub may leave out the host and `library/`, and any image
    /// the tag `latest`.
    #[must_use]
    pub fn spellings(&self) -> Vec<String> {
        let hosts: &[&str] = match self.registry == DOCKER_HUB {
            true => &["docker.io/", "index.docker.io/", ""],
            false => &[&format!("{}/", self.registry)],
        };
        let official = self.repository.strip_prefix(OFFICIAL_IMAGES).and_then(|rest| rest.strip_prefix('/'));
        let tag = self.tag().map(|tag| format!(":{tag}"));
        let without_tag = self.tag().filter(|tag| *tag == DEFAULT_TAG).map(|_| String::new());
        let tags: Vec<String> = match (&tag, without_tag) {
            (None, _) => vec![String::new()],
            (Some(tag), without) => [Some(tag.clone()), without].into_iter().flatten().collect(),
        };
        let digest = self.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
        let paths = [Some(self.repository.as_str()), official].into_iter().flatten();
        let names = paths.flat_map(|path| hosts.iter().map(move |host| format!("{host}{path}")));
        let texts = names.flat_map(|name| tags.iter().map(move |tag| format!("{name}{tag}")));
        // Without its host, a path that begins like a host is another image.
        texts.map(|text| text + &digest).filter(|text| text.parse().as_ref() == Ok(self)).collect()
    }
}

/// Whether two texts name one image: the same reference in any spelling, or the same digest wherever it is pulled from.
#[must_use]
pub fn is_same_image(one: &str, other: &str) -> bool {
    let parsed = |text: &str| text.parse::<Reference>().ok();
    one == other
        || parsed(one)
            .zip(parsed(other))
            .is_some_and(|(one, other)| one == other || (one.digest().is_some() && one.digest() == other.digest()))
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |cause: String| InvalidReference { text: cut(text, 300), cause };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|error| invalid(format!("{error}")))?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(invalid(format!("{tag:?} is not a tag")));
        }
        let (registry, repository) = parse_name(name).map_err(invalid)?;
        let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG)).map(str::to_owned);
        Ok(Self { registry, repository, tag, digest })
    }
}

const DOCKER_HUB: &str = "docker.io";

/// Docker Hub's name in old configurations.
const LEGACY_DOCKER_HUB: &str = "index.docker.io";

/// Path of Docker Hub's images whose name has one segment.
const OFFICIAL_IMAGES: &str = "library";

/// Tag of a reference without tag and digest.
const DEFAULT_TAG: &str = "latest";

/// Maximum length of a repository, in characters (`distribution/reference`: NameTotalLengthMax).
const LONGEST_REPOSITORY: usize = 255;

/// Parses registry and repository of a text without tag and digest. The error is the cause.
fn parse_name(name: &str) -> Result<(String, String), String> {
    let (registry, repository) = split_registry(name);
    if !is_host(registry) {
        return Err(format!("{registry:?} is not a host with optional port"));
    }
    let repository = match repository.contains('/') || registry != DOCKER_HUB {
        true => repository.to_owned(),
        false => format!("{OFFICIAL_IMAGES}/{repository}"),
    };
    if repository.len() > LONGEST_REPOSITORY || !repository.split('/').all(is_segment) {
        return Err(format!("{repository:?} is not a repository: lower-case letters, digits and . _ - only"));
    }
    Ok((registry.to_owned(), repository))
}

/// Splits off the registry. The first segment is a registry if it looks like a host: with a dot, with a port or `localhost`;
/// otherwise the registry is Docker Hub (`distribution/reference`: `splitDockerDomain`).
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_DOCKER_HUB, repository)) => (DOCKER_HUB, repository),
        Some((host, repository)) if host.contains(['.', ':']) || host == "localhost" => (host, repository),
        _ => (DOCKER_HUB, name),
    }
}

/// Whether the text is a DNS name, an IPv4 address, or an IPv6 address in brackets, with an optional port.
fn is_host(text: &str) -> bool {
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
    let is_label = |label: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        ends(label.as_bytes().first())
            && ends(label.as_bytes().last())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_address =
        |address: &str| !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').is_some_and(|(address, port)| is_address(address) && is_port(port)),
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            host.split('.').all(is_label) && is_port(port)
        }
    }
}

/// Whether the text is lower-case letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_segment(segment: &str) -> bool {
    let is_word = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let mut separators = segment.split(is_word).filter(|separator| !separator.is_empty());
    segment.starts_with(is_word)
        && segment.ends_with(is_word)
        && separators.all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    tag.len() <= 128 && tag.starts_with(is_word) && tag.chars().all(|one| is_word(one) || matches!(one, '.' | '-'))
}

as_text!(Reference);

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_split_into_its_parts() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("registry.example.com:5000/a/calico/node:v1@{digest}").parse().unwrap();
        assert_eq!(reference.registry(), "registry.example.com:5000");
        assert_eq!(reference.repository(), "a/calico/node");
        assert_eq!((reference.tag(), reference.digest()), (Some("v1"), Some(&digest)));
        assert_eq!(reference.image_name().unwrap().as_str(), "calico/node");
        assert_eq!("calico/node:v1".parse::<Reference>().unwrap().to_string(), "docker.io/calico/node:v1");
    }

    /// Returns the parts that the library parses; `None` if it rejects the text.
    fn by_the_library(text: &str) -> Option<(String, String, Option<String>, Option<String>)> {
        let reference: oci_distribution::Reference = text.parse().ok()?;
        let owned = |part: Option<&str>| part.map(str::to_owned);
        let (registry, repository) = (reference.registry().to_owned(), reference.repository().to_owned());
        Some((registry, repository, owned(reference.tag()), owned(reference.digest())))
    }

    fn by_us(text: &str) -> Option<(String, String, Option<String>, Option<String>)> {
        let reference: Reference = text.parse().ok()?;
        let digest = reference.digest.map(|digest| digest.to_string());
        Some((reference.registry, reference.repository, reference.tag, digest))
    }

    #[test]
    fn references_parse_as_the_oci_library_parses_them() {
        let hosts = [
            "",
            "localhost/",
            "quay.io/",
            "index.docker.io/",
            "docker.io/",
            "a.b-c.io:5000/",
            "Reg.IO/",
            "x:1/",
            "-a.io/",
            "a..b/",
            "a.io:/",
        ];
        let paths = [
            "node",
            "calico/node",
            "a/b/c/d",
            "a--b/c__d/e.f_g",
            "a..b",
            "a___b",
            "a-/b",
            "/a",
            "a//b",
            "a/",
            "",
            "_a",
            "1/2",
        ];
        let digest = format!("@{}", Digest::of(b"x"));
        let tails = [
            "",
            ":v1",
            ":V1.2-3_4",
            ":-v",
            ":.v",
            ":",
            ":a/b",
            ":v+1",
            &digest,
            &format!(":v1{digest}"),
            "@sha256:12",
            "@",
            ":v1@",
            &format!(":{}", "t".repeat(128)),
            &format!(":{}", "t".repeat(129)),
        ];
        let mut read = 0;
        for host in hosts {
            for path in paths {
                for tail in tails {
                    let text = format!("{host}{path}{tail}");
                    let parsed = by_us(&text);
                    read += usize::from(parsed.is_some());
                    assert_eq!(parsed, by_the_library(&text), "{text}");
                }
            }
        }
        assert!(read > 200, "{read} references were read");
        let long = format!("quay.io/{}", "a/".repeat(130) + "a");
        assert_eq!((by_us(&long), by_the_library(&long)), (None, None));
    }

    #[test]
    fn known_differences_from_the_oci_library() {
        // The library does not parse IPv6 hosts. It accepts letters of any script in tags, upper case in the first segment of a
        // path, and hosts that cannot be in DNS.
        for host in ["[::1]:5000", "[2001:DB8::1]", "[2001:db8::1]:443"] {
            let reference: Reference = format!("{host}/calico/node:v1").parse().unwrap();
            assert_eq!((reference.registry(), reference.repository()), (host, "calico/node"));
        }
        for text in [
            "[::1/calico/node",
            "[quay.io/calico/node",
            "[a b.c/calico/node",
            "[]/calico/node",
            "[::1]x/calico/node",
            "[::1]:/a/b",
            "[::ffff:1.2.3.4]/a/b",
            "[fe80::1%25eth0]/a/b",
            "::1/a/b",
            "quay.io/a/b:vé",
            "Foo/bar",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_has_these_spellings_and_no_other() {
        let spellings = |text: &str| text.parse::<Reference>().unwrap().spellings();
        assert_eq!(
            spellings("rancher/operator:v1"),
            ["docker.io/rancher/operator:v1", "index.docker.io/rancher/operator:v1", "rancher/operator:v1"]
        );
        assert_eq!(spellings("quay.io/tigera/operator:v1"), ["quay.io/tigera/operator:v1"]);
        assert_eq!(spellings("r.io/a:latest"), ["r.io/a:latest", "r.io/a"]);
        assert_eq!(spellings("docker.io/r.io/a:v1"), ["docker.io/r.io/a:v1", "index.docker.io/r.io/a:v1"]);
        assert_eq!(spellings("operator:v1").len(), 6);
        let digest = Digest::of(b"x");
        for text in ["operator", "operator:v1", "a/b:latest", "localhost/a/b", "quay.io/a/b:v1"] {
            for text in [text.to_owned(), format!("{text}@{digest}")] {
                let spellings = spellings(&text);
                assert!(spellings.contains(&text), "{text} is not among {spellings:?}");
                assert!(spellings.iter().all(|one| is_same_image(one, &text)), "{spellings:?}");
            }
        }
    }

    #[test]
    fn one_image_is_recognised_by_reference_and_by_digest() {
        let (digest, other) = (Digest::of(b"x"), Digest::of(b"y"));
        assert!(is_same_image("rancher/operator:v1", "index.docker.io/rancher/operator:v1"));
        assert!(is_same_image(
            &format!("quay.io/tigera/operator:v1@{digest}"),
            &format!("mirror.example/q/operator@{digest}")
        ));
        assert!(!is_same_image("quay.io/tigera/operator:v1", "mirror.example/tigera/operator:v1"));
        assert!(!is_same_image(&format!("a/b:v1@{digest}"), &format!("a/b:v1@{other}")));
        assert!(is_same_image("not an image", "not an image"));
    }

    #[test]
    fn references_that_no_node_can_pull_are_rejected() {
        for text in ["", "quay.io/tigera/operator:", "quay.io/Tigera/operator:v1", "x@sha256:nonsense", "a b"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
