//! `crds`: the custom resource definitions of this build. Needs no cluster.

use clap::Args;

use crate::api;
use crate::cli::output::{Failure, Output};

/// Print the CustomResourceDefinition of ImageSetPolicy, ready for kubectl apply.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  imageset-controller crds | kubectl apply --server-side -f -")]
pub(in crate::cli) struct Arguments {}

pub(in crate::cli) fn run(_: &Arguments) -> Result<Output, Failure> {
    let yaml = api::crds_yaml().map_err(|error| Failure::new(format!("the definition cannot be written: {error}")))?;
    Ok(Output::text(yaml))
}
