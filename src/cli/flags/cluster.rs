//! Which cluster, by the flags that kubectl has.

use std::path::PathBuf;

use clap::Args;
use kube::Client;

use crate::cli::output::Failure;
use crate::cluster::client;

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
        let KubeconfigFlags { kubeconfig, context } = &self.kubeconfig;
        client::connect(kubeconfig.as_deref(), context.as_deref()).await.map_err(|error| {
            Failure::new(error.to_string()).hint("name the cluster with --kubeconfig and --context, as for kubectl")
        })
    }
}
