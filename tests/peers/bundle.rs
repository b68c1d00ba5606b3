//! The script of `bundle`, run with the tools that it names against two registries: `verify` proves the copy, and tells a copy of one
//! platform as what it is.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::testbox::process::tools_folder;
use crate::testbox::rules::OperatorRules;
use crate::testbox::{Kind, Registry, images};

const VERSION: &str = "v1.40.15";

/// The product.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
    let output = command.args(arguments).env_remove("DOCKER_CONFIG").env("HOME", "/nowhere").output().unwrap();
    printed(&output)
}

fn printed(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A script, as a shell runs it, with the tools in the path.
fn shell(script: &str, tools: &Path, home: &Path) -> (i32, String, String) {
    let file = home.join("mirror.sh");
    fs::write(&file, script).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.display());
    let output = Command::new("sh").arg(&file).env_clear().env("PATH", path).env("HOME", home).output().unwrap();
    printed(&output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_made_by_the_script_is_proved_identical_and_one_of_one_platform_is_recognised() {
    let source = Registry::start_as_localhost(Kind::Anonymous, false).await.unwrap();
    let mirror = Registry::start_as_localhost(Kind::Anonymous, false).await.unwrap();
    let rules = OperatorRules::for_version(VERSION).unwrap();
    let mut references = rules.calico_references();
    let count = references.len();
    references.push(format!("quay.io/tigera/operator:{VERSION}"));
    images::push_release(&source.access().unwrap(), &references, None).await.unwrap();
    let tools = tools_folder().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (source.host(), mirror.host());
    let windows = ["--exclude", "calico/node-windows", "--exclude", "calico/cni-windows"];
    let at = ["--registry", &from, "--plain-http", &from, "--plain-http", &to];
    let (code, set, stderr) = run(&[&["generate", VERSION], &at[..4], &windows[..]].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    let file = folder.path().join("imageset.yaml");
    fs::write(&file, &set).unwrap();
    let verify = |path: &str| {
        run(&["verify", file.to_str().unwrap(), "--registry", &to, "--image-path", path, "--plain-http", &to])
    };
    let bundle =
        |tool: &str, path: &str| {
            let (code, script, stderr) =
                run(&[&["bundle", VERSION, "--to", &to, "--to-path", path, "--tool", tool], &at[..], &windows[..]]
                    .concat());
            assert_eq!((code, stderr.as_str()), (0, ""));
            assert!(script.starts_with("#!/bin/sh\n"), "{script}");
            script
        };
    assert_eq!(verify("crane").0, 1, "nothing is there yet");

    for tool in ["crane", "oras", "skopeo"] {
        // It comes from no module proxy, and what is built in its place (tools.sh) knows no copy.
        if tool == "skopeo" && !tools.join(tool).exists() {
            let printed = "SKIPPED: the script of bundle --tool skopeo is not run: there is no skopeo in PATH; install the package skopeo\n";
            std::io::stderr().write_all(printed.as_bytes()).unwrap();
            continue;
        }
        let script = bundle(tool, tool);
        let (code, _, message) = shell(&script, &tools, folder.path());
        assert_eq!(code, 0, "{tool}: {message}");
        assert!(
            message.contains(&format!("of {}: {to}/{tool}/operator:{VERSION}", references.len() - windows.len() / 2)),
            "{message}"
        );
        let (code, stdout, _) = verify(tool);
        assert_eq!(code, 0, "{tool}: {stdout}");
        assert!(stdout.contains("entries in sync"), "{stdout}");
        // All platforms are there.
        let (code, stdout, _) = run(&[
            "verify",
            file.to_str().unwrap(),
            "--registry",
            &to,
            "--image-path",
            tool,
            "--plain-http",
            &to,
            "--platform",
            "linux/arm64",
            "--platform",
            "linux/amd64",
        ]);
        assert_eq!(code, 0, "{tool}: {stdout}");

        let one = script.replace("crane copy", "crane copy --platform linux/amd64");
        let one = one.replace("oras copy", "oras copy --platform linux/amd64").replace("--all --preserve-digests", "");
        let one = one.replace(&format!("{to}/{tool}/"), &format!("{to}/{tool}-single/"));
        let (code, _, message) = shell(&one, &tools, folder.path());
        assert_eq!(code, 0, "{tool}: {message}");
        let (code, stdout, _) = verify(&format!("{tool}-single"));
        assert_eq!(code, 1, "{tool}: {stdout}");
        let recognised = stdout.matches("it holds linux/amd64 only, as docker pull, tag and push").count();
        assert_eq!(recognised, count - windows.len() / 2, "{tool}: {stdout}");
    }
    // An image that is missing: nothing is printed that would make half a mirror.
    let (code, script, stderr) = run(&["bundle", "v1.42.4", "--to", &to, "--registry", &from, "--plain-http", &from]);
    assert_eq!((code, script.as_str()), (2, ""));
    assert!(stderr.contains("(ImageMissing)"), "{stderr}");
}
