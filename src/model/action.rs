//! The writes that a decision can ask for.

use serde::Serialize;

use crate::model::digest::Digest;
use crate::model::gate::Enforcement;
use crate::model::image_set::CompleteImageSet;
use crate::model::inspection::{Inspected, object_name};
use crate::model::record::Record;
use crate::model::reference::Reference;

/// One write.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Create or replace the record (a ConfigMap in our namespace).
    WriteRecord(Box<Record>),
    /// Create or replace an ImageSet by one server-side apply.
    StoreImageSet(Box<StoreImageSet>),
    /// Keep what an operator image said of itself (a ConfigMap in our namespace).
    KeepInspection(Box<Inspected>),
    /// Run an operator image and ask it for its version and images (a Job in the inspection namespace).
    StartInspection(Box<StartInspection>),
    /// Delete a Job that has answered or failed.
    EndInspection {
        /// Its name.
        name: String,
        /// Its uid: no other Job of this name is deleted.
        uid: String,
    },
    /// Delete a set of ours that is one too many.
    PruneImageSet(PruneImageSet),
    /// Install or change the upgrade gate, or take it away.
    SetGate(Option<Enforcement>),
}

impl Action {
    /// The apply of an ImageSet, if it is one.
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

/// The Job that asks one operator image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartInspection {
    /// The image as it is written where it was found.
    pub image: Reference,
    /// Its digest, which is run.
    pub digest: Digest,
    /// Its version label.
    pub label: Option<String>,
    /// The how-manieth attempt it is, from 1.
    pub attempt: u32,
    /// Why the attempt before did not bring an answer.
    pub failed_before: Option<String>,
}

impl StartInspection {
    /// Name of the Job.
    #[must_use]
    pub fn name(&self) -> String {
        object_name(&self.digest)
    }
}

/// A set of a previous version that is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneImageSet {
    /// Its name.
    pub image_set: String,
    /// It is deleted only if it still is as it was seen.
    pub resource_version: String,
}

/// The apply of one complete set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreImageSet {
    /// What is stored.
    pub set: CompleteImageSet,
    /// What the object was when it was observed; the write fails if it has changed since.
    pub precondition: Precondition,
    /// Why.
    pub motive: Motive,
}

/// What has to be true of the object for a write to succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Precondition {
    /// It does not exist.
    Absent,
    /// It has this resourceVersion.
    Unchanged(String),
}

/// Why a set is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Motive {
    /// There was none.
    Create,
    /// Ours, and other content is wanted now (another release of the same name, another registry, an override, a repin).
    Update,
    /// Ours, and edited by somebody else: the recorded content is put back.
    PutBack,
    /// Somebody else's, and the policy allows to take it over.
    TakeOver,
    /// Ours, and refused by its operator: what that took before stands in until its image has told what it takes.
    StandIn,
}
