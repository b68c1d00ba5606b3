//! One look at the cluster: every read that a decision needs, side by side, each with a deadline. Reads only; a read
//! that fails is a value in the snapshot and takes away nothing but what needs it.
//!
//! Objects are read fresh in every pass instead of from watch caches (docs/adr/0002): there are a dozen of them, and a
//! decision on a stale one could break the order of writes.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ListParams};
use kube::core::{DynamicObject, Resource};
use kube::{Client, ResourceExt};

use super::gate;
use super::inspections::{InspectionJobs, Listed};
use super::records::{ReadRecords, Records};
use super::settings;
use crate::api::operator::{FEATURE_KINDS, INSTALLATION_NAME, INSTALLATION_OVERLAY_NAME, InstallationSpec};
use crate::api::requests::{LONGEST_REFRESH, PREPARE_ANNOTATION, REFRESH_ANNOTATION};
use crate::api::workload::{DaemonSet, Deployment, Pod, PodSpec};
use crate::api::{self, ImageSetPolicy};
use crate::model::condition::{Condition, Status};
use crate::model::digest::Digest;
use crate::model::discovery::Discovery;
use crate::model::feature::Feature;
use crate::model::finding::{Evidence, Finding};
use crate::model::foreign_text;
use crate::model::foreign_text::escaped;
use crate::model::image_set::OPERATOR_ANNOTATION;
use crate::model::image_set::Origin;
use crate::model::inspection::Inspections;
use crate::model::installation::Installation;
use crate::model::object_ref::Kind;
use crate::model::operator_deployment::{OperatorDeployment, OperatorPod};
use crate::model::read::{Read, ReadFailure};
use crate::model::reason::ConditionType;
use crate::model::reason::Reason;
use crate::model::registry_layout::RegistryLayout;
use crate::model::release::Variant;
use crate::model::remembered::Remembered;
use crate::model::retained::Retained;
use crate::model::settings::{InstallationSettings, OperatorLocation, Settings};
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::{StoredImage, StoredImageSet};
use crate::model::subject::Subject;
use crate::model::swap::Swap;
use crate::model::tigera_status::{ComponentStatus, Degraded};
use crate::model::workload::Workload;

/// Label of an ImageSet that is ours.
pub const POLICY_LABEL: &str = "imageset-controller.io/policy";
/// Annotation: record that a set's digests come from.
pub const RECORD_ANNOTATION: &str = "imageset-controller.io/record";
/// Annotation: digest of the content as we wrote it.
pub const CONTENT_ANNOTATION: &str = "imageset-controller.io/content";

/// The longest that one read may take.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// Longest message of a TigeraStatus that is kept, in bytes.
const LONGEST_MESSAGE: usize = 1024;
/// Objects per page of a list of the operator's kinds, so that a page of the largest objects is bounded.
const PAGE: u32 = 20;
/// Most objects of one of these kinds that are kept.
const MOST_OBJECTS: usize = 500;
/// Namespaces in which the operator keeps its workloads.
pub const MANAGED_NAMESPACES: [&str; 3] = ["calico-system", "calico-apiserver", "tigera-gateway"];
/// On the operator's Deployment: admits the one operator image that is its value, whatever the gate says.
const BREAK_GLASS_ANNOTATION: &str = "imageset-controller.io/break-glass";
/// The variable with which upstream manifests tell the operator's version.
const VERSION_VARIABLE: &str = "TIGERA_OPERATOR_INIT_IMAGE_VERSION";

/// How often the operator's objects are read again because the Deployment changed in between.
const CONSISTENT_READS: usize = 3;

/// Looks at one cluster.
pub struct Observer {
    client: Client,
    records: Arc<Records>,
    jobs: InspectionJobs,
    replica_sets: Mutex<KnownReplicaSets>,
}

/// ReplicaSets of the operator's Deployment that still have pods. One that is deleted leaves pods that run, and may lead, until
/// they are gone.
#[derive(Default)]
struct KnownReplicaSets {
    of: OperatorLocation,
    uids: BTreeSet<String>,
}

