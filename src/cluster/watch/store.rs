//! The content of one watch: small values by name. A store that does not know all objects returns nothing, and its caller reads the
//! API server. One that there are too many objects for returns a failure that says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube_runtime::watcher::Event;
use tokio::sync::watch;
use tokio::time::Instant;

use super::wake::Urgency;
use crate::cluster::read::request::{MOST_OBJECTS, too_many};
use crate::model::Read;

/// How long an object stands as the controller wrote it while the watch does not show that write.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// Resource versions that are remembered, to know a write that the watch has shown already.
const RECENT_VERSIONS: usize = 64;

/// An object of a watch, or as the controller has written it.
#[derive(Debug, Clone)]
pub struct Watched<V> {
    /// Its name.
    pub name: String,
    /// Its resourceVersion.
    pub version: String,
    /// What is kept of it; `None` for one that does not count.
    pub value: Option<V>,
}

/// The objects of one watch that are known. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store<V> {
    /// What is watched, for a failure: `list imagesets.operator.tigera.io`.
    what: Arc<str>,
    content: Arc<Mutex<Content<V>>>,
    /// Whether the API server has responded, if only with a failure.
    responded: Arc<watch::Sender<bool>>,
}

#[derive(Debug)]
struct Content<V> {
    state: State,
    objects: BTreeMap<String, V>,
    /// A list that is under way; what was known before stays until it is complete.
    listing: Option<BTreeMap<String, V>>,
    written: BTreeMap<String, OwnWrite<V>>,
    recent: VecDeque<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not listed, or the watch has failed for too long.
    Unavailable,
    Complete,
    KindMissing,
    /// There are more objects than are kept: none of them counts.
    Full,
}

/// A write of the controller that the watch has not shown.
#[derive(Debug)]
struct OwnWrite<V> {
    /// `None` for a deletion.
    version: Option<String>,
    value: Option<V>,
    at: Instant,
}

impl<V> Store<V> {
    /// A store that knows nothing yet. `what` is what a failure is reported under.
    pub fn new(what: &str) -> Self {
        let content = Content {
            state: State::Unavailable,
            objects: BTreeMap::new(),
            listing: None,
            written: BTreeMap::new(),
            recent: VecDeque::new(),
        };
        Self { what: what.into(), content: Arc::new(Mutex::new(content)), responded: Arc::default() }
    }

    fn content(&self) -> MutexGuard<'_, Content<V>> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether all objects are known.
    pub fn is_complete(&self) -> bool {
        self.content().state == State::Complete
    }

    /// Whether the kind is not installed.
    pub fn is_kind_missing(&self) -> bool {
        self.content().state == State::KindMissing
    }

    /// Whether there are more objects than are kept.
    pub fn is_full(&self) -> bool {
        self.content().state == State::Full
    }

    /// Whether there is any object.
    pub fn has_objects(&self) -> bool {
        !self.content().objects.is_empty()
    }

    /// Becomes true with the first response of the API server.
    pub fn responded(&self) -> watch::Receiver<bool> {
        self.responded.subscribe()
    }

    /// Records that the kind is not installed. Returns whether that is news.
    pub fn missing(&self) -> bool {
        self.reset(State::KindMissing)
    }

    /// Records that the watch does not work. Returns whether that is news.
    pub fn unavailable(&self) -> bool {
        self.reset(State::Unavailable)
    }

    fn reset(&self, state: State) -> bool {
        let mut content = self.content();
        let before = std::mem::replace(&mut content.state, state);
        content.objects.clear();
        content.written.clear();
        content.listing = None;
        drop(content);
        self.responded.send_replace(true);
        before != state
    }
}

impl<V: Clone + PartialEq> Store<V> {
    /// All objects by their names; `None` where they are not known.
    pub fn list(&self) -> Option<Read<Vec<V>>> {
        let content = self.content();
        match content.state {
            State::Unavailable => None,
            State::KindMissing => Some(Read::KindMissing),
            State::Full => Some(Read::Failed(too_many(&self.what, MOST_OBJECTS))),
            State::Complete => Some(Read::Known(content.current().into_values().cloned().collect())),
        }
    }

    /// One object; `None` where it is not known whether it exists.
    pub fn get(&self, name: &str) -> Option<Read<Option<V>>> {
        let content = self.content();
        match content.state {
            State::Unavailable => None,
            State::KindMissing => Some(Read::KindMissing),
            State::Full => Some(Read::Failed(too_many(&self.what, MOST_OBJECTS))),
            State::Complete => Some(Read::Known(content.get(name).cloned())),
        }
    }

    /// An object as the controller has just written it. It stands until the watch shows this write, or for 10 s.
    pub fn written(&self, object: Watched<V>) {
        let mut content = self.content();
        if content.state == State::Complete && !content.recent.contains(&object.version) {
            let written = OwnWrite { version: Some(object.version), value: object.value, at: Instant::now() };
            content.written.insert(object.name, written);
        }
    }

