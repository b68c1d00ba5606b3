//! What people install: the manifests of `deploy/`, as kustomize, Helm and one file make them. All make the same objects, which
//! the kinds' schemas allow and a security reviewer lets pass. Nothing is applied here; a real API server has its say elsewhere.
//!
//! `UPDATE=1 cargo test --test install` writes `deploy/install.yaml` and the chart's copies of other files anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../testbox/checkout.rs"]
mod checkout;
mod conform;
mod copies;
mod documented;
mod kinds;
mod krew;
mod linted;
mod objects;
mod released;
mod rights;
mod same;
mod tools;
mod values;
mod versions;

use std::fs;
use std::path::PathBuf;

use checkout::{assert_current, built_by, root, text};

/// The files below a folder of the checkout that end so.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|one| one == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
