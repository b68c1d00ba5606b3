//! Facts that the status of the policy keeps from earlier reconciles.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::discovery::Discovery;
use crate::model::finding::Finding;
use crate::model::image_set_swap::Swap;
use crate::model::reference::is_same_image;
use crate::model::release::Release;
use crate::model::retained_set::Retained;

/// The previous status of the policy: facts about the past that no other object of the cluster holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviousStatus {
    /// Image of the operator pod that was Ready last.
    pub running_image: Option<String>,
    /// Version of the operator pod that was Ready last.
    pub running_version: Option<String>,
    /// Last image of the Deployment's template.
    pub target_image: Option<String>,
    /// Last version of the Deployment's template, or of a first install.
    pub target_version: Option<String>,
    /// Name of the ImageSet that was reported as current.
    pub current_image_set: Option<String>,
    /// When all digests of the current set were last compared with the registry.
    pub last_verified: Option<Timestamp>,
    /// Reported operator images, by tag and digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned_operators: Vec<String>,
    /// Images that the gate admits; `None` without a gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_images: Option<Vec<String>>,
    /// Kept sets of previous versions, the most recently used first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Retained>,
    /// Result of the last discovery of newer releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// Reported findings. The results of a check against the registry hold until the next check, and a known finding is not
    /// emitted as an event again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Value of the refresh annotation that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_refresh: Option<String>,
    /// Last swap of a set's content for that of another operator version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_swap: Option<Swap>,
    /// Since when every workload has run the current set, if every one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted_since: Option<Timestamp>,
    /// Reported conditions, to determine which are new.
    pub conditions: Vec<crate::model::condition::Condition>,
}

impl PreviousStatus {
    /// Returns the version of this image, if it was the running or the target one.
    #[must_use]
    pub fn version_of(&self, image: &str) -> Option<Release> {
        let pairs = [(&self.running_image, &self.running_version), (&self.target_image, &self.target_version)];
        let known =
            pairs.into_iter().find(|(known, _)| known.as_ref().is_some_and(|known| is_same_image(known, image)));
        known.and_then(|(_, version)| version.as_ref()).and_then(|version| version.parse().ok())
    }
}
