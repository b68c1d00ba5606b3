//! `verify` of files against real registries, and of a real cluster: what is in sync, what differs and what could not be told.

use std::fs;

use serde_json::{Value, json};

use crate::generate::calico_references;
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::{Kind, Registry};
use crate::{assert_says, run, told};

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
        let (_, yaml, _) = told(&run(&["generate", "v1.42.4", "--registry", &host, "--plain-http", &host]));
        Self { registry, folder: tempfile::tempdir().unwrap(), yaml }
    }

    /// `verify` of this text as a file.
    fn verify(&self, text: &str, more: &[&str]) -> (i32, String, String) {
        let path = self.folder.path().join("set.yaml");
        fs::write(&path, text).unwrap();
        let host = self.registry.host();
        let base = ["verify", path.to_str().unwrap(), "--registry", &host, "--plain-http", &host];
        told(&run(&[&base, more].concat()))
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
    assert_says(&stdout, &["set.yaml: ImageSet calico-v3.32.1 for operator v1.42.4: 23 of 23 entries in sync"]);
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
    assert_says(&stdout, &["19 of 23 entries in sync"]);
    for (place, words) in [
        (place(&box_.digest("calico/node")), "TagMoved: calico/node: "),
        (place(&csi), "DigestGone: calico/csi: the registry does not have"),
        (place("md5:53"), "DigestsMalformed: calico/cni: \"md5:53\" is no digest"),
        (place(&box_.digest("calico/typha")), "UnexpectedImages: calico/tyhpa: operator v1.42.4 does not know"),
    ] {
        assert!(stdout.contains(&format!("{place}{words}")), "{place}{words}\n{stdout}");
    }
    // The mirror has one platform only, and it is told how that comes about and what to do.
    assert_says(&stdout, &["it holds linux/amd64 only, as docker pull, tag and push", "crane copy, skopeo copy --all"]);
    assert_says(&stdout, &["ImagesNotListed: calico/typha: operator v1.42.4 insists on it"]);

    let (code, stdout, _) = box_.verify(&edited, &["-o", "github"]);
    assert_eq!(code, 1);
    let annotation = format!("set.yaml,line={},title=TagMoved::calico/node: ", line(&box_.digest("calico/node")));
    assert_says(&stdout, &["::error file=", &annotation]);
    let (code, stdout, _) = box_.verify(&edited, &["-o", "json"]);
    let sets: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &sets[0]["inSync"], &sets[0]["operatorVersion"]), (1, &json!(19), &json!("v1.42.4")));
    assert_eq!(sets[0]["mismatches"].as_array().unwrap().len(), 5);

    let (code, stdout, _) = box_.verify(&box_.yaml.replace("name: calico-v3.32.1", "name: calico-v3.32.0"), &[]);
    assert_eq!(code, 1);
    assert_says(&stdout, &["StrayImageSet: operator v1.42.4 looks for calico-v3.32.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_told_is_exit_code_2() {
    let mut box_ = Verifiable::start().await;
    for (text, told) in [("a: b\n", "has no ImageSet"), ("a: [\n", "set.yaml:1:4: this is no YAML")] {
        let (code, stdout, stderr) = box_.verify(text, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert_says(&stderr, &["error: ", told]);
    }
    let unknown = box_.yaml.replace("calico-v3.32.1", "calico-v9.9.9").replace("operator-version: v1.42.4", "other: a");
    let (code, _, stderr) = box_.verify(&unknown, &[]);
    assert_eq!(code, 2);
    assert_says(
        &stderr,
        &["no known operator looks for an ImageSet \"calico-v9.9.9\" (StrayImageSet)", "--operator-version"],
    );
    box_.registry.stop();
    let (code, stdout, _) = box_.verify(&box_.yaml, &[]);
    assert_eq!(code, 2);
    assert_says(&stdout, &["0 of 23 entries in sync", "could not tell: RegistryUnreachable: "]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fips_set_is_known_by_its_digests_and_platforms_are_looked_at() {
    let box_ = Verifiable::start().await;
    let rules = crate::testbox::rules::OperatorRules::for_version("v1.40.15").unwrap();
    let all: Vec<String> = rules.printed_references().map(str::to_owned).collect();
    images::push_release(&box_.registry.access().unwrap(), &all, Some(&crate::testbox::rules::key)).await.unwrap();
    let host = box_.registry.host();
    let (_, fips, _) = told(&run(&["generate", "v1.40.15", "--fips", "--registry", &host, "--plain-http", &host]));
    assert_eq!(box_.verify(&fips, &["--fips"]).0, 0);
    let (code, stdout, _) = box_.verify(&fips, &[]);
    assert_eq!(code, 1);
    assert_says(&stdout, &["FipsMismatch: calico/", "the digest pinned is that of the other FIPS mode"]);
    let (code, stdout, _) = box_.verify(&box_.yaml, &["--platform", "linux/s390x"]);
    assert_eq!(code, 1);
    assert_says(&stdout, &["PlatformMissing: calico/", "has no manifest for linux/s390x"]);
    // A sparse mirror: the index lists what is not there.
    let csi = Image::of_reference("quay.io/calico/csi:v3.32.1").unwrap();
    let arm = csi.manifests.iter().find(|one| one.platform.contains("arm64")).unwrap();
    images::delete(&box_.registry.access().unwrap(), "calico/csi", &arm.digest).await.unwrap();
    assert_eq!(box_.verify(&box_.yaml, &["--platform", "linux/amd64"]).0, 0);
    let (code, stdout, _) = box_.verify(&box_.yaml, &["--platform", "linux/arm64"]);
    assert_eq!(code, 1);
    assert_says(
        &stdout,
        &["PlatformMissing: calico/csi: ", "lists linux/arm64, but the registry does not have that manifest"],
    );
}