    /// The controller has just deleted an object.
    pub fn deleted(&self, name: &str) {
        let mut content = self.content();
        if content.objects.contains_key(name) {
            content.written.insert(name.to_owned(), OwnWrite { version: None, value: None, at: Instant::now() });
        }
    }

    /// Takes an event of the watch. Returns how urgent the change is; `None` where no value has changed.
    pub fn event(
        &self,
        event: Event<Watched<V>>,
        urgency: impl Fn(Option<&V>, Option<&V>) -> Urgency,
    ) -> Option<Urgency> {
        let mut content = self.content();
        match event {
            Event::Init => {
                content.listing = Some(BTreeMap::new());
                None
            }
            Event::InitApply(object) => {
                content.shown(&object);
                let Watched { name, value: Some(value), .. } = object else { return None };
                let listing = content.listing.as_mut()?;
                listing.insert(name, value);
                if listing.len() <= MOST_OBJECTS {
                    return None;
                }
                drop(content);
                self.reset(State::Full).then_some(Urgency::Now)
            }
            Event::InitDone => {
                let before: BTreeMap<String, V> =
                    content.current().into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
                content.objects = content.listing.take().unwrap_or_default();
                let was_complete = std::mem::replace(&mut content.state, State::Complete) == State::Complete;
                let after = content.current();
                let names = before.keys().chain(after.keys().copied());
                let changed = names.filter(|name| before.get(*name) != after.get(*name).copied());
                let urgency = changed.map(|name| urgency(before.get(name), after.get(name).copied())).max();
                drop(content);
                self.responded.send_replace(true);
                if was_complete { urgency } else { Some(Urgency::Now) }
            }
            Event::Apply(object) => {
                let before = content.get(&object.name).cloned();
                content.shown(&object);
                let Watched { name, value, .. } = object;
                match value {
                    Some(value) => drop(content.objects.insert(name.clone(), value)),
                    None => drop(content.objects.remove(&name)),
                }
                if content.objects.len() > MOST_OBJECTS {
                    drop(content);
                    return self.reset(State::Full).then_some(Urgency::Now);
                }
                let after = content.get(&name);
                (before.as_ref() != after).then(|| urgency(before.as_ref(), after))
            }
            Event::Delete(object) => {
                let before = content.get(&object.name).cloned();
                content.written.remove(&object.name);
                content.objects.remove(&object.name);
                before.map(|before| urgency(Some(&before), None))
            }
        }
    }
}

impl<V> Content<V> {
    /// An object as the controller wrote it last, or as the watch shows it.
    fn get(&self, name: &str) -> Option<&V> {
        match self.written.get(name).filter(|written| written.stands()) {
            Some(written) => written.value.as_ref(),
            None => self.objects.get(name),
        }
    }

    fn current(&self) -> BTreeMap<&String, &V> {
        let mut current: BTreeMap<&String, &V> = self.objects.iter().collect();
        for (name, written) in self.written.iter().filter(|(_, written)| written.stands()) {
            match &written.value {
                Some(value) => current.insert(name, value),
                None => current.remove(name),
            };
        }
        current
    }

    /// The watch shows this version of an object: a write of the controller that it was made by, or that is older, stands no more.
    fn shown(&mut self, object: &Watched<V>) {
        self.written.retain(|name, written| {
            let is_it = *name == object.name && written.version.as_ref() == Some(&object.version);
            !is_it && written.stands()
        });
        if self.recent.len() == RECENT_VERSIONS {
            self.recent.pop_front();
        }
        self.recent.push_back(object.version.clone());
    }
}

impl<V> OwnWrite<V> {
    fn stands(&self) -> bool {
        self.at.elapsed() < SHOWN_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, version: &str, value: u32) -> Watched<u32> {
        Watched { name: name.to_owned(), version: version.to_owned(), value: Some(value) }
    }

    /// Values below 100 are urgent.
    fn send(store: &Store<u32>, event: Event<Watched<u32>>) -> Option<Urgency> {
        store.event(event, |_, after| match after {
            Some(100..) => Urgency::Soon,
            _ => Urgency::Now,
        })
    }

    fn listed(objects: &[(&str, &str, u32)]) -> Store<u32> {
        let store = Store::new("list things");
        assert_eq!(send(&store, Event::Init), None);
        for (name, version, value) in objects {
            send(&store, Event::InitApply(object(name, version, *value)));
        }
        assert_eq!(send(&store, Event::InitDone), Some(Urgency::Now));
        store
    }

