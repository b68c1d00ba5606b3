//! Resolves a reference to a digest and platforms. A digest is always the SHA-256 of the received bytes.

use futures::{StreamExt as _, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Version};

use super::error::{RegistryError, Result};
use super::http::request::HttpResponse;
use super::lookup::look_up;
use super::manifest::{self, ImageConfiguration, Manifest};
use super::session::{Lookup, Session};
use crate::model::{
    Child, Content, Digest, Hints, OperatorImage, Presence, Reference, RegistryFailureKind, ResolvedImage,
};

/// Maximum size of a manifest, in bytes; distribution itself accepts at most 4 MiB.
const MAX_MANIFEST: usize = 8 * 1024 * 1024;
/// Maximum size of an image configuration, in bytes.
const MAX_CONFIGURATION: usize = 4 * 1024 * 1024;
/// Maximum length of a version label, in characters.
const MAX_VERSION: usize = 128;
/// Manifests of one index that are looked up at a time, over HTTP/2. Few indexes serve more platforms of one cluster.
const PARALLEL_CHILDREN: usize = 8;

/// A repository as it is named at the endpoint, and the reference to look up in it.
pub(crate) struct Target<'a> {
    pub reference: &'a Reference,
    pub repository: String,
}

/// A manifest that was fetched and parsed.
struct Fetched {
    manifest: Manifest,
    digest: Digest,
    size: u64,
}

/// Resolves an image. Where the registry still names the known digest, nothing is fetched again.
pub(crate) async fn resolve_image(session: &Session<'_>, target: &Target<'_>, hints: &Hints) -> Result<ResolvedImage> {
    let known = match hints.known.get(target.reference) {
        Some(known) if is_unchanged(session, target, known).await? => Some(known),
        _ => None,
    };
    let mut image = match known {
        Some(known) => known.clone(),
        None => fetch_image(session, target).await?,
    };
    note_children(session, target, hints, &mut image).await?;
    let has_absent = |image: &ResolvedImage| {
        image.children().iter().any(|child| child.presence == Presence::Absent && is_needed(child, hints))
    };
    // A pull-through cache that was not asked for the bytes yet may know the tag and nothing below it.
    if known.is_some() && has_absent(&image) && warm(session, &target.repository, target.reference).await {
        note_children(session, target, hints, &mut image).await?;
    }
    Ok(image)
}

/// Whether nodes of these hints need this entry of an index, and it is not known to be there.
fn is_needed(child: &Child, hints: &Hints) -> bool {
    child.presence != Presence::Present && hints.platforms.iter().any(|node| child.platform.runs_on(node))
}

/// Notes for each entry of an index that nodes need whether the registry has it.
async fn note_children(
    session: &Session<'_>,
    target: &Target<'_>,
    hints: &Hints,
    image: &mut ResolvedImage,
) -> Result<()> {
    let Content::Index { children } = &mut image.content else { return Ok(()) };
    let needed = children.iter_mut().filter(|child| is_needed(child, hints));
    let lookups: Vec<_> = needed.map(|child| note_presence(session, &target.repository, child)).collect();
    // Over HTTP/1.1 each would open a connection of its own.
    let parallel = if session.version() == Some(Version::HTTP_2) { PARALLEL_CHILDREN } else { 1 };
    futures::stream::iter(lookups).map(Ok).try_for_each_concurrent(parallel, |lookup| lookup).await
}

/// Fetches what the tag of a reference names, so that a pull-through cache fetches it from its own source. Returns whether there is a
/// tag, and something to fetch.
async fn warm(session: &Session<'_>, repository: &str, reference: &Reference) -> bool {
    let Some(tag) = reference.tag() else { return false };
    let path = format!("manifests/{tag}");
    look_up(session, manifest_lookup(repository, &path, false)).await.is_ok()
}

/// Resolves an operator image and its version label. Of an index, linux/amd64 or else the first Linux image is used.
pub(crate) async fn operator_image(session: &Session<'_>, target: &Target<'_>) -> Result<OperatorImage> {
    let fetched = fetch_manifest(session, &target.repository, target.reference).await?;
    let config = match &fetched.manifest {
        Manifest::Image { config, .. } => *config,
        Manifest::Index { children, .. } => linux_configuration(session, target, children).await?,
    };
    let ImageConfiguration { platform, version } = fetch_configuration(session, &target.repository, &config).await?;
    let platforms = match fetched.manifest {
        Manifest::Image { .. } => [platform].into(),
        Manifest::Index { children, .. } => children.into_iter().map(|child| child.platform).collect(),
    };
    let is_plain = |text: &String| text.len() <= MAX_VERSION && text.bytes().all(|byte| byte.is_ascii_graphic());
    let version = version.filter(is_plain).map(|version| session.quotable(version));
    Ok(OperatorImage { digest: fetched.digest, version, platforms })
}

/// Whether the registry still names the known digest (HEAD). If in doubt, it does not, and the bytes decide.
async fn is_unchanged(session: &Session<'_>, target: &Target<'_>, known: &ResolvedImage) -> Result<bool> {
    let response = look_up_head(session, &target.repository, &manifest_path(target.reference)).await?;
    let claimed = response.as_ref().and_then(|response| claimed_digest(&response.headers));
    Ok(claimed.is_some_and(|claimed| claimed == known.digest.to_string()))
}

/// Notes whether the registry has the manifest that an index lists.
async fn note_presence(session: &Session<'_>, repository: &str, child: &mut Child) -> Result<()> {
    let path = format!("manifests/{}", child.digest);
    let head = look_up_head(session, repository, &path).await?;
    if head.is_some_and(|response| may_be_manifest(&response.headers, &child.digest)) {
        child.presence = Presence::Present;
        return Ok(());
    }
    child.presence = match look_up(session, manifest_lookup(repository, &path, false)).await {
        Ok(response) => {
            check_digest(&response, Some(&child.digest))?;
            Presence::Present
        }
        Err(error) if error.kind == RegistryFailureKind::NotFound => Presence::Absent,
        Err(error) => return Err(error),
    };
    Ok(())
}

