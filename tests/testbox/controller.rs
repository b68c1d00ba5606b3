//! The controller as a process: its binary (whichever path the caller gives), its log and its HTTP port.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::patience::{SOON, until};
use super::process::{Process, free_port, start_on_free_ports};

/// Becomes the program, with the same process id, and leaves a watchman behind that ends it when our pipe breaks: the
/// program itself has no reason to end when the one that started it is killed.
pub(super) const UNDER_WATCH: &str = r#"exec 3<&0; (cat <&3 >/dev/null 2>&1; [ "$(readlink /proc/$$/exe)" = "$0" ] && kill -9 $$) \
>/dev/null 2>&1 & exec 3<&-; exec "$0" "$@" </dev/null"#;

/// How it is started, beside what it needs in the box.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Variables of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// Flags of `run`.
    pub arguments: Vec<String>,
}

/// A running controller; killed on drop.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    log: PathBuf,
    port: u16,
}

impl Controller {
    /// Starts `BINARY run` and returns when `/readyz` says that the API server has answered it. The log is
    /// `<instance>.log` in the folder `logs`.
    ///
    /// # Errors
    /// It ended, or did not get ready; the message has the end of its log.
    pub async fn start(binary: &Path, kubeconfig: &Path, instance: &str, logs: &Path) -> Result<Self> {
        Self::start_as(&Manner::default(), binary, kubeconfig, instance, logs).await
    }

    /// The same in this manner.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_as(
        manner: &Manner,
        binary: &Path,
        kubeconfig: &Path,
        instance: &str,
        logs: &Path,
    ) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("{} is not built", binary.display()))?;
        start_on_free_ports(|| Self::start_once(manner, &binary, kubeconfig, instance, logs)).await
    }

    async fn start_once(
        manner: &Manner,
        binary: &Path,
        kubeconfig: &Path,
        instance: &str,
        logs: &Path,
    ) -> Result<Self> {
        let port = free_port()?;
        let log = logs.join(format!("{instance}.log"));
        let mut command = Command::new("sh");
        command.args(["-c", UNDER_WATCH]).arg(binary).arg("run");
        command.args(["--listen", &format!("127.0.0.1:{port}"), "--log-format", "json"]);
        command.args(["--log-level", "info,imageset_controller=debug"]);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.args(&manner.arguments).envs(manner.environment.iter().map(|(name, value)| (*name, value)));
        command.env("POD_NAME", instance).env_remove("POD_NAMESPACE").env("RUST_BACKTRACE", "1");
        let mut process = Process::spawn("controller", command, &log)?;
        process.wait_until_ready(|| async move { matches!(get(port, "/readyz").await, Ok((200, _))) }).await?;
        Ok(Self { process, log, port })
    }

    /// Whether it says that it leads.
    pub async fn leads(&self) -> bool {
        let metrics = self.get("/metrics").await.map(|(_, text)| text).unwrap_or_default();
        metrics.lines().any(|line| line == "imageset_controller_leader 1")
    }

    /// Waits until it says that it leads.
    ///
    /// # Errors
    /// It ended, or does not lead within [`SOON`].
    pub async fn wait_until_leading(&mut self) -> Result<()> {
        until(&format!("the controller to lead; see {}", self.log.display()), SOON, async || {
            self.process.check_alive()?;
            Ok(self.leads().await.then_some(()))
        })
        .await
    }

    /// Status and body of a GET, such as of `/metrics`.
    ///
    /// # Errors
    /// It does not answer in HTTP.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        get(self.port, path).await
    }

    /// The whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of the log, for a failure.
    pub fn last_lines(&self, count: usize) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// The log's entries with this message.
    pub fn logged(&self, message: &str) -> Vec<Value> {
        let log = self.log();
        let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        entries.filter(|entry| entry["fields"]["message"] == message).collect()
    }

    /// The port of `/metrics`.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// `kill -STOP`: it does nothing until [`Self::resume`], like on a machine that is frozen or far too busy.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn pause(&self) -> Result<()> {
        self.signal("-STOP")
    }

    /// `kill -CONT`.
    ///
    /// # Errors
    /// The signal can't be sent.
    pub fn resume(&self) -> Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").args([signal, &self.process_id().to_string()]).status()?;
        if !sent.success() {
            bail!("kill {signal} of the controller ended with {sent}");
        }
        Ok(())
    }

    /// SIGTERM; returns the exit code when it has ended.
    ///
    /// # Errors
    /// The signal can't be sent, or it does not end within [`SOON`].
    pub async fn terminate(&mut self) -> Result<i32> {
        self.signal("-TERM")?;
        let what = format!("the controller to end; see {}", self.log.display());
        until(&what, SOON, async || self.process.exit_code()).await
    }

    /// Whether it has ended by itself or by a signal of another process.
    ///
    /// # Errors
    /// The system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.exit_code()?.is_some())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

/// A GET of HTTP/1.0, which nobody answers in chunks.
pub async fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (head, body) = response.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let status = head.split_whitespace().nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