impl Observer {
    /// An observer that reads these records.
    #[must_use]
    pub fn new(client: Client, records: Arc<Records>) -> Self {
        Self { jobs: InspectionJobs::new(client.clone()), client, records, replica_sets: Mutex::default() }
    }

    /// Looks at everything but the nodes, the registries and what this process remembers.
    pub async fn observe(&self, policy: &ImageSetPolicy) -> Snapshot {
        let (mut settings, mut objections) = settings::parse(&policy.spec);
        let annotation = |name: &str| policy.annotations().get(name).map_or("", String::as_str);
        let (requested, garbled) = settings::requested(annotation(PREPARE_ANNOTATION));
        settings.requested = requested;
        objections.extend(garbled);
        let refresh = foreign_text::escaped_to(annotation(REFRESH_ANNOTATION), LONGEST_REFRESH);
        let location = settings.operator.clone();
        let (operator, installations, image_sets, component_statuses, features, workloads, records, jobs, gate) = futures::join!(
            self.operator(&location),
            self.installations(),
            self.image_sets(),
            self.component_statuses(),
            self.features(),
            self.workloads(),
            self.records.read(),
            self.inspection_jobs(&settings),
            gate::seen(&self.client, policy.metadata.uid.as_deref()),
        );
        let (operator, operator_pods) = operator;
        let (installation, windows) = split(installations);
        let features = with_windows(features, windows);
        let ReadRecords { images: records, inspected: kept, unusable: unusable_records, findings } = records;
        objections.extend(findings);
        let known: BTreeSet<Digest> = kept.iter().map(|inspected| inspected.digest).collect();
        let inspections = Inspections { jobs: self.jobs.states(jobs, &known).await, kept };
        Snapshot {
            observed_at: Timestamp::now(),
            generation: policy.metadata.generation.unwrap_or_default(),
            remembered: remembered(policy),
            refresh: Some(refresh).filter(|text| !text.is_empty()),
            settings,
            objections,
            operator,
            operator_pods,
            installation,
            image_sets,
            gate,
            component_statuses,
            features,
            workloads,
            records,
            unusable_records,
            inspections,
            ..Snapshot::default()
        }
    }

    /// The Deployment and the pods of its ReplicaSets, followed by UID: labels are anybody's to set.
    ///
    /// Pods are read before ReplicaSets, so that the ReplicaSet of each pod that is listed existed when ReplicaSets are listed. The
    /// Deployment is read before and after the pods: while its generation is the same, its template is the one that the pods were
    /// listed under. Another order can take the pods of one template for those of another.
    async fn operator(
        &self,
        location: &OperatorLocation,
    ) -> (Read<Option<OperatorDeployment>>, Read<Vec<OperatorPod>>) {
        let mut deployment = match self.deployment(location).await {
            Read::Known(Some(deployment)) => deployment,
            // Without a Deployment no pod can be told to be the operator's.
            Read::Known(None) => return (Read::Known(None), Read::Known(Vec::new())),
            Read::KindMissing => return (Read::KindMissing, Read::KindMissing),
            // One failure is told once; without the template the pods are of no use.
            Read::Failed(failure) => return (Read::Failed(failure), Read::Known(Vec::new())),
        };
        let mut reads = 0;
        loop {
            reads += 1;
            let listed = self.labelled_pods(location, &deployment).await;
            let (replica_sets, after) =
                futures::join!(self.replica_sets_of(location, &deployment), self.deployment(location));
            let pods = self.controlled(location, listed, replica_sets);
            let after = match after {
                Read::Known(Some(after)) => after,
                Read::Known(None) => return (Read::Known(None), Read::Known(Vec::new())),
                Read::KindMissing => return (Read::KindMissing, Read::KindMissing),
                Read::Failed(failure) => return (Read::Failed(failure), Read::Known(Vec::new())),
            };
            let same = after.metadata.uid == deployment.metadata.uid
                && after.metadata.generation == deployment.metadata.generation;
            deployment = after;
            // One that changes all the time: the later template with earlier pods errs towards "not taken over".
            if same || reads == CONSISTENT_READS || pods.failure().is_some() {
                return (Read::Known(Some(operator_deployment(&deployment, &location.container))), pods);
            }
        }
    }

