//! `status`: the one screen that answers "is my ImageSet used, and if not, why". Shows what the controller wrote into the
//! policy's status, or with `--live` what is to be seen now; writes nothing.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;

use super::connection::{self, Connection, LOOK_EVERY};
use super::output::{Answer, Failure, Redrawn, note};
use super::screen::{self, Detail};
use super::{run, runtime};
use crate::api::ImageSetPolicy;
use crate::cluster::{lease, pass, status};

/// Show what runs, what is prepared, and what is wrong, on one screen.
///
/// It is what the controller found last. With --live this command looks at the cluster itself, with your own rights; what
/// only a registry can tell is then as the controller found it last.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller status
  imageset-controller status --watch
  imageset-controller status --live -o wide
  imageset-controller status -o json | jq .conditions")]
pub(super) struct Arguments {
    /// How to show it; yaml and json are the policy's status as it is, wide shows evidence, components and conditions, too
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    /// Show it again whenever it changes, until interrupted
    #[arg(short, long)]
    watch: bool,

    /// Look at the cluster now instead of showing what the controller found last
    #[arg(long)]
    live: bool,

    #[command(flatten)]
    connection: Connection,
}

/// How the status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For people who want to know more.
    Wide,
    /// For machines.
    Json,
    /// For both.
    Yaml,
}

/// What was looked at.
struct Looked {
    policy: ImageSetPolicy,
    /// Since when no instance of the controller has been heard of.
    silent_since: Option<Timestamp>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    runtime()?.block_on(async {
        let client = arguments.connection.client().await?;
        if arguments.watch {
            return watch(&client, arguments).await;
        }
        let looked = look(&client, arguments).await?;
        Ok(Answer::text(shown(&looked, arguments.output)?))
    })
}

async fn look(client: &Client, arguments: &Arguments) -> Result<Looked, Failure> {
    let mut policy = *connection::stored_policy(client).await?;
    if arguments.live {
        let passed = pass::look_at_cluster(client.clone(), &policy, arguments.connection.namespace.clone()).await;
        let before = policy.status.take().unwrap_or_default();
        policy.status = Some(status::of_report(&before, &passed.report, &Time(Timestamp::now())));
        return Ok(Looked { policy, silent_since: None });
    }
    let silent_since = lease::silent_since(client, &arguments.connection.namespace, run::LEASE, Timestamp::now()).await;
    Ok(Looked { policy, silent_since })
}

/// Looks again and again: one small object, so that a watch would save nothing. On a terminal the screen is drawn over the one
/// before; in a pipe it is written again when the status is another one.
async fn watch(client: &Client, arguments: &Arguments) -> Result<Answer, Failure> {
    let mut looked = look(client, arguments).await?;
    let mut drawn = Redrawn::default();
    loop {
        drawn.show(&shown(&looked, arguments.output)?, arguments.output == Format::Yaml)?;
        looked = loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let again = match look(client, arguments).await {
                Ok(again) => again,
                Err(failure) => {
                    note(&format!("{}; it is tried again", failure.message()));
                    continue;
                }
            };
            let same = again.policy.status == looked.policy.status && again.silent_since == looked.silent_since;
            if drawn.is_terminal() || !same {
                break again;
            }
        };
    }
}

fn shown(looked: &Looked, format: Format) -> Result<String, Failure> {
    let unwritable = |error: &dyn std::fmt::Display| Failure::new(format!("the status cannot be written: {error}"));
    let Looked { policy, silent_since } = looked;
    let text = |detail: Detail| screen::of_policy(policy, Timestamp::now(), detail, *silent_since);
    match format {
        Format::Text => Ok(text(Detail::Normal)),
        Format::Wide => Ok(text(Detail::Wide)),
        Format::Json => serde_json::to_string_pretty(&policy.status).map_err(|error| unwritable(&error)),
        Format::Yaml => serde_yaml_ng::to_string(&policy.status).map_err(|error| unwritable(&error)),
    }
}
