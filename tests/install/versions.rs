//! There is one version, that of Cargo.toml.

use serde_json::Value;

use super::objects::{documents, objects};
use super::text;
use super::tools::{CHART, everything};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn chart_and_kustomization_have_the_version_of_cargo_toml() {
    let chart = documents(&text(&format!("{CHART}/Chart.yaml"))).remove(0);
    assert_eq!((chart["apiVersion"].as_str(), chart["version"].as_str()), (Some("v2"), Some(VERSION)));
    assert_eq!(chart["appVersion"].as_str(), Some(VERSION));
    assert_eq!(chart["description"].as_str(), Some(env!("CARGO_PKG_DESCRIPTION")));
    let kustomization = documents(&text("deploy/base/kustomization.yaml")).remove(0);
    assert_eq!(kustomization["images"][0]["newTag"], format!("v{VERSION}"));
}

#[test]
fn every_way_to_install_runs_this_version() {
    let mut seen = 0;
    for (place, yaml) in everything() {
        for object in objects(yaml).values().filter(|object| object["kind"] == "Deployment") {
            let image = object.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str).unwrap();
            let name = image.rsplit('/').next().unwrap();
            assert_eq!(name, format!("imageset-controller:v{VERSION}"), "{place}");
            seen += 1;
        }
    }
    assert_eq!(seen, 12, "one Deployment for each way to install");
}
