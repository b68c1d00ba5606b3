//! Asks registries in the background and remembers what they said: a pass never waits longer than its patience, a
//! failure is not asked again before its time, and N images on one broken registry are one attempt.

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
use crate::rules::schedule::Forgotten;

/// The first and the longest pause before a failure is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// The same for failures that a person has to mend.
const SLOW_BACKOFF: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// How often an answer of which nothing can be made is asked for again before the pause doubles.
const DOUBTS_OF_A_PAUSE: u32 = 4;

/// What registries said, and who is asking.
pub struct RegistryCache {
    client: Arc<RegistryClient>,
    memory: Arc<Mutex<Memory>>,
    /// Wakes a controller when an answer comes after the patience of the pass that asked.
    pub late: Arc<Notify>,
    asking: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct Memory {
    access: Access,
    /// Grows with every change of access, so that answers to old credentials are not taken for new ones.
    generation: u64,
    images: BTreeMap<Reference, Entry<ResolvedImage>>,
    operators: BTreeMap<Reference, Entry<OperatorImage>>,
    /// By operator image.
    releases: BTreeMap<Reference, Entry<BTreeSet<Release>>>,
    /// How often an answer was forgotten because nothing could be made of it.
    doubts: BTreeMap<Reference, u32>,
}

/// What has to be asked now, and for which access.
struct Unanswered {
    images: Vec<Reference>,
    operators: Vec<Reference>,
    releases: Vec<Reference>,
    generation: u64,
}

enum Entry<T> {
    Asked { attempts: u32 },
    Known { answer: T, at: Instant, platforms: BTreeSet<Platform> },
    Failed { failure: Box<RegistryFailure>, again: Instant, attempts: u32 },
}

impl<T: Clone> Entry<T> {
    fn answer(&self) -> LookupResult<T> {
        match self {
            Self::Asked { .. } => LookupResult::Pending,
            Self::Known { answer, .. } => LookupResult::Known(answer.clone()),
            Self::Failed { failure, .. } => LookupResult::Failed(RegistryFailure::clone(failure)),
        }
    }

    /// Whether it has to be asked again: a failure after its pause, an answer that was given for fewer platforms.
    fn is_due(&self, now: Instant, wanted: &BTreeSet<Platform>) -> bool {
        match self {
            Self::Asked { .. } => false,
            Self::Failed { again, .. } => *again <= now,
            Self::Known { platforms, .. } => !wanted.is_subset(platforms),
        }
    }

    const fn attempts(&self) -> u32 {
        match self {
            Self::Asked { attempts } | Self::Failed { attempts, .. } => *attempts,
            Self::Known { .. } => 0,
        }
    }
}

impl RegistryCache {
    /// An empty memory.
    #[must_use]
    pub fn new(client: RegistryClient) -> Self {
        Self {
            client: Arc::new(client),
            memory: Arc::default(),
            late: Arc::new(Notify::new()),
            asking: Mutex::new(JoinSet::new()),
        }
    }

    /// Answers from memory; asks what is not there, waiting at most `patience`. What has no answer by then is
    /// [`LookupResult::Pending`], and `late` is notified when it has one. Each registry is asked on its own and its answers are kept
    /// when it is done: one that is slow or silent delays no other.
    pub async fn look_up(&self, lookups: &Lookups, access: Access, patience: Duration) -> LookupResults {
        let Unanswered { images, operators, releases, generation } = self.unanswered(lookups, &access);
        let access = Arc::new(access);
        let mut answered = Vec::new();
        for images in access.by_registry(images) {
            let (client, access, hints) = (self.client.clone(), access.clone(), lookups.hints.clone());
            answered.push(self.spawn(generation, async move {
                let resolved = client.resolve(&access, &images, &hints, |_| {}).await;
                move |memory: &mut Memory| keep(&mut memory.images, images, resolved, &hints.platforms)
            }));
        }
        for operator in operators {
            let (client, access) = (self.client.clone(), access.clone());
            answered.push(self.spawn(generation, async move {
                let read = client.operator_version_label(&access, &operator).await;
                move |memory: &mut Memory| keep(&mut memory.operators, vec![operator], vec![read], &BTreeSet::new())
            }));
        }
        for operator in releases {
            let (client, access) = (self.client.clone(), access.clone());
            answered.push(self.spawn(generation, async move {
                let listed = client.releases(&access, &operator).await;
                move |memory: &mut Memory| keep(&mut memory.releases, vec![operator], vec![listed], &BTreeSet::new())
            }));
        }
        let _ = tokio::time::timeout(patience, futures::future::join_all(answered)).await;
        let memory = lock(&self.memory);
        LookupResults {
            images: answers(&memory.images, lookups.images.iter()),
            operators: answers(&memory.operators, lookups.operators.union(&lookups.digests)),
            releases: answers(&memory.releases, lookups.releases.iter()),
        }
    }

