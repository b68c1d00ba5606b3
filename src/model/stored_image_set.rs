//! ImageSets as the cluster stores them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An ImageSet of the cluster, managed or unmanaged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredImageSet {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.resourceVersion`, which every write of the controller carries.
    pub resource_version: String,
    /// Whether the set has the controller's label.
    #[serde(rename = "ours")]
    pub managed: bool,
    /// What the set was made from (annotations), if it is managed.
    pub origin: Option<crate::model::image_set::Origin>,
    /// The entries as stored, unparsed: an unmanaged set may hold anything.
    pub images: Vec<StoredImage>,
    /// Field manager of the last write, to show who owns the set.
    pub manager: Option<String>,
    /// When that write was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// The tool that applies the set and will put its content back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_by: Option<AppliedBy>,
}

/// A tool that applies an object again and again, by the labels and annotations that it leaves there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AppliedBy {
    /// The addon manager of a cluster.
    AddonManager,
    /// Argo CD.
    ArgoCd,
    /// Flux.
    Flux,
    /// Helm.
    Helm,
    /// `kubectl apply`, by hand or in a pipeline.
    Kubectl,
}

impl AppliedBy {
    /// Returns the tool, and how the set is taken out of it.
    #[must_use]
    pub const fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::AddonManager => (
                "the cluster's addon manager",
                "take its file out of the addons, and the label addonmanager.kubernetes.io/mode off",
            ),
            Self::ArgoCd => {
                ("Argo CD", "take it out of the Application, with argocd.argoproj.io/sync-options: Prune=false")
            }
            Self::Flux => {
                ("Flux", "take it out of the Kustomization, with kustomize.toolkit.fluxcd.io/prune: disabled")
            }
            Self::Helm => ("Helm", "take it out of the chart, with helm.sh/resource-policy: keep"),
            Self::Kubectl => ("kubectl apply", "take its file out of whatever applies it"),
        }
    }
}

impl StoredImageSet {
    /// Returns who wrote the set last, for messages.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.manager.as_deref().unwrap_or("somebody else")
    }
}

/// An entry of a stored ImageSet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredImage {
    /// Name of the image.
    pub image: String,
    /// Pinned digest.
    pub digest: String,
}
