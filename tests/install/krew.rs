//! The manifest for Krew: made of archives, for this version, with nothing left to be replaced.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::objects::documents;
use super::root;
use super::tools::{printed, tool};

const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));
const ADDRESS: &str = "https://downloads.example.com/imageset-controller";
const HOMEPAGE: &str = "https://example.com/imageset-controller";

fn script(name: &str, arguments: &[&str]) -> Output {
    Command::new(root().join("deploy/krew").join(name)).args(arguments).output().unwrap()
}

fn archive(binary: &Path, architecture: &str, folder: &Path) -> String {
    let arguments = [binary.to_str().unwrap(), "linux", architecture, folder.to_str().unwrap()];
    printed(&script("archive.sh", &arguments)).trim().to_owned()
}

#[test]
fn the_manifest_names_every_archive_with_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary");
    fs::write(&binary, "#!/bin/sh\necho it runs\n").unwrap();
    let dist = folder.path().join("dist");
    let archives = ["amd64", "arm64"].map(|architecture| archive(&binary, architecture, &dist));
    // One of another version, which is none of this manifest's.
    fs::write(dist.join("imageset-controller_v0.0.1_linux_amd64.tar.gz"), "old").unwrap();

    let manifest = printed(&script("manifest.sh", &[dist.to_str().unwrap(), ADDRESS, HOMEPAGE]));
    assert!(!manifest.contains("{{"), "{manifest}");
    // As Krew sees it, which knows its limits; the archives are not where they will be.
    let file = folder.path().join("imageset.yaml");
    fs::write(&file, &manifest).unwrap();
    printed(&tool("validate-krew-manifest").arg("-skip-install").arg("-manifest").arg(&file).output().unwrap());
    let plugin: Value = documents(&manifest).remove(0);
    assert_eq!((plugin["kind"].as_str(), plugin["metadata"]["name"].as_str()), (Some("Plugin"), Some("imageset")));
    assert_eq!(plugin["spec"]["version"], VERSION);
    assert_eq!(plugin["spec"]["homepage"], HOMEPAGE);
    // Krew's own limit.
    assert!(plugin["spec"]["shortDescription"].as_str().unwrap().len() <= 50);
    let platforms = plugin["spec"]["platforms"].as_array().unwrap();
    let wanted: Vec<Value> = ["amd64", "arm64"]
        .iter()
        .zip(&archives)
        .map(|(architecture, archive)| {
            let sum: String =
                Sha256::digest(fs::read(archive).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
            json!({
                "selector": { "matchLabels": { "os": "linux", "arch": architecture } },
                "uri": format!("{ADDRESS}/imageset-controller_{VERSION}_linux_{architecture}.tar.gz"),
                "sha256": sum,
                "bin": "kubectl-imageset",
            })
        })
        .collect();
    assert_eq!(platforms, &wanted);
}

#[test]
fn an_archive_holds_what_krew_looks_for_and_is_reproducible() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary");
    fs::write(&binary, "#!/bin/sh\necho it runs\n").unwrap();
    let [one, other] = ["one", "other"].map(|name| archive(&binary, "amd64", &folder.path().join(name)));
    assert_eq!(fs::read(&one).unwrap(), fs::read(&other).unwrap());
    let unpacked = folder.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    printed(&Command::new("tar").arg("-xzf").arg(&one).arg("-C").arg(&unpacked).output().unwrap());
    assert_eq!(printed(&Command::new(unpacked.join("kubectl-imageset")).output().unwrap()), "it runs\n");
    assert_eq!(fs::read(unpacked.join("LICENSE")).unwrap(), fs::read(root().join("LICENSE")).unwrap());
}

#[test]
fn a_manifest_that_would_be_wrong_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let dist = folder.path().to_str().unwrap();
    let rejected = |arguments: &[&str], message: &str| {
        let output = script("manifest.sh", arguments);
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && output.stdout.is_empty() && shown.contains(message),
            "{arguments:?}: {shown}"
        );
    };
    rejected(&[dist, ADDRESS, HOMEPAGE], "there is no archive of v");
    fs::write(folder.path().join(format!("imageset-controller_{VERSION}_linux_amd64.tar.gz")), "x").unwrap();
    rejected(&[dist, "", HOMEPAGE], "is no https address");
    rejected(&[dist, ADDRESS, "{{HOMEPAGE}}"], "is no https address");
    rejected(&[dist, ADDRESS, "https://{{HOMEPAGE}}"], "this is not replaced");
    rejected(&[dist], "FOLDER ADDRESS HOMEPAGE");
}