    async fn deployment(&self, location: &OperatorLocation) -> Read<Option<Deployment>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &location.namespace);
        let what = format!("get deployments.apps {}/{}", location.namespace, location.deployment);
        read(&what, api.get_opt(&location.deployment)).await
    }

    /// The pods that this Deployment's selector selects, whoever made them.
    async fn labelled_pods(&self, location: &OperatorLocation, deployment: &Deployment) -> Read<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &location.namespace);
        let what = format!("list pods in {}", location.namespace);
        let selected = ListParams::default().labels(&selector(deployment));
        map(read(&what, api.list(&selected)).await, |pods| pods.items)
    }

    /// The UIDs of the ReplicaSets that this Deployment controls.
    async fn replica_sets_of(&self, location: &OperatorLocation, deployment: &Deployment) -> Read<Vec<String>> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &location.namespace);
        let what = format!("list replicasets.apps in {}", location.namespace);
        let selected = ListParams::default().labels(&selector(deployment));
        map(read(&what, api.list_metadata(&selected)).await, |replica_sets| {
            let owned = replica_sets.items.into_iter().filter(|one| {
                controller_of(&one.metadata, "Deployment")
                    .is_some_and(|uid| Some(uid) == deployment.metadata.uid.as_deref())
            });
            owned.filter_map(|one| one.metadata.uid).collect()
        })
    }

    /// The pods that one of these ReplicaSets controls.
    fn controlled(
        &self,
        location: &OperatorLocation,
        pods: Read<Vec<Pod>>,
        replica_sets: Read<Vec<String>>,
    ) -> Read<Vec<OperatorPod>> {
        let (pods, owned) = match (pods, replica_sets) {
            (Read::Known(pods), Read::Known(owned)) => (pods, owned),
            (Read::Failed(failure), _) | (_, Read::Failed(failure)) => return Read::Failed(failure),
            _ => return Read::KindMissing,
        };
        let owned = owned.into_iter();
        let mut known = self.replica_sets.lock().unwrap_or_else(PoisonError::into_inner);
        Read::Known(known.pods(location, owned, &pods))
    }

    /// Without the permission to run operator images nobody looks whether one runs.
    async fn inspection_jobs(&self, settings: &Settings) -> Read<Listed> {
        match settings.inspection_enabled {
            true => self.jobs.list(&settings.inspection_namespace).await,
            false => Read::KindMissing,
        }
    }

    async fn installations(&self) -> Read<Vec<api::operator::Installation>> {
        self.list_all("installations.operator.tigera.io").await
    }

    async fn image_sets(&self) -> Read<Vec<StoredImageSet>> {
        let read = self.list_all::<api::operator::ImageSet>("imagesets.operator.tigera.io").await;
        map(read, |sets| sets.iter().map(stored_image_set).collect())
    }

    async fn component_statuses(&self) -> Read<Vec<ComponentStatus>> {
        let read = self.list_all::<api::operator::TigeraStatus>("tigerastatuses.operator.tigera.io").await;
        map(read, |statuses| statuses.iter().map(component_status).collect())
    }

    /// Objects only count by being there, so one of each kind is asked for, without its content.
    async fn features(&self) -> Read<BTreeSet<Feature>> {
        let one = ListParams::default().limit(1);
        let reads = FEATURE_KINDS.iter().zip(FEATURES).map(|(kind, feature)| {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.api_resource());
            let (what, one) = (format!("list {}", kind.crd_name()), one.clone());
            async move { (feature, read(&what, api.list_metadata(&one)).await) }
        });
        let mut features = BTreeSet::new();
        for (feature, read) in join_all(reads).await {
            match read {
                Read::Known(list) if !list.items.is_empty() => {
                    features.insert(feature);
                }
                Read::Known(_) | Read::KindMissing => {}
                Read::Failed(failure) => return Read::Failed(failure),
            }
        }
        Read::Known(features)
    }

    async fn workloads(&self) -> Read<Vec<Workload>> {
        let mut workloads = Vec::new();
        let reads = MANAGED_NAMESPACES.iter().map(|namespace| async move {
            let daemon_sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
            let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
            let (what, other) =
                (format!("list daemonsets.apps in {namespace}"), format!("list deployments.apps in {namespace}"));
            let all = ListParams::default();
            futures::join!(read(&what, daemon_sets.list(&all)), read(&other, deployments.list(&all)))
        });
        for (daemon_sets, deployments) in join_all(reads).await {
            match (daemon_sets, deployments) {
                (Read::Known(daemon_sets), Read::Known(deployments)) => {
                    workloads.extend(daemon_sets.iter().map(daemon_set));
                    workloads.extend(deployments.iter().map(deployment));
                }
                (Read::Failed(failure), _) | (_, Read::Failed(failure)) => return Read::Failed(failure),
                _ => {}
            }
        }
        workloads.sort();
        Read::Known(workloads)
    }

    async fn list_all<K>(&self, resource: &str) -> Read<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client.clone());
        let what = format!("list {resource}");
        let mut items = Vec::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            match read(&what, api.list(&page)).await {
                Read::Known(list) => {
                    items.extend(list.items);
                    match list.metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) if items.len() < MOST_OBJECTS => page = page.continue_token(&token),
                        _ => return Read::Known(items),
                    }
                }
                Read::KindMissing => return Read::KindMissing,
                Read::Failed(failure) => return Read::Failed(failure),
            }
        }
    }
}

