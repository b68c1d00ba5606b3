//! The JSON of manifests and image configurations, bounded while it is decoded.

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::registry::json_object::JsonObject;

/// Maximum number of entries of an index; real ones have fewer than 20, attestations included.
pub(super) const MAX_ENTRIES: usize = 512;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub schema_version: Option<u64>,
    pub media_type: Option<String>,
    pub manifests: Option<Entries>,
    pub config: Option<JsonObject<Descriptor>>,
    pub layers: Option<Vec<IgnoredAny>>,
    pub artifact_type: Option<String>,
    fs_layers: Option<IgnoredAny>,
    signatures: Option<IgnoredAny>,
}

impl Document {
    pub(super) fn is_schema_1(&self) -> bool {
        self.schema_version == Some(1) || self.fs_layers.is_some() || self.signatures.is_some()
    }
}

/// The entries of an index. Decoding ends at the first entry beyond [`MAX_ENTRIES`].
pub(super) struct Entries(pub Vec<Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;
        impl<'de> Visitor<'de> for Bounded {
            type Value = Entries;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "at most {MAX_ENTRIES} entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Entries, A::Error> {
                let mut kept = Vec::new();
                while let Some(JsonObject(entry)) = entries.next_element()? {
                    if kept.len() == MAX_ENTRIES {
                        return Err(serde::de::Error::invalid_length(MAX_ENTRIES + 1, &self));
                    }
                    kept.push(entry);
                }
                Ok(Entries(kept))
            }
        }
        deserializer.deserialize_seq(Bounded)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub media_type: Option<String>,
    pub digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub media_type: Option<String>,
    pub digest: Option<String>,
    pub platform: Option<JsonObject<EntryPlatform>>,
}

#[derive(Deserialize)]
pub(super) struct EntryPlatform {
    pub architecture: Option<String>,
    pub os: Option<String>,
    #[serde(rename = "os.version")]
    pub os_version: Option<String>,
    pub variant: Option<String>,
}

/// The required fields only: a flattened struct or a map of all labels would take many times the memory of the text.
#[derive(Deserialize)]
pub(super) struct ConfigDocument {
    pub architecture: Option<String>,
    pub os: Option<String>,
    #[serde(rename = "os.version")]
    pub os_version: Option<String>,
    pub variant: Option<String>,
    pub config: Option<JsonObject<ConfigSection>>,
}

#[derive(Deserialize)]
pub(super) struct ConfigSection {
    #[serde(rename = "Labels")]
    pub labels: Option<JsonObject<Labels>>,
}

#[derive(Deserialize)]
pub(super) struct Labels {
    pub version: Option<String>,
}
