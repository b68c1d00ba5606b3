//! The workloads that the double renders, and their rollout. Names and containers as in an upstream cluster; only what
//! an observer of images needs is in the templates.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::super::rules::{Component, Features, NamedSet, OperatorRules, RegistryLayout, Variant, Version};
use super::timeline::What;
use super::{Options, Stage};

/// One DaemonSet or Deployment with the images of its containers, by ImageSet name.
#[derive(Clone, Debug)]
pub struct Workload {
    pub component: Component,
    pub namespace: &'static str,
    pub name: &'static str,
    pub daemon_set: bool,
    pub init: Vec<(&'static str, String)>,
    pub containers: Vec<(&'static str, String)>,
}

/// What is known of one workload since the running build took over.
struct Known {
    template: Value,
    changed: Instant,
    rolled_out: bool,
}

/// Which templates were written, and when.
#[derive(Default)]
pub struct Memory {
    known: BTreeMap<&'static str, Known>,
    namespaces: Vec<String>,
}

impl Memory {
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// True if all workloads of a component are rolled out.
    pub fn rolled_out(&self, workloads: &[Workload], component: Component) -> bool {
        workloads
            .iter()
            .filter(|workload| workload.component == component)
            .all(|workload| self.known.get(workload.name).is_some_and(|known| known.rolled_out))
    }
}

/// Container and image, the latter without the variant's path.
type Containers = &'static [(&'static str, &'static str)];
/// Component, namespace, name, DaemonSet or not, init containers, containers.
type Row = (Component, &'static str, &'static str, bool, Containers, Containers);

/// The workloads of a build. Only images that it lists; a workload without any is not there.
pub fn workloads_of(rules: &OperatorRules, variant: Variant, features: Features) -> Vec<Workload> {
    let prefix = match variant {
        Variant::Calico => "calico",
        Variant::Enterprise => "tigera",
    };
    let named = |names: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        names
            .iter()
            .map(|(container, image)| (*container, rules.image_of(&format!("{prefix}/{image}"))))
            .filter(|(_, image)| rules.lists(variant, image))
            .collect()
    };
    // The namespace of the API server moved in the course of time; the facts don't say when.
    let api_server = if rules.version >= Version(1, 40, 0) { "calico-system" } else { "calico-apiserver" };
    let rows: [Row; 11] = [
        (
            Component::Calico,
            "calico-system",
            "calico-node",
            true,
            &[("flexvol-driver", "pod2daemon-flexvol"), ("plugins", "third-party-cni-plugins"), ("install-cni", "cni")],
            &[("calico-node", "node"), ("calico-node", "cnx-node")],
        ),
        (Component::Calico, "calico-system", "calico-typha", false, &[], &[("calico-typha", "typha")]),
        (
            Component::Calico,
            "calico-system",
            "calico-kube-controllers",
            false,
            &[],
            &[("calico-kube-controllers", "kube-controllers")],
        ),
        (
            Component::Calico,
            "calico-system",
            "csi-node-driver",
            true,
            &[],
            &[("calico-csi", "csi"), ("csi-node-driver-registrar", "node-driver-registrar")],
        ),
        (Component::ApiServer, api_server, "calico-apiserver", false, &[], &[("calico-apiserver", "apiserver")]),
        (Component::Goldmane, "calico-system", "goldmane", false, &[], &[("goldmane", "goldmane")]),
        (
            Component::Whisker,
            "calico-system",
            "whisker",
            false,
            &[],
            &[("whisker", "whisker"), ("whisker-backend", "whisker-backend")],
        ),
        (Component::GatewayApi, "tigera-gateway", "envoy-gateway", false, &[], &[("envoy-gateway", "envoy-gateway")]),
        (Component::Istio, "calico-system", "istiod", false, &[], &[("discovery", "istio-pilot")]),
        (Component::ManagementClusterConnection, "calico-system", "guardian", false, &[], &[("guardian", "guardian")]),
        (
            Component::Windows,
            "calico-system",
            "calico-node-windows",
            true,
            &[("install-cni", "cni-windows")],
            &[("node", "node-windows")],
        ),
    ];
    let active = rules.active_components(variant, features);
    rows.into_iter()
        .filter(|row| active.contains(&row.0))
        .map(|(component, namespace, name, daemon_set, init, containers)| Workload {
            component,
            namespace,
            name,
            daemon_set,
            init: named(init),
            containers: named(containers),
        })
        .filter(|workload| !workload.containers.is_empty())
        .collect()
}

/// What an Installation says about images.
#[derive(Clone, Debug, Default)]
pub struct ImageSettings {
    pub layout: RegistryLayout,
    pub fips: bool,
    pub pull_secrets: Vec<Value>,
}

impl Workload {
    fn kind(&self) -> &'static str {
        if self.daemon_set { "DaemonSet" } else { "Deployment" }
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", self.kind()));
        Api::namespaced_with(client.clone(), self.namespace, &resource)
    }

    /// `DaemonSet calico-system/calico-node`
    fn title(&self) -> String {
        format!("{} {}/{}", self.kind(), self.namespace, self.name)
    }

