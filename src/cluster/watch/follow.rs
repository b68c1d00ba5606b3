//! Follows one watch into its store forever: restarts it when it breaks, and waits for a kind that is not installed.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::{Resource, Status};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, Event, watcher};
use tokio::sync::watch;
use tokio::time::Instant;

use super::store::{Store, Watched};
use super::wake::{Urgency, Wake};
use crate::cluster::read::request::READ_DEADLINE;
use crate::rules::schedule::Backoff;

/// Pauses of a watch that fails.
const FAILED_PAUSE: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
/// Pauses of a watch that is denied.
const DENIED_PAUSE: Backoff = Backoff { longest: Duration::from_secs(60), ..FAILED_PAUSE };

/// The pauses of a watch, by how often it has failed.
#[derive(Debug, Default)]
pub struct WatchBackoff(u32);

/// How often objects that were too many are listed again.
const FULL_PAUSE: Duration = Duration::from_secs(60);
/// Failures that are further apart than this are not one: with its deadlines and pauses a watch that fails does so more often.
const APART: Duration = Duration::from_secs(120);
/// How often a kind is tried again after its definition changed: the API server serves it a moment later.
const AFTER_DEFINITION: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// How often a kind is tried again whose definition does not change.
const WITHOUT_DEFINITION: Duration = Duration::from_secs(300);
/// Objects per page of a list with content: a page of pods is 1 MB on the wire.
const PAGE: u32 = 50;

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = FAILED_PAUSE.after(self.0);
        self.0 = self.0.saturating_add(1);
        Some(pause)
    }
}

impl kube_runtime::utils::Backoff for WatchBackoff {
    fn reset(&mut self) {
        self.0 = 0;
    }
}

/// Events of a watch.
pub type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;

/// What all watches share.
#[derive(Clone)]
pub struct Signals {
    /// Notified of changes.
    pub wake: Arc<Wake>,
    /// Changes with every definition of the operator's group.
    pub definitions: watch::Receiver<u64>,
    /// Changes when all stores are to be listed again.
    pub relist: watch::Receiver<u64>,
    /// Changes when the aggregates are to be listed again, too.
    pub relist_aggregates: watch::Receiver<u64>,
}

/// Why a watch is started again.
enum Ended {
    /// The kind is not installed.
    Missing,
    /// It is denied, or has failed for too long; until it lists again, this is the pause.
    Failed(Duration),
    /// There are more objects than are kept.
    Full,
    /// It has to list again.
    Restarted,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    since: Option<Instant>,
    last: Option<Instant>,
    count: u32,
}

impl Failures {
    /// One more. How long to wait before the watch is started again, if it has to be: a watch that was complete resumes by itself, and
    /// its store is true enough for as long as a read may take.
    fn add(&mut self, error: &watcher::Error, is_complete: bool, now: Instant) -> Option<Duration> {
        if self.last.is_none_or(|last| now - last > APART) {
            *self = Self { since: Some(now), ..Self::default() };
        }
        self.last = Some(now);
        let lasts = self.since.is_some_and(|since| now - since >= READ_DEADLINE);
        let denied = is_forbidden(error);
        if is_complete && !denied && !lasts {
            return None;
        }
        let pause = if denied { DENIED_PAUSE } else { FAILED_PAUSE }.after(self.count);
        self.count = self.count.saturating_add(1);
        Some(pause)
    }
}

/// Follows a watch into `store` forever. `convert` returns what is kept of an object, `urgency` how urgent a change of it is.
/// `everywhere`: the objects are in several namespaces.
pub async fn follow<K, V>(
    start: impl Fn() -> Events<K> + Send,
    convert: impl Fn(K) -> Option<V> + Send,
    urgency: impl Fn(Option<&V>, Option<&V>) -> Urgency + Send,
    store: Store<V>,
    mut signals: Signals,
    everywhere: bool,
) where
    K: Resource + Send + 'static,
    V: Clone + PartialEq + Send,
{
    let mut tries = AFTER_DEFINITION.iter();
    let mut failures = Failures::default();
    loop {
        let mut events = start();
        let ended = loop {
            let event = tokio::select! {
                Ok(()) = signals.relist.changed() => break Ended::Restarted,
                Some(event) = events.next() => event,
                else => return,
            };
            match event {
                Ok(event) => {
                    if let Some(urgency) = store.event(watched(event, &convert, everywhere), &urgency) {
                        signals.wake.up(urgency);
                    }
                    if store.is_full() {
                        break Ended::Full;
                    }
                }
                Err(error) if is_missing(&error) => break Ended::Missing,
                Err(error) => {
                    tracing::debug!(%error, kind = std::any::type_name::<V>(), "a watch has failed");
                    if let Some(pause) = failures.add(&error, store.is_complete(), Instant::now()) {
                        break Ended::Failed(pause);
                    }
                }
            }
        };
        drop(events);
        let (is_news, pause) = match ended {
            Ended::Restarted => continue,
            Ended::Full => (false, Some(FULL_PAUSE)),
            Ended::Failed(pause) => (store.unavailable(), Some(pause)),
            Ended::Missing => (store.missing(), tries.next().copied()),
        };
        if is_news {
            signals.wake.up(Urgency::Now);
        }
        if pause.is_none() {
            tries = AFTER_DEFINITION.iter();
        }
        tokio::select! {
            () = tokio::time::sleep(pause.unwrap_or(WITHOUT_DEFINITION)) => {}
            Ok(()) = signals.definitions.changed(), if pause.is_none() => {}
            Ok(()) = signals.relist.changed() => {}
        }
    }
}

