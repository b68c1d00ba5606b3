//! What decisions ask of registries, and what registries answered. Asking is the edge's job.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::digest::Digest;
use crate::model::platform::Platform;
use crate::model::reference::Reference;
use crate::model::registry_failure::RegistryFailure;
use crate::model::release::Release;
use crate::model::resolved_image::ResolvedImage;

/// What a decision still needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Questions {
    /// Images whose digest and platforms are wanted.
    pub images: BTreeSet<Reference>,
    /// Operator images whose `version` label is wanted.
    pub operators: BTreeSet<Reference>,
    /// Operator images whose repository's releases are wanted. Nothing waits for these.
    pub releases: BTreeSet<Reference>,
    /// Operator images whose digest is wanted; answered with [`Answers::operators`]. Nothing waits for these.
    pub digests: BTreeSet<Reference>,
    /// What makes the answers cheaper or better; no question by itself.
    pub hints: Hints,
}

/// What those who ask registries should know beside the references.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hints {
    /// What some references resolved to before: where the registry still names that digest, nothing is fetched again.
    pub known: BTreeMap<Reference, ResolvedImage>,
    /// The nodes' platforms: of an index, the manifests for these have to be there.
    pub platforms: BTreeSet<Platform>,
}

impl Questions {
    /// Nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holds_nothing() && self.releases.is_empty() && self.digests.is_empty()
    }

    /// Nothing is asked that a write would have to wait for.
    #[must_use]
    pub fn holds_nothing(&self) -> bool {
        self.images.is_empty() && self.operators.is_empty()
    }
}

/// What registries answered so far. Whoever asked gets an answer, if only that it is not there yet.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// By the reference that was asked for.
    pub images: BTreeMap<Reference, Answer<ResolvedImage>>,
    /// By the operator reference that was asked for.
    pub operators: BTreeMap<Reference, Answer<OperatorImage>>,
    /// By the operator reference whose repository was asked.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub releases: BTreeMap<Reference, Answer<BTreeSet<Release>>>,
}

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer<T> {
    /// Asked, and not answered yet.
    Pending,
    /// The registry's bytes, verified.
    Known(T),
    /// It failed; it will be tried again by itself when its retry class says so.
    Failed(RegistryFailure),
}

impl<T> Answer<T> {
    /// What was told, if it was.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Pending | Self::Failed(_) => None,
        }
    }
}

/// What an operator image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorImage {
    /// Digest that its reference resolves to.
    pub digest: Digest,
    /// `LABEL version` of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
