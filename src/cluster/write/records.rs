//! Writes records: only if each has not changed since it was read, so that a former leader changes nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::{Basis, WriteError, Writer, Written, created_by_us, within};
use crate::cluster::FIELD_MANAGER;
use crate::cluster::records::{self, RECORD_KEY, RECORD_LABEL};
use crate::model::{Kind, ObjectRef};

impl Writer {
    /// Creates a record, or replaces it. Returns the object, too.
    pub(super) async fn write_record(
        &self,
        name: &str,
        kind: &str,
        text: Result<String, crate::yaml::WriteError>,
        basis: &Basis<'_>,
    ) -> (ObjectRef, Result<Option<Written>, WriteError>) {
        let written = match text {
            Ok(text) => self.write_map(record_object(name, kind, text, &self.own_namespace), name, basis).await,
            Err(error) => Err(error.into()),
        };
        let written = match written {
            Err(error) if error.already_exists() => Err(self.unlabelled_record(name, kind).await.unwrap_or(error)),
            written => written.map(|map| Some(Written::Record(Box::new(map)))),
        };
        (ObjectRef::namespaced(Kind::ConfigMap, &self.own_namespace, name), written)
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.own_namespace)
    }

    async fn write_map(&self, mut map: ConfigMap, name: &str, basis: &Basis<'_>) -> Result<ConfigMap, WriteError> {
        let Some(version) = basis.record_versions.get(name) else {
            return within(self.maps().create(&created_by_us(), &map)).await;
        };
        map.metadata.resource_version = Some(version.clone());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        within(self.maps().patch(name, &parameters, &Patch::Apply(&map))).await
    }

    /// What is in the way of a record that was not listed: a record that has lost its label gets it back, and the next reconcile reads
    /// it. Anything else is not managed by the controller, and left as it is. `None` where it has its label or is gone.
    async fn unlabelled_record(&self, name: &str, kind: &str) -> Option<WriteError> {
        let found = match within(self.maps().get_opt(name)).await {
            Ok(found) => found?,
            Err(error) => return Some(error),
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
        match within(self.maps().patch(name, &parameters, &Patch::Merge(labels))).await {
            Ok(_) => Some(WriteError::Recovered("it had lost its label, which is put back; it is read again")),
            Err(error) => Some(error),
        }
    }
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
