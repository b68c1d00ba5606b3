//! One cluster of the story: control plane, operator double, recorder, and the real controller with the rights of
//! `deploy/base`. What people do is done here, as the admin and by server-side apply.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::testbox::crds::{self, Kind};
use crate::testbox::operator_double::{OperatorDouble, Options};
use crate::testbox::patience::{quiet_window, until};
use crate::testbox::process;
use crate::testbox::recorder::{self, InvariantRecorder, Revision, Verb, Watched};
use crate::testbox::rights::{self, SERVICE_ACCOUNT};
use crate::testbox::scenery::{self, node_info};
pub use crate::testbox::scenery::{OPERATOR, PULL_SECRET};
use crate::testbox::{ControlPlane, Controller, Mirror};

/// The limit of each wait: only something that hangs reaches it, also with half a core for each process and 300 ms on every API
/// request.
pub const SOON: Duration = Duration::from_secs(180);
/// How long it may take to find out what the policy says, when something has failed already.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(10);
/// How many lines of the controller's log are shown then.
const LAST_LINES: usize = 15;
/// And how much of each.
const LONGEST_LINE: usize = 200;
const TIGERA_STATUSES: &str = "/apis/operator.tigera.io/v1/tigerastatuses";

/// A running cluster; everything ends on drop.
pub struct Cluster {
    pub client: Client,
    pub double: OperatorDouble,
    pub recorder: InvariantRecorder,
    pub controller: Option<Controller>,
    pub control_plane: ControlPlane,
}

impl Cluster {
    /// Control plane, the operator's kinds, nodes, the pull secret, a recorder, and a double that waits for its
    /// Deployment. No controller yet.
    pub async fn start(name: &str, mirror: &Mirror, options: Options) -> Result<Self> {
        let control_plane = ControlPlane::start(name).await?;
        let client = control_plane.client();
        crds::install(&client).await?;
        // Before the recorder, which would miss the first revisions of a kind that comes later.
        rights::install_kind(&client).await?;
        scenery::namespace(&client, OPERATOR).await?;
        for (index, architecture) in ["amd64", "amd64", "arm64"].into_iter().enumerate() {
            scenery::node(&client, &format!("node-{}", index + 1), node_info(architecture)).await?;
        }
        let config = recorder::Config { known_digests: mirror.known_digests(), ..recorder::Config::default() };
        let recorder = InvariantRecorder::start(client.clone(), config).await?;
        let double = OperatorDouble::start(client.clone(), options);
        let cluster = Self { client, double, recorder, controller: None, control_plane };
        scenery::pull_secret(&cluster.client, &mirror.registry.docker_config_json()).await?;
        Ok(cluster)
    }

    /// `kubectl apply -k deploy/base`, and the pod's part played by a process on this machine.
    pub async fn start_controller(&mut self, binary: &Path) -> Result<()> {
        rights::install(&self.client).await?;
        let (namespace, account) = SERVICE_ACCOUNT;
        let kubeconfig = self.control_plane.kubeconfig_for_service_account(namespace, account).await?;
        let mut controller = Controller::start(binary, &kubeconfig, "controller", self.control_plane.logs()).await?;
        controller.wait_until_leading().await?;
        self.controller = Some(controller);
        Ok(())
    }

    /// The Installation that pulls from the mirror, and what comes with it in a usual install.
    pub async fn install_calico(&self, mirror: &Mirror) -> Result<()> {
        let mut spec = layout(mirror);
        spec["variant"] = json!("Calico");
        for (kind, spec) in [
            (Kind::Installation, spec),
            (Kind::ApiServer, json!({})),
            (Kind::Goldmane, json!({})),
            (Kind::Whisker, json!({})),
        ] {
            scenery::create(&self.client, kind, "default", spec).await?;
        }
        Ok(())
    }

    /// Creates the operator's Deployment, or moves it. Returns when the recorder saw it.
    pub async fn operator(&self, image: &str) -> Result<Revision> {
        let stored = scenery::operator(&self.client, image).await?;
        self.seen(Watched::Deployment, &stored).await
    }

    /// The image that the operator's Deployment has.
    pub async fn operator_image(&self) -> Result<String> {
        let deployment = scenery::operators(&self.client).get(OPERATOR).await?;
        let pod = deployment.spec.and_then(|spec| spec.template.spec).context("a Deployment without a pod")?;
        Ok(pod.containers.into_iter().next().and_then(|one| one.image).unwrap_or_default())
    }

