//! What was asked for beside the spec, by annotations: to stage a version until some time, and to check everything now. Pure.
//! The spec belongs to Git; a pipeline and a person on call ask like this.

use jiff::Timestamp;

use crate::model::decision::Decision;
use crate::model::lookups::Answer;
use crate::model::settings::{PrepareVersion, Requested};
use crate::model::snapshot::Snapshot;

impl Snapshot {
    /// All versions to stage: those of the policy, then those that are asked for and whose time is not over.
    #[must_use]
    pub fn to_prepare(&self) -> Vec<PrepareVersion> {
        let mut versions = self.settings.prepare.clone();
        for requested in self.standing() {
            if !versions.contains(&requested.version) {
                versions.push(requested.version.clone());
            }
        }
        versions
    }

    /// Until when this version is asked for.
    #[must_use]
    pub fn requested_until(&self, version: &PrepareVersion) -> Option<Timestamp> {
        self.standing().filter(|requested| requested.version == *version).map(|requested| requested.until).max()
    }

    /// Whether everything is to be checked once more, because a new value of the annotation asks for it.
    #[must_use]
    pub fn refresh_due(&self) -> bool {
        self.refresh.is_some() && self.refresh != self.remembered.handled_refresh
    }

    fn standing(&self) -> impl Iterator<Item = &Requested> {
        self.settings.requested.iter().filter(|requested| requested.until > self.observed_at)
    }

    /// When the next request is over, which nothing in the cluster tells.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.standing().map(|requested| requested.until).min()
    }
}

/// The refresh that this pass has handled: everything was looked at, and every registry that was asked has answered.
pub(crate) fn handled_refresh(snapshot: &Snapshot, decision: &Decision) -> Option<String> {
    let answers = &snapshot.answers;
    let pending = answers.images.values().any(|answer| matches!(answer, Answer::Pending))
        || answers.operators.values().any(|answer| matches!(answer, Answer::Pending))
        || answers.releases.values().any(|answer| matches!(answer, Answer::Pending));
    let done = snapshot.refresh_due() && !decision.blind && !pending && decision.questions.is_empty();
    snapshot.refresh.clone().filter(|_| done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A registry that answers late is part of the check: it is handled when the answer is there.
    #[test]
    fn a_refresh_is_handled_when_nobody_is_waited_for() {
        let image: crate::model::reference::Reference = "reg.example/calico/node:v3.31.7".parse().unwrap();
        let mut snapshot = Snapshot { refresh: Some("now".to_owned()), ..Snapshot::default() };
        let decision = Decision::default();
        assert_eq!(handled_refresh(&snapshot, &decision).as_deref(), Some("now"));
        snapshot.answers.images.insert(image.clone(), Answer::Pending);
        assert_eq!(handled_refresh(&snapshot, &decision), None);
        snapshot.answers.images.clear();
        let mut asking = Decision::default();
        asking.questions.images.insert(image);
        assert_eq!(handled_refresh(&snapshot, &asking), None);
        assert_eq!(handled_refresh(&snapshot, &Decision { blind: true, ..Decision::default() }), None);
        snapshot.remembered.handled_refresh = Some("now".to_owned());
        assert_eq!(handled_refresh(&snapshot, &decision), None);
    }
}
