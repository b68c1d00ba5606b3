//! The annotations with which people and pipelines ask the controller for something without touching the spec, which belongs
//! to Git. Names and notation only.
//!
//! `imageset-controller.io/prepare` holds `VERSION=TIME`, several with commas between them: no version and no reference of an
//! image can contain `=` or `,`.

use jiff::Timestamp;

/// On a policy: any new text has everything checked now, once.
pub const REFRESH_ANNOTATION: &str = "imageset-controller.io/refresh";
/// On a policy: operator versions to stage, each until a time.
pub const PREPARE_ANNOTATION: &str = "imageset-controller.io/prepare";
/// The most versions that may be asked for, as many as the spec can name.
pub const MOST_REQUESTED: usize = 16;
/// The longest text of a refresh that counts, in characters.
pub const LONGEST_REFRESH: usize = 128;

/// The parts of a prepare annotation.
pub fn entries(annotation: &str) -> impl Iterator<Item = &str> {
    annotation.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// The version and the time of one part, if that is what it is.
#[must_use]
pub fn version_and_time(entry: &str) -> Option<(&str, Timestamp)> {
    let (version, until) = entry.split_once('=')?;
    Some((version.trim(), until.trim().parse().ok()?))
}
