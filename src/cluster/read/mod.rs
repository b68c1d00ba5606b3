//! Reads what decisions depend on into a snapshot: from the stores of the watches, or from the API server itself. Reads only.

mod api_server;
pub mod features;
pub mod inspections;
pub mod objects;
pub mod readings;
pub mod registry_access;
pub mod request;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::{Client, ResourceExt};

use self::api_server::ApiServer;
use self::inspections::InspectionJobs;
use self::objects::{ObservedDeployment, OwnedPod, OwnedReplicaSet};
use self::readings::Readings;
use self::request::{all_of, map};
use super::gate;
use super::records::ReadRecords;
use super::status::remembered;
use super::watch::Watches;
use crate::api;
use crate::api::ImageSetPolicy;
use crate::api::operator::{CalicoNetwork, INSTALLATION_NAME, INSTALLATION_OVERLAY_NAME, InstallationSpec};
use crate::api::requests::{LONGEST_REFRESH, PREPARE_ANNOTATION, REFRESH_ANNOTATION};
use crate::model::{
    CALICO_NAMESPACES, Digest, ENTERPRISE_NAMESPACES, Inspections, Installation, InstallationSettings,
    OperatorDeployment, OperatorLocation, OperatorPod, Read, RegistryLayout, Snapshot, Variant, foreign_text,
};

/// Where a reconcile reads.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// The API server, in a dozen requests and more.
    ApiServer,
    /// The stores of these watches. What one of them does not know is read from the API server.
    Stores(&'a Watches),
}

impl<'a> Source<'a> {
    const fn stores(self) -> Option<&'a Watches> {
        match self {
            Self::ApiServer => None,
            Self::Stores(watches) => Some(watches),
        }
    }
}

/// Reads one cluster.
pub struct Reader {
    api_server: ApiServer,
    jobs: InspectionJobs,
    replica_sets: KnownReplicaSets,
}

/// The cluster at one moment, without nodes, pods and responses of registries.
pub struct Observed {
    /// For a decision.
    pub snapshot: Snapshot,
    /// The same as it was read.
    pub readings: Readings,
}

/// ReplicaSets of the operator's Deployment that still have pods. One that is deleted leaves pods that run, and may lead, until
/// they are gone.
#[derive(Default)]
struct KnownReplicaSets {
    of: OperatorLocation,
    /// UIDs, with the operator's image in the template.
    images: BTreeMap<String, Option<String>>,
}

impl KnownReplicaSets {
    /// The pods of these ReplicaSets, and of those known from before as long as they have pods.
    ///
    /// Each has the image of its ReplicaSet's template: that is what the Deployment named, and says which version it is. Admission
    /// webhooks rewrite images of pods, to a digest or to another registry.
    fn pods(
        &mut self,
        location: &OperatorLocation,
        owned: impl Iterator<Item = OwnedReplicaSet>,
        pods: Vec<OwnedPod>,
    ) -> Vec<OperatorPod> {
        if self.of != *location {
            *self = Self { of: location.clone(), images: BTreeMap::new() };
        }
        self.images.extend(owned.map(|one| (one.uid, one.image)));
        let of_operator: Vec<OwnedPod> =
            pods.into_iter().filter(|pod| self.images.contains_key(&pod.replica_set)).collect();
        self.images.retain(|uid, _| of_operator.iter().any(|pod| pod.replica_set == *uid));
        let with_image = |OwnedPod { replica_set, operator }: OwnedPod| {
            let image = self.images.get(&replica_set).cloned().flatten().unwrap_or_else(|| operator.image.clone());
            OperatorPod { image, ..operator }
        };
        of_operator.into_iter().map(with_image).collect()
    }
}

impl Reader {
    /// A reader of the cluster behind this client, with the records in this namespace.
    #[must_use]
    pub fn new(client: Client, own_namespace: String) -> Self {
        Self {
            jobs: InspectionJobs::new(client.clone()),
            api_server: ApiServer::new(client, own_namespace),
            replica_sets: KnownReplicaSets::default(),
        }
    }

