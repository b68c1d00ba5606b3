//! What registries may use of this process' memory at one time: bytes of bodies over all registries, a fair share of them
//! for each registry, and requests under way. Who finds no room waits, within the deadline that holds for its image.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The most registries that are asked at a time. Printed lists name at most as many
/// ([`crate::domain::operator_images::MOST_REGISTRIES`]), so that those of one list never wait for each other.
pub(super) const MOST_REGISTRIES: usize = 8;
/// What any body may take without being announced, in bytes. Real manifests and configurations have a few KiB; of longer
/// ones, those of one registry take turns.
pub(super) const SMALL_BODY: usize = 32 * 1024;
/// What small bodies of one registry may take together, in bytes.
const SMALL_SHARE: usize = 1024 * 1024;
/// What long bodies of all registries may take together, in bytes: one of the longest, or several that are announced.
const LONG_BODIES: usize = 8 * 1024 * 1024;
/// How long a body beyond [`SMALL_BODY`] may take to arrive once it has its turn. Shorter than an image's deadline: nobody
/// may hold up the long bodies of others for as long.
const LONG_BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Requests under way at one registry.
const MOST_REQUESTS: usize = 64;
/// The most hosts that one registry may lead to by redirects and token realms, within the time that connections are kept.
/// Docker Hub and Quay have up to four each.
const MOST_LED_TO: usize = 8;
/// How long a connection is kept that nobody uses.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// Permits are counted in KiB.
const UNIT: usize = 1024;

/// The room of all registries together.
pub(super) struct Budget {
    small: Semaphore,
    long: Semaphore,
}

/// The room of one registry.
pub(super) struct Share {
    small: Semaphore,
    /// Held while one body beyond [`SMALL_BODY`] is read.
    long: Semaphore,
    requests: Semaphore,
    led_to: Mutex<HashMap<String, Instant>>,
}

/// Room for one body; given back on drop.
pub(super) struct Room<'a> {
    /// How much may be read, in bytes.
    pub bytes: usize,
    /// Until when, for a long one.
    pub until: Option<Instant>,
    _permits: Vec<SemaphorePermit<'a>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { small: of_bytes(MOST_REGISTRIES * SMALL_SHARE), long: of_bytes(LONG_BODIES) }
    }
}

impl Default for Share {
    fn default() -> Self {
        Self {
            small: of_bytes(SMALL_SHARE),
            long: Semaphore::new(1),
            requests: Semaphore::new(MOST_REQUESTS),
            led_to: Mutex::default(),
        }
    }
}

impl Share {
    /// Waits until another request may be made of this registry.
    pub(super) async fn request(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes it.
        self.requests.acquire().await.ok()
    }

    /// Notes that the registry leads to this host. Whether it may: it has not named too many others lately.
    pub(super) fn may_lead_to(&self, origin: String) -> bool {
        let now = Instant::now();
        let mut led_to = self.led_to.lock().unwrap_or_else(PoisonError::into_inner);
        led_to.retain(|_, last| now.saturating_duration_since(*last) < IDLE);
        if led_to.len() >= MOST_LED_TO && !led_to.contains_key(&origin) {
            return false;
        }
        led_to.insert(origin, now);
        true
    }
}

impl Budget {
    /// Waits for room for a body of this announced length, or for the beginning of one whose length is not known.
    pub(super) async fn room<'a>(&'a self, share: &'a Share, announced: Option<usize>, limit: usize) -> Room<'a> {
        let bytes = announced.unwrap_or(SMALL_BODY).min(limit);
        if bytes > SMALL_BODY {
            return self.long_room(share, bytes).await;
        }
        let own = share.small.acquire_many(units(bytes)).await;
        let all = self.small.acquire_many(units(bytes)).await;
        Room { bytes, until: None, _permits: own.into_iter().chain(all).collect() }
    }

    /// Waits for room for a long body.
    pub(super) async fn long_room<'a>(&'a self, share: &'a Share, bytes: usize) -> Room<'a> {
        // The registry's own turn first: only one of it waits for all others.
        let own = share.long.acquire().await;
        let all = self.long.acquire_many(units(bytes.min(LONG_BODIES))).await;
        let until = Some(Instant::now() + LONG_BODY_DEADLINE);
        Room { bytes, until, _permits: own.into_iter().chain(all).collect() }
    }
}

fn of_bytes(bytes: usize) -> Semaphore {
    Semaphore::new(bytes / UNIT)
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// What is there at once, without waiting.
    fn rooms<'a>(budget: &'a Budget, share: &'a Share, bytes: Option<usize>) -> Vec<Room<'a>> {
        std::iter::from_fn(|| budget.room(share, bytes, LONG_BODIES).now_or_never()).take(10_000).collect()
    }

    #[test]
    fn a_registry_has_its_share_and_no_more() {
        let budget = Budget::default();
        let shares: Vec<Share> = (0..=MOST_REGISTRIES).map(|_| Share::default()).collect();
        let taken: Vec<Vec<Room<'_>>> = shares.iter().map(|share| rooms(&budget, share, None)).collect();
        let each = SMALL_SHARE / SMALL_BODY;
        assert!(taken[..MOST_REGISTRIES].iter().all(|rooms| rooms.len() == each), "none takes another's");
        assert!(taken[MOST_REGISTRIES].is_empty(), "all that there is");
        drop(taken);
        assert_eq!(rooms(&budget, &shares[0], Some(1024)).len(), SMALL_SHARE / 1024, "announced bodies take less");
    }

    #[test]
    fn long_bodies_take_turns_over_all_registries() {
        let budget = Budget::default();
        let (one, other) = (Share::default(), Share::default());
        let longest = rooms(&budget, &one, Some(LONG_BODIES));
        assert_eq!(longest.len(), 1);
        assert!(rooms(&budget, &other, Some(SMALL_BODY + 1)).is_empty());
        drop(longest);
        let short = rooms(&budget, &one, Some(SMALL_BODY + 1));
        assert_eq!((short.len(), rooms(&budget, &other, Some(LONG_BODIES / 2)).len()), (1, 1), "one of each registry");
    }

    #[test]
    fn a_registry_leads_to_a_few_hosts_only() {
        let share = Share::default();
        let host = |number: usize| format!("https://{number}.example");
        assert!((0..MOST_LED_TO).all(|number| share.may_lead_to(host(number))));
        assert!(share.may_lead_to(host(0)) && !share.may_lead_to(host(MOST_LED_TO)));
    }
}