/// The name under which a store keeps an object: with the namespace where the watch is of several. Whoever asks a store for one
/// object watches one namespace.
fn key<K: Resource>(object: &K, everywhere: bool) -> String {
    let namespace = object.namespace().filter(|_| everywhere);
    namespace.map_or_else(|| object.name_any(), |namespace| format!("{namespace}/{}", object.name_any()))
}

fn watched<K: Resource, V>(event: Event<K>, convert: impl Fn(K) -> Option<V>, everywhere: bool) -> Event<Watched<V>> {
    let watched = |object: K| Watched {
        name: key(&object, everywhere),
        version: object.resource_version().unwrap_or_default(),
        value: convert(object),
    };
    match event {
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(watched(object)),
        Event::InitDone => Event::InitDone,
        Event::Apply(object) => Event::Apply(watched(object)),
        Event::Delete(object) => Event::Delete(watched(object)),
    }
}

/// The events of objects that are few: they are listed by pages.
pub fn listed<K>(api: Api<K>, which: &watcher::Config) -> Events<K>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, which.clone().page_size(PAGE)).backoff(WatchBackoff::default()).boxed()
}

/// The events of objects that are many and large, for ever, one at a time: by a streamed list, or by small pages where the API
/// server has none. kube would ask such a server for a streamed one again and again.
pub fn streamed_or_paged<K>(api: Api<K>, labels: Option<&'static str>) -> Events<K>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let kind = api.resource_url().to_owned();
    let start = move |mut config: watcher::Config| {
        config.label_selector = labels.map(str::to_owned);
        watcher(api.clone(), config).backoff(WatchBackoff::default()).boxed()
    };
    let streamed = start(watcher::Config::default().streaming_lists());
    let next = move |(mut events, may_stream): (Events<K>, bool)| {
        let (start, kind) = (start.clone(), kind.clone());
        async move {
            let mut event = events.next().await?;
            let rejected = may_stream && matches!(&event, Err(error) if is_not_understood(error));
            if rejected {
                tracing::debug!(kind, "the API server does not stream lists; they come by pages");
                events = start(watcher::Config::default().page_size(PAGE));
                event = events.next().await?;
            }
            Some((event, (events, may_stream && !rejected)))
        }
    };
    futures::stream::unfold((streamed, true), next).boxed()
}

/// Returns the API server's status, if it rejected the request.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    status(error).map(|status| status.code)
}

/// Returns the message of an error for a finding.
pub fn message(error: &watcher::Error) -> String {
    status(error).map_or_else(|| error.to_string(), |status| status.message.clone())
}

/// Whether the kind is not installed.
fn is_missing(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

/// Whether the API server does not know, or not allow, a parameter of a watch.
fn is_not_understood(error: &watcher::Error) -> bool {
    matches!(code(error), Some(400 | 422))
}

/// Whether the API server denied a watch.
pub fn is_forbidden(error: &watcher::Error) -> bool {
    matches!(code(error), Some(401 | 403))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16) -> watcher::Error {
        let status = Status { code, ..Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_complete_store_outlives_short_failures_and_no_denial() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let mut after = |code: u16, is_complete: bool, seconds: u64| {
            failures.add(&error(code), is_complete, start + Duration::from_secs(seconds))
        };
        assert_eq!(after(500, true, 0), None);
        assert_eq!(after(500, true, 5), None);
        assert_eq!(after(500, true, 10), Some(Duration::from_millis(100)));
        assert_eq!(after(500, false, 11), Some(Duration::from_millis(200)));
        assert_eq!(after(500, true, 200), None, "that is another failure");
        assert_eq!(after(403, true, 201), Some(Duration::from_millis(100)));
        let longest = (0..20).filter_map(|_| after(403, false, 202)).max();
        assert_eq!(longest, Some(DENIED_PAUSE.longest));
    }
}
