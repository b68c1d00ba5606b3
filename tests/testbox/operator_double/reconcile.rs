//! The double as the operator: the Ready pod's build reconciles, by the rules of its release.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::super::crds::Kind;
use super::super::rules::{
    Component, Features, NamedSet, OperatorRules, RegistryLayout, Rejection, Selection, Variant, Version,
};
use super::pods::operator_pods;
use super::timeline::What;
use super::workloads::{ImageSettings, Workload, workloads_of};
use super::{Options, Stage};

/// How often the objects that make images required are read; they change seldom.
const FEATURES_EVERY: Duration = Duration::from_millis(300);

/// The set that a component uses (`None`: tags), or why it is Degraded.
type Verdict = Result<Option<NamedSet>, Rejection>;

/// What the running operator process remembers; forgotten when another takes over.
#[derive(Default)]
pub struct Memory {
    running_pod: Option<String>,
    rules: Option<Arc<OperatorRules>>,
    features: Option<(Instant, Features)>,
    /// Verdicts of the components that don't watch ImageSets: when, for which world, and what.
    resynced: BTreeMap<Component, (Instant, String, Verdict)>,
    written: BTreeMap<Component, Conditions>,
    available: bool,
}

/// One TigeraStatus as last written: Available, Progressing, Degraded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conditions([(&'static str, bool, String, String); 3]);

impl Conditions {
    fn degraded(rejection: &Rejection, available: bool) -> Self {
        Self([
            ("Available", available, String::new(), String::new()),
            ("Progressing", false, String::new(), String::new()),
            ("Degraded", true, rejection.reason.clone(), rejection.message.clone()),
        ])
    }

    fn settled() -> Self {
        let words = || ("AllObjectsAvailable".to_owned(), "All objects available".to_owned());
        let row = |name, status| (name, status, words().0, words().1);
        Self([row("Available", true), row("Progressing", false), row("Degraded", false)])
    }

    fn progressing() -> Self {
        Self([
            ("Available", false, String::new(), String::new()),
            ("Progressing", true, "ResourceNotReady".to_owned(), "Waiting for workloads to be rolled out".to_owned()),
            ("Degraded", false, String::new(), String::new()),
        ])
    }

    fn is_available(&self) -> bool {
        self.0[0].1
    }
}

/// The Installation, overlay merged.
struct Settings {
    object: DynamicObject,
    computed: Value,
    variant: Variant,
    images: ImageSettings,
}

impl Stage {
    pub(super) async fn reconcile(&mut self, options: &Options) -> Result<()> {
        let Some(rules) = self.running_build(options).await? else { return Ok(()) };
        let Some(settings) = self.settings().await? else { return Ok(()) };
        let features = self.features(&settings.computed).await?;
        let variant = settings.variant;
        let (sets, versions) = self.image_sets().await?;
        // A process that ended before they were listed has not seen them.
        if !self.still_leads(options).await? {
            return Ok(());
        }
        self.report_search(&rules, variant, &sets, &versions);

        let workloads = workloads_of(&rules, variant, features);
        let active = rules.active_components(variant, features);
        let was_available = self.operator.available;
        let mut used = Vec::new();
        for component in Component::ALL {
            if !active.contains(&component) {
                self.retire(component).await?;
                continue;
            }
            let verdict = self.verdict(options, component, &rules, &settings, features, &sets);
            if let Ok(set) = &verdict {
                for workload in workloads.iter().filter(|workload| workload.component == component) {
                    self.render(workload, &rules, variant, &settings.images, set.as_ref()).await?;
                }
            }
            used.push(verdict.as_ref().ok().and_then(Option::as_ref).map(|set| set.name.clone()));
            if component == Component::Calico {
                // As upstream: written at the end of a good reconcile if calico looked Available, by the last account.
                if let (Ok(set), true) = (&verdict, was_available) {
                    self.set_installation_status(&rules, &settings, set.as_ref()).await?;
                }
            }
            self.set_tigera_status(component, &verdict, &workloads).await?;
            // Told only now: who waits for it may read the TigeraStatus at once.
            self.timeline.component(component.tigera_status(), verdict.as_ref().err());
        }
        self.roll_out(options, &workloads).await?;
        self.report_adoption(&used, &active, &workloads).await
    }

