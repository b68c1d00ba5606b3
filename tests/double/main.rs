//! The operator double judged by the published facts, and by itself on a real API server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rules;

#[path = "../testbox/mod.rs"]
mod testbox;