impl KnownReplicaSets {
    /// The pods of these ReplicaSets, and of those known from before as long as they have pods.
    fn pods(
        &mut self,
        location: &OperatorLocation,
        owned: impl Iterator<Item = String>,
        pods: &[Pod],
    ) -> Vec<OperatorPod> {
        if self.of != *location {
            *self = Self { of: location.clone(), uids: BTreeSet::new() };
        }
        self.uids.extend(owned);
        let mut in_use = BTreeSet::new();
        let of_operator = pods.iter().filter(|pod| match controller_of(&pod.metadata, "ReplicaSet") {
            Some(uid) if self.uids.contains(uid) => {
                in_use.insert(uid.to_owned());
                true
            }
            _ => false,
        });
        let found = of_operator.filter_map(|pod| operator_pod(pod, &location.container)).collect();
        self.uids = in_use;
        found
    }
}

/// UID of the object of this kind of the API group `apps` that controls the object, if one does.
fn controller_of<'a>(metadata: &'a ObjectMeta, kind: &str) -> Option<&'a str> {
    let mut owners = metadata.owner_references.iter().flatten();
    let controls = |owner: &&OwnerReference| owner.controller == Some(true);
    let owner = owners.find(controls).filter(|owner| owner.kind == kind && owner.api_version.starts_with("apps/"))?;
    Some(&owner.uid)
}

/// The features in the order of [`FEATURE_KINDS`].
const FEATURES: [Feature; 6] = [
    Feature::ApiServer,
    Feature::Goldmane,
    Feature::Whisker,
    Feature::GatewayApi,
    Feature::Istio,
    Feature::ManagementClusterConnection,
];

