//! The Kubernetes edge: reads what a decision needs, writes what was decided, reports it. It decides nothing itself.
//!
//! | room | does |
//! |---|---|
//! | `client` | connects, with deadlines |
//! | `observe`, `records`, `inspections`, `nodes`, `pods`, `registry_access` | read; a failed read is a value |
//! | `answers` | asks registries and remembers what they said |
//! | `apply` | the only writer of ImageSets, records and Jobs |
//! | `status` | the only writer of our status and events |
//! | `pass` | one reconcile, as a table of contents |
//! | `watches`, `controller` | say when a pass is due |
//! | `lease` | says who leads |

pub mod answers;
pub mod apply;
pub mod client;
pub mod controller;
mod counted;
mod deadlines;
mod gate;
pub mod inspections;
pub mod lease;
pub mod nodes;
pub mod observe;
pub mod pass;
pub mod pods;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod records;
pub mod registry_access;
pub mod settings;
pub mod status;
pub mod watches;

/// Field manager of every write but the status.
pub const FIELD_MANAGER: &str = "imageset-controller";
/// The one name of a policy.
pub const POLICY_NAME: &str = "default";
