//! The examples that `--help` shows, run as they are printed: in a folder that has the files which they name, on a cluster whose
//! controller works, with the registries of the world in the box.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::testbox::certificates::ServerCertificate;
use crate::testbox::controller::Manner;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::operator_double::What;
use crate::testbox::rules::OperatorRules;
use crate::testbox::{Internet, Walkthrough, apply_yaml, process};
use crate::world::{SOON, Scenery, World};

const RELEASES: [&str; 3] = ["v1.40.15", "v1.42.4", "v1.43.0"];
/// Verbs in the order in which people use them; `disarm` ends it all.
const VERBS: [&str; 19] = [
    "images",
    "generate",
    "pin",
    "bundle",
    "version",
    "completion",
    "crds",
    "explain",
    "catalogue",
    "status",
    "plan",
    "verify",
    "refresh",
    "suspend",
    "resume",
    "prepare",
    "run",
    "disarm",
    "help",
];
/// What does not end by itself, and that it is what every other test here runs.
const ENDLESS: [&str; 3] =
    ["imageset-controller status --watch", "imageset-controller run", "imageset-controller run --kubeconfig"];
/// Guides whose commands need nothing but files, registries and a cluster that works.
const PAGES: [&str; 11] = [
    "docs/quick-start.md",
    "docs/guide/first-policy.md",
    "docs/guide/private-registry.md",
    "docs/guide/hand-made.md",
    "docs/guide/air-gap.md",
    "docs/guide/files.md",
    "docs/guide/fips.md",
    "docs/guide/mirror.md",
    "docs/guide/troubleshooting.md",
    "docs/guide/upgrades.md",
    "docs/guide/what-is-wrong.md",
];
/// What can't be run here, and where it is or why not.
const NOT_HERE: [(&str, &str); 9] = [
    ("--inspect", "there is no engine; tests/cli/inspect.rs has stand-ins"),
    ("docker ", "there is no engine; tests/image builds the image with buildah"),
    ("sed 's|image: imageset-controller:|", "tests/apiserver/installed.rs"),
    ("kubectl apply --server-side -f -", "tests/apiserver/installed.rs"),
    ("kubectl apply --server-side -k overlay", "tests/apiserver/installed.rs"),
    ("rollout status deployment/imageset-controller", "tests/apiserver/installed.rs"),
    ("delete -k overlay", "tests/apiserver/installed.rs"),
    ("cargo install", "this is the binary"),
    ("logs deployment/imageset-controller", "its pod is a process of the test's, not of a node"),
];
/// What has the answer "no" in this cluster: another set than the one that is stored.
const REJECTED_VALUES: [&str; 1] = ["--fips Enabled"];

