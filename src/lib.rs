//! imageset-controller: keeps a Calico cluster that is pinned by digest upgradable with no hands.
//!
//! One way through the house: [`cluster`] observes, [`rules`] decide, [`cluster`] applies and reports.
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
