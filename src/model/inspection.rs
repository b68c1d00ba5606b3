//! Inspections of operator images: the output of an image, and the Jobs that run one.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::operator_images::OperatorImages;
use crate::model::read::Read;
use crate::model::reference::Reference;
use crate::model::release::Release;

/// The output of one operator image. It is stored permanently by digest, because an image never changes its output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspection {
    /// The image, as written where it was found.
    pub image: Reference,
    /// Digest of the image that the Job ran.
    pub digest: Digest,
    /// `LABEL version` of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When the Job completed.
    #[serde(rename = "answeredAt")]
    pub completed_at: Timestamp,
    /// Image lists that the image printed.
    pub images: OperatorImages,
    /// Names that the image printed, and that its operator then rejected in a managed set.
    #[serde(default, rename = "refused", skip_serializing_if = "BTreeSet::is_empty")]
    pub rejected: BTreeSet<ImageName>,
}

impl Inspection {
    /// Returns the image list under the version that the image counts as.
    #[must_use]
    pub fn list(&self, release: Release) -> OperatorImages {
        self.images.clone().of_release(release).rejecting(&self.rejected)
    }

    /// Returns the name of the ConfigMap.
    #[must_use]
    pub fn name(&self) -> String {
        object_name(&self.digest)
    }

    /// Returns the version that the image counts as. A vendor's rebuild often prints the version of its base: the number of the
    /// rebuild is then in the label or in the tag.
    ///
    /// # Errors
    /// Label or tag, and the output, are of different versions. The message names them; the controller acts on no guess.
    pub fn release(&self) -> Result<Release, String> {
        let printed = self.images.release();
        let labelled = self.label.as_deref().and_then(|label| label.parse::<Release>().ok());
        let tagged = || self.image.tag().and_then(|tag| tag.parse::<Release>().ok());
        let written = labelled.or_else(|| tagged().filter(|_| self.image.digest().is_none()));
        match printed.agree(written) {
            Ok(printed) => Ok(written.unwrap_or(printed).max(printed)),
            Err((printed, written)) => {
                let by = if labelled.is_some() { "labelled" } else { "tagged" };
                Err(format!("image {} is {by} {written} and prints {printed}", self.image))
            }
        }
    }
}

/// Returns the name of the Job and of the ConfigMap for an image.
#[must_use]
pub fn object_name(digest: &Digest) -> String {
    let hexadecimal: String = digest.to_string().chars().skip("sha256:".len()).take(40).collect();
    format!("inspection-{hexadecimal}")
}

/// Stored inspections and inspection Jobs of the cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Inspections {
    /// Stored inspections.
    pub kept: Vec<Inspection>,
    /// Inspection Jobs that the controller created.
    pub jobs: Read<Vec<InspectionJob>>,
}

/// An inspection Job for one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InspectionJob {
    /// `metadata.uid`, which a delete request carries.
    pub uid: String,
    /// As in [`Inspection`].
    pub image: Reference,
    /// Digest of the image that the Job runs.
    pub digest: Digest,
    /// As in [`Inspection`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Attempt number, starting at 1.
    pub attempt: u32,
    /// Why the previous attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_before: Option<String>,
    /// State of the Job.
    pub state: JobState,
}

/// State of an inspection Job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobState {
    /// The Job has not ended, or is being deleted.
    Running {
        /// Why its pod does not start.
        #[serde(rename = "trouble")]
        start_problem: Option<String>,
    },
    /// The Job completed, and its output is valid.
    #[serde(rename = "answered")]
    Completed {
        /// When the Job ended.
        at: Timestamp,
        /// Image lists that the image printed.
        images: Box<OperatorImages>,
    },
    /// The Job completed, and its output is invalid.
    Unusable {
        /// When the Job ended.
        at: Timestamp,
        /// Cause, escaped and cut.
        why: String,
    },
    /// The Job failed, or its output cannot be read.
    Failed {
        /// When the Job ended.
        at: Timestamp,
        /// Cause, escaped and cut.
        why: String,
    },
}
