//! Smoke test of the box itself: every part starts, does its job and is gone afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "../testbox/mod.rs"]
mod testbox;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use testbox::patience::SOON;
use testbox::{ControlPlane, Image, Kind, Registry, apply_yaml, images};

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

/// Not a test of its own: [`a_killed_test_leaves_nothing_running`] runs it in a process that it kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits to be killed by another test"]
async fn starts_and_waits_to_be_killed() {
    let file = std::env::var("TESTBOX_SMOKE_IDS").unwrap();
    let control_plane = ControlPlane::start("smoke-killed").await.unwrap();
    let registry = Registry::start(token(true)).await.unwrap();
    let mut ids = control_plane.process_ids();
    ids.extend(registry.process_id());
    std::fs::write(format!("{file}.new"), serde_json::to_vec(&ids).unwrap()).unwrap();
    std::fs::rename(format!("{file}.new"), file).unwrap();
    std::future::pending::<()>().await;
}

/// Runs for ever, once it has written its id.
async fn run_for_ever(file: String) {
    let shell = Path::new("/bin/sh");
    let script = "echo [$$] > $FILE.new; mv $FILE.new $FILE; while :; do sleep 0.1; done";
    let prepare = |command: &mut tokio::process::Command| {
        command.args(["-c", script]).env("FILE", file);
    };
    let ended = testbox::process::run(shell, prepare, SOON).await;
    panic!("it was to run for ever: {ended:?}");
}

#[tokio::test]
#[ignore = "waits to be killed by another test"]
async fn runs_a_program_and_waits_to_be_killed() {
    run_for_ever(std::env::var("TESTBOX_SMOKE_IDS").unwrap()).await;
}

#[test]
fn a_killed_test_leaves_nothing_running() {
    // Binaries that are not ours don't watch their parent.
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        nothing_runs_after_the_kill_of("starts_and_waits_to_be_killed", 3);
    }
}

#[test]
fn a_killed_test_leaves_no_program_that_it_ran() {
    nothing_runs_after_the_kill_of("runs_a_program_and_waits_to_be_killed", 1);
}

#[tokio::test]
async fn a_program_ends_with_the_future_that_runs_it_and_at_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids");
    let started = async {
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = run_for_ever(file.display().to_string()) => {}
        () = started => {}
    }
    until_none_runs(&ids_in(&file));

    let talks = |command: &mut tokio::process::Command| {
        command.args(["-c", "echo so far; exec sleep 1000"]);
    };
    let error = testbox::process::run(Path::new("/bin/sh"), talks, Duration::from_secs(5)).await.unwrap_err();
    assert!(error.to_string().contains("did not end within 5 s; it printed:\nso far"), "{error}");
    let ends = |command: &mut tokio::process::Command| {
        command.args(["-c", "echo well; echo badly >&2; exit 3"]);
    };
    let output = testbox::process::run(Path::new("/bin/sh"), ends, SOON).await.unwrap();
    assert_eq!((output.stdout, output.stderr, output.status.code()), (b"well\n".into(), b"badly\n".into(), Some(3)));
}

/// Starts a test of this program in a process of its own, kills that when it has written the ids of its children, and waits until
/// all of these have ended.
fn nothing_runs_after_the_kill_of(test: &str, children: usize) {
    // Without it nothing can be seen.
    if !Path::new("/proc/self").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ids");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .env("TESTBOX_SMOKE_IDS", &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the other process ended by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ids = ids_in(&file);
    assert_eq!(ids.len(), children);
    until_none_runs(&ids);
}

