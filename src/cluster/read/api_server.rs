//! The reads that a decision needs, side by side, from the API server, each with a deadline. A read that fails is a value and takes
//! away nothing but what needs it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, Resource};

use super::features::{self, DEFINITIONS, FEATURES, Presence};
use super::inspections::InspectionObjects;
use super::objects::{self, GATEWAY_PROXIES, ObservedDeployment, OperatorObjects, OwnedPod, OwnedReplicaSet};
use super::request::{MOST_OBJECTS, all_of, map, read, read_pages};
use crate::api;
use crate::api::openshift::Infrastructure;
use crate::api::workload::{DaemonSet, Deployment, Job, Pod, ReplicaSet};
use crate::cluster::gate::{self, GateKind, GateObject};
use crate::cluster::records::{self, StoredRecord};
use crate::inspection::job::LABEL;
use crate::model::{
    ComponentStatus, Feature, OperatorLocation, Read, ReadFailure, StoredImageSet, Workload, is_managed_namespace,
};

/// Objects per page of a list of the operator's kinds, so that a page of the largest objects is bounded.
const PAGE: u32 = 20;
/// How often the operator's objects are read again because the Deployment changed in between.
const CONSISTENT_READS: usize = 3;

/// Reads from the API server.
pub(super) struct ApiServer {
    client: Client,
    own_namespace: String,
    /// As they were read last: a record that has not changed is not parsed again.
    records: Vec<Arc<StoredRecord>>,
}

/// What is there of a kind, by a list of metadata.
async fn presence(api: &Api<DynamicObject>, what: &str, which: ListParams) -> Result<Presence, ReadFailure> {
    match read(what, api.list_metadata(&which)).await {
        Read::Known(list) if list.items.is_empty() => Ok(Presence::NoObject),
        Read::Known(_) => Ok(Presence::Exists),
        Read::KindMissing => Ok(Presence::KindMissing),
        Read::Failed(failure) => Err(failure),
    }
}

impl ApiServer {
    pub fn new(client: Client, own_namespace: String) -> Self {
        Self { client, own_namespace, records: Vec::new() }
    }

    /// Pods are read before ReplicaSets, so that the ReplicaSet of each pod that is listed existed when ReplicaSets are listed. The
    /// Deployment is read before and after the pods: while its generation is the same, its template is the one that the pods were
    /// listed under. Another order can take the pods of one template for those of another.
    pub async fn operator(&self, location: &OperatorLocation) -> OperatorObjects {
        let mut before = self.deployment(location).await;
        let mut reads = 0;
        loop {
            reads += 1;
            let Read::Known(Some(deployment)) = before else {
                return (before, Read::Known(Vec::new()), Read::Known(Vec::new()));
            };
            let pods = self.labelled_pods(location, &deployment.selector).await;
            let (replica_sets, after) =
                futures::join!(self.replica_sets(location, &deployment.selector), self.deployment(location));
            let same = after
                .known()
                .and_then(Option::as_ref)
                .is_some_and(|after| (&after.uid, after.generation) == (&deployment.uid, deployment.generation));
            let failed = pods.failure().or(replica_sets.failure()).is_some();
            // One that changes all the time: the later template with earlier pods errs towards "not taken over".
            if same || failed || reads == CONSISTENT_READS {
                return (after, pods, replica_sets);
            }
            before = after;
        }
    }

