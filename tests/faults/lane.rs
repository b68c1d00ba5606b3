//! A cluster in which plans run one after another: a control plane, a registry, and a front before each of them. Between two
//! plans the cluster is emptied.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::plan::{Counts, Fault, Object, Plan, Rival};
use crate::registry::{self, RegistryFront};
use crate::scenario::{self, RELEASES, Scenario};
use crate::testbox::api_proxy::{self as api, ApiProxy, Flow};
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::operator_images::OperatorImages;
use crate::testbox::patience::quiet_window;
use crate::testbox::recorder::{self, InvariantRecorder, Revision, Verb, Watched};
use crate::testbox::scenery::{self, OPERATOR};
use crate::testbox::{Controller, Kubelet};
use crate::world::{CANARY, INSPECTION, Scenery, World, newer};

/// The longest that a plan may take until all is done. Only a bound: nothing is measured.
const DONE_WITHIN: Duration = Duration::from_secs(400);
/// How long faults last that have a duration.
const FOR_A_WHILE: Duration = Duration::from_secs(3);
/// Connections that never say anything.
const SILENT: usize = 64;
/// The longest wait for a probe; the limit of a second is for `make bench`.
const PROBE_WITHIN: Duration = Duration::from_secs(20);
/// Lines of the controller's log that a failing plan shows.
const LINES: usize = 60;

/// What is left at the end, and how it came to be; less what differs from run to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Left {
    sets: BTreeMap<String, Value>,
    records: Vec<String>,
    gate: Vec<Value>,
    /// The contents of each set, one after another.
    history: BTreeMap<String, Vec<Value>>,
}

/// A plan that ran to its end.
pub struct Ran {
    pub left: Left,
    pub counts: Counts,
    /// Whether the fault came at all.
    pub came: bool,
    pub took: Duration,
}

/// Controllers so far: each has a log of its own.
static INSTANCES: AtomicUsize = AtomicUsize::new(0);

/// See the module.
pub struct Lane {
    pub world: World,
    pub registry: RegistryFront,
    pub kubelet: Kubelet,
    pub api: ApiProxy,
    controller: Mutex<Option<Controller>>,
    logs: std::sync::Mutex<Vec<String>>,
    notes: std::sync::Mutex<Vec<(Instant, String)>>,
    /// So long nothing may be written until everything counts as said.
    quiet_window: Duration,
}

impl Lane {
    /// Starts everything.
    pub async fn start() -> Self {
        let operators = OperatorImages::new().with_tag("v1.44.0", newer());
        let scenery = Scenery {
            name: "faults",
            releases: RELEASES,
            operators,
            jobs: true,
            waits_for_room: false,
            ..Scenery::default()
        };
        let mut world = World::start(scenery).await;
        world.mirror.push_build(&newer(), &[]).await.unwrap();
        let registry = RegistryFront::start(&world.mirror.registry.host()).await.unwrap();
        world.mirror.stand_behind(registry.host().to_owned());
        let kubelet = Kubelet::start(world.client.clone(), "kubelet", INSPECTION).await.unwrap();
        let api = ApiProxy::start(&world.kubeconfig().await).await.unwrap();
        Self {
            world,
            registry,
            kubelet,
            api,
            controller: Mutex::default(),
            logs: Default::default(),
            notes: Default::default(),
            quiet_window: quiet_window(),
        }
    }

