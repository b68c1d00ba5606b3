//! Records: ConfigMaps in the controller's namespace that keep what images resolved to, and the results of inspections.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::FIELD_MANAGER;
use crate::model::{
    Finding, Inspection, Kind, ObjectRef, Read, Reason, Record, Reference, ResolvedImage, foreign_text::escaped,
};

/// Label of a ConfigMap that holds a record; its value is one of the two below.
pub const RECORD_LABEL: &str = "imageset-controller.io/record";
/// What images resolved to.
pub const OF_IMAGES: &str = "true";
/// The result of an inspection.
pub const OF_INSPECTION: &str = "inspection";
/// Key of the record in its ConfigMap.
pub const RECORD_KEY: &str = "record.yaml";

/// The records as they were read.
pub struct ReadRecords {
    /// Records of images that can be used.
    pub images: Read<Vec<Record>>,
    /// Results of inspections.
    pub inspected: Vec<Inspection>,
    /// Names of records of images that exist and cannot be used.
    pub unusable: BTreeSet<String>,
    /// Why they cannot.
    pub findings: Vec<Finding>,
}

/// A record in the cluster.
#[derive(Debug, PartialEq)]
pub struct StoredRecord {
    /// Name of the ConfigMap.
    pub name: String,
    /// Its resourceVersion, which every write of the controller carries.
    pub version: String,
    namespace: String,
    is_of_images: bool,
    content: Result<Kept, Unusable>,
}

/// The content of a record.
#[derive(Debug, PartialEq)]
pub(super) enum Kept {
    Images(Box<Record>),
    Inspection(Box<Inspection>),
}

/// Selects the records by their labels.
pub(super) fn selector() -> String {
    format!("{RECORD_LABEL} in ({OF_IMAGES},{OF_INSPECTION})")
}

impl StoredRecord {
    /// What a ConfigMap holds.
    #[must_use]
    pub fn of(map: &ConfigMap) -> Self {
        Self {
            name: map.name_any(),
            version: map.resource_version().unwrap_or_default(),
            namespace: map.namespace().unwrap_or_default(),
            is_of_images: map.labels().get(RECORD_LABEL).is_some_and(|kind| kind == OF_IMAGES),
            content: kept(map),
        }
    }

    /// Whether this is what the ConfigMap holds: a record that has not changed is not parsed again.
    #[must_use]
    pub fn is_of(&self, map: &ConfigMap) -> bool {
        self.name == map.name_any() && Some(&self.version) == map.metadata.resource_version.as_ref()
    }
}

impl ReadRecords {
    /// Returns the records that can be used. One that is damaged, or that another field manager wrote last, is reported and not
    /// used: a record is a cache of what a registry served.
    #[must_use]
    pub fn of(stored: Read<Vec<Arc<StoredRecord>>>) -> Self {
        let mut read =
            Self { images: Read::KindMissing, inspected: Vec::new(), unusable: BTreeSet::new(), findings: Vec::new() };
        let stored = match stored {
            Read::Known(stored) => stored,
            Read::KindMissing => return read,
            Read::Failed(failure) => return Self { images: Read::Failed(failure), ..read },
        };
        let mut images = Vec::new();
        for record in &stored {
            match &record.content {
                Ok(Kept::Images(record)) => images.push(Record::clone(record)),
                Ok(Kept::Inspection(one)) => read.inspected.push(Inspection::clone(one)),
                Err(unusable) => {
                    let object = ObjectRef::namespaced(Kind::ConfigMap, &record.namespace, &record.name);
                    let (reason, message) = match unusable {
                        Unusable::Damaged(error) => (Reason::RecordUnreadable, error.clone()),
                        Unusable::WrittenBy(manager) => {
                            (Reason::RecordEdited, format!("its content was written by {manager}; it is not used"))
                        }
                    };
                    read.findings.push(Finding::new(reason, object, escaped(&message)));
                    if record.is_of_images {
                        read.unusable.insert(record.name.clone());
                    }
                }
            }
        }
        Self { images: Read::Known(images), ..read }
    }
}

/// Why a record is not used.
#[derive(Debug, PartialEq)]
enum Unusable {
    /// Its content does not match its name.
    Damaged(String),
    /// This field manager wrote its content.
    WrittenBy(String),
}