/// Returns the response to a HEAD request, or `None` where only the bytes can decide: registries and proxies answer HEAD with 404,
/// 405, an error of their own or nothing at all, and serve the same manifest to GET.
///
/// # Errors
/// GET would fail in the same way: there is no token, the registry limits the rate or is unavailable, or the session has ended.
async fn look_up_head(session: &Session<'_>, repository: &str, path: &str) -> Result<Option<HttpResponse>> {
    let lookup = look_up(session, manifest_lookup(repository, path, true));
    match tokio::time::timeout(session.head_deadline, lookup).await {
        Ok(Ok(response)) => Ok(Some(response)),
        Ok(Err(error)) if session.halted().is_some() || error.of_token_service || error.is_of_busy_registry() => {
            Err(error)
        }
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

async fn fetch_image(session: &Session<'_>, target: &Target<'_>) -> Result<ResolvedImage> {
    let Fetched { manifest, digest, size } = fetch_manifest(session, &target.repository, target.reference).await?;
    let (media_type, content) = match manifest {
        Manifest::Index { media_type, children } => (media_type, Content::Index { children }),
        Manifest::Image { media_type, config } => {
            let platform = fetch_configuration(session, &target.repository, &config).await?.platform;
            (media_type, Content::Manifest { platform })
        }
    };
    Ok(ResolvedImage { reference: target.reference.clone(), digest, media_type, content, size })
}

/// Fetches and parses a manifest. A digest in the reference must be that of the bytes. A digest that a pull-through cache does not have
/// is fetched once more after its tag, where the reference has one.
async fn fetch_manifest(session: &Session<'_>, repository: &str, reference: &Reference) -> Result<Fetched> {
    let path = manifest_path(reference);
    let mut response = look_up(session, manifest_lookup(repository, &path, false)).await;
    let is_missing = response.as_ref().is_err_and(|error| error.kind == RegistryFailureKind::NotFound);
    if is_missing && reference.digest().is_some() && warm(session, repository, reference).await {
        response = look_up(session, manifest_lookup(repository, &path, false)).await;
    }
    let response = response?;
    check_digest(&response, reference.digest())?;
    let manifest = manifest::parse(&response.body, content_type(&response.headers))?;
    Ok(Fetched { manifest, digest: response.digest, size: response.body.len() as u64 })
}

async fn fetch_configuration(session: &Session<'_>, repository: &str, digest: &Digest) -> Result<ImageConfiguration> {
    let path = format!("blobs/{digest}");
    let lookup = Lookup { repository, path: &path, accept: "*/*", limit: MAX_CONFIGURATION, head: false };
    let response = look_up(session, lookup).await?;
    check_digest(&response, Some(digest))?;
    manifest::parse_configuration(&response.body)
}

async fn linux_configuration(session: &Session<'_>, target: &Target<'_>, children: &[Child]) -> Result<Digest> {
    let linux = |child: &&Child| child.platform.os == "linux";
    let preferred = children.iter().filter(linux).find(|child| child.platform.architecture == "amd64");
    let Some(child) = preferred.or_else(|| children.iter().find(linux)) else {
        return Err(RegistryError::new(RegistryFailureKind::UnsupportedContent, "an index without an image for Linux"));
    };
    let reference = target.reference.with_digest(child.digest);
    match fetch_manifest(session, &target.repository, &reference).await?.manifest {
        Manifest::Image { config, .. } => Ok(config),
        Manifest::Index { .. } => Err(RegistryError::invalid("an index in the place of a platform's image")),
    }
}

fn manifest_lookup<'a>(repository: &'a str, path: &'a str, head: bool) -> Lookup<'a> {
    Lookup { repository, path, accept: manifest::ACCEPT, limit: MAX_MANIFEST, head }
}

fn manifest_path(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("manifests/{digest}"),
        None => format!("manifests/{}", reference.tag().unwrap_or("latest")),
    }
}

/// Checks that the digest is that of the bytes. A response whose header or reference names another one cannot be trusted.
fn check_digest(response: &HttpResponse, expected: Option<&Digest>) -> Result<()> {
    if let Some(expected) = expected
        && *expected != response.digest
    {
        return Err(RegistryError::invalid(format!("asked for {expected}, got the bytes of {}", response.digest)));
    }
    let Some(claimed) = claimed_digest(&response.headers) else { return Ok(()) };
    // A digest of another algorithm can be neither checked nor pinned; SHA-256 is computed anyway.
    if claimed == response.digest.to_string() || claimed.starts_with("sha512:") {
        return Ok(());
    }
    let digest = &response.digest;
    let message = format!("header Docker-Content-Digest {claimed:?} with the bytes of {digest}");
    let unquoted = format!("another digest in the header Docker-Content-Digest than that of the bytes, {digest}");
    Err(RegistryError::quoting(RegistryFailureKind::InvalidAnswer, unquoted, &message))
}

/// Whether the headers are those of this manifest, or do not contradict it.
fn may_be_manifest(headers: &HeaderMap, digest: &Digest) -> bool {
    let is_page = content_type(headers).is_some_and(|content_type| content_type.starts_with("text/html"));
    !is_page && claimed_digest(headers).is_none_or(|claimed| claimed == digest.to_string())
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// Returns the digest that a header names. Only compared, never pinned.
fn claimed_digest(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get("docker-content-digest")?.to_str().unwrap_or("unreadable bytes"))
}
