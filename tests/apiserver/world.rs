//! A cluster for one test: control plane, registry with made-up images, the operator's parts, our rights and the
//! invariant recorder. `finish` checks what every test has to keep: S1 to S6, no gap, no panic, no byte of the password.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, NamespaceResourceScope};
use kube::{Client, Resource, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::testbox::controller::Manner;
use crate::testbox::crds::{self, Kind as OperatorKind};
use crate::testbox::operator_double::{OperatorDouble, Options};
use crate::testbox::operator_images::OperatorImages;
pub use crate::testbox::patience::SOON;
use crate::testbox::patience::{quiet_window, quiet_window_with, until};
use crate::testbox::recorder::{self, HUMAN, InvariantRecorder, RecorderReport, Write};
use crate::testbox::rules::OperatorRules;
pub use crate::testbox::scenery::PULL_SECRET;
use crate::testbox::scenery::{self, CONTROLLER, with_image};
use crate::testbox::{ControlPlane, Controller, Image, Kind, Mirror, Registry, rights};

/// The registry's password; no byte sequence like it may turn up anywhere.
pub const CANARY: &str = "planted-canary-4711";
/// The registry's user.
pub const USER: &str = "puller";
/// The namespace of the Jobs that inspect images.
pub const INSPECTION: &str = "imageset-inspection";
/// The label of the records that keep what images printed.
pub const INSPECTIONS: &str = "imageset-controller.io/record=inspection";
/// Name of the gate's objects.
pub const GATE: &str = "imageset-controller-gate";
/// Kind and plural of the gate's objects.
pub const GATE_KINDS: [(&str, &str); 2] = [
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
];
/// `imagePath` of the Installation.
pub const IMAGE_PATH: &str = "mirror/calico";

/// A control plane takes 400 MB, and the machine may be small.
static ROOM: Semaphore = Semaphore::const_new(2);

/// What to start.
pub struct Scenery {
    /// For the log folders.
    pub name: &'static str,
    /// How the registry asks who you are.
    pub kind: Kind,
    /// Whether it speaks TLS by an authority of its own.
    pub tls: bool,
    /// Operator releases whose images are pushed.
    pub releases: &'static [&'static str],
    /// Whether we are installed from the start, as far as anything here needs it; else that is for the test.
    pub installed: bool,
    /// Whether the operator's CRDs are there from the start.
    pub operator_kinds: bool,
    /// Which operator image is which build, where its tag does not say so.
    pub operators: OperatorImages,
    /// Whether Jobs are made into pods.
    pub jobs: bool,
    /// Whether real controllers roll Deployments and DaemonSets out; their pods are for a `Kubelet`, which `node-1` is for.
    pub roll_outs: bool,
    /// Whether all controllers of Kubernetes are at work, as in a real cluster; their pods are for a `Kubelet` as well.
    pub controllers: bool,
    /// Whether the API server streams lists to those who ask for it; not all that are in use do.
    pub streams_lists: bool,
    /// Whether the registry is a cache of all public ones, so that the Installation names none.
    pub cache: bool,
    /// More flags of the API server.
    pub apiserver_flags: Vec<String>,
    /// Whether it waits until there is room on the machine.
    pub waits_for_room: bool,
    /// A delay of every API request of the controller and the verbs; by default what `TESTBOX_API_DELAY` says.
    pub api_delay: Option<Duration>,
}

impl Default for Scenery {
    fn default() -> Self {
        Self {
            name: "apiserver",
            kind: Kind::Anonymous,
            tls: false,
            releases: &["v1.40.15", "v1.42.4"],
            installed: true,
            operator_kinds: true,
            operators: OperatorImages::new(),
            jobs: false,
            roll_outs: false,
            controllers: false,
            streams_lists: true,
            cache: false,
            apiserver_flags: Vec::new(),
            waits_for_room: true,
            api_delay: None,
        }
    }
}

/// The cluster of a test.
pub struct World {
    pub client: Client,
    pub mirror: Mirror,
    pub recorder: InvariantRecorder,
    pub control_plane: ControlPlane,
    operators: OperatorImages,
    _permit: Option<SemaphorePermit<'static>>,
    quiet_window: Duration,
}

