//! kubeconform finds nothing: every object that can be installed is as its kind has to be.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::kinds;
use super::objects::{documents, key};
use super::tools::{everything, tool};

/// What kubeconform says of these documents: how many are valid, and what is wrong with the others.
fn judged(yaml: &str) -> (usize, Vec<String>) {
    let objects = documents(yaml);
    let schemas = tempfile::tempdir().unwrap();
    kinds::write(schemas.path(), &objects);
    let location = format!("-schema-location={}/{}", schemas.path().display(), kinds::LOCATION);
    let mut kubeconform = tool("kubeconform")
        .args(["-strict", "-output=json", "-verbose", &location, "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    kubeconform.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let output = kubeconform.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    let message: Value = serde_json::from_str(&message)
        .unwrap_or_else(|error| panic!("{error}: {message}{}", String::from_utf8_lossy(&output.stderr)));
    // A document of comments has no status.
    let judged = message["resources"].as_array().unwrap().iter().filter(|one| one["status"] != "");
    let (valid, wrong): (Vec<&Value>, Vec<&Value>) = judged.partition(|one| one["status"] == "statusValid");
    let printed = wrong.iter().map(|one| format!("{} {}: {}", one["kind"], one["name"], one["msg"]));
    let printed: Vec<String> = printed.collect();
    assert_eq!(output.status.success(), printed.is_empty(), "{printed:?}");
    (valid.len(), printed)
}

#[test]
fn everything_conforms() {
    for (place, yaml) in everything() {
        let (valid, wrong) = judged(yaml);
        assert_eq!(wrong, Vec::<String>::new(), "{place}");
        let keys: Vec<String> = documents(yaml).iter().map(key).collect();
        assert_eq!(valid, keys.len(), "{place}: {keys:?}");
    }
}

#[test]
fn what_does_not_conform_is_found() {
    let deployment = fs::read_to_string(super::root().join("deploy/base/deployment.yaml")).unwrap();
    let cases = [
        ("replicas: 1", "replicas: two", "/spec/replicas"),
        ("enableServiceLinks: false", "enableServiceLink: false", "enableServiceLink"),
        ("containerPort: 8080", "containerPort: http", "/ports/0/containerPort"),
        ("kind: Deployment", "kind: Deploymint", "could not find schema"),
        ("selector:", "selectors:", "selector"),
    ];
    for (right, wrong, place) in cases {
        let printed = judged(&deployment.replacen(right, wrong, 1)).1.join("\n");
        assert!(deployment.contains(right) && printed.contains(place), "{wrong}: {printed}");
    }
    let policy = "apiVersion: imageset-controller.io/v1alpha1\nkind: ImageSetPolicy\nmetadata: {name: default}\n";
    for (spec, place) in [("{mod: Apply}", "mod"), ("{mode: Off}", "/spec/mode"), ("{retain: many}", "/spec/retain")] {
        let printed = judged(&format!("{policy}spec: {spec}\n")).1.join("\n");
        assert!(printed.contains(place), "{spec}: {printed}");
    }
    let monitor = "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\n";
    let printed = judged(&format!("{monitor}spec: {{selector: {{}}, endpoints: [{{prot: http}}]}}\n")).1.join("\n");
    assert!(printed.contains("prot"), "{printed}");
}
