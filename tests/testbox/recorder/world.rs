//! The state of the cluster at a revision, as far as the invariants need it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::super::crds::Kind;
use super::super::rules::{Entry, Features, NamedSet, OperatorRules, Variant};
use super::history::{Revision, Verb, Watched};
use super::{Config, OUR_LABEL};

/// An ImageSet as stored.
#[derive(Clone, Debug)]
pub struct StoredSet {
    pub managed: bool,
    pub set: NamedSet,
    pub annotations: BTreeMap<String, String>,
}

struct Pod {
    ready: bool,
    first_seen: u64,
    rules: Option<Arc<OperatorRules>>,
}

/// The cluster at one revision.
#[derive(Default)]
pub struct World {
    pub sets: BTreeMap<String, StoredSet>,
    pods: BTreeMap<String, Pod>,
    leader: Option<String>,
    /// The build of the Ready operator pod, or of the last that was Ready.
    pub running: Option<Arc<OperatorRules>>,
    /// The leading Ready pod is of a build that the test has not declared.
    pub running_unknown: bool,
    /// The build that the Deployment's template names.
    pub target: Option<Arc<OperatorRules>>,
    /// That image.
    pub target_image: Option<String>,
    /// Names of the ConfigMaps in our namespace: the records.
    pub config_maps: BTreeSet<String>,
    objects: BTreeMap<(Watched, String), DynamicObject>,
}

impl World {
    /// Moves on by one revision.
    pub fn apply(&mut self, config: &Config, revision: &Revision) {
        let name = revision.name();
        let gone = revision.verb == Verb::Delete;
        match revision.watched {
            Watched::Operator(Kind::ImageSet) if gone => drop(self.sets.remove(&name)),
            Watched::Operator(Kind::ImageSet) => drop(self.sets.insert(name, stored_set(&revision.object))),
            Watched::Pod => self.apply_pod(config, revision),
            // A Deployment that disappears leaves the last target standing.
            Watched::Deployment if gone => {}
            Watched::Deployment if name == config.deployment => {
                self.target_image = target_image(config, revision);
                self.target = self.target_image.as_ref().and_then(|image| config.images.rules(image, ""));
            }
            Watched::Operator(_) | Watched::Policy if gone => drop(self.objects.remove(&(revision.watched, name))),
            Watched::Operator(_) | Watched::Policy => {
                self.objects.insert((revision.watched, name), revision.object.clone());
            }
            Watched::ConfigMap if gone => drop(self.config_maps.remove(&name)),
            Watched::ConfigMap => drop(self.config_maps.insert(name)),
            Watched::Deployment => {}
        }
    }

    fn apply_pod(&mut self, config: &Config, revision: &Revision) {
        let name = revision.name();
        if revision.verb == Verb::Delete {
            self.pods.remove(&name);
        } else if !is_of_replica_set(&revision.object, &config.deployment) {
            // Anybody can give a pod the operator's labels.
        } else if let Some(image) = container_image(&revision.object.data["spec"], &config.deployment) {
            let status = &revision.object.data["status"];
            let is_ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            let ready = status["conditions"].as_array().is_some_and(|all| all.iter().any(is_ready));
            let containers = status["containerStatuses"].as_array();
            let image_id = containers
                .and_then(|all| all.iter().find(|one| one["name"] == config.deployment.as_str()))
                .and_then(|one| one["imageID"].as_str())
                .unwrap_or_default();
            let rules = config.images.rules(&image, image_id);
            let first_seen = self.pods.get(&name).map_or(revision.resource_version, |pod| pod.first_seen);
            self.pods.insert(name, Pod { ready, first_seen, rules });
        }
        // The old pod leads while it is Ready; then the oldest Ready one; else whoever was last Ready counts.
        let leads = self.leader.as_ref().and_then(|leader| self.pods.get(leader)).is_some_and(|pod| pod.ready);
        if !leads {
            let next = self.pods.iter().filter(|(_, pod)| pod.ready).min_by_key(|(_, pod)| pod.first_seen);
            if let Some((name, _)) = next {
                self.leader = Some(name.clone());
            }
        }
        if let Some(pod) = self.leader.as_ref().and_then(|leader| self.pods.get(leader))
            && pod.ready
        {
            self.running = pod.rules.clone();
            self.running_unknown = pod.rules.is_none();
        }
    }

