//! Files that are named on the command line: read whole, and written so that nothing is lost when something goes wrong half-way.

use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::Context as _;

use super::output::Failure;
use crate::manifest::Refused;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The text of a file; `-` is standard input. Addresses are refused: what is fetched and what is read are two steps.
pub(super) fn read(name: &str) -> Result<String, Failure> {
    if name.contains("://") {
        return Err(Failure::new(format!("{name} is an address, and no file"))
            .hint(format!("curl -fsSL {name} | imageset-controller … -")));
    }
    let shown = shown(name);
    let mut bytes = Vec::new();
    let read = match name {
        "-" => std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(name).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("{shown} cannot be read"))?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::new(format!("{shown} is longer than {} MiB", LONGEST / 1024 / 1024)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        Failure::new(format!("{shown}: line {line} is not UTF-8"))
    })
}

/// How a file is named in messages.
pub(super) fn shown(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

/// What is not understood in a file, as compilers tell it.
pub(super) fn refused(name: &str, refused: &Refused) -> Failure {
    Failure::new(format!("{}:{}:{}: {}", shown(name), refused.line, refused.column, refused.message))
}

/// Replaces a file by this text in one step, with the rights that it had.
pub(super) fn replace(name: &str, text: &str) -> Result<(), Failure> {
    let path = Path::new(name).canonicalize().with_context(|| format!("{name} cannot be found"))?;
    let mut beside = path.clone().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    let replaced = || -> std::io::Result<()> {
        let rights = std::fs::metadata(&path)?.permissions();
        let mut file = std::fs::File::create_new(&beside)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(rights)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    };
    replaced().map_err(|error| {
        // What is half written is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
        Failure::new(format!("{name} cannot be written: {error}; it is as it was"))
    })
}