    /// Reads everything but the nodes, the pods of workloads, the registries and what this process remembers.
    pub async fn observe(&mut self, policy: &ImageSetPolicy, source: Source<'_>) -> Observed {
        let (mut settings, mut objections) = settings::parse(&policy.spec);
        let annotation = |name: &str| policy.annotations().get(name).map_or("", String::as_str);
        let (requested, garbled) = settings::requested(annotation(PREPARE_ANNOTATION));
        settings.requested = requested;
        objections.extend(garbled);
        let refresh = foreign_text::escaped_to(annotation(REFRESH_ANNOTATION), LONGEST_REFRESH);
        let inspections = settings.inspection_enabled.then_some(settings.inspection_namespace.as_str());
        let readings = self.read(&settings.operator, inspections, source).await;
        let spec = effective_spec(&readings.installations);
        let installation = effective_installation(&readings.installations, spec.as_ref());
        let api_group = readings.operator.known().and_then(Option::as_ref);
        let api_group = api_group.and_then(|operator| operator.calico_api_group.as_deref());
        let features = map(readings.features.clone(), |found| features::with_settings(found, spec.as_ref(), api_group));
        let ReadRecords { images: records, inspected: kept, unusable: unusable_records, findings } =
            ReadRecords::of(readings.records.clone());
        objections.extend(findings);
        let known: BTreeSet<Digest> = kept.iter().map(|inspected| inspected.digest).collect();
        let inspections = Inspections { jobs: self.jobs.states(&readings.jobs, &known).await, kept };
        let snapshot = Snapshot {
            observed_at: Timestamp::now(),
            generation: policy.metadata.generation.unwrap_or_default(),
            remembered: policy.status.as_ref().map(remembered).unwrap_or_default(),
            refresh: Some(refresh).filter(|text| !text.is_empty()),
            settings,
            objections,
            operator: readings.operator.clone(),
            operator_pods: readings.operator_pods.clone(),
            installation,
            image_sets: readings.image_sets.clone(),
            gate: map(readings.gate.clone(), |found| gate::compared(&found, policy.metadata.uid.as_deref())),
            component_statuses: readings.component_statuses.clone(),
            features,
            workloads: readings.workloads.clone(),
            records,
            unusable_records,
            inspections,
            ..Snapshot::default()
        };
        Observed { snapshot, readings }
    }

    /// All reads side by side. `inspections` is the namespace of the Jobs: without the permission to run operator images nobody looks
    /// whether one runs.
    async fn read(&mut self, location: &OperatorLocation, inspections: Option<&str>, source: Source<'_>) -> Readings {
        let (stores, api_server) = (source.stores(), &self.api_server);
        let operator = async {
            match stores.and_then(|stores| stores.operator(location)) {
                Some(stored) => stored,
                None => api_server.operator(location).await,
            }
        };
        let jobs = async {
            let Some(namespace) = inspections else { return Read::KindMissing };
            stored_or(stores.and_then(|stores| stores.inspections(namespace)), api_server.inspections(namespace)).await
        };
        let workloads = async {
            let (of_calico, of_gateways) = futures::join!(
                stored_or(stores.and_then(Watches::workloads), api_server.workloads(&CALICO_NAMESPACES)),
                stored_or(stores.and_then(Watches::gateway_proxies), api_server.gateway_proxies()),
            );
            all_of([of_calico, of_gateways])
        };
        let (operator, installations, image_sets, component_statuses, features, workloads, records, jobs, gate) = futures::join!(
            operator,
            stored_or(stores.and_then(Watches::installations), api_server.installations()),
            stored_or(stores.and_then(Watches::image_sets), api_server.image_sets()),
            stored_or(stores.and_then(Watches::component_statuses), api_server.component_statuses()),
            stored_or(stores.and_then(Watches::features), api_server.features()),
            workloads,
            stored_or(stores.and_then(Watches::records), api_server.records()),
            jobs,
            stored_or(stores.and_then(Watches::gate), api_server.gate()),
        );
        let workloads = match variant(&installations) {
            Variant::Calico => workloads,
            Variant::Enterprise => {
                let stored = stores.and_then(Watches::enterprise_workloads);
                all_of([workloads, stored_or(stored, api_server.workloads(&ENTERPRISE_NAMESPACES)).await])
            }
        };
        self.api_server.remember(&records);
        let (deployment, pods, replica_sets) = operator;
        let (operator, operator_pods) = operator_of(deployment, pods, replica_sets, location, &mut self.replica_sets);
        Readings {
            operator,
            operator_pods,
            installations,
            image_sets,
            component_statuses,
            features,
            workloads,
            records,
            jobs,
            gate,
        }
    }
}

