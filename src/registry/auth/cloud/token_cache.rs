//! Issued credentials, kept in memory until shortly before they expire. One fetch serves everybody who waits; while a credential is
//! still valid, it is used by all others during its replacement, and after a failed one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::issued::Issued;
use crate::model::{CloudProvider, Retry};
use crate::registry::error::{RegistryError, Result};

/// How long before its end a credential is replaced, at most; at most a quarter of its lifetime. Metadata services of Google Cloud
/// serve a new token in the last five minutes of the old one only.
const MARGIN: Duration = Duration::from_secs(4 * 60);
/// How long after a failed fetch nobody tries again, unless the cloud asks for more.
const PAUSE: Duration = Duration::from_secs(5);
/// The same while the old credential is valid.
const PAUSE_WHILE_VALID: Duration = Duration::from_secs(30);
/// How old a credential that a registry rejected must be to be dropped; a new one would be no better.
const REPLACED_AFTER: Duration = Duration::from_secs(60);
/// Maximum number of credentials that are kept.
const MAX_ENTRIES: usize = 32;

/// What a credential was issued for: the provider, and the service that issued it.
pub(crate) type TokenKey = (CloudProvider, String);

/// See the module.
#[derive(Default)]
pub(crate) struct TokenCache {
    entries: Mutex<HashMap<TokenKey, Arc<Entry>>>,
}

#[derive(Default)]
struct Entry {
    /// Held while a credential is fetched.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    issued: Option<Kept>,
    failed: Option<(RegistryError, Instant)>,
}

#[derive(Clone)]
struct Kept {
    issued: Issued,
    since: Instant,
    due: Instant,
    until: Instant,
}

impl TokenCache {
    /// Returns a credential that needs no fetch.
    pub(crate) fn fresh(&self, key: &TokenKey) -> Option<Issued> {
        self.entry(key).known().fresh()
    }

    /// Returns the credential for a key: the kept one, or what `fetch` returns, which runs at most once at a time.
    pub(crate) async fn get(&self, key: &TokenKey, fetch: impl Future<Output = Result<Issued>>) -> Result<Issued> {
        let entry = self.entry(key);
        let valid = {
            let known = entry.known();
            if let Some(fresh) = known.fresh() {
                return Ok(fresh);
            }
            known.valid()
        };
        let _turn = match (valid, entry.turn.try_lock()) {
            (_, Ok(turn)) => turn,
            (Some(valid), Err(_)) => return Ok(valid),
            (None, Err(_)) => entry.turn.lock().await,
        };
        // Somebody else may have had the turn before.
        if let Some(outcome) = entry.known().outcome() {
            return outcome;
        }
        let outcome = fetch.await;
        entry.known().keep(outcome)
    }

    /// Drops a credential that a registry rejected, unless it is new: it may have been revoked.
    pub(crate) fn note_rejected(&self, key: &TokenKey) {
        let entry = self.entry(key);
        let mut known = entry.known();
        known.issued.take_if(|kept| kept.since.elapsed() > REPLACED_AFTER);
    }

    fn entry(&self, key: &TokenKey) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(key) {
            entries.clear();
        }
        Arc::clone(entries.entry(key.clone()).or_default())
    }
}

impl Entry {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn fresh(&self) -> Option<Issued> {
        self.issued.as_ref().filter(|kept| Instant::now() < kept.due).map(|kept| kept.issued.clone())
    }

    fn valid(&self) -> Option<Issued> {
        self.issued.as_ref().filter(|kept| Instant::now() < kept.until).map(|kept| kept.issued.clone())
    }

    /// Returns what needs no fetch now: a fresh credential, or, shortly after a failed fetch, the old one or the failure.
    fn outcome(&self) -> Option<Result<Issued>> {
        if let Some(fresh) = self.fresh() {
            return Some(Ok(fresh));
        }
        let (error, _) = self.failed.as_ref().filter(|(_, again)| Instant::now() < *again)?;
        Some(self.valid().ok_or_else(|| error.clone()))
    }

