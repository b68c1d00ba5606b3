//! The client of all registries: resolves references, reads version labels and lists releases.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{Either, join_all, select};
use http::Version;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::access::{Access, Endpoint, RegistrySettings};
use super::auth::cloud::environment::CloudEnvironment;
use super::auth::cloud::identities::CloudIdentities;
use super::auth::cloud::issued::Identity;
use super::auth::docker_config::DockerConfig;
use super::error::{RegistryError, Result};
use super::http::budget::MAX_REGISTRIES;
use super::http::proxy::Proxies;
use super::http::transport::Transport;
use super::lookup::{learn_scheme, preconnect};
use super::registry_state::RegistryState;
use super::resolve::{Target, operator_image, resolve_image};
use super::session::Session;
use super::tags;
use crate::model::{Hints, OperatorImage, Reference, RegistryFailure, RegistryFailureKind, Release, ResolvedImage};
use crate::request_metrics::RequestMetrics;

/// Maximum number of registries whose state is kept.
const MAX_STATES: usize = 32;

/// Limits of the client. The defaults are those of the product.
#[derive(Debug, Clone)]
pub struct RegistryClientSettings {
    /// For a TCP connection.
    pub connect_deadline: Duration,
    /// For one image with all of its requests: token, redirects, manifest and configuration.
    pub image_deadline: Duration,
    /// For all images of one call.
    pub set_deadline: Duration,
    /// Images at a time from one registry over HTTP/2, where they share a connection.
    pub parallel_streams: usize,
    /// Images at a time from one registry over HTTP/1.1, each on its own connection.
    pub parallel_connections: usize,
    /// Proxies to use; by default none, whatever the environment names.
    pub proxies: Proxies,
    /// Identities in clouds; by default none, whatever the environment names.
    pub cloud: CloudEnvironment,
    /// Where requests are counted.
    pub metrics: RequestMetrics,
}

impl RegistryClientSettings {
    /// Returns the defaults with the proxies and the identities of this process's environment.
    #[must_use]
    pub fn of_environment() -> Self {
        Self { proxies: Proxies::of_environment(), cloud: CloudEnvironment::of_process(), ..Self::default() }
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
            cloud: CloudEnvironment::default(),
            metrics: RequestMetrics::default(),
        }
    }
}

/// The client of all registries. Keeps connections, tokens and authentication schemes between calls; created once per process.
pub struct RegistryClient {
    settings: RegistryClientSettings,
    transport: Transport,
    cloud: CloudIdentities,
    states: Mutex<Vec<(Endpoint, Arc<RegistryState>)>>,
    /// One for each registry in use.
    seats: Arc<Semaphore>,
}

/// A registry with the credential that a cloud issued for it, where its settings name one.
struct SignedIn {
    endpoint: Endpoint,
    identity: Option<Identity>,
}

/// A reference whose registry can be asked.
struct OneReference<'a> {
    registry: SignedIn,
    state: Arc<RegistryState>,
    target: Target<'a>,
}

impl OneReference<'_> {
    fn session<'a>(&'a self, client: &'a RegistryClient, access: &'a Access) -> Session<'a> {
        let (SignedIn { endpoint, identity }, repositories) = (&self.registry, vec![self.target.repository.clone()]);
        let head_deadline = client.head_deadline();
        Session::new(&client.transport, access, endpoint, &self.state, repositories, head_deadline)
            .of_identity(identity.as_ref())
    }
}

/// What all images of one call have in common.
struct Call<'a> {
    hints: &'a Hints,
    deadline: Instant,
    tick: &'a (dyn Fn() + Send + Sync),
}

/// An image's position in the caller's list, and its target.
type Positioned<'a> = (usize, Target<'a>);
type Outcome = (usize, Result<ResolvedImage, RegistryFailure>);
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

impl RegistryClient {
    /// Returns a client with these limits.
    #[must_use]
    pub fn new(settings: RegistryClientSettings) -> Self {
        let transport = Transport::new(settings.connect_deadline, settings.proxies.clone(), settings.metrics.clone());
        let cloud = CloudIdentities::new(settings.cloud.clone());
        Self { transport, cloud, settings, states: Mutex::default(), seats: Arc::new(Semaphore::new(MAX_REGISTRIES)) }
    }

    /// Resolves all references, in the order of `references`. Registries are used side by side, so that a failing one delays no
    /// other. For an image that the hints know, only the digest is looked up (HEAD); the image is fetched and hashed if the registry
    /// names another digest. `progress` receives the number of completed images, successful or not.
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
        let mut groups: Vec<(Endpoint, Vec<Positioned<'_>>)> = Vec::new();
        for (position, reference) in references.iter().enumerate() {
            match endpoint_and_target(access, reference) {
                Ok((endpoint, target)) => match groups.iter_mut().find(|(other, _)| *other == endpoint) {
                    Some((_, group)) => group.push((position, target)),
                    None => groups.push((endpoint, vec![(position, target)])),
                },
                Err(error) => {
                    outcomes.insert(position, Err(no_endpoint(&error, reference)));
                    tick();
                }
            }
        }
        let running = groups.iter().map(|(endpoint, group)| self.resolve_group(access, endpoint, group, &call));
        for resolved in join_all(running).await {
            outcomes.extend(resolved);
        }
        outcomes.into_values().collect()
    }

