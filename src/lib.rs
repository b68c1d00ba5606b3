//! imageset-controller keeps a Calico cluster whose images are pinned by digest upgradable without manual work.
//!
//! A reconcile reads a snapshot in [`cluster`], decides on it in [`rules`], then writes and reports in [`cluster`].
//! `docs/architecture.md` is the map.

pub mod api;
pub mod catalogue;
pub mod cli;
pub mod cluster;
pub mod http;
pub mod inspection;
pub mod manifest;
pub mod metrics;
pub mod model;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod registry;
pub mod request_metrics;
pub mod rules;
pub mod telemetry;
pub mod yaml;
