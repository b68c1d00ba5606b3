//! What a controller written in Go takes when it has nothing to do: Flux's kustomize-controller, built from its own module,
//! beside ours and on the same API server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;

use crate::memory::mebibytes;
use crate::testbox::apply_yaml;
use crate::testbox::patience::until;
use crate::testbox::process::{Folders, Process, free_port, go_controller_folder};

/// The kinds that it watches, as it finds them in a cluster without any object of theirs.
const KINDS: [(&str, &str, &str); 5] = [
    ("kustomize.toolkit.fluxcd.io", "Kustomization", "kustomizations"),
    ("source.toolkit.fluxcd.io", "GitRepository", "gitrepositories"),
    ("source.toolkit.fluxcd.io", "OCIRepository", "ocirepositories"),
    ("source.toolkit.fluxcd.io", "Bucket", "buckets"),
    ("source.toolkit.fluxcd.io", "ExternalArtifact", "externalartifacts"),
];
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long it is left alone before it is measured, as ours was.
const IDLE_FOR: Duration = Duration::from_secs(10);

/// Its resident memory when it is idle, in MiB.
pub async fn idle_memory(client: &Client, kubeconfig: &std::path::Path) -> Result<f64> {
    for (group, kind, plural) in KINDS {
        apply_yaml(client.clone(), &definition(group, kind, plural)).await?;
    }
    let folders = Folders::create("bench-go-controller")?;
    let (metrics, health) = (free_port()?, free_port()?);
    let mut command = Command::new(go_controller_folder().await?.join("kustomize-controller"));
    command.env("KUBECONFIG", kubeconfig).env("RUNTIME_NAMESPACE", "default");
    command.args([&format!("--metrics-addr=127.0.0.1:{metrics}"), &format!("--health-addr=127.0.0.1:{health}")]);
    let process = Process::spawn("kustomize-controller", command, &folders.logs.join("controller.log"))?;
    let working = async || {
        let text = std::fs::read_to_string(folders.logs.join("controller.log"))?;
        Ok(text.contains("Starting workers").then_some(()))
    };
    until("kustomize-controller to work", READY_WITHIN, working).await?;
    tokio::time::sleep(IDLE_FOR).await;
    mebibytes(process.id(), "VmRSS").context("kustomize-controller has ended")
}

/// A definition that takes any object of a kind.
fn definition(group: &str, kind: &str, plural: &str) -> String {
    let singular = kind.to_lowercase();
    format!(
        "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: {plural}.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{kind: {kind}, listKind: {kind}List, plural: {plural}, singular: {singular}}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}
"
    )
}
