//! Documents, manifests and the Dockerfile speak of the version that Cargo.toml has.

use std::fs;

use super::{files, has_extension, root, shown};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The versions of this product that a text names, as an image's tag or in words.
pub(super) fn named(text: &str) -> Vec<String> {
    let behind = ["imageset-controller:v", "imageset-controller v", "imageset-controller:", "imageset-controller "];
    let starts = behind.iter().flat_map(|name| text.split(name).skip(1));
    let numbers = starts.map(|rest| rest.chars().take_while(|one| one.is_ascii_digit() || *one == '.'));
    let numbers = numbers.map(|number| number.collect::<String>().trim_end_matches('.').to_owned());
    numbers.filter(|number| number.matches('.').count() == 2).collect()
}

#[test]
fn documents_and_manifests_name_the_version_of_cargo_toml() {
    let wanted = |path: &std::path::Path| {
        ["md", "yaml"].iter().any(|extension| has_extension(path, extension)) || path.ends_with("Dockerfile")
    };
    let mut seen = 0;
    for (path, text) in files(wanted).into_iter().filter(|(path, _)| !path.ends_with("CHANGELOG.md")) {
        for version in named(&text) {
            assert_eq!(version, VERSION, "{}", shown(&path));
            seen += 1;
        }
    }
    assert!(seen > 2, "only {seen} mentions of a version were found");
    let kustomization = fs::read_to_string(root().join("deploy/base/kustomization.yaml")).unwrap();
    assert!(kustomization.contains(&format!("newTag: v{VERSION}\n")), "deploy/base/kustomization.yaml");
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("ARG VERSION={VERSION}\n")), "Dockerfile");
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let entry = format!("name = \"imageset-controller\"\nversion = \"{VERSION}\"\n");
        assert!(fs::read_to_string(root().join(lock)).unwrap().contains(&entry), "{lock}");
    }
}

#[test]
fn the_readme_counts_the_releases_of_the_catalogue() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let releases = imageset_controller::catalogue::Catalogue::embedded().releases().len();
    assert!(readme.contains(&format!(" {releases} operator releases")), "README.md does not say {releases}");
}

/// Either the version is released, or what is unreleased says that it will be this one.
#[test]
fn the_changelog_knows_the_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let mut sections = changelog.split("\n## ").skip(1);
    let unreleased = sections.next().unwrap();
    assert!(unreleased.starts_with("[Unreleased]\n"), "the first section is what is not released yet");
    let released = sections.next().is_some_and(|newest| newest.starts_with(&format!("[{VERSION}] - ")));
    let announced = unreleased.lines().skip(1).find(|line| !line.is_empty()).unwrap_or_default();
    assert!(released || announced.contains(VERSION), "CHANGELOG.md does not tell what {VERSION} brings");
}

#[test]
fn other_versions_are_found() {
    let text = "image: r.example/imageset-controller:v9.9.9\nimageset-controller 8.0.1.\nimageset-controller v1.42 no";
    let mut versions = named(text);
    versions.sort();
    assert_eq!(versions, ["8.0.1", "9.9.9"]);
}
