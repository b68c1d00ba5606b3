//! `status`: the one screen that answers "is my ImageSet used, and if not, why". Shows what the controller wrote into the
//! policy's status; writes nothing.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::connection::{self, Connection};
use super::output::{Answer, Failure};
use super::{runtime, screen};
use crate::api::ImageSetPolicy;

/// Show what runs, what is prepared, and what is wrong, on one screen.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller status
  imageset-controller status -o json | jq .conditions")]
pub(super) struct Arguments {
    /// How to show it; yaml and json are the policy's status as it is
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    connection: Connection,
}

/// How the status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
    /// For both.
    Yaml,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let policy = runtime()?.block_on(async {
        let client = arguments.connection.client().await?;
        connection::stored_policy(&client).await
    })?;
    shown(&policy, arguments.output)
}

fn shown(policy: &ImageSetPolicy, format: Format) -> Result<Answer, Failure> {
    let unwritable = |error: &dyn std::fmt::Display| Failure::new(format!("the status cannot be written: {error}"));
    match format {
        Format::Text => Ok(Answer::text(screen::of_policy(policy, Timestamp::now()))),
        Format::Json => {
            serde_json::to_string_pretty(&policy.status).map(Answer::text).map_err(|error| unwritable(&error))
        }
        Format::Yaml => serde_yaml_ng::to_string(&policy.status).map(Answer::text).map_err(|error| unwritable(&error)),
    }
}
