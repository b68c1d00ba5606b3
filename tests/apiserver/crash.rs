//! `kill -9` at every write of an inspection, and of a first arming with a gate: before the API server has it, before its
//! answer, and after that. Whatever the moment, the next life brings the same sets, records and gate as one without faults,
//! asks no image twice, and leaves neither Job nor pod. Which writes there are is found out by a run without faults.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::testbox::api_proxy::{ApiProxy, CrashPoint, Fault};
use crate::testbox::controller::Manner;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::{Controller, Kubelet};
use crate::unknown_version::{prints_all, scenery, with_kubelet};
use crate::world::{GATE_KINDS, INSPECTION, Scenery, World, eventually};

/// How often a run is made again in which a write did not come.
const TRIES: usize = 3;

/// What one life or two have left: sets by name with entries and annotations, records by name without their times.
#[derive(Debug, PartialEq)]
struct Left {
    sets: BTreeMap<String, Value>,
    records: BTreeMap<String, Vec<String>>,
    /// The specs of the gate's two objects.
    gate: Vec<Value>,
}

/// A cluster in which the same is done again and again.
struct Stage {
    world: World,
    proxy: ApiProxy,
    prepare: Vec<&'static str>,
    /// Whether an unprepared image is refused.
    gate: bool,
    /// Images of pods that ran before this run.
    ran: usize,
    kubelet: Option<Kubelet>,
}

