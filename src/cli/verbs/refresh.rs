//! `refresh`: requests a check of everything now, by an annotation, as Flux does it. Writes that annotation and nothing else.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use crate::api::ImageSetPolicy;
use crate::api::requests::REFRESH_ANNOTATION;
use crate::cli::edits::policy_patch;
use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::flags::timeout::TimeoutFlag;
use crate::cli::inputs::policy::{self, POLICY};
use crate::cli::output::{Failure, Output};
use crate::cli::runtime::runtime;

/// Have the controller check the registry and newer releases now.
///
/// It sets the annotation imageset-controller.io/refresh on the policy. Any new text does the same, once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller refresh
  imageset-controller refresh --wait && imageset-controller status")]
pub(in crate::cli) struct Arguments {
    /// Wait until it is done; exit code 2 if it is not by then
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    timeout: TimeoutFlag,

    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    runtime()?.block_on(async {
        let client = arguments.cluster.client().await?;
        policy::require(&client).await?;
        let request = Timestamp::now().to_string();
        let annotations = json!({ REFRESH_ANNOTATION: request });
        policy_patch::apply(&client, &json!({ "metadata": { "annotations": annotations } })).await?;
        if !arguments.wait {
            return Ok(Output::text(format!("{POLICY} refresh asked for")));
        }
        let handled = |policy: &ImageSetPolicy| is_handled(policy, &request);
        match policy::wait_until(&client, arguments.timeout.duration(), &handled).await? {
            Some(_) => Ok(Output::text(format!("{POLICY} refreshed"))),
            None => Err(Failure::new(format!("the refresh was not handled within {}", arguments.timeout.timeout))
                .hint("is the controller running? imageset-controller status tells what is in its way")),
        }
    })
}

/// Whether the controller has handled this request, or a later one.
fn is_handled(policy: &ImageSetPolicy, request: &String) -> bool {
    let current = policy.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REFRESH_ANNOTATION));
    let handled = policy.status.as_ref().and_then(|status| status.last_handled_refresh.as_ref());
    handled.is_some() && (handled == Some(request) || handled == current)
}
