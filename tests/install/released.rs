//! The chart of a release installs the image of that release, without a value given.

use std::process::{Command, Output};

use super::objects::objects;
use super::root;
use super::tools::{printed, tool};

const DIGEST: &str = "sha256:a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4";

fn chart(image: &str, digest: &str, folder: &str) -> Output {
    Command::new(root().join("release/chart.sh")).args([image, digest, folder]).output().unwrap()
}

#[test]
fn the_packed_chart_has_the_image_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    printed(&chart("registry.example.com:5000/some/where", DIGEST, path));
    let copy = format!("{path}/imageset-controller");
    printed(&tool("helm").args(["package", copy.as_str(), "--destination", path]).output().unwrap());
    let packed = format!("{path}/imageset-controller-{}.tgz", env!("CARGO_PKG_VERSION"));
    let namespace = "--namespace=imageset-controller";
    let made = printed(&tool("helm").args(["template", "imageset-controller", &packed, namespace]).output().unwrap());
    let deployment = &objects(&made)["Deployment imageset-controller/imageset-controller"];
    let image = deployment.pointer("/spec/template/spec/containers/0/image").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(image, &format!("registry.example.com:5000/some/where:v{version}@{DIGEST}"));
}

#[test]
fn what_is_no_image_makes_no_chart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none");
    for (image, digest, shown) in [
        ("imageset-controller", DIGEST, "imageset-controller is no image with its registry"),
        ("registry.example.com/a:v1", DIGEST, "registry.example.com/a:v1 is no image with its registry"),
        ("registry.example.com/a", "", " is no digest"),
    ] {
        let ran = chart(image, digest, path.to_str().unwrap());
        let message = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(
            ran.status.code() == Some(2) && message.contains(shown) && !path.exists(),
            "{image} {digest}: {message}"
        );
    }
}
