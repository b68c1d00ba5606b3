//! The reads of the cluster, before they become a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::inspections::InspectionObjects;
use crate::api;
use crate::cluster::gate::GateObject;
use crate::cluster::records::StoredRecord;
use crate::model::{ComponentStatus, Feature, OperatorDeployment, OperatorPod, Read, StoredImageSet, Workload};

/// All that is read of the cluster.
#[derive(Debug, PartialEq)]
pub struct Readings {
    pub(in crate::cluster) operator: Read<Option<OperatorDeployment>>,
    pub(in crate::cluster) operator_pods: Read<Vec<OperatorPod>>,
    pub(in crate::cluster) installations: Read<Vec<api::operator::Installation>>,
    pub(in crate::cluster) image_sets: Read<Vec<StoredImageSet>>,
    pub(in crate::cluster) component_statuses: Read<Vec<ComponentStatus>>,
    pub(in crate::cluster) features: Read<BTreeSet<Feature>>,
    pub(in crate::cluster) workloads: Read<Vec<Workload>>,
    pub(in crate::cluster) records: Read<Vec<Arc<StoredRecord>>>,
    pub(in crate::cluster) jobs: Read<InspectionObjects>,
    pub(in crate::cluster) gate: Read<Vec<Option<GateObject>>>,
}

impl Readings {
    /// Whether a read failed. Without inspections a cluster may well be, so that these do not count.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        let failures = [
            self.operator.failure(),
            self.operator_pods.failure(),
            self.installations.failure(),
            self.image_sets.failure(),
            self.component_statuses.failure(),
            self.features.failure(),
            self.workloads.failure(),
            self.records.failure(),
            self.gate.failure(),
        ];
        failures.into_iter().any(|failure| failure.is_some())
    }

    /// The resourceVersions of all records by their names, the damaged ones too.
    #[must_use]
    pub fn record_versions(&self) -> BTreeMap<String, String> {
        let records = self.records.known().into_iter().flatten();
        records.map(|record| (record.name.clone(), record.version.clone())).collect()
    }
}
