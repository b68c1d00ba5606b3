//! Made-up images under real names: small, valid, and the same bytes each time, so that a test knows the digests.

use super::registry_client::{Access, digest_of};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;

/// OCI image index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Operating system, architecture, and on Windows the `os.version`.
pub type Platform<'a> = (&'a str, &'a str, Option<&'a str>);

/// What images for Linux are made for here.
pub const LINUX_PLATFORMS: &[Platform<'static>] = &[("linux", "amd64", None), ("linux", "arm64", None)];
/// What images for Windows are made for here: Windows Server 2019 and 2022.
pub const WINDOWS_PLATFORMS: &[Platform<'static>] =
    &[("windows", "amd64", Some("10.0.17763.7009")), ("windows", "amd64", Some("10.0.20348.3207"))];

/// How many images [`push_release`] pushes at a time.
const PUSHES_AT_A_TIME: usize = 8;

/// One manifest of an image.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `linux/amd64`, or `windows/amd64:10.0.17763.7009`.
    pub platform: String,
    /// `sha256:...` of the content.
    pub digest: String,
    /// The manifest's bytes.
    pub content: Bytes,
    /// The digest of its config.
    pub config_digest: String,
}

/// An image that can be pushed: an index with its manifests, or a single manifest.
#[derive(Clone, Debug)]
pub struct Image {
    blobs: BTreeMap<String, Bytes>,
    /// In the order of the platforms given.
    pub manifests: Vec<Manifest>,
    index: Option<Bytes>,
}

impl Image {
    /// An index with one manifest for each platform. The same seed and platforms give the same bytes.
    ///
    /// # Errors
    /// None that is expected (gzip and JSON in memory).
    pub fn index(seed: &str, platforms: &[Platform<'_>]) -> Result<Self> {
        Self::index_with_labels(seed, platforms, &[])
    }

    /// As [`Self::index`], with labels in each config.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn index_with_labels(seed: &str, platforms: &[Platform<'_>], labels: &[(&str, &str)]) -> Result<Self> {
        let mut image = Self { blobs: BTreeMap::new(), manifests: vec![], index: None };
        let mut descriptors = vec![];
        for platform in platforms {
            let manifest = image.add_manifest(seed, *platform, labels)?;
            let mut described = json!({"os": platform.0, "architecture": platform.1});
            if let Some(version) = platform.2 {
                described["os.version"] = json!(version);
            }
            descriptors.push(descriptor(MANIFEST_TYPE, &manifest.content, Some(described)));
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": descriptors});
        image.index = Some(Bytes::from(index.to_string()));
        Ok(image)
    }

    /// A single manifest without an index.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn single(seed: &str, platform: Platform<'_>) -> Result<Self> {
        Self::single_with_labels(seed, platform, &[])
    }

    /// As [`Self::single`], with labels in the config.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn single_with_labels(seed: &str, platform: Platform<'_>, labels: &[(&str, &str)]) -> Result<Self> {
        let mut image = Self { blobs: BTreeMap::new(), manifests: vec![], index: None };
        image.add_manifest(seed, platform, labels)?;
        Ok(image)
    }

    /// The image that [`push_release`] pushes for a default reference such as `quay.io/calico/node:v3.32.1`:
    /// Windows platforms for Calico's Windows images, else Linux; the operator's image has the label `version`.
    ///
    /// # Errors
    /// As [`Self::index`].
    pub fn of_reference(reference: &str) -> Result<Self> {
        let (repository, tag) = repository_and_tag(reference);
        let labels: &[(&str, &str)] = if repository.ends_with("tigera/operator") { &[("version", &tag)] } else { &[] };
        let platforms = if is_windows(&repository) { WINDOWS_PLATFORMS } else { LINUX_PLATFORMS };
        Self::index_with_labels(reference, platforms, labels)
    }

    /// The digest that a tag resolves to: of the index, or of the single manifest.
    pub fn digest(&self) -> String {
        digest_of(&self.content())
    }

    /// The bytes that a tag resolves to.
    pub fn content(&self) -> Bytes {
        match &self.index {
            Some(index) => index.clone(),
            None => self.manifests.first().map(|manifest| manifest.content.clone()).unwrap_or_default(),
        }
    }

    /// The media type of [`Self::content`].
    pub fn media_type(&self) -> &'static str {
        if self.index.is_some() { INDEX_TYPE } else { MANIFEST_TYPE }
    }

    /// Configs and layers by digest.
    pub fn blobs(&self) -> &BTreeMap<String, Bytes> {
        &self.blobs
    }

    fn add_manifest(&mut self, seed: &str, platform: Platform<'_>, labels: &[(&str, &str)]) -> Result<Manifest> {
        let (os, architecture, version) = platform;
        let name = version.map_or(format!("{os}/{architecture}"), |version| format!("{os}/{architecture}:{version}"));
        let tar = tar_of_one_file("image.txt", format!("{seed} for {name}\n").as_bytes());
        let layer = gzip(&tar)?;
        let labels: BTreeMap<_, _> = labels.iter().copied().collect();
        let mut config = json!({
            "created": "2026-01-01T00:00:00Z", "os": os, "architecture": architecture,
            "config": {"Labels": labels}, "rootfs": {"type": "layers", "diff_ids": [digest_of(&tar)]},
        });
        if let Some(version) = version {
            config["os.version"] = json!(version);
        }
        let config = Bytes::from(config.to_string());
        let content = Bytes::from(
            json!({
                "schemaVersion": 2, "mediaType": MANIFEST_TYPE,
                "config": descriptor(CONFIG_TYPE, &config, None), "layers": [descriptor(LAYER_TYPE, &layer, None)],
            })
            .to_string(),
        );
        let manifest =
            Manifest { platform: name, digest: digest_of(&content), content, config_digest: digest_of(&config) };
        for blob in [config, layer] {
            self.blobs.insert(digest_of(&blob), blob);
        }
        self.manifests.push(manifest.clone());
        Ok(manifest)
    }
}

