//! Registries: which bytes a reference stands for. Knows nothing of Kubernetes and writes nothing anywhere; trusts nothing
//! that it is told: a digest is the SHA-256 of the bytes received, bodies, redirects, tokens and waits are bounded, and
//! credentials go to their registry or its own token service only.
//!
//! `access` says how to reach a registry, `session` holds the conversation with one and `login` meets what it demands, `memory` keeps what was learnt of it,
//! `transport` moves bytes within a `budget`, through a `tunnel` where the environment names a `proxy`; `challenge`, `credentials`, `manifest`,
//! `rate` and `address` are pure.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{Either, join_all, select};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

mod access;
mod address;
mod budget;
mod challenge;
mod credentials;
mod failure;
mod login;
mod manifest;
mod memory;
mod object;
#[cfg(any(test, fuzzing))]
pub mod properties;
mod proxy;
mod rate;
mod redaction;
mod session;
mod tags;
mod token;
mod transport;
mod tunnel;

pub use access::{Access, RegistrySettings};
pub use credentials::{DOCKER_HUB_NAMES, DockerConfig, InvalidDockerConfig, Secret};
pub use proxy::Proxies;
pub use tunnel::Connector;

use crate::model::digest::Digest;
use crate::model::lookups::{Hints, OperatorImage};
use crate::model::reference::Reference;
use crate::model::registry_failure::{RegistryFailure, RegistryFailureKind};
use crate::model::release::Release;
use crate::model::resolved_image::{Child, Content, Presence, ResolvedImage};
use crate::traffic::Traffic;
use access::Endpoint;
use failure::Trouble;
use manifest::{ImageConfiguration, Manifest};
use memory::Memory;
use session::{Question, Session};
use transport::{Answer, Transport};

/// The largest manifest that is read, in bytes; distribution itself takes at most 4 MiB.
const LARGEST_MANIFEST: usize = 8 * 1024 * 1024;
/// The largest image configuration that is read, in bytes.
const LARGEST_CONFIGURATION: usize = 4 * 1024 * 1024;
/// The longest version label that is believed, in characters.
const LONGEST_VERSION: usize = 128;
/// Manifests of one index that are asked for at a time, over HTTP/2. Few indexes serve more platforms of one cluster.
const PARALLEL_CHILDREN: usize = 8;
/// The most registries that something is remembered of.
const MOST_MEMORIES: usize = 32;

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
    /// Where requests are counted.
    pub traffic: Traffic,
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
            traffic: Traffic::default(),
        }
    }
}

/// Asks registries. Keeps connections, tokens and what registries demand between calls; made once per process.
pub struct RegistryClient {
    settings: RegistryClientSettings,
    transport: Transport,
    memories: Mutex<Vec<(Endpoint, Arc<Memory>)>>,
    /// One for each registry that is being asked.
    seats: Arc<Semaphore>,
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

/// What all images of one call have in common.
struct Call<'a> {
    hints: &'a Hints,
    deadline: Instant,
    tick: &'a (dyn Fn() + Send + Sync),
}

