//! `make release`: one command, in a copy of the checkout. Afterwards every place names the new version, and the changelog is dated.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use super::versions::named;
use super::{files, root};

/// What names a version, and the script.
fn checkout() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let wanted = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        ["md", "yaml", "sh", "lock", "toml"].iter().any(|one| super::has_extension(path, one))
            || ["Dockerfile", "Makefile"].contains(&name.as_ref())
    };
    for (path, _) in files(wanted) {
        let to = copy.path().join(path.strip_prefix(root()).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, to).unwrap();
    }
    copy
}

fn cut(checkout: &Path, version: &str) -> Output {
    let mut script = Command::new(checkout.join("release/cut.sh"));
    // 2026-12-24.
    script.arg(version).env("ONLY_FILES", "1").env("SOURCE_DATE_EPOCH", "1798100000").output().unwrap()
}

/// Places where the old version may stand still: the history.
fn left(folder: &Path, checkout: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            left(&path, checkout, found);
        } else if !path.ends_with("CHANGELOG.md")
            && let Ok(text) = fs::read_to_string(&path)
        {
            let old = env!("CARGO_PKG_VERSION");
            let tag = format!("newTag: v{old}\n");
            let argument = format!("ARG VERSION={old}\n");
            if named(&text).iter().any(|one| one == old) || text.contains(&tag) || text.contains(&argument) {
                found.push(path.strip_prefix(checkout).unwrap().display().to_string());
            }
        }
    }
}

#[test]
fn one_command_sets_the_version_everywhere_and_dates_the_changelog() {
    let checkout = checkout();
    let read = |file: &str| fs::read_to_string(checkout.path().join(file)).unwrap();
    let mut before = Vec::new();
    left(checkout.path(), checkout.path(), &mut before);
    assert!(before.len() > 5, "{before:?}");

    let ran = cut(checkout.path(), "97.0.1");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let mut after = Vec::new();
    left(checkout.path(), checkout.path(), &mut after);
    assert_eq!(after, Vec::<String>::new(), "these still have the old version");
    assert!(read("Cargo.toml").contains("\nversion = \"97.0.1\"\n"));
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        assert!(read(lock).contains("name = \"imageset-controller\"\nversion = \"97.0.1\"\n"), "{lock}");
        let changed = read(lock)
            .lines()
            .zip(fs::read_to_string(root().join(lock)).unwrap().lines())
            .filter(|(one, other)| one != other)
            .count();
        assert_eq!(changed, 1, "{lock}: no other package changes");
    }
    let changelog = read("CHANGELOG.md");
    assert!(changelog.contains("\n## [Unreleased]\n\n## [97.0.1] - 2026-12-24\n"), "{}", &changelog[..900]);
    assert!(!changelog.contains("To become"), "{}", &changelog[..900]);

    // Nothing is unreleased any more; and versions only grow.
    for (version, printed) in
        [("97.0.2", "nothing is unreleased"), ("97.0.1", "is released already"), ("96.0.0", "is older than")]
    {
        let ran = cut(checkout.path(), version);
        let message = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(2) && message.contains(printed), "{version}: {message}");
    }
    assert_eq!(cut(checkout.path(), "v1").status.code(), Some(2));
    assert_eq!(read("CHANGELOG.md"), changelog);
}

/// `make package` builds what is listed; here only that it is what it should be.
#[test]
fn the_package_has_what_is_built_in_and_no_tests() {
    let mut cargo = Command::new(env!("CARGO"));
    let listed = cargo.args(["package", "--locked", "--allow-dirty", "--list"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    for file in
        ["Cargo.lock", "LICENSE", "README.md", "data/operator-releases.txt", "src/main.rs", "src/cluster/gate.yaml"]
    {
        assert!(listed.lines().any(|line| line == file), "{file} is not in the package");
    }
    let known = ["src/", "data/", "crds/", "Cargo.", "CHANGELOG.md", "LICENSE", "README.md", ".cargo_vcs_info.json"];
    let others: Vec<&str> = listed.lines().filter(|line| !known.iter().any(|one| line.starts_with(one))).collect();
    assert!(others.is_empty(), "{others:?}");
}
