//! The images of an operator: by the catalogue, or by what an operator image printed of itself.

use std::path::Path;

use super::files;
use crate::catalogue::Catalogue;
use crate::cli::flags::operator_output::OperatorOutputFlags;
use crate::cli::output::Failure;
use crate::inspection::output;
use crate::model::{OperatorImages, Reason, Release};

/// Returns the images of a release that the catalogue knows.
pub(in crate::cli) fn of_release(release: Release) -> Result<OperatorImages, Failure> {
    Catalogue::embedded().get(&release).ok_or_else(|| unknown_release(release))
}

/// Returns the images by what the operator printed, if these files are given.
pub(in crate::cli) fn of_output(flags: &OperatorOutputFlags) -> Result<Option<OperatorImages>, Failure> {
    let (Some(version), Some(images)) = (&flags.version_file, &flags.images_file) else { return Ok(None) };
    let read = |path: &Path| files::read(&path.to_string_lossy());
    output::parse(&read(version)?, &read(images)?).map(Some).map_err(|error| {
        Failure::new(error.to_string())
            .hint("run the operator's image once with --version and once with --print-images=list, and keep both outputs whole")
    })
}

/// The failure for a release that the catalogue does not know, with what to do about it.
pub(in crate::cli) fn unknown_release(release: Release) -> Failure {
    let newest = Catalogue::embedded().newest().map_or_else(String::new, |newest| format!(" (the newest is {newest})"));
    Failure::new(format!("operator {release} is not among the releases that this build knows{newest}"))
        .reason(Reason::OperatorVersionUnknown)
        .hint(
            "use a newer imageset-controller, or ask the operator itself: run its image once with --version and once with \
             --print-images=list, keep both outputs, and give them: generate --version-file FILE --images-file FILE; `imageset-controller catalogue \
             add` adds them to a checkout",
        )
}
