//! A connection to the API server. Where the server speaks HTTP/2, and every kube-apiserver does, one connection carries all
//! watches and reads; kube's own client opens one per watch, each with its buffers (docs/adr/0009). Proxies are those that
//! kubectl would use. Every wait has an end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::retry::{InvalidBackoff, RetryPolicy};
use kube::client::{Body, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::ServiceBuilder;
use tower::retry::RetryLayer;

use super::deadlines::{TimedConnector, TimedRequests};
use super::request_counter::Counted;
use crate::registry::{Connector, Proxies};
use crate::request_metrics::RequestMetrics;

/// For a TCP connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that is silent for this long is pinged: a watch on a dead connection would miss everything.
const PING_AFTER: Duration = Duration::from_secs(5);
/// It is closed if it does not respond within this time.
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection without requests is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Of HTTP/1.1 connections, where a proxy in between speaks no HTTP/2.
const LARGEST_HTTP1_BUFFER: usize = 64 * 1024;
/// Pauses and tries after 429, 503 and 504, `Retry-After` honoured; every caller has a deadline of its own, too.
const RETRY: (Duration, Duration, u32) = (Duration::from_millis(100), Duration::from_secs(2), 4);

/// For one read or write of a small object, retries included.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(15);

/// Returns the result of a request, or an error after the deadline.
///
/// # Errors
/// The request's own, or the deadline is over.
pub async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    let late = |_| kube::Error::Service(format!("no response within {} s", deadline.as_secs()).into());
    tokio::time::timeout(deadline, request).await.map_err(late)?
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// Neither a kubeconfig nor a service account was found.
    #[error("there is no kubeconfig ($KUBECONFIG, ~/.kube/config), and this is no pod")]
    NoKubeconfig,
    /// The connection's settings do not fit together.
    #[error("{0}")]
    Client(#[from] kube::Error),
    /// The name of the server in its certificate cannot be one.
    #[error("tls-server-name {0:?} is not a name")]
    ServerName(String),
    /// TLS to a proxy cannot be had at all.
    #[error("TLS to a proxy: {0}")]
    Tls(#[from] rustls::Error),
    /// Our own retry settings contradict each other.
    #[error("{0}")]
    Retry(#[from] InvalidBackoff),
}

/// Which API server, and as whom: as the flags of kubectl say it.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Kubeconfig file.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    pub context: Option<String>,
    /// User to act as.
    pub user: Option<String>,
    /// Groups to act as.
    pub groups: Vec<String>,
    /// Longest wait for the head of a response; `None` is the default.
    pub request_timeout: Option<Duration>,
}

/// Connects as kubectl does: by `--kubeconfig` and `--context`, else `KUBECONFIG`, else the default file, else as the
/// pod's service account.
///
/// # Errors
/// No usable configuration.
pub async fn connect(target: &Target) -> Result<Client, ConnectError> {
    connect_counted(target, RequestMetrics::default()).await
}

/// As [`connect`], with every request counted.
///
/// # Errors
/// As [`connect`].
pub async fn connect_counted(target: &Target, metrics: RequestMetrics) -> Result<Client, ConnectError> {
    let Target { kubeconfig, context, user, groups, request_timeout } = target;
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (kubeconfig, context) {
        (Some(path), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => inferred(&options).await?,
    };
    if user.is_some() || !groups.is_empty() {
        config.auth_info.impersonate.clone_from(user);
        config.auth_info.impersonate_groups = Some(groups.clone());
    }
    of_config(config, *request_timeout, metrics)
}

/// Returns the configuration of the default kubeconfig, or of the pod's service account. A kubeconfig that is there and broken is reported
/// itself.
async fn inferred(options: &KubeConfigOptions) -> Result<Config, ConnectError> {
    let missing = match Config::from_kubeconfig(options).await {
        Ok(_) => None,
        Err(KubeconfigError::FindPath) => Some(true),
        Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => Some(true),
        Err(_) => Some(false),
    };
    match (Config::infer().await, missing) {
        (Ok(config), _) => Ok(config),
        (Err(_), Some(true)) => Err(ConnectError::NoKubeconfig),
        (Err(_), _) => Ok(Config::from_kubeconfig(options).await?),
    }
}

/// The proxies for an address that kube found: in the kubeconfig, or else in `HTTPS_PROXY`, where it knows half of the rules.
fn proxies(found: &http::Uri, variable: impl Fn(&str) -> Option<OsString>) -> Proxies {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let of_environment = set("HTTPS_PROXY").or_else(|| set("https_proxy")).and_then(|value| value.into_string().ok());
    let same = |value: String| value.parse::<http::Uri>().is_ok_and(|value| value == *found);
    if of_environment.is_some_and(same) {
        return Proxies::of_variables(variable);
    }
    Proxies::only("the kubeconfig's proxy-url", &found.to_string())
}

fn of_config(
    mut config: Config,
    request_timeout: Option<Duration>,
    metrics: RequestMetrics,
) -> Result<Client, ConnectError> {
    let proxies = config.proxy_url.take().map(|url| proxies(&url, |name| std::env::var_os(name)));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    // Finds a dead HTTP/1.1 connection, which has no pings.
    tcp.set_keepalive(Some(PING_AFTER));
    tcp.set_keepalive_interval(Some(PING_AFTER));
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let tcp = Connector::new(tcp.clone(), tcp, Arc::new(proxies.unwrap_or_default()), CONNECT_TIMEOUT)?;
    let tls =
        hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    let connector = match &config.tls_server_name {
        Some(name) => {
            let name = rustls::pki_types::ServerName::try_from(name.clone());
            let name =
                name.map_err(|_| ConnectError::ServerName(config.tls_server_name.clone().unwrap_or_default()))?;
            let resolver = hyper_rustls::FixedServerNameResolver::new(name);
            tls.with_server_name_resolver(resolver).enable_all_versions().wrap_connector(tcp)
        }
        None => tls.enable_all_versions().wrap_connector(tcp),
    };
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(4)
        .http1_max_buf_size(LARGEST_HTTP1_BUFFER)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_DEADLINE)
        .http2_keep_alive_while_idle(true)
        .build(TimedConnector(connector));
    let (first, longest, tries) = RETRY;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(RetryLayer::new(RetryPolicy::new(first, longest, tries, true)?))
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .service(TimedRequests::new(Counted::new(http, metrics), request_timeout));
    Ok(Client::new(service, config.default_namespace))
}