/// One read with its deadline, as a value. 404 means that the kind is not installed: objects are read by list, or with
/// `get_opt`.
pub(super) async fn read<T>(what: &str, reading: impl Future<Output = Result<T, kube::Error>>) -> Read<T> {
    let failed = |forbidden: bool, message: String| {
        Read::Failed(ReadFailure { what: what.to_owned(), forbidden, message: escaped(&message) })
    };
    match tokio::time::timeout(READ_DEADLINE, reading).await {
        Ok(Ok(value)) => Read::Known(value),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Read::KindMissing,
        Ok(Err(kube::Error::Api(status))) => failed(matches!(status.code, 401 | 403), status.message.clone()),
        Ok(Err(error)) => failed(false, error.to_string()),
        Err(_) => failed(false, format!("no answer within {} s", READ_DEADLINE.as_secs())),
    }
}

fn map<T, U>(read: Read<T>, with: impl FnOnce(T) -> U) -> Read<U> {
    match read {
        Read::Known(value) => Read::Known(with(value)),
        Read::KindMissing => Read::KindMissing,
        Read::Failed(failure) => Read::Failed(failure),
    }
}

fn operator_deployment(deployment: &Deployment, container: &str) -> OperatorDeployment {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let container = template.and_then(|spec| spec.containers.iter().find(|one| one.name == container));
    let variable =
        container.and_then(|one| one.env.iter().flatten().find(|variable| variable.name == VERSION_VARIABLE));
    OperatorDeployment {
        image: container.map(|one| one.image.clone().unwrap_or_default()),
        init_image_version: variable.and_then(|variable| variable.value.clone()),
        break_glass: deployment.annotations().get(BREAK_GLASS_ANNOTATION).map(|image| foreign_text::name(image)),
    }
}

fn selector(deployment: &Deployment) -> String {
    let labels = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.clone()).unwrap_or_default();
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

fn operator_pod(pod: &Pod, container: &str) -> Option<OperatorPod> {
    let image = pod.spec.as_ref()?.containers.iter().find(|one| one.name == container)?.image.clone()?;
    let status = pod.status.as_ref();
    let mut conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let ready = conditions.find(|condition| condition.type_ == "Ready");
    let runs = status.and_then(|status| status.container_statuses.as_ref()).into_iter().flatten();
    let image_id = runs.clone().find(|one| one.name == container).map(|one| one.image_id.as_str());
    // `registry/repository@sha256:…`; a bare `sha256:…` is the runtime's own id and says nothing of the registry.
    let image_digest = image_id.and_then(|id| id.rsplit_once('@')).and_then(|(_, digest)| digest.parse().ok());
    Some(OperatorPod {
        name: pod.name_any(),
        image,
        image_digest,
        // One that is being deleted runs on, and may lead, until its condition says otherwise or it is gone.
        ready: ready.is_some_and(|ready| ready.status == "True"),
        ready_since: ready.and_then(|ready| ready.last_transition_time.as_ref()).map(|time| time.0),
    })
}

/// The effective Installation, and whether Windows nodes are served.
fn split(installations: Read<Vec<api::operator::Installation>>) -> (Read<Option<Installation>>, bool) {
    let mut windows = false;
    let installation = map(installations, |all| {
        let named = |name: &str| all.iter().find(|one| one.name_any() == name);
        let default = named(INSTALLATION_NAME)?;
        let spec = merged(&default.spec, named(INSTALLATION_OVERLAY_NAME).map(|overlay| &overlay.spec));
        windows = spec.calico_network.as_ref().and_then(|network| network.windows_dataplane.as_deref()) == Some("HNS");
        let status = default.status.as_ref();
        Some(Installation {
            settings: effective(&spec),
            selected_image_set: status.and_then(|status| status.image_set.clone()).filter(|name| !name.is_empty()),
            calico_version: status.and_then(|status| status.calico_version.clone()),
        })
    });
    (installation, windows)
}

