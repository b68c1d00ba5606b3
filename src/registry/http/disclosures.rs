//! Hosts that received a credential, or a token that was derived from one, since the process began. Their responses may contain it
//! in any form from then on.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Maximum number of hosts that are remembered. Beyond it every host counts.
const MAX_HOSTS: usize = 256;

/// The hosts that received a credential or a token.
#[derive(Default)]
pub(crate) struct Disclosures(Mutex<Disclosed>);

#[derive(Default)]
struct Disclosed {
    hosts: HashSet<String>,
    /// There were more than are remembered.
    every_host: bool,
}

impl Disclosures {
    pub(crate) fn note(&self, host: &str) {
        let mut disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if disclosed.every_host || disclosed.hosts.contains(host) {
            return;
        }
        if disclosed.hosts.len() >= MAX_HOSTS {
            disclosed.every_host = true;
            disclosed.hosts.clear();
            return;
        }
        disclosed.hosts.insert(host.to_owned());
    }

    /// Whether this host received one.
    pub(crate) fn includes(&self, host: &str) -> bool {
        let disclosed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        disclosed.every_host || disclosed.hosts.contains(host)
    }
}