impl World {
    /// Starts everything but the double and the controller.
    pub async fn start(scenery: Scenery) -> Self {
        let permit = if scenery.waits_for_room { Some(ROOM.acquire().await.unwrap()) } else { None };
        let start_registry = async {
            match scenery.tls {
                true => Registry::start_tls(scenery.kind.clone()).await.unwrap(),
                false => Registry::start(scenery.kind.clone()).await.unwrap(),
            }
        };
        let mut builder = ControlPlane::builder(scenery.name).jobs(scenery.jobs).roll_outs(scenery.roll_outs);
        builder = builder.controllers(scenery.controllers);
        if !scenery.streams_lists {
            builder = builder.apiserver_flag("--feature-gates=WatchList=false");
        }
        for flag in &scenery.apiserver_flags {
            builder = builder.apiserver_flag(flag);
        }
        if let Some(delay) = scenery.api_delay {
            builder = builder.api_delay(delay);
        }
        let (control_plane, registry) = tokio::join!(builder.start(), start_registry);
        let control_plane = control_plane.unwrap();
        let client = control_plane.client();
        if scenery.installed {
            rights::install(&client).await.unwrap();
        }
        if scenery.operator_kinds {
            crds::install(&client).await.unwrap();
        }
        let mut mirror = if scenery.cache { Mirror::cache(registry) } else { Mirror::new(registry, IMAGE_PATH) };
        let config = recorder::Config {
            images: scenery.operators.clone(),
            known_digests: mirror.known_digests(),
            ..recorder::Config::default()
        };
        let recorder = InvariantRecorder::start(client.clone(), config).await.unwrap();
        for version in scenery.releases {
            mirror.push_release(version).await.unwrap();
        }
        let world = Self {
            client,
            mirror,
            recorder,
            control_plane,
            operators: scenery.operators,
            quiet_window: scenery.api_delay.map_or_else(quiet_window, quiet_window_with),
            _permit: permit,
        };
        world.node("node-1", "amd64").await;
        world.node("node-2", "arm64").await;
        world
    }

    /// The same with an Installation of Calico and an operator of this version.
    pub async fn with_calico(scenery: Scenery, version: &str) -> Self {
        let world = Self::start(scenery).await;
        world.installation(json!({})).await;
        world.operator(version).await;
        world
    }

