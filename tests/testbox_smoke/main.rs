//! Smoke test of the box itself: every part starts, does its job and is gone afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../testbox/mod.rs"]
mod testbox;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use std::path::Path;
use testbox::{ControlPlane, apply_yaml};

fn assert_gone(process_ids: &[u32]) {
    for id in process_ids {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "process {id} is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_plane_serves_applies_restarts_and_ends() {
    let started = std::time::Instant::now();
    let mut control_plane = ControlPlane::start("smoke").await.unwrap();
    eprintln!("control plane ready after {:?}", started.elapsed());

    let maps: Api<ConfigMap> = Api::default_namespaced(control_plane.client());
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "one"}, "data": {"key": "value"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();

    let started = std::time::Instant::now();
    control_plane.restart_apiserver().await.unwrap();
    eprintln!("apiserver ready again after {:?}", started.elapsed());
    assert_eq!(maps.get("one").await.unwrap().data.unwrap()["key"], "value");

    let objects = apply_yaml(control_plane.client(), APPLIED).await.unwrap();
    assert_eq!(objects.len(), 7);
    assert_eq!(objects[1].metadata.name.as_deref(), Some("first"));

    // The account may read ConfigMaps and nothing else.
    let client = control_plane.client_for_service_account("somewhere", "reader").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "somewhere");
    maps.list(&ListParams::default()).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, "somewhere");
    assert!(matches!(pods.list(&ListParams::default()).await, Err(kube::Error::Api(status)) if status.code == 403));

    let process_ids = control_plane.process_ids();
    assert_eq!(process_ids.len(), 2);
    assert!(control_plane.logs().join("kube-apiserver.log").is_file());
    control_plane.stop();
    assert_gone(&process_ids);
}

const APPLIED: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec:
  group: example.org
  names: {kind: Thing, plural: things}
  scope: Cluster
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
apiVersion: example.org/v1
kind: Thing
metadata: {name: first}
spec: {any: 1}
---
apiVersion: v1
kind: Namespace
metadata: {name: somewhere}
---
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: somewhere}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: somewhere}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: somewhere}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: somewhere}]
---
apiVersion: v1
kind: Pod
metadata: {name: by-hand, namespace: somewhere}
spec: {containers: [{name: one, image: 'example.org/one:v1'}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn controllers_and_scheduler_run() {
    let control_plane =
        ControlPlane::builder("smoke-controllers").controllers(true).scheduler(true).start().await.unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(control_plane.client());
    accounts.get("default").await.unwrap();
    let process_ids = control_plane.process_ids();
    assert_eq!(process_ids.len(), 4);
    drop(control_plane);
    assert_gone(&process_ids);
}
