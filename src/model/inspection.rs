//! What an operator image printed of itself, and the Jobs that run one for it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::operator_images::OperatorImages;
use crate::model::read::Read;
use crate::model::reference::Reference;
use crate::model::release::Release;

/// The longest such pause. A Job is kept longer than that, so that it tells when the next one is due, also after a restart.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(30);

/// The answer of one operator image, kept for good by its digest: an image never changes what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspected {
    /// The image as it was written where it was found.
    pub image: Reference,
    /// Its digest, which was run.
    pub digest: Digest,
    /// `LABEL version` of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it answered.
    pub answered_at: Timestamp,
    /// What it printed.
    pub images: OperatorImages,
    /// Names that it printed and then refused in a set of ours.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub refused: BTreeSet<ImageName>,
}

impl Inspected {
    /// Its list as that of the version that it counts as.
    #[must_use]
    pub fn list(&self, release: Release) -> OperatorImages {
        self.images.clone().of_release(release).rejecting(&self.refused)
    }

    /// Name of the ConfigMap.
    #[must_use]
    pub fn name(&self) -> String {
        object_name(&self.digest)
    }

    /// The version that it counts as. A vendor's rebuild often prints the version of its base: then the number of the
    /// rebuild is in the label, or in the tag.
    ///
    /// # Errors
    /// Label or tag and output are of different versions; in words, as nothing may be done on a guess.
    pub fn release(&self) -> Result<Release, String> {
        let printed = self.images.release();
        let labelled = self.label.as_deref().and_then(|label| label.parse::<Release>().ok());
        let tagged = || self.image.tag().and_then(|tag| tag.parse::<Release>().ok());
        match labelled.or_else(|| tagged().filter(|_| self.image.digest().is_none())) {
            Some(written) if written.base() != printed.base() => {
                let by = if labelled.is_some() { "labelled" } else { "tagged" };
                Err(format!("image {} is {by} {written} and prints {printed}", self.image))
            }
            Some(written) => Ok(written.max(printed)),
            None => Ok(printed),
        }
    }
}

/// Name of the Job and of the record for an image.
#[must_use]
pub fn object_name(digest: &Digest) -> String {
    let hexadecimal: String = digest.to_string().chars().skip("sha256:".len()).take(40).collect();
    format!("inspection-{hexadecimal}")
}

/// What was seen of inspections.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspections {
    /// The answers that are kept.
    pub kept: Vec<Inspected>,
    /// Jobs of ours.
    pub jobs: Read<Vec<InspectionJob>>,
}

/// A Job of ours that asks one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectionJob {
    /// `metadata.uid`, which a deletion of ours carries.
    pub uid: String,
    /// As in [`Inspected`].
    pub image: Reference,
    /// The digest that is run.
    pub digest: Digest,
    /// As in [`Inspected`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The how-manieth attempt it is, from 1.
    pub attempt: u32,
    /// Why the attempt before did not bring an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_before: Option<String>,
    /// How far it is.
    pub state: JobState,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobState {
    /// Not ended, or being deleted.
    Running {
        /// What keeps its pod from starting.
        trouble: Option<String>,
    },
    /// Ended well, and what it printed can be used.
    Answered {
        /// When it ended.
        at: Timestamp,
        /// What it printed.
        images: Box<OperatorImages>,
    },
    /// Ended well, and what it printed cannot be used.
    Unusable {
        /// When it ended.
        at: Timestamp,
        /// What is wrong, escaped and cut.
        why: String,
    },
    /// Ended badly, or its output cannot be read.
    Failed {
        /// When it ended.
        at: Timestamp,
        /// What is wrong, escaped and cut.
        why: String,
    },
}