    /// True if a pod of the running build still exists, Ready or not.
    pub fn running_pod_exists(&self) -> bool {
        let version = self.running.as_ref().map(|rules| rules.version);
        self.pods.values().any(|pod| pod.rules.as_ref().map(|rules| rules.version) == version)
    }

    /// The variant of the Installation, or of the policy's until there is one.
    pub fn variant(&self) -> Variant {
        let installation = Watched::Operator(Kind::Installation);
        let text = |watched, name: &str, path: &[&str]| -> Option<String> {
            let object = self.objects.get(&(watched, name.to_owned()))?;
            let value = path.iter().fold(&object.data["spec"], |value, field| &value[*field]);
            value.as_str().map(str::to_owned)
        };
        let found = text(installation, "overlay", &["variant"])
            .or_else(|| text(installation, "default", &["variant"]))
            .or_else(|| text(Watched::Policy, "default", &["installation", "variant"]));
        Variant::from_spec(&found.unwrap_or_default())
    }

    /// What makes images required.
    pub fn features(&self) -> Features {
        let has = |kind| self.objects.keys().any(|(watched, _)| *watched == Watched::Operator(kind));
        let installation = self.objects.get(&(Watched::Operator(Kind::Installation), "default".to_owned()));
        let spec = installation.map(|object| &object.data["spec"]);
        Features {
            api_server: has(Kind::ApiServer),
            goldmane: has(Kind::Goldmane),
            whisker: has(Kind::Whisker),
            gateway_api: has(Kind::GatewayApi),
            istio: has(Kind::Istio),
            management_cluster_connection: has(Kind::ManagementClusterConnection),
            windows_hns: spec.is_some_and(|spec| spec["calicoNetwork"]["windowsDataplane"] == "HNS"),
            certificate_management: spec.is_some_and(|spec| spec["certificateManagement"].is_object()),
            ..Features::none()
        }
    }

    /// The policy wants unprepared images to be refused, and its status says what is admitted.
    pub fn gate_denies(&self) -> bool {
        let policy = self.objects.get(&(Watched::Policy, "default".to_owned()));
        policy.is_some_and(|policy| {
            let (spec, gate) = (&policy.data["spec"], &policy.data["status"]["gate"]);
            spec["gate"] == "Deny" && spec["mode"] == "Apply" && gate.is_object()
        })
    }

    /// Before any operator was seen: the only entry of the policy's `prepare.versions`.
    pub fn announced(&self, config: &Config) -> Option<Arc<OperatorRules>> {
        let policy = self.objects.get(&(Watched::Policy, "default".to_owned()))?;
        match policy.data["spec"]["prepare"]["versions"].as_array()?.as_slice() {
            [only] => {
                let text = only.as_str()?;
                let by_version = OperatorRules::for_version(text).ok().map(Arc::new);
                by_version.or_else(|| config.images.rules(text, ""))
            }
            _ => None,
        }
    }
}

/// The image that this state of the operator's Deployment asks for.
pub fn target_image(config: &Config, deployment: &Revision) -> Option<String> {
    container_image(&deployment.object.data["spec"]["template"]["spec"], &config.deployment)
}

/// An ImageSet's content and mark.
pub fn stored_set(object: &DynamicObject) -> StoredSet {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images = object.data["spec"]["images"].as_array();
    let entries: Vec<Entry> =
        images.into_iter().flatten().map(|entry| (text(&entry["image"]), text(&entry["digest"]))).collect();
    StoredSet {
        managed: object.labels().contains_key(OUR_LABEL),
        set: NamedSet { name: object.name_any(), entries },
        annotations: object.annotations().clone(),
    }
}

/// Whether a ReplicaSet of the operator's Deployment controls this pod.
fn is_of_replica_set(pod: &DynamicObject, deployment: &str) -> bool {
    let prefix = format!("{deployment}-");
    pod.owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.kind == "ReplicaSet" && owner.name.starts_with(&prefix))
}

fn container_image(pod_spec: &Value, container: &str) -> Option<String> {
    let containers = pod_spec["containers"].as_array()?;
    let found = containers.iter().find(|one| one["name"] == container)?;
    found["image"].as_str().map(str::to_owned)
}
