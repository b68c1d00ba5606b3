//! `verify` of files against real registries, and of a real cluster: what is in sync, what differs and what could not be told.

use std::fs;

use serde_json::{Value, json};

use crate::generate::calico_references;
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::rules::OperatorRules;
use crate::testbox::{Kind, Registry};
use crate::{assert_contains, outcome, run};

/// A registry with a release, and a file with its set.
struct Verifiable {
    registry: Registry,
    folder: tempfile::TempDir,
    yaml: String,
}

impl Verifiable {
    async fn start() -> Self {
        let registry = Registry::start(Kind::Anonymous).await.unwrap();
        images::push_release(&registry.access().unwrap(), &calico_references("v1.42.4"), None).await.unwrap();
        let host = registry.host();
        let (_, yaml, _) = outcome(&run(&["generate", "v1.42.4", "--registry", &host, "--plain-http", &host]));
        Self { registry, folder: tempfile::tempdir().unwrap(), yaml }
    }

    /// `verify` of this text as a file.
    fn verify(&self, text: &str, more: &[&str]) -> (i32, String, String) {
        let path = self.folder.path().join("set.yaml");
        fs::write(&path, text).unwrap();
        let host = self.registry.host();
        let base = ["verify", path.to_str().unwrap(), "--registry", &host, "--plain-http", &host];
        outcome(&run(&[&base, more].concat()))
    }