fn ids_in(file: &Path) -> Vec<u32> {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn until_none_runs(ids: &[u32]) {
    let started = std::time::Instant::now();
    while ids.iter().any(|id| is_running(*id)) {
        assert!(started.elapsed() < SOON, "still running: {ids:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the process exists and is more than an entry that nobody has reaped yet.
fn is_running(id: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

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

/// Pushes, pulls by digest, survives an outage, deletes; returns what was requested of the registry for the pull.
async fn exercise(mut registry: Registry) {
    let access = registry.access().unwrap();
    let image = Image::index_with_labels("seed", images::LINUX_PLATFORMS, &[("version", "v1")]).unwrap();
    let digest = images::push(&access, "some/path/calico/node", "v3.32.1", &image).await.unwrap();
    let single = Image::single("other", ("linux", "amd64", None)).unwrap();
    let single_digest = images::push(&access, "some/path/calico/node", "single", &single).await.unwrap();
    assert_ne!(digest, single_digest);

    registry.forget_requests().unwrap();
    let pulled = access.manifest("some/path/calico/node", &digest).await.unwrap();
    assert_eq!(pulled.status, 200);
    assert_eq!(testbox::registry_client::digest_of(&pulled.body), digest);
    assert_eq!(pulled.header("content-type"), images::INDEX_TYPE);
    let requests = registry.requests().unwrap();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].method, "GET");
    assert_eq!(requests[0].path, format!("/v2/some/path/calico/node/manifests/{digest}"));
    assert_eq!(requests[0].status, 200);
    let config = access.blob("some/path/calico/node", &image.manifests[0].config_digest).await.unwrap();
    assert!(String::from_utf8_lossy(&config.body).contains(r#""Labels":{"version":"v1"}"#));

    let first_process = registry.process_id().unwrap();
    registry.stop();
    assert_gone(&[first_process]);
    assert!(access.manifest("some/path/calico/node", "v3.32.1").await.is_err());
    registry.start_again().await.unwrap();
    let pulled = access.manifest("some/path/calico/node", "v3.32.1").await.unwrap();
    assert_eq!(pulled.header("docker-content-digest"), digest);

    images::delete(&access, "some/path/calico/node", &digest).await.unwrap();
    assert_eq!(access.manifest("some/path/calico/node", "v3.32.1").await.unwrap().status, 404);

    let process = registry.process_id().unwrap();
    drop(registry);
    assert_gone(&[process]);
}

fn htpasswd() -> Kind {
    Kind::Htpasswd { user: "puller".into(), password: "pass:word".into() }
}

fn token(anonymous_pull: bool) -> Kind {
    Kind::Token { user: "puller".into(), password: "pass:word".into(), anonymous_pull }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_registry_takes_and_gives_images() {
    for kind in [Kind::Anonymous, htpasswd(), token(false), token(true)] {
        exercise(Registry::start(kind.clone()).await.unwrap()).await;
        exercise(Registry::start_tls(kind).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for() {
    for kind in [htpasswd(), token(false)] {
        let registry = Registry::start(kind).await.unwrap();
        let nobody = testbox::Access::new(&registry.host(), None, None).unwrap();
        assert_eq!(nobody.manifest("calico/node", "v1").await.unwrap().status, 401);
        assert_eq!(registry.requests().unwrap()[0].authorization, "-");
        assert!(registry.docker_config_json().contains(&registry.host()));
    }
    let registry = Registry::start(token(false)).await.unwrap();
    let service = registry.token_service().unwrap();
    let wrong = testbox::Access::new(&registry.host(), None, Some(("puller", "wrong"))).unwrap();
    assert!(wrong.manifest("calico/node", "v1").await.is_err());
    let right = registry.access().unwrap();
    assert_eq!(right.manifest("calico/node", "v1").await.unwrap().status, 404);
    let url = format!(
        "{}?service=testbox-registry&scope=repository%3Aone%2Fa%3Apull&scope=repository:one/b:pull+repository:two/c:pull,push",
        service.realm()
    );
    let response = right.get(&url, Some("Basic cHVsbGVyOnBhc3M6d29yZA==")).await.unwrap();
    let response: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let bearer = format!("Bearer {}", response["token"].as_str().unwrap());
    for (repository, status) in [("one/a", 404), ("one/b", 404), ("two/c", 404), ("two/d", 401)] {
        let url = format!("http://{}/v2/{repository}/manifests/v1", registry.host());
        assert_eq!(right.get(&url, Some(&bearer)).await.unwrap().status, status, "{repository}");
    }
    service.fail_with(Some(503));
    assert!(registry.access().unwrap().manifest("calico/node", "v1").await.is_err());
    let statuses: Vec<u16> = service.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [401, 200, 200, 503]);
    assert_eq!(service.requests()[2].scopes.len(), 3);
    assert_eq!(service.requests()[0].user.as_deref(), Some("puller"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_pushed_under_mapped_names() {
    let registry = Registry::start_tls(token(false)).await.unwrap();
    let facts: serde_json::Value = serde_json::from_str(include_str!("../facts/operator-images.json")).unwrap();
    let references: Vec<&str> =
        facts["v1.42.4"]["calico_images"].as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
    let map = |reference: &str| format!("mirror/{}", images::repository_and_tag(reference).0);
    let started = std::time::Instant::now();
    let digests = images::push_release(&registry.access().unwrap(), &references, Some(&map)).await.unwrap();
    eprintln!("{} images pushed in {:?}", digests.len(), started.elapsed());
    assert_eq!(digests.len(), references.len());
    let node = references.iter().find(|reference| reference.contains("/node:")).unwrap();
    let tag = images::repository_and_tag(node).1;
    let pulled = registry.access().unwrap().manifest("mirror/calico/node", &tag).await.unwrap();
    assert_eq!(pulled.header("docker-content-digest"), digests[*node]);
    let windows = Image::of_reference("quay.io/calico/node-windows:v3.32.1").unwrap();
    assert!(windows.manifests[1].platform.starts_with("windows/amd64:10.0.20348."));
}
