//! The writes that a decision can request.

use serde::Serialize;

use crate::model::digest::Digest;
use crate::model::gate::Enforcement;
use crate::model::image_set::CompleteImageSet;
use crate::model::inspection::{Inspection, object_name};
use crate::model::record::Record;
use crate::model::reference::Reference;

/// One write to the API server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Create or replace a record (a ConfigMap in the controller's namespace).
    WriteRecord(Box<Record>),
    /// Create an ImageSet, or replace it by one server-side apply.
    StoreImageSet(Box<StoreImageSet>),
    /// Store the output of an operator image (a ConfigMap in the controller's namespace).
    KeepInspection(Box<Inspection>),
    /// Run an operator image in a Job, which prints its version and its images (in the inspection namespace).
    StartInspection(Box<StartInspection>),
    /// Delete an inspection Job that has completed or failed.
    EndInspection {
        /// Name of the Job.
        name: String,
        /// UID of the Job. No other Job of this name is deleted.
        uid: String,
    },
    /// Delete a managed set of a previous version that `spec.retain` no longer keeps.
    PruneImageSet(PruneImageSet),
    /// Create or update the admission gate; `None` deletes it.
    SetGate(Option<Enforcement>),
}

impl Action {
    /// Returns the write of an ImageSet; `None` for every other action.
    #[must_use]
    pub fn image_set(&self) -> Option<&StoreImageSet> {
        match self {
            Self::StoreImageSet(store) => Some(store),
            Self::WriteRecord(_)
            | Self::KeepInspection(_)
            | Self::StartInspection(_)
            | Self::EndInspection { .. }
            | Self::PruneImageSet(_)
            | Self::SetGate(_) => None,
        }
    }
}

/// An inspection Job for one operator image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartInspection {
    /// The image, as written where it was found.
    pub image: Reference,
    /// Digest of the image. The Job runs the image by this digest.
    pub digest: Digest,
    /// Version label of the image.
    pub label: Option<String>,
    /// Attempt number, starting at 1.
    pub attempt: u32,
    /// Why the previous attempt failed.
    pub failed_before: Option<String>,
}

impl StartInspection {
    /// Returns the name of the Job.
    #[must_use]
    pub fn name(&self) -> String {
        object_name(&self.digest)
    }
}

/// A managed set of a previous version that is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneImageSet {
    /// Name of the ImageSet.
    pub image_set: String,
    /// The observed `resourceVersion`: the set is deleted only if it is unchanged.
    pub resource_version: String,
}

/// The write of one complete set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreImageSet {
    /// The set to store.
    pub set: CompleteImageSet,
    /// The observed state of the object. The write fails if the object has changed since.
    pub precondition: Precondition,
    /// Why the set is stored.
    pub motive: Motive,
}

/// The state that an object must be in for a write to succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Precondition {
    /// The object does not exist.
    Absent,
    /// The object has this `resourceVersion`.
    Unchanged(String),
}

/// Why a set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Motive {
    /// No set of this name exists.
    Create,
    /// The managed set requires other content: another release of the same name, another registry, an override or a repin.
    Update,
    /// The managed set was edited: the recorded content is restored.
    #[serde(rename = "PutBack")]
    Restore,
    /// The set is unmanaged, and the policy allows the controller to take ownership.
    TakeOver,
    /// The operator rejects the managed set: the previously accepted content stands in until the operator image has been
    /// inspected.
    StandIn,
}
