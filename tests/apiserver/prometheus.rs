//! A real Prometheus scrapes a real controller: every alert fires by its cause and stops when that is mended, and every query of
//! the dashboard has data at some time on the way.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::pods::Cluster;
use crate::rejected_writes::{Rights, touch};
use crate::testbox::Prometheus;
use crate::testbox::checkout::{root, text};
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::kubelet::Plays;
use crate::testbox::process::prometheus_folder;
use crate::world::{Scenery, World, eventually};

const SET: &str = "calico-v3.31.7";

/// The rules, with minutes, hours and a day made so short that a test can wait for them.
fn rules() -> String {
    let rules = text("deploy/monitoring/rules.yaml");
    let at_once = rules.lines().map(|line| match line.split_once("for: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 0s"),
        _ => line.to_owned(),
    });
    let rules = at_once.collect::<Vec<_>>().join("\n");
    rules.replace("[15m]", "[30s]").replace("[1h]", "[10s]").replace("> 86400", "> 20")
}

fn alerts(rules: &str) -> BTreeSet<String> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

/// The queries of the dashboard.
fn queries() -> BTreeSet<String> {
    let dashboard = text("deploy/monitoring/dashboard.json");
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "10s")).collect()
}

/// Prometheus, and what it has not shown yet.
struct Watched {
    prometheus: Prometheus,
    never_fired: BTreeSet<String>,
    without_data: BTreeSet<String>,
}

impl Watched {
    async fn start() -> Self {
        let rules = rules();
        let alerts =
            rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect();
        let prometheus = Prometheus::start(&rules).await.unwrap();
        Self { prometheus, never_fired: alerts, without_data: queries() }
    }

    /// Waits until these fire.
    async fn until_firing(&mut self, alerts: &[&str]) {
        for alert in alerts {
            let firing = async || self.prometheus.firing().await.ok()?.contains(*alert).then_some(());
            eventually(&format!("{alert} to fire"), firing).await;
            self.never_fired.remove(*alert);
        }
        self.look().await;
    }

    /// Waits until none of these fires.
    async fn until_silent(&mut self, alerts: &[&str]) {
        for alert in alerts {
            let silent = async || (!self.prometheus.firing().await.ok()?.contains(*alert)).then_some(());
            eventually(&format!("{alert} to stop"), silent).await;
        }
        self.look().await;
    }

    /// Asks what the dashboard asks.
    async fn look(&mut self) {
        for query in self.without_data.clone() {
            if self.prometheus.found(&query).await.unwrap_or_else(|error| panic!("{query}: {error:#}")) > 0 {
                self.without_data.remove(&query);
            }
        }
    }
}

#[tokio::test]
async fn alerts_pass_their_unit_tests_and_each_has_one() {
    let tests = root().join("tests/prometheus/rules-test.yaml");
    let mut promtool = Command::new(prometheus_folder().await.unwrap().join("promtool"));
    let output = promtool.args(["test", "rules"]).arg(&tests).output().unwrap();
    let message = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{message}");
    let tests = fs::read_to_string(tests).unwrap();
    for alert in alerts(&rules()) {
        let firing = format!("alertname: {alert}\n    exp_alerts:\n    - exp_labels:");
        let silent = format!("alertname: {alert}\n    exp_alerts: []");
        assert!(tests.matches(&firing).count() == 1 && tests.matches(&silent).count() >= 2, "{alert}");
    }
}

