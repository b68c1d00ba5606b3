//! Registries: which bytes a reference stands for. Knows nothing of Kubernetes and writes nothing anywhere; trusts nothing
//! that it is told: a digest is the SHA-256 of the bytes received, bodies, redirects, tokens and waits are bounded, and
//! credentials go to their registry or its own token service only.
//!
//! `access` says how to reach a registry, `session` holds the conversation with one, `transport` moves bytes, through a
//! `tunnel` where the environment names a `proxy`; `challenge`, `credentials`, `manifest` and `address` are pure.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use tokio::time::Instant;

mod access;
mod address;
mod challenge;
mod credentials;
mod failure;
mod manifest;
mod proxy;
mod session;
mod token;
mod transport;
mod tunnel;

pub use access::{Access, RegistrySettings};
pub use credentials::{DockerConfig, InvalidDockerConfig};
pub use proxy::Proxies;

use crate::domain::answer::OperatorImage;
use crate::domain::{Content, Digest, Reference, RegistryFailure, RegistryFailureKind, ResolvedImage};
use access::Endpoint;
use failure::Trouble;
use manifest::{ImageConfiguration, Manifest};
use session::Session;
use transport::{Answer, Transport};

/// The largest manifest that is read, in bytes; distribution itself takes at most 4 MiB.
const LARGEST_MANIFEST: usize = 8 * 1024 * 1024;
/// The largest image configuration that is read, in bytes.
const LARGEST_CONFIGURATION: usize = 4 * 1024 * 1024;
/// The label of an operator image that holds its version (`LABEL version=` in the operator's Dockerfile).
const VERSION_LABEL: &str = "version";
/// The longest version label that is believed, in characters.
const LONGEST_VERSION: usize = 128;

/// Limits of the client. The defaults are those of the product.
#[derive(Debug, Clone)]
pub struct RegistryClientSettings {
    /// For a TCP connection.
    pub connect_deadline: Duration,
    /// For one image with all that it takes: token, redirects, manifest and configuration.
    pub image_deadline: Duration,
    /// For all images of one call.
    pub set_deadline: Duration,
    /// Images at a time from one registry over HTTP/2, where they share a connection.
    pub parallel_streams: usize,
    /// Images at a time from one registry over HTTP/1.1, each on its own connection.
    pub parallel_connections: usize,
    /// Proxies to go through; by default none, whatever the environment says.
    pub proxies: Proxies,
}

impl RegistryClientSettings {
    /// The defaults, with the proxies of this process's environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self { proxies: Proxies::of_environment(), ..Self::default() }
    }
}

impl Default for RegistryClientSettings {
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(10),
            image_deadline: Duration::from_secs(30),
            set_deadline: Duration::from_secs(120),
            parallel_streams: 32,
            parallel_connections: 8,
            proxies: Proxies::default(),
        }
    }
}

/// Asks registries. Keeps connections between calls; made once per process.
pub struct RegistryClient {
    settings: RegistryClientSettings,
    transport: Transport,
}

/// What the manifest of a reference turned out to be.
struct Fetched {
    manifest: Manifest,
    digest: Digest,
    size: u64,
}

/// An image with its place in the caller's list.
struct Wanted<'a> {
    position: usize,
    reference: &'a Reference,
    repository: String,
}

type Outcome = (usize, Result<ResolvedImage, RegistryFailure>);

impl RegistryClient {
    /// A client with these limits.
    #[must_use]
    pub fn new(settings: RegistryClientSettings) -> Self {
        Self { transport: Transport::new(settings.connect_deadline, settings.proxies.clone()), settings }
    }

