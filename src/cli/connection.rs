//! How the verbs that look at a cluster get there: the flags that kubectl has, and a client. Reads nothing itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::Client;
use kube::api::Api;

use super::output::Failure;
use crate::api::{ImageSetPolicy, POLICY_NAME};
use crate::cluster::client;

/// The longest that the command line waits for one answer of the API server.
const DEADLINE: Duration = Duration::from_secs(15);

/// Which cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Connection {
    /// Kubeconfig file; without it, as kubectl finds one, else the pod's service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// What the cluster says about the policy.
pub(super) enum Found {
    /// It is there.
    Policy(Box<ImageSetPolicy>),
    /// The kind is installed, and there is no policy.
    None,
    /// The kind is not installed.
    KindMissing,
}

impl Connection {
    /// Connects; that the API server answers is seen at the first read.
    pub async fn client(&self) -> Result<Client, Failure> {
        client::connect(self.kubeconfig.as_deref(), self.context.as_deref()).await.map_err(|error| {
            Failure::new(error.to_string()).hint("name the cluster with --kubeconfig and --context, as for kubectl")
        })
    }
}

/// Reads the policy.
pub(super) async fn policy(client: &Client) -> Result<Found, Failure> {
    let api: Api<ImageSetPolicy> = Api::all(client.clone());
    match tokio::time::timeout(DEADLINE, api.get_opt(POLICY_NAME)).await {
        Ok(Ok(Some(policy))) => Ok(Found::Policy(Box::new(policy))),
        Ok(Ok(None)) => Ok(Found::None),
        // A missing object has a reason in its answer, a missing kind has none.
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(Found::KindMissing),
        Ok(Err(kube::Error::Api(status))) => {
            Err(Failure::new(format!("ImageSetPolicy {POLICY_NAME} cannot be read: {}", status.message)))
        }
        Ok(Err(error)) => Err(Failure::new(format!("the API server cannot be asked: {}", root_cause(error)))
            .hint("check the kubeconfig and that the cluster can be reached: kubectl version")),
        Err(_) => Err(Failure::new(format!("the API server did not answer within {} s", DEADLINE.as_secs()))
            .hint("check the kubeconfig and that the cluster can be reached: kubectl version")),
    }
}

/// What really happened: what stands in front of it says `client error (Connect)` only.
fn root_cause(error: kube::Error) -> String {
    anyhow::Error::new(error).root_cause().to_string()
}
