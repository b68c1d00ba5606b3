//! The Kubernetes edge: reads what a decision needs, writes what was decided, reports it. It decides nothing itself.
//!
//! | room | does |
//! |---|---|
//! | `client`, `deadlines`, `request_counter` | connect; every wait ends, every request is counted |
//! | `watch` | follows what decisions depend on into stores of small values, and says when something has changed |
//! | `read` | makes a snapshot from the stores, or from the API server itself; a failed read is a value |
//! | `registry_cache` | looks up images in registries and remembers the responses |
//! | `write` | the only writer of ImageSets, records, Jobs and the gate |
//! | `status` | the only writer of the policy's status and of events |
//! | `reconcile` | one reconcile, as a table of contents |
//! | `controller` | reconciles when something is due |
//! | `leader` | determines which instance leads |

pub mod client;
pub mod controller;
mod deadlines;
mod gate;
pub mod leader;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod read;
pub mod reconcile;
mod records;
pub mod registry_cache;
mod request_counter;
pub mod status;
pub mod watch;
pub mod write;

use crate::api::{FIELD_MANAGER, POLICY_LABEL, POLICY_NAME};

/// Annotation: record that a set's digests come from.
pub const RECORD_ANNOTATION: &str = "imageset-controller.io/record";
/// Annotation: digest of the content as the controller wrote it.
pub const CONTENT_ANNOTATION: &str = "imageset-controller.io/content";