impl Stage {
    async fn new(world: World, prepare: &[&'static str], gate: bool, kubelet: Option<Kubelet>) -> Self {
        let proxy = ApiProxy::start(&world.kubeconfig().await).await.unwrap();
        Self { world, proxy, prepare: prepare.to_vec(), gate, ran: 0, kubelet }
    }

    /// One run from nothing to everything prepared, with a new life where the first one ends. What is left, and the writes.
    /// An image that has answered is never asked again: the answer is read from the Job that is there.
    async fn run(&mut self, fault: Option<(usize, CrashPoint)>) -> (Left, Vec<String>) {
        let mut controller = self.life("first").await;
        let process = controller.process_id();
        self.proxy.arm(fault.map(|(write, point)| Fault::Crash { process, write, point }));
        let gate = if self.gate { "Deny" } else { "Disabled" };
        let prepare = json!({ "versions": self.prepare });
        self.world.policy(json!({ "mode": "Apply", "gate": gate, "prepare": prepare })).await;
        let plan = fault.map_or("no fault".to_owned(), |(write, point)| format!("write {write}, {point:?}"));
        eventually(&format!("everything prepared, or the end ({plan})"), async || {
            if self.proxy.ended_at().is_some() {
                return Some(());
            }
            if !self.is_done().await {
                return None;
            }
            // Its report comes after it.
            self.world.until_quiet().await;
            self.is_done().await.then_some(())
        })
        .await;
        if fault.is_some() {
            // Where nothing follows from the last write, the end comes now.
            controller.kill();
            controller = self.life("second").await;
        }
        let done = async || self.is_done().await.then_some(());
        eventually(&format!("everything prepared, and nothing left over ({plan})"), done).await;
        let left = self.left().await;
        let (writes, done) = (self.proxy.writes(), self.proxy.done());
        let inspects = self.kubelet.as_ref().map_or(0, |kubelet| kubelet.started().len());
        let started = done.iter().filter(|write| write.starts_with("create") && write.ends_with("/jobs")).count();
        let wanted = usize::from(self.kubelet.is_some());
        let counted = (started, inspects - self.ran);
        assert_eq!(counted, (wanted, wanted), "Jobs made and pods run with {plan}: {done:#?}");
        self.ran = inspects;
        self.clean(controller).await;
        (left, writes)
    }

    /// A controller that leads. Its predecessor's Lease is taken away, so that nobody waits for its end.
    async fn life(&self, name: &str) -> Controller {
        self.world.release_lease().await;
        let mut controller = self.world.controller_at(&Manner::default(), self.proxy.kubeconfig(), name).await;
        controller.wait_until_leading().await.unwrap();
        controller
    }

    async fn is_done(&self) -> bool {
        let prepared = self.world.condition("Prepared").await.1 == "AllVersionsPrepared";
        let ready = self.world.condition("Ready").await.1 == "Succeeded";
        let pods: Api<Pod> = Api::namespaced(self.world.client.clone(), INSPECTION);
        let pods = pods.list(&ListParams::default()).await.unwrap().items;
        let gate = self.world.gate_specs().await.len() == if self.gate { GATE_KINDS.len() } else { 0 };
        prepared && ready && gate && pods.is_empty() && self.world.jobs().await.is_empty()
    }

    async fn left(&self) -> Left {
        let sets = OperatorKind::ImageSet.api(&self.world.client).list(&ListParams::default()).await.unwrap().items;
        let reported = |set: &kube::api::DynamicObject| json!([set.data["spec"], set.annotations(), set.labels()]);
        // The same content at another time.
        let timeless = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.contains("At:")).map(str::to_owned).collect()
        };
        let records = self.world.records().await.into_iter().map(|map| {
            let text = map.data.clone().unwrap_or_default().remove("record.yaml").unwrap_or_default();
            (map.name_any(), timeless(&text))
        });
        let sets = sets.iter().map(|set| (set.name_any(), reported(set))).collect();
        Left { sets, records: records.collect(), gate: self.world.gate_specs().await }
    }

    /// As before the first run.
    async fn clean(&self, mut controller: Controller) {
        assert!(!controller.log().contains("panicked"), "{}", controller.log());
        controller.kill();
        self.world.policies().delete("default", &DeleteParams::default()).await.unwrap();
        let mut sets: Vec<String> = self.left().await.sets.into_keys().collect();
        // That of the operator that is deployed goes last.
        sets.sort_by_key(|name| name == "calico-v3.32.0");
        for name in sets {
            self.world.recorder.allow_delete(&name);
            self.world.delete_set(&name).await;
        }
        self.world.delete_gate().await;
        self.world.delete_records("imageset-controller.io/record").await;
    }

    /// A run without faults, then one for each of its writes and each point of that.
    async fn crash_at_each_write(mut self) {
        let (whole, writes) = self.run(None).await;
        assert!(!whole.sets.is_empty() && !whole.records.is_empty() && writes.len() > 3, "{whole:?} {writes:?}");
        let (mut failed, mut missed) = (Vec::new(), Vec::new());
        for (at, write) in writes.iter().enumerate() {
            for point in CrashPoint::ALL {
                let plan = format!("write {} ({write}), {point:?}", at + 1);
                let mut came = false;
                // How often the status is written depends on the machine: where there was no such write, once more.
                for _ in 0..TRIES {
                    let (left, _) = self.run(Some((at + 1, point))).await;
                    if left != whole {
                        failed.push(format!("{plan}: {left:#?}"));
                    }
                    // Nothing may follow from the last write.
                    came =
                        self.proxy.ended_at().is_some() || (point, at + 1) == (CrashPoint::AfterResponse, writes.len());
                    if came {
                        break;
                    }
                }
                if !came {
                    missed.push(plan);
                }
            }
        }
        // Each write that changes more than the status comes in every run.
        assert!(missed.iter().all(|plan| plan.contains("/status)")), "these writes did not come: {missed:#?}");
        assert!(failed.is_empty(), "without faults: {whole:#?}\nfailing plans:\n{}", failed.join("\n"));
        self.world.finish(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_survives_a_crash_at_each_write() {
    let (world, kubelet) = with_kubelet(scenery("crash-inspection")).await;
    kubelet.play("/operator@sha256:", prints_all());
    Stage::new(world, &["v1.44.0"], false, Some(kubelet)).await.crash_at_each_write().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_arming_with_a_gate_survives_a_crash_at_each_write() {
    let world = World::with_calico(Scenery { name: "crash-arming", ..Scenery::default() }, "v1.40.15").await;
    Stage::new(world, &["v1.42.4"], true, None).await.crash_at_each_write().await;
}
