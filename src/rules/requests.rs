//! Requests by annotation: to stage a version until a given time, and to check everything now. The spec belongs to Git, so
//! pipelines and people on call use annotations.

use jiff::Timestamp;

use crate::model::{Decision, LookupResult, Outcome, PrepareRequest, PrepareVersion, Snapshot};

impl Snapshot {
    /// Returns all versions to stage: those of the policy, then those with an active request.
    #[must_use]
    pub fn to_prepare(&self) -> Vec<PrepareVersion> {
        let mut versions = self.settings.prepare.clone();
        for requested in self.active_requests() {
            if !versions.contains(&requested.version) {
                versions.push(requested.version.clone());
            }
        }
        versions
    }

    /// Returns until when an annotation requests this version.
    #[must_use]
    pub fn requested_until(&self, version: &PrepareVersion) -> Option<Timestamp> {
        self.active_requests().filter(|requested| requested.version == *version).map(|requested| requested.until).max()
    }

    /// Whether everything is to be checked again, because the annotation has a new value.
    #[must_use]
    pub fn refresh_due(&self) -> bool {
        self.refresh.is_some() && self.refresh != self.remembered.handled_refresh
    }

    fn active_requests(&self) -> impl Iterator<Item = &PrepareRequest> {
        self.settings.requested.iter().filter(|requested| requested.until > self.observed_at)
    }

    /// Returns when the next request ends, which no watch event announces.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.active_requests().map(|requested| requested.until).min()
    }
}

/// Returns the refresh that this reconcile has handled: everything that holds up a write could be read, everything was checked,
/// no lookup is pending, and no write met a conflict, after which the next reconcile reads and checks again.
pub(crate) fn handled_refresh(snapshot: &Snapshot, decision: &Decision, outcome: &Outcome) -> Option<String> {
    let results = &snapshot.lookup_results;
    let pending = results.images.values().any(|result| matches!(result, LookupResult::Pending))
        || results.operators.values().any(|result| matches!(result, LookupResult::Pending))
        || results.releases.values().any(|result| matches!(result, LookupResult::Pending));
    let conflict = outcome.failure.as_ref().is_some_and(|failure| failure.conflict);
    let unread = decision.inputs_unreadable || decision.waits_for_a_read();
    let checked = !unread && !pending && !conflict && decision.lookups.is_empty();
    let done = snapshot.refresh_due() && checked;
    snapshot.refresh.clone().filter(|_| done)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::{ActionFailure, Finding, ObjectRef, Reason, Reference, Subject};

    /// What comes late is part of the check: the refresh is handled when the registries have answered and the results are stored.
    #[test]
    fn a_refresh_is_handled_when_no_lookup_is_pending_and_no_write_met_a_conflict() {
        let image: Reference = "reg.example/calico/node:v3.31.7".parse().unwrap();
        let mut snapshot = Snapshot { refresh: Some("now".to_owned()), ..Snapshot::default() };
        let decision = Decision::default();
        let handled =
            |snapshot: &Snapshot, decision: &Decision| handled_refresh(snapshot, decision, &Outcome::default());
        assert_eq!(handled(&snapshot, &decision).as_deref(), Some("now"));
        snapshot.lookup_results.images.insert(image.clone(), LookupResult::Pending);
        assert_eq!(handled(&snapshot, &decision), None);
        snapshot.lookup_results.images.clear();
        let mut looking_up = Decision::default();
        looking_up.lookups.images.insert(image);
        assert_eq!(handled(&snapshot, &looking_up), None);
        assert_eq!(handled(&snapshot, &Decision { inputs_unreadable: true, ..Decision::default() }), None);
        let failure = |conflict| ActionFailure {
            conflict,
            not_managed: false,
            object: ObjectRef::image_set("calico-v3.31.7"),
            message: String::new(),
        };
        let outcome = |conflict| Outcome { failure: Some(failure(conflict)), ..Outcome::default() };
        assert_eq!(handled_refresh(&snapshot, &decision, &outcome(true)), None);
        assert_eq!(handled_refresh(&snapshot, &decision, &outcome(false)).as_deref(), Some("now"));
        let finding =
            Finding::new(Reason::ReadFailed, Subject::from(ObjectRef::image_set("calico-v3.31.7")), "list nodes: 500");
        assert_eq!(handled(&snapshot, &Decision { findings: vec![finding], ..Decision::default() }), None);
        snapshot.remembered.handled_refresh = Some("now".to_owned());
        assert_eq!(handled(&snapshot, &decision), None);
    }
}