    /// Resolves an operator image and reads its version label. Of an index, linux/amd64 or else the first Linux image is used.
    ///
    /// # Errors
    /// The manifest or the configuration could not be fetched. A missing label is no error.
    pub async fn operator_version_label(
        &self,
        access: &Access,
        reference: &Reference,
    ) -> Result<OperatorImage, RegistryFailure> {
        let one = self.sign_in_for(access, reference).await?;
        let session = one.session(self, access);
        self.run(&session, reference, self.settings.image_deadline, operator_image(&session, &one.target)).await
    }

    /// Returns the releases among the tags of this reference's repository.
    ///
    /// # Errors
    /// The complete list could not be fetched; part of it would hide releases.
    pub async fn releases(&self, access: &Access, reference: &Reference) -> Result<BTreeSet<Release>, RegistryFailure> {
        let one = self.sign_in_for(access, reference).await?;
        let session = one.session(self, access);
        self.run(&session, reference, self.settings.set_deadline, tags::releases(&session, &one.target.repository))
            .await
    }

    /// Prepares the lookups for one reference.
    async fn sign_in_for<'r>(
        &self,
        access: &Access,
        reference: &'r Reference,
    ) -> Result<OneReference<'r>, RegistryFailure> {
        let found = endpoint_and_target(access, reference);
        let (endpoint, target) = found.map_err(|error| no_endpoint(&error, reference))?;
        let state = self.state(&endpoint);
        let signed_in = self.sign_in(&endpoint, &state).await;
        let registry = signed_in.map_err(|error| no_token(&error, &endpoint, reference))?;
        Ok(OneReference { registry, state, target })
    }

    /// Runs the lookups for one reference, once its registry has a seat, within a deadline.
    async fn run<T>(
        &self,
        session: &Session<'_>,
        reference: &Reference,
        deadline: Duration,
        lookups: impl Future<Output = Result<T>>,
    ) -> Result<T, RegistryFailure> {
        let seated = async {
            let _seat = self.seat(session.state).await;
            lookups.await
        };
        let outcome = tokio::time::timeout(deadline, seated).await.unwrap_or_else(|_| Err(timed_out(deadline)));
        outcome.map_err(|error| self.failure(session, &error, reference))
    }

    /// Returns a registry with the credential that its cloud issues, if its settings name one.
    ///
    /// # Errors
    /// The cloud issues none. No other image of the registry fares better.
    async fn sign_in(&self, endpoint: &Endpoint, state: &RegistryState) -> Result<SignedIn> {
        let Some(provider) = endpoint.settings.provider else {
            return Ok(SignedIn { endpoint: endpoint.clone(), identity: None });
        };
        let issued = match self.cloud.kept(endpoint, provider) {
            Some(kept) => kept,
            None => {
                let credential = pin!(self.cloud.credential(&self.transport, endpoint, provider));
                match select(credential, pin!(learn_scheme(&self.transport, endpoint, state))).await {
                    // The first lookup would have to learn the same. One that is never answered delays no image for long.
                    Either::Left((issued, learning)) => {
                        let issued = issued?;
                        let _ = tokio::time::timeout(self.settings.connect_deadline, learning).await;
                        issued
                    }
                    Either::Right(((), credential)) => credential.await?,
                }
            }
        };
        let credentials = Some(DockerConfig::of_credential(&endpoint.settings.host, issued.credential));
        let settings = RegistrySettings { credentials, ..endpoint.settings.clone() };
        Ok(SignedIn { endpoint: Endpoint { settings, ..endpoint.clone() }, identity: Some(issued.identity) })
    }

    /// Returns the failure of a reference. A credential of a cloud that the registry rejects is not kept for long.
    fn failure(&self, session: &Session<'_>, error: &RegistryError, reference: &Reference) -> RegistryFailure {
        if let Some(provider) = session.endpoint.settings.provider.filter(|_| error.is_of_credentials()) {
            self.cloud.note_rejected(session.endpoint, provider);
        }
        session.failure(error, reference)
    }

    /// Resolves all images of one registry. Of a registry that is not known, the first image goes ahead until the authentication
    /// scheme is known, or that the registry does not serve; then all go side by side.
    async fn resolve_group(
        &self,
        access: &Access,
        endpoint: &Endpoint,
        group: &[Positioned<'_>],
        call: &Call<'_>,
    ) -> Vec<Outcome> {
        let repositories = group.iter().map(|(_, target)| target.repository.clone()).collect();
        let state = self.state(endpoint);
        let SignedIn { endpoint, identity } = match self.sign_in(endpoint, &state).await {
            Ok(signed_in) => signed_in,
            Err(error) => {
                let fail = |(position, target): &Positioned<'_>| {
                    (call.tick)();
                    (*position, Err(no_token(&error, endpoint, target.reference)))
                };
                return group.iter().map(fail).collect();
            }
        };
        let session = Session::new(&self.transport, access, &endpoint, &state, repositories, self.head_deadline())
            .of_identity(identity.as_ref());
        let Ok(_seat) = tokio::time::timeout_at(call.deadline, self.seat(&state)).await else {
            let error = RegistryError::new(RegistryFailureKind::Timeout, "other registries were asked all the time");
            let fail = |(position, target): &Positioned<'_>| {
                (call.tick)();
                (*position, Err(session.failure(&error, target.reference)))
            };
            return group.iter().map(fail).collect();
        };
        let mut images = group.iter().map(|image| Box::pin(self.resolve_one(&session, image, call)) as Running<'_>);
        let Some(first) = images.next() else { return Vec::new() };
        let mut outcomes = Vec::new();
        let mut running = Vec::new();
        match select(first, pin!(session.opened())).await {
            Either::Left((outcome, _)) => outcomes.push(outcome),
            Either::Right(((), first)) => running.push(first),
        }
        running.extend(images);
        let parallel = match session.version() {
            Some(Version::HTTP_2) => self.settings.parallel_streams,
            _ => self.settings.parallel_connections,
        };
        let all = futures::stream::iter(running).buffer_unordered(parallel.max(1)).collect::<Vec<_>>();
        // A connection that is never established delays no image.
        outcomes.extend(match select(pin!(all), pin!(preconnect(&session))).await {
            Either::Left((all, _)) => all,
            Either::Right(((), all)) => all.await,
        });
        outcomes
    }

    async fn resolve_one(&self, session: &Session<'_>, image: &Positioned<'_>, call: &Call<'_>) -> Outcome {
        let (position, target) = image;
        let started = Instant::now();
        let deadline = call.deadline.min(started + self.settings.image_deadline);
        let resolving = resolve_image(session, target, call.hints);
        let outcome = tokio::time::timeout_at(deadline, resolving).await.unwrap_or_else(|_| {
            let error = timed_out(deadline - started);
            session.timed_out(started, &error);
            Err(error)
        });
        (call.tick)();
        (*position, outcome.map_err(|error| self.failure(session, &error, target.reference)))
    }

    /// A third of an image's deadline: what HEAD does not answer, GET still can.
    fn head_deadline(&self) -> Duration {
        self.settings.image_deadline / 3
    }

    /// Waits for a seat among the registries in use. All sessions with one registry share its seat.
    async fn seat(&self, state: &RegistryState) -> Option<Arc<OwnedSemaphorePermit>> {
        let mut held = state.seat.lock().await;
        if let Some(seat) = held.upgrade() {
            return Some(seat);
        }
        // The semaphore is never closed.
        let seat = Arc::new(Arc::clone(&self.seats).acquire_owned().await.ok()?);
        *held = Arc::downgrade(&seat);
        Some(seat)
    }

    /// Returns what is kept about a registry.
    fn state(&self, endpoint: &Endpoint) -> Arc<RegistryState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, state)) = states.iter().find(|(other, _)| other == endpoint) {
            return state.clone();
        }
        if states.len() >= MAX_STATES {
            states.clear();
        }
        let state = Arc::new(RegistryState::default());
        states.push((endpoint.clone(), state.clone()));
        state
    }
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RegistryClient").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn timed_out(after: Duration) -> RegistryError {
    RegistryError::new(RegistryFailureKind::Timeout, format!("no whole answer within {after:.0?}"))
}

/// Returns where a reference is looked up.
fn endpoint_and_target<'a>(access: &Access, reference: &'a Reference) -> Result<(Endpoint, Target<'a>)> {
    let (endpoint, repository) = access.endpoint(reference)?;
    Ok((endpoint, Target { reference, repository }))
}

/// Returns the failure of a reference that names no usable endpoint.
fn no_endpoint(error: &RegistryError, reference: &Reference) -> RegistryFailure {
    RegistryFailure::new(error.kind, Some(reference.clone()), reference.registry(), &error.message)
        .because(error.cause, None)
}

/// Returns the failure of a reference for whose registry a cloud issues no token. The error quotes nobody.
fn no_token(error: &RegistryError, endpoint: &Endpoint, reference: &Reference) -> RegistryFailure {
    RegistryFailure::new(error.kind, Some(reference.clone()), &endpoint.settings.host, &error.unquoted)
}
