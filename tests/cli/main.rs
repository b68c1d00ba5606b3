//! The command line as a user runs it: the real binary against real registries and a real API server. Asserts on exit
//! codes, standard output and standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod adopted;
mod cluster;
mod credentials;
mod explain;
mod generate;
mod inspect;
mod mirror;
mod pin;
mod typed;
mod verify;

#[path = "../testbox/mod.rs"]
mod testbox;

use std::path::Path;
use std::process::{Command, Output};

use testbox::checkout::assert_contains;

/// A command line in a surrounding without cluster and without Docker's configuration.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
    command.args(arguments).env_remove("KUBECONFIG").env_remove("DOCKER_CONFIG").env("HOME", "/nowhere");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Exit code, standard output and standard error.
fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_committed_definition_is_what_crds_prints() {
    let (code, stdout, _) = outcome(&run(&["crds"]));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds/imageset-controller.io_imagesetpolicies.yaml");
    assert_eq!((code, stdout), (0, std::fs::read_to_string(file).unwrap()));
}

#[test]
fn every_verb_helps_with_an_example_and_a_wrong_flag_is_exit_code_2() {
    for verb in [
        "status",
        "plan",
        "prepare",
        "refresh",
        "suspend",
        "resume",
        "disarm",
        "generate",
        "pin",
        "verify",
        "explain",
        "images",
        "bundle",
        "crds",
        "version",
        "completion",
        "run",
    ] {
        let (code, stdout, _) = outcome(&run(&[verb, "--help"]));
        assert_eq!(code, 0);
        assert!(stdout.contains(&format!("imageset-controller {verb}")), "{verb} has no example:\n{stdout}");
        let (code, stdout, stderr) = outcome(&run(&[verb, "--no-such-flag"]));
        assert_eq!((code, stdout.as_str()), (2, ""), "{verb}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

/// Wrappers of kubectl pass it to everything.
#[test]
fn every_verb_that_asks_a_cluster_knows_its_namespace() {
    for verb in [
        &["status"][..],
        &["plan"],
        &["prepare", "v1.42.4"],
        &["refresh"],
        &["suspend"],
        &["resume"],
        &["disarm"],
        &["generate", "--from-cluster"],
        &["verify"],
    ] {
        let elsewhere = ["--kubeconfig", "/nowhere", "--context", "none"];
        for namespace in [&["-n", "elsewhere"][..], &["--namespace=elsewhere"]] {
            let (code, stdout, stderr) = outcome(&run(&[verb, namespace, &elsewhere].concat()));
            assert_eq!((code, stdout.as_str()), (2, ""), "{verb:?}");
            assert_contains(&stderr, &["error: ", "hint: name the cluster"]);
        }
        let (_, help, _) = outcome(&run(&[verb[0], "--help"]));
        assert_contains(&help, &["Cluster:", "-n, --namespace <NAME>", "[default: imageset-controller]"]);
    }
    assert_contains(&outcome(&run(&["run", "--help"])).1, &["--namespace <NAMESPACE>", "[env: POD_NAMESPACE="]);
}

#[test]
fn as_a_plugin_of_kubectl_it_speaks_of_itself_as_it_is_called() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-imageset");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imageset-controller"), &plugin).unwrap();
    let message = |arguments: &[&str]| outcome(&Command::new(&plugin).args(arguments).output().unwrap());
    let (code, help, _) = message(&["generate", "--help"]);
    assert_eq!(code, 0);
    assert_contains(&help, &["Usage: kubectl imageset generate", "kubectl imageset generate v1.42.4"]);
    assert!(!help.contains("imageset-controller generate"), "{help}");
    let (code, _, wrong) = message(&["generate", "--nonsense"]);
    assert_eq!(code, 2);
    assert_contains(&wrong, &["error: ", "Usage: kubectl imageset generate"]);
}

#[test]
fn kubectl_completes_its_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl_complete-imageset");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_imageset-controller"), &plugin).unwrap();
    let complete = |words: &[&str]| outcome(&Command::new(&plugin).args(words).output().unwrap()).1;
    assert_eq!(complete(&["gen"]), "generate\n:4\n");
    assert_eq!(complete(&["generate", "v1.42."]), "v1.42.4\nv1.42.3\nv1.42.2\nv1.42.1\nv1.42.0\n:4\n");
    assert_eq!(complete(&["generate", "--exclude", "calico/node-w"]), "calico/node-windows\n:4\n");
    assert_eq!(complete(&["generate", "--with", "Gold"]), "Goldmane\n:4\n");
    assert_eq!(complete(&["generate", "--only-r"]), "--only-required\n:4\n");
    assert_eq!(complete(&["pin", "tigera"]), ":0\n");
}

#[test]
fn typos_get_a_suggestion() {
    for (arguments, words) in [
        (&["generate", "1.42.4"][..], &["did you mean v1.42.4?"][..]),
        (&["images", "v3.32.1"], &["v3.32.1 is a Calico version; operators v1.42.3 and v1.42.4 install it"]),
        (
            &["generate", "v1.42.4", "--exclude", "calico/nodeee"],
            &["no operator has an image calico/nodeee", "calico/node?"],
        ),
        (&["prepare", "v1.42.4", "--timeout", "10"], &["needs a unit, such as 10m"]),
    ] {
        let (code, _, stderr) = outcome(&run(arguments));
        assert_eq!(code, 2, "{stderr}");
        assert_contains(&stderr, words);
    }
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = command(&["status"]);
    command.env("HOME", nowhere.path()).env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    let (code, _, stderr) = outcome(&command.output().unwrap());
    assert_eq!(code, 2);
    assert_contains(&stderr, &["there is no kubeconfig", "hint: "]);
}

#[test]
fn shells_complete_verbs_and_flags() {
    for (shell, words) in [
        ("bash", ["complete -F", "--only-required"]),
        ("zsh", ["#compdef imageset-controller", "--only-required"]),
        ("fish", ["complete -c imageset-controller", "only-required"]),
    ] {
        let (code, script, stderr) = outcome(&run(&["completion", shell]));
        assert_eq!((code, stderr.as_str()), (0, ""));
        for word in words {
            assert!(script.contains(word), "{shell} has no {word}");
        }
    }
    let script = outcome(&run(&["completion", "bash"])).1;
    assert_contains(&script, &["calico/node-windows", "kubectl get namespaces"]);
    for version in ["v1.14.0", "v1.42.4"] {
        assert!(script.contains(version), "{version} is not offered");
    }
    let checked = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
