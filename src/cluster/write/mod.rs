//! The only writer of ImageSets, records, inspection Jobs and the gate. It carries out what was decided, in order, and stops
//! at the first failure; every write names the state that it was decided upon, so that a write on an outdated snapshot fails
//! instead of doing harm.

mod gate;
mod jobs;
mod records;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::gate::GateKind;
use super::records::{OF_IMAGES, OF_INSPECTION};
use super::{CONTENT_ANNOTATION, FIELD_MANAGER, POLICY_LABEL, POLICY_NAME, RECORD_ANNOTATION};
use crate::api::operator::{ImageEntry, ImageSet};
use crate::api::workload::Job;
use crate::api::{ImageSetPolicy, InspectionRules};
use crate::metrics::Results;
use crate::model::{
    Action, ActionFailure, Kind, Motive, ObjectRef, Outcome, Precondition, PruneImageSet, StoreImageSet,
    foreign_text::escaped, image_set::OPERATOR_ANNOTATION,
};

/// Deadline of one write.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// How long a restored set counts.
const RESTORED_WINDOW: Duration = Duration::from_secs(600);

/// Writes to one cluster.
pub struct Writer {
    client: Client,
    own_namespace: String,
    /// How the writes ended.
    results: Results,
    /// When which set was restored; a monotonic clock, because it decides when to stop.
    restored: BTreeMap<String, Vec<Instant>>,
}

/// An object as the API server returned it after a write, or what is gone after one.
#[derive(Debug)]
pub enum Written {
    /// An ImageSet.
    ImageSet(Box<ImageSet>),
    /// The ImageSet of this name is deleted.
    NoImageSet(String),
    /// A record.
    Record(Box<ConfigMap>),
    /// An object of the gate.
    Gate(GateKind, Box<DynamicObject>),
    /// This object of the gate is deleted.
    NoGate(GateKind),
    /// An inspection Job.
    Job(Box<Job>),
    /// The Job of this name is deleted.
    NoJob(String),
    /// The policy, with its status.
    Policy(Box<ImageSetPolicy>),
}

/// What the writes of one reconcile depend on beside their actions.
#[derive(Debug)]
pub struct Basis<'a> {
    /// Where and how operator images are run.
    pub inspection: &'a InspectionRules,
    /// The resourceVersions of all records by their names.
    pub record_versions: &'a BTreeMap<String, String>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("the Job cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the record cannot be written down: {0}")]
    Yaml(#[from] crate::yaml::WriteError),
    #[error("no answer within {} s", WRITE_DEADLINE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
    /// The next reconcile reads it.
    #[error("{0}")]
    Recovered(&'static str),
    #[error("{0}")]
    NotManaged(String),
}

impl From<gate::SetError> for WriteError {
    fn from(error: gate::SetError) -> Self {
        match error {
            gate::SetError::Kube(error) => Self::Kube(error),
            gate::SetError::NotManaged(_) => Self::NotManaged(error.to_string()),
        }
    }
}

impl WriteError {
    fn is_conflict(&self) -> bool {
        match self {
            Self::Kube(kube::Error::Api(status)) => status.code == 409,
            Self::Recovered(_) => true,
            _ => false,
        }
    }

    /// Whether a create failed because an object of that name exists.
    fn already_exists(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists")
    }

    fn message(&self) -> String {
        match self {
            Self::Kube(kube::Error::Api(status)) => escaped(&status.message),
            other => escaped(&other.to_string()),
        }
    }
}

/// Returns the result of a write, or an error after the deadline.
async fn within<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WriteError> {
    Ok(tokio::time::timeout(WRITE_DEADLINE, request).await??)
}

/// Deletes an object. One that is gone already counts as deleted.
async fn delete<K: Clone + Debug + DeserializeOwned>(
    api: &Api<K>,
    name: &str,
    parameters: &DeleteParams,
) -> Result<(), WriteError> {
    match within(api.delete(name, parameters)).await {
        Err(WriteError::Kube(kube::Error::Api(status))) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop),
    }
}

fn created_by_us() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

impl Writer {
    /// A writer that keeps its records in this namespace, and counts its writes.
    #[must_use]
    pub const fn new(client: Client, own_namespace: String, results: Results) -> Self {
        Self { client, own_namespace, results, restored: BTreeMap::new() }
    }

    /// Carries out the actions in their order, up to the first failure; nothing depends on the gate, so that its failure is reported
    /// and the others go on. The second value is what was written.
    pub async fn apply(&mut self, actions: &[Action], basis: &Basis<'_>) -> (Outcome, Vec<Written>) {
        let (mut gate, mut all_written) = (None, Vec::new());
        for (completed, action) in actions.iter().enumerate() {
            let (object, written) = self.carry_out(action, basis, &mut all_written).await;
            let result = match &written {
                Ok(()) => "done",
                Err(error) if error.is_conflict() => "conflict",
                Err(_) => "refused",
            };
            self.results.get_or_create(&[("result", result)]).inc();
            if let Err(error) = written {
                let (conflict, not_managed) = (error.is_conflict(), matches!(error, WriteError::NotManaged(_)));
                let failure = ActionFailure { conflict, not_managed, object, message: error.message() };
                tracing::warn!(object = failure.object.to_string(), error = failure.message, "a write failed");
                if matches!(action, Action::SetGate(_)) {
                    gate = Some(failure);
                    continue;
                }
                let outcome = Outcome { completed, at: (completed > 0).then(Timestamp::now), failure: Some(failure) };
                return (outcome, all_written);
            }
            tracing::info!(object = object.to_string(), "written");
        }
        (Outcome { completed: actions.len(), at: Some(Timestamp::now()), failure: gate }, all_written)
    }

