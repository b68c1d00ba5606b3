//! The properties (see `crate::properties`) of the parsers that are private to this module, and the only way to reach them: manifests,
//! lists of tags, and those of `auth` and `http`. Compiled for tests and fuzzing only.

use std::collections::BTreeSet;

use serde_json::Value;

use super::access::Access;
use super::auth::keyring::DOCKER_HUB_NAMES;
use super::manifest::{self, Manifest};
use super::tags;
use crate::model::{Platform, Reference, foreign_text::escaped};

pub use super::auth::properties::{challenge, docker_config, token_answer};
pub use super::http::properties::{connect_answer, error_body, rate_headers};

/// Media types that a manifest may have.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const IMAGES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// A parsed manifest contains only what the body says: digests that the body names, platforms that read back, one media type, and the
/// same meaning with and without the header. The first line is the `Content-Type`, the rest the body.
pub fn manifest(data: &[u8]) {
    let (header, body) = first_line(data);
    let header = std::str::from_utf8(header).ok().map(str::trim);
    let parsed = manifest::parse(body, header);
    if let (Ok(with), Ok(without)) = (&parsed, manifest::parse(body, None)) {
        assert_eq!(*with, without, "parsed in two ways");
    }
    let named = serde_json::from_slice(body).ok().map(|value| {
        let mut digests = BTreeSet::new();
        digests_in(&value, &mut digests);
        digests
    });
    let is_named = |digest: String| {
        let plain = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let hexadecimal = digest.strip_prefix("sha256:").unwrap_or_default();
        assert!(hexadecimal.len() == 64 && hexadecimal.bytes().all(plain), "{digest}");
        assert!(named.as_ref().is_none_or(|named| named.contains(&digest)), "{digest} is not in the body");
    };
    match &parsed {
        Ok(Manifest::Index { media_type, children, .. }) => {
            assert!(INDEXES.contains(&media_type.as_str()), "{media_type}");
            let platforms: BTreeSet<&Platform> = children.iter().map(|child| &child.platform).collect();
            assert!(!platforms.is_empty() && platforms.len() <= 256, "{} platforms", platforms.len());
            for child in children {
                is_named(child.digest.to_string());
                reads_back(&child.platform);
                assert!(!child.platform.is_unknown());
            }
        }
        Ok(Manifest::Image { media_type, config, .. }) => {
            assert!(IMAGES.contains(&media_type.as_str()), "{media_type}");
            is_named(config.to_string());
        }
        Err(error) => shown_safely(&error.to_string()),
    }
    match manifest::parse_configuration(body) {
        Ok(configuration) => reads_back(&configuration.platform),
        Err(error) => shown_safely(&error.to_string()),
    }
}

fn reads_back(platform: &Platform) {
    assert_eq!(platform.to_string().parse().as_ref(), Ok(platform));
}

fn shown_safely(text: &str) {
    let shown = escaped(text);
    assert!(shown.len() <= 1024 && shown.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{shown:?}");
}

fn digests_in(value: &Value, digests: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(digest)) = fields.get("digest") {
                digests.insert(digest.clone());
            }
            fields.values().for_each(|value| digests_in(value, digests));
        }
        Value::Array(values) => values.iter().for_each(|value| digests_in(value, digests)),
        _ => {}
    }
}

/// Every release of a page is one of its tags, and the next page belongs to the same list of the same registry. The first line is the
/// `Link` header, the rest the page.
pub fn tags_page(data: &[u8]) {
    const REPOSITORY: &str = "tigera/operator";
    let (link, body) = first_line(data);
    if let Ok(releases) = tags::parse_page(body)
        && let Ok(json) = serde_json::from_slice::<Value>(body)
    {
        let tags: BTreeSet<&str> =
            json.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        assert!(releases.iter().all(|release| tags.iter().any(|tag| tag.parse().as_ref() == Ok(release))));
        assert!(releases.len() <= tags.len());
    }
    let Ok(link) = std::str::from_utf8(link) else { return };
    let next = match tags::next_page(link, REPOSITORY) {
        Ok(Some(next)) => next,
        Ok(None) => return,
        Err(error) => return assert_eq!(error.message, error.unquoted, "an error that quotes the header"),
    };
    let Ok(base) = url::Url::parse("https://registry.example:5000/") else { return };
    let url = base.join(&format!("v2/{REPOSITORY}/{next}"));
    assert!(url.is_ok(), "{next:?} makes no address");
    let Ok(url) = url else { return };
    assert_eq!((url.origin(), url.path()), (base.origin(), "/v2/tigera/operator/tags/list"), "{next:?}");
    assert!(url.username().is_empty() && url.fragment().is_none() && next.len() <= 2100, "{next:?}");
}

/// A reference is looked up at the host and port that it names (except for Docker Hub), or not at all.
pub fn looked_up_where_it_says(reference: &Reference) {
    let Ok((endpoint, repository)) = Access::default().endpoint(reference) else { return };
    if DOCKER_HUB_NAMES.contains(&reference.registry()) {
        let official = if reference.repository().contains('/') { "" } else { "library/" };
        assert_eq!(repository, format!("{official}{}", reference.repository()));
        assert_eq!(endpoint.base.as_str(), "https://registry-1.docker.io/");
        return;
    }
    assert_eq!(repository, reference.repository());
    let registry = reference.registry().to_ascii_lowercase();
    let (name, port) = match registry.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (registry.as_str(), Some(443)),
    };
    let same_address = |used: &str| {
        let address = |text: &str| text.trim_matches(['[', ']']).parse::<std::net::Ipv6Addr>();
        address(used).is_ok() && address(used) == address(name)
    };
    let used = endpoint.base.host_str().unwrap_or_default();
    assert!(used == name || same_address(used), "{reference} is looked up at {used}");
    assert_eq!(endpoint.base.port_or_known_default(), port, "{reference}");
    assert_eq!((endpoint.base.scheme(), endpoint.base.path()), ("https", "/"));
}

pub(crate) fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or_default())
}
