//! Looks images up in registries in the background and caches the responses: a reconcile never waits longer than its patience,
//! a failed lookup pauses before it is retried, and N images in one broken registry are one attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::model::{
    LookupResult, LookupResults, Lookups, OperatorImage, Platform, Reference, RegistryFailure, Release, ResolvedImage,
    Retry,
};
use crate::registry::{Access, RegistryClient};
use crate::rules::schedule::{Forgotten, LOOKUP_PAUSE, SLOW_LOOKUP_PAUSE};

/// Number of lookups of a response that cannot be part of a set before the pause doubles.
const DOUBTS_OF_A_PAUSE: u32 = 4;

/// Cached responses of registries, and the lookups that are running.
pub struct RegistryCache {
    client: Arc<RegistryClient>,
    responses: Arc<Mutex<Responses>>,
    /// Notified when a response arrives after the patience of the reconcile that started the lookup.
    pub late: Arc<Notify>,
    running: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Responses {
    access: Access,
    /// Grows with every change of access, so that responses to old credentials are not taken for new ones.
    generation: u64,
    images: BTreeMap<Reference, Entry<ResolvedImage>>,
    operators: BTreeMap<Reference, Entry<OperatorImage>>,
    /// By operator image.
    releases: BTreeMap<Reference, Entry<BTreeSet<Release>>>,
    /// How often a response was dropped because it cannot be part of a set.
    doubts: BTreeMap<Reference, u32>,
}

/// Lookups to start now, and the generation of the access that they use.
struct DueLookups {
    images: Vec<Reference>,
    operators: Vec<Reference>,
    releases: Vec<Reference>,
    generation: u64,
}

enum Entry<T> {
    Pending { attempts: u32 },
    Known { response: T, at: Instant, platforms: BTreeSet<Platform> },
    Failed { failure: Box<RegistryFailure>, again: Instant, attempts: u32 },
}

impl<T: Clone> Entry<T> {
    fn result(&self) -> LookupResult<T> {
        match self {
            Self::Pending { .. } => LookupResult::Pending,
            Self::Known { response, .. } => LookupResult::Known(response.clone()),
            Self::Failed { failure, .. } => LookupResult::Failed(RegistryFailure::clone(failure)),
        }
    }

    /// Whether it has to be looked up again: a failure after its pause, or a response for fewer platforms.
    fn is_due(&self, now: Instant, wanted: &BTreeSet<Platform>) -> bool {
        match self {
            Self::Pending { .. } => false,
            Self::Failed { again, .. } => *again <= now,
            Self::Known { platforms, .. } => !wanted.is_subset(platforms),
        }
    }

    const fn attempts(&self) -> u32 {
        match self {
            Self::Pending { attempts } | Self::Failed { attempts, .. } => *attempts,
            Self::Known { .. } => 0,
        }
    }
}

impl RegistryCache {
    /// Returns an empty cache.
    #[must_use]
    pub fn new(client: RegistryClient) -> Self {
        Self {
            client: Arc::new(client),
            responses: Arc::default(),
            late: Arc::new(Notify::new()),
            running: Mutex::new(JoinSet::new()),
        }
    }

    /// Returns cached responses, and looks up what is missing, for at most `patience`. A lookup without a response by then is
    /// [`LookupResult::Pending`], and `late` is notified when its response arrives. Each registry is looked up on its own, so that a
    /// slow or silent one delays no other.
    pub async fn look_up(&self, lookups: &Lookups, access: Access, patience: Duration) -> LookupResults {
        let DueLookups { images, operators, releases, generation } = self.take_due(lookups, &access);
        let access = Arc::new(access);
        let mut ends = Vec::new();
        for images in access.by_registry(images) {
            let (client, access, hints) = (self.client.clone(), access.clone(), lookups.hints.clone());
            ends.push(self.spawn(generation, async move {
                let resolved = client.resolve(&access, &images, &hints, |_| {}).await;
                move |responses: &mut Responses| keep(&mut responses.images, images, resolved, &hints.platforms)
            }));
        }
        for operator in operators {
            let (client, access) = (self.client.clone(), access.clone());
            ends.push(self.spawn(generation, async move {
                let read = client.operator_version_label(&access, &operator).await;
                move |responses: &mut Responses| {
                    keep(&mut responses.operators, vec![operator], vec![read], &BTreeSet::new())
                }
            }));
        }
        for operator in releases {
            let (client, access) = (self.client.clone(), access.clone());
            ends.push(self.spawn(generation, async move {
                let listed = client.releases(&access, &operator).await;
                move |responses: &mut Responses| {
                    keep(&mut responses.releases, vec![operator], vec![listed], &BTreeSet::new())
                }
            }));
        }
        let _ = tokio::time::timeout(patience, futures::future::join_all(ends)).await;
        let responses = lock(&self.responses);
        LookupResults {
            images: results(&responses.images, lookups.images.iter()),
            operators: results(&responses.operators, lookups.operators.union(&lookups.digests)),
            releases: results(&responses.releases, lookups.releases.iter()),
        }
    }

