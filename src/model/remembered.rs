//! What the status of the policy remembers of earlier reconciles.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::discovery::Discovery;
use crate::model::finding::Finding;
use crate::model::release::Release;
use crate::model::retained::Retained;
use crate::model::swap::Swap;

/// What survives a pass, from the policy's status: facts about the past that nothing else in the cluster tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Remembered {
    /// Image of the operator pod that was Ready last.
    pub running_image: Option<String>,
    /// Version of the operator pod that was Ready last.
    pub running_version: Option<String>,
    /// Image that the Deployment's template had last.
    pub target_image: Option<String>,
    /// Version that the Deployment's template, or a first install, aimed at last.
    pub target_version: Option<String>,
    /// ImageSet that was reported as current.
    pub current_image_set: Option<String>,
    /// When all digests of the current set were last compared with the registry.
    pub last_verified: Option<Timestamp>,
    /// Operator images by tag and digest, as the status told them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned_operators: Vec<String>,
    /// What the gate admits; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_images: Option<Vec<String>>,
    /// Sets of previous versions, the one used last in front.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retained: Vec<Retained>,
    /// What the last look for newer releases found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// What was told last: what a check against the registry found holds until the next one, and what is told again is no news.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The value of the refresh annotation that was acted upon last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handled_refresh: Option<String>,
    /// The last swap of a content for another under one name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_swap: Option<Swap>,
    /// Since when every workload has run the current set, if they did at the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted_since: Option<Timestamp>,
    /// The conditions as they stand, for telling what is new.
    pub conditions: Vec<crate::model::condition::Condition>,
}

impl Remembered {
    /// The version of this image, if it ran or was to run.
    #[must_use]
    pub fn version_of(&self, image: &str) -> Option<Release> {
        let pairs = [(&self.running_image, &self.running_version), (&self.target_image, &self.target_version)];
        let known = pairs.into_iter().find(|(known, _)| known.as_deref() == Some(image));
        known.and_then(|(_, version)| version.as_ref()).and_then(|version| version.parse().ok())
    }
}
