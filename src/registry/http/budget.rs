//! The memory that responses may use at one time: bytes of bodies over all registries, a fair share of them for each registry, and
//! requests under way. A request beyond it waits, within the deadline of its image.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Maximum number of registries in use at a time. Printed image lists name at most as many
/// ([`crate::model::operator_images::MOST_REGISTRIES`]), so that those of one list never wait for each other.
pub(crate) const MAX_REGISTRIES: usize = 8;
/// Size up to which a body counts as small, in bytes. Real manifests and configurations have a few KiB. The longer bodies of one
/// registry take turns.
const SMALL_BODY: usize = 32 * 1024;
/// Total size of the small bodies of one registry, in bytes.
const SMALL_SHARE: usize = 1024 * 1024;
/// Total size of the long bodies of all registries, in bytes: one of the longest, or several that announce their length.
const LONG_BODIES: usize = 8 * 1024 * 1024;
/// Time for a long body to arrive once it has its turn. Shorter than an image's deadline, so that no registry delays the long bodies
/// of others for as long.
const LONG_BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Maximum number of requests under way at one registry.
const MAX_REQUESTS: usize = 64;
/// Maximum number of hosts that one registry may lead to by redirects and token realms, within the time that connections are kept.
/// Docker Hub and Quay have up to four each.
const MAX_LED_TO: usize = 8;
/// How long an idle connection is kept.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// Size of one permit, in bytes.
const UNIT: usize = 1024;

/// The budget of all registries together.
pub(crate) struct Budget {
    small: Semaphore,
    long: Semaphore,
}

/// The budget of one registry.
pub(crate) struct RegistryBudget {
    small: Semaphore,
    /// Held while one long body is read.
    long: Semaphore,
    requests: Semaphore,
    led_to: Mutex<HashMap<String, Instant>>,
}

/// The memory that is reserved for one body until it is dropped.
pub(crate) struct Reservation<'a> {
    /// In bytes.
    pub bytes: usize,
    /// When a long body must have arrived.
    pub until: Option<Instant>,
    _permits: Vec<SemaphorePermit<'a>>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { small: of_bytes(MAX_REGISTRIES * SMALL_SHARE), long: of_bytes(LONG_BODIES) }
    }
}

impl Default for RegistryBudget {
    fn default() -> Self {
        Self {
            small: of_bytes(SMALL_SHARE),
            long: Semaphore::new(1),
            requests: Semaphore::new(MAX_REQUESTS),
            led_to: Mutex::default(),
        }
    }
}

impl RegistryBudget {
    /// Waits until another request may be sent to this registry.
    pub(crate) async fn request(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.requests.acquire().await.ok()
    }

    /// Notes that the registry leads to this host. Returns whether it may: not if it named too many others lately.
    pub(crate) fn may_lead_to(&self, origin: String) -> bool {
        let now = Instant::now();
        let mut led_to = self.led_to.lock().unwrap_or_else(PoisonError::into_inner);
        led_to.retain(|_, last| now.saturating_duration_since(*last) < IDLE);
        if led_to.len() >= MAX_LED_TO && !led_to.contains_key(&origin) {
            return false;
        }
        led_to.insert(origin, now);
        true
    }
}

impl Budget {
    /// Reserves memory for a body of this announced length, or for the beginning of one of unknown length.
    pub(crate) async fn reserve<'a>(
        &'a self,
        registry: &'a RegistryBudget,
        announced: Option<usize>,
        limit: usize,
    ) -> Reservation<'a> {
        let bytes = announced.unwrap_or(SMALL_BODY).min(limit);
        if bytes > SMALL_BODY {
            return self.reserve_long(registry, bytes).await;
        }
        let own = registry.small.acquire_many(units(bytes)).await;
        let all = self.small.acquire_many(units(bytes)).await;
        Reservation { bytes, until: None, _permits: own.into_iter().chain(all).collect() }
    }

    /// Reserves memory for a long body.
    pub(crate) async fn reserve_long<'a>(&'a self, registry: &'a RegistryBudget, bytes: usize) -> Reservation<'a> {
        // The registry's own turn first: only one body of each registry waits for those of others.
        let own = registry.long.acquire().await;
        let all = self.long.acquire_many(units(bytes.min(LONG_BODIES))).await;
        let until = Some(Instant::now() + LONG_BODY_DEADLINE);
        Reservation { bytes, until, _permits: own.into_iter().chain(all).collect() }
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

    /// Reserves until it would have to wait.
    fn reservations<'a>(
        budget: &'a Budget,
        registry: &'a RegistryBudget,
        bytes: Option<usize>,
    ) -> Vec<Reservation<'a>> {
        std::iter::from_fn(|| budget.reserve(registry, bytes, LONG_BODIES).now_or_never()).take(10_000).collect()
    }

    #[test]
    fn each_registry_has_its_share_and_no_more() {
        let budget = Budget::default();
        let registries: Vec<RegistryBudget> = (0..=MAX_REGISTRIES).map(|_| RegistryBudget::default()).collect();
        let taken: Vec<Vec<Reservation<'_>>> =
            registries.iter().map(|registry| reservations(&budget, registry, None)).collect();
        let each = SMALL_SHARE / SMALL_BODY;
        assert!(taken[..MAX_REGISTRIES].iter().all(|taken| taken.len() == each), "none takes another's");
        assert!(taken[MAX_REGISTRIES].is_empty(), "all that there is");
        drop(taken);
        assert_eq!(
            reservations(&budget, &registries[0], Some(1024)).len(),
            SMALL_SHARE / 1024,
            "announced bodies take less"
        );
    }

    #[test]
    fn long_bodies_take_turns_over_all_registries() {
        let budget = Budget::default();
        let (one, other) = (RegistryBudget::default(), RegistryBudget::default());
        let longest = reservations(&budget, &one, Some(LONG_BODIES));
        assert_eq!(longest.len(), 1);
        assert!(reservations(&budget, &other, Some(SMALL_BODY + 1)).is_empty());
        drop(longest);
        let short = reservations(&budget, &one, Some(SMALL_BODY + 1));
        assert_eq!(
            (short.len(), reservations(&budget, &other, Some(LONG_BODIES / 2)).len()),
            (1, 1),
            "one of each registry"
        );
    }

    #[test]
    fn a_registry_leads_to_a_few_hosts_only() {
        let registry = RegistryBudget::default();
        let host = |number: usize| format!("https://{number}.example");
        assert!((0..MAX_LED_TO).all(|number| registry.may_lead_to(host(number))));
        assert!(registry.may_lead_to(host(0)) && !registry.may_lead_to(host(MAX_LED_TO)));
    }
}