/// The variant of the effective Installation; Calico while it is not known.
pub fn variant(installations: &Read<Vec<api::operator::Installation>>) -> Variant {
    effective_spec(installations).map(|spec| effective(&spec).variant).unwrap_or_default()
}

async fn stored_or<T>(stored: Option<Read<T>>, direct: impl Future<Output = Read<T>>) -> Read<T> {
    match stored {
        Some(stored) => stored,
        None => direct.await,
    }
}

/// The operator's Deployment and the pods of its ReplicaSets, followed by UID: labels are anybody's to set.
fn operator_of(
    deployment: Read<Option<ObservedDeployment>>,
    pods: Read<Vec<OwnedPod>>,
    replica_sets: Read<Vec<OwnedReplicaSet>>,
    location: &OperatorLocation,
    known: &mut KnownReplicaSets,
) -> (Read<Option<OperatorDeployment>>, Read<Vec<OperatorPod>>) {
    let deployment = match deployment {
        Read::Known(Some(deployment)) => deployment,
        // Without a Deployment no pod is known to be the operator's.
        Read::Known(None) => return (Read::Known(None), Read::Known(Vec::new())),
        Read::KindMissing => return (Read::KindMissing, Read::KindMissing),
        // One failure is reported once; without the template the pods are of no use.
        Read::Failed(failure) => return (Read::Failed(failure), Read::Known(Vec::new())),
    };
    let pods = match (pods, replica_sets) {
        (Read::Known(pods), Read::Known(replica_sets)) => {
            let owned = replica_sets.into_iter().filter(|one| Some(&one.deployment) == deployment.uid.as_ref());
            Read::Known(known.pods(location, owned, pods))
        }
        (Read::Failed(failure), _) | (_, Read::Failed(failure)) => Read::Failed(failure),
        _ => Read::KindMissing,
    };
    (Read::Known(Some(deployment.operator)), pods)
}

fn named<'a>(all: &'a [api::operator::Installation], name: &str) -> Option<&'a api::operator::Installation> {
    all.iter().find(|one| one.name_any() == name)
}

/// The spec of the effective Installation, if there is one.
fn effective_spec(installations: &Read<Vec<api::operator::Installation>>) -> Option<InstallationSpec> {
    let all = installations.known()?;
    let overlay = named(all, INSTALLATION_OVERLAY_NAME).map(|overlay| &overlay.spec);
    Some(merged(&named(all, INSTALLATION_NAME)?.spec, overlay))
}

/// The effective Installation, with this spec.
fn effective_installation(
    installations: &Read<Vec<api::operator::Installation>>,
    spec: Option<&InstallationSpec>,
) -> Read<Option<Installation>> {
    map(installations.clone(), |all| {
        let status = named(&all, INSTALLATION_NAME)?.status.as_ref();
        Some(Installation {
            settings: effective(spec?),
            selected_image_set: status.and_then(|status| status.image_set.clone()).filter(|name| !name.is_empty()),
            calico_version: status.and_then(|status| status.calico_version.clone()),
        })
    })
}

