//! The cluster as watches show it: a store for each kind that decisions depend on, with only the fields that they require. Wakes
//! the controller when something has changed.

mod features;
mod follow;
pub mod nodes;
pub mod pods;
mod store;
mod tasks;
mod wake;
mod workloads;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::core::{ApiResource, Resource};
use kube::{Client, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{Event, watcher};
use tokio::sync::watch;

use self::features::FeatureWatches;
use self::follow::{Signals, WatchBackoff};
use self::nodes::NodePlatforms;
use self::pods::ManagedPods;
use self::store::{Store, Watched};
use self::tasks::{Metadata, Tasks, all, now, soon};
pub use self::wake::{Urgency, Wake};
use super::gate::{self, GateKind, GateObject};
use super::read::inspections::InspectionObjects;
use super::read::objects::{self, ObservedDeployment, OperatorObjects, OwnedPod, OwnedReplicaSet};
use super::read::readings::Readings;
use super::read::request::map;
use super::records::{self, StoredRecord};
use super::write::Written;
use crate::api;
use crate::api::ImageSetPolicy;
use crate::api::openshift::Infrastructure;
use crate::api::operator::GROUP;
use crate::api::workload::{Deployment, Job, Pod, ReplicaSet};
use crate::cluster::POLICY_NAME;
use crate::inspection::job::LABEL;
use crate::model::{
    CALICO_NAMESPACES, ComponentStatus, ENTERPRISE_NAMESPACES, Feature, OperatorLocation, PodSummary, Read,
    StoredImageSet, Workload,
};

/// How long a reconcile waits for the first responses to the watches; then it reads the API server.
const FIRST_RESPONSE_DEADLINE: Duration = Duration::from_secs(10);
/// How long it waits for the pods: in the largest clusters they are some 300 MB.
const PODS_DEADLINE: Duration = Duration::from_secs(15);

/// All watches of a running controller; they end with this value.
pub struct Watches {
    tasks: Tasks,
    relist: watch::Sender<u64>,
    relist_aggregates: watch::Sender<u64>,
    policy: Store<StoredPolicy>,
    installations: Store<api::operator::Installation>,
    image_sets: Store<StoredImageSet>,
    component_statuses: Store<ComponentStatus>,
    features: FeatureWatches,
    gate_policy: Store<GateObject>,
    gate_binding: Store<GateObject>,
    /// DaemonSets and Deployments of each namespace that either variant has.
    workloads: Vec<workloads::Stores>,
    /// Those of Gateways in other namespaces.
    gateway_proxies: workloads::Stores,
    records: Store<Arc<StoredRecord>>,
    nodes: NodePlatforms,
    pods: ManagedPods,
    operator: Option<OperatorWatches>,
    inspections: Option<InspectionWatches>,
    enterprise: Option<EnterpriseWatches>,
}

/// The namespaces of Calico Enterprise, where that is installed.
struct EnterpriseWatches {
    workloads: Vec<workloads::Stores>,
    pods: ManagedPods,
    tasks: Tasks,
}

/// The watches of the operator in the place that the policy names.
struct OperatorWatches {
    location: OperatorLocation,
    deployment: Store<ObservedDeployment>,
    pods: Store<OwnedPod>,
    replica_sets: Store<OwnedReplicaSet>,
    tasks: Tasks,
}

/// The watches of inspection Jobs and their pods, in the namespace that the policy names.
struct InspectionWatches {
    namespace: String,
    jobs: Store<Job>,
    pods: Store<Pod>,
    tasks: Tasks,
}

/// The policy. Two are the same if nothing was written in between.
#[derive(Debug, Clone)]
struct StoredPolicy(Arc<ImageSetPolicy>);

impl PartialEq for StoredPolicy {
    fn eq(&self, other: &Self) -> bool {
        (self.0.uid(), self.0.resource_version()) == (other.0.uid(), other.0.resource_version())
    }
}

/// A change of the status alone can wait.
fn of_policy(before: Option<&StoredPolicy>, after: Option<&StoredPolicy>) -> Urgency {
    let policy_revision = |policy: Option<&StoredPolicy>| policy.map(|policy| policy_revision(&policy.0));
    if policy_revision(before) == policy_revision(after) { Urgency::Soon } else { Urgency::Now }
}

/// Returns a value that changes whenever a person changes the policy.
#[must_use]
pub fn policy_revision(policy: &ImageSetPolicy) -> impl PartialEq + use<> {
    (policy.uid(), policy.metadata.generation, policy.annotations().clone())
}

impl Watches {
    /// Starts all watches but those whose namespace the policy names.
    #[must_use]
    pub fn start(client: &Client, own_namespace: &str, wake: Arc<Wake>) -> Self {
        let (definitions, changed) = watch::channel(0_u64);
        let ((relist, of_stores), (relist_aggregates, of_aggregates)) = (watch::channel(0), watch::channel(0));
        let signals = Signals { wake, definitions: changed, relist: of_stores, relist_aggregates: of_aggregates };
        let mut tasks = Tasks::new(client.clone(), signals);
        tasks.running.spawn(follow_definitions(client.clone(), definitions));
        let records = all().labels(&records::selector());
        let of_gate = |tasks: &mut Tasks, kind: GateKind| {
            let this_one = all().fields(&format!("metadata.name={}", gate::NAME));
            tasks.watch(kind.api(client), this_one, |one| Some(GateObject::of(&one)), now)
        };
        let workloads = CALICO_NAMESPACES.map(|namespace| workloads::in_namespace(&mut tasks, namespace));
        let gateway_proxies = workloads::of_gateways(&mut tasks);
        let features = FeatureWatches::start(&mut tasks, client);
        let (nodes, pods) = aggregates(&mut tasks, client);
        let in_own_namespace: Api<ConfigMap> = Api::namespaced(client.clone(), own_namespace);
        let this_policy = all().fields(&format!("metadata.name={POLICY_NAME}"));
        Self {
            policy: tasks.watch(
                Api::all(client.clone()),
                this_policy,
                |one| Some(StoredPolicy(Arc::new(one))),
                of_policy,
            ),
            installations: tasks.watch(Api::all(client.clone()), all(), |one| Some(objects::installation(one)), now),
            image_sets: tasks.watch(Api::all(client.clone()), all(), |one| Some(objects::stored_image_set(&one)), now),
            component_statuses: tasks.watch(
                Api::all(client.clone()),
                all(),
                |one| Some(objects::component_status(&one)),
                soon,
            ),
            features,
            gate_policy: of_gate(&mut tasks, GateKind::Policy),
            gate_binding: of_gate(&mut tasks, GateKind::Binding),
            records: tasks.watch(in_own_namespace, records, |one| Some(Arc::new(StoredRecord::of(&one))), now),
            workloads: workloads.into(),
            gateway_proxies,
            nodes,
            pods,
            operator: None,
            inspections: None,
            enterprise: None,
            relist,
            relist_aggregates,
            tasks,
        }
    }

    /// Watches the operator in this place, and in no other.
    pub fn watch_operator_in(&mut self, location: &OperatorLocation) {
        if self.operator.as_ref().is_some_and(|operator| operator.location == *location) {
            return;
        }
        let (client, namespace) = (self.tasks.client.clone(), location.namespace.as_str());
        let mut tasks = Tasks::new(client.clone(), self.tasks.signals.clone());
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let this_one = all().fields(&format!("metadata.name={}", location.deployment));
        let container = location.container.clone();
        let deployment = move |one| Some(objects::operator_deployment(&one, &container));
        let container = location.container.clone();
        let pod = move |one: Pod| objects::owned_pod(&one, &container);
        let replica_sets: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
        let of_operator = location.clone();
        let replica_set = move |one: ReplicaSet| objects::owned_replica_set(&one, &of_operator);
        self.operator = Some(OperatorWatches {
            location: location.clone(),
            deployment: tasks.watch(deployments, this_one, deployment, now),
            pods: tasks.watch(Api::namespaced(client, namespace), all(), pod, now),
            replica_sets: tasks.watch(replica_sets, all(), replica_set, now),
            tasks,
        });
    }

    /// Watches inspection Jobs and their pods in this namespace; without one, nothing.
    pub fn watch_inspections_in(&mut self, namespace: Option<&str>) {
        if self.inspections.as_ref().map(|inspections| inspections.namespace.as_str()) == namespace {
            return;
        }
        self.inspections = namespace.map(|namespace| {
            let client = self.tasks.client.clone();
            let mut tasks = Tasks::new(client.clone(), self.tasks.signals.clone());
            let labelled = || all().labels(LABEL);
            InspectionWatches {
                namespace: namespace.to_owned(),
                jobs: tasks.watch(
                    Api::namespaced(client.clone(), namespace),
                    labelled(),
                    objects::without_history,
                    soon,
                ),
                pods: tasks.watch(Api::namespaced(client, namespace), labelled(), objects::without_history, soon),
                tasks,
            }
        });
    }

    /// Watches the namespaces of Calico Enterprise where the Installation says that it is installed.
    pub fn watch_enterprise(&mut self, is_installed: bool) {
        if self.enterprise.is_some() == is_installed {
            return;
        }
        self.enterprise = is_installed.then(|| {
            let mut tasks = Tasks::new(self.tasks.client.clone(), self.tasks.signals.clone());
            let workloads =
                ENTERPRISE_NAMESPACES.map(|namespace| workloads::in_namespace(&mut tasks, namespace)).into();
            let pods = ManagedPods::new(&ENTERPRISE_NAMESPACES);
            watch_pods(&mut tasks, &pods);
            EnterpriseWatches { workloads, pods, tasks }
        });
    }

    /// Waits once for the first response to each watch, up to a deadline.
    pub async fn wait_for_first_responses(&mut self) {
        let more = self.operator.as_mut().map(|operator| &mut operator.tasks);
        let more = more.into_iter().chain(self.inspections.as_mut().map(|inspections| &mut inspections.tasks));
        let (more_pods, enterprise) = match &mut self.enterprise {
            Some(enterprise) => (Some(&enterprise.pods), Some(&mut enterprise.tasks)),
            None => (None, None),
        };
        let more_pods = join_all(more_pods.map(|pods| pods.wait_for_first_response(PODS_DEADLINE)));
        let more = more.chain(enterprise);
        let more = join_all(more.map(|tasks| tasks.wait_for_first_responses(FIRST_RESPONSE_DEADLINE)));
        let nodes = self.nodes.wait_for_first_response(FIRST_RESPONSE_DEADLINE);
        let pods = self.pods.wait_for_first_response(PODS_DEADLINE);
        futures::join!(self.tasks.wait_for_first_responses(FIRST_RESPONSE_DEADLINE), more, nodes, pods, more_pods);
    }

    /// Waits until it is known whether the policy exists, up to a deadline.
    pub async fn wait_for_policy(&self) {
        let mut responded = self.policy.responded();
        let _ = tokio::time::timeout(FIRST_RESPONSE_DEADLINE, responded.wait_for(|responded| *responded)).await;
    }

    /// Lists the stores again.
    pub fn relist(&self) {
        self.relist.send_modify(|times| *times += 1);
    }

    /// Lists everything again: a watch has missed something, and the others may have.
    pub fn relist_all(&self) {
        self.relist();
        self.relist_aggregates.send_modify(|times| *times += 1);
    }

    /// Compares the stores with reads of the API server: where a read failed, a watch may go on that could not be started any
    /// more, and its store is unavailable until it is listed again.
    pub fn compare(&self, readings: &Readings) {
        let mut distrusted = false;
        let mut distrust = |failed: bool, unavailable: &dyn Fn() -> bool| distrusted |= failed && unavailable();
        if let Some(operator) = &self.operator {
            let failed = readings.operator.failure().or(readings.operator_pods.failure()).is_some();
            distrust(failed, &|| {
                operator.deployment.unavailable() | operator.pods.unavailable() | operator.replica_sets.unavailable()
            });
        }
        distrust(readings.installations.failure().is_some(), &|| self.installations.unavailable());
        distrust(readings.image_sets.failure().is_some(), &|| self.image_sets.unavailable());
        distrust(readings.component_statuses.failure().is_some(), &|| self.component_statuses.unavailable());
        distrust(readings.features.failure().is_some(), &|| self.features.unavailable());
        let more = self.enterprise.iter().flat_map(|enterprise| &enterprise.workloads);
        let workloads = || self.workloads.iter().chain(more.clone()).flatten().chain(&self.gateway_proxies);
        distrust(readings.workloads.failure().is_some(), &|| any(workloads()));
        distrust(readings.records.failure().is_some(), &|| self.records.unavailable());
        distrust(readings.gate.failure().is_some(), &|| any(GateKind::ALL.iter().map(|kind| self.gate_store(*kind))));
        if distrusted {
            self.relist();
        }
    }

    /// Stores what the controller has just written, which the watches may not show yet.
    pub fn learn(&self, written: Written) {
        fn watched<K: Resource, V>(object: K, convert: impl FnOnce(K) -> V) -> Watched<V> {
            let (name, version) = (object.name_any(), object.resource_version().unwrap_or_default());
            Watched { name, version, value: Some(convert(object)) }
        }
        match written {
            Written::ImageSet(set) => self.image_sets.written(watched(*set, |set| objects::stored_image_set(&set))),
            Written::NoImageSet(name) => self.image_sets.deleted(&name),
            Written::Record(map) => self.records.written(watched(*map, |map| Arc::new(StoredRecord::of(&map)))),
            Written::Gate(kind, object) => {
                self.gate_store(kind).written(watched(*object, |one| GateObject::of(&one)));
            }
            Written::NoGate(kind) => self.gate_store(kind).deleted(gate::NAME),
            Written::Job(job) => {
                let jobs = self.inspections.as_ref().map(|inspections| &inspections.jobs);
                let (name, version) = (job.name_any(), job.resource_version().unwrap_or_default());
                jobs.into_iter().for_each(|jobs| {
                    jobs.written(Watched {
                        name: name.clone(),
                        version: version.clone(),
                        value: objects::without_history(Job::clone(&job)),
                    });
                });
            }
            Written::NoJob(name) => {
                self.inspections.iter().for_each(|inspections| inspections.jobs.deleted(&name));
            }
            Written::Policy(policy) => {
                self.policy.written(watched(*policy, |policy| StoredPolicy(Arc::new(policy))));
                // A later decision may depend on what was reported.
                self.tasks.signals.wake.up(Urgency::Soon);
            }
        }
    }

    /// Returns a function that determines whether the policy exists, for each scrape.
    pub fn policy_exists(&self) -> impl Fn() -> bool + Send + use<> {
        let policy = self.policy.clone();
        move || policy.has_objects()
    }

    /// What the nodes report.
    #[must_use]
    pub const fn nodes(&self) -> &NodePlatforms {
        &self.nodes
    }

    /// What the pods of the operator's workloads pull and run.
    #[must_use]
    pub fn pods(&self) -> Read<PodSummary> {
        let enterprise = self.enterprise.as_ref().map(|enterprise| enterprise.pods.read());
        enterprise.into_iter().fold(self.pods.read(), pods::both)
    }
}

/// The content of the stores; `None` where the API server has to be read.
impl Watches {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> Option<Read<Option<Arc<ImageSetPolicy>>>> {
        Some(map(self.policy.get(POLICY_NAME)?, |policy| policy.map(|policy| policy.0)))
    }

    pub(super) fn installations(&self) -> Option<Read<Vec<api::operator::Installation>>> {
        self.installations.list()
    }

    pub(super) fn image_sets(&self) -> Option<Read<Vec<StoredImageSet>>> {
        self.image_sets.list()
    }

    pub(super) fn component_statuses(&self) -> Option<Read<Vec<ComponentStatus>>> {
        self.component_statuses.list()
    }

    pub(super) fn features(&self) -> Option<Read<BTreeSet<Feature>>> {
        self.features.read()
    }

    pub(super) fn workloads(&self) -> Option<Read<Vec<Workload>>> {
        workloads::read(self.workloads.iter().flatten())
    }

    pub(super) fn gateway_proxies(&self) -> Option<Read<Vec<Workload>>> {
        workloads::read(self.gateway_proxies.iter())
    }

    pub(super) fn enterprise_workloads(&self) -> Option<Read<Vec<Workload>>> {
        workloads::read(self.enterprise.as_ref()?.workloads.iter().flatten())
    }

    pub(super) fn records(&self) -> Option<Read<Vec<Arc<StoredRecord>>>> {
        self.records.list()
    }

    const fn gate_store(&self, kind: GateKind) -> &Store<GateObject> {
        match kind {
            GateKind::Policy => &self.gate_policy,
            GateKind::Binding => &self.gate_binding,
        }
    }

    pub(super) fn gate(&self) -> Option<Read<Vec<Option<GateObject>>>> {
        let mut found = Vec::new();
        for kind in GateKind::ALL {
            match self.gate_store(kind).get(gate::NAME)? {
                Read::Known(object) => found.push(object),
                Read::KindMissing => return Some(Read::KindMissing),
                Read::Failed(failure) => return Some(Read::Failed(failure)),
            }
        }
        Some(Read::Known(found))
    }

    pub(super) fn operator(&self, location: &OperatorLocation) -> Option<OperatorObjects> {
        let operator = self.operator.as_ref().filter(|operator| operator.location == *location)?;
        let deployment = operator.deployment.get(&location.deployment)?;
        Some((deployment, operator.pods.list()?, operator.replica_sets.list()?))
    }

    pub(super) fn inspections(&self, namespace: &str) -> Option<Read<InspectionObjects>> {
        let inspections = self.inspections.as_ref().filter(|inspections| inspections.namespace == namespace)?;
        Some(InspectionObjects::of(namespace, inspections.jobs.list()?, inspections.pods.list()?))
    }
}

/// Makes stores unavailable. Returns whether any was available.
fn any<'a, V: 'a>(stores: impl Iterator<Item = &'a Store<V>>) -> bool {
    stores.fold(false, |news, store| store.unavailable() | news)
}

/// Signals when a definition of the operator's group, or of the controller's own kind, is created, changed or deleted.
async fn follow_definitions(client: Client, definitions: watch::Sender<u64>) {
    let api: Api<Metadata> = Api::all_with(client, &ApiResource::erase::<CustomResourceDefinition>(&()));
    let mut events = watcher(api, all()).backoff(WatchBackoff::default()).boxed();
    let groups = [GROUP.into(), <ImageSetPolicy as Resource>::group(&()), <Infrastructure as Resource>::group(&())];
    let suffixes = groups.map(|group: Cow<'_, str>| format!(".{group}"));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(definition) | Event::Delete(definition) | Event::InitApply(definition)) => {
                if suffixes.iter().any(|suffix| definition.name_any().ends_with(suffix)) {
                    definitions.send_modify(|changes| *changes += 1);
                }
            }
            Ok(Event::Init | Event::InitDone) => {}
            Err(error) => tracing::debug!(%error, "the watch of definitions broke and is started again"),
        }
    }
}

/// Watches nodes and managed pods, of which only aggregates are kept.
fn aggregates(tasks: &mut Tasks, client: &Client) -> (NodePlatforms, ManagedPods) {
    let (nodes, pods) = (NodePlatforms::default(), ManagedPods::default());
    let (watched_nodes, of_nodes) = (nodes.clone(), client.clone());
    tasks.aggregate(move || watched_nodes.watch(of_nodes.clone()));
    watch_pods(tasks, &pods);
    (nodes, pods)
}

fn watch_pods(tasks: &mut Tasks, pods: &ManagedPods) {
    let (pods, client) = (pods.clone(), tasks.client.clone());
    tasks.aggregate(move || pods.watch(&client));
}
