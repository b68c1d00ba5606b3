//! Everything that was observed, failures included: the one input of a decision. A snapshot can be written to a file
//! and read back, so that a bug report is a test scenario.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::feature::Feature;
use crate::model::finding::Finding;
use crate::model::gate::SeenGate;
use crate::model::inspection::Inspections;
use crate::model::installation::Installation;
use crate::model::lookups::Answers;
use crate::model::operator_deployment::{OperatorDeployment, OperatorPod};
use crate::model::platform::{Platform, UnknownNode};
use crate::model::pods::SeenPods;
use crate::model::read::{Read, ReadFailure};
use crate::model::reason::ConditionType;
use crate::model::record::Record;
use crate::model::remembered::Remembered;
use crate::model::settings::Settings;
use crate::model::stored_image_set::StoredImageSet;
use crate::model::tigera_status::ComponentStatus;
use crate::model::workload::Workload;

/// One look at the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// When it was taken.
    pub observed_at: Timestamp,
    /// `metadata.generation` of the policy.
    pub generation: i64,
    /// What the policy asks for.
    pub settings: Settings,
    /// What could not be parsed or is not supported in the policy, or was wrong with what it points to (a pull secret
    /// that is missing or malformed, a CA bundle that is not there).
    pub objections: Vec<Finding>,
    /// Value of the annotation that asks to check everything now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<String>,
    /// What the policy's own status said before this pass.
    pub remembered: Remembered,
    /// The operator Deployment; absent is a normal state.
    pub operator: Read<Option<OperatorDeployment>>,
    /// Its pods.
    pub operator_pods: Read<Vec<OperatorPod>>,
    /// The effective Installation; absent is a normal state.
    pub installation: Read<Option<Installation>>,
    /// All ImageSets of the cluster.
    pub image_sets: Read<Vec<StoredImageSet>>,
    /// All TigeraStatus objects.
    pub component_statuses: Read<Vec<ComponentStatus>>,
    /// Objects that make the operator insist on further images. A kind that does not exist has no objects.
    pub features: Read<BTreeSet<Feature>>,
    /// Platforms of the cluster's nodes with the number of nodes.
    pub nodes: Read<BTreeMap<Platform, u32>>,
    /// Nodes of a platform for which no images are built: each is a warning and holds nothing up.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown_nodes: Vec<UnknownNode>,
    /// DaemonSets and Deployments that the operator manages.
    pub workloads: Read<Vec<Workload>>,
    /// What pods in these namespaces pull and run.
    pub pods: Read<SeenPods>,
    /// The upgrade gate as it stands.
    pub gate: Read<SeenGate>,
    /// What was resolved before, and kept.
    pub records: Read<Vec<Record>>,
    /// Names of records that exist and are not used: damaged, or written by somebody else.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unusable_records: BTreeSet<String>,
    /// What operator images said of themselves, and who is being asked.
    pub inspections: Inspections,
    /// What the registries answered.
    pub answers: Answers,
    /// Whether the pinned digests are to be compared with the registry in this pass.
    pub recheck_due: bool,
    /// Whether newer releases are to be looked for in this pass.
    pub discovery_due: bool,
    /// How often sets of ours were put back in the last ten minutes, by name.
    pub put_back: BTreeMap<String, u32>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            observed_at: Timestamp::UNIX_EPOCH,
            generation: 1,
            settings: Settings::default(),
            objections: Vec::new(),
            refresh: None,
            remembered: Remembered::default(),
            operator: Read::default(),
            operator_pods: Read::default(),
            installation: Read::default(),
            image_sets: Read::default(),
            component_statuses: Read::default(),
            features: Read::default(),
            nodes: Read::default(),
            unknown_nodes: Vec::new(),
            workloads: Read::default(),
            pods: Read::default(),
            gate: Read::default(),
            records: Read::default(),
            unusable_records: BTreeSet::new(),
            inspections: Inspections::default(),
            answers: Answers::default(),
            recheck_due: false,
            discovery_due: false,
            put_back: BTreeMap::new(),
        }
    }
}

impl Snapshot {
    /// The failed read without which a question about the cluster has no answer.
    pub(crate) fn unread(&self, concern: ConditionType) -> Option<&ReadFailure> {
        match concern {
            ConditionType::Drifted => self.image_sets.failure().or(self.installation.failure()),
            ConditionType::OperatorDegraded => self.component_statuses.failure(),
            ConditionType::ImagePullFailing => self.pods.failure(),
            _ => None,
        }
    }
}
