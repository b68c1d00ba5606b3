//! `refresh`: has the controller check everything now, by an annotation, as Flux has it. Writes that annotation and nothing
//! else.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::connection::{self, Connection, POLICY};
use super::output::{Answer, Failure};
use super::runtime;
use crate::api::requests::REFRESH_ANNOTATION;
use crate::api::{ImageSetPolicy, Interval};

/// Have the controller check the registry and newer releases now.
///
/// It sets the annotation imageset-controller.io/refresh on the policy. Any new text does the same, once.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller refresh
  imageset-controller refresh --wait && imageset-controller status")]
pub(super) struct Arguments {
    /// Wait until it is done; exit code 2 if it is not by then
    #[arg(long)]
    wait: bool,

    /// How long to wait
    #[arg(long, default_value = "2m", value_name = "TIME")]
    timeout: Interval,

    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    runtime()?.block_on(async {
        let client = arguments.connection.client().await?;
        connection::stored_policy(&client).await?;
        let asked = Timestamp::now().to_string();
        let annotations = json!({ REFRESH_ANNOTATION: asked });
        connection::patch(&client, &json!({ "metadata": { "annotations": annotations } })).await?;
        if !arguments.wait {
            return Ok(Answer::text(format!("{POLICY} refresh asked for")));
        }
        let handled = |policy: &ImageSetPolicy| is_handled(policy, &asked);
        match connection::wait(&client, arguments.timeout.duration(), &handled).await? {
            Some(_) => Ok(Answer::text(format!("{POLICY} refreshed"))),
            None => Err(Failure::new(format!("the refresh was not handled within {}", arguments.timeout))
                .hint("is the controller running? imageset-controller status tells what is in its way")),
        }
    })
}

/// Whether this request was handled, or a later one of somebody else.
fn is_handled(policy: &ImageSetPolicy, asked: &String) -> bool {
    let stands = policy.metadata.annotations.as_ref().and_then(|annotations| annotations.get(REFRESH_ANNOTATION));
    let handled = policy.status.as_ref().and_then(|status| status.last_handled_refresh.as_ref());
    handled.is_some() && (handled == Some(asked) || handled == stands)
}
