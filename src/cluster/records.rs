//! Reads the records of one controller. A record that has not changed since the last pass is not parsed again: after some
//! upgrades they are by far the largest thing that a pass reads. Reads only; `apply` writes them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::observe::read;
use crate::domain::Reference;
use crate::domain::finding::{Finding, Reason};
use crate::domain::foreign_text::escaped;
use crate::domain::inspection::Inspected;
use crate::domain::record::Record;
use crate::domain::snapshot::Read;

/// Label of a ConfigMap that holds a record; its value is one of the two below.
pub const RECORD_LABEL: &str = "imageset-controller.io/record";
/// What images resolved to.
pub const OF_IMAGES: &str = "true";
/// What an operator image said of itself.
pub const OF_INSPECTION: &str = "inspection";
/// Key of the record in its ConfigMap.
pub const RECORD_KEY: &str = "record.yaml";

/// The records in one namespace.
pub struct Records {
    client: Client,
    namespace: String,
    seen: Mutex<Seen>,
}

/// What the last look brought.
#[derive(Default)]
struct Seen {
    /// What was parsed, by name and resourceVersion.
    parsed: BTreeMap<(String, String), Kept>,
    /// Of all records by name, the damaged ones too.
    versions: BTreeMap<String, String>,
}

/// One record.
pub(super) enum Kept {
    Images(Box<Record>),
    Inspection(Box<Inspected>),
}

impl Records {
    /// The records in `namespace`.
    #[must_use]
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace, seen: Mutex::default() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The resourceVersion that a record had at the last look; `None` if it was not there.
    #[must_use]
    pub fn version_of(&self, name: &str) -> Option<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).versions.get(name).cloned()
    }

    /// The records that can be read; a corrupted one is told and not believed.
    pub async fn read(&self) -> (Read<Vec<Record>>, Vec<Inspected>, Vec<Finding>) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = format!("list configmaps in {}", self.namespace);
        let labelled = ListParams::default().labels(&format!("{RECORD_LABEL} in ({OF_IMAGES},{OF_INSPECTION})"));
        match read(&what, api.list(&labelled)).await {
            Read::Known(list) => {
                let (records, inspected, findings) = self.readable(&list.items);
                (Read::Known(records), inspected, findings)
            }
            Read::KindMissing => (Read::KindMissing, Vec::new(), Vec::new()),
            Read::Failed(failure) => (Read::Failed(failure), Vec::new(), Vec::new()),
        }
    }

    fn readable(&self, maps: &[ConfigMap]) -> (Vec<Record>, Vec<Inspected>, Vec<Finding>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Seen::default();
        let mut findings = Vec::new();
        for map in maps {
            let key = (map.name_any(), map.resource_version().unwrap_or_default());
            now.versions.insert(key.0.clone(), key.1.clone());
            match seen.parsed.remove(&key).map_or_else(|| kept(map), Ok) {
                Ok(kept) => {
                    now.parsed.insert(key, kept);
                }
                Err(error) => {
                    let object = format!("ConfigMap {}/{}", map.namespace().unwrap_or_default(), map.name_any());
                    findings.push(Finding::new(Reason::RecordUnreadable, object, escaped(&error)));
                }
            }
        }
        *seen = now;
        let (mut records, mut inspected) = (Vec::new(), Vec::new());
        for kept in seen.parsed.values() {
            match kept {
                Kept::Images(record) => records.push(Record::clone(record)),
                Kept::Inspection(one) => inspected.push(Inspected::clone(one)),
            }
        }
        (records, inspected, findings)
    }
}

pub(super) fn kept(map: &ConfigMap) -> Result<Kept, String> {
    let text =
        map.data.as_ref().and_then(|data| data.get(RECORD_KEY)).ok_or_else(|| format!("it has no key {RECORD_KEY}"))?;
    match map.labels().get(RECORD_LABEL).map(String::as_str) {
        Some(OF_INSPECTION) => inspected(map, text).map(Box::new).map(Kept::Inspection),
        _ => record(map, text).map(Box::new).map(Kept::Images),
    }
}

fn inspected(map: &ConfigMap, text: &str) -> Result<Inspected, String> {
    let inspected: Inspected = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    match inspected.name() {
        name if name == map.name_any() => Ok(inspected),
        name => Err(format!("it holds the record {name}")),
    }
}

fn record(map: &ConfigMap, text: &str) -> Result<Record, String> {
    let record: Record = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    if record.key.name() != map.name_any() {
        return Err(format!("it holds the record {}", record.key.name()));
    }
    let other = record.images.iter().find(|(reference, image): &(&Reference, _)| **reference != image.reference);
    other.map_or(Ok(()), |(reference, _)| Err(format!("the entry of {reference} is of another image")))?;
    Ok(record)
}