fn kept(map: &ConfigMap) -> Result<Kept, Unusable> {
    let kind = map.labels().get(RECORD_LABEL).map_or(OF_IMAGES, String::as_str);
    let kept = parsed(map, kind).map_err(Unusable::Damaged)?;
    match writer(map) {
        Some(manager) if manager == FIELD_MANAGER => Ok(kept),
        Some(manager) => Err(Unusable::WrittenBy(manager)),
        // The API server always knows one, unless its list was cleared.
        None => Err(Unusable::WrittenBy("somebody who has cleared metadata.managedFields".to_owned())),
    }
}

/// Whether a ConfigMap is a record of this kind, whatever its labels say.
pub(super) fn is_record(map: &ConfigMap, kind: &str) -> bool {
    parsed(map, kind).is_ok()
}

/// Returns the field manager that wrote the content: the controller, if it is one of several. `None` if no field manager owns it.
fn writer(map: &ConfigMap) -> Option<String> {
    let owns = |fields: &serde_json::Value| {
        fields.get("f:data").and_then(|data| data.get(format!("f:{RECORD_KEY}"))).is_some()
    };
    let entries = map.managed_fields().iter().filter(|entry| entry.fields_v1.as_ref().is_some_and(|one| owns(&one.0)));
    let mut managers: Vec<&str> = entries.filter_map(|entry| entry.manager.as_deref()).collect();
    managers.sort_by_key(|manager| *manager != FIELD_MANAGER);
    managers.first().map(|manager| (*manager).to_owned())
}

pub(super) fn parsed(map: &ConfigMap, kind: &str) -> Result<Kept, String> {
    let text =
        map.data.as_ref().and_then(|data| data.get(RECORD_KEY)).ok_or_else(|| format!("it has no key {RECORD_KEY}"))?;
    match kind {
        OF_INSPECTION => inspected(map, text).map(Box::new).map(Kept::Inspection),
        _ => record(map, text).map(Box::new).map(Kept::Images),
    }
}

fn inspected(map: &ConfigMap, text: &str) -> Result<Inspection, String> {
    let inspected: Inspection = crate::yaml::from_str(text).map_err(|error| error.to_string())?;
    match inspected.name() {
        name if name == map.name_any() => Ok(inspected),
        name => Err(format!("it holds the record {name}")),
    }
}

fn record(map: &ConfigMap, text: &str) -> Result<Record, String> {
    let record: Record = crate::yaml::from_str(text).map_err(|error| error.to_string())?;
    if record.key.name() != map.name_any() {
        return Err(format!("it holds the record {}", record.key.name()));
    }
    let other = record.images.iter().find(|(reference, image): &(&Reference, _)| **reference != image.reference);
    other.map_or(Ok(()), |(reference, _)| Err(format!("the entry of {reference} is of another image")))?;
    let differs = |(reference, image): &(&Reference, &ResolvedImage)| {
        reference.digest().is_some_and(|digest| *digest != image.digest)
    };
    let differing = record.images.iter().find(differs);
    differing.map_or(Ok(()), |(reference, _)| Err(format!("the entry of {reference} has another digest")))?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A ConfigMap whose content these field managers own.
    fn map(managers: &[&str]) -> ConfigMap {
        let entry = |manager: &&str| json!({ "manager": manager, "operation": "Update", "fieldsV1": { "f:data": { "f:record.yaml": {} } } });
        let mut entries: Vec<_> = managers.iter().map(entry).collect();
        entries.push(
            json!({ "manager": "labels", "operation": "Update", "fieldsV1": { "f:metadata": { "f:labels": {} } } }),
        );
        serde_json::from_value(json!({ "metadata": { "name": "a", "managedFields": entries } })).unwrap()
    }

    #[test]
    fn the_writer_of_the_content_counts_and_not_that_of_labels() {
        assert_eq!(writer(&map(&[FIELD_MANAGER])).as_deref(), Some(FIELD_MANAGER));
        assert_eq!(writer(&map(&["kubectl-edit"])).as_deref(), Some("kubectl-edit"));
        let both = writer(&map(&["argocd-controller", FIELD_MANAGER]));
        assert_eq!(both.as_deref(), Some(FIELD_MANAGER), "applying the same content changes nothing");
        assert_eq!(writer(&map(&[])), None);
    }
}