    /// Waits until the API server would refuse this operator image, or would not: a gate takes effect a moment after it is
    /// set. What it says; nothing is changed.
    pub async fn rejection_of(&self, image: &str, wanted: bool) -> Result<String> {
        let patch = Patch::Strategic(scenery::with_image(image));
        let trial = PatchParams { dry_run: true, ..PatchParams::default() };
        let what = format!("the gate to {} {image}", if wanted { "refuse" } else { "admit" });
        until(&what, SOON, async || match scenery::operators(&self.client).patch(OPERATOR, &trial, &patch).await {
            Ok(_) => Ok((!wanted).then(String::new)),
            Err(kube::Error::Api(status)) if status.code == 422 => Ok(wanted.then(|| status.message.clone())),
            Err(error) => Err(error.into()),
        })
        .await
    }

    /// Creates or changes the policy. Returns when the recorder saw it.
    pub async fn policy(&self, mirror: &Mirror, more: Value) -> Result<Revision> {
        let mut spec = json!({ "registries": [{ "host": mirror.registry.host(), "plainHttp": true }] });
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let stored = scenery::apply(&scenery::policies(&self.client), &scenery::policy(spec)).await?;
        self.seen(Watched::Policy, &stored).await
    }

    async fn seen(&self, watched: Watched, stored: &impl ResourceExt) -> Result<Revision> {
        let version: u64 = stored.resource_version().context("an object without resourceVersion")?.parse()?;
        let what = format!("the recorder to see {} at rv={version}", watched.kind());
        self.revision(&what, |one| one.watched == watched && one.resource_version == version).await
    }

    /// Waits for a revision that matches.
    pub async fn revision(&self, what: &str, matches: impl Fn(&Revision) -> bool) -> Result<Revision> {
        until(what, SOON, async || Ok(self.recorder.first(&matches))).await
    }

    /// Waits until a set is created after a revision.
    pub async fn set_created_after(&self, name: &str, after: u64) -> Result<Revision> {
        let what = format!("ImageSet {name} to be stored");
        let image_set = Watched::Operator(Kind::ImageSet);
        let created = |one: &Revision| {
            one.watched == image_set
                && one.name() == name
                && one.verb == Verb::Create
                && !one.initial
                && one.resource_version > after
        };
        self.revision(&what, created).await
    }