    fn digest(&self, name: &str) -> String {
        let after = self.yaml.split(&format!("image: {name}\n")).nth(1).unwrap();
        after.trim_start().strip_prefix("digest: ").unwrap().lines().next().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_differs_is_told_on_its_line_and_what_is_right_is_exit_code_0() {
    let box_ = Verifiable::start().await;
    let (code, stdout, stderr) = box_.verify(&box_.yaml, &[]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_contains(&stdout, &["set.yaml: ImageSet calico-v3.32.1 for operator v1.42.4: 23 of 23 entries in sync"]);
    // By its name alone.
    let bare = box_.yaml.replace("imageset-controller.io/operator-version: v1.42.4", "a: b");
    assert_eq!(box_.verify(&bare, &[]).0, 0);

    // A tag moves; another digest is gone; a third is not the registry's any more.
    let access = box_.registry.access().unwrap();
    let moved = Image::index("moved", LINUX_PLATFORMS).unwrap();
    images::push(&access, "calico/node", "v3.32.1", &moved).await.unwrap();
    let csi = box_.digest("calico/csi");
    let single = Image::single("one platform", ("linux", "amd64", None)).unwrap();
    images::push(&access, "calico/csi", "v3.32.1", &single).await.unwrap();
    images::delete(&access, "calico/csi", &csi).await.unwrap();
    let edited =
        box_.yaml.replace(&box_.digest("calico/cni"), "md5:53").replace("image: calico/typha", "image: calico/tyhpa");
    let (code, stdout, stderr) = box_.verify(&edited, &[]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let line = |of: &str| 1 + edited.lines().position(|line| line.contains(of)).unwrap();
    let place = |of: &str| format!("set.yaml:{}: ", line(of));
    assert_contains(&stdout, &["19 of 23 entries in sync"]);
    for (place, words) in [
        (place(&box_.digest("calico/node")), "TagMoved: calico/node: "),
        (place(&csi), "DigestGone: calico/csi: the registry does not have"),
        (place("md5:53"), "DigestsMalformed: calico/cni: \"md5:53\" is not a digest"),
        (place(&box_.digest("calico/typha")), "UnexpectedImages: calico/tyhpa: operator v1.42.4 does not know"),
    ] {
        assert!(stdout.contains(&format!("{place}{words}")), "{place}{words}\n{stdout}");
    }
    // The mirror has one platform only, and it is told how that comes about and what to do.
    assert_contains(
        &stdout,
        &["it holds linux/amd64 only, as docker pull, tag and push", "crane copy, skopeo copy --all"],
    );
    assert_contains(&stdout, &["ImagesNotListed: calico/typha: operator v1.42.4 insists on it"]);

    let (code, stdout, _) = box_.verify(&edited, &["-o", "github"]);
    assert_eq!(code, 1);
    let annotation = format!("set.yaml,line={},title=TagMoved::calico/node: ", line(&box_.digest("calico/node")));
    assert_contains(&stdout, &["::error file=", &annotation]);
    let (code, stdout, _) = box_.verify(&edited, &["-o", "json"]);
    let sets: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &sets[0]["inSync"], &sets[0]["operatorVersion"]), (1, &json!(19), &json!("v1.42.4")));
    assert_eq!(sets[0]["mismatches"].as_array().unwrap().len(), 5);

    let (code, stdout, _) = box_.verify(&box_.yaml.replace("name: calico-v3.32.1", "name: calico-v3.32.0"), &[]);
    assert_eq!(code, 1);
    assert_contains(&stdout, &["StrayImageSet: operator v1.42.4 looks for calico-v3.32.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_told_is_exit_code_2() {
    let mut box_ = Verifiable::start().await;
    for (text, output) in [("a: b\n", "there is no ImageSet in "), ("a: [\n", "set.yaml:1:4: this is no YAML")] {
        let (code, stdout, stderr) = box_.verify(text, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_contains(&stderr, &["error: ", output]);
    }
    let unknown = box_.yaml.replace("calico-v3.32.1", "calico-v9.9.9").replace("operator-version: v1.42.4", "other: a");
    let (code, _, stderr) = box_.verify(&unknown, &[]);
    assert_eq!(code, 2);
    assert_contains(
        &stderr,
        &["no known operator looks for an ImageSet \"calico-v9.9.9\" (StrayImageSet)", "--operator-version"],
    );
    box_.registry.stop();
    let (code, stdout, _) = box_.verify(&box_.yaml, &[]);
    assert_eq!(code, 2);
    assert_contains(&stdout, &["0 of 23 entries in sync", "could not tell: RegistryUnreachable: "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fips_set_is_known_by_its_digests_and_platforms_are_looked_at() {
    let box_ = Verifiable::start().await;
    let rules = crate::testbox::rules::OperatorRules::for_version("v1.40.15").unwrap();
    let all: Vec<String> = rules.printed_references().map(str::to_owned).collect();
    images::push_release(&box_.registry.access().unwrap(), &all, Some(&crate::testbox::rules::key)).await.unwrap();
    let host = box_.registry.host();
    let (_, fips, _) = outcome(&run(&["generate", "v1.40.15", "--fips", "--registry", &host, "--plain-http", &host]));
    assert_eq!(box_.verify(&fips, &["--fips"]).0, 0);
    let (code, stdout, _) = box_.verify(&fips, &[]);
    assert_eq!(code, 1);
    assert_contains(&stdout, &["FipsMismatch: calico/", "the digest pinned is that of the other FIPS mode"]);
    let (code, stdout, _) = box_.verify(&box_.yaml, &["--platform", "linux/s390x"]);
    assert_eq!(code, 1);
    assert_contains(&stdout, &["PlatformMissing: calico/", "has no manifest for linux/s390x"]);
    // A sparse mirror: the index lists what is not there.
    let csi = Image::of_reference("quay.io/calico/csi:v3.32.1").unwrap();
    let arm = csi.manifests.iter().find(|one| one.platform.contains("arm64")).unwrap();
    images::delete(&box_.registry.access().unwrap(), "calico/csi", &arm.digest).await.unwrap();
    assert_eq!(box_.verify(&box_.yaml, &["--platform", "linux/amd64"]).0, 0);
    let (code, stdout, _) = box_.verify(&box_.yaml, &["--platform", "linux/arm64"]);
    assert_eq!(code, 1);
    assert_contains(
        &stdout,
        &["PlatformMissing: calico/csi: ", "lists linux/arm64, but the registry does not have that manifest"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_of_an_operator_that_can_have_none_is_named() {
    let box_ = Verifiable::start().await;
    let (code, stdout, _) = box_.verify(&box_.yaml, &["--with", "OpenShiftOnAWS"]);
    assert_eq!(code, 1);
    let why = "ImageSetImpossible: on OpenShift on AWS, operator v1.42.4 requires tigera/operator and rejects a set that lists it";
    assert_contains(&stdout, &[why, "run this version by tags"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_lacks_what_its_indexes_list_is_no_copy() {
    let box_ = Verifiable::start().await;
    let access = box_.registry.access().unwrap();
    // Sparse: the index is the same, and one of the manifests that it lists was not copied.
    let node = Image::of_reference("quay.io/calico/node:v3.32.1").unwrap();
    let arm = node.manifests.last().unwrap().digest.clone();
    images::delete(&access, "calico/node", &arm).await.unwrap();
    let (code, stdout, _) = box_.verify(&box_.yaml, &[]);
    assert_eq!(code, 1);
    let host = box_.registry.host();
    let sum = format!("22 of 23 entries in sync with {host}");
    assert_contains(&stdout, &[&sum, "PlatformMissing: calico/node: ", "but the registry does not have that manifest"]);
    // Whoever has no such nodes says so.
    assert_eq!(box_.verify(&box_.yaml, &["--platform", "linux/amd64"]).0, 0);

    // The operator's own image, which no set lists.
    let platform = ["--platform", "linux/amd64", "--operator-image"];
    let (code, stdout, _) = box_.verify(&box_.yaml, &platform);
    assert_eq!(code, 1);
    assert_contains(&stdout, &["ImageMissing: ", "tigera/operator:v1.42.4"]);
    let single = Image::single("operator", ("linux", "amd64", None)).unwrap();
    images::push(&access, "tigera/operator", "v1.42.4", &single).await.unwrap();
    let (code, stdout, _) = box_.verify(&box_.yaml, &platform);
    assert_eq!(code, 1);
    assert_contains(&stdout, &["PlatformMissing: ", "tigera/operator:v1.42.4; it holds linux/amd64 only"]);
    let operator = Image::of_reference("quay.io/tigera/operator:v1.42.4").unwrap();
    images::push(&access, "tigera/operator", "v1.42.4", &operator).await.unwrap();
    assert_eq!(box_.verify(&box_.yaml, &platform).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_a_set_counts() {
    let box_ = Verifiable::start().await;
    let host = box_.registry.host();
    let file = |name: &str, text: &str| {
        let path = box_.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let verify = |arguments: &[&str]| outcome(&run(&[&["verify", "--plain-http", &host], arguments].concat()));
    let set = file("set.yaml", &box_.yaml);
    let installation = file(
        "installation.yaml",
        &format!(
            "apiVersion: operator.tigera.io/v1\nkind: Installation\nmetadata: {{name: default}}\nspec: {{registry: {host}/}}\n"
        ),
    );
    let kustomization = file("kustomization.yaml", "kind: Kustomization\nresources: [set.yaml]\n");
    let (code, stdout, stderr) = verify(&[&set, &installation, &kustomization]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert_contains(&stdout, &["23 of 23 entries in sync with ", &host]);

    // What the files insist on beside the Installation.
    let digest = box_.digest("calico/apiserver");
    let without = box_.yaml.replace(&format!("  - image: calico/apiserver\n    digest: {digest}\n"), "");
    let without = file("without.yaml", &without);
    assert_eq!(verify(&[&without, &installation]).0, 0);
    let server = file("server.yaml", "apiVersion: operator.tigera.io/v1\nkind: APIServer\nmetadata: {name: default}\n");
    let (code, stdout, _) = verify(&[&without, &installation, &server]);
    assert_eq!(code, 1);
    assert_contains(&stdout, &["ImagesNotListed: calico/apiserver"]);

    // An alias in a set is no malformed digest.
    let anchored = box_.yaml.replace("metadata:\n", "metadata:\n  labels: {a: &d b}\n");
    let aliased = file("aliased.yaml", &anchored.replace(&format!("digest: {digest}"), "digest: *d"));
    let (code, stdout, stderr) = verify(&[&aliased, "--registry", &host]);
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(&stderr, &["aliased.yaml:", "alias"]);

    // An operator that no catalogue knows, by its own word.
    let rules = OperatorRules::for_version("v1.42.4").unwrap();
    let version = file("version.txt", &rules.printed_version().replace("v1.42.4", "v1.42.99"));
    let list = file("images.txt", &rules.printed_list().replace("operator:v1.42.4", "operator:v1.42.99"));
    let forked = file("forked.yaml", &box_.yaml.replace("operator-version: v1.42.4", "operator-version: v1.42.99"));
    assert_eq!(verify(&[&forked, &installation]).0, 2);
    let (code, stdout, stderr) = verify(&[&forked, &installation, "--version-file", &version, "--images-file", &list]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(&stdout, &["for operator v1.42.99: 23 of 23 entries in sync"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_operators_of_two_minds_look_for_needs_its_version() {
    let text = "apiVersion: operator.tigera.io/v1\nkind: ImageSet\nmetadata: {name: calico-v3.26.1}\nspec:\n  images:\n  - image: calico/node\n    digest: sha256:0\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.yaml");
    fs::write(&path, text).unwrap();
    let (code, stdout, stderr) = outcome(&run(&["verify", path.to_str().unwrap(), "--registry", "127.0.0.1:1"]));
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert_contains(
        &stderr,
        &["look for \"calico-v3.26.1\" and mean other images", "(OperatorVersionAmbiguous)", "--operator-version"],
    );
}
