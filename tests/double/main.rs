//! The operator double judged by the published facts, and, with the invariant recorder, on a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod flow;
mod invariants;
mod rules;
mod stage;

#[path = "../testbox/mod.rs"]
mod testbox;
