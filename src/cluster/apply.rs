//! The only writer of ImageSets, records, inspection Jobs and the gate. It carries out what was decided, in order, and stops
//! at the first failure; every write says what it was decided upon, so that a write on an outdated look fails instead of
//! doing harm.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions,
};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::gate;
use super::observe::{CONTENT_ANNOTATION, POLICY_LABEL, RECORD_ANNOTATION};
use super::records::{self, OF_IMAGES, OF_INSPECTION, RECORD_KEY, RECORD_LABEL, Records};
use super::{FIELD_MANAGER, POLICY_NAME};
use crate::api::Inspection;
use crate::api::operator::{ImageEntry, ImageSet};
use crate::api::workload::Job;
use crate::inspection::job::{self, LABEL};
use crate::metrics::Results;
use crate::model::action::Action;
use crate::model::action::{Motive, Precondition, PruneImageSet, StartInspection, StoreImageSet};
use crate::model::foreign_text::escaped;
use crate::model::gate::Enforcement;
use crate::model::image_set::OPERATOR_ANNOTATION;
use crate::model::object_ref::{Kind, ObjectRef};
use crate::model::outcome::{ActionFailure, Outcome};
use crate::yaml;

/// The longest that one write may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// How long a put-back counts.
const PUT_BACK_WINDOW: Duration = Duration::from_secs(600);