/// Pushes the image with everything it refers to; returns the digest that the tag now resolves to.
///
/// # Errors
/// The registry refused something.
pub async fn push(access: &Access, repository: &str, tag: &str, image: &Image) -> Result<String> {
    futures::future::try_join_all(image.blobs.values().map(|blob| access.push_blob(repository, blob))).await?;
    if image.index.is_some() {
        let children = image
            .manifests
            .iter()
            .map(|manifest| access.push_manifest(repository, &manifest.digest, MANIFEST_TYPE, &manifest.content));
        futures::future::try_join_all(children).await?;
    }
    access.push_manifest(repository, tag, image.media_type(), &image.content()).await?;
    Ok(image.digest())
}

/// Deletes a manifest or index, with every tag that names it.
///
/// # Errors
/// It is not there.
pub async fn delete(access: &Access, repository: &str, digest: &str) -> Result<()> {
    access.delete_manifest(repository, digest).await
}

/// A function from a default reference to the repository it is mirrored to.
pub type RepositoryOf<'a> = &'a (dyn Fn(&str) -> String + Sync);

/// Pushes [`Image::of_reference`] for each default reference, under its tag, into the repository that
/// `repository_of` says (`None`: the reference's own, less its registry). Returns the digests by reference.
///
/// # Errors
/// The registry refused something; the message names the reference.
pub async fn push_release<S: AsRef<str>>(
    access: &Access,
    references: &[S],
    repository_of: Option<RepositoryOf<'_>>,
) -> Result<BTreeMap<String, String>> {
    let pushes = references.iter().map(|reference| {
        let reference = reference.as_ref().to_owned();
        async move {
            let (own, tag) = repository_and_tag(&reference);
            let repository = repository_of.map_or(own, |map| map(&reference));
            let digest = push(access, &repository, &tag, &Image::of_reference(&reference)?)
                .await
                .with_context(|| format!("{reference} was not pushed to {repository}"))?;
            anyhow::Ok((reference, digest))
        }
    });
    let pushes: Vec<_> = pushes.collect();
    futures::stream::iter(pushes).buffer_unordered(PUSHES_AT_A_TIME).try_collect().await
}

/// `quay.io/calico/node:v3.32.1` → `("calico/node", "v3.32.1")`. References of the catalogue always have both parts.
pub fn repository_and_tag(reference: &str) -> (String, String) {
    let (name, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    let repository = name.split_once('/').map_or(name, |(_, repository)| repository);
    (repository.to_owned(), tag.to_owned())
}

fn is_windows(repository: &str) -> bool {
    repository.ends_with("-windows") || repository.ends_with("windows-upgrade")
}

fn descriptor(media_type: &str, content: &Bytes, platform: Option<Value>) -> Value {
    let mut value = json!({"mediaType": media_type, "digest": digest_of(content), "size": content.len()});
    if let Some(platform) = platform {
        value["platform"] = platform;
    }
    value
}

/// A tar archive (ustar) with one file, so that real tools accept the layer. No times or owners: the same bytes always.
fn tar_of_one_file(name: &str, content: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut head = [0_u8; BLOCK];
    let mut field = |at: usize, value: &[u8]| head[at..at + value.len()].copy_from_slice(value);
    field(0, name.as_bytes());
    field(100, b"0000644\0");
    field(108, b"0000000\0");
    field(116, b"0000000\0");
    field(124, format!("{:011o}\0", content.len()).as_bytes());
    field(136, b"00000000000\0");
    field(148, b"        ");
    field(156, b"0");
    field(257, b"ustar\x0000");
    let checksum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    let mut tar = head.to_vec();
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    tar
}

fn gzip(content: &[u8]) -> Result<Bytes> {
    let mut encoder = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content)?;
    Ok(Bytes::from(encoder.finish()?))
}