    /// The build in the leading pod: the one that led before while it is Ready, else the oldest Ready one.
    async fn running_build(&mut self, options: &Options) -> Result<Option<Arc<OperatorRules>>> {
        let pods = operator_pods(&self.client, options).await?;
        let memory = &mut self.operator;
        let led = pods.iter().find(|pod| pod.ready && Some(&pod.name) == memory.running_pod.as_ref());
        let Some(pod) = led.or_else(|| pods.iter().find(|pod| pod.ready)) else { return Ok(None) };
        if memory.running_pod.as_ref() == Some(&pod.name) {
            return Ok(memory.rules.clone());
        }
        let rules = options.images.rules(&pod.image, &pod.image_id);
        *memory = Memory { running_pod: Some(pod.name.clone()), rules: rules.clone(), ..Memory::default() };
        self.workloads.forget();
        self.timeline.forget_search();
        self.timeline.set_adopted(None);
        let image = pod.image.clone();
        self.timeline.note(
            match &rules {
                Some(rules) => What::OperatorTookOver { image, version: rules.version.to_string() },
                None => What::UnknownOperator { image },
            },
            None,
        );
        Ok(rules)
    }

    /// The pod that led when this reconcile began still exists, and is Ready.
    async fn still_leads(&self, options: &Options) -> Result<bool> {
        let pods = operator_pods(&self.client, options).await?;
        Ok(pods.iter().any(|pod| pod.ready && Some(&pod.name) == self.operator.running_pod.as_ref()))
    }

    async fn settings(&self) -> Result<Option<Settings>> {
        let api = Kind::Installation.api(&self.client);
        let Some(object) = api.get_opt("default").await.context("reading the Installation")? else { return Ok(None) };
        let overlay = api.get_opt("overlay").await.context("reading the overlay")?;
        let mut computed = object.data["spec"].clone();
        if let Some(overlay) = overlay {
            merge(&mut computed, &overlay.data["spec"]);
        }
        let text = |field: &str| computed[field].as_str().unwrap_or_default().to_owned();
        let images = ImageSettings {
            layout: RegistryLayout {
                registry: text("registry"),
                image_path: text("imagePath"),
                image_prefix: text("imagePrefix"),
            },
            fips: computed["fipsMode"] == "Enabled",
            pull_secrets: computed["imagePullSecrets"].as_array().cloned().unwrap_or_default(),
        };
        let variant = Variant::from_spec(computed["variant"].as_str().unwrap_or_default());
        Ok(Some(Settings { object, computed, variant, images }))
    }

    async fn features(&mut self, computed: &Value) -> Result<Features> {
        let from_installation = |features: Features| Features {
            windows_hns: computed["calicoNetwork"]["windowsDataplane"] == "HNS",
            certificate_management: computed["certificateManagement"].is_object(),
            openshift_aws: features.openshift_aws && computed["kubernetesProvider"] == "OpenShift",
            fips: computed["fipsMode"] == "Enabled",
            ..features
        };
        if let Some((at, features)) = self.operator.features
            && at.elapsed() < FEATURES_EVERY
        {
            return Ok(from_installation(features));
        }
        let features = Features {
            api_server: self.exists(Kind::ApiServer).await?,
            goldmane: self.exists(Kind::Goldmane).await?,
            whisker: self.exists(Kind::Whisker).await?,
            gateway_api: self.exists(Kind::GatewayApi).await?,
            istio: self.exists(Kind::Istio).await?,
            management_cluster_connection: self.exists(Kind::ManagementClusterConnection).await?,
            openshift_aws: self.is_on_aws().await?,
            ..Features::none()
        };
        self.operator.features = Some((Instant::now(), features));
        Ok(from_installation(features))
    }

