//! The shell of whoever installs: a copy of `deploy/` and `crds/` as in a checkout, kubectl, helm and kustomize, and the kubeconfig of
//! the cluster's administrator. Commands run as they are typed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::testbox::process;
use crate::world::World;

/// A folder with all that; gone on drop.
pub struct Shell {
    folder: tempfile::TempDir,
    kubeconfig: String,
}

impl Shell {
    pub async fn of(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["deploy", "crds"] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(part);
            let copied = Command::new("cp").arg("-R").arg(from).arg(folder.path()).status().unwrap();
            assert!(copied.success());
        }
        let tools = folder.path().join(".bin");
        fs::create_dir(&tools).unwrap();
        symlink(process::controlplane_binary().await.unwrap(), tools.join("kubectl")).unwrap();
        let built = process::install_tools_folder().await.unwrap();
        for tool in ["helm", "kustomize"] {
            symlink(built.join(tool), tools.join(tool)).unwrap();
        }
        Self { folder, kubeconfig: world.control_plane.kubeconfig().display().to_string() }
    }

    /// Writes a file, and the folders on its way.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs a command line as it ends: whether well, and all that it printed.
    pub async fn tried(&self, line: &str) -> (bool, String) {
        let output = self.output(&format!("exec 2>&1; {line}")).await;
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// Runs a command line that must end well; what it printed, warnings aside.
    pub async fn run(&self, line: &str) -> String {
        let output = self.output(line).await;
        let reported = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{line}: {}\n{printed}{reported}", output.status);
        printed
    }

    /// What a command line prints as JSON.
    pub async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line).await).unwrap()
    }

    async fn output(&self, line: &str) -> Output {
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("set -o pipefail; {line}")]).current_dir(self.folder.path()).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin", self.folder.path().join(".bin").display()));
        shell.env("HOME", self.folder.path()).env("KUBECONFIG", &self.kubeconfig);
        tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap()
    }
}
