//! What manifests say of a cluster beside the objects that a verb reads: the Installation, and objects that make the operator require
//! further images. All files of one command together.

use std::collections::BTreeSet;

use super::files;
use crate::cli::output::Failure;
use crate::manifest;
use crate::model::{Feature, InstallationSettings};

/// The context that the files read so far give.
#[derive(Default)]
pub(in crate::cli) struct ManifestContext {
    /// `None` where no file has one.
    pub installation: Option<InstallationSettings>,
    pub features: BTreeSet<Feature>,
}

impl ManifestContext {
    /// Adds one more file.
    ///
    /// # Errors
    /// It is not YAML or uses an alias where a value is needed, or two files have an Installation.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let malformed = |error: manifest::ManifestError| files::malformed(name, &error);
        if let Some(found) = manifest::installation(text).map_err(malformed)?
            && self.installation.replace(found).is_some()
        {
            return Err(Failure::new(format!("{}: a second Installation default", files::display_name(name))));
        }
        self.features.extend(manifest::features(text).map_err(malformed)?);
        Ok(())
    }
}
