//! Credentials that are not in Docker's file but with a helper that it names: asked as docker asks it, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use crate::cluster::install;
use crate::testbox::crds::{self, Kind as OperatorKind};
use crate::testbox::images::{self, Image, LINUX_PLATFORMS};
use crate::testbox::rules::OperatorRules;
use crate::testbox::{ControlPlane, Kind, Registry, rights, scenery};
use crate::{assert_contains, command, outcome};

const USER: &str = "robot";
const PASSWORD: &str = "Canary:9d41/Zq+x";

/// A program in the path.
fn program(folder: &Path, name: &str, script: &str) {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_helper_is_asked_for_the_registry_and_what_it_prints_is_never_shown() {
    let registry =
        Registry::start(Kind::Htpasswd { user: USER.to_owned(), password: PASSWORD.to_owned() }).await.unwrap();
    let host = registry.host();
    let image = Image::index("operator", LINUX_PLATFORMS).unwrap();
    let digest = images::push(&registry.access().unwrap(), "tigera/operator", "v1.42.4", &image).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("operator.yaml");
    let text = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: tigera-operator}}\nspec: {{template: {{spec: {{containers: \
         [{{name: tigera-operator, image: '{host}/tigera/operator:v1.42.4'}}]}}}}}}\n"
    );
    fs::write(&manifest, text).unwrap();

    // It counts how often it is asked, knows one registry only, and says more than anybody may see.
    let requested = folder.path().join("asked");
    let good = format!(
        "read -r host; echo \"$1 $host\" >> {requested}; echo {PASSWORD} >&2; [ \"$host\" = {host} ] || {{ echo credentials not found in \
         native keychain; exit 1; }}; echo '{{\"ServerURL\":\"\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'",
        requested = requested.display()
    );
    program(folder.path(), "docker-credential-good-1.x", &good);
    program(folder.path(), "docker-credential-fails", &format!("echo {PASSWORD}; echo {PASSWORD} >&2; exit 1"));
    program(folder.path(), "docker-credential-odd", &format!("echo '{{\"Secret\": \"{PASSWORD}\"'"));
    program(folder.path(), "docker-credential-none", "echo credentials not found in native keychain; exit 1");
    program(folder.path(), "docker-credential-sleeps", "exec sleep 600");
    let pin = |config: &str| {
        fs::write(folder.path().join("config.json"), config).unwrap();
        let mut command = command(&["pin", manifest.to_str().unwrap(), "--plain-http", &host]);
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let (code, stdout, stderr) =
            outcome(&command.env("PATH", path).env("DOCKER_CONFIG", folder.path()).output().unwrap());
        assert!(!stdout.contains(PASSWORD) && !stderr.contains(PASSWORD), "{stdout}{stderr}");
        (code, stdout, stderr)
    };

    for config in [
        format!(r#"{{"credHelpers": {{"{host}": "good-1.x"}}}}"#),
        r#"{"credsStore": "good-1.x"}"#.to_owned(),
        // As Docker Desktop writes it, and with a helper for this registry in front of the one for all.
        format!(r#"{{"auths": {{"{host}": {{}}}}, "credsStore": "fails", "credHelpers": {{"{host}": "good-1.x"}}}}"#),
        // What is written down does not count before the helper.
        format!(r#"{{"auths": {{"{host}": {{"auth": "b2xkOm9sZA=="}}}}, "credsStore": "good-1.x"}}"#),
    ] {
        let (code, stdout, stderr) = pin(&config);
        assert_eq!(code, 0, "{config}: {stderr}");
        assert!(stdout.contains(&format!("v1.42.4@{digest}")) && !stderr.contains("note: "), "{stdout}{stderr}");
        assert_eq!(fs::read_to_string(&requested).unwrap(), format!("get {host}\n"), "{config}");
        fs::remove_file(&requested).unwrap();
    }

    // One that cannot tell is noted; the registry is asked without.
    for (helper, why) in [
        ("fails", "failed"),
        ("odd", "did not print what a helper prints"),
        ("missing", "cannot be run"),
        ("sleeps", "did not answer in time"),
        ("../../evil", "has a name that no helper has"),
        ("Good", "has a name that no helper has"),
    ] {
        let (code, stdout, stderr) = pin(&format!(r#"{{"credsStore": "{helper}"}}"#));
        assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
        assert_contains(&stderr, &["note: credential helper", helper, why, "is asked without credentials", "error: "]);
    }
    let (code, _, stderr) = pin(r#"{"credsStore": "none"}"#);
    assert_eq!(code, 2);
    assert!(!stderr.contains("note: "), "{stderr}");
}

/// A cluster whose policy and Installation name this registry, asked in plain HTTP.
async fn cluster(host: &str) -> ControlPlane {
    let control_plane = ControlPlane::start("cli-credentials").await.unwrap();
    let client = control_plane.client();
    rights::install_kind(&client).await.unwrap();
    crds::install(&client).await.unwrap();
    install(&client).await;
    let policy = scenery::policy(json!({ "registries": [{ "host": host, "plainHttp": true }] }));
    scenery::apply(&scenery::policies(&client), &policy).await.unwrap();
    let installation = json!({ "variant": "Calico", "registry": host });
    scenery::create(&client, OperatorKind::Installation, "default", installation).await.unwrap();
    control_plane
}

/// Whoever writes the policy must not decide how the password of whoever looks at the cluster travels.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_does_not_weaken_how_this_machines_password_travels() {
    let registry =
        Registry::start(Kind::Htpasswd { user: USER.to_owned(), password: PASSWORD.to_owned() }).await.unwrap();
    let host = registry.host();
    let rules = OperatorRules::for_version("v1.40.15").unwrap();
    images::push_release(&registry.access().unwrap(), &rules.calico_references(), None).await.unwrap();
    let control_plane = cluster(&host).await;
    let kubeconfig = control_plane.kubeconfig().to_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let requested = folder.path().join("asked");
    let response = format!(
        "echo asked >> {}; echo '{{\"ServerURL\":\"\",\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'",
        requested.display()
    );
    program(folder.path(), "docker-credential-good", &response);

    for config in [registry.docker_config_json(), r#"{"credsStore": "good"}"#.to_owned()] {
        fs::write(folder.path().join("config.json"), &config).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = command(&[arguments, &["--kubeconfig", &kubeconfig]].concat());
            let path = format!("{}:/usr/bin:/bin", folder.path().display());
            let (code, stdout, stderr) =
                outcome(&command.env("PATH", path).env("DOCKER_CONFIG", folder.path()).output().unwrap());
            assert!(!stdout.contains(PASSWORD) && !stderr.contains(PASSWORD), "{stdout}{stderr}");
            (code, stdout, stderr)
        };
        registry.forget_requests().unwrap();
        let (code, _, stderr) = run(&["generate", "--from-cluster"]);
        assert_eq!(code, 2, "{stderr}");
        let flag = format!("--plain-http {host}");
        assert_contains(
            &stderr,
            &["note: the credentials of this machine for", &host, "are not sent", &flag, "error: "],
        );
        assert_eq!(stderr.matches("note: the credentials").count(), 1, "{stderr}");
        let requests = registry.requests().unwrap();
        assert!(!requests.is_empty() && requests.iter().all(|one| one.authorization == "-"), "{requests:#?}");
        assert!(!requested.exists(), "a helper was asked for what is not sent");

        // The person at this machine says so: then it is.
        let (code, set, stderr) = run(&["generate", "--from-cluster", "--plain-http", &host]);
        assert_eq!((code, stderr.contains("note: ")), (0, false), "{stderr}");
        assert!(set.contains("name: calico-v3.31.7"), "{set}");
        let _ = fs::remove_file(&requested);
    }

    // The same for verify, which compares a stored set.
    let entry = json!({ "image": "calico/node", "digest": format!("sha256:{}", "0".repeat(64)) });
    let set = OperatorKind::ImageSet.object("calico-v3.31.7", json!({ "images": [entry] }));
    OperatorKind::ImageSet.api(&control_plane.client()).create(&Default::default(), &set).await.unwrap();
    fs::write(folder.path().join("config.json"), registry.docker_config_json()).unwrap();
    registry.forget_requests().unwrap();
    let mut verify = command(&["verify", "--kubeconfig", &kubeconfig]);
    let (_, _, stderr) = outcome(&verify.env("DOCKER_CONFIG", folder.path()).output().unwrap());
    let requests = registry.requests().unwrap();
    assert!(!requests.is_empty() && requests.iter().all(|one| one.authorization == "-"), "{requests:#?} {stderr}");
    assert_contains(&stderr, &["note: the credentials of this machine for", &format!("--plain-http {host}")]);
}
