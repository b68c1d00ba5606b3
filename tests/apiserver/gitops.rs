//! No field is fought over: Argo CD and Flux apply the policy, or the sets themselves, in each of their ways, again and again, while
//! the controller reports and people use the command line. What each tool does to the API server is played here, step by step.

use std::collections::BTreeMap;

use kube::ResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::shell::Shell;
use crate::testbox::crds::{self, Kind as OperatorKind};
use crate::testbox::operator_double::What;
use crate::testbox::recorder::HUMAN;
use crate::testbox::scenery::{policy, with_entries};
use crate::world::{SOON, Scenery, World, eventually};

/// How a tool applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// Argo CD as it is set up: kubectl's client-side apply, with the annotation of what was applied last.
    Argo,
    /// Argo CD with the sync option `ServerSideApply=true`.
    ArgoServerSide,
    /// Flux' kustomize-controller: takes over what kubectl owns, checks by a dry run whether anything differs, and applies if so.
    Flux,
}

const TOOLS: [Tool; 3] = [Tool::Argo, Tool::ArgoServerSide, Tool::Flux];

impl Tool {
    const fn manager(self) -> &'static str {
        match self {
            Self::Argo | Self::ArgoServerSide => "argocd-controller",
            Self::Flux => "kustomize-controller",
        }
    }

    const fn flags(self) -> &'static str {
        match self {
            Self::Argo => "",
            Self::ArgoServerSide | Self::Flux => "--server-side --force-conflicts",
        }
    }

    /// The object as the tool finds it in Git, with what it knows its own objects by.
    fn tracked(self, mut object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = object["kind"].as_str().unwrap().to_owned();
        match self {
            Self::Argo | Self::ArgoServerSide => {
                object["metadata"]["labels"] = json!({ "app.kubernetes.io/instance": "calico" });
                object["metadata"]["annotations"] = json!({
                    "argocd.argoproj.io/tracking-id": format!("calico:group/{kind}:/{name}"),
                    "argocd.argoproj.io/sync-wave": "-1",
                });
            }
            Self::Flux => {
                object["metadata"]["labels"] = json!({
                    "kustomize.toolkit.fluxcd.io/name": "calico", "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
                });
            }
        }
        object
    }

    /// One sync of this object of Git.
    async fn sync(self, world: &World, shell: &Shell, object: &Value) {
        shell.write("object.yaml", &self.tracked(object.clone()).to_string());
        if self == Self::Flux {
            let taken_over = take_over_from_kubectl(world, object).await;
            if !taken_over && self.differences(shell, object).await.is_empty() {
                return;
            }
        }
        shell.run(&format!("kubectl apply {} --field-manager={} -f object.yaml", self.flags(), self.manager())).await;
    }

    /// What the tool would say is out of sync. Empty: nothing.
    async fn differences(self, shell: &Shell, object: &Value) -> String {
        shell.write("object.yaml", &self.tracked(object.clone()).to_string());
        let diff = format!("kubectl diff {} --field-manager={} -f object.yaml", self.flags(), self.manager());
        let (same, reported) = shell.tried(&diff).await;
        assert_eq!(same, reported.is_empty(), "{reported}");
        reported
    }
}

/// As Flux does it before each apply: fields of kubectl's managers become its own. Returns whether there were any.
async fn take_over_from_kubectl(world: &World, object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap();
    let api = if kind == "ImageSet" { OperatorKind::ImageSet.api(&world.client) } else { world.policies() };
    let name = object["metadata"]["name"].as_str().unwrap();
    let Some(live) = api.get_opt(name).await.unwrap() else { return false };
    let live = serde_json::to_value(&live.metadata.managed_fields).unwrap();
    let of_kubectl =
        |entry: &Value| entry["manager"].as_str().unwrap().starts_with("kubectl") && entry["subresource"].is_null();
    let entries = live.as_array().cloned().unwrap_or_default();
    let (theirs, mut others): (Vec<Value>, Vec<Value>) = entries.into_iter().partition(of_kubectl);
    if theirs.is_empty() {
        return false;
    }
    let own = others.iter().position(|one| one["manager"] == Tool::Flux.manager() && one["operation"] == "Apply");
    let mut own = own.map_or_else(|| theirs[0].clone(), |own| others.remove(own));
    own["manager"] = json!(Tool::Flux.manager());
    own["operation"] = json!("Apply");
    for one in &theirs {
        unite(&mut own["fieldsV1"], &one["fieldsV1"]);
    }
    others.push(own);
    let patch = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": others }]);
    let patch = Patch::Json::<()>(serde_json::from_value(patch).unwrap());
    let parameters = PatchParams { field_manager: Some(Tool::Flux.manager().to_owned()), ..PatchParams::default() };
    api.patch(name, &parameters, &patch).await.unwrap();
    true
}

