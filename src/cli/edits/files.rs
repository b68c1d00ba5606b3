//! Files that people keep, replaced so that nothing is lost when a write fails half-way.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

use crate::cli::output::Failure;

/// Replaces the text of a file in one step, and keeps its permissions.
pub(in crate::cli) fn replace(name: &str, text: &str) -> Result<(), Failure> {
    let path = Path::new(name).canonicalize().with_context(|| format!("{name} cannot be found"))?;
    let mut temporary = path.clone().into_os_string();
    temporary.push(format!(".{}", std::process::id()));
    let write = || -> io::Result<()> {
        let permissions = fs::metadata(&path)?.permissions();
        let mut file = File::create_new(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.set_permissions(permissions)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Failure::new(format!("{name} cannot be written: {error}; it is as it was"))
    })
}