    fn known(store: &Store<u32>) -> Vec<u32> {
        match store.list() {
            Some(Read::Known(values)) => values,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_store_without_a_complete_list_returns_nothing() {
        let store = Store::new("list things");
        assert_eq!((store.list(), *store.responded().borrow()), (None, false));
        send(&store, Event::Init);
        send(&store, Event::InitApply(object("a", "1", 1)));
        assert_eq!(store.list(), None);
        send(&store, Event::InitDone);
        assert_eq!((known(&store), *store.responded().borrow()), (vec![1], true));
        assert!(store.missing() && !store.missing());
        assert_eq!(store.list(), Some(Read::KindMissing));
        assert!(store.unavailable());
        assert_eq!(store.get("a"), None);
    }

    #[test]
    fn only_a_changed_value_is_news() {
        let store = listed(&[("a", "1", 1)]);
        assert_eq!(send(&store, Event::Apply(object("a", "2", 1))), None);
        assert_eq!(send(&store, Event::Apply(object("a", "3", 2))), Some(Urgency::Now));
        assert_eq!(send(&store, Event::Apply(object("a", "4", 100))), Some(Urgency::Soon));
        assert_eq!(send(&store, Event::Delete(object("b", "5", 1))), None);
        assert_eq!(send(&store, Event::Delete(object("a", "6", 1))), Some(Urgency::Now));
    }

    #[test]
    fn a_list_replaces_everything_at_once() {
        let store = listed(&[("a", "1", 1), ("b", "2", 2)]);
        send(&store, Event::Init);
        send(&store, Event::InitApply(object("b", "7", 200)));
        assert_eq!(known(&store), [1, 2], "the list is not complete");
        assert_eq!(send(&store, Event::InitDone), Some(Urgency::Now), "one is gone");
        assert_eq!(known(&store), [200]);
        send(&store, Event::Init);
        send(&store, Event::InitApply(object("b", "7", 200)));
        assert_eq!(send(&store, Event::InitDone), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_stands_until_the_watch_shows_it_and_its_echo_is_no_news() {
        let store = listed(&[("a", "1", 1)]);
        store.written(object("a", "5", 5));
        assert_eq!(known(&store), [5]);
        assert_eq!(send(&store, Event::Apply(object("a", "3", 3))), None, "that is older");
        assert_eq!(known(&store), [5]);
        assert_eq!(send(&store, Event::Apply(object("a", "5", 5))), None);
        assert_eq!(send(&store, Event::Apply(object("a", "6", 6))), Some(Urgency::Now));
        store.written(object("a", "5", 5));
        assert_eq!(known(&store), [6], "the watch has shown that, and what came later");
        // One that the watch never shows.
        store.written(object("a", "8", 8));
        store.written(object("b", "9", 9));
        tokio::time::advance(SHOWN_WITHIN).await;
        assert_eq!(known(&store), [6]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deletion_stands_until_the_watch_shows_it() {
        let store = listed(&[("a", "1", 1)]);
        store.deleted("a");
        store.deleted("b");
        assert_eq!(known(&store), [0; 0]);
        assert_eq!(send(&store, Event::Delete(object("a", "2", 1))), None);
        assert_eq!(send(&store, Event::Apply(object("a", "3", 3))), Some(Urgency::Now), "it was created again");
    }

    #[test]
    fn a_store_with_too_many_objects_fails_until_a_list_has_fewer() {
        let store = listed(&[]);
        let one = |number: usize| object(&number.to_string(), &number.to_string(), 1);
        let applied = (0..MOST_OBJECTS).filter_map(|number| send(&store, Event::Apply(one(number))));
        assert_eq!((applied.count(), known(&store).len(), store.is_full()), (MOST_OBJECTS, MOST_OBJECTS, false));
        assert_eq!(send(&store, Event::Apply(one(MOST_OBJECTS))), Some(Urgency::Now));
        let failed = |store: &Store<u32>| match (store.list(), store.get("1")) {
            (Some(Read::Failed(failure)), Some(Read::Failed(same))) if failure == same => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!((failed(&store).what.as_str(), failed(&store).forbidden), ("list things", false));
        assert!(failed(&store).message.contains("more than 500"), "{}", failed(&store).message);
        let list = |count: usize| {
            send(&store, Event::Init);
            let news = (0..count).filter_map(|number| send(&store, Event::InitApply(one(number)))).collect::<Vec<_>>();
            (news, store.is_full())
        };
        assert_eq!(list(MOST_OBJECTS + 1), (vec![], true), "it is known that there are too many");
        assert_eq!(list(MOST_OBJECTS), (vec![], true), "the list is not complete");
        assert_eq!(send(&store, Event::InitDone), Some(Urgency::Now));
        assert_eq!((known(&store).len(), store.is_full()), (MOST_OBJECTS, false));
        assert_eq!(list(MOST_OBJECTS + 1), (vec![Urgency::Now], true));
    }
}
