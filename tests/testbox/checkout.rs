//! The checkout as tests read it: its files, files that are generated from others, and text that a program has to print.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the checkout.
pub fn text(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Whether files that are generated are to be written, not compared.
pub fn updates() -> bool {
    std::env::var_os("UPDATE").is_some()
}

/// Compares a file of the checkout with what is generated, or writes it (`UPDATE=1`). Returns whether they are equal.
pub fn is_current(file: &Path, generated: &str) -> bool {
    let file = root().join(file);
    if updates() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, generated).unwrap();
    }
    fs::read_to_string(&file).unwrap_or_default() == generated
}

/// Compares a file of the checkout with what is generated, or writes it (`UPDATE=1`).
pub fn assert_current(file: &str, generated: &str) {
    let target = env!("CARGO_CRATE_NAME");
    assert!(is_current(file.as_ref(), generated), "{file} is out of date: run UPDATE=1 cargo test --test {target}");
}

/// Runs a script of the checkout that builds tools and prints their folder.
pub fn built_by(script: &str) -> PathBuf {
    let output = Command::new(root().join(script)).stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script} ended with {}; its message is above", output.status);
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// All parts have to be in the text, in this order.
pub fn assert_contains(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("{part:?} is missing, or not in its place, in:\n{text}") };
        rest = &rest[at + part.len()..];
    }
}
