//! The verbs that look at a cluster, against a real API server: `status` and `plan`.

use std::os::unix::fs::PermissionsExt as _;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::generate::sets;
use crate::testbox::crds::{self, Kind};
use crate::testbox::rules::{Features, OperatorRules, Variant, strict_problems};
use crate::testbox::{ControlPlane, Registry, apply_yaml, images, rights, scenery};
use crate::{assert_contains, outcome, run};

/// The namespaces, an operator v1.40.15 and a node.
pub async fn install(client: &kube::Client) {
    scenery::namespaces(client).await.unwrap();
    scenery::operator(client, "quay.io/tigera/operator:v1.40.15").await.unwrap();
    apply_yaml(client.clone(), "{apiVersion: v1, kind: Node, metadata: {name: one}}").await.unwrap();
}

const CANARY: &str = "Canary9d41";

/// A TigeraStatus and a pod that tell addresses with credentials.
async fn say_secrets(client: &kube::Client) {
    let message = format!("Get \"https://robot:{CANARY}@status.example/v2/\": EOF");
    scenery::degraded(client, "calico", "ResourceReadError", &message).await.unwrap();

    scenery::namespace(client, "calico-system").await.unwrap();
    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: calico-system}}";
    apply_yaml(client.clone(), account).await.unwrap();
    let owner = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "calico-node", "uid": "0f3a", "controller": true,
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "calico-node-x7k2p", "ownerReferences": [owner] },
        "spec": {
            "containers": [{ "name": "calico-node", "image": "pull.example/calico/node:v3" }],
            "automountServiceAccountToken": false,
        },
    });
    let text = format!("failed to pull: Get https://pull.example/blob?sig={CANARY}&of=robot not found");
    let state = json!([{
        "name": "calico-node", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ErrImagePull", "message": text } },
    }]);
    scenery::pod(client, "calico-system", pod, json!({ "containerStatuses": state })).await.unwrap();
}

