//! The documents: reference pages are made from the code, links and places are there, versions agree, policies in them are
//! understood and commands exist. Reads files of the checkout, and asks the binary for its help.
//!
//! `UPDATE=1 cargo test --test docs` writes the reference pages anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
#[allow(dead_code)]
#[path = "../testbox/checkout.rs"]
mod checkout;
mod cli;
mod commands;
mod explain;
mod links;
mod metrics;
mod monitoring;
mod picture;
mod places;
mod policies;
mod reference;
mod release;
mod rooms;
mod versions;
mod words;
mod workflows;

use std::fs;
use std::path::{Path, PathBuf};

use checkout::{assert_current, root, text};

/// All files of the checkout that `wanted` takes, with their text; neither what was built nor what is hidden.
fn files(wanted: impl Fn(&Path) -> bool) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if name == "target" || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

/// All documents.
fn documents() -> Vec<(PathBuf, String)> {
    let documents = files(|path| has_extension(path, "md"));
    assert!(documents.len() > 15, "only {} documents were found", documents.len());
    documents
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// The file's name as people write it.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