/// The overlay's fields win where they are set (operator: `OverrideInstallationSpec`). `status.computed` is not used: it
/// is not written while the operator is stopped by its ImageSets.
fn merged(base: &InstallationSpec, overlay: Option<&InstallationSpec>) -> InstallationSpec {
    let Some(over) = overlay else { return base.clone() };
    let pick = |one: &Option<String>, other: &Option<String>| {
        one.clone().filter(|text| !text.is_empty()).or_else(|| other.clone())
    };
    InstallationSpec {
        variant: pick(&over.variant, &base.variant),
        registry: pick(&over.registry, &base.registry),
        image_path: pick(&over.image_path, &base.image_path),
        image_prefix: pick(&over.image_prefix, &base.image_prefix),
        fips_mode: pick(&over.fips_mode, &base.fips_mode),
        kubernetes_provider: pick(&over.kubernetes_provider, &base.kubernetes_provider),
        image_pull_secrets: if over.image_pull_secrets.is_empty() {
            base.image_pull_secrets.clone()
        } else {
            over.image_pull_secrets.clone()
        },
        calico_network: over.calico_network.clone().or_else(|| base.calico_network.clone()),
    }
}

fn effective(spec: &InstallationSpec) -> InstallationSettings {
    InstallationSettings {
        variant: Variant::of_installation(spec.variant.as_deref()),
        layout: RegistryLayout {
            registry: spec.registry.clone().unwrap_or_default(),
            image_path: spec.image_path.clone().unwrap_or_default(),
            image_prefix: spec.image_prefix.clone().unwrap_or_default(),
        },
        fips: spec.fips_mode.as_deref() == Some("Enabled"),
        image_pull_secrets: spec.image_pull_secrets.iter().map(|secret| secret.name.clone()).collect(),
    }
}

fn with_windows(features: Read<BTreeSet<Feature>>, windows: bool) -> Read<BTreeSet<Feature>> {
    map(features, |mut features| {
        if windows {
            features.insert(Feature::WindowsHns);
        }
        features
    })
}

fn stored_image_set(set: &api::operator::ImageSet) -> StoredImageSet {
    let annotations = set.annotations();
    let origin = || {
        Some(Origin {
            operator: annotations.get(OPERATOR_ANNOTATION)?.parse().ok()?,
            record: foreign_text::name(annotations.get(RECORD_ANNOTATION)?),
            content: annotations.get(CONTENT_ANNOTATION)?.parse::<Digest>().ok()?,
        })
    };
    let newest = set.managed_fields().iter().max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    StoredImageSet {
        name: set.name_any(),
        resource_version: set.resource_version().unwrap_or_default(),
        ours: set.labels().contains_key(POLICY_LABEL),
        origin: origin(),
        images: set
            .spec
            .images
            .iter()
            .map(|entry| StoredImage { image: entry.image.clone(), digest: entry.digest.clone() })
            .collect(),
        manager: newest.and_then(|entry| entry.manager.as_deref()).map(foreign_text::escaped),
        changed_at: newest.and_then(|entry| entry.time.as_ref()).map(|time| time.0),
    }
}

fn component_status(status: &api::operator::TigeraStatus) -> ComponentStatus {
    let conditions = status.status.as_ref().map_or(&[][..], |status| status.conditions.as_slice());
    let find =
        |wanted: &str| conditions.iter().find(|condition| condition.r#type == wanted && condition.status == "True");
    // Newer operators say it in several lines.
    let cut = |text: &str| foreign_text::line(&text.replace(char::is_whitespace, " "), LONGEST_MESSAGE);
    ComponentStatus {
        name: status.metadata.name.clone().unwrap_or_default(),
        available: find("Available").is_some(),
        progressing: find("Progressing").is_some(),
        degraded: find("Degraded")
            .map(|condition| Degraded { reason: cut(&condition.reason), message: cut(&condition.message) }),
    }
}

fn daemon_set(set: &DaemonSet) -> Workload {
    let status = set.status.clone().unwrap_or_default();
    let desired = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or_default();
    // As `kubectl rollout status` judges a DaemonSet.
    let rolled_out = status.observed_generation >= set.metadata.generation
        && updated >= desired
        && status.number_available.unwrap_or_default() >= desired;
    Workload {
        kind: Kind::DaemonSet,
        namespace: set.namespace().unwrap_or_default(),
        name: set.name_any(),
        images: set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(images).unwrap_or_default(),
        rolled_out,
        updated: u32::try_from(updated).unwrap_or_default(),
        desired: u32::try_from(desired).unwrap_or_default(),
    }
}

fn deployment(deployment: &Deployment) -> Workload {
    let status = deployment.status.clone().unwrap_or_default();
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let updated = status.updated_replicas.unwrap_or_default();
    // As `kubectl rollout status` judges a Deployment.
    let rolled_out = status.observed_generation >= deployment.metadata.generation
        && updated >= desired
        && status.replicas.unwrap_or_default() <= updated
        && status.available_replicas.unwrap_or_default() >= updated;
    Workload {
        kind: Kind::Deployment,
        namespace: deployment.namespace().unwrap_or_default(),
        name: deployment.name_any(),
        images: deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).map(images).unwrap_or_default(),
        rolled_out,
        updated: u32::try_from(updated).unwrap_or_default(),
        desired: u32::try_from(desired).unwrap_or_default(),
    }
}

