//! The image: the real Dockerfile's last stage, built by `deploy/image/build.sh` as `make image` does, pushed to a real registry,
//! looked at there byte by byte, and run. A folder takes the place of the first stage, which needs a builder image from elsewhere
//! (tests/image/static.sh); `make image-test` puts the release binary there, with its limit of size.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod buildah;
mod contents;
mod parts;

#[path = "../testbox/mod.rs"]
mod testbox;

use std::fs;

use serde_json::Value;

use crate::buildah::{Buildah, Input};
use crate::contents::{Entry, Pushed};
use crate::testbox::checkout::root;
use crate::testbox::{Kind, Registry};

/// The product's limit, for what a node stores.
const MOST_BYTES: u64 = 20_000_000;
/// The date of the source that is built.
const EPOCH: i64 = 1_764_000_000;
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const SOURCE: &str = "https://git.example.com/imageset-controller";

/// The checkout.
fn label<'a>(configuration: &'a Value, name: &str) -> &'a str {
    configuration["config"]["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_holds_what_it_should_is_the_same_each_time_and_runs() {
    let Some(first) = Buildah::find() else { return };
    let registry = Registry::start(Kind::Anonymous).await.unwrap();
    let input = Input::make();
    let image = |tag: &str| format!("{}/imageset-controller:{tag}", registry.host());

    first.build(&input, &image("first"), EPOCH);
    // Another store, and other dates on the same files.
    let second = Buildah::find().unwrap();
    let copy = input.copy();
    second.build(&copy, &image("second"), EPOCH);
    let pushed = Pushed::read(&registry, "first").await;
    assert_eq!(pushed.digest, Pushed::read(&registry, "second").await.digest, "the same input makes the same image");

    // Or else the above would prove nothing.
    second.build(&copy, &image("later"), EPOCH + 1);
    let later = Pushed::read(&registry, "later").await;
    assert_ne!(pushed.digest, later.digest);
    copy.change_the_binary();
    second.build(&copy, &image("changed"), EPOCH);
    assert_ne!(pushed.digest, Pushed::read(&registry, "changed").await.digest);

    says_what_it_is(&pushed.configuration);
    holds_these_files_and_no_others(&pushed.entries, &input);
    if std::env::var_os("IMAGE_BINARY").is_some() {
        assert!(pushed.stored < MOST_BYTES, "{} bytes on a node, the limit is {MOST_BYTES}", pushed.stored);
        println!("IMAGE stored {} bytes, transferred {} bytes", pushed.stored, pushed.transferred);
    }
    runs(&first, &image("first"), &pushed.configuration);
}

fn says_what_it_is(configuration: &Value) {
    let run = &configuration["config"];
    assert_eq!(run["User"], "65532:65532");
    assert_eq!(run["Entrypoint"], serde_json::json!(["/imageset-controller"]));
    assert_eq!(run["Cmd"], serde_json::json!(["run"]));
    assert_eq!(run["ExposedPorts"], serde_json::json!({"8080/tcp": {}}));
    let output =
        ["title", "version", "revision", "source", "created", "licenses"].map(|name| label(configuration, name));
    let created = "2025-11-24T16:00:00Z";
    assert_eq!(
        output,
        ["imageset-controller", env!("CARGO_PKG_VERSION"), REVISION, SOURCE, created, env!("CARGO_PKG_LICENSE")]
    );
    assert_eq!(label(configuration, "description"), env!("CARGO_PKG_DESCRIPTION"));
    assert_eq!(configuration["created"], created);
    // What the build was told is no setting of what runs.
    let environment = run["Env"].as_array().cloned().unwrap_or_default();
    let names: Vec<&str> = environment.iter().filter_map(|one| one.as_str()?.split('=').next()).collect();
    assert!(names.iter().all(|name| *name == "PATH"), "{names:?}");
}

fn holds_these_files_and_no_others(entries: &[Entry], input: &Input) {
    let mut files: Vec<&Entry> = entries.iter().filter(|entry| !entry.is_folder).collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let output: Vec<(&str, u32)> = files.iter().map(|file| (file.path.as_str(), file.mode & 0o7777)).collect();
    let expected = [
        ("etc/ssl/certs/ca-certificates.crt", 0o644),
        ("imageset-controller", 0o755),
        ("usr/share/sbom/imageset-controller.cdx.json", 0o644),
    ];
    assert_eq!(output, expected);
    for entry in entries {
        assert_eq!((entry.user, entry.group, entry.modified), (0, 0, EPOCH), "{}", entry.path);
        assert_eq!(entry.mode & 0o022, 0, "{} can be written by others", entry.path);
    }
    for (file, name) in files.iter().zip(["ca-certificates.crt", "imageset-controller", "imageset-controller.cdx.json"])
    {
        assert!(file.content == fs::read(input.file(name)).unwrap(), "{name} is not as it was given");
    }
    parts::are_all_listed(&files[2].content, &files[1].content);
}

/// As a container runtime starts it: the entrypoint, with other arguments.
fn runs(buildah: &Buildah, image: &str, configuration: &Value) {
    let entrypoint = configuration["config"]["Entrypoint"][0].as_str().unwrap();
    let container = buildah.container(image);
    let (works, output) = buildah.run(&container, &[entrypoint, "version"]);
    assert!(works && output.starts_with(concat!("imageset-controller v", env!("CARGO_PKG_VERSION"))), "{output}");
    let (works, output) = buildah.run(&container, &[entrypoint, "run", "--help"]);
    assert!(works && output.contains("Usage: imageset-controller run"), "{output}");
    // It reads its authorities and finds no cluster; it does not break for want of a library or a file.
    let (works, output) = buildah.run(&container, &[entrypoint, "status"]);
    assert!(!works && output.contains("error: "), "{output}");
    for shell in ["/bin/sh", "/bin/bash", "/busybox/sh", "/usr/bin/env"] {
        let (works, output) = buildah.run(&container, &[shell]);
        assert!(!works, "there is a {shell}: {output}");
    }
}
