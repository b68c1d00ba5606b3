//! How soon a cause that is watched is told: a TigeraStatus becomes Degraded, and the policy's condition says so; and back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::Measured;
use crate::statistics::median;
use crate::testbox::crds::Kind;
use crate::testbox::recorder::Watched;

/// How often it becomes Degraded; between two changes the controller has come to rest.
const ROUNDS: usize = 10;
const REPORTED_WITHIN: Duration = Duration::from_secs(60);

pub async fn measure(client: &Client, settle: impl AsyncFn() -> Result<()>) -> Result<Measured> {
    let statuses = Kind::TigeraStatus.api(client);
    statuses.create(&Default::default(), &Kind::TigeraStatus.object("ippools", json!({}))).await?;
    let mut took = Vec::new();
    for round in 0..2 * ROUNDS {
        settle().await?;
        let degraded = if round % 2 == 0 { "True" } else { "False" };
        let at = "2026-01-01T00:00:00Z";
        let condition = json!({
            "type": "Degraded", "status": degraded, "reason": "Bench", "message": "no pools", "lastTransitionTime": at,
        });
        let status = json!({ "status": { "conditions": [condition] } });
        let change = async || {
            statuses.patch_status("ippools", &PatchParams::default(), &Patch::Merge(status)).await?;
            Ok(())
        };
        took.push(until_reported(client, degraded, change).await?.as_secs_f64() * 1000.0);
    }
    Ok(Measured::limited("cause_to_condition", median(&mut took), 1000.0, "ms"))
}

/// From the end of the change until the condition is as wanted.
async fn until_reported(client: &Client, wanted: &str, change: impl AsyncFnOnce() -> Result<()>) -> Result<Duration> {
    let policies: Api<_> = Api::all_with(client.clone(), &Watched::Policy.resource());
    let policy: kube::api::DynamicObject = policies.get("default").await?;
    let from = policy.resource_version().unwrap_or_default();
    let mut events = policies.watch(&WatchParams::default(), &from).await?.boxed();
    change().await?;
    let started = Instant::now();
    let wait = async {
        while let Some(event) = events.try_next().await? {
            let WatchEvent::Modified(policy) = event else { continue };
            let conditions = policy.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|one| one["type"] == "OperatorDegraded" && one["status"] == wanted) {
                return Ok(started.elapsed());
            }
        }
        bail!("the watch ended before it was told")
    };
    tokio::time::timeout(REPORTED_WITHIN, wait).await.context("it was not told")?
}
