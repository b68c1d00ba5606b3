//! What files say of a cluster beside what they are read for: its Installation, and the objects that make an operator insist on images.
//! One for all files of a command.

use std::collections::BTreeSet;

use super::files;
use super::output::Failure;
use crate::manifest;
use crate::model::feature::Feature;
use crate::model::settings::InstallationSettings;

/// What was read so far.
#[derive(Default)]
pub(super) struct Surroundings {
    /// `None` where no file has one.
    pub installation: Option<InstallationSettings>,
    /// Of all files together.
    pub features: BTreeSet<Feature>,
}

impl Surroundings {
    /// Takes in one more file.
    ///
    /// # Errors
    /// It is no YAML or not written out, or another file has an Installation, too.
    pub fn read(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let refused = |refused: manifest::Refused| files::refused(name, &refused);
        if let Some(found) = manifest::installation(text).map_err(refused)?
            && self.installation.replace(found).is_some()
        {
            return Err(Failure::new(format!("{}: a second Installation default", files::shown(name))));
        }
        self.features.extend(manifest::features(text).map_err(refused)?);
        Ok(())
    }
}