fn binary(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_imageset-controller")).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The examples in a verb's help. What had to be wrapped is one line again.
fn examples(verb: &str) -> Vec<String> {
    let help = binary(&[verb, "--help"]);
    let lines = help.lines().skip_while(|line| !line.starts_with("Example")).skip(1);
    let mut examples: Vec<String> = Vec::new();
    for line in lines.take_while(|line| line.starts_with("  ")) {
        let is_command =
            ["imageset-controller", "kubectl", "curl", "source", "sh "].iter().any(|word| line[2..].starts_with(word));
        match examples.last_mut().filter(|_| !is_command) {
            Some(last) => *last += &format!(" {}", line.trim()),
            None => examples.push(line.trim().to_owned()),
        }
    }
    examples
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_every_help_works_as_it_is_printed() {
    let listed: Vec<String> = binary(&["--help"])
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    let mut known = VERBS.map(str::to_owned).to_vec();
    known.sort_unstable();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, known, "each verb has its place in this test");

    let world = World::start(Scenery { name: "help", releases: &RELEASES, ..Scenery::default() }).await;
    let internet = Internet::start(&world.control_plane, &RELEASES, &["mirror/calico", "calico"]).await.unwrap();
    let double = world.double(|_| {});
    world.create(OperatorKind::Installation, "default", json!({ "variant": "Calico" })).await;
    let folder = tempfile::tempdir().unwrap();
    let environment = prepare(&world, &internet, folder.path()).await;
    double.wait_for("the operator to use tags", SOON, |what| *what == What::UsesTags).await.unwrap();
    readme(&environment).await;

    world.policy_as(json!({ "mode": "Apply" })).await.unwrap();
    let controller =
        world.controller_as(&Manner { environment: internet.environment(), ..Manner::default() }, "first").await;
    double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
    world.until("Ready", "True", "Succeeded").await;
    a_pod_that_cannot_pull(&world).await;

    let mut ran = 0;
    for page in PAGES {
        for command in commands(page) {
            let expected = REJECTED_VALUES.iter().any(|part| command.contains(part));
            assert_runs(&command, folder.path(), &environment, i32::from(expected)).await;
            ran += 1;
        }
    }
    assert!(ran > 25, "only {ran} commands were found");
    ran = 0;
    for verb in VERBS {
        for example in examples(verb) {
            // A shell that is given nothing succeeds, whatever went wrong in front of it.
            assert!(!example.contains("| sh"), "{example}");
            let is_elsewhere = NOT_HERE.iter().any(|(part, _)| example.contains(part));
            if is_elsewhere || ENDLESS.iter().any(|endless| example.starts_with(endless)) {
                continue;
            }
            if example.contains("disarm --yes") {
                for set in ["calico-v3.32.1", "calico-v3.32.0"] {
                    world.recorder.allow_delete(set);
                }
            }
            let expected = REJECTED_VALUES.iter().any(|part| example.contains(part));
            assert_runs(&example, folder.path(), &environment, i32::from(expected)).await;
            ran += 1;
        }
    }
    assert!(ran > 45, "only {ran} examples were found");
    for command in commands("docs/guide/disarm.md") {
        assert_runs(&command, folder.path(), &environment, 0).await;
    }
    world.finish(&[&controller]).await;
}

/// Runs a command as typed, and expects this exit code.
async fn assert_runs(command: &str, folder: &Path, environment: &[(&'static str, String)], expected: i32) {
    // The first place for functions that zsh has.
    let script = format!("set -eo pipefail; fpath=(. .)\n{command}");
    let (place, variables) = (folder.to_owned(), environment.to_vec());
    let output = tokio::task::spawn_blocking(move || {
        let mut shell = Command::new("bash");
        shell.args(["-c", &script]).current_dir(place).env_clear().envs(variables).output().unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(expected), "{command}\n{message}");
}

/// The commands of a page: each one of a block that shows what is printed, and all of a block that does not, as they are pasted.
fn commands(page: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let is_here = |line: &str| !NOT_HERE.iter().any(|(part, _)| line.contains(part));
    let mut block: Option<(bool, String)> = None;
    let mut commands = Vec::new();
    for line in text.replace("\\\n", " ").lines().map(str::trim) {
        match (line.strip_prefix("```"), &mut block) {
            (Some("sh"), _) => block = Some((false, String::new())),
            (Some("console"), _) => block = Some((true, String::new())),
            (Some(_), _) => {
                let pasted = block.take().filter(|(is_shown, script)| !is_shown && !script.is_empty());
                commands.extend(pasted.map(|(_, script)| script));
            }
            (None, Some((true, _))) => {
                commands.extend(line.strip_prefix("$ ").filter(|line| is_here(line)).map(str::to_owned));
            }
            (None, Some((false, script))) if is_here(line) => {
                script.push_str(line);
                script.push('\n');
            }
            (None, _) => {}
        }
    }
    commands
}

/// What the README shows, in a folder of its own.
async fn readme(environment: &[(&'static str, String)]) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tigera-operator.yaml"), manifest()).unwrap();
    let page = Walkthrough::of("README.md", folder.path(), environment.to_vec(), Vec::new()).unwrap();
    let walk = move || {
        let mut page = page;
        page.walk("Quick start without a cluster")
    };
    tokio::task::spawn_blocking(walk).await.unwrap().unwrap();
}

fn manifest() -> String {
    let manifest = include_str!("procedure/tigera-operator.yaml");
    manifest.replace("IMAGE", "quay.io/tigera/operator:v1.42.4").replace("VERSION", "v1.42.4")
}

/// The files that examples name, and what they call beside us. The world outside is a file: `curl` prints the manifest. `skopeo` and
/// `jq` need not be on this machine, and are not what is tried here.
async fn prepare(world: &World, internet: &Internet, folder: &Path) -> Vec<(&'static str, String)> {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("tigera-operator.yaml", &manifest());
    let installation =
        "apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {name: default}\nspec: {variant: Calico}\n";
    write("installation.yaml", installation);
    write("kustomization.yaml", "kind: Kustomization\nimages:\n- name: quay.io/tigera/operator\n");
    write("values.yaml", "tigeraOperator:\n  registry: quay.io\n  image: tigera/operator\n  version: v1.42.4\n");
    let policy = "apiVersion: imageset-controller.io/v1alpha1\nkind: ImageSetPolicy\nmetadata: {name: default}\nspec: {mode: Apply}\n";
    write("policy.yaml", policy);
    let rules = OperatorRules::for_version("v1.42.4").unwrap();
    write("version.txt", &rules.printed_version());
    write("images.txt", &rules.printed_list());
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"), folder.join("deploy")).unwrap();
    fs::copy(internet.authority(), folder.join("ca.crt")).unwrap();
    let client = ServerCertificate::create("clients").unwrap();
    write("client.crt", &client.certificate_pem);
    write("client.key", &client.key_pem);
    write("config.json", "{\"auths\": {\"registry.example.com\": {\"auth\": \"YTpi\"}}}");
    for name in ["imagesets", ".bin", ".kube", ".config/fish/completions"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    fs::copy(world.control_plane.kubeconfig(), folder.join(".kube/config")).unwrap();

    let tools = folder.join(".bin");
    symlink(process::controlplane_binary().await.unwrap(), tools.join("kubectl")).unwrap();
    for name in ["imageset-controller", "kubectl-imageset"] {
        symlink(env!("CARGO_BIN_EXE_imageset-controller"), tools.join(name)).unwrap();
    }
    symlink(process::tools_folder().await.unwrap().join("crane"), tools.join("crane")).unwrap();
    for (name, script) in [("curl", "cat tigera-operator.yaml"), ("skopeo", ":"), ("jq", "cat")] {
        let file = tools.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut environment = internet.environment();
    environment.push(("PATH", format!("{}:/usr/bin:/bin", tools.display())));
    environment.push(("HOME", folder.display().to_string()));
    // The operator came from the manifest, and what is generated first is what the others check.
    let shell = "kubectl apply --server-side -f tigera-operator.yaml && imageset-controller generate v1.42.4 > imageset.yaml && \
        cp imageset.yaml imagesets/calico-v3.32.1.yaml";
    let mut made = Command::new("bash");
    made.args(["-c", shell]).current_dir(folder).env_clear().env("KUBECONFIG", world.control_plane.kubeconfig());
    let made = made.envs(environment.clone()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    environment
}

/// The pod of the example.
async fn a_pod_that_cannot_pull(world: &World) {
    apply_yaml(world.client.clone(), "{apiVersion: v1, kind: Namespace, metadata: {name: calico-system}}")
        .await
        .unwrap();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), "calico-system");
    let container = json!({ "name": "calico-node", "image": "quay.io/calico/node:v3.32.1" });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "calico-node-x7k2p" },
        "spec": { "containers": [container], "serviceAccountName": "default", "automountServiceAccountToken": false },
    });
    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: calico-system}}";
    apply_yaml(world.client.clone(), account).await.unwrap();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let waiting = json!({ "waiting": { "reason": "ErrImagePull", "message": "failed to pull: not found" } });
    let state = json!([{
        "name": "calico-node", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
    }]);
    let status = Patch::Merge(json!({ "status": { "containerStatuses": state } }));
    pods.patch_status("calico-node-x7k2p", &PatchParams::default(), &status).await.unwrap();
}
