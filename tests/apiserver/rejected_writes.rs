//! What the API server refuses: policies out of range, with a message that names the fix, and reads for which a right
//! is missing, which are reported by name.

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::testbox::recorder::HUMAN;
use crate::testbox::rights::Right;
use crate::testbox::scenery;
use crate::world::{Scenery, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn invalid_policies_and_missing_rights_are_reported() {
    let world = World::start(Scenery { name: "refused", releases: &["v1.40.15"], ..Scenery::default() }).await;
    for (spec, words) in [
        (json!({ "mode": false }), "spec.mode"),
        (json!({ "mode": "Off" }), "supported values: \"Observe\", \"Apply\""),
        (json!({ "recheck": { "interval": "1 day" } }), "write hours, minutes and seconds, such as 6h, 1h30m or 90s"),
        (json!({ "recheck": { "interval": "10s" } }), "check the registry at most every 1m and at least every 720h"),
        (
            json!({ "prepare": { "discover": { "interval": "1m" } } }),
            "look for releases at most every 5m and at least every 720h",
        ),
        (
            json!({ "images": { "digests": { "calico/node": "sha256:nonsense" } } }),
            "write the digest as sha256: and 64 lower-case hexadecimal digits",
        ),
        (
            json!({ "images": { "digests": { "node": format!("sha256:{}", "0".repeat(64)) } } }),
            "name images as an ImageSet does, organisation/image without registry and tag",
        ),
        (json!({ "images": { "exclude": ["docker.io/calico/node:v1"] } }), "name images as an ImageSet does"),
        (json!({ "prepare": { "versions": ["latest"] } }), "write a version of the operator, such as v1.42.4"),
        (json!({ "retain": -1 }), "spec.retain"),
        (json!({ "inspection": { "namespace": "tigera-operator" } }), "give inspection a namespace of its own"),
        (json!({ "operator": { "namespace": "imageset-inspection" } }), "give inspection a namespace of its own"),
        (
            json!({ "installation": { "registry": "https://registry.example" } }),
            "write host[:port][/path] without scheme",
        ),
        (json!({ "registries": [{ "host": "https://registry.example/" }] }), "write host or host:port without scheme"),
        (
            json!({ "registries": [{ "host": "r.example", "caBundle": {} }] }),
            "name one place of the certificates: either configMapRef or secretRef",
        ),
    ] {
        let rejected = world.policy_as(spec.clone()).await.map(|_| ()).expect_err(&spec.to_string()).to_string();
        assert!(rejected.contains(words), "{spec} is refused without {words:?}: {rejected}");
    }
    let other = json!({
        "apiVersion": "imageset-controller.io/v1alpha1", "kind": "ImageSetPolicy", "metadata": { "name": "other" }, "spec": {},
    });
    let rejected = world.policies().patch("other", &PatchParams::apply(HUMAN), &Patch::Apply(other)).await;
    let rejected = rejected.map(|_| ()).expect_err("a policy of another name").to_string();
    assert!(rejected.contains("name the policy 'default'"), "{rejected}");

    // Rights: one rule is removed at a time. Nothing is written without knowing everything.
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    let nodes = Rights::remove(&world, "nodes").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until_message("Ready", "False", "ReadForbidden", &["list nodes", "deploy/base"]).await;
    world.assert_nothing_written();
    nodes.give_back(&world).await;
    // The watch of nodes finds out by itself.
    world.until("Ready", "True", "Succeeded").await;
    // Later a human deletes the set.
    world.recorder.allow_delete("calico-v3.31.7");
    let writes = world.writes().len();
    for (resource, what) in [
        ("installations", "list installations.operator.tigera.io"),
        ("imagesets", "list imagesets.operator.tigera.io"),
        ("goldmanes", "list "),
        ("deployments", "get deployments.apps tigera-operator/tigera-operator"),
        ("pods", "list pods in tigera-operator"),
        ("replicasets", "list replicasets.apps in tigera-operator"),
        ("configmaps", "list configmaps in imageset-controller"),
    ] {
        let rights = Rights::remove(&world, resource).await;
        touch(&world).await;
        world.until_message("Ready", "False", "ReadForbidden", &[what, "deploy/base"]).await;
        rights.give_back(&world).await;
        touch(&world).await;
        world.until("Ready", "True", "Succeeded").await;
    }
    // What is only reported: that alone is unknown, and everything else continues.
    for (resource, what, condition) in [
        ("daemonsets", "list daemonsets.apps in calico-system", "Adopted"),
        ("tigerastatuses", "list tigerastatuses.operator.tigera.io", "OperatorDegraded"),
    ] {
        let rights = Rights::remove(&world, resource).await;
        touch(&world).await;
        world.until_message(condition, "Unknown", "ViewForbidden", &[what, "deploy/base"]).await;
        world.until("Ready", "True", "Succeeded").await;
        let findings = world.status().await["findings"].clone();
        let reported = findings.as_array().unwrap().iter().filter(|one| one["reason"] == "ViewForbidden").count();
        assert_eq!(reported, 1, "{findings}");
        rights.give_back(&world).await;
        touch(&world).await;
        eventually("the view", async || (world.condition(condition).await.0 == "False").then_some(())).await;
    }
    assert_eq!(world.writes().len(), writes, "{:#?}", world.writes());

    // Writes are refused: reported with the API server's message, and retried with a backoff.
    let cluster_roles: Api<ClusterRole> = Api::all(world.client.clone());
    let role = cluster_roles.get("imageset-controller").await.unwrap();
    let mut rules = serde_json::to_value(&role.rules).unwrap();
    for rule in rules.as_array_mut().unwrap().iter_mut().filter(|rule| rule["resources"] == json!(["imagesets"])) {
        rule["verbs"].as_array_mut().unwrap().retain(|verb| verb != "create");
    }
    let changed = json!({ "rules": rules });
    cluster_roles.patch("imageset-controller", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
    world.delete_set("calico-v3.31.7").await;
    let words = ["ImageSet calico-v3.31.7", "cannot create resource \"imagesets\""];
    world.until_message("Applied", "False", "WriteRefused", &words).await;
    let tried = eventually("four tries", async || {
        let tried = controller.logged("a write failed");
        (tried.len() >= 4).then_some(tried)
    })
    .await;
    let times: Vec<Timestamp> =
        tried.iter().map(|entry| entry["timestamp"].as_str().unwrap().parse().unwrap()).collect();
    let pauses: Vec<f64> = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64()).collect();
    assert!(pauses.iter().zip([1.0, 2.0, 4.0]).all(|(pause, least)| *pause >= least), "tried after {pauses:?} s");
    let given_back = json!({ "rules": role.rules });
    cluster_roles.patch("imageset-controller", &PatchParams::default(), &Patch::Merge(given_back)).await.unwrap();
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
    world.finish(&[&controller]).await;
}

/// Rights that were taken away: the rules of all roles as they were.
pub struct Rights {
    cluster: ClusterRole,
    roles: Vec<Role>,
    /// What they allow.
    removed: Vec<Right>,
}

const ROLE_NAMESPACES: [&str; 2] = ["tigera-operator", "imageset-controller"];

impl Rights {
    /// Removes the rules that name a resource, in all roles of ours.
    pub async fn remove(world: &World, resource: &str) -> Self {
        let cluster_roles: Api<ClusterRole> = Api::all(world.client.clone());
        let cluster = cluster_roles.get("imageset-controller").await.unwrap();
        let without = |rules: Value| {
            let rules = rules.as_array().unwrap().clone();
            let names = |rule: &Value| rule["resources"].as_array().unwrap().contains(&json!(resource));
            json!({ "rules": rules.into_iter().filter(|rule| !names(rule)).collect::<Vec<_>>() })
        };
        let parameters = PatchParams::default();
        let left = without(serde_json::to_value(&cluster.rules).unwrap());
        cluster_roles.patch("imageset-controller", &parameters, &Patch::Merge(left)).await.unwrap();
        let mut removed = Vec::new();
        let mut remember = |namespace: Option<&str>, rules: &Option<Vec<PolicyRule>>| {
            let names = |rule: &&PolicyRule| rule.resources.iter().flatten().any(|one| one == resource);
            let gone = rules.iter().flatten().filter(names);
            removed.extend(gone.flat_map(|rule| Right::all_of(namespace, rule)));
        };
        remember(None, &cluster.rules);
        let mut roles = Vec::new();
        for namespace in ROLE_NAMESPACES {
            let api: Api<Role> = Api::namespaced(world.client.clone(), namespace);
            let role = api.get("imageset-controller").await.unwrap();
            let left = without(serde_json::to_value(&role.rules).unwrap());
            api.patch("imageset-controller", &parameters, &Patch::Merge(left)).await.unwrap();
            remember(Some(namespace), &role.rules);
            roles.push(role);
        }
        let rights = Self { cluster, roles, removed };
        rights.until_allowed(world, false).await;
        rights
    }

    async fn until_allowed(&self, world: &World, allowed: bool) {
        for right in &self.removed {
            right.until_allowed(&world.client, allowed).await.unwrap();
        }
    }

    pub async fn give_back(self, world: &World) {
        let parameters = PatchParams::default();
        let cluster_roles: Api<ClusterRole> = Api::all(world.client.clone());
        let rules = json!({ "rules": self.cluster.rules });
        cluster_roles.patch("imageset-controller", &parameters, &Patch::Merge(rules)).await.unwrap();
        for (namespace, role) in ROLE_NAMESPACES.into_iter().zip(&self.roles) {
            let api: Api<Role> = Api::namespaced(world.client.clone(), namespace);
            let rules = json!({ "rules": role.rules });
            api.patch("imageset-controller", &parameters, &Patch::Merge(rules)).await.unwrap();
        }
        self.until_allowed(world, true).await;
    }
}

/// A change of the policy without effect, so that it is reconciled now.
pub async fn touch(world: &World) {
    let spec = world.policies().get("default").await.unwrap().data["spec"].clone();
    let retain = spec["retain"].as_i64().unwrap();
    let other = json!({ "spec": { "retain": (retain + 1) % 20 } });
    scenery::edit(&world.policies(), "default", other).await.unwrap();
}
