//! `make add-release`: one command for a maintainer, in a copy of what it changes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::{DATA, facts, text};

/// The parts of a checkout that are changed, and the script.
fn checkout() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["release/add-operator.sh", "data/operator-releases.txt", "README.md"] {
        let to = copy.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), to).unwrap();
    }
    copy
}

fn add(checkout: &Path, version: &str, printed: &Path) -> Output {
    let mut script = Command::new(checkout.join("release/add-operator.sh"));
    script.arg(version).env("PRINTED", printed).env("ONLY_FILES", "1").env_remove("IMAGE");
    script.env("BINARY", env!("CARGO_BIN_EXE_imageset-controller")).output().unwrap()
}

#[test]
fn one_command_adds_what_an_operator_printed() {
    let checkout = checkout();
    let read = |file: &str| fs::read_to_string(checkout.path().join(file)).unwrap();
    // A patch release that nobody has published.
    let fact = &facts()["v1.42.4"];
    let printed = tempfile::tempdir().unwrap();
    let images = fact.images_output().replace("operator:v1.42.4", "operator:v1.42.99").replace("v3.32.1", "v3.32.99");
    let version = fact.version_output("v1.42.99").replace("v3.32.1", "v3.32.99");
    fs::write(printed.path().join("version.txt"), &version).unwrap();
    fs::write(printed.path().join("images.txt"), &images).unwrap();

    let ran = add(checkout.path(), "v1.42.99", printed.path());
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let added: Vec<String> = read("data/operator-releases.txt").lines().map(str::to_owned).collect();
    let known: Vec<&str> = DATA.lines().collect();
    let new: Vec<&String> = added.iter().filter(|line| !known.contains(&line.as_str())).collect();
    assert_eq!(new.len(), 1, "a patch release with the same images is one line: {new:?}");
    assert!(new[0].starts_with("v1.42.99: calico v3.32.99 "), "{new:?}");
    assert_eq!(read("tests/facts/printed/v1.42.99/images.txt"), images);
    assert_eq!(read("tests/facts/printed/v1.42.99/version.txt"), version);
    let releases = added.iter().filter(|line| line.starts_with('v')).count();
    assert!(read("README.md").contains(&format!(" {releases} operator releases")));

    // Once more changes nothing; another version's output is refused, and changes nothing.
    let before = read("data/operator-releases.txt");
    assert!(add(checkout.path(), "v1.42.99", printed.path()).status.success());
    let ran = add(checkout.path(), "v1.42.98", printed.path());
    assert_eq!(ran.status.code(), Some(2));
    assert!(text(&ran.stderr).contains("of another operator: Operator: v1.42.99"), "{}", text(&ran.stderr));
    assert_eq!(read("data/operator-releases.txt"), before);
    assert!(!checkout.path().join("tests/facts/printed/v1.42.98").exists());
}