    /// One action. Returns the object that it is about.
    async fn carry_out(
        &mut self,
        action: &Action,
        basis: &Basis<'_>,
        written: &mut Vec<Written>,
    ) -> (ObjectRef, Result<(), WriteError>) {
        let namespace = &basis.inspection.namespace;
        let (object, result) = match action {
            Action::WriteRecord(record) => {
                let text = crate::yaml::to_string(record);
                self.write_record(&record.key.name(), OF_IMAGES, text, basis).await
            }
            Action::KeepInspection(inspected) => {
                let text = crate::yaml::to_string(inspected);
                self.write_record(&inspected.name(), OF_INSPECTION, text, basis).await
            }
            Action::StartInspection(start) => {
                (ObjectRef::namespaced(Kind::Job, namespace, &start.name()), self.start(start, basis.inspection).await)
            }
            Action::EndInspection { name, uid } => {
                (ObjectRef::namespaced(Kind::Job, namespace, name), self.end(namespace, name, uid).await)
            }
            Action::StoreImageSet(store) => (ObjectRef::image_set(store.set.name().as_str()), self.store(store).await),
            Action::SetGate(enforcement) => {
                let set = tokio::time::timeout(WRITE_DEADLINE, gate::set(&self.client, *enforcement, written)).await;
                let set = set.map_err(WriteError::from).and_then(|set| Ok(set?));
                return (ObjectRef::gate(), set);
            }
            Action::PruneImageSet(prune) => (ObjectRef::image_set(&prune.image_set), self.prune(prune).await),
        };
        (object, result.map(|one| written.extend(one)))
    }

    /// Returns how often each set was restored within the last ten minutes.
    #[must_use]
    pub fn restored_counts(&mut self) -> BTreeMap<String, u32> {
        self.restored.values_mut().for_each(|times| times.retain(|time| time.elapsed() < RESTORED_WINDOW));
        self.restored.retain(|_, times| !times.is_empty());
        let count = |times: &Vec<Instant>| u32::try_from(times.len()).unwrap_or(u32::MAX);
        self.restored.iter().map(|(name, times)| (name.clone(), count(times))).collect()
    }

    /// Deletes a set if it has not changed since the decision.
    async fn prune(&self, prune: &PruneImageSet) -> Result<Option<Written>, WriteError> {
        let api: Api<ImageSet> = Api::all(self.client.clone());
        let preconditions = Preconditions { resource_version: Some(prune.resource_version.clone()), uid: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        delete(&api, &prune.image_set, &parameters).await?;
        Ok(Some(Written::NoImageSet(prune.image_set.clone())))
    }

    async fn store(&mut self, store: &StoreImageSet) -> Result<Option<Written>, WriteError> {
        let mut object = image_set_object(store);
        let api: Api<ImageSet> = Api::all(self.client.clone());
        let name = store.set.name().as_str();
        let written = match &store.precondition {
            // A create, because an apply would silently merge into an object that came up in between.
            Precondition::Absent => within(api.create(&created_by_us(), &object)).await?,
            Precondition::Unchanged(resource_version) => {
                object.metadata.resource_version = Some(resource_version.clone());
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                within(api.patch(name, &parameters, &Patch::Apply(&object))).await?
            }
        };
        if store.motive == Motive::Restore {
            self.restored.entry(name.to_owned()).or_default().push(Instant::now());
        }
        Ok(Some(Written::ImageSet(Box::new(written))))
    }
}

fn image_set_object(store: &StoreImageSet) -> ImageSet {
    let set = &store.set;
    let entry = |(name, digest): (&crate::model::ImageName, &crate::model::Digest)| ImageEntry {
        image: name.to_string(),
        digest: digest.to_string(),
    };
    let mut object = ImageSet::new(set.name().as_str(), set.entries().iter().map(entry).collect());
    let pair = |key: &str, value: String| (key.to_owned(), value);
    object.metadata.labels = Some(BTreeMap::from([
        pair("app.kubernetes.io/managed-by", FIELD_MANAGER.to_owned()),
        pair(POLICY_LABEL, POLICY_NAME.to_owned()),
    ]));
    object.metadata.annotations = Some(BTreeMap::from([
        pair(OPERATOR_ANNOTATION, set.origin().operator.to_string()),
        pair(RECORD_ANNOTATION, set.origin().record.clone()),
        pair(CONTENT_ANNOTATION, set.origin().content.to_string()),
    ]));
    object
}