    fn object(
        &self,
        rules: &OperatorRules,
        variant: Variant,
        settings: &ImageSettings,
        set: Option<&NamedSet>,
        replicas: i32,
    ) -> Value {
        let list = |containers: &[(&'static str, String)]| -> Vec<Value> {
            containers
                .iter()
                .filter_map(|(container, name)| {
                    let digest = set.and_then(|set| set.digest(name));
                    let image = rules.rendered_reference(variant, name, settings.fips, &settings.layout, digest)?;
                    Some(json!({ "name": container, "image": image }))
                })
                .collect()
        };
        let mut spec = json!({
            "selector": { "matchLabels": { "k8s-app": self.name } },
            "template": {
                "metadata": { "labels": { "k8s-app": self.name } },
                "spec": {
                    "initContainers": list(&self.init),
                    "containers": list(&self.containers),
                    "imagePullSecrets": settings.pull_secrets,
                },
            },
        });
        if !self.daemon_set {
            spec["replicas"] = json!(replicas);
        }
        json!({
            "apiVersion": "apps/v1", "kind": self.kind(),
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": { "k8s-app": self.name } },
            "spec": spec,
        })
    }
}

impl Stage {
    /// Writes the templates of one component where they differ from what was written last.
    pub(super) async fn render(
        &mut self,
        workload: &Workload,
        rules: &OperatorRules,
        variant: Variant,
        settings: &ImageSettings,
        set: Option<&NamedSet>,
    ) -> Result<()> {
        let object = workload.object(rules, variant, settings, set, 1);
        if self.workloads.known.get(workload.name).is_some_and(|known| known.template == object) {
            return Ok(());
        }
        if !self.workloads.namespaces.iter().any(|name| name == workload.namespace) {
            ensure_namespace(&self.client, workload.namespace).await?;
            self.workloads.namespaces.push(workload.namespace.to_owned());
        }
        let api = workload.api(&self.client);
        let before = api.get_opt(workload.name).await?;
        let applied = api
            .patch(workload.name, &PatchParams::apply("tigera-operator").force(), &Patch::Apply(&object))
            .await
            .with_context(|| format!("rendering {}", workload.title()))?;
        let unchanged = before.is_some_and(|before| before.metadata.generation == applied.metadata.generation);
        if !unchanged {
            self.timeline.note(What::Rendered { workload: workload.title() }, applied.resource_version());
        }
        let rolled_out = unchanged && is_rolled_out(&applied);
        self.workloads.known.insert(workload.name, Known { template: object, changed: Instant::now(), rolled_out });
        Ok(())
    }

    /// Advances rollouts, or reads how far the real controllers are.
    pub(super) async fn roll_out(&mut self, options: &Options, workloads: &[Workload]) -> Result<()> {
        for workload in workloads {
            let Some(known) = self.workloads.known.get_mut(workload.name) else { continue };
            if known.rolled_out {
                continue;
            }
            let api = workload.api(&self.client);
            let now = api.get(workload.name).await.with_context(|| format!("reading {}", workload.title()))?;
            let observed = now.data["status"]["observedGeneration"].as_i64();
            if options.play_workloads {
                let done = known.changed.elapsed() >= options.roll_out;
                if done || observed != now.metadata.generation {
                    let status = played_status(workload, options, now.metadata.generation, done);
                    api.patch_status(workload.name, &PatchParams::default(), &Patch::Merge(status)).await?;
                }
                known.rolled_out = done;
            } else {
                known.rolled_out = is_rolled_out(&now);
            }
            if known.rolled_out {
                self.timeline.note(What::RolledOut { workload: workload.title() }, None);
            }
        }
        Ok(())
    }
}

fn played_status(workload: &Workload, options: &Options, generation: Option<i64>, done: bool) -> Value {
    let updated = |all: i32| if done { all } else { 0 };
    let status = if workload.daemon_set {
        let nodes = options.nodes;
        json!({
            "observedGeneration": generation, "desiredNumberScheduled": nodes, "currentNumberScheduled": nodes,
            "numberMisscheduled": 0, "numberReady": nodes, "numberAvailable": nodes, "numberUnavailable": 0,
            "updatedNumberScheduled": updated(nodes),
        })
    } else {
        json!({
            "observedGeneration": generation, "replicas": 1, "readyReplicas": 1, "availableReplicas": 1,
            "updatedReplicas": updated(1),
        })
    };
    json!({ "status": status })
}

fn is_rolled_out(object: &DynamicObject) -> bool {
    let status = &object.data["status"];
    let number = |field: &str| status[field].as_i64().unwrap_or_default();
    let observed = status["observedGeneration"].as_i64() == object.metadata.generation;
    let desired = object.data["spec"]["replicas"].as_i64();
    observed
        && match desired {
            Some(desired) => number("updatedReplicas") >= desired && number("availableReplicas") >= desired,
            None => {
                let desired = number("desiredNumberScheduled");
                number("updatedNumberScheduled") >= desired && number("numberAvailable") >= desired
            }
        }
}

/// Makes a namespace if there is none.
pub async fn ensure_namespace(client: &Client, name: &str) -> Result<()> {
    let api: Api<Namespace> = Api::all(client.clone());
    if api.get_opt(name).await?.is_some() {
        return Ok(());
    }
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
    match api.create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        other => other.map(|_| ()).with_context(|| format!("creating namespace {name}")),
    }
}