    async fn deployment(&self, location: &OperatorLocation) -> Read<Option<ObservedDeployment>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &location.namespace);
        let what = format!("get deployments.apps {}/{}", location.namespace, location.deployment);
        let found = read(&what, api.get_opt(&location.deployment)).await;
        map(found, |found| found.map(|one| objects::operator_deployment(&one, &location.container)))
    }

    /// The pods that these labels select and that a ReplicaSet controls.
    async fn labelled_pods(&self, location: &OperatorLocation, selector: &str) -> Read<Vec<OwnedPod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &location.namespace);
        let what = format!("list pods in {}", location.namespace);
        let mut pods = Vec::new();
        let take = |pod: Pod| pods.extend(objects::owned_pod(&pod, &location.container));
        let listed = read_pages(&what, &api, page().labels(selector), MOST_OBJECTS, take).await;
        map(listed, |()| pods)
    }

    async fn replica_sets(&self, location: &OperatorLocation, selector: &str) -> Read<Vec<OwnedReplicaSet>> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &location.namespace);
        let what = format!("list replicasets.apps in {}", location.namespace);
        let replica_sets = listed(&what, &api, page().labels(selector)).await;
        map(replica_sets, |all: Vec<ReplicaSet>| {
            all.iter().filter_map(|one| objects::owned_replica_set(one, location)).collect()
        })
    }

    pub async fn installations(&self) -> Read<Vec<api::operator::Installation>> {
        let read = self.list_all("installations.operator.tigera.io").await;
        map(read, |all: Vec<_>| all.into_iter().map(objects::installation).collect())
    }

    pub async fn image_sets(&self) -> Read<Vec<StoredImageSet>> {
        let read = self.list_all::<api::operator::ImageSet>("imagesets.operator.tigera.io").await;
        map(read, |sets| sets.iter().map(objects::stored_image_set).collect())
    }

    pub async fn component_statuses(&self) -> Read<Vec<ComponentStatus>> {
        let read = self.list_all::<api::operator::TigeraStatus>("tigerastatuses.operator.tigera.io").await;
        map(read, |statuses| statuses.iter().map(objects::component_status).collect())
    }

    /// Only the existence of an object counts, so one of each kind is requested, without its content.
    pub async fn features(&self) -> Read<BTreeSet<Feature>> {
        let kinds = join_all(FEATURES.into_iter().map(|(_, kind)| {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.api_resource());
            async move { presence(&api, &format!("list {}", kind.crd_name()), ListParams::default().limit(1)).await }
        }));
        let definitions = join_all(DEFINITIONS.map(|name| {
            let resource = ApiResource::erase::<CustomResourceDefinition>(&());
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let this_one = ListParams::default().fields(&format!("metadata.name={name}"));
            async move { presence(&api, "list customresourcedefinitions.apiextensions.k8s.io", this_one).await }
        }));
        let infrastructures = self.list_all::<Infrastructure>("infrastructures.config.openshift.io");
        let (kinds, definitions, infrastructures) = futures::join!(kinds, definitions, infrastructures);
        let is_aws = match infrastructures {
            Read::Known(found) => found.iter().any(Infrastructure::is_aws),
            Read::KindMissing => false,
            Read::Failed(failure) => return Read::Failed(failure),
        };
        let known = |found: Vec<Result<Presence, ReadFailure>>| found.into_iter().collect::<Result<Vec<_>, _>>();
        match (known(kinds), known(definitions)) {
            (Ok(kinds), Ok(definitions)) => {
                let exists = |at: usize| definitions.get(at) == Some(&Presence::Exists);
                Read::Known(features::observed(&kinds, is_aws, [exists(0), exists(1)]))
            }
            (Err(failure), _) | (_, Err(failure)) => Read::Failed(failure),
        }
    }

    /// The workloads in these namespaces.
    pub async fn workloads(&self, namespaces: &[&str]) -> Read<Vec<Workload>> {
        let reads = namespaces.iter().map(|namespace| {
            let namespaced =
                (Api::namespaced(self.client.clone(), namespace), Api::namespaced(self.client.clone(), namespace));
            self.workloads_of(namespaced, namespace, page())
        });
        all_of(join_all(reads).await)
    }

    /// The workloads of Gateways, wherever they are.
    pub async fn gateway_proxies(&self) -> Read<Vec<Workload>> {
        let everywhere = (Api::all(self.client.clone()), Api::all(self.client.clone()));
        let proxies = page().labels(GATEWAY_PROXIES);
        let read = self.workloads_of(everywhere, "all namespaces", proxies).await;
        map(read, |all| all.into_iter().filter(|one| !is_managed_namespace(&one.namespace)).collect())
    }

    async fn workloads_of(
        &self,
        (daemon_sets, deployments): (Api<DaemonSet>, Api<Deployment>),
        place: &str,
        which: ListParams,
    ) -> Read<Vec<Workload>> {
        let (what, other) = (format!("list daemonsets.apps in {place}"), format!("list deployments.apps in {place}"));
        let (daemon_sets, deployments) =
            futures::join!(listed(&what, &daemon_sets, which.clone()), listed(&other, &deployments, which));
        all_of(vec![
            map(daemon_sets, |all| all.iter().map(objects::daemon_set).collect()),
            map(deployments, |all| all.iter().map(objects::deployment).collect()),
        ])
    }

    pub async fn records(&self) -> Read<Vec<Arc<StoredRecord>>> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.own_namespace);
        let what = format!("list configmaps in {}", self.own_namespace);
        let labelled = page().labels(&records::selector());
        let stored = |map: &ConfigMap| {
            let known = self.records.iter().find(|known| known.is_of(map));
            known.cloned().unwrap_or_else(|| Arc::new(StoredRecord::of(map)))
        };
        map(listed(&what, &api, labelled).await, |maps| maps.iter().map(stored).collect())
    }

    /// The records as they are now, wherever they were read.
    pub fn remember(&mut self, records: &Read<Vec<Arc<StoredRecord>>>) {
        if let Read::Known(records) = records {
            self.records.clone_from(records);
        }
    }

    /// The objects of the gate, in the order of [`GateKind::ALL`].
    pub async fn gate(&self) -> Read<Vec<Option<GateObject>>> {
        let reads = GateKind::ALL.map(async |kind| {
            let what = format!("get {}.admissionregistration.k8s.io {}", kind.plural(), gate::NAME);
            read(&what, kind.api(&self.client).get_opt(gate::NAME)).await
        });
        let mut found = Vec::new();
        for read in join_all(reads).await {
            match read {
                Read::Known(object) => found.push(object.as_ref().map(GateObject::of)),
                Read::KindMissing => return Read::KindMissing,
                Read::Failed(failure) => return Read::Failed(failure),
            }
        }
        Read::Known(found)
    }

    /// Our Jobs in `namespace` with their pods.
    pub async fn inspections(&self, namespace: &str) -> Read<InspectionObjects> {
        let labelled = || page().labels(LABEL);
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let jobs = listed(&format!("list jobs.batch in {namespace}"), &jobs, labelled()).await;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = match &jobs {
            Read::Known(jobs) if !jobs.is_empty() => {
                listed(&format!("list pods in {namespace}"), &pods, labelled()).await
            }
            _ => Read::KindMissing,
        };
        let jobs = map(jobs, |jobs| jobs.into_iter().filter_map(objects::without_history).collect());
        let pods = map(pods, |pods| pods.into_iter().filter_map(objects::without_history).collect());
        InspectionObjects::of(namespace, jobs, pods)
    }

    async fn list_all<K>(&self, resource: &str) -> Read<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client.clone());
        listed(&format!("list {resource}"), &api, page()).await
    }
}