type Outcome = (usize, Result<ResolvedImage, RegistryFailure>);
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl RegistryClient {
    /// A client with these limits.
    #[must_use]
    pub fn new(settings: RegistryClientSettings) -> Self {
        let transport = Transport::new(settings.connect_deadline, settings.proxies.clone(), settings.traffic.clone());
        let seats = Arc::new(Semaphore::new(budget::MOST_REGISTRIES));
        Self { transport, settings, memories: Mutex::default(), seats }
    }

    /// Resolves all references; the answers come in the order of `references`. Registries are asked side by side, so that a
    /// broken one delays no other. Of what the hints know, only the digest is asked for (HEAD); it is fetched and hashed where
    /// the registry names another. `progress` is told how many are done, whether they succeeded or not.
    pub async fn resolve(
        &self,
        access: &Access,
        references: &[Reference],
        hints: &Hints,
        progress: impl Fn(usize) + Send + Sync,
    ) -> Vec<Result<ResolvedImage, RegistryFailure>> {
        let done = AtomicUsize::new(0);
        let tick = || progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        let call = Call { hints, deadline: Instant::now() + self.settings.set_deadline, tick: &tick };
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
        let running = groups.iter().map(|(endpoint, group)| self.resolve_group(access, endpoint, group, &call));
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
        let memory = self.memory(&endpoint);
        let session = Session::new(&self.transport, access, &endpoint, &memory, vec![repository.clone()]);
        let deadline = Instant::now() + self.settings.image_deadline;
        let asked = async {
            let _seat = self.seat(&memory).await;
            let fetched = fetch_manifest(&session, &repository, reference).await?;
            let config = match &fetched.manifest {
                Manifest::Image { config, .. } => *config,
                Manifest::Index { children, .. } => {
                    linux_configuration(&session, &repository, reference, children).await?
                }
            };
            let version = fetch_configuration(&session, &repository, &config).await?.version;
            let shown =
                |text: &String| text.len() <= LONGEST_VERSION && text.bytes().all(|byte| byte.is_ascii_graphic());
            let version = version.filter(shown).map(|version| session.quotable(version));
            Ok(OperatorImage { digest: fetched.digest, version })
        };
        let outcome = tokio::time::timeout_at(deadline, asked).await;
        let outcome = outcome.unwrap_or_else(|_| Err(late(self.settings.image_deadline)));
        outcome.map_err(|trouble| session.failure(&trouble, reference))
    }

    /// The releases among the tags of this reference's repository.
    ///
    /// # Errors
    /// The list could not be had as a whole: a part of it would hide releases.
    pub async fn releases(&self, access: &Access, reference: &Reference) -> Result<BTreeSet<Release>, RegistryFailure> {
        let (endpoint, repository) = access.endpoint(reference).map_err(|trouble| unreached(&trouble, reference))?;
        let memory = self.memory(&endpoint);
        let session = Session::new(&self.transport, access, &endpoint, &memory, vec![repository.clone()]);
        let listed = async {
            let _seat = self.seat(&memory).await;
            tags::releases(&session, &repository).await
        };
        let outcome = tokio::time::timeout(self.settings.set_deadline, listed).await;
        let outcome = outcome.unwrap_or_else(|_| Err(late(self.settings.set_deadline)));
        outcome.map_err(|trouble| session.failure(&trouble, reference))
    }

    /// All images of one registry. Of one that was never asked, the first goes ahead until it is known what the registry
    /// demands and whether it is there at all; then all go side by side.
    async fn resolve_group(
        &self,
        access: &Access,
        endpoint: &Endpoint,
        group: &[Wanted<'_>],
        call: &Call<'_>,
    ) -> Vec<Outcome> {
        let repositories = group.iter().map(|wanted| wanted.repository.clone()).collect();
        let memory = self.memory(endpoint);
        let session = Session::new(&self.transport, access, endpoint, &memory, repositories);
        let Ok(_seat) = tokio::time::timeout_at(call.deadline, self.seat(&memory)).await else {
            let trouble = Trouble::new(RegistryFailureKind::Timeout, "other registries were asked all the time");
            return group
                .iter()
                .map(|wanted| {
                    (call.tick)();
                    (wanted.position, Err(session.failure(&trouble, wanted.reference)))
                })
                .collect();
        };
        let mut images = group.iter().map(|wanted| Box::pin(self.resolve_one(&session, wanted, call)) as Running<'_>);
        let Some(first) = images.next() else { return Vec::new() };
        let mut outcomes = Vec::new();
        let mut running = Vec::new();
        match select(first, pin!(session.opened())).await {
            Either::Left((outcome, _)) => outcomes.push(outcome),
            Either::Right(((), first)) => running.push(first),
        }
        running.extend(images);
        let parallel = match session.version() {
            Some(http::Version::HTTP_2) => self.settings.parallel_streams,
            _ => self.settings.parallel_connections,
        };
        let all = futures::stream::iter(running).buffer_unordered(parallel.max(1)).collect::<Vec<_>>();
        // A knock that is never answered holds nobody up.
        outcomes.extend(match select(pin!(all), pin!(session.knock_early())).await {
            Either::Left((all, _)) => all,
            Either::Right(((), all)) => all.await,
        });
        outcomes
    }

    async fn resolve_one(&self, session: &Session<'_>, wanted: &Wanted<'_>, call: &Call<'_>) -> Outcome {
        let Wanted { position, reference, repository } = wanted;
        let started = Instant::now();
        let deadline = call.deadline.min(started + self.settings.image_deadline);
        let resolving = resolve_image(session, repository, reference, call.hints);
        let outcome = tokio::time::timeout_at(deadline, resolving).await.unwrap_or_else(|_| {
            let trouble = late(deadline - started);
            session.gave_up(started, &trouble);
            Err(trouble)
        });
        (call.tick)();
        (*position, outcome.map_err(|trouble| session.failure(&trouble, reference)))
    }

    /// Waits until this registry is among those that are asked. All who ask it share one seat.
    async fn seat(&self, memory: &Memory) -> Option<Arc<OwnedSemaphorePermit>> {
        let mut held = memory.seat.lock().await;
        if let Some(seat) = held.upgrade() {
            return Some(seat);
        }
        // Nobody closes it.
        let seat = Arc::new(Arc::clone(&self.seats).acquire_owned().await.ok()?);
        *held = Arc::downgrade(&seat);
        Some(seat)
    }

    /// What is remembered of a registry.
    fn memory(&self, endpoint: &Endpoint) -> Arc<Memory> {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, memory)) = memories.iter().find(|(other, _)| other == endpoint) {
            return memory.clone();
        }
        if memories.len() >= MOST_MEMORIES {
            memories.clear();
        }
        let memory = Arc::new(Memory::default());
        memories.push((endpoint.clone(), memory.clone()));
        memory
    }
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RegistryClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

async fn resolve_image(
    session: &Session<'_>,
    repository: &str,
    reference: &Reference,
    hints: &Hints,
) -> Result<ResolvedImage, Trouble> {
    let mut image = match hints.known.get(reference) {
        Some(known) if is_unchanged(session, repository, reference, known).await? => known.clone(),
        _ => fetch_image(session, repository, reference).await?,
    };
    if let Content::Index { children } = &mut image.content {
        let needed = |child: &&mut Child| {
            child.presence != Presence::Present && hints.platforms.iter().any(|node| child.platform.runs_on(node))
        };
        let asking = children.iter_mut().filter(needed).map(|child| note_presence(session, repository, child));
        // Over HTTP/1.1 each would open a connection of its own.
        let parallel = if session.version() == Some(http::Version::HTTP_2) { PARALLEL_CHILDREN } else { 1 };
        let asking: Vec<_> = asking.collect();
        futures::stream::iter(asking).map(Ok).try_for_each_concurrent(parallel, |one| one).await?;
    }
    Ok(image)
}

/// Whether the registry still names the digest that is known. Anything else than a plain yes is no: then the bytes decide.
async fn is_unchanged(
    session: &Session<'_>,
    repository: &str,
    reference: &Reference,
    known: &ResolvedImage,
) -> Result<bool, Trouble> {
    let path = manifest_path(reference);
    let question = Question { repository, path: &path, accept: manifest::ACCEPT, limit: LARGEST_MANIFEST, head: true };
    match session.ask(question).await {
        Ok(answer) => Ok(claimed_digest(&answer).is_some_and(|claimed| claimed == known.digest.to_string())),
        // Some registries know no HEAD, or hide things from it.
        Err(trouble) if matches!(trouble.kind, RegistryFailureKind::NotFound | RegistryFailureKind::InvalidAnswer) => {
            Ok(false)
        }
        Err(trouble) => Err(trouble),
    }
}

/// Asks whether the manifest that an index lists is there.
async fn note_presence(session: &Session<'_>, repository: &str, child: &mut Child) -> Result<(), Trouble> {
    let path = format!("manifests/{}", child.digest);
    let mut question =
        Question { repository, path: &path, accept: manifest::ACCEPT, limit: LARGEST_MANIFEST, head: true };
    let mut answer = session.ask(question).await;
    // A registry that knows no HEAD is asked for the bytes, as is one whose answer is that of something else.
    let doubtful = match &answer {
        Ok(answer) => !is_of_manifest(answer, &child.digest),
        Err(trouble) => trouble.kind == RegistryFailureKind::InvalidAnswer,
    };
    if doubtful {
        question.head = false;
        answer = session.ask(question).await;
        if let Ok(answer) = &answer {
            check_digest(answer, Some(&child.digest))?;
        }
    }
    child.presence = match answer {
        Ok(_) => Presence::Present,
        Err(trouble) if trouble.kind == RegistryFailureKind::NotFound => Presence::Absent,
        Err(trouble) => return Err(trouble),
    };
    Ok(())
}

/// Whether the headers are those of this manifest, or do not say otherwise.
fn is_of_manifest(answer: &Answer, digest: &Digest) -> bool {
    let content_type = answer.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let text = content_type.is_some_and(|content_type| content_type.starts_with("text/html"));
    !text && claimed_digest(answer).is_none_or(|claimed| claimed == digest.to_string())
}

async fn fetch_image(session: &Session<'_>, repository: &str, reference: &Reference) -> Result<ResolvedImage, Trouble> {
    let Fetched { manifest, digest, size } = fetch_manifest(session, repository, reference).await?;
    let (media_type, content) = match manifest {
        Manifest::Index { media_type, children } => (media_type, Content::Index { children }),
        Manifest::Image { media_type, config } => {
            let platform = fetch_configuration(session, repository, &config).await?.platform;
            (media_type, Content::Manifest { platform })
        }
    };
    Ok(ResolvedImage { reference: reference.clone(), digest, media_type, content, size })
}

/// Gets and reads a manifest. A digest in the reference decides, and must be that of the bytes.
async fn fetch_manifest(session: &Session<'_>, repository: &str, reference: &Reference) -> Result<Fetched, Trouble> {
    let path = manifest_path(reference);
    let question = Question { repository, path: &path, accept: manifest::ACCEPT, limit: LARGEST_MANIFEST, head: false };
    let answer = session.ask(question).await?;
    check_digest(&answer, reference.digest())?;
    let content_type = answer.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let manifest = manifest::read(&answer.body, content_type)?;
    Ok(Fetched { manifest, digest: answer.digest, size: answer.body.len() as u64 })
}

fn manifest_path(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("manifests/{digest}"),
        None => format!("manifests/{}", reference.tag().unwrap_or("latest")),
    }
}

