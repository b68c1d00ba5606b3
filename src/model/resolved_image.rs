//! Resolved images: the manifest or index that a registry serves for a reference, and the platforms that it covers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::platform::Platform;
use crate::model::reference::Reference;

/// A reference and the digest of the bytes that the registry served for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedImage {
    /// The reference that was looked up.
    pub reference: Reference,
    /// SHA-256 of the received bytes, never the value of a header.
    pub digest: Digest,
    /// Media type of those bytes.
    pub media_type: String,
    /// What the bytes describe.
    pub content: Content,
    /// Length in bytes.
    pub size: u64,
}

/// The kind of manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Content {
    /// An index (or Docker manifest list): one image per platform. Attestations are left out.
    Index {
        /// Images for platforms, in order of platform.
        children: Vec<Child>,
    },
    /// A single image.
    Manifest {
        /// The one platform that it runs on, from its configuration.
        platform: Platform,
    },
}

/// An entry of an index: the image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    /// Platform that it runs on.
    pub platform: Platform,
    /// Digest of its manifest, which a node of that platform pulls.
    pub digest: Digest,
    /// Whether the registry has that manifest.
    #[serde(default, skip_serializing_if = "is_default")]
    pub presence: Presence,
}

/// Whether a registry has a manifest that its index lists. Sparse mirrors and pull-through caches often do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Presence {
    /// Not checked, because no node requires it.
    #[default]
    #[serde(rename = "unasked")]
    Unchecked,
    /// The registry has the manifest.
    Present,
    /// The registry does not have the manifest.
    Absent,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How an image covers a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// The node can run the image, and the registry has its manifest.
    Covered,
    /// The node could run the image; its manifest was not checked.
    Unchecked,
    /// The index lists an image for the node that the registry does not have.
    Absent,
    /// There is no image for the node.
    None,
}