/// The first page of a list.
fn page() -> ListParams {
    ListParams::default().limit(PAGE)
}

/// All objects that `page` selects, by pages.
async fn listed<K>(what: &str, api: &Api<K>, page: ListParams) -> Read<Vec<K>>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut items = Vec::new();
    let listed = read_pages(what, api, page, MOST_OBJECTS, |item| items.push(item)).await;
    map(listed, |()| items)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// The operator's objects, where the Deployment has changed each time that its generation is asked for, up to this one.
    fn changing_deployment(last: i64) -> (Client, Arc<Mutex<Vec<String>>>) {
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&requests);
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let mut seen = seen.lock().unwrap();
            seen.push(path.clone());
            let generation = i64::try_from(seen.iter().filter(|one| **one == path).count()).unwrap().min(last);
            let answer = match path.as_str() {
                "tigera-operator" => deployment(generation),
                _ => json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": [] }),
            };
            async move { Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes()))) }
        });
        (Client::new(service, "default"), requests)
    }

    fn deployment(generation: i64) -> Value {
        let container =
            json!({ "name": "tigera-operator", "image": format!("quay.io/tigera/operator:v1.0.{generation}") });
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "tigera-operator", "uid": "1", "generation": generation },
            "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": { "spec": { "containers": [container] } } },
        })
    }

    /// Pods of one template must not be taken for those of another.
    #[tokio::test]
    async fn pods_are_listed_again_if_their_deployment_changed_meanwhile() {
        for (last, reads) in [(1, 1), (2, 2), (9, CONSISTENT_READS)] {
            let (client, requests) = changing_deployment(last);
            let server = ApiServer::new(client, "imageset-controller".to_owned());
            let (deployment, pods, replica_sets) = server.operator(&OperatorLocation::default()).await;
            assert!(pods.known().is_some() && replica_sets.known().is_some(), "{:?}", pods.failure());
            let requests = requests.lock().unwrap();
            let times = |path: &str| requests.iter().filter(|one| *one == path).count();
            assert_eq!((times("pods"), times("tigera-operator")), (reads, reads + 1));
            let generation = deployment.known().and_then(Option::as_ref).and_then(|one| one.generation);
            assert_eq!(generation, Some(last.min(i64::try_from(reads + 1).unwrap())), "the last that was read counts");
        }
    }
}
