//! Argo CD and Flux apply what is in Git again and again, each in its own way. No field is fought over: their writes change nothing of
//! ours, ours nothing of theirs, and an unchanged Git writes nothing.

use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::testbox::crds::Kind as OperatorKind;
use crate::world::{Scenery, World};

/// How a tool applies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Server-side, forced: Flux always, Argo CD with `ServerSideApply=true`.
    ServerSide(&'static str),
    /// A merge patch beside an annotation with what was applied last: Argo CD without it.
    ClientSide(&'static str),
}

const WAYS: [Way; 3] = [
    Way::ServerSide("kustomize-controller"),
    Way::ServerSide("argocd-controller"),
    Way::ClientSide("argocd-controller"),
];

impl Way {
    fn manager(self) -> &'static str {
        match self {
            Self::ServerSide(manager) | Self::ClientSide(manager) => manager,
        }
    }

    /// Makes the cluster be as Git has it.
    async fn apply(self, api: &kube::Api<DynamicObject>, wanted: &Value) -> DynamicObject {
        let name = wanted["metadata"]["name"].as_str().unwrap();
        match self {
            Self::ServerSide(manager) => {
                api.patch(name, &PatchParams::apply(manager).force(), &Patch::Apply(wanted)).await.unwrap()
            }
            Self::ClientSide(manager) => {
                let mut patch = wanted.clone();
                patch["metadata"]["annotations"] =
                    json!({ "kubectl.kubernetes.io/last-applied-configuration": wanted.to_string() });
                let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
                api.patch(name, &parameters, &Patch::Merge(patch)).await.unwrap()
            }
        }
    }
}

/// The top-level fields that each manager owns, of the object or of its status, as `manager/subresource: fields`.
fn owners(object: &DynamicObject) -> Vec<(String, String, Vec<String>)> {
    let entries = object.managed_fields().iter().map(|entry| {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.as_object());
        let fields = fields.into_iter().flatten().map(|(name, _)| name.clone()).filter(|name| name != "f:metadata");
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (text(&entry.manager), text(&entry.subresource), fields.collect())
    });
    entries.collect()
}

fn policy(world: &World, versions: &[&str]) -> Value {
    let registry = json!({ "host": world.mirror.registry.host(), "plainHttp": true });
    json!({
        "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "metadata": { "name": "default" },
        "spec": { "mode": "Apply", "prepare": { "versions": versions }, "registries": [registry] },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_git_is_written_by_git_and_its_status_by_us() {
    let world = World::start(Scenery { name: "git-tools", ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let api = world.policies();
    let made = WAYS[0].apply(&api, &policy(&world, &[])).await;
    // What kstatus and Argo CD's check wait by, before any controller has looked.
    assert_eq!(api.get("default").await.unwrap().data["status"], json!({ "observedGeneration": -1 }), "{made:?}");
    let (_, screen, _) = world.verb(&["status"]).await;
    assert!(screen.contains("the controller has not looked at this policy"), "{screen}");

    let controller = world.controller("git-tools").await;
    for way in WAYS {
        // A commit, and the same again: a change is taken up, and what is there already is no write.
        for versions in [&[][..], &["v1.42.4"]] {
            let wanted = policy(&world, versions);
            way.apply(&api, &wanted).await;
            world.until("Ready", "True", "Succeeded").await;
            world.until_quiet().await;
            let writes = world.writes().len();
            let before = api.get("default").await.unwrap();
            assert_eq!(before.data["status"]["observedGeneration"], json!(before.metadata.generation.unwrap()));
            for _ in 0..3 {
                let after = way.apply(&api, &wanted).await;
                assert_eq!(after.resource_version(), before.resource_version(), "{way:?} wrote something");
            }
            world.until_quiet().await;
            let after = api.get("default").await.unwrap();
            assert_eq!(after.resource_version(), before.resource_version(), "{way:?} was answered with a write");
            assert_eq!(world.writes().len(), writes);
        }

        // Each has its own part, and nobody else's.
        let owners = owners(&api.get("default").await.unwrap());
        let of = |manager: &str| owners.iter().filter(|(name, ..)| name == manager).collect::<Vec<_>>();
        let ours = of("imageset-controller");
        assert_eq!(ours.len(), 1, "{owners:?}");
        assert_eq!((ours[0].1.as_str(), &ours[0].2), ("status", &vec!["f:status".to_owned()]), "{owners:?}");
        let theirs = of(way.manager());
        assert!(!theirs.is_empty(), "{owners:?}");
        for (_, subresource, fields) in theirs {
            assert!(subresource.is_empty() && fields.iter().all(|field| field == "f:spec"), "{owners:?}");
        }

        // What the command line asks for in an annotation is not in Git, and stays.
        let (code, _, told) = world.verb(&["refresh"]).await;
        assert_eq!(code, 0, "{told}");
        let asked = api.get("default").await.unwrap().annotations()["imageset-controller.io/refresh"].clone();
        let after = way.apply(&api, &policy(&world, &["v1.42.4"])).await;
        assert_eq!(after.annotations().get("imageset-controller.io/refresh"), Some(&asked), "{way:?}");
    }
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_in_git_stays_as_git_has_it() {
    let world = World::start(Scenery { name: "sets-in-git", ..Scenery::default() }).await;
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let sets = OperatorKind::ImageSet.api(&world.client);
    let entries: Vec<Value> = world
        .wanted("v1.40.15", false)
        .into_iter()
        .map(|(image, digest)| json!({ "image": image, "digest": digest }))
        .collect();
    let set = OperatorKind::ImageSet.object("calico-v3.31.7", json!({ "images": entries }));
    let set = serde_json::to_value(set).unwrap();
    WAYS[0].apply(&sets, &set).await;
    let writes = world.writes().len();

    let controller = world.controller("sets-in-git").await;
    // In either mode: a right set of somebody else is left alone.
    for mode in ["Observe", "Apply"] {
        let mut wanted = policy(&world, &[]);
        wanted["spec"]["mode"] = json!(mode);
        WAYS[0].apply(&world.policies(), &wanted).await;
        world.until("Ready", "True", "Succeeded").await;
        world.until_quiet().await;
        for way in WAYS {
            way.apply(&sets, &set).await;
            let before = sets.get("calico-v3.31.7").await.unwrap();
            let after = way.apply(&sets, &set).await;
            assert_eq!(after.resource_version(), before.resource_version(), "{way:?}");
            world.until("Ready", "True", "Succeeded").await;
            world.until_quiet().await;
            let owners = owners(&sets.get("calico-v3.31.7").await.unwrap());
            assert!(owners.iter().all(|(manager, ..)| manager != "imageset-controller"), "{owners:?}");
        }
    }
    let by_us = world.writes().split_off(writes).into_iter();
    let by_us: Vec<_> = by_us.filter(|write| write.kind == "ImageSet").collect();
    assert!(by_us.iter().all(|write| write.manager.as_deref() != Some("imageset-controller")), "{by_us:#?}");
    world.finish(&[&controller]).await;
}
