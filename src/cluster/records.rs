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
use crate::domain::record::Record;
use crate::domain::resolution::escaped;
use crate::domain::snapshot::Read;

/// Label of a ConfigMap that holds a record.
pub const RECORD_LABEL: &str = "imageset-controller.io/record";
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
    parsed: BTreeMap<(String, String), Record>,
    /// Of all records by name, the damaged ones too.
    versions: BTreeMap<String, String>,
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
    pub async fn read(&self) -> (Read<Vec<Record>>, Vec<Finding>) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let what = format!("list configmaps in {}", self.namespace);
        let labelled = ListParams::default().labels(&format!("{RECORD_LABEL}=true"));
        match read(&what, api.list(&labelled)).await {
            Read::Known(list) => {
                let (records, findings) = self.readable(&list.items);
                (Read::Known(records), findings)
            }
            Read::KindMissing => (Read::KindMissing, Vec::new()),
            Read::Failed(failure) => (Read::Failed(failure), Vec::new()),
        }
    }

    fn readable(&self, maps: &[ConfigMap]) -> (Vec<Record>, Vec<Finding>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Seen::default();
        let mut findings = Vec::new();
        for map in maps {
            let key = (map.name_any(), map.resource_version().unwrap_or_default());
            now.versions.insert(key.0.clone(), key.1.clone());
            match seen.parsed.remove(&key).map_or_else(|| record(map), Ok) {
                Ok(record) => {
                    now.parsed.insert(key, record);
                }
                Err(error) => {
                    let object = format!("ConfigMap {}/{}", map.namespace().unwrap_or_default(), map.name_any());
                    findings.push(Finding::new(Reason::RecordUnreadable, object, escaped(&error)));
                }
            }
        }
        *seen = now;
        (seen.parsed.values().cloned().collect(), findings)
    }
}

fn record(map: &ConfigMap) -> Result<Record, String> {
    let text =
        map.data.as_ref().and_then(|data| data.get(RECORD_KEY)).ok_or_else(|| format!("it has no key {RECORD_KEY}"))?;
    let record: Record = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    if record.key.name() != map.name_any() {
        return Err(format!("it holds the record {}", record.key.name()));
    }
    let other = record.images.iter().find(|(reference, image): &(&Reference, _)| **reference != image.reference);
    other.map_or(Ok(()), |(reference, _)| Err(format!("the entry of {reference} is of another image")))?;
    Ok(record)
}
