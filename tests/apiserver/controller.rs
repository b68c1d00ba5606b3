//! The controller as a process: the real binary, its log and its HTTP port.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::testbox::process::{Folders, Process};
use crate::world::eventually;

/// Becomes the program, with the same process id, and leaves a watchman behind that ends it when our pipe breaks: the
/// product itself has no reason to end when a test run is killed.
const UNDER_WATCH: &str = r#"exec 3<&0; (cat <&3 >/dev/null 2>&1; [ "$(readlink /proc/$$/exe)" = "$0" ] && kill -9 $$) \
>/dev/null 2>&1 & exec 3<&-; exec "$0" "$@" </dev/null"#;

/// A running controller; killed on drop.
pub struct Controller {
    process: Process,
    log: PathBuf,
    address: String,
    runs: bool,
    _folders: Folders,
}

impl Controller {
    /// Starts `imageset-controller run` and returns when it listens.
    pub async fn start(kubeconfig: &Path, instance: &str, more: &[&str]) -> Self {
        let folders = Folders::create("controller").unwrap();
        let log = folders.logs.join(format!("{instance}.log"));
        let mut command = Command::new("sh");
        command.args(["-c", UNDER_WATCH, env!("CARGO_BIN_EXE_imageset-controller"), "run"]);
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--log-level", "info,imageset_controller=debug"]);
        command.arg("--kubeconfig").arg(kubeconfig).args(more);
        command.env("POD_NAME", instance).env_remove("POD_NAMESPACE").env("RUST_BACKTRACE", "1");
        let process = Process::spawn("controller", command, &log).unwrap();
        let mut controller = Self { process, log, address: String::new(), runs: true, _folders: folders };
        eventually("the controller to listen", async || {
            controller.process.check_alive().unwrap();
            controller.address = controller.said("started").first()?["fields"]["address"].as_str()?.to_owned();
            Some(())
        })
        .await;
        controller
    }

    /// The whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The log's entries with this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.filter(|entry| entry["fields"]["message"] == message).collect()
    }

    /// Status and body of a GET.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: controller\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    /// Whether it says that it leads.
    pub async fn leads(&self) -> bool {
        self.get("/metrics").await.1.lines().any(|line| line == "imageset_controller_leader 1")
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.runs
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
        self.runs = false;
    }

    /// SIGTERM; returns the exit code when it has ended.
    pub async fn terminate(&mut self) -> i32 {
        let id = self.process.id().to_string();
        self.runs = false;
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        eventually("the controller to end", async || self.process.exit_code().unwrap()).await
    }
}
