//! The effective Installation.

use serde::{Deserialize, Serialize};

use crate::model::settings::InstallationSettings;

/// The effective Installation: `default` with `overlay` merged over it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Installation {
    /// Settings that determine which references are pulled.
    pub settings: InstallationSettings,
    /// `status.imageSet`: the set that the operator selected at the end of its last successful reconcile.
    pub selected_image_set: Option<String>,
    /// `status.calicoVersion`.
    pub calico_version: Option<String>,
}
