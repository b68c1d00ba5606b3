//! `run`: the controller. Probes are served at once; it reconciles only while this instance holds the Lease.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use tokio::net::TcpListener;

use crate::api::Interval;
use crate::cli::flags::cluster::{KubeconfigFlags, LEASE};
use crate::cli::output::{Failure, Output};
use crate::cli::runtime::{runtime, stop_signal};
use crate::cluster::leader::{self, Candidate};
use crate::cluster::{client, controller};
use crate::metrics::Metrics;
use crate::telemetry::{self, LogFormat};

/// The longest that releasing the Lease may take: SIGTERM ends the process within 2 s, whatever the API server does.
const RELEASE_DEADLINE: Duration = Duration::from_millis(1500);
/// The longest that one attempt to reach the API server may take.
const ATTEMPT_DEADLINE: Duration = Duration::from_secs(10);
/// The longest duration of a Lease, and so of a wait for another instance.
const MAX_LEASE_DURATION: Duration = Duration::from_secs(300);

/// Run the controller in a cluster.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller run
  imageset-controller run --kubeconfig ~/.kube/config --leader-elect=false --log-level debug")]
pub(in crate::cli) struct Arguments {
    /// Namespace of the Lease and the records
    #[arg(short, long, env = "POD_NAMESPACE", default_value = "imageset-controller")]
    namespace: String,

    /// Name of this instance in the Lease and in events
    #[arg(long, env = "POD_NAME", hide = true)]
    pod_name: Option<String>,

    #[arg(long, help = "Address of /livez, /readyz and /metrics; [::] is IPv4, too")]
    #[arg(default_value = "[::]:8080", overrides_with = "listen")]
    listen: SocketAddr,

    /// Work only while holding the Lease, so that several instances can run
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,

    /// How long a Lease holds that nobody renews; another instance takes over after that
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = lease_duration)]
    leader_elect_lease_duration: Duration,

    /// How logs are written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,

    /// Level, or a filter such as info,imageset_controller=debug
    #[arg(long, default_value = "info")]
    log_level: String,

    #[command(flatten)]
    kubeconfig: KubeconfigFlags,
}

pub(in crate::cli) fn run(arguments: Arguments) -> Result<Output, Failure> {
    telemetry::start(arguments.log_format, &arguments.log_level).map_err(Failure::new)?;
    runtime()?.block_on(serve(arguments))?;
    Ok(Output::default())
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let mut stop = pin!(stop_signal()?);
    let metrics = Arc::new(Metrics::default());
    let listener = listen(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --listen", arguments.listen))?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), "started");
    let target = arguments.kubeconfig.target();
    let working = async {
        let starting = async {
            let client = client::connect_counted(&target, metrics.api.clone()).await?;
            wait_for_api_server(&client).await;
            Ok::<_, client::ConnectError>(client)
        };
        let client = tokio::select! {
            client = starting => client?,
            () = &mut stop => return Ok(()),
        };
        metrics.set_ready();
        if arguments.leader_elect {
            lead(&arguments, client, &metrics, stop).await;
            return Ok(());
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

/// Listens on the address; on all IPv4 addresses where it is all of IPv6 and IPv6 is off.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let failed = match TcpListener::bind(address).await {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() => error,
        bound => return bound,
    };
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await.map_err(|_| failed)
}

/// Reconciles while leading, drops the work in progress when the Lease is lost, and releases the Lease at the end.
async fn lead(
    arguments: &Arguments,
    client: Client,
    metrics: &Arc<Metrics>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) {
    let instance = arguments.pod_name.clone();
    let (identity, duration) = (identity(instance.as_deref()), arguments.leader_elect_lease_duration);
    let mut candidate = Candidate::new(client.clone(), &arguments.namespace, LEASE, identity, duration);
    loop {
        let since = tokio::select! {
            since = candidate.wait_until_leading() => since,
            () = &mut stop => return,
        };
        tracing::info!("started leading");
        metrics.set_leading(true);
        let stopping = tokio::select! {
            () = candidate.renew_while_possible(since) => false,
            () = controller::run(client.clone(), arguments.namespace.clone(), instance.clone(), metrics.clone()) => false,
            () = &mut stop => true,
        };
        metrics.set_leading(false);
        if stopping {
            match tokio::time::timeout(RELEASE_DEADLINE, candidate.release()).await {
                Ok(Ok(())) => {}
                _ => tracing::warn!("could not release the Lease; it expires by itself"),
            }
            return;
        }
        tracing::warn!("stopped leading");
    }
}

/// Parses the duration of a Lease, in whole seconds.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<Interval>().map_err(|error| error.to_string())?.duration();
    match duration >= leader::SHORTEST && duration <= MAX_LEASE_DURATION {
        true => Ok(duration),
        false => Err(format!("a Lease holds for {:?} at least and {MAX_LEASE_DURATION:?} at most", leader::SHORTEST)),
    }
}

/// Returns the identity of this process in the Lease. It is random in part: pods may have the same process id, and no name.
fn identity(instance: Option<&str>) -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    format!("{}-{random:016x}", instance.unwrap_or(LEASE))
}

/// Returns when the API server responds.
async fn wait_for_api_server(client: &Client) {
    let mut pause = Duration::from_millis(100);
    while let Err(error) = client::within(ATTEMPT_DEADLINE, client.apiserver_version()).await {
        tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "cannot reach the API server; retrying");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}