/// Another holder has the Lease.
async fn lease_of_another(world: &World) -> Api<Lease> {
    let leases = world.own::<Lease>();
    let lease = json!({
        "metadata": { "name": "imageset-controller" },
        "spec": {
            "holderIdentity": "another", "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00.000000Z",
            "acquireTime": "2026-01-01T00:00:00.000000Z",
        },
    });
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    leases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alert_fires_by_its_cause_and_stops_after_it() {
    let mut watched = Watched::start().await;
    watched.until_firing(&["ImageSetControllerDown"]).await;

    let cluster = Cluster::start(Scenery { name: "prometheus", ..Scenery::default() }).await;
    let world = &cluster.world;
    let pods = Rights::remove(world, "pods").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let leases = lease_of_another(world).await;
    let controller = world.controller("first").await;
    watched.prometheus.scrape(&[&controller]).unwrap();
    watched.until_firing(&["ImageSetControllerWithoutLeader"]).await;
    watched.until_silent(&["ImageSetControllerDown"]).await;
    leases.delete("imageset-controller", &DeleteParams::default()).await.unwrap();
    watched.until_firing(&["ImageSetControllerBlind"]).await;
    watched.until_silent(&["ImageSetControllerWithoutLeader"]).await;
    pods.give_back(world).await;
    watched.until_silent(&["ImageSetControllerBlind"]).await;
    cluster.adopted().await;

    the_registry(world, &mut watched).await;
    pulls(&cluster, &mut watched).await;
    versions(world, &mut watched).await;
    another_writer(&cluster, &mut watched).await;
    glass(world, &mut watched).await;
    failing(world, &mut watched).await;

    assert_eq!(watched.never_fired, BTreeSet::new(), "alerts that never fired");
    assert_eq!(watched.without_data, BTreeSet::new(), "queries of the dashboard that never had data");
    world.until_quiet().await;
    assert_eq!(
        watched.prometheus.firing().await.unwrap().iter().filter(|one| *one != "ImageSetNotVerified").count(),
        0
    );
    cluster.finish(&[&controller]).await;
}

/// A tag moves, then its old digest is gone, then both are mended.
async fn the_registry(world: &World, watched: &mut Watched) {
    watched.until_firing(&["ImageSetNotVerified"]).await;
    let pinned = world.stored(SET).await.unwrap()["calico/csi"].clone();
    let repository = world.mirror.repository("calico/csi");
    world.push(&repository, "v3.31.7", &Image::index("moved", LINUX_PLATFORMS).unwrap()).await;
    world.verb(&["refresh"]).await;
    watched.until_silent(&["ImageSetNotVerified"]).await;
    watched.until_firing(&["ImageSetDrifted"]).await;
    images::delete(&world.mirror.registry.access().unwrap(), &repository, &pinned).await.unwrap();
    world.verb(&["refresh"]).await;
    watched.until_firing(&["ImageSetDigestGone"]).await;
    let image = Image::of_reference("quay.io/calico/csi:v3.31.7").unwrap();
    assert_eq!(image.digest(), pinned);
    world.push(&repository, "v3.31.7", &image).await;
    world.verb(&["refresh"]).await;
    watched.until_silent(&["ImageSetDigestGone", "ImageSetDrifted"]).await;
}

/// A node cannot pull, so that the rollout is not complete any more.
async fn pulls(cluster: &Cluster, watched: &mut Watched) {
    let message = "rpc error: code = NotFound desc = failed to pull and unpack image: not found";
    cluster.kubelet.play("/node@", Plays::CannotPull(message.to_owned()));
    cluster.replace_pods_of("calico-node").await;
    watched.until_firing(&["ImageSetPullFailing", "ImageSetNotAdopted"]).await;
    cluster.kubelet.play("/node@", Plays::Runs);
    cluster.replace_pods_of("calico-node").await;
    watched.until_silent(&["ImageSetPullFailing", "ImageSetNotAdopted"]).await;
}

/// A version is to be prepared whose images the registry does not have; then it is to run, and nobody stores its set.
async fn versions(world: &World, watched: &mut Watched) {
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] } })).await;
    watched.until_firing(&["ImageSetVersionNotPrepared", "ImageSetPolicyNotReady"]).await;
    // From v1.43.0 on no set is possible in FIPS mode.
    world.policy(json!({ "mode": "Observe", "prepare": { "versions": ["v1.43.0"] } })).await;
    world.installation(json!({ "fipsMode": "Enabled" })).await;
    watched.until_firing(&["ImageSetImpossible"]).await;
    world.installation(json!({ "fipsMode": "Disabled" })).await;
    world.policy(json!({ "mode": "Observe" })).await;
    watched.until_silent(&["ImageSetImpossible", "ImageSetVersionNotPrepared", "ImageSetPolicyNotReady"]).await;
    world.operator("v1.42.4").await;
    watched.until_firing(&["ImageSetBlocksOperator", "ImageSetOperatorDegraded"]).await;
    world.operator("v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let alerts = ["ImageSetBlocksOperator", "ImageSetOperatorDegraded", "ImageSetPolicyNotReady"];
    watched.until_silent(&alerts).await;
}

/// An entry is removed from the set, again and again.
async fn another_writer(cluster: &Cluster, watched: &mut Watched) {
    let world = &cluster.world;
    let wanted = world.wanted("v1.40.15", false);
    let whole: Vec<Value> = wanted.iter().map(|(image, digest)| json!({ "image": image, "digest": digest })).collect();
    for name in ["calico/csi", "calico/node", "calico/cni"] {
        world.edit_set(SET, |images| images.retain(|entry| entry["image"] != name)).await;
        let restored = async || (world.stored(SET).await.unwrap() == wanted).then_some(());
        eventually("the set to be put back", restored).await;
    }
    world.edit_set(SET, |images| images.retain(|entry| entry["image"] != "calico/csi")).await;
    watched.until_firing(&["ImageSetPolicyStalled", "ImageSetPolicyNotReady", "ImageSetOperatorDegraded"]).await;
    world.edit_set(SET, |images| *images = whole).await;
    watched.until_silent(&["ImageSetPolicyStalled", "ImageSetPolicyNotReady", "ImageSetOperatorDegraded"]).await;
}

/// An operator image gets in past the gate, and is taken back.
async fn glass(world: &World, watched: &mut Watched) {
    let (old, new) = (world.mirror.operator_image("v1.40.15"), world.mirror.operator_image("v1.42.4"));
    world.policy(json!({ "mode": "Apply", "gate": "Deny" })).await;
    world.until("Ready", "True", "Succeeded").await;
    let glass = |image: Option<&str>| {
        Patch::Merge(json!({ "metadata": { "annotations": { "imageset-controller.io/break-glass": image } } }))
    };
    eventually("the gate to be closed", async || world.rejects(&new).await.then_some(())).await;
    world.change_operator(glass(Some(&new)), &PatchParams::default()).await.unwrap();
    world.set_image(&new).await.unwrap();
    watched.until_firing(&["ImageSetGateBypassed"]).await;
    world.set_image(&old).await.unwrap();
    world.change_operator(glass(None), &PatchParams::default()).await.unwrap();
    world.policy(json!({ "mode": "Apply" })).await;
    watched.until_silent(&["ImageSetGateBypassed", "ImageSetPolicyNotReady"]).await;
}

/// The status cannot be written.
async fn failing(world: &World, watched: &mut Watched) {
    let status = Rights::remove(world, "imagesetpolicies/status").await;
    touch(world).await;
    watched.until_firing(&["ImageSetControllerFailing"]).await;
    status.give_back(world).await;
    watched.until_silent(&["ImageSetControllerFailing"]).await;
}
