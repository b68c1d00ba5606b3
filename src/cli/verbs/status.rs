//! `status`: whether the ImageSet is used, and if not, why. Shows the policy's status as the controller wrote it, or with `--live` what the
//! rules find in the cluster now. Writes nothing.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;

use crate::api::ImageSetPolicy;
use crate::cli::flags::cluster::{ClusterFlags, LEASE};
use crate::cli::inputs::policy::{self, POLL_INTERVAL};
use crate::cli::output::serialized;
use crate::cli::output::status_view::{self, Detail};
use crate::cli::output::{Failure, Output, Refreshed, note};
use crate::cli::runtime::runtime;
use crate::cluster::{leader, reconcile, status};

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
pub(in crate::cli) struct Arguments {
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
    cluster: ClusterFlags,
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

/// The status, and whether the controller still runs.
struct StatusSource {
    policy: ImageSetPolicy,
    /// The last renewal of the Lease, where no instance of the controller renews it any more.
    silent_since: Option<Timestamp>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    runtime()?.block_on(async {
        let client = arguments.cluster.client().await?;
        if arguments.watch {
            return watch(&client, arguments).await;
        }
        render(&read(&client, arguments).await?, arguments.output)
    })
}

/// Reads the status, or makes it with `--live`.
async fn read(client: &Client, arguments: &Arguments) -> Result<StatusSource, Failure> {
    let mut policy = *policy::require(client).await?;
    if arguments.live {
        let reconciled =
            reconcile::preview_of_cluster(client.clone(), &policy, arguments.cluster.namespace.clone()).await;
        let before = policy.status.take().unwrap_or_default();
        policy.status = Some(status::of_report(&before, &reconciled.report, &Time(Timestamp::now())));
        return Ok(StatusSource { policy, silent_since: None });
    }
    let silent_since = leader::silent_since(client, &arguments.cluster.namespace, LEASE, Timestamp::now()).await;
    Ok(StatusSource { policy, silent_since })
}

/// Polls the status: it is one small object, so that a watch would save nothing. On a terminal each output replaces the previous one; in a
/// pipe it is written again when the status changes.
async fn watch(client: &Client, arguments: &Arguments) -> Result<Output, Failure> {
    let mut current = read(client, arguments).await?;
    let mut shown = Refreshed::default();
    loop {
        shown.show(&render(&current, arguments.output)?, arguments.output == Format::Yaml)?;
        current = loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let next = match read(client, arguments).await {
                Ok(next) => next,
                Err(failure) => {
                    note(&format!("{}; it is tried again", failure.message()));
                    continue;
                }
            };
            let same = next.policy.status == current.policy.status && next.silent_since == current.silent_since;
            if shown.is_terminal() || !same {
                break next;
            }
        };
    }
}

fn render(source: &StatusSource, format: Format) -> Result<Output, Failure> {
    let StatusSource { policy, silent_since } = source;
    let text = |detail: Detail| Output::text(status_view::render(policy, Timestamp::now(), detail, *silent_since));
    match format {
        Format::Text => Ok(text(Detail::Normal)),
        Format::Wide => Ok(text(Detail::Wide)),
        Format::Json => serialized::json("the status", &policy.status),
        Format::Yaml => serialized::yaml("the status", &policy.status),
    }
}