/// Writes to one cluster.
pub struct Applier {
    client: Client,
    records: Arc<Records>,
    /// How the writes ended.
    results: Results,
    /// When which set was put back; a monotonic clock, because it decides when to stop.
    put_back: Mutex<BTreeMap<String, Vec<Instant>>>,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("{0}")]
    Kube(#[from] kube::Error),
    #[error("the Job cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the record cannot be written down: {0}")]
    Yaml(#[from] yaml::WriteError),
    #[error("no answer within {} s", WRITE_DEADLINE.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
    /// It is read with the next look.
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

    /// A create met an object of the same name.
    fn already_exists(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists")
    }

    fn told(&self) -> String {
        match self {
            Self::Kube(kube::Error::Api(status)) => escaped(&status.message),
            other => escaped(&other.to_string()),
        }
    }
}

impl Applier {
    /// A writer that keeps its records where these are read, and counts its writes.
    #[must_use]
    pub const fn new(client: Client, records: Arc<Records>, results: Results) -> Self {
        Self { client, records, results, put_back: Mutex::new(BTreeMap::new()) }
    }

    /// Carries out the actions in their order, up to the first failure; nothing depends on the gate, so that its failure is told
    /// and the others go on. `inspection` says where operator images are run.
    pub async fn apply(&self, actions: &[Action], inspection: &Inspection) -> Outcome {
        let mut gate = None;
        for (done, action) in actions.iter().enumerate() {
            let (object, written) = match action {
                Action::WriteRecord(record) => {
                    let text = yaml::to_string(record);
                    self.write_record(record.key.name(), OF_IMAGES, text).await
                }
                Action::KeepInspection(inspected) => {
                    let text = yaml::to_string(inspected);
                    self.write_record(inspected.name(), OF_INSPECTION, text).await
                }
                Action::StartInspection(start) => {
                    let object = ObjectRef::namespaced(Kind::Job, &inspection.namespace, &start.name());
                    (object, self.start(start, inspection).await)
                }
                Action::EndInspection { name, uid } => {
                    let object = ObjectRef::namespaced(Kind::Job, &inspection.namespace, name);
                    (object, self.end(&inspection.namespace, name, uid).await)
                }
                Action::StoreImageSet(store) => {
                    let written = self.store(store).await;
                    if written.is_ok() && store.motive == Motive::PutBack {
                        self.count_put_back(store.set.name().as_str());
                    }
                    (ObjectRef::image_set(store.set.name().as_str()), written)
                }
                Action::SetGate(enforcement) => (ObjectRef::gate(), self.set_gate(*enforcement).await),
                Action::PruneImageSet(prune) => (ObjectRef::image_set(&prune.image_set), self.prune(prune).await),
            };
            let result = match &written {
                Ok(()) => "done",
                Err(error) if error.is_conflict() => "conflict",
                Err(_) => "refused",
            };
            self.results.get_or_create(&[("result", result)]).inc();
            if let Err(error) = written {
                let (conflict, not_managed) = (error.is_conflict(), matches!(error, WriteError::NotManaged(_)));
                let failure = ActionFailure { conflict, not_managed, object, message: error.told() };
                tracing::warn!(object = failure.object.to_string(), error = failure.message, "a write failed");
                if matches!(action, Action::SetGate(_)) {
                    gate = Some(failure);
                    continue;
                }
                return Outcome { done, at: (done > 0).then(Timestamp::now), failure: Some(failure) };
            }
            tracing::info!(object = object.to_string(), "written");
        }
        Outcome { done: actions.len(), at: Some(Timestamp::now()), failure: gate }
    }

    /// How often each set was put back within the last ten minutes.
    #[must_use]
    pub fn put_back_counts(&self) -> BTreeMap<String, u32> {
        let mut put_back = self.put_back.lock().unwrap_or_else(PoisonError::into_inner);
        put_back.values_mut().for_each(|times| times.retain(|time| time.elapsed() < PUT_BACK_WINDOW));
        put_back.retain(|_, times| !times.is_empty());
        put_back.iter().map(|(name, times)| (name.clone(), u32::try_from(times.len()).unwrap_or(u32::MAX))).collect()
    }

    fn count_put_back(&self, name: &str) {
        let mut put_back = self.put_back.lock().unwrap_or_else(PoisonError::into_inner);
        put_back.entry(name.to_owned()).or_default().push(Instant::now());
    }

    /// As sets are: only if it still is as it was seen. Somebody who led before and was held up changes nothing.
    async fn write_record(
        &self,
        name: String,
        kind: &str,
        text: Result<String, yaml::WriteError>,
    ) -> (ObjectRef, Result<(), WriteError>) {
        let object = ObjectRef::namespaced(Kind::ConfigMap, self.records.namespace(), &name);
        let written = match text {
            Ok(text) => self.write_map(record_object(&name, kind, text, self.records.namespace()), &name).await,
            Err(error) => Err(error.into()),
        };
        let written = match written {
            Err(error) if error.already_exists() => Err(self.unlabelled_record(&name, kind).await.unwrap_or(error)),
            written => written,
        };
        (object, written)
    }

    /// What is in the way of a record that was not listed: a record that has lost its label gets it back, and is read with the next
    /// look. Anything else is somebody else's, and left as it is. `None` where it has its label or is gone.
    async fn unlabelled_record(&self, name: &str, kind: &str) -> Option<WriteError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.records.namespace());
        let found = match tokio::time::timeout(WRITE_DEADLINE, api.get_opt(name)).await {
            Ok(Ok(found)) => found?,
            Ok(Err(error)) => return Some(error.into()),
            Err(late) => return Some(late.into()),
        };
        if found.labels().get(RECORD_LABEL).is_some_and(|value| value == kind) {
            return None;
        }
        if !records::is_record(&found, kind) {
            let message = "a ConfigMap of this name exists that is no record of the controller; it is left as it is";
            return Some(WriteError::NotManaged(message.to_owned()));
        }
        let labels = json!({
            "metadata": {
                "resourceVersion": found.resource_version(),
                "labels": { "app.kubernetes.io/managed-by": FIELD_MANAGER, RECORD_LABEL: kind },
            },
        });
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match tokio::time::timeout(WRITE_DEADLINE, api.patch(name, &parameters, &Patch::Merge(labels))).await {
            Ok(Ok(_)) => Some(WriteError::Recovered("it had lost its label, which is put back; it is read again")),
            Ok(Err(error)) => Some(error.into()),
            Err(late) => Some(late.into()),
        }
    }

    async fn write_map(&self, mut map: ConfigMap, name: &str) -> Result<(), WriteError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.records.namespace());
        match self.records.version_of(name) {
            None => {
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                tokio::time::timeout(WRITE_DEADLINE, api.create(&parameters, &map)).await??;
            }
            Some(version) => {
                map.metadata.resource_version = Some(version);
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                tokio::time::timeout(WRITE_DEADLINE, api.patch(name, &parameters, &Patch::Apply(&map))).await??;
            }
        }
        Ok(())
    }

    /// A create: where a Job of this name is there already, the image is being asked.
    async fn start(&self, start: &StartInspection, inspection: &Inspection) -> Result<(), WriteError> {
        let resource = ApiResource::erase::<Job>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &inspection.namespace, &resource);
        let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let made: DynamicObject = serde_json::from_value(job::build(start, inspection))?;
        let created: Result<_, WriteError> =
            match tokio::time::timeout(WRITE_DEADLINE, api.create(&parameters, &made)).await {
                Ok(created) => created.map(drop).map_err(WriteError::from),
                Err(late) => Err(late.into()),
            };
        match created {
            Err(error) if error.already_exists() => {
                Err(self.unlabelled_job(&start.name(), &inspection.namespace).await?.unwrap_or(error))
            }
            created => created,
        }
    }

    /// What is in the way of a Job that was not listed: one that has lost its label is deleted, and made again after the next look;
    /// the controller has no right to change Jobs. Anything else is somebody else's, and left as it is. `None` where it has its
    /// label or is gone.
    async fn unlabelled_job(&self, name: &str, namespace: &str) -> Result<Option<WriteError>, WriteError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = tokio::time::timeout(WRITE_DEADLINE, api.list(&named)).await??.items.pop();
        let Some(found) = found else { return Ok(None) };
        if job::parse(&found).is_none() {
            let message = "a Job of this name exists that the controller did not create; it is left as it is";
            return Ok(Some(WriteError::NotManaged(message.to_owned())));
        }
        if found.labels().contains_key(LABEL) {
            return Ok(None);
        }
        self.end(namespace, name, &found.uid().unwrap_or_default()).await?;
        Ok(Some(WriteError::Recovered("it had lost its label and is deleted; it is made again")))
    }

    /// With its pod. That it is gone already is as good.
    async fn end(&self, namespace: &str, name: &str, uid: &str) -> Result<(), WriteError> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let this_one = Preconditions { uid: Some(uid.to_owned()), ..Preconditions::default() };
        let parameters = DeleteParams::background().preconditions(this_one);
        match tokio::time::timeout(WRITE_DEADLINE, api.delete(name, &parameters)).await? {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    async fn set_gate(&self, enforcement: Option<Enforcement>) -> Result<(), WriteError> {
        Ok(tokio::time::timeout(WRITE_DEADLINE, gate::set(&self.client, enforcement)).await??)
    }

    /// Deletes a set if it still is as it was seen; one that is gone already is what was wanted.
    async fn prune(&self, prune: &PruneImageSet) -> Result<(), WriteError> {
        let api: Api<ImageSet> = Api::all(self.client.clone());
        let preconditions = Preconditions { resource_version: Some(prune.resource_version.clone()), uid: None };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match tokio::time::timeout(WRITE_DEADLINE, api.delete(&prune.image_set, &parameters)).await? {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => Ok(deleted.map(drop)?),
        }
    }

    async fn store(&self, store: &StoreImageSet) -> Result<(), WriteError> {
        let mut object = image_set_object(store);
        let api: Api<ImageSet> = Api::all(self.client.clone());
        match &store.precondition {
            // A create, because an apply would silently merge into an object that came up in between.
            Precondition::Absent => {
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                tokio::time::timeout(WRITE_DEADLINE, api.create(&parameters, &object)).await??;
            }
            Precondition::Unchanged(resource_version) => {
                object.metadata.resource_version = Some(resource_version.clone());
                let parameters = PatchParams::apply(FIELD_MANAGER).force();
                let name = store.set.name().as_str();
                tokio::time::timeout(WRITE_DEADLINE, api.patch(name, &parameters, &Patch::Apply(&object))).await??;
            }
        }
        Ok(())
    }
}

fn image_set_object(store: &StoreImageSet) -> ImageSet {
    let set = &store.set;
    let entry = |(name, digest): (&crate::model::image_name::ImageName, &crate::model::digest::Digest)| ImageEntry {
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

fn record_object(name: &str, kind: &str, text: String, namespace: &str) -> ConfigMap {
    let pair = |key: &str, value: String| (key.to_owned(), value);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(BTreeMap::from([
                pair("app.kubernetes.io/managed-by", FIELD_MANAGER.to_owned()),
                pair(RECORD_LABEL, kind.to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([pair(RECORD_KEY, text)])),
        ..ConfigMap::default()
    }
}
