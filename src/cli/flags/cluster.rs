//! Which cluster, by the flags that kubectl has.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::Client;

use crate::api::{Interval, InvalidInterval};
use crate::cli::output::Failure;
use crate::cluster::client::{self, Target};

/// Name of the controller's Lease in its namespace.
pub(in crate::cli) const LEASE: &str = "imageset-controller";

/// How to connect to a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct KubeconfigFlags {
    /// Kubeconfig file; without it, as kubectl finds one, else the pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// User to act as
    #[arg(long = "as", value_name = "USER")]
    pub user: Option<String>,

    /// Group to act as; repeatable
    #[arg(long = "as-group", value_name = "GROUP", requires = "user")]
    pub groups: Vec<String>,

    /// How long to wait for a response, such as 10s; 0 is the default
    #[arg(long, value_name = "TIME", value_parser = request_timeout)]
    pub request_timeout: Option<RequestTimeout>,
}

/// How long to wait for a response; `None` is the default.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct RequestTimeout(Option<Duration>);

/// Parses a wait as kubectl does, for which 0 is no limit of its own.
fn request_timeout(text: &str) -> Result<RequestTimeout, InvalidInterval> {
    match text {
        "0" => Ok(RequestTimeout(None)),
        text => text.parse().map(|interval: Interval| RequestTimeout(Some(interval.duration()))),
    }
}

impl KubeconfigFlags {
    /// Returns which API server is meant, and as whom.
    pub fn target(&self) -> Target {
        Target {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            user: self.user.clone(),
            groups: self.groups.clone(),
            request_timeout: self.request_timeout.and_then(|timeout| timeout.0),
        }
    }
}

/// Which cluster, and where the controller is in it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(in crate::cli) struct ClusterFlags {
    #[command(flatten)]
    kubeconfig: KubeconfigFlags,

    /// Namespace of the controller, where its Lease and its records are
    #[arg(short, long, value_name = "NAME", default_value = "imageset-controller")]
    pub namespace: String,
}

impl ClusterFlags {
    /// Returns a client. Whether the API server responds shows at the first request.
    pub async fn client(&self) -> Result<Client, Failure> {
        client::connect(&self.kubeconfig.target()).await.map_err(|error| {
            Failure::new(error.to_string()).hint("name the cluster with --kubeconfig and --context, as for kubectl")
        })
    }
}
