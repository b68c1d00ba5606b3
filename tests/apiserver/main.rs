//! The product as users run it, the real binary with the rights of `deploy/base`, against a real kube-apiserver and real
//! registries, with the operator double and the invariant recorder at work. One module per theme; each test is a story.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../testbox/mod.rs"]
mod testbox;

mod shell;
mod world;

mod bad_input;
mod cloud;
mod crash;
mod disarm;
mod discovery;
mod documented_bugs;
mod drift;
mod explained;
mod first_install;
mod flapping;
mod gate;
mod gate_life;
mod gitops;
mod help;
mod hostile;
mod hostile_text;
mod impossible;
mod installed;
mod least_rights;
mod merged_images;
mod nodes;
mod odd_rollouts;
mod pods;
mod procedure;
mod prometheus;
mod quiet;
mod rejected_writes;
mod restart;
mod retention;
mod same_name;
mod slow;
mod status;
mod two_replicas;
mod unknown_version;
mod upgrade_train;
mod verbs;
mod whole_way;
