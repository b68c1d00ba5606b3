//! How many round trips to the API server lie between a change of the operator's Deployment and its stored set, where each request
//! takes 300 ms longer and three pull secrets have to be read; less the time for which the registry was asked.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::Measured;
use crate::proxy::Proxy;
use crate::reaction::{move_operator, push, set_the_scene, settle, stored, versions};
use crate::statistics::median;
use crate::testbox::api_proxy::in_front_of;
use crate::testbox::crds::Kind;
use crate::testbox::process::{Folders, Process};
use crate::testbox::{ControlPlane, Registry, apply_yaml};

/// What each request to the API server takes longer.
const DELAY: Duration = Duration::from_millis(300);
/// How often it is measured, each time with another version.
const ROUNDS: usize = 5;
/// Reading the policy, the cluster, the secrets, both again, a record and the set; one for what comes in between.
const LIMIT: f64 = 10.0;
const SECRETS: [&str; 3] = ["first", "second", "third"];

pub async fn measure(binary: &Path) -> Result<Vec<Measured>> {
    let control_plane = ControlPlane::start("bench-slow-api").await?;
    let client = control_plane.client();
    let (user, password) = ("puller".to_owned(), "bench".to_owned());
    let registry = Registry::start(crate::testbox::Kind::Htpasswd { user, password }).await?;
    let proxy = Proxy::start(registry.host()).await?;
    let mut versions = versions();
    let versions = versions.split_off(versions.len() - ROUNDS - 1);
    for rules in &versions {
        push(&registry, rules).await?;
    }
    let (first, rest) = versions.split_first().context("no versions")?;
    set_the_scene(&client, proxy.host(), first).await?;
    let config = json!({ "auths": { proxy.host(): { "username": "puller", "password": "bench" } } }).to_string();
    let other = json!({ "auths": { "other.example": { "username": "u", "password": "p" } } }).to_string();
    for (name, text) in SECRETS.iter().zip([&other, &other, &config]) {
        let data = base64::engine::general_purpose::STANDARD.encode(text);
        let secret = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, namespace: tigera-operator}}, data: {{.dockerconfigjson: {data}}}}}"
        );
        apply_yaml(client.clone(), &secret).await?;
    }
    let named: Vec<_> = SECRETS.iter().map(|name| json!({ "name": name })).collect();
    let patch = Patch::Merge(json!({ "spec": { "imagePullSecrets": named } }));
    Kind::Installation.api(&client).patch("default", &PatchParams::default(), &patch).await?;

    let (slow, _front) = in_front_of(control_plane.kubeconfig(), |upstream, request| async move {
        tokio::time::sleep(DELAY).await;
        upstream.forward(request).await
    })
    .await?;
    let folders = Folders::create("bench-slow-api")?;
    let mut command = Command::new(binary);
    command.arg("run").arg("--kubeconfig").arg(&slow).args(["--listen", "127.0.0.1:0"]);
    let _controller = Process::spawn("imageset-controller", command, &folders.logs.join("controller.log"))?;
    stored(&client, first, async || Ok(())).await?;
    let mut trips = Vec::new();
    for rules in rest {
        // Reconciles are under way for seconds after a write.
        tokio::time::sleep(DELAY * 20).await;
        settle(&client).await?;
        proxy.forget();
        let took = stored(&client, rules, async || move_operator(&client, rules).await).await?;
        trips.push(took.saturating_sub(proxy.busy()).as_secs_f64() / DELAY.as_secs_f64());
    }
    Ok(vec![Measured::limited("stored_with_300ms_and_3_secrets", median(&mut trips), LIMIT, "round_trips")])
}
