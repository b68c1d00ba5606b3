//! How the verbs that need a cluster get there: the flags that kubectl has, a client, and the policy. The one place where the
//! command line changes the policy.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, Resource};
use kube::{Client, ResourceExt};
use serde_json::Value;

use super::output::Failure;
use crate::api::{ImageSetPolicy, ImageSetPolicySpec, POLICY_NAME};
use crate::cluster::client;

/// The longest that the command line waits for one answer of the API server.
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two looks at a policy that is waited for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who changes the policy by the command line.
const FIELD_MANAGER: &str = "imageset-controller-cli";
/// How the policy is named in what is printed, as kubectl names objects.
pub(super) const POLICY: &str = "imagesetpolicy.imageset-controller.io/default";
/// Starts of the names of field managers that put back what Git says.
const GIT: [&str; 6] = ["argocd", "kustomize-controller", "helm", "flux", "fleet", "config"];

/// Where client-side apply keeps what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// How to get to a cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub(super) struct Kubeconfig {
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
pub(super) struct Connection {
    #[command(flatten)]
    kubeconfig: Kubeconfig,

    /// Namespace of the controller, where its Lease and its records are
    #[arg(short, long, value_name = "NAME", default_value = "imageset-controller")]
    pub namespace: String,
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
        let Kubeconfig { kubeconfig, context } = &self.kubeconfig;
        client::connect(kubeconfig.as_deref(), context.as_deref()).await.map_err(|error| {
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

/// The policy, if there is one.
pub(super) async fn policy_if_any(client: &Client) -> Result<Option<Box<ImageSetPolicy>>, Failure> {
    Ok(match policy(client).await? {
        Found::Policy(policy) => Some(policy),
        Found::None | Found::KindMissing => None,
    })
}

/// The policy that counts where there is none.
pub(super) fn defaults() -> Box<ImageSetPolicy> {
    Box::new(ImageSetPolicy::new(POLICY_NAME, ImageSetPolicySpec::default()))
}

/// The policy, which has to be there.
pub(super) async fn stored_policy(client: &Client) -> Result<Box<ImageSetPolicy>, Failure> {
    match policy(client).await? {
        Found::Policy(policy) => Ok(policy),
        Found::None => Err(Failure::new(format!("there is no ImageSetPolicy {POLICY_NAME} in this cluster"))
            .hint("apply one: deploy/examples/observe.yaml only looks, and shows its plan in the status")),
        Found::KindMissing => Err(Failure::new("the kind ImageSetPolicy is not installed in this cluster")
            .hint("imageset-controller crds | kubectl apply --server-side -f -")),
    }
}

/// Changes the policy by a merge patch; `false` if it was changed by somebody else since the resourceVersion in the patch.
pub(super) async fn patch(client: &Client, patch: &Value) -> Result<bool, Failure> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<ImageSetPolicy>(&()));
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match tokio::time::timeout(DEADLINE, api.patch(POLICY_NAME, &parameters, &Patch::Merge(patch))).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(false),
        Ok(Err(kube::Error::Api(status))) => {
            Err(Failure::new(format!("ImageSetPolicy {POLICY_NAME} cannot be changed: {}", status.message))
                .hint("it takes the right to patch imagesetpolicies.imageset-controller.io"))
        }
        Ok(Err(error)) => Err(Failure::new(format!("the API server cannot be asked: {}", root_cause(error)))),
        Err(_) => Err(Failure::new(format!("the API server did not answer within {} s", DEADLINE.as_secs()))),
    }
}

/// Looks at the policy until it is as wanted; `None` when it is not by then. A look that fails is tried again.
pub(super) async fn wait(
    client: &Client,
    timeout: Duration,
    wanted: &dyn Fn(&ImageSetPolicy) -> bool,
) -> Result<Option<Box<ImageSetPolicy>>, Failure> {
    let started = Instant::now();
    loop {
        let seen = stored_policy(client).await;
        match seen {
            Ok(policy) if wanted(&policy) => return Ok(Some(policy)),
            Err(failure) if started.elapsed() >= timeout => return Err(failure),
            _ if started.elapsed() >= timeout => return Ok(None),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// The GitOps tool that owns a field of the spec, and will set it back.
pub(super) fn owner_in_git(policy: &ImageSetPolicy, field: &str) -> Option<String> {
    let pointer = format!("/f:spec/f:{field}");
    let applied = policy.annotations().get(LAST_APPLIED).and_then(|text| serde_json::from_str::<Value>(text).ok());
    policy.meta().managed_fields.iter().flatten().find_map(|entry| {
        let manager = entry.manager.as_ref().filter(|manager| GIT.iter().any(|git| manager.starts_with(git)))?;
        entry.fields_v1.as_ref()?.0.pointer(&pointer)?;
        // By client-side apply a tool owns the defaults of what it has created, too, and sets back only what it has applied.
        let is_said = match &applied {
            Some(applied) if entry.operation.as_deref() == Some("Update") => !applied["spec"][field].is_null(),
            _ => true,
        };
        is_said.then(|| manager.clone())
    })
}

/// What really happened: what stands in front of it says `client error (Connect)` only.
fn root_cause(error: kube::Error) -> String {
    anyhow::Error::new(error).root_cause().to_string()
}