    /// Keeps the outcome of a fetch. Returns the old credential in the place of a failure while it is valid.
    fn keep(&mut self, outcome: Result<Issued>) -> Result<Issued> {
        let now = Instant::now();
        match outcome {
            Ok(issued) => {
                let (until, margin) = (now + issued.lifetime, MARGIN.min(issued.lifetime / 4));
                self.failed = None;
                self.issued = Some(Kept { issued: issued.clone(), since: now, due: until - margin, until });
                Ok(issued)
            }
            Err(error) => {
                let valid = self.valid();
                let least = if valid.is_some() { PAUSE_WHILE_VALID } else { PAUSE };
                let pause = match error.kind.retry() {
                    Retry::After(wait) => wait.max(least),
                    Retry::Backoff | Retry::WhenChanged => least,
                };
                self.failed = Some((error.clone(), now + pause));
                valid.ok_or(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::registry::auth::cloud::issued::{Identity, missing};
    use crate::registry::auth::credentials::{Credential, Secret};

    fn issued(name: &str, seconds: u64) -> Issued {
        let credential = Credential::RegistryToken(Secret::new(name.to_owned()));
        Issued { credential, identity: Identity::new("me"), lifetime: Duration::from_secs(seconds) }
    }

    fn name(issued: &Issued) -> &str {
        match &issued.credential {
            Credential::RegistryToken(name) => name.expose(),
            _ => "",
        }
    }

    fn key() -> TokenKey {
        (CloudProvider::Aws, "api".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_replaced_before_it_expires() {
        let cache = TokenCache::default();
        let get = async |next: &str| {
            cache.get(&key(), async { Ok(issued(next, 3600)) }).await.map(|got| name(&got).to_owned())
        };
        assert_eq!(get("first").await, Ok("first".to_owned()));
        tokio::time::advance(Duration::from_secs(3600 - 241)).await;
        assert_eq!(get("second").await, Ok("first".to_owned()));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(get("third").await, Ok("third".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_old_one_serves_while_a_new_one_is_fetched_and_after_a_failure() {
        let cache = TokenCache::default();
        cache.get(&key(), async { Ok(issued("old", 400)) }).await.unwrap();
        tokio::time::advance(Duration::from_secs(320)).await;
        // One fetches, another one does not wait for it.
        let key = key();
        let (first, second) = futures::join!(
            cache.get(&key, async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Err(missing("gone"))
            }),
            cache.get(&key, async { Ok(issued("never", 400)) }),
        );
        assert_eq!((name(&first.unwrap()), name(&second.unwrap())), ("old", "old"));
        // Within the pause nobody asks; after the end of the old one the failure is told, and after the pause it is tried again.
        assert_eq!(name(&cache.get(&key, async { Ok(issued("early", 400)) }).await.unwrap()), "old");
        tokio::time::advance(Duration::from_secs(75)).await;
        assert!(cache.get(&key, async { Err(missing("gone")) }).await.is_err());
        assert!(cache.get(&key, async { Ok(issued("early", 400)) }).await.is_err());
        tokio::time::advance(PAUSE).await;
        assert_eq!(name(&cache.get(&key, async { Ok(issued("new", 400)) }).await.unwrap()), "new");
    }

    #[tokio::test(start_paused = true)]
    async fn one_fetch_serves_all_who_wait() {
        let (cache, fetched) = (TokenCache::default(), AtomicUsize::new(0));
        let key = key();
        let waiting = (0..30).map(|_| {
            let (cache, fetched) = (&cache, &fetched);
            let key = &key;
            async move {
                cache
                    .get(key, async {
                        fetched.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        Ok(issued("one", 3600))
                    })
                    .await
            }
        });
        let all = futures::future::join_all(waiting).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(fetched.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_credential_is_dropped_once_it_is_old() {
        let cache = TokenCache::default();
        cache.get(&key(), async { Ok(issued("first", 3600)) }).await.unwrap();
        cache.note_rejected(&key());
        assert!(cache.fresh(&key()).is_some(), "a new one would be no better");
        tokio::time::advance(Duration::from_secs(61)).await;
        cache.note_rejected(&key());
        assert!(cache.fresh(&key()).is_none());
    }
}
