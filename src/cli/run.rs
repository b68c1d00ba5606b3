//! `run`: the controller. Probes answer at once; passes are made only while this instance holds the Lease.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::net::TcpListener;

use super::connection::Connection;
use super::output::{Answer, Failure};
use crate::cluster::{client, controller};
use crate::metrics::Metrics;
use crate::telemetry::{self, LogFormat};

/// Name of the Lease.
const LEASE: &str = "imageset-controller";
/// How long a Lease holds without being renewed, and how long before its end it is renewed, in seconds.
const LEASE_SECONDS: (u64, u64) = (15, 5);

/// Run the controller in a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller run
  imageset-controller run --kubeconfig ~/.kube/config --leader-elect=false --log-level debug")]
pub(super) struct Arguments {
    /// Namespace of the Lease and the records
    #[arg(short, long, env = "POD_NAMESPACE", default_value = "imageset-controller")]
    namespace: String,

    /// Name of this instance in the Lease and in events
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,

    /// Address of /livez, /readyz and /metrics
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Work only while holding the Lease, so that several instances can run
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,

    /// How logs are written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,

    /// Level, or a filter such as info,imageset_controller=debug
    #[arg(long, default_value = "info")]
    log_level: String,

    #[command(flatten)]
    connection: Connection,
}

pub(super) fn run(arguments: Arguments) -> Result<Answer, Failure> {
    telemetry::start(arguments.log_format, &arguments.log_level).map_err(Failure::new)?;
    super::runtime()?.block_on(serve(arguments))?;
    Ok(Answer::default())
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let stop = stop_signal()?;
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --listen", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "started");
    let client =
        client::connect(arguments.connection.kubeconfig.as_deref(), arguments.connection.context.as_deref()).await?;
    let working = async {
        wait_for_api_server(&client).await;
        metrics.set_ready();
        if arguments.leader_elect {
            return lead(&arguments, client, &metrics, stop).await;
        }
        metrics.set_leading(true);
        tokio::select! {
            () = controller::run(client, arguments.namespace.clone(), arguments.pod_name.clone(), metrics.clone()) => {}
            () = stop => {}
        }
        Ok(())
    };
    let result = tokio::select! {
        () = crate::http::serve(listener, metrics.clone()) => Ok(()),
        result = working => result,
    };
    tracing::info!("stopped");
    result
}

/// Works while leading; gives up at once what it is doing when the lead is lost, and gives the Lease back at the end.
async fn lead(
    arguments: &Arguments,
    client: Client,
    metrics: &Arc<Metrics>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let instance = arguments.pod_name.clone();
    let mut builder = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&arguments.namespace)
        .with_duration(LEASE_SECONDS.0)
        .with_grace(LEASE_SECONDS.1);
    if let Some(name) = &instance {
        builder = builder.with_identity(format!("{name}-{}", std::process::id()));
    }
    let lease = builder.build().await.with_context(|| format!("Lease {}/{LEASE}", arguments.namespace))?;
    let mut stop = std::pin::pin!(stop);
    let mut leads = false;
    loop {
        let controlling = async {
            if !leads {
                return std::future::pending().await;
            }
            controller::run(client.clone(), arguments.namespace.clone(), instance.clone(), metrics.clone()).await;
        };
        let changed = tokio::select! {
            changed = lease.changed() => changed,
            () = controlling => Ok(leads),
            () = &mut stop => break,
        };
        match changed {
            Ok(now) if now != leads => {
                tracing::info!(leads = now, "the lead changed");
                leads = now;
            }
            Ok(_) => {}
            Err(error) => {
                // Without a renewed Lease another instance may lead: better nobody than two.
                tracing::warn!(%error, "the Lease could not be renewed");
                leads = false;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        metrics.set_leading(leads);
    }
    if leads && tokio::time::timeout(Duration::from_secs(5), lease.release()).await.is_err() {
        tracing::warn!("the Lease could not be given back; it ends by itself");
    }
    Ok(())
}

async fn wait_for_api_server(client: &Client) {
    let mut pause = Duration::from_millis(100);
    while let Err(error) = client.apiserver_version().await {
        tracing::warn!(%error, "the API server does not answer yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