    /// Asks in the background, and keeps what comes of it if the access is still the same by then. The receiver tells the end.
    fn spawn<K: FnOnce(&mut Memory) + Send>(
        &self,
        generation: u64,
        asking: impl Future<Output = K> + Send + 'static,
    ) -> oneshot::Receiver<()> {
        let (memory, late) = (self.memory.clone(), self.late.clone());
        let (done, end) = oneshot::channel();
        let task = async move {
            let keep = asking.await;
            let mut memory = lock(&memory);
            if memory.generation == generation {
                keep(&mut memory);
            }
            drop(memory);
            // Nobody waits for it any more if it is late.
            let _ = done.send(());
            late.notify_one();
        };
        let mut running = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(task);
        end
    }

    /// When the first failure among these answers may be asked again. Failures that nobody asks for any more do not count.
    #[must_use]
    pub fn next_retry(&self, asked: &LookupResults) -> Option<Duration> {
        let memory = lock(&self.memory);
        let images = asked.images.keys().filter_map(|image| memory.images.get(image).and_then(retry_at));
        let operators = asked.operators.keys().filter_map(|image| memory.operators.get(image).and_then(retry_at));
        let releases = asked.releases.keys().filter_map(|image| memory.releases.get(image).and_then(retry_at));
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
        let memory = lock(&self.memory);
        due(&memory.images, lookups.images.iter(), &lookups.hints.platforms)
            || due(&memory.operators, lookups.operators.union(&lookups.digests), &BTreeSet::new())
            || due(&memory.releases, lookups.releases.iter(), &BTreeSet::new())
    }

    /// Forgets what is due to be looked up again.
    pub fn forget(&self, forgotten: &Forgotten) {
        if forgotten.all {
            self.forget_all();
        }
        if let Some(age) = forgotten.images {
            self.forget_older_than(age);
        }
        if let Some(age) = forgotten.releases {
            self.forget_releases_older_than(age);
        }
    }

    /// Forgets answers that are older than this, so that a regular check asks again.
    pub fn forget_older_than(&self, age: Duration) {
        let now = Instant::now();
        let mut memory = lock(&self.memory);
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < age;
        memory.images.retain(|_, entry| !matches!(entry, Entry::Known { at, .. } if !fresh(at)));
        memory.operators.retain(|_, entry| !matches!(entry, Entry::Known { at, .. } if !fresh(at)));
    }

    /// The same for lists of releases.
    pub fn forget_releases_older_than(&self, age: Duration) {
        let now = Instant::now();
        let old = |at: &Instant| now.saturating_duration_since(*at) >= age;
        lock(&self.memory).releases.retain(|_, entry| !matches!(entry, Entry::Known { at, .. } if old(at)));
    }

    /// Forgets everything but what is being asked just now.
    pub fn forget_all(&self) {
        let mut memory = lock(&self.memory);
        memory.images.retain(|_, entry| matches!(entry, Entry::Asked { .. }));
        memory.operators.retain(|_, entry| matches!(entry, Entry::Asked { .. }));
        memory.releases.retain(|_, entry| matches!(entry, Entry::Asked { .. }));
    }