    /// Runs a lookup in the background, and caches its response if the access is still the same. The receiver resolves at its end.
    fn spawn<K: FnOnce(&mut Responses) + Send>(
        &self,
        generation: u64,
        lookup: impl Future<Output = K> + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (responses, late) = (self.responses.clone(), self.late.clone());
        let (finished, end) = oneshot::channel();
        let task = async move {
            let keep = lookup.await;
            let mut responses = lock(&responses);
            if responses.generation == generation {
                keep(&mut responses);
            }
            drop(responses);
            // Nothing receives it if it is late.
            let _ = finished.send(());
            late.notify_one();
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
        end
    }

    /// Returns when the first failed lookup among these may be retried. Other failures do not count.
    #[must_use]
    pub fn next_retry(&self, looked_up: &LookupResults) -> Option<Duration> {
        let responses = lock(&self.responses);
        let images = looked_up.images.keys().filter_map(|image| responses.images.get(image).and_then(retry_at));
        let operators =
            looked_up.operators.keys().filter_map(|image| responses.operators.get(image).and_then(retry_at));
        let releases = looked_up.releases.keys().filter_map(|image| responses.releases.get(image).and_then(retry_at));
        let first = images.chain(operators).chain(releases).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Whether something of this has never been looked up, or is due again.
    #[must_use]
    pub fn is_due(&self, lookups: &Lookups) -> bool {
        fn due<'a, T: Clone + 'a>(
            entries: &BTreeMap<Reference, Entry<T>>,
            mut lookups: impl Iterator<Item = &'a Reference>,
            platforms: &BTreeSet<Platform>,
        ) -> bool {
            let now = Instant::now();
            lookups.any(|reference| entries.get(reference).is_none_or(|entry| entry.is_due(now, platforms)))
        }
        let responses = lock(&self.responses);
        due(&responses.images, lookups.images.iter(), &lookups.hints.platforms)
            || due(&responses.operators, lookups.operators.union(&lookups.digests), &BTreeSet::new())
            || due(&responses.releases, lookups.releases.iter(), &BTreeSet::new())
    }

    /// Drops responses that are looked up again. Running lookups stay.
    pub fn forget(&self, forgotten: &Forgotten) {
        fn forget<T>(entries: &mut BTreeMap<Reference, Entry<T>>, all: bool, age: Option<Duration>) {
            let now = Instant::now();
            entries.retain(|_, entry| match entry {
                Entry::Pending { .. } => true,
                Entry::Failed { .. } => !all,
                Entry::Known { at, .. } => !all && age.is_none_or(|age| now.saturating_duration_since(*at) < age),
            });
        }
        let Forgotten { all, images, releases } = *forgotten;
        let mut responses = lock(&self.responses);
        forget(&mut responses.images, all, images);
        forget(&mut responses.operators, all, images);
        forget(&mut responses.releases, all, releases);
    }

    /// Drops responses that cannot be part of a set, after a pause that grows with their number. Returns when the next of them is
    /// looked up again; zero is at once.
    pub fn doubt(&self, unsuitable: &BTreeSet<Reference>) -> Option<Duration> {
        let now = Instant::now();
        let mut responses = lock(&self.responses);
        let Responses { images, doubts, .. } = &mut *responses;
        doubts.retain(|image, _| unsuitable.contains(image));
        let mut soonest: Option<Duration> = None;
        for image in unsuitable {
            let Some(Entry::Known { at, .. }) = images.get(image) else { continue };
            let times = doubts.entry(image.clone()).or_default();
            let pause = SLOW_LOOKUP_PAUSE.after(*times / DOUBTS_OF_A_PAUSE);
            let wait = pause.saturating_sub(now.saturating_duration_since(*at));
            if wait.is_zero() {
                *times += 1;
                images.remove(image);
            }
            soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
        }
        soonest
    }

    /// Returns the lookups to start now, and marks them as pending. A changed access invalidates failures and pending lookups.
    fn take_due(&self, lookups: &Lookups, access: &Access) -> DueLookups {
        let now = Instant::now();
        let mut responses = lock(&self.responses);
        if responses.access != *access {
            // Credentials change who may see something, not what it is; another place can hold something else.
            let same_places = responses.access.has_same_places(access);
            let stays = |known: bool| known && same_places;
            responses.access = access.clone();
            responses.generation += 1;
            responses.images.retain(|_, entry| stays(matches!(entry, Entry::Known { .. })));
            responses.operators.retain(|_, entry| stays(matches!(entry, Entry::Known { .. })));
            responses.releases.retain(|_, entry| stays(matches!(entry, Entry::Known { .. })));
        }
        let images = mark(&mut responses.images, lookups.images.iter(), now, &lookups.hints.platforms);
        let operators =
            mark(&mut responses.operators, lookups.operators.union(&lookups.digests), now, &BTreeSet::new());
        let releases = mark(&mut responses.releases, lookups.releases.iter(), now, &BTreeSet::new());
        DueLookups { images, operators, releases, generation: responses.generation }
    }
}

fn lock(responses: &Mutex<Responses>) -> MutexGuard<'_, Responses> {
    responses.lock().unwrap_or_else(PoisonError::into_inner)
}

fn retry_at<T>(entry: &Entry<T>) -> Option<Instant> {
    match entry {
        Entry::Failed { again, .. } => Some(*again),
        Entry::Pending { .. } | Entry::Known { .. } => None,
    }
}

fn mark<'a, T: Clone>(
    entries: &mut BTreeMap<Reference, Entry<T>>,
    lookups: impl Iterator<Item = &'a Reference>,
    now: Instant,
    platforms: &BTreeSet<Platform>,
) -> Vec<Reference> {
    let mut due = Vec::new();
    for reference in lookups {
        let attempts = match entries.get(reference) {
            None => 0,
            Some(entry) if entry.is_due(now, platforms) => entry.attempts(),
            Some(_) => continue,
        };
        entries.insert(reference.clone(), Entry::Pending { attempts });
        due.push(reference.clone());
    }
    due
}

fn keep<T: Clone>(
    entries: &mut BTreeMap<Reference, Entry<T>>,
    looked_up: Vec<Reference>,
    results: Vec<Result<T, RegistryFailure>>,
    platforms: &BTreeSet<Platform>,
) {
    let now = Instant::now();
    for (reference, response) in looked_up.into_iter().zip(results) {
        let attempts = entries.get(&reference).map_or(0, Entry::attempts) + 1;
        let entry = match response {
            Ok(response) => Entry::Known { response, at: now, platforms: platforms.clone() },
            Err(failure) => {
                Entry::Failed { again: now + pause(&failure, attempts), failure: Box::new(failure), attempts }
            }
        };
        entries.insert(reference, entry);
    }
}

/// Returns the pause after a failed lookup: as the registry requires, or doubling with every attempt.
fn pause(failure: &RegistryFailure, attempts: u32) -> Duration {
    let backoff = match failure.retry() {
        Retry::After(wait) => return wait.max(LOOKUP_PAUSE.first),
        Retry::Backoff => LOOKUP_PAUSE,
        Retry::WhenChanged => SLOW_LOOKUP_PAUSE,
    };
    backoff.after(attempts.saturating_sub(1))
}

fn results<'a, T: Clone>(
    entries: &BTreeMap<Reference, Entry<T>>,
    lookups: impl Iterator<Item = &'a Reference>,
) -> BTreeMap<Reference, LookupResult<T>> {
    let results = lookups.filter_map(|reference| Some((reference.clone(), entries.get(reference)?.result())));
    results.collect()
}
