//! Discovery of newer operator versions to prepare: from the tags of the operator image's own repository, within the policy's
//! channel. Discovery never affects the sets of the running and the target version.

use std::collections::BTreeSet;

use crate::model::{
    Channel, Discovery, Finding, LookupResult, OperatorKnowledge, Reason, Reference, Release, Snapshot, Subject,
};

/// Maximum number of releases in the status; the newest are kept.
const MOST_REMEMBERED: usize = 16;

/// The result of discovery in one reconcile.
#[derive(Debug, Default)]
pub(crate) struct DiscoveryOutcome {
    /// Image whose repository's tags have to be listed.
    pub lookup: Option<Reference>,
    /// Why there is no new list.
    pub finding: Option<Finding>,
    /// The latest known list.
    pub known: Option<Discovery>,
    /// Versions to prepare, the oldest first.
    pub candidates: Vec<Release>,
}

/// Discovers newer versions, if the policy enables that.
pub(crate) fn discover(snapshot: &Snapshot, operator: &OperatorKnowledge) -> DiscoveryOutcome {
    let mut outcome = DiscoveryOutcome { known: snapshot.remembered.discovery.clone(), ..DiscoveryOutcome::default() };
    let Some(discover) = &snapshot.settings.discover else { return DiscoveryOutcome::default() };
    let Some(base) = operator.target.as_ref().or(operator.running.as_ref()) else { return outcome };
    let reference: Option<Reference> = base.image.as_deref().and_then(|image| image.parse().ok());
    // Another operator version has another list of newer ones.
    let moved = outcome.known.as_ref().is_some_and(|known| known.operator != base.release);
    if let Some(reference) = reference.filter(|_| snapshot.discovery_due || moved) {
        match snapshot.lookup_results.releases.get(&reference) {
            None => outcome.lookup = Some(reference),
            Some(LookupResult::Pending) => {}
            Some(LookupResult::Failed(failure)) => {
                let registry = Subject::registry(&failure.registry);
                outcome.finding = Some(Finding::new(Reason::DiscoveryFailed, registry, failure.summary()));
            }
            Some(LookupResult::Known(releases)) => {
                let newer = newest(releases, discover.channel, base.release, MOST_REMEMBERED);
                outcome.known = Some(Discovery {
                    checked_at: snapshot.observed_at,
                    operator: base.release,
                    releases: newer.into_iter().collect(),
                });
            }
        }
    }
    let known = outcome.known.iter().flat_map(|known| known.releases.iter().copied()).collect();
    outcome.candidates = newest(&known, discover.channel, base.release, discover.limit);
    outcome
}

/// Returns the newest releases after `base` that the channel includes, the oldest of them first.
fn newest(releases: &BTreeSet<Release>, channel: Channel, base: Release, limit: usize) -> Vec<Release> {
    let offered = |release: &&Release| match channel {
        Channel::Patch => release.series() == base.series(),
        Channel::Minor => release.major() == base.major(),
    };
    let newer = releases.range((std::ops::Bound::Excluded(base), std::ops::Bound::Unbounded));
    let mut newest: Vec<Release> = newer.rev().filter(offered).copied().take(limit).collect();
    newest.reverse();
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_includes_newer_releases_only() {
        let all = ["v1.38.5", "v1.38.6", "v1.38.6-1", "v1.38.10", "v1.39.0", "v1.42.4", "v2.0.0"];
        let all: BTreeSet<Release> = all.iter().map(|text| text.parse().unwrap()).collect();
        let offered = |channel, base: &str, limit| {
            let texts = newest(&all, channel, base.parse().unwrap(), limit);
            texts.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(offered(Channel::Patch, "v1.38.6", 2), ["v1.38.6-1", "v1.38.10"]);
        assert_eq!(offered(Channel::Patch, "v1.38.6", 1), ["v1.38.10"]);
        assert_eq!(offered(Channel::Minor, "v1.38.6", 2), ["v1.39.0", "v1.42.4"]);
        assert!(offered(Channel::Minor, "v1.42.4", 2).is_empty());
        assert!(offered(Channel::Patch, "v2.0.0", 2).is_empty());
    }
}
