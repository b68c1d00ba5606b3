//! Pods that cannot pull what a set pins, by real controllers and a kubelet of the box: told with the entry and what the registry
//! answered, once, for as long as it lasts. Without the right to look at pods nothing else is missing.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::testbox::kubelet::Plays;
use crate::testbox::operator_double::OperatorDouble;
use crate::testbox::scenery::{applied_by, namespace};
use crate::testbox::{Controller, Kubelet};
use crate::world::{SOON, Scenery, World, eventually};

const VERSION: &str = "v1.40.15";
const SET: &str = "calico-v3.31.7";
const NODE: &str = "DaemonSet calico-system/calico-node";
const KUBE_CONTROLLERS: &str = "Deployment calico-system/calico-kube-controllers";

/// A cluster whose operator has selected the set.
pub struct Cluster {
    pub world: World,
    pub kubelet: Kubelet,
    pub double: OperatorDouble,
}

impl Cluster {
    pub async fn start(scenery: Scenery) -> Self {
        let scenery = Scenery { releases: &[VERSION], roll_outs: true, ..scenery };
        let world = World::start(scenery).await;
        let kubelet = Kubelet::start_for_all(world.client.clone(), "node-1").await.unwrap();
        kubelet.play("", Plays::Runs);
        world.installation(json!({})).await;
        world.operator(VERSION).await;
        let double = world.double(|options| (options.play_pods, options.play_workloads) = (false, false));
        Self { world, kubelet, double }
    }

    /// Until the operator has adopted the set.
    pub async fn adopted(&self) {
        self.double.wait_adopted(SET, SOON).await.unwrap();
        self.world.until("Adopted", "True", "AdoptionComplete").await;
        self.world.until("ImagePullFailing", "False", "NoPullFailure").await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.world.client.clone(), "calico-system")
    }

    /// Pods of a workload.
    async fn pods_of(&self, workload: &str) -> Vec<Pod> {
        let all = self.pods().list(&ListParams::default()).await.unwrap().items;
        all.into_iter().filter(|pod| pod.name_any().starts_with(workload)).collect()
    }

    /// Deletes the pods of a workload; its controller makes new ones.
    pub async fn replace_pods_of(&self, workload: &str) {
        for pod in self.pods_of(workload).await {
            self.pods().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.unwrap();
        }
    }

    /// Has the kubelet say something else of the containers that wait.
    async fn says(&self, pod: &str, reason: &str, message: &str) {
        let found = self.pods().get(pod).await.unwrap();
        let mut statuses = serde_json::to_value(found.status.unwrap().container_statuses).unwrap();
        for status in statuses.as_array_mut().unwrap() {
            status["state"] = json!({ "waiting": { "reason": reason, "message": message } });
        }
        let patch = json!({ "status": { "containerStatuses": statuses } });
        self.pods().patch_status(pod, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn finish(self, controllers: &[&Controller]) {
        self.double.stop().await;
        drop(self.kubelet);
        self.world.finish(controllers).await;
    }
}

/// The status in every revision of the policy, as they come.
struct Revisions(Arc<Mutex<Vec<Value>>>, JoinHandle<()>);

impl Revisions {
    fn of(world: &World) -> Self {
        let (seen, policies) = (Arc::default(), world.policies());
        let kept: Arc<Mutex<Vec<Value>>> = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut revisions = pin!(watcher(policies, watcher::Config::default()).default_backoff().applied_objects());
            while let Some(revision) = revisions.next().await {
                if let Ok(policy) = revision {
                    kept.lock().unwrap().push(policy.data["status"].clone());
                }
            }
        });
        Self(seen, task)
    }

    /// What they said of this reason and object, one after the other; empty for nothing.
    fn reported(&self, reason: &str, object: &str) -> Vec<String> {
        let mut reported: Vec<String> =
            self.0.lock().unwrap().iter().map(|status| finding(status, reason, object)).collect();
        reported.dedup();
        reported
    }
}

