//! The snapshot of a reconcile: everything that was observed, failures included. It is the one input of a decision. A snapshot
//! can be written to a file and read back, so that a bug report is a test scenario.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::cluster_feature::Feature;
use crate::model::condition_type::ConditionType;
use crate::model::finding::Finding;
use crate::model::gate::GateState;
use crate::model::inspection::Inspections;
use crate::model::installation::Installation;
use crate::model::lookups::LookupResults;
use crate::model::operator_deployment::{OperatorDeployment, OperatorPod};
use crate::model::platform::{Platform, UnknownNode};
use crate::model::pods::PodSummary;
use crate::model::read::{Read, ReadFailure};
use crate::model::record::Record;
use crate::model::remembered::PreviousStatus;
use crate::model::settings::{InstallationSettings, Settings};
use crate::model::stored_image_set::StoredImageSet;
use crate::model::tigera_status::ComponentStatus;
use crate::model::workload::Workload;

/// The observed state of the cluster and of its registries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// When the snapshot was taken.
    pub observed_at: Timestamp,
    /// `metadata.generation` of the policy.
    pub generation: i64,
    /// Parsed settings of the policy.
    pub settings: Settings,
    /// Findings about the policy: fields that are invalid or unsupported, and objects that it names and that cannot be used (a
    /// missing or malformed pull secret, a missing CA bundle).
    pub objections: Vec<Finding>,
    /// Value of the annotation that requests a check of all digests now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
    /// Status of the policy before this reconcile.
    pub remembered: PreviousStatus,
    /// The operator's Deployment; that it does not exist is a normal state.
    pub operator: Read<Option<OperatorDeployment>>,
    /// Pods of the Deployment.
    pub operator_pods: Read<Vec<OperatorPod>>,
    /// The effective Installation; that it does not exist is a normal state.
    pub installation: Read<Option<Installation>>,
    /// All ImageSets of the cluster.
    pub image_sets: Read<Vec<StoredImageSet>>,
    /// All TigeraStatus objects.
    pub component_statuses: Read<Vec<ComponentStatus>>,
    /// Objects that make the operator require further images. A kind that the cluster does not have has no objects.
    pub features: Read<BTreeSet<Feature>>,
    /// Number of nodes by platform.
    pub nodes: Read<BTreeMap<Platform, u32>>,
    /// The first names of the nodes that a set may leave without images: of Windows nodes, and of the one node of its platform.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_names: BTreeMap<Platform, Vec<String>>,
    /// Platforms that every image must have, whatever nodes there are. A person named them.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub required_platforms: BTreeSet<Platform>,
    /// Nodes on a platform for which no images are built: each is a warning and holds up nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_nodes: Vec<UnknownNode>,
    /// DaemonSets and Deployments that the operator manages.
    pub workloads: Read<Vec<Workload>>,
    /// Images that the pods in the operator's namespaces pull and run.
    pub pods: Read<PodSummary>,
    /// State of the admission gate.
    pub gate: Read<GateState>,
    /// Records of resolved images.
    pub records: Read<Vec<Record>>,
    /// Names of records that exist and are not used: damaged, or written by another field manager.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unusable_records: BTreeSet<String>,
    /// Stored inspections and inspection Jobs.
    pub inspections: Inspections,
    /// Results of lookups in registries.
    #[serde(rename = "answers")]
    pub lookup_results: LookupResults,
    /// Whether this reconcile compares the pinned digests with the registry.
    pub recheck_due: bool,
    /// Whether this reconcile looks for newer releases.
    pub discovery_due: bool,
    /// How often managed sets were restored in the last ten minutes, by name.
    #[serde(rename = "putBack")]
    pub restored: BTreeMap<String, u32>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            observed_at: Timestamp::UNIX_EPOCH,
            generation: 1,
            settings: Settings::default(),
            objections: Vec::new(),
            refresh: None,
            remembered: PreviousStatus::default(),
            operator: Read::default(),
            operator_pods: Read::default(),
            installation: Read::default(),
            image_sets: Read::default(),
            component_statuses: Read::default(),
            features: Read::default(),
            nodes: Read::default(),
            node_names: BTreeMap::new(),
            required_platforms: BTreeSet::new(),
            unknown_nodes: Vec::new(),
            workloads: Read::default(),
            pods: Read::default(),
            gate: Read::default(),
            records: Read::default(),
            unusable_records: BTreeSet::new(),
            inspections: Inspections::default(),
            lookup_results: LookupResults::default(),
            recheck_due: false,
            discovery_due: false,
            restored: BTreeMap::new(),
        }
    }
}

impl Snapshot {
    /// Returns the settings that decide the references: the Installation's, or those that the policy names where no Installation is
    /// known.
    #[must_use]
    pub fn effective_installation(&self) -> &InstallationSettings {
        match &self.installation {
            Read::Known(Some(installation)) => &installation.settings,
            Read::Known(None) | Read::KindMissing | Read::Failed(_) => &self.settings.installation,
        }
    }

    /// Returns the features of the cluster, its nodes included; `None` while the objects cannot be read.
    #[must_use]
    pub fn cluster_features(&self) -> Option<BTreeSet<Feature>> {
        let mut features = self.features.known()?.clone();
        let has_windows = |nodes: &BTreeMap<Platform, u32>| nodes.keys().any(Platform::is_windows);
        if self.nodes.known().is_none_or(has_windows) {
            features.insert(Feature::WindowsNodes);
        }
        Some(features)
    }

    /// Returns the failed read that a condition of this type depends on.
    pub(crate) fn failed_read_for(&self, concern: ConditionType) -> Option<&ReadFailure> {
        match concern {
            ConditionType::Drifted => self.image_sets.failure().or(self.installation.failure()),
            ConditionType::OperatorDegraded => self.component_statuses.failure(),
            ConditionType::ImagePullFailing => self.pods.failure(),
            _ => None,
        }
    }
}