fn images(template: &PodSpec) -> Vec<String> {
    let containers = template.containers.iter().chain(template.init_containers.iter().flatten());
    containers.filter_map(|container| container.image.clone()).collect()
}

/// A finding as the status has it. `None` for one that another version wrote and this one does not know, and for the line that only
/// counts findings.
#[must_use]
pub fn remembered_finding(finding: &api::Finding) -> Option<Finding> {
    let reason: Reason = finding.reason.parse().ok().filter(|reason| *reason != Reason::FindingsCut)?;
    let subject = match &finding.object {
        Some(object) => object.to_string().parse().ok()?,
        None => Subject::OperatorKinds,
    };
    let told = Finding::new(reason, subject, finding.message.clone());
    Some(match (&finding.have, &finding.want) {
        (Some(have), Some(want)) => told.with_evidence(Evidence::words(have, want)),
        _ => told,
    })
}

/// A condition as the status has it. `None` for one that another version wrote and this one does not know.
pub(super) fn remembered_condition(
    condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition,
) -> Option<Condition> {
    Some(Condition {
        r#type: ConditionType::ALL.into_iter().find(|one| one.as_str() == condition.type_)?,
        status: match condition.status.as_str() {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        },
        reason: condition.reason.parse().ok()?,
        message: condition.message.clone(),
    })
}

