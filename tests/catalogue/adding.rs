//! `make add-release` and `make update-catalogue`: one command for a maintainer, in a copy of what it changes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::{DATA, facts, text};

/// The parts of a checkout that are changed, and the script.
fn checkout() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["release/add-operator.sh", "release/update-catalogue.sh", "data/operator-releases.txt", "README.md"] {
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

/// Writes what a patch release prints that nobody has published, and returns it.
fn print_unpublished(folder: &Path, release: &str) -> (String, String) {
    let fact = &facts()["v1.42.4"];
    let own = format!("operator:{release}");
    let images = fact.images_output().replace("operator:v1.42.4", &own).replace("v3.32.1", "v3.32.99");
    let version = fact.version_output(release).replace("v3.32.1", "v3.32.99");
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("version.txt"), &version).unwrap();
    fs::write(folder.join("images.txt"), &images).unwrap();
    (version, images)
}

#[test]
fn one_command_adds_what_an_operator_printed() {
    let checkout = checkout();
    let read = |file: &str| fs::read_to_string(checkout.path().join(file)).unwrap();
    let printed = tempfile::tempdir().unwrap();
    let (version, images) = print_unpublished(printed.path(), "v1.42.99");

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

/// A repository with these tags, as the operator's own.
fn tagged(folder: &Path, tags: &[&str]) {
    let git = |arguments: &[&str]| {
        let names = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
        let ran = Command::new("git").arg("-C").arg(folder).args(names).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
    };
    if !folder.join(".git").exists() {
        git(&["init", "--quiet"]);
        git(&["commit", "--quiet", "--allow-empty", "--message", "a"]);
    }
    tags.iter().for_each(|tag| git(&["tag", tag]));
}

#[test]
fn one_command_adds_every_release_that_is_tagged_and_has_an_image() {
    let (checkout, folder) = (checkout(), tempfile::tempdir().unwrap());
    let (source, printed) = (folder.path().join("operator"), folder.path().join("printed"));
    fs::create_dir(&source).unwrap();
    let update = || {
        let mut script = Command::new(checkout.path().join("release/update-catalogue.sh"));
        script.env("SOURCE", &source).env("PRINTED", &printed).env("ONLY_FILES", "1").env_remove("IMAGE");
        let ran = script.env("BINARY", env!("CARGO_BIN_EXE_imageset-controller")).output().unwrap();
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    let data = || fs::read_to_string(checkout.path().join("data/operator-releases.txt")).unwrap();

    // What is known, older, or no release.
    tagged(&source, &["v1.13.11", "v1.42.4", "v1.43.0", "v1.43.1-0.dev", "v1.43.1-rc1", "release-v1.43", "1.43.1"]);
    let (code, stdout, stderr) = update();
    assert_eq!((code, data().as_str()), (Some(0), DATA), "{stderr}");
    assert!(stdout.contains("the catalogue has all releases of"), "{stdout}");

    // In the order of versions, and not of text; of one the image is not there yet.
    tagged(&source, &["v1.42.100", "v1.42.99", "v1.43.99"]);
    print_unpublished(&printed.join("v1.42.99"), "v1.42.99");
    print_unpublished(&printed.join("v1.42.100"), "v1.42.100");
    let (code, stdout, stderr) = update();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("added: v1.42.99 v1.42.100; look at the difference"), "{stdout}");
    assert!(stderr.contains("warning: not added: v1.43.99"), "{stderr}");
    let changed = data();
    let new: Vec<&str> = changed.lines().filter(|line| !DATA.lines().any(|known| known == *line)).collect();
    assert_eq!(new.len(), 2, "{new:?}");
    assert!(new[0].starts_with("v1.42.99: ") && new[1].starts_with("v1.42.100: "), "{new:?}");
    assert!(checkout.path().join("tests/facts/printed/v1.42.100/images.txt").exists());

    // The next time only that one is tried; what is wrong is seen by the exit code.
    let (code, _, stderr) = update();
    assert_eq!((code, data().as_str()), (Some(1), changed.as_str()), "{stderr}");
    print_unpublished(&printed.join("v1.43.99"), "v1.43.98");
    assert_eq!((update().0, data().as_str()), (Some(1), changed.as_str()));
    print_unpublished(&printed.join("v1.43.99"), "v1.43.99");
    let (code, stdout, stderr) = update();
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("added: v1.43.99; "), "{stdout}");
}
