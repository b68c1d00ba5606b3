//! Back to tags: the order of the steps, who is asked first, and what the operator makes of it.

use serde_json::json;

use crate::testbox::apply_yaml;
use crate::testbox::checkout::assert_contains;
use crate::testbox::operator_double::{OperatorDouble, What};
use crate::testbox::recorder::Verb;
use crate::world::{SOON, Scenery, World, eventually};

/// The operator deploys by tag again, after these events.
async fn until_tags(double: &OperatorDouble, before: usize) {
    eventually("the operator to deploy by tag", async || {
        double.events().iter().skip(before).any(|seen| seen.what == What::UsesTags).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_to_tags_stops_nobody() {
    let world = World::with_calico(Scenery { name: "disarm", ..Scenery::default() }, "v1.40.15").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": ["v1.42.4"] } })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;

    // The steps are printed, and nothing is done.
    let (code, stdout, stderr) = world.verb(&["disarm"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    let steps = [
        "1. set spec.mode: Observe",
        "2. set spec.gate: Disabled",
        "3. kubectl delete imageset calico-v3.32.1",
        "4. kubectl delete imageset calico-v3.31.7   # the operator uses it: last",
        "these roll:",
        "DaemonSet calico-system/calico-node",
        "Nothing was changed",
    ];
    assert_contains(&stdout, &steps);
    let rolls: Vec<String> = stdout.lines().filter_map(|line| line.strip_prefix("   ")).map(str::to_owned).collect();
    assert_eq!(world.status().await["current"]["workloads"]["total"], rolls.len(), "{stdout}");

    // An unmanaged set that would stop the operator then: refused before anything is changed.
    world.store_set("calico-v3.29.0", json!({ "images": [] })).await;
    let (code, stdout, stderr) = world.verb(&["disarm", "--yes"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""));
    let words =
        ["error: ImageSet calico-v3.29.0, made by human", "BlockingImageSet", "kubectl delete imageset calico-v3.29.0"];
    assert_contains(&stderr, &words);
    world.recorder.allow_delete("calico-v3.29.0");
    world.delete_set("calico-v3.29.0").await;

    // Git owns the field that matters: it is to be changed there.
    let spec = world.policies().get("default").await.unwrap().data["spec"].clone();
    world.policy_from_git(spec.clone()).await;
    let (code, _, stderr) = world.verb(&["disarm", "--yes"]).await;
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["error: argocd-controller owns spec.mode", "hint: set spec.mode: Observe and spec.gate: Disabled in Git"],
    );
    assert_eq!(world.policies().get("default").await.unwrap().data["spec"], spec);
    let mut in_git = spec;
    in_git["mode"] = json!("Observe");
    in_git["gate"] = json!("Disabled");
    world.policy_from_git(in_git).await;

    // Done, in the order that was printed; the operator continues by tags, and nothing was ever Degraded.
    for set in ["calico-v3.32.1", "calico-v3.31.7"] {
        world.recorder.allow_delete(set);
    }
    let before = double.events().len();
    let (code, stdout, stderr) = world.verb(&["disarm", "--yes"]).await;
    assert_eq!(code, 0, "{stderr}");
    let deleted = [
        "default only observes",
        "calico-v3.32.1 deleted",
        "calico-v3.31.7 deleted",
        "DaemonSet calico-system/calico-node",
    ];
    assert_contains(&stdout, &deleted);
    until_tags(&double, before).await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    world.until("Ready", "True", "PlanComputed").await;
    let deletes: Vec<String> =
        world.writes().into_iter().filter(|write| write.verb == Verb::Delete).map(|write| write.name).collect();
    assert_eq!(deletes, ["calico-v3.29.0", "calico-v3.32.1", "calico-v3.31.7"]);

    // Again: nothing is left to do, and nothing comes back.
    world.until_quiet().await;
    let (code, stdout, _) = world.verb(&["disarm", "--yes"]).await;
    assert_eq!(code, 0);
    assert_contains(&stdout, &["nothing to disarm"]);
    double.stop().await;
    world.recorder.assert_quiet(std::time::Duration::from_secs(2)).await.unwrap();
    assert!(world.stored("calico-v3.31.7").await.is_none());
    world.finish(&[&controller]).await;
}

/// An account that may do everything that `disarm` does, and not read the Lease.
const ALL_BUT_LEASES: &str = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: blind, namespace: tigera-operator}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all-but-leases}
rules:
- apiGroups: ['', apps, admissionregistration.k8s.io, batch, imageset-controller.io, operator.tigera.io]
  resources: ['*']
  verbs: ['*']
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all-but-leases}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all-but-leases}
subjects: [{kind: ServiceAccount, name: blind, namespace: tigera-operator}]
";

/// The controller was uninstalled, its gate and its sets are still there; an upgrade under way has to be over first.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_controller_it_goes_on_by_itself() {
    let world = World::with_calico(Scenery { name: "disarm-alone", ..Scenery::default() }, "v1.40.15").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": ["v1.42.4"] } })).await;
    let mut controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();

    double.change(|options| options.pod_start = SOON);
    world.operator("v1.42.4").await;
    world.until_message("VersionKnown", "True", "VersionFound", &["v1.40.15 runs, v1.42.4 is to run"]).await;
    let (code, _, stderr) = world.verb(&["disarm", "--yes"]).await;
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: an upgrade is under way: operator v1.40.15 runs, v1.42.4 is to run", "hint: "]);
    world.operator("v1.40.15").await;
    world.until_message("VersionKnown", "True", "VersionFound", &["operator v1.40.15"]).await;
    world.until("Ready", "True", "Succeeded").await;

    controller.terminate().await.unwrap();
    // Somebody who may not read the Lease does not know whether a controller runs.
    apply_yaml(world.client.clone(), ALL_BUT_LEASES).await.unwrap();
    let blind = world.control_plane.kubeconfig_for_service_account("tigera-operator", "blind").await.unwrap();
    let (code, stdout, stderr) = world.verb_as(&blind, &["disarm", "--yes", "--timeout", "2s"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_contains(&stderr, &["error: it is not known whether a controller runs: Lease ", "forbidden", "hint: "]);
    assert_eq!(world.policies().get("default").await.unwrap().data["spec"]["mode"], "Apply");
    for set in ["calico-v3.32.1", "calico-v3.31.7"] {
        world.recorder.allow_delete(set);
    }
    let before = double.events().len();
    let (code, stdout, stderr) = world.verb(&["disarm", "--yes", "--timeout", "2s"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_contains(&stderr, &["note: no controller runs"]);
    assert_contains(&stdout, &["imageset-controller-gate deleted", "calico-v3.31.7 deleted"]);
    until_tags(&double, before).await;
    assert!(double.degraded_moments().is_empty(), "{:?}", double.degraded_moments());
    let (code, stdout, _) = world.verb(&["disarm"]).await;
    assert_eq!(code, 0);
    assert_contains(&stdout, &["nothing to disarm"]);
    double.stop().await;
    world.finish(&[&controller]).await;
}
