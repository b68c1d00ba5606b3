//! What an operator image prints of itself, for releases that the catalogue of this build does not know.

use std::path::PathBuf;

use clap::Args;

/// Two files: what the operator prints with `--version` and with `--print-images=list`.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct OperatorOutputFlags {
    /// What the operator prints with --version
    #[arg(long, value_name = "FILE", requires = "images_file")]
    pub version_file: Option<PathBuf>,

    /// What the operator prints with --print-images=list
    #[arg(long, value_name = "FILE", requires = "version_file")]
    pub images_file: Option<PathBuf>,
}
