//! What an operator image prints of itself, for releases that the catalogue of this build does not know.

use std::path::PathBuf;

use clap::Args;

use crate::api::Interval;
use crate::model::Reference;

/// Two files with what the operator prints with `--version` and with `--print-images=list`, or the image to run for it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operators that this build does not know")]
pub(in crate::cli) struct OperatorOutputFlags {
    /// Run the operator's image with docker, podman or nerdctl to read what it installs, without network and rights; of a version that
    /// this build does not know, or IMAGE in any case
    // A value is only taken behind `=`, so that a version may follow.
    #[arg(long, value_name = "IMAGE", num_args = 0..=1, require_equals = true, conflicts_with = "version_file")]
    pub inspect: Option<Option<Reference>>,

    /// How long it may take to pull that image and to run it
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "inspect")]
    pub inspect_timeout: Interval,

    /// What the operator prints with --version
    #[arg(long, value_name = "FILE", requires = "images_file")]
    pub version_file: Option<PathBuf>,

    /// What the operator prints with --print-images=list
    #[arg(long, value_name = "FILE", requires = "version_file")]
    pub images_file: Option<PathBuf>,
}

impl OperatorOutputFlags {
    /// Returns the image that is to be run, if one is named.
    pub fn image(&self) -> Option<&Reference> {
        self.inspect.as_ref().and_then(Option::as_ref)
    }
}