pub(super) fn remembered(policy: &ImageSetPolicy) -> Remembered {
    let Some(status) = &policy.status else { return Remembered::default() };
    let operator = status.operator.clone().unwrap_or_default();
    let current = status.current.clone();
    Remembered {
        running_image: operator.running_image,
        running_version: operator.version,
        target_image: operator.image,
        target_version: operator.target,
        last_verified: current.as_ref().and_then(|current| current.last_verified_time.as_ref().map(|time| time.0)),
        current_image_set: current.map(|current| current.image_set),
        pinned_operators: operator
            .pin
            .into_iter()
            .chain(status.prepared.iter().filter_map(|prepared| prepared.operator_image.clone()))
            .chain(status.retained.iter().filter_map(|retained| retained.operator_image.clone()))
            .collect(),
        admitted_images: status.gate.as_ref().map(|gate| gate.admitted_images.clone()),
        retained: status
            .retained
            .iter()
            .filter_map(|retained| {
                Some(Retained {
                    image_set: retained.image_set.clone(),
                    operator: retained.operator_version.parse().ok()?,
                    operator_image: retained.operator_image.clone(),
                })
            })
            .collect(),
        discovery: status.discovery.as_ref().and_then(|discovery| {
            Some(Discovery {
                asked_at: discovery.last_checked_time.0,
                operator: discovery.operator_version.parse().ok()?,
                releases: discovery.releases.iter().filter_map(|release| release.parse().ok()).collect(),
            })
        }),
        findings: status.findings.iter().filter_map(remembered_finding).collect(),
        handled_refresh: status.last_handled_refresh.clone(),
        last_swap: status.last_swap.as_ref().and_then(|swap| {
            Some(Swap {
                image_set: swap.image_set.clone(),
                from: swap.from_operator_version.parse().ok()?,
                operator: swap.operator_version.parse().ok()?,
                at: swap.time.0,
                gap_seconds: swap.gap_seconds,
            })
        }),
        adopted_since: status
            .conditions
            .iter()
            .find(|one| one.type_ == ConditionType::Adopted.as_str() && one.status == Status::True.as_str())
            .map(|one| one.last_transition_time.0),
        conditions: status.conditions.iter().filter_map(remembered_condition).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overlay_wins_where_it_says_something() {
        let base = InstallationSpec {
            registry: Some("reg.example/".into()),
            fips_mode: Some("Enabled".into()),
            ..InstallationSpec::default()
        };
        let overlay = InstallationSpec {
            registry: Some(String::new()),
            image_path: Some("mirror".into()),
            ..InstallationSpec::default()
        };
        let settings = effective(&merged(&base, Some(&overlay)));
        assert_eq!(
            (settings.layout.registry.as_str(), settings.layout.image_path.as_str()),
            ("reg.example/", "mirror")
        );
        assert!(settings.fips);
    }

    /// A pod of the operator's container, controlled by the ReplicaSet with this UID, if any.
    fn pod(name: &str, replica_set: Option<&str>) -> Pod {
        let owner = replica_set.map_or(String::new(), |uid| {
            format!(
                ", ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: a, uid: {uid}, controller: true}}]"
            )
        });
        let text = format!(
            "metadata: {{name: {name}, labels: {{k8s-app: tigera-operator}}{owner}}}\nspec: {{containers: [{{name: tigera-operator, image: a}}]}}"
        );
        crate::yaml::from_str(&text).unwrap()
    }

    #[test]
    fn pods_are_followed_by_uid_and_never_by_label() {
        let location = OperatorLocation::default();
        let mut known = KnownReplicaSets::default();
        let pods = [pod("ours", Some("one")), pod("stranger", None), pod("of-another", Some("other"))];
        let mut names = |location: &OperatorLocation, owned: &[&str], pods: &[Pod]| -> Vec<String> {
            let owned = owned.iter().map(|uid| (*uid).to_owned());
            known.pods(location, owned, pods).into_iter().map(|pod| pod.name).collect()
        };
        assert_eq!(names(&location, &["one"], &pods), ["ours"]);
        assert_eq!(
            names(&location, &[], &pods),
            ["ours"],
            "its ReplicaSet is deleted, and it may lead until it is gone"
        );
        let elsewhere = OperatorLocation { namespace: "elsewhere".to_owned(), ..location.clone() };
        assert!(names(&elsewhere, &[], &pods).is_empty(), "the policy names another Deployment");
        assert!(names(&location, &["one"], &pods[1..]).is_empty());
        assert!(names(&location, &[], &pods).is_empty(), "a ReplicaSet without pods is forgotten");
    }

    #[test]
    fn a_roll_out_is_over_when_kubectl_says_so() {
        let yaml = "metadata: {name: a, namespace: n, generation: 2}\nspec: {selector: {}, template: {}}\nstatus: {observedGeneration: 1, desiredNumberScheduled: 2, updatedNumberScheduled: 2, numberAvailable: 2, currentNumberScheduled: 2, numberMisscheduled: 0, numberReady: 2}";
        let mut set: DaemonSet = crate::yaml::from_str(yaml).unwrap();
        assert!(!daemon_set(&set).rolled_out, "the controller has not seen this template yet");
        set.metadata.generation = Some(1);
        assert!(daemon_set(&set).rolled_out);
        set.status.as_mut().unwrap().number_available = Some(1);
        assert!(!daemon_set(&set).rolled_out);
    }
}
