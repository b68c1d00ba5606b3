//! imageset-controller: keeps a Calico cluster that is pinned by digest upgradable with no hands.
//!
//! One way through the house: [`cluster`] observes, [`domain`] decides, [`cluster`] applies and reports.
//! `docs/architecture.md` is the map.

pub mod api;
pub mod cli;
pub mod cluster;
pub mod domain;
pub mod http;
pub mod inspection;
pub mod manifest;
pub mod metrics;
#[cfg(any(test, fuzzing))]
pub mod properties;
pub mod registry;
pub mod telemetry;
pub mod traffic;