/// The overlay's fields win where they are set, those of `calicoNetwork` one by one (operator: `OverrideInstallationSpec` and
/// `mergeCalicoNetwork` in `pkg/controller/utils/merge.go`). `status.computed` is not used: it
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
        calico_network: match (&base.calico_network, &over.calico_network) {
            (Some(base), Some(over)) => Some(CalicoNetwork {
                linux_dataplane: pick(&over.linux_dataplane, &base.linux_dataplane),
                windows_dataplane: pick(&over.windows_dataplane, &base.windows_dataplane),
            }),
            (base, over) => over.as_ref().or(base.as_ref()).cloned(),
        },
        certificate_management: over.certificate_management.clone().or_else(|| base.certificate_management.clone()),
        cni: over.cni.clone().or_else(|| base.cni.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::workload::Pod;
    use crate::model::Feature;

    #[test]
    fn a_value_of_the_overlay_wins() {
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

    #[test]
    fn an_overlay_leaves_what_it_does_not_name() {
        let installation = |text: &str| crate::yaml::from_str::<api::operator::Installation>(text).unwrap();
        let windows = |base: &str, overlay: &str| {
            let base = installation(&format!("metadata: {{name: default}}\nspec: {base}"));
            let overlay = installation(&format!("metadata: {{name: overlay}}\nspec: {overlay}"));
            let spec = effective_spec(&Read::Known(vec![base, overlay]));
            features::with_settings(BTreeSet::new(), spec.as_ref(), None).contains(&Feature::WindowsHns)
        };
        let (hns, disabled) =
            ("{calicoNetwork: {windowsDataplane: HNS}}", "{calicoNetwork: {windowsDataplane: Disabled}}");
        assert!(windows(hns, "{calicoNetwork: {mtu: 1400}}"));
        assert!(windows(hns, "{calicoNetwork: {linuxDataplane: BPF}}"));
        assert!(windows("{calicoNetwork: {mtu: 1400}}", hns));
        assert!(!windows(hns, disabled));
        assert!(windows(hns, "{registry: reg.example}"));
        assert!(windows("{}", hns));
    }

    /// A webhook has rewritten the pods' images to another registry and to a digest.
    #[test]
    fn pods_have_the_image_of_the_template_that_they_were_made_from() {
        let location = OperatorLocation::default();
        let (mut known, pods) = (KnownReplicaSets::default(), [pod("new", Some("two")), pod("old", Some("one"))]);
        let replica_set = |uid: &str, image: &str| {
            let text = format!(
                "metadata: {{name: a, uid: {uid}, ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, \
                 name: tigera-operator, uid: d, \
                 controller: true}}]}}\nspec: {{template: {{spec: {{containers: [{{name: tigera-operator, image: '{image}'}}]}}}}}}"
            );
            objects::owned_replica_set(&crate::yaml::from_str(&text).unwrap(), &location).unwrap()
        };
        let mut images = |owned: Vec<OwnedReplicaSet>| -> Vec<String> {
            let pods = pods.iter().filter_map(|pod| objects::owned_pod(pod, &location.container)).collect();
            known.pods(&location, owned.into_iter(), pods).into_iter().map(|pod| pod.image).collect()
        };
        let both = || vec![replica_set("one", "quay.io/o:v1"), replica_set("two", "quay.io/o:v2")];
        assert_eq!(images(both()), ["quay.io/o:v2", "quay.io/o:v1"]);
        assert_eq!(images(both().split_off(1)), ["quay.io/o:v2", "quay.io/o:v1"], "its ReplicaSet is deleted");
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
            let owned = owned.iter().map(|uid| OwnedReplicaSet {
                uid: (*uid).to_owned(),
                deployment: "deployment".to_owned(),
                image: None,
            });
            let pods = pods.iter().filter_map(|pod| objects::owned_pod(pod, &location.container)).collect();
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
}
