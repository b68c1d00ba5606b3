//! The annotations by which people and pipelines request something of the controller without a change of the spec, which belongs
//! to Git. Names and notation only.
//!
//! `imageset-controller.io/prepare` holds `VERSION=TIME`, several separated by commas: no version and no image reference can
//! contain `=` or `,`.

use jiff::Timestamp;

/// Annotation of a policy: any new value requests one check of everything.
pub const REFRESH_ANNOTATION: &str = "imageset-controller.io/refresh";
/// Annotation of a policy: operator versions to stage, each until a time.
pub const PREPARE_ANNOTATION: &str = "imageset-controller.io/prepare";
/// Maximum number of versions that may be requested, as many as the spec can name.
pub const MOST_REQUESTED: usize = 16;
/// Maximum length of the value of a refresh, in characters.
pub const LONGEST_REFRESH: usize = 128;

/// Splits a prepare annotation into its entries.
pub fn entries(annotation: &str) -> impl Iterator<Item = &str> {
    annotation.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

/// Parses an entry into version and time; `None` if it is malformed.
#[must_use]
pub fn version_and_time(entry: &str) -> Option<(&str, Timestamp)> {
    let (version, until) = entry.split_once('=')?;
    Some((version.trim(), until.trim().parse().ok()?))
}