fn unite(fields: &mut Value, more: &Value) {
    for (name, more) in more.as_object().into_iter().flatten() {
        unite(&mut fields[name], more);
    }
}

/// Who owns what the pointer leads to, by `metadata.managedFields`, and `/` the subresource by which it was written.
fn owners(object: &DynamicObject, pointer: &str) -> Vec<String> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let own =
        entries.filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer(pointer).is_some()));
    own.map(|entry| {
        let by = entry.subresource.as_ref().map(|subresource| format!("/{subresource}"));
        entry.manager.clone().unwrap() + &by.unwrap_or_default()
    })
    .collect()
}

/// Digests for a node image that nobody has.
fn unknown_digest(images: &mut [Value]) {
    for entry in images.iter_mut().filter(|entry| entry["image"] == "calico/node") {
        entry["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    }
}

fn set(name: &str, images: &BTreeMap<String, String>) -> Value {
    serde_json::to_value(OperatorKind::ImageSet.object(name, with_entries(images))).unwrap()
}

impl World {
    async fn stored_policy(&self) -> DynamicObject {
        self.policies().get("default").await.unwrap()
    }

    /// The spec of a policy for this registry, which speaks plain HTTP.
    fn spec(&self, mode: &str) -> Value {
        json!({ "mode": mode, "registries": [{ "host": self.mirror.registry.host(), "plainHttp": true }] })
    }

    /// A check now, by the command line.
    async fn refresh(&self) {
        let (code, _, stderr) = self.verb(&["refresh", "--wait"]).await;
        assert_eq!(code, 0, "{stderr}");
    }

    /// Another sync of the same leaves the policy as it is, to the resourceVersion.
    async fn unchanged_by(&self, tool: Tool, shell: &Shell, of_git: &Value) {
        self.until_quiet().await;
        let before = self.stored_policy().await;
        assert_eq!(tool.differences(shell, of_git).await, "", "{tool:?} says that it is out of sync");
        tool.sync(self, shell, of_git).await;
        self.until_quiet().await;
        let after = self.stored_policy().await;
        assert_eq!(after.resource_version(), before.resource_version(), "{tool:?}: {before:#?}\n{after:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_the_tools_and_its_status_is_ours() {
    let world = World::start(Scenery { name: "gitops-policy", ..Scenery::default() }).await;
    let shell = Shell::of(&world).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let controller = world.controller("first").await;
    let of_git = policy(world.spec("Apply"));
    for tool in TOOLS {
        if tool == Tool::Flux {
            // Tried by hand first, as people do it.
            shell.write("object.yaml", &of_git.to_string());
            shell.run("kubectl apply -f object.yaml").await;
        }
        tool.sync(&world, &shell, &of_git).await;
        world.until("Ready", "True", "Succeeded").await;
        world.unchanged_by(tool, &shell, &of_git).await;
        let stored = world.stored_policy().await;
        for field in ["/f:spec/f:mode", "/f:spec", "/f:metadata"] {
            assert_eq!(owners(&stored, field), [tool.manager()], "{tool:?} {field}");
        }
        assert_eq!(owners(&stored, "/f:status"), ["imageset-controller/status"], "{tool:?}");

        // Asked by the command line: two annotations that Git does not have, and that the tool leaves alone.
        let (code, _, stderr) = world.verb(&["prepare", "v1.42.4", "--wait"]).await;
        assert_eq!(code, 0, "{stderr}");
        world.refresh().await;
        for name in ["prepare", "refresh"] {
            let field = format!("/f:metadata/f:annotations/f:imageset-controller.io~1{name}");
            assert_eq!(owners(&world.stored_policy().await, &field), ["imageset-controller-cli"], "{tool:?}");
        }
        world.unchanged_by(tool, &shell, &of_git).await;
        let annotations = world.stored_policy().await.annotations().clone();
        for name in ["imageset-controller.io/prepare", "imageset-controller.io/refresh"] {
            assert!(annotations.contains_key(name), "{tool:?} took {name} away");
        }

        // Asked by kubectl: Flux takes away what kubectl adds, after it was heard.
        shell.run("kubectl annotate imagesetpolicy default --overwrite imageset-controller.io/refresh=by-hand").await;
        let heard = async || (world.status().await["lastHandledRefresh"] == "by-hand").then_some(());
        eventually("the refresh by hand", heard).await;
        tool.sync(&world, &shell, &of_git).await;
        let annotations = world.stored_policy().await.annotations().clone();
        assert_eq!(annotations.contains_key("imageset-controller.io/refresh"), tool != Tool::Flux, "{annotations:?}");
        assert!(annotations.contains_key("imageset-controller.io/prepare"));

        // Suspended by hand, where Git says nothing of it: it stays so until it is resumed by hand.
        let (code, _, stderr) = world.verb(&["suspend"]).await;
        assert_eq!(code, 0, "{stderr}");
        assert!(!stderr.contains("warning"), "{tool:?}: {stderr}");
        world.unchanged_by(tool, &shell, &of_git).await;
        assert_eq!(world.stored_policy().await.data["spec"]["suspend"], true, "{tool:?}");
        let (code, _, stderr) = world.verb(&["resume"]).await;
        assert_eq!(code, 0, "{stderr}");
        world.unchanged_by(tool, &shell, &of_git).await;

        // Where Git says it, Git wins, and the command line says so.
        let mut suspended = of_git.clone();
        suspended["spec"]["suspend"] = json!(true);
        tool.sync(&world, &shell, &suspended).await;
        let (code, _, stderr) = world.verb(&["resume"]).await;
        assert_eq!(code, 0);
        assert!(stderr.contains(&format!("warning: {} owns spec.suspend", tool.manager())), "{tool:?}: {stderr}");
        tool.sync(&world, &shell, &suspended).await;
        assert_eq!(world.stored_policy().await.data["spec"]["suspend"], true, "{tool:?}");

        world.policies().delete("default", &Default::default()).await.unwrap();
    }

    // What the controller writes has nothing by which a tool would know it as its own and take it away.
    for set in OperatorKind::ImageSet.api(&world.client).list(&Default::default()).await.unwrap() {
        let labels: Vec<_> = set.labels().keys().cloned().collect();
        assert_eq!(labels, ["app.kubernetes.io/managed-by", "imageset-controller.io/policy"]);
        let foreign = set.annotations().keys().find(|key| !key.starts_with("imageset-controller.io/"));
        assert_eq!((foreign, set.owner_references().len()), (None, 0));
    }
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_kept_in_git_are_the_tools() {
    let world = World::start(Scenery { name: "gitops-sets", ..Scenery::default() }).await;
    let shell = Shell::of(&world).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let name = "calico-v3.31.7";
    world.recorder.allow_delete(name);
    let wanted = world.wanted("v1.40.15", false);
    let of_git = set(name, &wanted);
    let sets: Api<DynamicObject> = OperatorKind::ImageSet.api(&world.client);
    let controller = world.controller("first").await;
    for tool in TOOLS {
        tool.sync(&world, &shell, &of_git).await;
        world.policy(json!({ "mode": "Observe" })).await;
        world.until_message("Applied", "True", "ForeignImageSetAccepted", &[name, tool.manager()]).await;
        world.until("Ready", "True", "Succeeded").await;
        world.until("Drifted", "False", "NoDrift").await;

        // An entry is lost: reported, and restored by the tool alone.
        world.edit_set(name, |images| images.retain(|entry| entry["image"] != "calico/node")).await;
        world.until_message("Applied", "False", "ForeignImageSetInvalid", &["calico/node"]).await;
        assert_ne!(tool.differences(&shell, &of_git).await, "");
        tool.sync(&world, &shell, &of_git).await;
        world.until("Applied", "True", "ForeignImageSetAccepted").await;

        // Or changes a digest: the registry is asked at once.
        world.edit_set(name, |images| unknown_digest(images)).await;
        world.until_message("Drifted", "True", "DigestGone", &["calico/node"]).await;
        assert_ne!(tool.differences(&shell, &of_git).await, "");
        tool.sync(&world, &shell, &of_git).await;
        world.until("Drifted", "False", "NoDrift").await;

        // In mode Apply, too: what Git has is right, so that there is nothing to write.
        world.policy(json!({ "mode": "Apply" })).await;
        world.until("Applied", "True", "ForeignImageSetAccepted").await;
        world.until("Ready", "True", "Succeeded").await;
        world.until_quiet().await;
        let before = sets.get(name).await.unwrap();
        assert_eq!(tool.differences(&shell, &of_git).await, "");
        tool.sync(&world, &shell, &of_git).await;
        let after = sets.get(name).await.unwrap();
        assert_eq!(after.resource_version(), before.resource_version());
        assert_eq!(world.stored(name).await.unwrap(), wanted);
        let strangers = after.managed_fields().iter().filter_map(|entry| entry.manager.clone());
        let strangers: Vec<_> = strangers.filter(|manager| *manager != tool.manager() && manager != HUMAN).collect();
        assert_eq!(strangers, Vec::<String>::new(), "{tool:?}");
        // The policy first: while it says Apply, a set that is gone is put back, and is the controller's then.
        world.policies().delete("default", &Default::default()).await.unwrap();
        world.until_quiet().await;
        world.delete_set(name).await;
    }
    world.finish(&[&controller]).await;
}

/// What is installed, as it is kept in Git, from one tool to the next.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_installed_has_no_field_that_comes_back_otherwise() {
    let world = World::start(Scenery { name: "gitops-installed", installed: false, ..Scenery::default() }).await;
    let shell = Shell::of(&world).await;
    shell.run("kubectl create namespace tigera-operator").await;
    shell.run("kustomize build deploy/base > installed.yaml").await;
    let columns = "K:.kind,IN:.metadata.namespace,N:.metadata.name,V:.metadata.resourceVersion";
    let versions = format!("kubectl get -f installed.yaml --no-headers -o custom-columns={columns}");
    for tool in TOOLS {
        let flags = tool.flags();
        let apply = format!("kubectl apply {flags} --field-manager={} -f installed.yaml", tool.manager());
        let diff = format!("kubectl diff {flags} --field-manager={} -f installed.yaml", tool.manager());
        shell.run(&apply).await;
        let stored = shell.run(&versions).await;
        assert!(stored.lines().count() > 15, "{stored}");
        assert_eq!(shell.tried(&diff).await, (true, String::new()), "{tool:?}");
        shell.run(&apply).await;
        assert_eq!(shell.run(&versions).await, stored, "{tool:?}");
    }
    world.finish(&[]).await;
}

/// The way from sets of the controller to sets in Git, before the policy says Observe.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_ours_that_git_gets_too_is_no_fight_while_both_say_the_same() {
    let world = World::start(Scenery { name: "gitops-both", ..Scenery::default() }).await;
    let shell = Shell::of(&world).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let name = "calico-v3.31.7";
    world.recorder.allow_delete(name);
    let wanted = world.wanted("v1.40.15", false);
    let of_git = set(name, &wanted);
    let sets: Api<DynamicObject> = OperatorKind::ImageSet.api(&world.client);
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    for tool in TOOLS {
        world.until("Applied", "True", "ImageSetStored").await;
        world.until("Ready", "True", "Succeeded").await;
        tool.sync(&world, &shell, &of_git).await;
        world.until_quiet().await;
        let before = sets.get(name).await.unwrap();
        assert_eq!(tool.differences(&shell, &of_git).await, "", "{tool:?}");
        tool.sync(&world, &shell, &of_git).await;
        world.refresh().await;
        world.until_quiet().await;
        world.until("Ready", "True", "Succeeded").await;
        let after = sets.get(name).await.unwrap();
        assert_eq!(after.resource_version(), before.resource_version(), "{tool:?}: {before:#?}\n{after:#?}");
        assert_eq!(world.stored(name).await.unwrap(), wanted);
        let writes = world.writes().len();
        world.delete_set(name).await;
        eventually("the set to be put back", async || (world.writes().len() >= writes + 2).then_some(())).await;
    }
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waves_bring_the_definitions_then_the_policy_then_the_operator() {
    let mut world = World::start(Scenery { name: "gitops-waves", operator_kinds: false, ..Scenery::default() }).await;
    let shell = Shell::of(&world).await;
    let controller = world.controller("first").await;
    let spec = |version: &str| {
        let mut spec = world.spec("Apply");
        spec["installation"] = world.layout();
        spec["prepare"] = json!({ "versions": [version] });
        policy(spec)
    };
    let (install, upgrade) = (spec("v1.40.15"), spec("v1.42.4"));
    let ready = "kubectl wait --for=condition=Ready imagesetpolicy/default";

    // Without its first wave, the policy says what is missing, and no later wave would begin.
    Tool::ArgoServerSide.sync(&world, &shell, &install).await;
    world.until_message("Ready", "False", "OperatorKindsMissing", &["imagesets.operator.tigera.io"]).await;
    let (began, reported) = shell.tried(&format!("{ready} --timeout=1s")).await;
    assert!(!began && reported.contains("timed out"), "{reported}");
    crds::install(&world.client).await.unwrap();
    shell.run(&format!("{ready} --timeout={}s", SOON.as_secs())).await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));

    // The last wave: the operator and its Installation.
    let double = world.double(|_| {});
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;

    // The upgrade is one commit. That the policy was Ready before lets nothing through: it is asked of its new generation.
    world.mirror.registry.stop();
    Tool::ArgoServerSide.sync(&world, &shell, &upgrade).await;
    let (began, reported) = shell.tried(&format!("{ready} --timeout=3s")).await;
    assert!(!began, "{reported}");
    world.mirror.registry.start_again().await.unwrap();
    shell.run(&format!("{ready} --timeout={}s", SOON.as_secs())).await;
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    world.operator("v1.42.4").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    assert!(double.events().iter().all(|seen| seen.what != What::UsesTags));
    double.stop().await;
    world.finish(&[&controller]).await;
}
