//! `images` and `bundle` with manifests: what a manifest runs beside its release is listed and copied, too.

use std::fs;

use serde_json::Value;

use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::{Kind, Registry};
use crate::{assert_contains, outcome, run};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_manifest_runs_is_listed_and_copied_beside_its_release() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let (host, access) = (registry.host(), registry.access().unwrap());
    let mut references = crate::generate::calico_references("v1.42.4");
    references.push("quay.io/tigera/operator:v1.42.4".to_owned());
    images::push_release(&access, &references, None).await.unwrap();
    let ctl = Image::index("ctl", LINUX_PLATFORMS).unwrap();
    let ctl = images::push(&access, "calico/ctl", "v3.32.1", &ctl).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tigera-operator.yaml");
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/pin/openshift-manifest.yaml"));
    let manifest = manifest.unwrap().replace("{HOST}", &host).replace("{DIGEST}", "").replace("docker.io", &host);
    fs::write(&file, manifest).unwrap();
    let file = file.to_str().unwrap();

    let (code, listed, stderr) = outcome(&run(&["images", "-f", file]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for reference in [&format!("{host}/calico/ctl:v3.32.1"), "quay.io/calico/node:v3.32.1"] {
        assert!(listed.lines().any(|line| line == reference), "{reference} is not in {listed}");
    }
    let bundle = |more: &[&str]| {
        let at = ["bundle", "-f", file, "--registry", &host, "--plain-http", &host];
        let (code, stdout, stderr) = outcome(&run(&[&at, more].concat()));
        assert_eq!((code, stderr.as_str()), (0, ""));
        stdout
    };
    let script = bundle(&["--to", "mirror.example"]);
    assert_contains(&script, &[&format!("{host}/calico/ctl@{ctl}"), "mirror.example/calico/ctl:v3.32.1"]);
    let ctl = format!("{host}/calico/ctl:v3.32.1@{ctl}");
    let hauler: Value = imageset_controller::yaml::from_str(&bundle(&["-o", "hauler"])).unwrap();
    assert_eq!(hauler["kind"], "Images");
    assert!(hauler["spec"]["images"].as_array().unwrap().iter().any(|image| image["name"] == ctl.as_str()));
    let zarf: Value = imageset_controller::yaml::from_str(&bundle(&["-o", "zarf"])).unwrap();
    assert!(zarf["components"][0]["images"].as_array().unwrap().iter().any(|image| *image == ctl.as_str()));
    assert_eq!(outcome(&run(&["bundle", "v1.42.4"])).0, 2, "a script copies to a registry");
}

/// As RKE2 has it: the values in a HelmChartConfig say where the images are, and the operator has another name.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_made_from_the_values_of_a_chart_before_and_after_they_are_pinned() {
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let (host, access) = (registry.host(), registry.access().unwrap());
    let copy =
        |reference: &String| format!("quay.io/rancher/mirrored-calico-{}", reference.rsplit('/').next().unwrap());
    let mut references: Vec<String> = crate::generate::calico_references("v1.42.4").iter().map(copy).collect();
    references.push("quay.io/rancher/mirrored-calico-operator:v1.42.4".to_owned());
    images::push_release(&access, &references, None).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rke2-calico-config.yaml");
    let config = format!(
        "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {{name: rke2-calico, namespace: kube-system}}\n\
         spec:\n  valuesContent: |-\n    installation:\n      registry: {host}\n      imagePath: rancher\n      \
         imagePrefix: mirrored-calico-\n    tigeraOperator:\n      image: rancher/mirrored-calico-operator\n      registry: {host}\n      \
         version: v1.42.4\n"
    );
    fs::write(&file, &config).unwrap();
    let file = file.to_str().unwrap();
    let sets = |arguments: &[&str]| {
        let (code, set, stderr) = outcome(&run(&[arguments, &["--plain-http", &host]].concat()));
        assert_eq!((code, stderr.as_str()), (0, ""));
        set.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
    };
    let layout = ["--registry", &host, "--image-path", "rancher", "--image-prefix", "mirrored-calico-"];
    let wanted = sets(&[&["generate", "v1.42.4"], &layout[..]].concat());
    assert_eq!(sets(&["generate", "-f", file]), wanted);
    let (code, _, stderr) = outcome(&run(&["pin", "--in-place", file, "--plain-http", &host]));
    assert_eq!(code, 0, "{stderr}");
    assert!(fs::read_to_string(file).unwrap().contains("version: v1.42.4@sha256:"));
    assert_eq!(sets(&["generate", "-f", file]), wanted);
}
