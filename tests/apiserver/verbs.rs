//! The everyday verbs against a running controller: what a person or a pipeline types, what is printed, what it did.

use std::path::Path;

use kube::api::Patch;
use serde_json::{Value, json};

use crate::testbox::apply_yaml;
use crate::testbox::checkout::assert_contains;
use crate::testbox::images::{Image, LINUX_PLATFORMS};
use crate::testbox::process;
use crate::testbox::scenery;
use crate::world::{SOON, Scenery, World, eventually};

const PREPARE: &str = "imageset-controller.io/prepare";
const REFRESH: &str = "imageset-controller.io/refresh";

impl World {
    /// Runs a verb as the cluster's admin: exit code, standard output, standard error.
    pub async fn verb(&self, arguments: &[&str]) -> (i32, String, String) {
        self.verb_as(self.control_plane.kubeconfig(), arguments).await
    }

    pub async fn verb_as(&self, kubeconfig: &Path, arguments: &[&str]) -> (i32, String, String) {
        let prepare = |command: &mut tokio::process::Command| {
            command.args(arguments).arg("--kubeconfig").arg(kubeconfig);
            command.env_remove("KUBECONFIG").env_remove("DOCKER_CONFIG").env("HOME", "/nowhere");
        };
        let binary = Path::new(env!("CARGO_BIN_EXE_imageset-controller"));
        let output = process::run(binary, prepare, SOON).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What the guide gives to whoever runs `prepare`, and a kubeconfig of that account.
    async fn documented_rights(&self) -> std::path::PathBuf {
        let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/upgrades.md")).unwrap();
        let blocks = guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let rights: Vec<&str> = blocks.filter(|block| block.contains("kind: ClusterRole\n")).collect();
        assert_eq!(rights.len(), 1);
        apply_yaml(self.client.clone(), rights[0]).await.unwrap();
        self.control_plane.kubeconfig_for_service_account("tigera-operator", "prepare-imageset").await.unwrap()
    }

    /// Sets or removes annotations of the policy, as `kubectl annotate`.
    pub async fn annotate(&self, annotations: Value) {
        let patch = json!({ "metadata": { "annotations": annotations } });
        scenery::edit(&self.policies(), "default", patch).await.unwrap();
    }

    async fn annotation(&self, name: &str) -> String {
        let policy = self.policies().get("default").await.unwrap();
        policy.metadata.annotations.and_then(|mut annotations| annotations.remove(name)).unwrap_or_default()
    }

    /// As a GitOps tool applies it.
    pub async fn policy_from_git(&self, spec: Value) {
        let policy = Patch::Apply(scenery::policy(spec));
        self.policies().patch("default", &scenery::applied_by("argocd-controller"), &policy).await.unwrap();
    }

    async fn prepared(&self, version: &str) -> Value {
        let status = self.status().await;
        let entries = status["prepared"].as_array().cloned().unwrap_or_default();
        entries.into_iter().find(|entry| entry["operatorVersion"] == version).unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_prepares_a_version_and_waits_for_it() {
    let world = World::with_calico(Scenery { name: "prepare", ..Scenery::default() }, "v1.40.15").await;

    // A policy that only observes says at once that nothing will be staged, and nobody answers yet.
    world.policy(json!({ "mode": "Observe" })).await;
    let (code, stdout, stderr) = world.verb(&["prepare", "v1.42.4", "--wait", "--timeout", "1s"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_contains(
        &stderr,
        &["note: nothing will be staged", "Observe", "error: no answer of the controller", "hint: "],
    );
    let controller = world.controller("first").await;
    let (code, stdout, stderr) = world.verb(&["prepare", "v1.42.4", "--wait"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert_contains(
        &stderr,
        &["note: nothing will be staged", "error: operator v1.42.4 is not staged", "spec.mode: Apply"],
    );
    world.assert_nothing_written();

    // Staged, while Git's spec names no version; what others ask for stays, what is over goes, what is invalid is reported.
    world.policy(json!({ "mode": "Apply" })).await;
    let others = "v1.38.1=2020-01-01T00:00:00Z,odd,registry.example/tigera/operator:v1.42.4=2030-01-01T00:00:00Z";
    world.annotate(json!({ PREPARE: others })).await;
    let (code, stdout, stderr) = world.verb(&["prepare", "v1.42.4", "--wait"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout, "v1.42.4 staged: ImageSet calico-v3.32.1, 23 images\n");
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    let annotation = world.annotation(PREPARE).await;
    assert!(
        annotation.starts_with("odd,registry.example/tigera/operator:v1.42.4=2030-01-01T00:00:00Z,v1.42.4="),
        "{annotation}"
    );
    let entry = world.prepared("v1.42.4").await;
    assert_eq!((&entry["state"], entry["requestedUntil"].is_string()), (&json!("Staged"), true), "{entry}");
    world.until("Ready", "True", "Succeeded").await;
    world.until("Prepared", "True", "NothingToPrepare").await;
    let findings = world.status().await["findings"].to_string();
    assert!(findings.contains("PrepareRequestInvalid") && findings.contains("odd"), "{findings}");

    // What runs already is staged by that. A PreSync hook needs no more rights than the guide gives it.
    let hook = world.documented_rights().await;
    let (code, stdout, stderr) = world.verb_as(&hook, &["prepare", "v1.40.15", "v1.42.4", "--wait"]).await;
    assert_eq!(code, 0, "{stderr}");
    assert_contains(&stdout, &["v1.40.15 staged: ImageSet calico-v3.31.7, 18 images", "v1.42.4 staged"]);

    // Images that are not pushed: held until the deadline, with the reason; the policy stays Ready.
    let (code, stdout, stderr) = world.verb(&["prepare", "v1.43.0", "v1.42.4", "--wait", "--timeout", "15s"]).await;
    assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
    assert_contains(
        &stderr,
        &["v1.42.4 staged", "error: operator v1.43.0 is not staged", "calico-v3.32.0", "does not have"],
    );
    world.until("Ready", "True", "Succeeded").await;
    // A version that will never have a set is reported at once, whatever the deadline.
    let (code, _, stderr) = world.verb(&["prepare", "v1.41.0", "--wait"]).await;
    assert_eq!(code, 1, "{stderr}");
    assert_contains(&stderr, &["error: operator v1.41.0 is not staged", "master", "use another operator version"]);

    // Over: the version counts no more, and its set is one that is kept for the way back.
    world.annotate(json!({ PREPARE: null })).await;
    eventually("nothing to be asked for", async || world.prepared("v1.42.4").await.is_null().then_some(())).await;
    let (code, stdout, _) = world.verb(&["prepare", "v1.42.4", "--expires", "3s"]).await;
    assert_eq!(code, 0);
    assert_contains(&stdout, &["v1.42.4 asked for until 20"]);
    eventually("the request to be seen", async || world.prepared("v1.42.4").await.is_object().then_some(())).await;
    eventually("the request to be over", async || world.prepared("v1.42.4").await.is_null().then_some(())).await;
    let retained = world.status().await["retained"].to_string();
    assert!(retained.contains("calico-v3.32.1"), "{retained}");
    assert!(world.stored("calico-v3.32.1").await.is_some());

    for wrong in [&["prepare", "latest"][..], &["prepare"], &["prepare", "v1.42.4", "--expires", "0s"]] {
        let (code, stdout, stderr) = world.verb(wrong).await;
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    world.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_now_a_pause_and_another_registry_asked_about() {
    let world =
        World::with_calico(Scenery { name: "verbs", releases: &["v1.40.15"], ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    let tag = "v3.31.7";

    // Suspended and resumed, and a second time.
    let name = "imagesetpolicy.imageset-controller.io/default";
    for (verb, reported) in [
        ("suspend", "suspended"),
        ("suspend", "was suspended already"),
        ("resume", "resumed"),
        ("resume", "was not suspended"),
    ] {
        let (code, stdout, stderr) = world.verb(&[verb]).await;
        assert_eq!((code, stdout), (0, format!("{name} {reported}\n")), "{stderr}");
        assert!(!stderr.contains("warning"), "{stderr}");
    }
    let spec = world.policies().get("default").await.unwrap().data["spec"].clone();
    let mut of_git = spec.clone();
    of_git["suspend"] = json!(true);
    world.policy_from_git(of_git).await;
    let (code, _, stderr) = world.verb(&["resume"]).await;
    assert_eq!(code, 0);
    assert_contains(&stderr, &["warning: argocd-controller owns spec.suspend"]);
    world.until("Ready", "True", "Succeeded").await;

    // A tag moves: the next check would come in an hour.
    let moved = Image::index("another build of node", LINUX_PLATFORMS).unwrap();
    let moved = world.push("mirror/calico/node", tag, &moved).await;
    let (code, stdout, stderr) = world.verb(&["refresh", "--wait"]).await;
    assert_eq!((code, stdout), (0, format!("{name} refreshed\n")), "{stderr}");
    let handled = world.status().await["lastHandledRefresh"].clone();
    assert_eq!(handled, world.annotation(REFRESH).await);
    world.until_message("Drifted", "True", "TagMoved", &["calico/node", &moved[..19]]).await;
    // Once for a value; and any new text will do.
    world.mirror.registry.forget_requests().unwrap();
    world.annotate(json!({ "unrelated": "change" })).await;
    world.policy(json!({ "mode": "Apply", "retain": 2 })).await;
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!(world.mirror.registry.requests().unwrap().len(), 0);
    world.annotate(json!({ REFRESH: "because I say so" })).await;
    eventually("the refresh by hand", async || {
        (world.status().await["lastHandledRefresh"] == "because I say so").then_some(())
    })
    .await;
    assert!(!world.mirror.registry.requests().unwrap().is_empty());
    let (code, stdout, _) = world.verb(&["refresh"]).await;
    assert_eq!((code, stdout), (0, format!("{name} refresh asked for\n")));

    // What if: the same images elsewhere, others elsewhere, the FIPS builds, and a place where nothing is. Nothing is written.
    for image in world.wanted("v1.40.15", false).into_keys() {
        let same = Image::of_reference(&format!("quay.io/{image}:{tag}")).unwrap();
        world.push(&image.replace("calico/", "same/calico/"), tag, &same).await;
        let other = if image == "calico/cni" { Image::index("other", LINUX_PLATFORMS).unwrap() } else { same };
        world.push(&image.replace("calico/", "other/calico/"), tag, &other).await;
    }
    let writes = world.writes().len();
    // The set that is stored is among those to commit; where it could not be made nothing is printed.
    let (code, stdout, stderr) = world.verb(&["plan", "-o", "yaml"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    let entries = world.wanted("v1.40.15", false);
    assert_contains(
        &stdout,
        &["# Digests for tigera-operator v1.40.15, 18 images.", "kind: ImageSet", "name: calico-v3.31.7"],
    );
    assert_eq!(stdout.matches("image: ").count(), entries.len());
    assert!(entries.values().all(|digest| stdout.contains(digest.as_str())), "{stdout}");
    let (code, stdout, stderr) = world.verb(&["plan", "--image-path", "nowhere", "-o", "yaml"]).await;
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    assert_contains(&stderr, &["error: ", "does not have", "(ImageMissing)"]);
    let (code, stdout, stderr) = world.verb(&["plan", "--image-path", "same/calico"]).await;
    assert_eq!(code, 0, "{stdout}{stderr}");
    let same = "calico-v3.31.7: the same digests; for the pods nothing changes but where they pull from";
    assert_contains(
        &stdout,
        &["What if the Installation said imagePath: same/calico: nothing is changed", same, "POLICY"],
    );
    let (code, stdout, _) = world.verb(&["plan", "--image-path", "other/calico"]).await;
    assert_eq!(code, 1, "{stdout}");
    assert_contains(
        &stdout,
        &["calico-v3.31.7: 1 of 18 entries differ", "calico/cni: sha256:", " → sha256:", "POLICY"],
    );
    let (code, stdout, _) = world.verb(&["plan", "--fips", "Enabled"]).await;
    assert_eq!(code, 1, "{stdout}");
    assert_contains(&stdout, &["fipsMode: Enabled", "calico-v3.31.7: 7 of 18 entries differ", "calico/node: sha256:"]);
    let (code, stdout, _) = world.verb(&["plan", "--image-path", "nowhere"]).await;
    assert_eq!(code, 2, "{stdout}");
    assert_contains(&stdout, &["calico-v3.31.7: the registry", "does not have", "calico-v3.31.7: no set can be made"]);
    // The same from a file: what was recorded with these flags answers, and another question has no answer in it.
    let folder = tempfile::tempdir().unwrap();
    let snapshot = folder.path().join("snapshot.yaml").to_str().unwrap().to_owned();
    let (code, planned, _) = world.verb(&["plan", "--image-path", "other/calico", "--record", &snapshot]).await;
    assert_eq!(code, 1);
    let (code, again, _) = world.verb(&["plan", "--image-path", "other/calico", "--snapshot", &snapshot]).await;
    assert_eq!((code, again), (1, planned));
    let (code, _, stderr) = world.verb(&["plan", "--image-path", "elsewhere", "--snapshot", &snapshot]).await;
    assert_eq!(code, 2);
    assert_contains(&stderr, &["note: this snapshot has no answers about these images"]);
    assert_eq!(world.writes().len(), writes);
    world.finish(&[&controller]).await;
}
