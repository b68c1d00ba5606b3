//! What others do: every pod as it is, in a store. Runs in a process of its own.

use std::path::Path;
use std::pin::pin;

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::Event;
use kube::runtime::{reflector, watcher};
use kube::{Api, Client, Config};

/// Lists all pods of calico-system into a store, says how many there are and stays until it is killed.
pub async fn keep_all(kubeconfig: &str) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(Path::new(kubeconfig))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let pods: Api<Pod> = Api::namespaced(Client::try_from(config)?, "calico-system");
    let (store, writer) = reflector::store();
    let mut events = pin!(reflector(writer, watcher(pods, watcher::Config::default())));
    while let Some(event) = events.next().await {
        if matches!(event.context("the watch broke")?, Event::InitDone) {
            println!("{}", store.len());
        }
    }
    Ok(())
}