    /// Waits until the policy's present generation has a condition with this answer; returns its message.
    pub async fn condition(&self, r#type: &str, status: &str, reason: &str) -> Result<String> {
        let what = format!("the policy's {} to be {status} with reason {reason}", r#type);
        let response = async || {
            let policy = self.get_policy().await?;
            let of_now = policy.data["status"]["observedGeneration"].as_i64() == policy.metadata.generation;
            let (now, because, message) = scenery::condition(&policy, r#type);
            Ok((of_now && now == status && because == reason).then_some(message))
        };
        until(&what, SOON, response).await
    }

    /// For a failure: the policy's conditions, a line each, and the end of the controller's log.
    pub async fn last_words(&self) -> Vec<String> {
        let mut lines = match tokio::time::timeout(LAST_WORDS_WITHIN, self.get_policy()).await {
            Ok(Ok(policy)) => {
                let output = scenery::conditions(&policy).into_iter().map(|one| {
                    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
                    format!("  {} {}, {}: {}", text("type"), text("status"), text("reason"), text("message"))
                });
                let output: Vec<String> = output.collect();
                let none = if output.is_empty() { " none" } else { "" };
                [vec![format!("conditions of the policy:{none}")], output].concat()
            }
            Ok(Err(error)) => vec![format!("the policy cannot be read: {error:#}")],
            Err(_) => vec![format!("the policy cannot be read within {} s", LAST_WORDS_WITHIN.as_secs())],
        };
        if let Some(controller) = &self.controller {
            lines.push(format!("last {LAST_LINES} lines of the controller's log:"));
            lines.extend(controller.last_lines(LAST_LINES).lines().map(|line| format!("  {}", plain(line))));
        }
        lines
    }

    /// The policy as it is.
    pub async fn get_policy(&self) -> Result<DynamicObject> {
        Ok(scenery::policies(&self.client).get("default").await?)
    }

    /// Every ImageSet with its resourceVersion: equal means that nothing was written.
    pub async fn sets(&self) -> Result<BTreeMap<String, String>> {
        let list = Kind::ImageSet.api(&self.client).list(&ListParams::default()).await?;
        Ok(list.iter().map(|set| (set.name_any(), set.resource_version().unwrap_or_default())).collect())
    }

    /// Image and digest of each entry of a set.
    pub async fn entries(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let set = Kind::ImageSet.api(&self.client).get(name).await?;
        Ok(scenery::entries(&set))
    }

    /// `kubectl delete imageset NAME`
    pub async fn delete_set(&self, name: &str) -> Result<()> {
        Kind::ImageSet.api(&self.client).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// The workloads of Calico: kind/namespace/name, generation, and the images of their containers.
    pub async fn workloads(&self) -> Result<Vec<(String, i64, Vec<String>)>> {
        let mut found = Vec::new();
        for kind in ["DaemonSet", "Deployment"] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", kind));
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "calico-system", &resource);
            for object in api.list(&ListParams::default()).await? {
                let spec = &object.data["spec"]["template"]["spec"];
                let lists = [&spec["initContainers"], &spec["containers"]];
                let containers = lists.into_iter().filter_map(Value::as_array).flatten();
                let images = containers.filter_map(|one| one["image"].as_str().map(str::to_owned)).collect();
                let title = format!("{kind}/calico-system/{}", object.name_any());
                found.push((title, object.metadata.generation.unwrap_or_default(), images));
            }
        }
        found.sort();
        Ok(found)
    }

    /// What `kubectl get PATH` prints: the API server makes the table.
    pub async fn table(&self, path: &str) -> Result<Vec<Vec<String>>> {
        let request = http::Request::get(path)
            .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
            .body(Vec::new())?;
        let table: Value = serde_json::from_str(&self.client.request_text(request).await?)?;
        let columns = table["columnDefinitions"].as_array().cloned().unwrap_or_default();
        let shown: Vec<usize> =
            columns.iter().enumerate().filter(|(_, one)| one["priority"] == 0).map(|(index, _)| index).collect();
        let head = shown.iter().map(|index| columns[*index]["name"].as_str().unwrap_or_default().to_uppercase());
        let mut rows = vec![head.collect::<Vec<_>>()];
        for row in table["rows"].as_array().into_iter().flatten() {
            let cell = |index: &usize| match &row["cells"][*index] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            rows.push(shown.iter().map(cell).collect());
        }
        Ok(rows)
    }

    /// Waits until each component that `kubectl get tigerastatus` lists is available, and they are four.
    pub async fn all_available(&self) -> Result<()> {
        until("all components to be available", SOON, async || {
            let rows = self.table(TIGERA_STATUSES).await?;
            Ok((rows.len() == 5 && rows[1..].iter().all(|row| row[1] == "True")).then_some(()))
        })
        .await
    }

    /// Waits until the controller has said all that it has to say of what is there now.
    pub async fn settled(&self) -> Result<()> {
        self.condition("Ready", "True", "Succeeded").await?;
        self.condition("Adopted", "True", "AdoptionComplete").await?;
        let started = Instant::now();
        while let Err(error) = self.recorder.assert_quiet(quiet_window()).await {
            if started.elapsed() > SOON {
                return Err(error.context(format!("waited {} s for quiet", SOON.as_secs())));
            }
        }
        Ok(())
    }

    /// Runs a verb as the cluster's admin. It ends with the demo.
    pub async fn verb(&self, binary: &Path, arguments: &[&str]) -> Result<Output> {
        let prepare = |command: &mut tokio::process::Command| {
            command.args(arguments).arg("--kubeconfig").arg(self.control_plane.kubeconfig());
            if console::colors_enabled() {
                command.env("CLICOLOR_FORCE", "1");
            }
        };
        process::run(binary, prepare, SOON).await
    }

    /// Every process of this cluster.
    pub fn process_ids(&self) -> Vec<u32> {
        let controller = self.controller.iter().map(Controller::process_id);
        self.control_plane.process_ids().into_iter().chain(controller).collect()
    }

    /// Where its logs are.
    pub fn logs(&self) -> PathBuf {
        self.control_plane.logs().to_owned()
    }
}

/// A line of the controller's log in JSON, as people read it.
fn plain(line: &str) -> String {
    let output = serde_json::from_str::<Value>(line).ok().map(|entry| {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields = entry["fields"].as_object().into_iter().flatten().filter(|(name, _)| *name != "message");
        let fields = fields.map(|(name, value)| format!(" {name}={}", text(value))).collect::<String>();
        let message = text(&entry["fields"]["message"]);
        format!("{} {} {message}{fields}", text(&entry["timestamp"]), text(&entry["level"]))
    });
    output.as_deref().unwrap_or(line).chars().take(LONGEST_LINE).collect()
}

/// What an Installation, or a policy in its place, says of the mirror.
pub fn layout(mirror: &Mirror) -> Value {
    let mut layout = mirror.layout();
    layout["imagePullSecrets"] = json!([{ "name": PULL_SECRET }]);
    layout
}