    /// Resolves all references; the answers come in the order of `references`. Registries are asked side by side, so that a
    /// broken one delays no other. `progress` is told how many are done, whether they succeeded or not.
    pub async fn resolve(
        &self,
        access: &Access,
        references: &[Reference],
        progress: impl Fn(usize) + Send + Sync,
    ) -> Vec<Result<ResolvedImage, RegistryFailure>> {
        let deadline = Instant::now() + self.settings.set_deadline;
        let done = AtomicUsize::new(0);
        let tick = || progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        let mut outcomes: BTreeMap<usize, Result<ResolvedImage, RegistryFailure>> = BTreeMap::new();
        let mut groups: Vec<(Endpoint, Vec<Wanted<'_>>)> = Vec::new();
        for (position, reference) in references.iter().enumerate() {
            match access.endpoint(reference) {
                Ok((endpoint, repository)) => {
                    let wanted = Wanted { position, reference, repository };
                    match groups.iter_mut().find(|(other, _)| *other == endpoint) {
                        Some((_, group)) => group.push(wanted),
                        None => groups.push((endpoint, vec![wanted])),
                    }
                }
                Err(trouble) => {
                    outcomes.insert(position, Err(unreached(&trouble, reference)));
                    tick();
                }
            }
        }
        let tick: &(dyn Fn() + Send + Sync) = &tick;
        let running =
            groups.iter().map(|(endpoint, group)| self.resolve_group(access, endpoint, group, deadline, tick));
        for answered in join_all(running).await {
            outcomes.extend(answered);
        }
        outcomes.into_values().collect()
    }

    /// Resolves an operator image and reads the version that it was labelled with. Of an index, linux/amd64 or else the first
    /// Linux image is looked at.
    ///
    /// # Errors
    /// Manifest or configuration could not be had; a missing label is none.
    pub async fn operator_version_label(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<OperatorImage, RegistryFailure> {
        let (endpoint, repository) = access.endpoint(reference).map_err(|trouble| unreached(&trouble, reference))?;
        let session = Session::new(&self.transport, access, &endpoint, vec![repository.clone()]);
        let deadline = Instant::now() + self.settings.image_deadline;
        let asked = async {
            let fetched = fetch_manifest(&session, &repository, reference).await?;
            let config = match &fetched.manifest {
                Manifest::Image { config, .. } => *config,
                Manifest::Index { children, .. } => {
                    linux_configuration(&session, &repository, reference, children).await?
                }
            };
            let version = fetch_configuration(&session, &repository, &config).await?.labels.remove(VERSION_LABEL);
            let shown =
                |text: &String| text.len() <= LONGEST_VERSION && text.bytes().all(|byte| byte.is_ascii_graphic());
            Ok(OperatorImage { digest: fetched.digest, version: version.filter(shown) })
        };
        let outcome = tokio::time::timeout_at(deadline, asked).await;
        let outcome = outcome.unwrap_or_else(|_| Err(late(self.settings.image_deadline)));
        outcome.map_err(|trouble| session.failure(&trouble, reference, &repository))
    }

    /// All images of one registry: the first alone, which finds out what the registry demands and whether it is there at all;
    /// then the others side by side.
    async fn resolve_group(
        &self,
        access: &Access,
        endpoint: &Endpoint,
        group: &[Wanted<'_>],
        deadline: Instant,
        tick: &(dyn Fn() + Send + Sync),
    ) -> Vec<Outcome> {
        let repositories = group.iter().map(|wanted| wanted.repository.clone()).collect();
        let session = Session::new(&self.transport, access, endpoint, repositories);
        let Some((first, others)) = group.split_first() else { return Vec::new() };
        let mut outcomes = vec![self.resolve_one(&session, first, deadline, true, tick).await];
        let parallel = match session.version() {
            Some(http::Version::HTTP_2) => self.settings.parallel_streams,
            _ => self.settings.parallel_connections,
        };
        type Running<'b> = Pin<Box<dyn Future<Output = Outcome> + Send + 'b>>;
        let running: Vec<Running<'_>> = others
            .iter()
            .map(|wanted| Box::pin(self.resolve_one(&session, wanted, deadline, false, tick)) as Running<'_>)
            .collect();
        outcomes.extend(futures::stream::iter(running).buffer_unordered(parallel.max(1)).collect::<Vec<_>>().await);
        outcomes
    }

    async fn resolve_one(
        &self,
        session: &Session<'_>,
        wanted: &Wanted<'_>,
        set_deadline: Instant,
        alone: bool,
        tick: &(dyn Fn() + Send + Sync),
    ) -> Outcome {
        let Wanted { position, reference, repository } = wanted;
        let started = Instant::now();
        let deadline = set_deadline.min(started + self.settings.image_deadline);
        let outcome = tokio::time::timeout_at(deadline, resolve_image(session, reference, repository)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(late(deadline - started)));
        if let Err(trouble) = &outcome
            && alone
            && trouble.whole_registry
        {
            session.halt(trouble);
        }
        tick();
        (*position, outcome.map_err(|trouble| session.failure(&trouble, reference, repository)))
    }
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RegistryClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn resolve_image(
    session: &Session<'_>,
    reference: &Reference,
    repository: &str,
) -> Result<ResolvedImage, Trouble> {
    let Fetched { manifest, digest, size } = fetch_manifest(session, repository, reference).await?;
    let (media_type, content) = match manifest {
        Manifest::Index { media_type, children } => {
            let mut platforms: Vec<_> = children.into_iter().map(|child| child.platform).collect();
            platforms.sort();
            platforms.dedup();
            (media_type, Content::Index { platforms })
        }
        Manifest::Image { media_type, config } => {
            let platform = fetch_configuration(session, repository, &config).await?.platform;
            (media_type, Content::Manifest { platform })
        }
    };
    Ok(ResolvedImage { reference: reference.clone(), digest, media_type, content, size })
}

/// Gets and reads a manifest. A digest in the reference decides, and must be that of the bytes.
async fn fetch_manifest(session: &Session<'_>, repository: &str, reference: &Reference) -> Result<Fetched, Trouble> {
    let name = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    let answer = session.get(repository, &format!("manifests/{name}"), manifest::ACCEPT, LARGEST_MANIFEST).await?;
    check_digest(&answer, reference.digest())?;
    let content_type = answer.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let manifest = manifest::read(&answer.body, content_type)?;
    Ok(Fetched { manifest, digest: answer.digest, size: answer.body.len() as u64 })
}

async fn fetch_configuration(
    session: &Session<'_>,
    repository: &str,
    digest: &Digest,
) -> Result<ImageConfiguration, Trouble> {
    let answer = session.get(repository, &format!("blobs/{digest}"), "*/*", LARGEST_CONFIGURATION).await?;
    check_digest(&answer, Some(digest))?;
    Ok(manifest::read_configuration(&answer.body)?)
}

async fn linux_configuration(
    session: &Session<'_>,
    repository: &str,
    reference: &Reference,
    children: &[manifest::Child],
) -> Result<Digest, Trouble> {
    let linux = |child: &&manifest::Child| child.platform.os == "linux";
    let preferred = children.iter().filter(linux).find(|child| child.platform.architecture == "amd64");
    let Some(child) = preferred.or_else(|| children.iter().find(linux)) else {
        return Err(Trouble::new(RegistryFailureKind::UnsupportedContent, "an index without an image for Linux"));
    };
    match fetch_manifest(session, repository, &reference.with_digest(child.digest)).await?.manifest {
        Manifest::Image { config, .. } => Ok(config),
        Manifest::Index { .. } => Err(Trouble::invalid("an index in the place of a platform's image")),
    }
}

/// The digest is that of the bytes: a header or a reference that says otherwise makes the answer unbelievable.
fn check_digest(answer: &Answer, expected: Option<&Digest>) -> Result<(), Trouble> {
    if let Some(expected) = expected
        && *expected != answer.digest
    {
        return Err(Trouble::invalid(format!("asked for {expected}, got the bytes of {}", answer.digest)));
    }
    let Some(header) = answer.headers.get("docker-content-digest") else { return Ok(()) };
    let claimed = header.to_str().unwrap_or("unreadable bytes");
    // Another algorithm can be neither checked nor pinned; ours is computed anyway.
    if claimed == answer.digest.to_string() || claimed.starts_with("sha512:") {
        return Ok(());
    }
    Err(Trouble::invalid(format!("header Docker-Content-Digest {claimed:?} with the bytes of {}", answer.digest)))
}

fn late(after: Duration) -> Trouble {
    Trouble::new(RegistryFailureKind::Timeout, format!("no whole answer within {after:.0?}"))
}

/// A failure before any registry was asked.
fn unreached(trouble: &Trouble, reference: &Reference) -> RegistryFailure {
    RegistryFailure::new(trouble.kind, Some(reference.clone()), reference.registry(), &trouble.answer)
}
