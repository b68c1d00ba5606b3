//! Operator versions that can have no ImageSet in this cluster: they reject every set, or the Installation itself. Nothing is stored
//! for them.

use std::collections::BTreeSet;

use crate::catalogue::required::condition::RuleCondition;
use crate::model::{Feature, Finding, GoalState, InstallationSettings, ObjectRef, OperatorImages, Reason, Snapshot};
use crate::rules::image_set::outcome::SetOutcome;
use crate::rules::image_set::stored_sets::parse_entries;

/// Returns why a version can have no ImageSet. While the objects of the cluster cannot be read, only the Installation counts.
pub(crate) fn why_no_set(
    snapshot: &Snapshot,
    installation: &InstallationSettings,
    images: &OperatorImages,
) -> Option<NoSet> {
    NoSet::find(installation, &snapshot.cluster_features().unwrap_or_default(), images)
}

fn own(images: &OperatorImages) -> String {
    images.own_image().image_name().map(|name| name.to_string()).unwrap_or_default()
}

/// Why a version can have no ImageSet.
pub(crate) struct NoSet {
    pub condition: RuleCondition,
    /// The cause, in a sentence without a period.
    pub why: String,
}

impl NoSet {
    /// Returns why a version can have no ImageSet for this Installation, in a cluster with these features.
    pub fn find(
        installation: &InstallationSettings,
        features: &BTreeSet<Feature>,
        images: &OperatorImages,
    ) -> Option<Self> {
        let condition = images.no_set(installation, features)?;
        let release = images.release();
        let why = match condition {
            RuleCondition::Fips => format!("operator {release} rejects an Installation with fipsMode: Enabled"),
            RuleCondition::OpenShiftOnAws => {
                format!(
                    "on OpenShift on AWS, operator {release} requires {} and rejects a set that lists it",
                    own(images)
                )
            }
            other => {
                let label = other.label();
                format!("with {label}, operator {release} requires images that it rejects in a set")
            }
        };
        Some(Self { condition, why })
    }

    /// Whether stored sets stop the operator. Where it rejects the Installation, it stops with or without sets.
    pub fn stops_at_sets(&self) -> bool {
        self.condition != RuleCondition::Fips
    }

    /// Returns the outcome of planning the set: it is held, and one that is stored already stays.
    pub fn outcome(&self, snapshot: &Snapshot, name: &str) -> SetOutcome {
        let stored = snapshot.image_sets.known().into_iter().flatten().find(|set| set.name == name);
        let message = format!("{}: no ImageSet is stored for it", self.why);
        let findings = vec![Finding::new(Reason::ImageSetImpossible, ObjectRef::image_set(name), message)];
        SetOutcome { findings, ..SetOutcome::in_state(GoalState::Held, stored.and_then(parse_entries)) }
    }
}
