//! `crds`: the custom resource definitions of this build. Needs no cluster.

use clap::Args;

use super::output::{Answer, Failure};
use crate::api;

/// Print the CustomResourceDefinition of ImageSetPolicy, ready for kubectl apply.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  imageset-controller crds | kubectl apply --server-side -f -")]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<Answer, Failure> {
    let yaml = api::crds_yaml().map_err(|error| Failure::new(format!("the definition cannot be written: {error}")))?;
    Ok(Answer::text(yaml))
}