impl ResolvedImage {
    /// Returns the entries of an index; none of a single manifest.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        match &self.content {
            Content::Index { children } => children,
            Content::Manifest { .. } => &[],
        }
    }

    /// Returns the platforms that the image has, each once.
    #[must_use]
    pub fn platforms(&self) -> BTreeSet<&Platform> {
        match &self.content {
            Content::Index { children } => children.iter().map(|child| &child.platform).collect(),
            Content::Manifest { platform } => BTreeSet::from([platform]),
        }
    }

    /// Returns how the image covers a node of this platform. Where several entries match, as with CPU variants, one that is
    /// present is enough.
    #[must_use]
    pub fn coverage(&self, node: &Platform) -> Coverage {
        let children = match &self.content {
            Content::Manifest { platform } if platform.runs_on(node) => return Coverage::Covered,
            Content::Manifest { .. } => return Coverage::None,
            Content::Index { children } => children.iter().filter(|child| child.platform.runs_on(node)),
        };
        let mut best = Coverage::None;
        for child in children {
            match child.presence {
                Presence::Present => return Coverage::Covered,
                Presence::Unchecked => best = Coverage::Unchecked,
                Presence::Absent if best == Coverage::None => best = Coverage::Absent,
                Presence::Absent => {}
            }
        }
        best
    }

    /// Whether an image of this name is for nodes of this system. Its platforms decide it: an image for Windows alone is for no
    /// Linux node, whatever its name. By its name a Windows image is known where a mirror lost its platforms.
    #[must_use]
    pub fn is_for(&self, name: &ImageName, node: &Platform) -> bool {
        let platforms = self.platforms();
        let has = |windows: bool| platforms.iter().any(|platform| platform.is_windows() == windows);
        match node.is_windows() {
            true => name.is_windows() || has(true),
            false => !name.is_windows() && (has(false) || !has(true)),
        }
    }

    /// Returns the nodes' platforms that an image of this name should cover and does not.
    pub fn uncovered<'a>(&self, name: &ImageName, nodes: impl IntoIterator<Item = &'a Platform>) -> Vec<&'a Platform> {
        let lacks = |node: &&Platform| matches!(self.coverage(node), Coverage::None | Coverage::Absent);
        nodes.into_iter().filter(|node| self.is_for(name, node)).filter(lacks).collect()
    }

    /// Returns messages about the platforms that the image does not cover.
    pub fn describe_gaps(&self, reference: &Reference, platforms: &[&Platform]) -> Vec<String> {
        let texts = |platforms: &[&Platform]| platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let (absent, none): (Vec<&Platform>, Vec<&Platform>) =
            platforms.iter().partition(|node| self.coverage(node) == Coverage::Absent);
        let mut messages = Vec::new();
        if !absent.is_empty() {
            messages
                .push(format!("{reference} lists {}, but the registry does not have that manifest", texts(&absent)));
        }
        if !none.is_empty() {
            let has: Vec<&Platform> = self.platforms().into_iter().collect();
            messages.push(format!("{reference} has no manifest for {} (it has {})", texts(&none), texts(&has)));
        }
        messages
    }

    /// Whether the digest names an index, which lets every node select its own image.
    #[must_use]
    pub const fn is_index(&self) -> bool {
        matches!(self.content, Content::Index { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::registry_failure::{RegistryFailure, RegistryFailureKind, Retry};
    use std::time::Duration;

    fn image(content: Content) -> ResolvedImage {
        ResolvedImage {
            reference: "quay.io/calico/node:v3.32.1".parse().unwrap(),
            digest: Digest::of(b"x"),
            media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
            content,
            size: 1,
        }
    }

    #[test]
    fn an_index_covers_what_it_lists_and_a_manifest_its_one_platform() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let child = |text: &str, presence| Child { platform: platform(text), digest: Digest::of(b"y"), presence };
        let index = image(Content::Index {
            children: vec![
                child("linux/amd64", Presence::Unchecked),
                child("linux/arm/v6", Presence::Absent),
                child("linux/arm/v7", Presence::Present),
                child("linux/arm64", Presence::Absent),
            ],
        });
        let single = image(Content::Manifest { platform: platform("linux/amd64") });
        for (node, of_index, of_single) in [
            ("linux/amd64", Coverage::Unchecked, Coverage::Covered),
            ("linux/arm", Coverage::Covered, Coverage::None),
            ("linux/arm64", Coverage::Absent, Coverage::None),
            ("linux/s390x", Coverage::None, Coverage::None),
        ] {
            let node = platform(node);
            assert_eq!((index.coverage(&node), single.coverage(&node)), (of_index, of_single), "{node}");
        }
        assert!(index.is_index() && !single.is_index());
    }

    #[test]
    fn the_platforms_of_an_image_decide_which_nodes_it_is_for() {
        let platform = |text: &str| text.parse::<Platform>().unwrap();
        let index = |platforms: &[&str]| {
            let child = |text: &&str| Child {
                platform: platform(text),
                digest: Digest::of(text.as_bytes()),
                presence: Presence::Unchecked,
            };
            image(Content::Index { children: platforms.iter().map(child).collect() })
        };
        let (linux, windows) = (platform("linux/amd64"), platform("windows/amd64/10.0.20348.1"));
        for (name, platforms, for_linux, for_windows) in [
            ("calico/node", &["linux/amd64"][..], true, false),
            ("calico/upgrade", &["windows/amd64/10.0.17763.1"], false, true),
            ("calico/calico", &["linux/amd64", "windows/amd64"], true, true),
            ("calico/node-windows", &["linux/amd64"], false, true),
        ] {
            let (image, name) = (index(platforms), name.parse().unwrap());
            assert_eq!(
                (image.is_for(&name, &linux), image.is_for(&name, &windows)),
                (for_linux, for_windows),
                "{name}"
            );
        }
    }

    #[test]
    fn serialized_images_deserialize_to_the_same_value() {
        let resolved = image(Content::Manifest { platform: Platform::new("linux", "amd64") });
        let text = serde_json::to_string(&resolved).unwrap();
        assert_eq!(serde_json::from_str::<ResolvedImage>(&text).unwrap(), resolved);
        for kind in [RegistryFailureKind::RateLimited { retry_after_seconds: Some(7) }, RegistryFailureKind::NotFound] {
            let failure = RegistryFailure::new(kind, Some(resolved.reference.clone()), "quay.io", "no");
            let text = serde_json::to_string(&failure).unwrap();
            assert_eq!(serde_json::from_str::<RegistryFailure>(&text).unwrap(), failure);
        }
    }

    #[test]
    fn a_failure_message_has_reference_registry_response_and_advice() {
        let reference = "docker.io/calico/node:v3.32.1".parse().unwrap();
        let failure = RegistryFailure::new(
            RegistryFailureKind::NotFound,
            Some(reference),
            "mirror.example",
            "404 MANIFEST_UNKNOWN",
        );
        assert_eq!(
            failure.to_string(),
            "docker.io/calico/node:v3.32.1: registry mirror.example does not have it (404 MANIFEST_UNKNOWN); push or \
             mirror this image there, or correct registry, imagePath and imagePrefix of the Installation"
        );
    }

    #[test]
    fn retry_after_determines_the_pause() {
        let kind = RegistryFailureKind::RateLimited { retry_after_seconds: Some(7) };
        assert_eq!(kind.retry(), Retry::After(Duration::from_secs(7)));
        assert_eq!(RegistryFailureKind::ServerError.retry(), Retry::Backoff);
        assert_eq!(RegistryFailureKind::NotFound.retry(), Retry::WhenChanged);
    }
}