impl Drop for Revisions {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// Message of a finding.
fn finding(status: &Value, reason: &str, object: &str) -> String {
    let findings = status["findings"].as_array().into_iter().flatten();
    let about = |one: &Value| {
        let part = |name: &str| one["object"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {}/{}", part("kind"), part("namespace"), part("name"))
    };
    let mut mine = findings.filter(|one| one["reason"] == reason && (object.is_empty() || about(one) == object));
    mine.next().map(|one| one["message"].as_str().unwrap().to_owned()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_image_pull_is_reported_once_by_its_entry_until_it_is_fixed() {
    let cluster = Cluster::start(Scenery { name: "pods", ..Scenery::default() }).await;
    let world = &cluster.world;
    world.policy(json!({ "mode": "Apply" })).await;
    let revisions = Revisions::of(world);
    let controller = world.controller("first").await;
    cluster.adopted().await;

    let digest = world.stored(SET).await.unwrap()["calico/node"].clone();
    let image = format!("{}/mirror/calico/node@{digest}", world.mirror.registry.host());
    let text = format!(
        "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": \
         {image}: not found"
    );
    cluster.kubelet.play("/node@", Plays::CannotPull(text.clone()));
    cluster.replace_pods_of("calico-node").await;
    let entry = format!("calico/node of ImageSet {SET}");
    let words =
        [NODE, "one pod cannot pull", &entry, &digest[..19], "the registry does not have it", "compare the digest"];
    world.until_message("ImagePullFailing", "True", "PullNotFound", &words).await;
    // Nothing is held up by it.
    world.until("Ready", "True", "Succeeded").await;

    // The kubelet goes to and fro between its two reasons, and the older ones say why with one of them only.
    let pod = cluster.pods_of("calico-node").await[0].name_any();
    let since = condition_since(world, "ImagePullFailing").await;
    cluster.kubelet.play("/node@", Plays::Waits);
    for _ in 0..5 {
        let reported = format!("Back-off pulling image \"{image}\": ErrImagePull: {text}");
        cluster.says(&pod, "ImagePullBackOff", &reported).await;
        cluster.says(&pod, "ErrImagePull", &text).await;
        cluster.says(&pod, "ImagePullBackOff", &format!("Back-off pulling image \"{image}\"")).await;
    }
    // When another workload's failure is reported, all of that has been seen.
    let other = "exec: \"/usr/bin/kube-controllers\": exec format error";
    cluster.kubelet.play("/kube-controllers@", Plays::CannotStart(other.to_owned()));
    cluster.replace_pods_of("calico-kube-controllers").await;
    world.until_message("ImagePullFailing", "True", "PullNotFound", &["(and 1 more)"]).await;
    let reported = finding(&world.status().await, "ExecFormatError", KUBE_CONTROLLERS);
    let kube_controllers = format!("one pod cannot start calico/kube-controllers of ImageSet {SET}");
    assert!(reported.contains(&kube_controllers) && reported.contains("exec format error"), "{reported:?}");
    assert_eq!(condition_since(world, "ImagePullFailing").await, since);
    eventually("the events", async || (pull_events(world).await.len() == 2).then_some(())).await;

    // Mended: the registry has it now.
    cluster.kubelet.play("/node@", Plays::Runs);
    cluster.replace_pods_of("calico-node").await;
    let words = [KUBE_CONTROLLERS, "cannot start"];
    world.until_message("ImagePullFailing", "True", "ExecFormatError", &words).await;
    cluster.kubelet.play("/kube-controllers@", Plays::Runs);
    cluster.replace_pods_of("calico-kube-controllers").await;
    world.until("ImagePullFailing", "False", "NoPullFailure").await;
    world.until("Adopted", "True", "AdoptionComplete").await;

    eventually("the last revision to be seen", async || {
        let all = ["ExecFormatError", "PullNotFound"].map(|reason| revisions.reported(reason, ""));
        all.iter().all(|reported| reported.last().is_some_and(String::is_empty)).then_some(())
    })
    .await;
    for (reason, object) in [("PullNotFound", NODE), ("ExecFormatError", KUBE_CONTROLLERS)] {
        let reported = revisions.reported(reason, object);
        assert!(
            matches!(reported.as_slice(), [before, _, after] if before.is_empty() && after.is_empty()),
            "{reported:#?}"
        );
    }
    assert_eq!(revisions.reported("PullFailed", ""), [""]);
    assert_eq!(pull_events(world).await, ["ExecFormatError x1", "PullNotFound x1"]);
    cluster.finish(&[&controller]).await;
}

/// Since when a condition is as it is.
async fn condition_since(world: &World, r#type: &str) -> Value {
    let status = world.status().await;
    let mut conditions = status["conditions"].as_array().unwrap().iter();
    conditions.find(|condition| condition["type"] == r#type).unwrap()["lastTransitionTime"].clone()
}

/// Events about pulls, and how often each was published.
async fn pull_events(world: &World) -> Vec<String> {
    let events = world.events("ImageSetPolicy", "default").await;
    let about = |reason: &str| reason.starts_with("Pull") || reason == "ExecFormatError";
    let events = events.into_iter().filter(|(reason, ..)| about(reason));
    let mut reported: Vec<String> = events.map(|(reason, count, _)| format!("{reason} x{count}")).collect();
    reported.sort();
    reported
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_pods_one_finding_says_so_and_nothing_else_is_missing() {
    // On a server that lists by pages only, as many do: it denies before it says that.
    let cluster = Cluster::start(Scenery { name: "pods-denied", streams_lists: false, ..Scenery::default() }).await;
    let world = &cluster.world;
    let roles: Api<ClusterRole> = Api::all(world.client.clone());
    let role = roles.get("imageset-controller").await.unwrap();
    let rules = serde_json::to_value(&role.rules).unwrap();
    let without: Vec<&Value> =
        rules.as_array().unwrap().iter().filter(|rule| rule["resources"] != json!(["pods"])).collect();
    assert_eq!(without.len() + 1, rules.as_array().unwrap().len());
    let set_rules = async |rules: Value| {
        let patch = Patch::Merge(json!({ "rules": rules }));
        roles.patch("imageset-controller", &PatchParams::default(), &patch).await.unwrap();
    };
    set_rules(json!(without)).await;

    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    let words = ["list pods in calico-", "cannot", "\"pods\"", "deploy/base"];
    world.until_message("ImagePullFailing", "Unknown", "ViewForbidden", &words).await;
    cluster.double.wait_adopted(SET, SOON).await.unwrap();
    for (r#type, status, reason) in [
        ("Adopted", "True", "AdoptionComplete"),
        ("Ready", "True", "Succeeded"),
        ("Applied", "True", "ImageSetStored"),
        ("OperatorDegraded", "False", "NotDegraded"),
        ("Drifted", "False", "NoDrift"),
    ] {
        world.until(r#type, status, reason).await;
    }
    let denied = finding(&world.status().await, "ViewForbidden", "");
    assert!(denied.contains("\"pods\""), "{denied}");

    set_rules(rules).await;
    world.until("ImagePullFailing", "False", "NoPullFailure").await;
    assert_eq!(finding(&world.status().await, "ViewForbidden", ""), "");
    // Of nodes, of the pods of three namespaces, and of Gateways' pods in all namespaces.
    assert_eq!(controller.logged("the API server does not stream lists; they come by pages").len(), 5);
    let text = "dial tcp 192.0.2.1:443: i/o timeout";
    cluster.kubelet.play("/typha@", Plays::CannotPull(text.to_owned()));
    cluster.replace_pods_of("calico-typha").await;
    let words = ["Deployment calico-system/calico-typha", "calico/typha of ImageSet", text];
    world.until_message("ImagePullFailing", "True", "PullTimeout", &words).await;
    cluster.finish(&[&controller]).await;
}

/// As envoy-gateway makes it for a Gateway, from operator v1.43 on in the Gateway's own namespace.
fn proxy(image: &str) -> Value {
    let labels = json!({ "app.kubernetes.io/managed-by": "envoy-gateway", "app.kubernetes.io/component": "proxy" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "gateway", "namespace": "shop", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "envoy", "image": image }] },
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_proxy_counts_in_the_namespace_of_its_gateway() {
    let cluster = Cluster::start(Scenery { name: "gateways", ..Scenery::default() }).await;
    let world = &cluster.world;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    cluster.adopted().await;

    namespace(&world.client, "shop").await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), "shop");
    let apply = async |image: &str| {
        deployments.patch("gateway", &applied_by("envoy-gateway"), &Patch::Apply(proxy(image))).await.unwrap();
    };
    let layout = world.mirror.layout();
    let repository =
        format!("{}{}/envoy-proxy", layout["registry"].as_str().unwrap(), layout["imagePath"].as_str().unwrap());
    cluster.kubelet.play("envoy-proxy:old", Plays::CannotPull("manifest unknown".to_owned()));
    apply(&format!("{repository}:old")).await;
    eventually("the proxy to count", async || {
        let (status, _, message) = world.condition("Adopted").await;
        (status == "False" && message.contains("Deployment shop/gateway")).then_some(())
    })
    .await;
    eventually("what it cannot pull to be told", async || {
        let (status, _, message) = world.condition("ImagePullFailing").await;
        (status == "True" && message.contains("Deployment shop/gateway")).then_some(())
    })
    .await;

    let set = world.stored(SET).await.unwrap();
    apply(&format!("{repository}@{}", set["calico/envoy-proxy"])).await;
    cluster.adopted().await;
    assert!(cluster.double.degraded_moments().is_empty(), "{:?}", cluster.double.degraded_moments());
    cluster.double.stop().await;
    drop(cluster.kubelet);
    cluster.world.finish(&[&controller]).await;
}