async fn fetch_configuration(
    session: &Session<'_>,
    repository: &str,
    digest: &Digest,
) -> Result<ImageConfiguration, Trouble> {
    let path = format!("blobs/{digest}");
    let question = Question { repository, path: &path, accept: "*/*", limit: LARGEST_CONFIGURATION, head: false };
    let answer = session.ask(question).await?;
    check_digest(&answer, Some(digest))?;
    Ok(manifest::read_configuration(&answer.body)?)
}

async fn linux_configuration(
    session: &Session<'_>,
    repository: &str,
    reference: &Reference,
    children: &[Child],
) -> Result<Digest, Trouble> {
    let linux = |child: &&Child| child.platform.os == "linux";
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
    let Some(claimed) = claimed_digest(answer) else { return Ok(()) };
    // Another algorithm can be neither checked nor pinned; ours is computed anyway.
    if claimed == answer.digest.to_string() || claimed.starts_with("sha512:") {
        return Ok(());
    }
    let quoted = format!("header Docker-Content-Digest {claimed:?} with the bytes of {}", answer.digest);
    let unquoted =
        format!("another digest in the header Docker-Content-Digest than that of the bytes, {}", answer.digest);
    Err(Trouble::quoting(RegistryFailureKind::InvalidAnswer, unquoted, &quoted))
}

/// What a header says. Never pinned; compared only.
fn claimed_digest(answer: &Answer) -> Option<&str> {
    let header = answer.headers.get("docker-content-digest")?;
    Some(header.to_str().unwrap_or("unreadable bytes"))
}

fn late(after: Duration) -> Trouble {
    Trouble::new(RegistryFailureKind::Timeout, format!("no whole answer within {after:.0?}"))
}

/// A failure before any registry was asked.
fn unreached(trouble: &Trouble, reference: &Reference) -> RegistryFailure {
    RegistryFailure::new(trouble.kind, Some(reference.clone()), reference.registry(), &trouble.answer)
}