    /// Runs a plan. What went wrong that should not have, with the timeline.
    ///
    /// # Errors
    /// An invariant was broken, the end is another than `expected`, or it never came.
    pub async fn run(&mut self, plan: Plan, expected: Option<&Left>) -> Result<Ran, String> {
        let started = Instant::now();
        let outcome = AssertUnwindSafe(self.attempt(plan, expected)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
        });
        let timeline = outcome.is_err().then(|| self.timeline(started));
        self.api.arm(None);
        self.api.let_watches(Flow::Flows);
        self.registry.arm(None);
        drop(self.controller.lock().await.take());
        outcome.map_err(|error| format!("{error}\n{}", timeline.unwrap_or_default()))
    }

    async fn attempt(&mut self, plan: Plan, expected: Option<&Left>) -> Result<Ran, String> {
        let started = Instant::now();
        let Plan { scenario, fault } = plan;
        self.quiet_window = match fault {
            // Between two writes of a reconcile there are a read or two.
            Fault::ApiDelay(_, by) => quiet_window().max(3 * by),
            _ => quiet_window(),
        };
        self.empty().await;
        self.start_recorder().await;
        let double = self.world.double(|_| {});
        scenario.begin(self).await;

        let flags: &[&str] = match fault {
            Fault::Rival(Rival::StoppedInstance) => &["--leader-elect-lease-duration", "3s"],
            _ => &[],
        };
        self.arm_before(fault).await;
        self.start_controller_with("first", flags).await;
        let process = self.controller.lock().await.as_ref().map(Controller::process_id).unwrap_or_default();
        let mut second = None;
        if matches!(fault, Fault::Rival(Rival::SecondInstance | Rival::StoppedInstance)) {
            second = Some(self.instance("second", &[flags, &["--leader-elect=true"]].concat()).await);
        }
        let rights = self.without_right(fault).await;
        self.arm_after(fault, process);
        scenario.act(self).await;
        let silent = self.go_on(fault).await;
        self.until(fault, "its beginning", async || match scenario.has_begun(self).await {
            true => None,
            false => Some("nothing yet".to_owned()),
        })
        .await?;
        self.second_life(fault).await;
        scenario.follow(self).await;
        if let Some((name, rules)) = rights {
            tokio::time::sleep(FOR_A_WHILE).await;
            self.set_rights(&name, rules).await;
            self.note("the right is back");
        }
        self.until(fault, "the end", async || scenario.misses(self).await).await?;
        let came = self.came(fault).await;
        self.second_life(fault).await;
        if let Fault::Rival(rival) = fault {
            self.rival_at_the_end(rival, scenario).await;
        }
        if fault == Fault::Object(Object::UnlabelledRecord) {
            // They are mended with the next check, which is now.
            scenario::refresh(&self.world).await;
            let handled = async || self.world.status().await["lastHandledRefresh"].is_string().then_some(());
            crate::world::eventually("the check", handled).await;
        }
        self.until(fault, "the end again", async || scenario.misses(self).await).await?;
        if !silent.is_empty() {
            self.probes().await?;
        }
        self.until_quiet().await;
        if fault == Fault::Restart {
            self.restart().await?;
        }
        let left = self.left().await;
        let counts = Counts {
            writes: self.api.writes(),
            requests: self.registry.requests().len(),
            rules: self.rules().await.len(),
        };
        double.stop().await;
        self.controller.lock().await.take();
        drop(second);
        drop(silent);
        self.judge().await?;
        scenario.undo(self).await;
        match expected {
            Some(expected) if !same(expected, &left, plan) => {
                Err(format!("the end is another one.\nwithout faults: {expected:#?}\nwith it: {left:#?}"))
            }
            _ => Ok(Ran { left, counts, came, took: started.elapsed() }),
        }
    }

    /// Stops and judges the recorder, and looks for secrets and panics.
    async fn judge(&mut self) -> Result<(), String> {
        let recorder = self.swap_recorder().await;
        let report = recorder.finish().await.map_err(|error| error.to_string())?;
        let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        if !violations.is_empty() {
            return Err(format!("violations:\n{}", violations.join("\n")));
        }
        for log in self.logs.lock().unwrap().iter() {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            if text.contains("panicked") || text.contains(CANARY) {
                return Err(format!("a panic or a password in {log}"));
            }
        }
        Ok(())
    }

    // Faults.

    /// What has to be there before the controller starts.
    async fn arm_before(&self, fault: Fault) {
        self.api.arm(None);
        self.registry.arm(None);
        match fault {
            Fault::ApiDelay(which, by) => self.api.arm(Some(api::Fault::Delay { which, by })),
            Fault::Object(object) => self.write(object).await,
            _ => {}
        }
    }

    /// Takes one right away from a controller that leads. Returns the rights that are to come back.
    async fn without_right(&self, fault: Fault) -> Option<(String, Vec<PolicyRule>)> {
        let Fault::Right(number) = fault else { return None };
        let (name, at) = self.rules().await[number].clone();
        let whole = self.rights(&name).await;
        let mut rest = whole.clone();
        self.note(&format!("{name} lacks {:?}", rest.remove(at)));
        self.set_rights(&name, rest).await;
        Some((name, whole))
    }

    /// What goes wrong from now on, right before something happens.
    fn arm_after(&self, fault: Fault, process: u32) {
        match fault {
            // The delay goes on; what was counted of the start does not matter.
            Fault::ApiDelay(..) => return,
            Fault::ApiCrash(write, point) => self.api.arm(Some(api::Fault::Crash { process, write, point })),
            Fault::ApiResponses(which, times, with) => self.api.arm(Some(api::Fault::Responses { which, times, with })),
            Fault::ApiWindow(with, _) => {
                self.api.arm(Some(api::Fault::Responses {
                    which: api::RequestPattern("* *"),
                    times: usize::MAX,
                    with,
                }));
            }
            Fault::Watches(flow) => self.api.let_watches(flow),
            Fault::WatchesGone => {
                self.api.arm(Some(api::Fault::Gone));
                self.api.let_watches(Flow::Cut);
            }
            _ => self.api.arm(None),
        }
        match fault {
            Fault::RegistryCrash(request) => self.registry.arm(Some(registry::Fault::Crash { process, request })),
            Fault::Registry(from, times, with) => {
                self.registry.arm(Some(registry::Fault::Responds { from, times, with }));
            }
            Fault::RegistryDelay(by) => self.registry.arm(Some(registry::Fault::Delay(by))),
            _ => self.registry.arm(None),
        }
        self.note("it begins");
    }

    /// What follows when it has begun: faults that end, and those that begin late.
    async fn go_on(&mut self, fault: Fault) -> Vec<TcpStream> {
        match fault {
            Fault::ApiWindow(_, time) => {
                tokio::time::sleep(time).await;
                self.api.arm(None);
                self.note("the API server answers again");
            }
            Fault::Watches(_) | Fault::WatchesGone => {
                tokio::time::sleep(FOR_A_WHILE).await;
                self.api.arm(None);
                self.api.let_watches(Flow::Flows);
                self.note("watches go on");
            }
            Fault::ApiServerRestarts => {
                self.world.control_plane.stop_apiserver();
                self.note("the API server is gone");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.world.control_plane.start_apiserver_again().await.unwrap();
                self.note("the API server is back");
            }
            Fault::SilentConnections => {
                let port = self.controller.lock().await.as_ref().map(Controller::port).unwrap_or_default();
                let mut silent = Vec::new();
                for _ in 0..SILENT {
                    silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
                }
                return silent;
            }
            Fault::Rival(Rival::StoppedInstance) => {
                self.controller.lock().await.as_ref().unwrap().pause().unwrap();
                self.note("the first instance is stopped");
            }
            _ => {}
        }
        Vec::new()
    }

    async fn rival_at_the_end(&self, rival: Rival, scenario: Scenario) {
        match rival {
            Rival::SecondInstance => {}
            Rival::StoppedInstance => {
                self.controller.lock().await.as_ref().unwrap().resume().unwrap();
                self.note("the first instance goes on");
            }
            Rival::HumanDeletes => {
                let name = self.world.status().await["current"]["imageSet"].as_str().unwrap_or_default().to_owned();
                self.world.recorder.allow_delete(&name);
                self.world.delete_set(&name).await;
                self.note(&format!("a human deletes {name} in {scenario}"));
            }
            Rival::HumanDeletesRecords => {
                // They come back with the next check, which is now.
                self.world.delete_records("").await;
                scenario::refresh(&self.world).await;
                self.note("a human deletes the records");
                let back = async || (!self.world.records().await.is_empty()).then_some(());
                crate::world::eventually("the records to be back", back).await;
            }
        }
    }

    async fn write(&self, object: Object) {
        let world = &self.world;
        match object {
            Object::OddNode => world.node("odd", "\u{1b}[31m::er").await,
            Object::LongNode => world.node("long", &"x".repeat(100 * 1024)).await,
            Object::StrangerPod => {
                let pod = json!({
                    "metadata": { "name": "stranger", "labels": { "k8s-app": OPERATOR } },
                    "spec": { "containers": [{ "name": OPERATOR, "image": "registry.example/other/operator:v1.30.4" }] },
                });
                scenery::pod(&world.client, OPERATOR, pod, scenery::running_and_ready()).await.unwrap();
            }
            Object::LongStatus => {
                let message = "x".repeat(900 * 1024);
                scenery::degraded(&world.client, "long", "ResourceReadError", &message).await.unwrap();
            }
            Object::UnlabelledRecord => {
                let label = json!({ "metadata": { "labels": { "imageset-controller.io/record": null } } });
                self.change_records(|_| label.clone()).await;
            }
            Object::ChangedRecord => {
                let other = format!("digest: sha256:{}", "1".repeat(64));
                self.change_records(|text| {
                    let at = text.find("digest: sha256:").unwrap();
                    let changed = format!("{}{other}{}", &text[..at], &text[at + other.len()..]);
                    json!({ "data": { "record.yaml": changed } })
                })
                .await;
            }
            Object::FutureTimes => {
                let status = json!({ "current": { "lastVerifiedTime": "2126-01-01T00:00:00Z" } });
                scenery::set_status(&world.policies(), "default", status).await.unwrap();
            }
        }
    }

    async fn change_records(&self, change: impl Fn(&str) -> Value) {
        let maps = self.world.own::<ConfigMap>();
        for map in self.world.records().await {
            let text = map.data.as_ref().and_then(|data| data.get("record.yaml")).unwrap();
            if text.contains("digest: sha256:") {
                maps.patch(&map.name_any(), &PatchParams::default(), &Patch::Merge(change(text))).await.unwrap();
            }
        }
    }

    /// Whether the fault came. Faults that last are there in any case.
    async fn came(&self, fault: Fault) -> bool {
        match fault {
            Fault::ApiCrash(..) => self.api.ended_at().is_some(),
            Fault::ApiResponses(..) | Fault::ApiDelay(..) => self.api.met() > 0,
            Fault::RegistryCrash(_) | Fault::Registry(..) | Fault::RegistryDelay(_) => self.registry.came().is_some(),
            _ => true,
        }
    }

    // Lives of the controller.

    pub async fn start_controller(&self, name: &str) {
        self.start_controller_with(name, &[]).await;
    }

    async fn start_controller_with(&self, name: &str, flags: &[&str]) {
        // That of one that was killed would have to run out.
        self.world.release_lease().await;
        let mut controller = self.instance(name, flags).await;
        controller.wait_until_leading().await.unwrap();
        *self.controller.lock().await = Some(controller);
    }

    async fn instance(&self, name: &str, flags: &[&str]) -> Controller {
        let logs = self.world.control_plane.logs();
        let instance = format!("{name}-{}", INSTANCES.fetch_add(1, Ordering::Relaxed));
        self.logs.lock().unwrap().push(logs.join(format!("{instance}.log")).display().to_string());
        let manner = crate::testbox::controller::Manner {
            arguments: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            ..Default::default()
        };
        self.world.controller_at(&manner, self.api.kubeconfig(), &instance).await
    }

    pub async fn stop_controller(&self) {
        let controller = self.controller.lock().await.take();
        if let Some(mut controller) = controller {
            assert_eq!(controller.terminate().await.unwrap(), 0);
        }
    }

    /// Where the first life has ended, another one.
    async fn second_life(&self, fault: Fault) {
        let ended = self.api.ended_at().or_else(|| self.registry.came());
        if !matches!(fault, Fault::ApiCrash(..) | Fault::RegistryCrash(_)) || ended.is_none() {
            return;
        }
        let mut controller = self.controller.lock().await;
        if controller.as_mut().is_some_and(|first| matches!(first.has_ended(), Ok(true))) {
            self.note(&format!("killed at {}", ended.unwrap_or_default()));
            *controller = None;
            drop(controller);
            self.start_controller("second").await;
        }
    }

    /// A restart when all is done: nobody is asked, and nothing is written.
    async fn restart(&self) -> Result<(), String> {
        self.controller.lock().await.as_mut().unwrap().kill();
        self.registry.arm(None);
        self.api.arm(None);
        self.start_controller("restarted").await;
        let reconciled =
            async || !self.controller.lock().await.as_ref().unwrap().logged("reconcile completed").is_empty();
        crate::world::eventually("a reconcile after the restart", async || reconciled().await.then_some(())).await;
        self.until_quiet().await;
        let (writes, requests) = (self.api.writes(), self.registry.requests());
        match writes.is_empty() && requests.is_empty() {
            true => Ok(()),
            false => Err(format!("L2: after a restart, writes {writes:?}, registry requests {requests:?}")),
        }
    }

    async fn probes(&self) -> Result<(), String> {
        let controller = self.controller.lock().await;
        for path in ["/livez", "/readyz", "/metrics"] {
            match tokio::time::timeout(PROBE_WITHIN, controller.as_ref().unwrap().get(path)).await {
                Ok(Ok((200, _))) => {}
                other => return Err(format!("{path} with {SILENT} silent connections: {other:?}")),
            }
        }
        Ok(())
    }

    // Waiting.

    async fn until(
        &self,
        fault: Fault,
        what: &str,
        mut missing: impl AsyncFnMut() -> Option<String>,
    ) -> Result<(), String> {
        let started = Instant::now();
        loop {
            self.second_life(fault).await;
            let Some(missing) = missing().await else { return Ok(()) };
            if started.elapsed() > DONE_WITHIN {
                return Err(format!("{what} did not come within {} s: {missing}", DONE_WITHIN.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Until nothing of any kind that is watched is written for a while.
    pub async fn until_quiet(&self) {
        let started = Instant::now();
        while let Err(error) = self.world.recorder.assert_quiet(self.quiet_window).await {
            assert!(started.elapsed() < DONE_WITHIN, "L1: never quiet: {error:#}");
        }
    }

    // The cluster.

    async fn start_recorder(&mut self) {
        drop(self.swap_recorder().await);
    }

    async fn swap_recorder(&mut self) -> InvariantRecorder {
        let config = recorder::Config {
            images: OperatorImages::new().with_tag("v1.44.0", newer()),
            known_digests: self.world.mirror.known_digests(),
            ..recorder::Config::default()
        };
        let new = InvariantRecorder::start(self.world.client.clone(), config).await.unwrap();
        std::mem::replace(&mut self.world.recorder, new)
    }

    /// As before the first plan.
    async fn empty(&self) {
        self.logs.lock().unwrap().clear();
        self.notes.lock().unwrap().clear();
        let client = &self.world.client;
        let all = ListParams::default();
        let now = DeleteParams::default().grace_period(0);
        self.world.policies().delete_collection(&now, &all).await.unwrap();
        for kind in OperatorKind::ALL {
            kind.api(client).delete_collection(&now, &all).await.unwrap();
        }
        self.world.delete_gate().await;
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for namespace in namespaces.list(&all).await.unwrap() {
            let name = namespace.name_any();
            if name.starts_with("kube-") {
                continue;
            }
            self.delete_all::<Deployment>(&name).await;
            self.delete_all::<DaemonSet>(&name).await;
            self.delete_all::<ReplicaSet>(&name).await;
            self.delete_all::<Job>(&name).await;
            self.delete_all::<Pod>(&name).await;
            self.delete_all::<Lease>(&name).await;
            self.delete_all::<Event>(&name).await;
        }
        self.delete_all::<Secret>(OPERATOR).await;
        self.world.delete_records("").await;
        let nodes = scenario::nodes(&self.world);
        for name in ["odd", "long"] {
            drop(nodes.delete(name, &now).await);
        }
        self.world.node("node-2", "arm64").await;
    }

    async fn delete_all<K>(&self, namespace: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        let api: Api<K> = Api::namespaced(self.world.client.clone(), namespace);
        let now = DeleteParams::default().grace_period(0);
        api.delete_collection(&now, &ListParams::default()).await.unwrap();
    }

    async fn left(&self) -> Left {
        let sets = OperatorKind::ImageSet.api(&self.world.client).list(&ListParams::default()).await.unwrap().items;
        // The recorder's own watches may still be on their way back from a fault.
        let seen = async || {
            let revisions = self.world.recorder.revisions();
            let is_seen = |set: &DynamicObject| {
                let version = set.resource_version();
                revisions.iter().any(|one| one.object.uid() == set.uid() && one.object.resource_version() == version)
            };
            sets.iter().all(is_seen).then_some(())
        };
        crate::world::eventually("the recorder to see the stored sets", seen).await;
        let records = self.world.records().await;
        let names: Vec<String> = records.iter().map(ResourceExt::name_any).collect();
        // Names of records depend on the registry's port, which is another one in each lane.
        let neutral = |text: &str| {
            let mut text = text.replace(self.registry.host(), "registry.example");
            for name in &names {
                text = text.replace(name, "RECORD");
            }
            text
        };
        let parsed = |value: Value| serde_json::from_str(&neutral(&value.to_string())).unwrap_or_default();
        let output = |set: &DynamicObject| parsed(json!([set.data["spec"], set.annotations(), set.labels()]));
        let sets = sets.iter().map(|set| (set.name_any(), output(set))).collect();
        let mut left = Left { sets, ..Left::default() };
        left.records = records
            .iter()
            .map(|map| {
                let text = map.data.as_ref().and_then(|data| data.get("record.yaml")).cloned().unwrap_or_default();
                let lines = lasting(&text).map(neutral).collect::<Vec<_>>();
                format!("{:?}\n{}", map.labels(), lines.join("\n"))
            })
            .collect();
        left.records.sort();
        left.gate = self.world.gate_specs().await;
        for revision in self.world.recorder.revisions() {
            if revision.watched == Watched::Operator(OperatorKind::ImageSet) && revision.verb != Verb::Delete {
                let contents = left.history.entry(revision.object.name_any()).or_default();
                let content = revision.object.data["spec"].clone();
                if contents.last() != Some(&content) {
                    contents.push(content);
                }
            }
        }
        left
    }

    /// The rules of the controller's rights: whose, and which.
    async fn rules(&self) -> Vec<(String, usize)> {
        let mut rules = Vec::new();
        for name in
            ["/imageset-controller", "imageset-controller/imageset-controller", "tigera-operator/imageset-controller"]
        {
            let count = self.rights(name).await.len();
            rules.extend((0..count).map(|at| (name.to_owned(), at)));
        }
        rules
    }

    async fn rights(&self, name: &str) -> Vec<PolicyRule> {
        let client = self.world.client.clone();
        match name.split_once('/') {
            Some(("", name)) => Api::<ClusterRole>::all(client).get(name).await.unwrap().rules.unwrap_or_default(),
            Some((namespace, name)) => {
                Api::<Role>::namespaced(client, namespace).get(name).await.unwrap().rules.unwrap_or_default()
            }
            None => Vec::new(),
        }
    }

    async fn set_rights(&self, name: &str, rules: Vec<PolicyRule>) {
        let client = self.world.client.clone();
        let (patch, human) = (Patch::Merge(json!({ "rules": rules })), PatchParams::default());
        match name.split_once('/') {
            Some(("", name)) => drop(Api::<ClusterRole>::all(client).patch(name, &human, &patch).await.unwrap()),
            Some((namespace, name)) => {
                drop(Api::<Role>::namespaced(client, namespace).patch(name, &human, &patch).await.unwrap());
            }
            None => {}
        }
    }

    // For people.

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push((Instant::now(), text.to_owned()));
    }

    /// What happened, in order, and the end of the controller's logs.
    fn timeline(&self, started: Instant) -> String {
        let mut lines: Vec<(Instant, String)> = self.notes.lock().unwrap().clone();
        let relevant = |revision: &Revision| !revision.initial;
        let revisions = self.world.recorder.revisions();
        lines.extend(revisions.iter().filter(|one| relevant(one)).map(|one| (one.at, one.to_string())));
        lines.sort_by_key(|(at, _)| *at);
        let shown = |(at, text): &(Instant, String)| {
            format!("  +{:7.2} s  {text}", at.saturating_duration_since(started).as_secs_f64())
        };
        let mut text = lines.iter().map(shown).collect::<Vec<_>>().join("\n");
        for log in self.logs.lock().unwrap().iter() {
            let whole = std::fs::read_to_string(log).unwrap_or_default();
            let all: Vec<&str> = whole.lines().collect();
            let end = all[all.len().saturating_sub(LINES)..].join("\n");
            let name = Path::new(log).file_name().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("\n--- the end of {name}\n{end}"));
        }
        text
    }
}

/// The lines of a record that do not depend on the moment: without times, and without the content that an operator accepted before
/// a swap, which is kept only if no TigeraStatus was Degraded at that moment.
fn lasting(record: &str) -> impl Iterator<Item = &str> {
    let mut in_accepted = false;
    record.lines().filter(move |line| {
        in_accepted = line.starts_with("accepted:") || (in_accepted && line.starts_with(' '));
        !in_accepted && !line.contains("At:")
    })
}

/// Whether both ends are the same, but for what the fault itself does.
fn same(expected: &Left, left: &Left, plan: Plan) -> bool {
    let (mut expected, mut left) = (expected.clone(), left.clone());
    if matches!(plan.fault, Fault::Rival(Rival::HumanDeletes)) {
        left.history.clone_from(&expected.history);
    }
    // The record of a version that does not run any more is not read, and so not mended.
    if matches!(plan.fault, Fault::Object(Object::UnlabelledRecord | Object::ChangedRecord)) {
        let mended = |record: &String| !plan.scenario.leaves(record);
        expected.records.retain(mended);
        left.records.retain(mended);
    }
    expected == left
}
