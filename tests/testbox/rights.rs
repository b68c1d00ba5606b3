//! What `kubectl apply -k deploy/base` puts into a cluster, less the Deployment and the Service (nothing runs pods here):
//! our CRD, the namespaces, the ServiceAccount and its rights, and what limits it, from the very files.

use std::path::Path;

use anyhow::{Context, Result};
use kube::Client;

use super::apply_yaml;

/// Namespace and name of the ServiceAccount.
pub const SERVICE_ACCOUNT: (&str, &str) = ("imageset-controller", "imageset-controller");
/// In the order in which they can be applied, after the definition of our kind.
const FILES: [&str; 9] = [
    "deploy/base/namespace.yaml",
    "deploy/base/service-account.yaml",
    "deploy/base/rights-cluster.yaml",
    "deploy/base/rights-own-namespace.yaml",
    "deploy/base/rights-operator-namespace.yaml",
    "deploy/base/rights-events.yaml",
    "deploy/base/inspection.yaml",
    "deploy/base/network-policy.yaml",
    "deploy/base/critical-pods.yaml",
];

/// Applies them, and before them the operator's namespace, in which one Role lives.
///
/// # Errors
/// A file can't be read, or the API server refuses an object.
pub async fn install(client: &Client) -> Result<()> {
    apply_yaml(client.clone(), "{apiVersion: v1, kind: Namespace, metadata: {name: tigera-operator}}").await?;
    install_kind(client).await?;
    for file in FILES {
        apply_file(client, file).await?;
    }
    Ok(())
}

/// The definition of ImageSetPolicy alone.
///
/// # Errors
/// As [`install`].
pub async fn install_kind(client: &Client) -> Result<()> {
    apply_file(client, "crds/imageset-controller.io_imagesetpolicies.yaml").await
}

async fn apply_file(client: &Client, file: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("can't read {}", path.display()))?;
    apply_yaml(client.clone(), &text).await.with_context(|| format!("applying {file}"))?;
    Ok(())
}
