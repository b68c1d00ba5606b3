//! The policy of the cluster, read once or polled until it is as a verb needs it.

use std::time::{Duration, Instant};

use kube::Client;
use kube::api::Api;
use kube::core::Status;

use crate::api::{ImageSetPolicy, ImageSetPolicySpec, POLICY_NAME};
use crate::cli::output::Failure;

/// The longest that the command line waits for one response of the API server.
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two reads of a policy that is polled.
pub(in crate::cli) const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The policy in what is printed, as kubectl names objects.
pub(in crate::cli) const POLICY: &str = "imagesetpolicy.imageset-controller.io/default";

/// The policy of the cluster, or why there is none.
enum StoredPolicy {
    Found(Box<ImageSetPolicy>),
    NotFound,
    /// The kind is not installed.
    KindMissing,
}

/// Sends one request to the API server. The inner error is the server's refusal.
///
/// # Errors
/// The API server cannot be reached, or does not respond in time.
pub(in crate::cli) async fn request<T>(
    response: impl Future<Output = kube::Result<T>>,
) -> Result<Result<T, Box<Status>>, Failure> {
    let unreachable = |why: String| {
        Failure::new(why).hint("check the kubeconfig and that the cluster can be reached: kubectl version")
    };
    match tokio::time::timeout(DEADLINE, response).await {
        Ok(Ok(response)) => Ok(Ok(response)),
        Ok(Err(kube::Error::Api(status))) => Ok(Err(status)),
        // The errors above the root cause are only `client error (Connect)`.
        Ok(Err(error)) => {
            let cause = anyhow::Error::new(error).root_cause().to_string();
            Err(unreachable(format!("the API server cannot be asked: {cause}")))
        }
        Err(_) => Err(unreachable(format!("the API server did not answer within {} s", DEADLINE.as_secs()))),
    }
}

async fn read(client: &Client) -> Result<StoredPolicy, Failure> {
    let api: Api<ImageSetPolicy> = Api::all(client.clone());
    match request(api.get_opt(POLICY_NAME)).await? {
        Ok(Some(policy)) => Ok(StoredPolicy::Found(Box::new(policy))),
        Ok(None) => Ok(StoredPolicy::NotFound),
        // A missing object has a reason in its response, a missing kind has none.
        Err(status) if status.code == 404 => Ok(StoredPolicy::KindMissing),
        Err(status) => Err(Failure::new(format!("ImageSetPolicy {POLICY_NAME} cannot be read: {}", status.message))),
    }
}

/// Returns the policy, if there is one.
pub(in crate::cli) async fn find(client: &Client) -> Result<Option<Box<ImageSetPolicy>>, Failure> {
    Ok(match read(client).await? {
        StoredPolicy::Found(policy) => Some(policy),
        StoredPolicy::NotFound | StoredPolicy::KindMissing => None,
    })
}

/// Returns the policy that counts where there is none.
pub(in crate::cli) fn defaults() -> Box<ImageSetPolicy> {
    Box::new(ImageSetPolicy::new(POLICY_NAME, ImageSetPolicySpec::default()))
}

/// Returns the policy.
///
/// # Errors
/// There is none, with how to make one.
pub(in crate::cli) async fn require(client: &Client) -> Result<Box<ImageSetPolicy>, Failure> {
    match read(client).await? {
        StoredPolicy::Found(policy) => Ok(policy),
        StoredPolicy::NotFound => {
            Err(Failure::new(format!("there is no ImageSetPolicy {POLICY_NAME} in this cluster"))
                .hint("apply one: deploy/examples/observe.yaml only looks, and shows its plan in the status"))
        }
        StoredPolicy::KindMissing => Err(Failure::new("the kind ImageSetPolicy is not installed in this cluster")
            .hint("imageset-controller crds | kubectl apply --server-side -f -")),
    }
}

/// Polls the policy until the condition holds; `None` when it does not in time. A read that fails is retried until then.
pub(in crate::cli) async fn wait_until(
    client: &Client,
    timeout: Duration,
    condition: &dyn Fn(&ImageSetPolicy) -> bool,
) -> Result<Option<Box<ImageSetPolicy>>, Failure> {
    let started = Instant::now();
    loop {
        match require(client).await {
            Ok(policy) if condition(&policy) => return Ok(Some(policy)),
            Err(failure) if started.elapsed() >= timeout => return Err(failure),
            _ if started.elapsed() >= timeout => return Ok(None),
            _ => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