    /// Pushes one image; its digest becomes one that may be pinned.
    pub async fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.mirror.push_image(repository, tag, image).await.unwrap()
    }

    /// A node of this architecture.
    pub async fn node(&self, name: &str, architecture: &str) {
        scenery::node(&self.client, name, scenery::node_info(architecture)).await.unwrap();
    }

    /// What an Installation says of the test's registry.
    pub fn layout(&self) -> Value {
        let mut layout = self.mirror.layout();
        if self.mirror.registry.credentials().is_some() {
            layout["imagePullSecrets"] = json!([{ "name": PULL_SECRET }]);
        }
        layout
    }

    /// Creates or changes the Installation: variant Calico from the test's registry, with `more`.
    pub async fn installation(&self, more: Value) {
        let mut spec = self.layout();
        spec["variant"] = json!("Calico");
        merge(&mut spec, more);
        self.create(OperatorKind::Installation, "default", spec).await;
    }

    /// Creates or changes an object of the operator's group, as a human.
    pub async fn create(&self, kind: OperatorKind, name: &str, spec: Value) {
        scenery::create(&self.client, kind, name, spec).await.unwrap();
    }

    /// The pull secret as the registry wants it.
    pub async fn pull_secret(&self) {
        self.pull_secret_with(&self.mirror.registry.docker_config_json()).await;
    }

    /// A pull secret with this text.
    pub async fn pull_secret_with(&self, docker_config: &str) {
        scenery::pull_secret(&self.client, docker_config).await.unwrap();
    }

    /// Creates or moves the operator's Deployment. Returns the resourceVersion of the write.
    pub async fn operator(&self, version: &str) -> u64 {
        self.operator_at(&self.mirror.operator_image(version)).await
    }

    /// The same with any image.
    pub async fn operator_at(&self, image: &str) -> u64 {
        let stored = scenery::operator(&self.client, image).await.unwrap();
        stored.resource_version().unwrap().parse().unwrap()
    }

    /// As `kubectl set image` does it; or what the API server says.
    pub async fn set_image(&self, image: &str) -> Result<(), String> {
        self.change_operator(Patch::Strategic(with_image(image)), &PatchParams::default()).await
    }

    /// Whether the gate rejects this image, by a server-side dry run.
    pub async fn rejects(&self, image: &str) -> bool {
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let rejected = self.change_operator(Patch::Strategic(with_image(image)), &dry).await;
        rejected.is_err_and(|message| message.contains("no ImageSet is ready"))
    }

    /// Changes the operator's Deployment; or what the API server says.
    pub async fn change_operator(&self, patch: Patch<Value>, parameters: &PatchParams) -> Result<(), String> {
        match self.deployments().patch("tigera-operator", parameters, &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Deployments in the operator's namespace.
    pub fn deployments(&self) -> Api<Deployment> {
        scenery::operators(&self.client)
    }

    /// A double that knows this test's operator images, quick on its feet.
    pub fn double(&self, change: impl FnOnce(&mut Options)) -> OperatorDouble {
        let mut options = Options {
            images: self.operators.clone(),
            pod_start: Duration::from_millis(300),
            roll_out: Duration::from_millis(100),
            poll: Duration::from_millis(50),
            ..Options::default()
        };
        change(&mut options);
        OperatorDouble::start(self.client.clone(), options)
    }

    /// Starts the controller with the rights of its ServiceAccount.
    pub async fn controller(&self, instance: &str) -> Controller {
        self.controller_as(&Manner::default(), instance).await
    }

    /// The same with these flags.
    pub async fn controller_with(&self, flags: &[&str], instance: &str) -> Controller {
        let arguments = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self.controller_as(&Manner { arguments, ..Manner::default() }, instance).await
    }

    /// The same in this manner.
    pub async fn controller_as(&self, manner: &Manner, instance: &str) -> Controller {
        self.controller_at(manner, &self.kubeconfig().await, instance).await
    }

    /// A kubeconfig file with the rights of the controller's ServiceAccount.
    pub async fn kubeconfig(&self) -> PathBuf {
        self.control_plane.kubeconfig_for_service_account(CONTROLLER, CONTROLLER).await.unwrap()
    }

    /// The same with another way to the API server.
    pub async fn controller_at(&self, manner: &Manner, kubeconfig: &Path, instance: &str) -> Controller {
        let binary = Path::new(env!("CARGO_BIN_EXE_imageset-controller"));
        Controller::start_as(manner, binary, kubeconfig, instance, self.control_plane.logs()).await.unwrap()
    }

    /// Policies.
    pub fn policies(&self) -> Api<DynamicObject> {
        scenery::policies(&self.client)
    }

    /// Objects of a kind in the controller's namespace.
    pub fn own<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), CONTROLLER)
    }

    /// Deletes the Lease, so that the next controller leads at once.
    pub async fn release_lease(&self) {
        self.own::<Lease>().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    }

    /// The records, with their label or without it.
    pub async fn records(&self) -> Vec<ConfigMap> {
        let all = self.own::<ConfigMap>().list(&ListParams::default()).await.unwrap().items;
        all.into_iter().filter(|map| map.data.as_ref().is_some_and(|data| data.contains_key("record.yaml"))).collect()
    }

    /// Deletes the records whose labels match, such as [`INSPECTIONS`].
    pub async fn delete_records(&self, selector: &str) {
        let matching = ListParams::default().labels(selector);
        self.own::<ConfigMap>().delete_collection(&DeleteParams::default(), &matching).await.unwrap();
    }

    /// Jobs that inspect images.
    pub async fn jobs(&self) -> Vec<Job> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), INSPECTION);
        jobs.list(&ListParams::default()).await.unwrap().items
    }

    /// Objects of one kind of [`GATE_KINDS`].
    pub fn gate_of(&self, (kind, plural): (&str, &str)) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    }

    /// Deletes the gate, if there is one. Nothing collects garbage in most tests.
    pub async fn delete_gate(&self) {
        for kind in GATE_KINDS {
            drop(self.gate_of(kind).delete(GATE, &DeleteParams::default()).await);
        }
    }

    /// The specs of the gate's objects that exist.
    pub async fn gate_specs(&self) -> Vec<Value> {
        let mut specs = Vec::new();
        for kind in GATE_KINDS {
            let object = self.gate_of(kind).get_opt(GATE).await.unwrap();
            specs.extend(object.map(|object| object.data["spec"].clone()));
        }
        specs
    }

    /// Creates or changes the policy: how the test's registry is reached, and `more`.
    pub async fn policy(&self, more: Value) {
        let mut entry = json!({ "host": self.mirror.host() });
        match self.mirror.registry.ca_pem() {
            None => entry["plainHttp"] = json!(true),
            Some(pem) => {
                let bundle = json!({ "namespace": "imageset-controller", "name": "registry-ca" });
                entry["caBundle"] = json!({ "configMapRef": bundle });
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "registry-ca" },
                    "data": { "ca.crt": pem },
                });
                scenery::apply::<ConfigMap>(&self.own(), &map).await.unwrap();
            }
        }
        let mirrored = self.mirror.mirrored();
        let registries: Vec<Value> = match mirrored.is_empty() {
            true => vec![entry],
            false => {
                let mirror = |(host, mirror): (String, String)| {
                    let mut entry = entry.clone();
                    merge(&mut entry, json!({ "host": host, "mirror": mirror }));
                    entry
                };
                mirrored.into_iter().map(mirror).collect()
            }
        };
        let mut spec = json!({ "registries": registries });
        merge(&mut spec, more);
        self.policy_as(spec).await.unwrap();
    }

    /// Applies the policy with exactly this spec.
    pub async fn policy_as(&self, spec: Value) -> Result<DynamicObject, kube::Error> {
        scenery::apply(&self.policies(), &scenery::policy(spec)).await
    }

    /// The policy's status.
    pub async fn status(&self) -> Value {
        let policy = self.policies().get_opt("default").await.unwrap();
        policy.map_or(Value::Null, |policy| policy.data["status"].clone())
    }

    /// Status, reason and message of a condition; empty if there is none yet or if it is of an older generation.
    pub async fn condition(&self, r#type: &str) -> (String, String, String) {
        let policy = self.policies().get_opt("default").await.unwrap();
        let present = |policy: &DynamicObject| {
            let conditions = scenery::conditions(policy);
            let one = conditions.iter().find(|one| one["type"] == r#type);
            one.is_some_and(|one| one["observedGeneration"].as_i64() == policy.metadata.generation)
        };
        policy.filter(present).map(|policy| scenery::condition(&policy, r#type)).unwrap_or_default()
    }

    /// Waits for a condition of the policy's present generation.
    pub async fn until(&self, r#type: &str, status: &str, reason: &str) {
        self.until_message(r#type, status, reason, &[]).await;
    }

    /// The same, with words that its message must have. Returns the message.
    pub async fn until_message(&self, r#type: &str, status: &str, reason: &str, words: &[&str]) -> String {
        let what = format!("{type} to become {status} {reason} with {words:?}");
        let found = until(&what, SOON, async || {
            let (now, because, message) = self.condition(r#type).await;
            let as_wanted = (now.as_str(), because.as_str()) == (status, reason);
            Ok((as_wanted && words.iter().all(|word| message.contains(word))).then_some(message))
        });
        match found.await {
            Ok(message) => message,
            Err(error) => {
                panic!("{error}; the status:\n{}", imageset_controller::yaml::to_string(&self.status().await).unwrap())
            }
        }
    }

    /// Entries of a stored set.
    pub async fn stored(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let set = OperatorKind::ImageSet.api(&self.client).get_opt(name).await.unwrap()?;
        Some(scenery::entries(&set))
    }

    /// What a complete set of this operator release holds, from the published facts and the pushed digests.
    pub fn wanted(&self, version: &str, fips: bool) -> BTreeMap<String, String> {
        self.mirror.wanted_with(version, fips).unwrap()
    }

    /// Tags that the registry has served since its requests were forgotten. Each must have been asked for once, and so must each
    /// platform's manifest, which is asked for by its digest.
    pub fn served_once(&self) -> usize {
        let requests = self.mirror.registry.requests().unwrap();
        let served =
            requests.iter().filter(|one| one.method == "GET" && one.path.contains("/manifests/") && one.status == 200);
        let mut paths: Vec<&str> = served.map(|one| one.path.as_str()).collect();
        let (all, tags) = (paths.len(), paths.iter().filter(|path| !path.contains("/manifests/sha256:")).count());
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), all, "something was asked for twice: {requests:#?}");
        tags
    }

    /// Writes of ImageSets and records so far.
    pub fn writes(&self) -> Vec<Write> {
        let relevant = |write: &Write| matches!(write.kind.as_str(), "ImageSet" | "ConfigMap");
        // The CA bundle of the tests is a ConfigMap in the same namespace.
        self.recorder.writes().into_iter().filter(|write| relevant(write) && write.name != "registry-ca").collect()
    }

    /// Nothing but status was written.
    pub fn assert_nothing_written(&self) {
        let writes: Vec<_> = self.writes();
        let automated = writes.iter().filter(|write| write.manager.as_deref() != Some(HUMAN)).collect::<Vec<_>>();
        assert!(automated.is_empty(), "{automated:#?}");
    }

    /// Waits until everything has been said: nothing of any kind that is watched is written for two seconds, or longer on a
    /// slow machine.
    pub async fn until_quiet(&self) {
        let started = Instant::now();
        while let Err(error) = self.recorder.assert_quiet(self.quiet_window).await {
            assert!(started.elapsed() < SOON, "not quiet within {SOON:?}: {error:#}");
        }
    }

    /// Reasons, counts and notes of all events about an object.
    pub async fn events(&self, kind: &str, name: &str) -> Vec<(String, i32, String)> {
        let events: Api<Event> = Api::all(self.client.clone());
        let about = |event: &Event| {
            event.involved_object.kind.as_deref() == Some(kind) && event.involved_object.name.as_deref() == Some(name)
        };
        let reported = |event: Event| {
            let count = event.series.and_then(|series| series.count).or(event.count).unwrap_or(1);
            (event.reason.unwrap_or_default(), count, event.message.unwrap_or_default())
        };
        let all = events.list(&ListParams::default()).await.unwrap().items;
        all.into_iter().filter(about).map(reported).collect()
    }

    /// Stores an ImageSet, as a human who takes over what others manage.
    pub async fn store_set(&self, name: &str, spec: Value) -> DynamicObject {
        scenery::create(&self.client, OperatorKind::ImageSet, name, spec).await.unwrap()
    }

    /// Changes the entries of a stored set, as a human, whoever else manages them.
    pub async fn edit_set(&self, name: &str, change: impl FnOnce(&mut Vec<Value>)) {
        let api = OperatorKind::ImageSet.api(&self.client);
        let mut images = api.get(name).await.unwrap().data["spec"]["images"].as_array().cloned().unwrap();
        change(&mut images);
        scenery::edit(&api, name, json!({ "spec": { "images": images } })).await.unwrap();
    }

    /// Deletes an ImageSet, as a human.
    pub async fn delete_set(&self, name: &str) {
        OperatorKind::ImageSet.api(&self.client).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Checks what every test has to keep.
    pub async fn finish(self, controllers: &[&Controller]) -> RecorderReport {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{CANARY}"));
        let mut texts: Vec<(&str, String)> = Vec::new();
        for controller in controllers {
            let log = controller.log();
            assert!(!log.contains("panicked"), "{log}");
            texts.push(("the log", log));
            // Some tests have ended it.
            if let Ok((_, metrics)) = controller.get("/metrics").await {
                texts.push(("/metrics", metrics));
            }
        }
        let all = ListParams::default();
        let events: Api<Event> = Api::all(self.client.clone());
        texts.push(("events", format!("{:?}", events.list(&all).await.unwrap().items)));
        texts.push(("the policy", format!("{:?}", self.policies().list(&all).await.unwrap().items)));
        texts.push(("records", format!("{:?}", self.own::<ConfigMap>().list(&all).await.unwrap().items)));
        for (place, text) in texts {
            for secret in [CANARY, basic.as_str()].into_iter().flat_map(spellings) {
                assert!(!text.contains(&secret), "the password is in {place} as {secret}");
            }
        }
        let report = self.recorder.finish_ok().await.unwrap();
        assert!(report.gaps.is_empty(), "{:?}", report.gaps);
        report
    }
}

/// A secret as it is, reversed, hexadecimal, base64 and spaced.
fn spellings(secret: &str) -> [String; 5] {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let spaced: Vec<String> = secret.chars().map(String::from).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(secret);
    [secret.to_owned(), secret.chars().rev().collect(), hex, base64, spaced.join(" ")]
}

/// A version that the catalogue does not know.
pub fn newer() -> OperatorRules {
    OperatorRules::unpublished("v1.43.0", "v1.44.0", "v3.33.0").unwrap()
}

/// Fields of `more` over those of `base`.
fn merge(base: &mut Value, more: Value) {
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        base[name] = value;
    }
}

/// Waits until `check` returns a value, and returns it.
pub async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    until(what, SOON, async || Ok(check().await)).await.unwrap()
}
