//! The list of parts (SBOM) in the image: every package that the binary is made of is in it, as Cargo sees them, and as the binary
//! itself tells: the places of panics name the package that they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::root;

/// `NAME VERSION` of each package below ours, less those of tests, from Cargo's own graph.
fn needed() -> BTreeSet<String> {
    let host = Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--format-version=1", "--filter-platform", host.trim()]).current_dir(root());
    let metadata: Value = serde_json::from_slice(&cargo.output().unwrap().stdout).unwrap();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), &node["deps"]))
        .collect();
    let mut found = BTreeSet::new();
    let root = metadata["resolve"]["root"].as_str().unwrap();
    let mut next = vec![root];
    while let Some(id) = next.pop() {
        if found.insert(id) {
            let needed = nodes[id].as_array().unwrap().iter().filter(|dependency| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
            });
            next.extend(needed.map(|dependency| dependency["pkg"].as_str().unwrap()));
        }
    }
    let packages = metadata["packages"].as_array().unwrap().iter();
    let packages = packages.filter(|one| one["id"] != root && found.contains(one["id"].as_str().unwrap()));
    packages.map(|one| format!("{} {}", one["name"].as_str().unwrap(), one["version"].as_str().unwrap())).collect()
}

/// `NAME-VERSION` of each package of a registry that is named in the binary.
fn named(binary: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(binary);
    let places = text.split("/registry/src/").skip(1).filter_map(|place| place.split('/').nth(1));
    places.map(str::to_owned).collect()
}

/// Crates that `cargo metadata` names, and that no build of the binary takes: a feature that it lacks would bring them.
const OF_NO_BUILD: [&str; 1] = ["time-macros"];

/// The list is whole, and says where to look for each part's known weaknesses.
pub fn are_all_listed(list: &[u8], binary: &[u8]) {
    let list: Value = serde_json::from_slice(list).unwrap();
    assert_eq!((list["bomFormat"].as_str(), list["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    assert_eq!(list["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let parts = list["components"].as_array().unwrap();
    let text = |part: &Value, key: &str| part[key].as_str().unwrap_or_default().to_owned();
    let (crates, others): (Vec<&Value>, Vec<&Value>) =
        parts.iter().partition(|part| text(part, "purl").starts_with("pkg:cargo/"));

    let listed: BTreeSet<String> =
        crates.iter().map(|part| format!("{} {}", text(part, "name"), text(part, "version"))).collect();
    assert_eq!(listed.len(), crates.len(), "a crate is listed twice");
    let mut needed = needed();
    needed.retain(|one| !OF_NO_BUILD.iter().any(|name| one.starts_with(&format!("{name} "))));
    assert_eq!(listed, needed);
    let missing: Vec<String> =
        named(binary).into_iter().filter(|place| !listed.iter().any(|one| one.replace(' ', "-") == *place)).collect();
    assert!(missing.is_empty(), "in the binary, but not in the list: {missing:?}");
    assert!(named(binary).len() > 20, "the binary names {:?}", named(binary));
    for part in crates {
        assert_eq!(text(part, "purl"), format!("pkg:cargo/{}@{}", text(part, "name"), text(part, "version")));
        assert_eq!(text(&part["hashes"][0], "content").len(), 64, "{part}");
        assert!(!text(&part["licenses"][0], "expression").is_empty(), "{part}");
    }
    assert!(others.iter().any(|part| text(part, "name") == "rust-std"), "{others:?}");
}
