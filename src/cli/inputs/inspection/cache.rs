//! What operator images printed, kept in the user's cache folder by digest: an image never prints anything else. Each has a folder with
//! two files, as `--version-file` and `--images-file` take them. What is read is parsed anew by whoever asks.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::engine::Printed;
use crate::inspection::output::LIMIT;
use crate::model::Digest;

/// The user's cache folder, by the XDG Base Directory Specification.
const CACHE_FOLDER: &str = "XDG_CACHE_HOME";
/// The most images of which the outputs are kept.
const MAX_KEPT: usize = 64;
const FILES: [&str; 2] = ["version.txt", "images.txt"];

/// Returns the folder of all outputs; `None` where the user has no cache folder.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os(CACHE_FOLDER).map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    cache.is_absolute().then(|| cache.join("imageset-controller/inspections"))
}

/// Returns the name of an image's folder.
fn name(digest: &Digest) -> String {
    digest.to_string().replace(':', "-")
}

/// Returns the outputs of an image; `None` if they are not kept, or cannot be read whole.
pub(super) fn read(digest: &Digest) -> Option<Printed> {
    let folder = folder()?.join(name(digest));
    let [version, images] = FILES.map(|file| read_file(&folder.join(file)));
    Some(Printed { version: version?, images: images? })
}

/// Returns the text of a file that an operator can have printed.
fn read_file(path: &Path) -> Option<String> {
    let mut text = String::new();
    let bound = u64::try_from(LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path).ok()?.take(bound).read_to_string(&mut text).ok()?;
    (text.len() <= LIMIT).then_some(text)
}

/// Keeps the outputs of an image, in the place of what is kept. Where there is no cache folder, nothing is kept.
pub(super) fn write(digest: &Digest, printed: &Printed) -> io::Result<()> {
    let Some(folder) = folder() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let (kept, new) = (folder.join(name(digest)), folder.join(format!("new-{}", std::process::id())));
    let replaced = replace(&kept, &new, printed);
    let _ = fs::remove_dir_all(&new);
    replaced?;
    prune(&folder);
    Ok(())
}

fn replace(kept: &Path, new: &Path, printed: &Printed) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(new)?;
    for (file, text) in FILES.iter().zip([&printed.version, &printed.images]) {
        fs::write(new.join(file), text)?;
    }
    match fs::remove_dir_all(kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(new, kept)
}

/// Removes the oldest outputs beyond [`MAX_KEPT`]. What cannot be removed stays for the next time.
fn prune(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let age = |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut kept: Vec<(SystemTime, PathBuf)> = entries.filter_map(age).collect();
    kept.sort();
    for (_, old) in kept.iter().rev().skip(MAX_KEPT) {
        let _ = fs::remove_dir_all(old);
    }
}