fn policy(host: &str, mode: &str) -> String {
    format!(
        "apiVersion: imageset-controller.io/v1alpha1\nkind: ImageSetPolicy\nmetadata: {{name: default}}\nspec:\n  \
         mode: {mode}\n  prepare: {{versions: [v1.42.4]}}\n  registries: [{{host: '{host}', plainHttp: true}}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_planned_for_and_shown_and_nothing_is_written() {
    let control_plane = ControlPlane::start("cli").await.unwrap();
    let client = control_plane.client();
    let kubeconfig = control_plane.kubeconfig().to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| outcome(&run(&[arguments, &["--kubeconfig", &kubeconfig]].concat()));

    // Nothing is installed.
    let (code, stdout, stderr) = run(&["status"]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(
        &stderr,
        &["error: the kind ImageSetPolicy is not installed", "hint: imageset-controller crds | kubectl"],
    );
    rights::install_kind(&client).await.unwrap();
    let (code, _, stderr) = run(&["status"]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: there is no ImageSetPolicy default", "hint: "]);

    // No operator, nothing to install: told, and how to go on.
    let (code, stdout, stderr) = run(&["plan"]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["note: there is no ImageSetPolicy default in this cluster"]);
    assert_contains(
        &stdout,
        &["PROBLEMS", "OperatorNotFound (", "Deployment tigera-operator/tigera-operator", "→ install the operator"],
    );

    // A cluster that runs v1.40.15.
    crds::install(&client).await.unwrap();
    install(&client).await;
    let registry = Registry::start(crate::testbox::Kind::Anonymous).await.unwrap();
    let host = registry.host();
    for version in ["v1.40.15", "v1.42.4"] {
        let rules = OperatorRules::for_version(version).unwrap();
        images::push_release(&registry.access().unwrap(), &rules.calico_references(), None).await.unwrap();
    }
    let installation = json!({ "variant": "Calico", "registry": host });
    scenery::create(&client, Kind::Installation, "default", installation).await.unwrap();
    apply_yaml(client.clone(), &policy(&host, "Observe")).await.unwrap();

    let (code, stdout, _) = run(&["status"]);
    assert_eq!(code, 0);
    assert_contains(&stdout, &["POLICY", "Observe", "READY", "the controller has not looked at this policy"]);

    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot.yaml").to_str().unwrap().to_owned();
    // What a component and a kubelet say has addresses in it, with what nobody may learn. Nor may others read the file.
    say_secrets(&client).await;
    std::fs::write(&snapshot, "older").unwrap();
    let (code, planned, stderr) = run(&["plan", "--record", &snapshot]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{planned}");
    let recorded = std::fs::read_to_string(&snapshot).unwrap();
    assert!(!recorded.contains(CANARY) && !recorded.contains("robot"), "{recorded}");
    assert_contains(&recorded, &["https://redacted@status.example/v2/", "https://pull.example/blob?redacted"]);
    assert_eq!(std::fs::metadata(&snapshot).unwrap().permissions().mode() & 0o777, 0o600);
    assert_contains(
        &planned,
        &[
            "OPERATOR   v1.40.15 (quay.io/tigera/operator:v1.40.15, by tag)",
            "calico-v3.31.7   18 images   not stored",
            "PREPARED   calico-v3.32.1   23 images",
            "PLAN       create calico-v3.31.7: 18 images for operator v1.40.15",
            "create calico-v3.32.1: 23 images for operator v1.42.4",
            "READY      True, PlanComputed",
        ],
    );

    // What a pipeline commits is the same once it is applied: whoever prunes what a file no longer has would stop the cluster.
    let (code, committed, stderr) = run(&["plan", "-o", "yaml"]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{committed}");
    let names = |yaml: &str| sets(yaml).into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    assert_eq!(names(&committed), ["calico-v3.31.7", "calico-v3.32.1"]);
    for part in committed.split("---\n") {
        apply_yaml(client.clone(), part).await.unwrap();
        assert_eq!(run(&["plan", "-o", "yaml"]), (0, committed.clone(), String::new()));
    }
    // One of the two is held: nothing, and why.
    let unpublished = policy(&host, "Observe").replace("versions: [", "versions: [v1.43.0, ");
    let file = folder.path().join("unpublished.yaml");
    std::fs::write(&file, unpublished).unwrap();
    let (code, stdout, stderr) = run(&["plan", "--policy", file.to_str().unwrap(), "-o", "yaml"]);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_contains(&stderr, &["error: ", "does not have", "(ImageMissing)", "hint: "]);
    for name in ["calico-v3.31.7", "calico-v3.32.1"] {
        Kind::ImageSet.api(&client).delete(name, &Default::default()).await.unwrap();
    }

    // What was recorded leads to the same plan without cluster and registry.
    drop(registry);
    let (code, again, _) = outcome(&crate::run(&["plan", "--snapshot", &snapshot]));
    assert_eq!((code, again), (0, planned));
    let (code, yaml, _) = outcome(&crate::run(&["plan", "--snapshot", &snapshot, "-o", "yaml"]));
    assert_eq!(code, 0);
    let made = sets(&yaml);
    assert_eq!(made.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["calico-v3.31.7", "calico-v3.32.1"]);
    for (_, version, entries) in &made {
        assert_eq!(strict_problems(version, Variant::Calico, entries, Features::none()), Vec::<String>::new());
    }
    let (_, json, _) = outcome(&crate::run(&["plan", "--snapshot", &snapshot, "-o", "json"]));
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["plan"]["changes"][0]["imageSet"], "calico-v3.31.7");

    // Nothing is stored that could be verified.
    let (code, _, stderr) = run(&["verify"]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: no ImageSet is stored", "hint: "]);

    // The registry is gone: the plan says what is in the way.
    let (code, stdout, _) = run(&["plan"]);
    assert_eq!(code, 2);
    assert_contains(&stdout, &["PROBLEMS", "RegistryUnreachable (", "registry", "→ "]);

    // A policy that is only a file, and files that are none.
    let file = folder.path().join("policy.yaml");
    std::fs::write(&file, policy(&host, "Apply")).unwrap();
    let (_, stdout, _) = run(&["plan", "--policy", file.to_str().unwrap()]);
    assert_contains(&stdout, &["POLICY     Apply"]);
    std::fs::write(&file, "kind: [").unwrap();
    let (code, _, stderr) = run(&["plan", "--policy", file.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: ", "policy.yaml is not one ImageSetPolicy"]);
    let (code, _, stderr) = outcome(&crate::run(&["plan", "--snapshot", file.to_str().unwrap()]));
    assert_eq!(code, 2);
    assert_contains(&stderr, &["policy.yaml is not a snapshot"]);

    // Nothing of all this wrote anything.
    assert!(Kind::ImageSet.api(&client).list(&ListParams::default()).await.unwrap().items.is_empty());
    let records: Api<ConfigMap> = Api::namespaced(client.clone(), "imageset-controller");
    assert!(records.list(&ListParams::default()).await.unwrap().items.is_empty());

    drop(control_plane);
    let (code, _, stderr) = run(&["status"]);
    assert_eq!(code, 2);
    assert_contains(&stderr, &["error: ", "hint: "]);
}
