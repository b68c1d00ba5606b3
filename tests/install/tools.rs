//! helm, kustomize and kubeconform, built by `tests/install/tools.sh` and run without anything of this machine's settings; and
//! all that they make of `deploy/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use super::{built_by, root, text};

pub const CHART: &str = "deploy/chart/imageset-controller";
/// The overlays, with the chart's flags that come to the same.
pub const OVERLAYS: [(&str, &[&str]); 5] = [
    ("deploy/base", &[]),
    ("deploy/overlays/host-network", &["--set=hostNetwork=true"]),
    (OPENED[0], &["--set=hostNetwork=true", "--set=inspection.hostNetwork=true"]),
    ("deploy/overlays/two-replicas", &["--set=replicas=2"]),
    ("deploy/overlays/host-network-two-replicas", &["--set=hostNetwork=true", "--set=replicas=2"]),
];
/// Where the namespace of inspection admits privileged pods on request: by component, and by value.
pub const OPENED: [&str; 2] =
    ["tests/install/host-network-inspection", "chart --set=hostNetwork=true --set=inspection.hostNetwork=true"];
/// The chart's flags for what `deploy/monitoring` has.
pub const MONITORING: [&str; 3] = [
    "--set=monitoring.serviceMonitor.enabled=true",
    "--set=monitoring.prometheusRule.enabled=true",
    "--set=monitoring.dashboard.enabled=true",
];
/// The chart's flags for all that is off otherwise.
pub const OPTIONS: [&str; 7] = [
    r#"--set-json=secrets=[{"namespace":"imageset-controller","names":["registry"]},{"namespace":"trust","names":["a","b"]}]"#,
    r#"--set-json=configMaps=[{"namespace":"trust","names":["registry-ca"]}]"#,
    r#"--set-json=imagePullSecrets=[{"name":"registry"}]"#,
    r#"--set-json=extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy.example.com:3128"}]"#,
    r#"--set-json=extraArgs=["--log-format=json"]"#,
    r#"--set-json=policy={"mode":"Observe","prepare":{"versions":["v1.42.4"]}}"#,
    "--set=image.registry=registry.example.com:5000",
];

/// The folder of the tools, built on first use.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| built_by("tests/install/tools.sh"))
}

/// One of the tools, to be run in the checkout.
pub fn tool(name: &str) -> Command {
    static HOME: OnceLock<tempfile::TempDir> = OnceLock::new();
    let home = HOME.get_or_init(|| tempfile::tempdir().unwrap());
    let mut command = Command::new(folder().join(name));
    command.env_clear().env("HOME", home.path()).current_dir(root()).stdin(Stdio::null());
    command
}

/// What a tool prints.
pub fn printed(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {message}", output.status);
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn kustomize(folder: &str) -> String {
    printed(&tool("kustomize").args(["build", folder]).output().unwrap())
}

/// `helm template` with these flags, as it ends.
pub fn template(flags: &[&str]) -> Output {
    let mut command = tool("helm");
    command.args(["template", "imageset-controller", CHART, "--namespace=imageset-controller", "--include-crds"]);
    command.args(flags).output().unwrap()
}

pub fn helm(flags: &[&str]) -> String {
    printed(&template(flags))
}

/// All that can be installed, by where it comes from, as YAML.
pub fn everything() -> &'static [(String, String)] {
    static EVERYTHING: OnceLock<Vec<(String, String)>> = OnceLock::new();
    EVERYTHING.get_or_init(|| {
        let mut all = Vec::new();
        for (folder, flags) in OVERLAYS {
            all.push((folder.to_owned(), kustomize(folder)));
            all.push((format!("chart {}", flags.join(" ")), helm(flags)));
        }
        all.push(("deploy/monitoring".to_owned(), kustomize("deploy/monitoring")));
        all.push(("chart with options".to_owned(), helm(&[&MONITORING[..], &OPTIONS[..]].concat())));
        all.push(("deploy/install.yaml".to_owned(), text("deploy/install.yaml")));
        all.push(("deploy/examples/observe.yaml".to_owned(), text("deploy/examples/observe.yaml")));
        all
    })
}
