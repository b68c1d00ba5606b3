//! Files that are named on the command line, read whole.

use std::io::Read as _;

use anyhow::Context as _;

use crate::cli::output::Failure;
use crate::manifest::ManifestError;

/// The longest file that is read, in bytes.
const MAX_LENGTH: u64 = 64 * 1024 * 1024;

/// Returns the text of a file; `-` is standard input.
///
/// # Errors
/// It cannot be read, is too long, or is not UTF-8. URLs are rejected: fetching is a step of its own.
pub(in crate::cli) fn read(name: &str) -> Result<String, Failure> {
    if name.contains("://") {
        return Err(Failure::new(format!("{name} is an address, and no file"))
            .hint(format!("curl -fsSL {name} | imageset-controller … -")));
    }
    let shown = display_name(name);
    let mut bytes = Vec::new();
    let read = match name {
        "-" => std::io::stdin().lock().take(MAX_LENGTH + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(name).and_then(|file| file.take(MAX_LENGTH + 1).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("{shown} cannot be read"))?;
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(Failure::new(format!("{shown} is longer than {} MiB", MAX_LENGTH / 1024 / 1024)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Failure::new(format!("{shown}: line {line} is not UTF-8"))
    })
}

/// Returns the name of a file for messages.
pub(in crate::cli) fn display_name(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

/// Returns the failure for a file that cannot be parsed, with its place as compilers print it.
pub(in crate::cli) fn malformed(name: &str, error: &ManifestError) -> Failure {
    Failure::new(format!("{}:{}:{}: {}", display_name(name), error.line, error.column, error.message))
}