    /// Forgets answers that nothing can be made of, some time after they were given; the longer, the more often that was
    /// done already. When the next of them is to be asked for again; zero is at once.
    pub fn doubt(&self, unsuitable: &BTreeSet<Reference>) -> Option<Duration> {
        let now = Instant::now();
        let mut memory = lock(&self.memory);
        let Memory { images, doubts, .. } = &mut *memory;
        doubts.retain(|image, _| unsuitable.contains(image));
        let mut soonest: Option<Duration> = None;
        for image in unsuitable {
            let Some(Entry::Known { at, .. }) = images.get(image) else { continue };
            let times = doubts.entry(image.clone()).or_default();
            let pause = SLOW_BACKOFF.0.saturating_mul(1 << (*times / DOUBTS_OF_A_PAUSE).min(10)).min(SLOW_BACKOFF.1);
            let wait = pause.saturating_sub(now.saturating_duration_since(*at));
            if wait.is_zero() {
                *times += 1;
                images.remove(image);
            }
            soonest = Some(soonest.map_or(wait, |soonest| soonest.min(wait)));
        }
        soonest
    }

    /// What has to be asked now; it is marked as asked. Another access makes failures and open questions worthless.
    fn unanswered(&self, lookups: &Lookups, access: &Access) -> Unanswered {
        let now = Instant::now();
        let mut memory = lock(&self.memory);
        if memory.access != *access {
            // Credentials change who may see something, not what it is; another place can hold something else.
            let same_places = memory.access.has_same_places(access);
            let stays = |known: bool| known && same_places;
            memory.access = access.clone();
            memory.generation += 1;
            memory.images.retain(|_, entry| stays(matches!(entry, Entry::Known { .. })));
            memory.operators.retain(|_, entry| stays(matches!(entry, Entry::Known { .. })));
            memory.releases.retain(|_, entry| stays(matches!(entry, Entry::Known { .. })));
        }
        let images = mark(&mut memory.images, lookups.images.iter(), now, &lookups.hints.platforms);
        let operators = mark(&mut memory.operators, lookups.operators.union(&lookups.digests), now, &BTreeSet::new());
        let releases = mark(&mut memory.releases, lookups.releases.iter(), now, &BTreeSet::new());
        Unanswered { images, operators, releases, generation: memory.generation }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

fn retry_at<T>(entry: &Entry<T>) -> Option<Instant> {
    match entry {
        Entry::Failed { again, .. } => Some(*again),
        Entry::Asked { .. } | Entry::Known { .. } => None,
    }
}

fn mark<'a, T: Clone>(
    entries: &mut BTreeMap<Reference, Entry<T>>,
    lookups: impl Iterator<Item = &'a Reference>,
    now: Instant,
    platforms: &BTreeSet<Platform>,
) -> Vec<Reference> {
    let mut ask = Vec::new();
    for reference in lookups {
        let attempts = match entries.get(reference) {
            None => 0,
            Some(entry) if entry.is_due(now, platforms) => entry.attempts(),
            Some(_) => continue,
        };
        entries.insert(reference.clone(), Entry::Asked { attempts });
        ask.push(reference.clone());
    }
    ask
}

fn keep<T: Clone>(
    entries: &mut BTreeMap<Reference, Entry<T>>,
    asked: Vec<Reference>,
    answers: Vec<Result<T, RegistryFailure>>,
    platforms: &BTreeSet<Platform>,
) {
    let now = Instant::now();
    for (reference, answer) in asked.into_iter().zip(answers) {
        let attempts = entries.get(&reference).map_or(0, Entry::attempts) + 1;
        let entry = match answer {
            Ok(answer) => Entry::Known { answer, at: now, platforms: platforms.clone() },
            Err(failure) => {
                Entry::Failed { again: now + pause(&failure, attempts), failure: Box::new(failure), attempts }
            }
        };
        entries.insert(reference, entry);
    }
}

/// How long a failure is left alone: as the registry asks, or doubling with every attempt.
fn pause(failure: &RegistryFailure, attempts: u32) -> Duration {
    let (first, longest) = match failure.retry() {
        Retry::After(wait) => return wait.max(BACKOFF.0),
        Retry::Backoff => BACKOFF,
        Retry::WhenChanged => SLOW_BACKOFF,
    };
    first.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(longest)
}

fn answers<'a, T: Clone>(
    entries: &BTreeMap<Reference, Entry<T>>,
    lookups: impl Iterator<Item = &'a Reference>,
) -> BTreeMap<Reference, LookupResult<T>> {
    let answered = lookups.filter_map(|reference| Some((reference.clone(), entries.get(reference)?.answer())));
    answered.collect()
}