    /// True if OpenShift says that it runs on AWS.
    async fn is_on_aws(&self) -> Result<bool> {
        let kind = GroupVersionKind::gvk("config.openshift.io", "v1", "Infrastructure");
        let resource = ApiResource::from_gvk_with_plural(&kind, "infrastructures");
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        match api.get("cluster").await {
            Ok(cluster) => Ok(cluster.data["status"]["platformStatus"]["type"] == "AWS"),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).context("reading the Infrastructure"),
        }
    }

    /// True if an object of that kind exists; a missing CRD is no object.
    async fn exists(&self, kind: Kind) -> Result<bool> {
        match kind.api(&self.client).list_metadata(&ListParams::default().match_any()).await {
            Ok(list) => Ok(!list.items.is_empty()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("listing {}", kind.names().1)),
        }
    }

    async fn image_sets(&self) -> Result<(Vec<NamedSet>, BTreeMap<String, String>)> {
        let list = Kind::ImageSet.api(&self.client).list(&ListParams::default()).await.context("listing ImageSets")?;
        let versions = list
            .items
            .iter()
            .map(|object| (object.name_any(), object.resource_version().unwrap_or_default()))
            .collect();
        Ok((list.items.iter().map(named_set).collect(), versions))
    }

    fn report_search(
        &self,
        rules: &OperatorRules,
        variant: Variant,
        sets: &[NamedSet],
        versions: &BTreeMap<String, String>,
    ) {
        let name = rules.expected_set_name(variant);
        let found = versions.get(&name).cloned();
        let by_tag = rules.select(variant, sets) == Selection::Tags;
        if self.timeline.looked_for(&name, found) && by_tag {
            self.timeline.note(What::UsesTags, None);
        }
    }

    fn verdict(
        &mut self,
        options: &Options,
        component: Component,
        rules: &OperatorRules,
        settings: &Settings,
        features: Features,
        sets: &[NamedSet],
    ) -> Verdict {
        let judge = || rules.judge(component, settings.variant, features, sets).map(|set| set.cloned());
        if !component.notices_at_resync_only() {
            return judge();
        }
        // These are woken by their own objects and the Installation, not by ImageSets.
        let world = format!("{features:?} {:?}", settings.computed);
        match self.operator.resynced.get(&component) {
            Some((at, known, verdict)) if *known == world && at.elapsed() < options.resync => verdict.clone(),
            _ => {
                let verdict = judge();
                self.operator.resynced.insert(component, (Instant::now(), world, verdict.clone()));
                verdict
            }
        }
    }

    async fn set_tigera_status(
        &mut self,
        component: Component,
        verdict: &Verdict,
        workloads: &[Workload],
    ) -> Result<()> {
        let before = self.operator.written.get(&component);
        let conditions = match verdict {
            // Old pods keep running while nothing reconciles.
            Err(rejection) => Conditions::degraded(rejection, before.is_some_and(Conditions::is_available)),
            Ok(_) if self.workloads.rolled_out(workloads, component) => Conditions::settled(),
            Ok(_) => Conditions::progressing(),
        };
        if component == Component::Calico {
            self.operator.available = verdict.is_ok() && conditions.is_available();
        }
        if before == Some(&conditions) {
            return Ok(());
        }
        let api = Kind::TigeraStatus.api(&self.client);
        let name = component.tigera_status();
        let existing = match api.get_opt(name).await? {
            Some(existing) => existing,
            None => api.create(&PostParams::default(), &Kind::TigeraStatus.object(name, json!({}))).await?,
        };
        let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let rows: Vec<Value> = conditions
            .0
            .iter()
            .map(|(type_, status, reason, message)| {
                let status = if *status { "True" } else { "False" };
                let since = transition_time(&existing, type_, status).unwrap_or_else(|| now.clone());
                json!({
                    "type": type_, "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": since, "observedGeneration": existing.metadata.generation,
                })
            })
            .collect();
        let patch = json!({ "status": { "conditions": rows } });
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("TigeraStatus {name}"))?;
        self.operator.written.insert(component, conditions);
        Ok(())
    }

    /// A component whose object is gone has no TigeraStatus.
    async fn retire(&mut self, component: Component) -> Result<()> {
        if self.operator.written.remove(&component).is_some() {
            let api = Kind::TigeraStatus.api(&self.client);
            match api.delete(component.tigera_status(), &Default::default()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                other => drop(other?),
            }
        }
        self.timeline.component(component.tigera_status(), None);
        Ok(())
    }

    async fn set_installation_status(
        &self,
        rules: &OperatorRules,
        settings: &Settings,
        set: Option<&NamedSet>,
    ) -> Result<()> {
        let mut status = json!({
            "variant": match settings.variant {
                Variant::Calico => "Calico",
                Variant::Enterprise => settings.computed["variant"].as_str().unwrap_or_default(),
            },
            "imageSet": set.map(|set| set.name.as_str()).unwrap_or_default(),
            "computed": settings.computed,
        });
        // Assumption: since the closed reasons' era; the facts don't say when the field came.
        if rules.version >= Version(1, 29, 0) {
            status["calicoVersion"] = json!(rules.release_name(settings.variant));
        }
        let now = &settings.object.data["status"];
        let same = |field: &str| now[field] == status[field];
        let same_set = now["imageSet"].as_str().unwrap_or_default() == status["imageSet"];
        if same("variant") && same("computed") && same("calicoVersion") && same_set {
            return Ok(());
        }
        let patch = json!({ "status": status });
        let written = Kind::Installation
            .api(&self.client)
            .patch_status("default", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("the Installation's status")?;
        if !same_set {
            let name = set.map(|set| set.name.clone()).unwrap_or_default();
            self.timeline.note(What::Selected { name }, written.resource_version());
        }
        Ok(())
    }

    /// `used`: the set that each active component has rendered with.
    async fn report_adoption(
        &self,
        used: &[Option<String>],
        active: &[Component],
        workloads: &[Workload],
    ) -> Result<()> {
        let same = used.windows(2).all(|pair| pair[0] == pair[1]);
        let rolled_out = active.iter().all(|component| self.workloads.rolled_out(workloads, *component));
        let Some(Some(name)) = used.first().filter(|_| same && rolled_out) else {
            self.timeline.set_adopted(None);
            return Ok(());
        };
        if self.timeline.adopted().as_ref() == Some(name) {
            return Ok(());
        }
        let installation = Kind::Installation.api(&self.client).get("default").await?;
        if installation.data["status"]["imageSet"] == name.as_str() {
            self.timeline.set_adopted(Some(name));
        }
        Ok(())
    }
}

fn named_set(object: &DynamicObject) -> NamedSet {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images = object.data["spec"]["images"].as_array();
    let entries = images.into_iter().flatten().map(|entry| (text(&entry["image"]), text(&entry["digest"]))).collect();
    NamedSet { name: object.name_any(), entries }
}

fn transition_time(existing: &DynamicObject, type_: &str, status: &str) -> Option<String> {
    let conditions = existing.data["status"]["conditions"].as_array()?;
    let same = conditions.iter().find(|one| one["type"] == type_ && one["status"] == status)?;
    same["lastTransitionTime"].as_str().map(str::to_owned)
}

/// Lays the overlay over the base, field by field; lists are replaced.
fn merge(base: &mut Value, overlay: &Value) {
    match (base, overlay) {
        (Value::Object(base), Value::Object(overlay)) => {
            for (field, value) in overlay {
                merge(base.entry(field).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (base, overlay) => *base = overlay.clone(),
    }
}
