//! Child processes of the box: where their program is, their ports, their folders, and that none outlives us.

use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::AsyncReadExt as _;

use super::controller::UNDER_WATCH;
use super::patience::SOON;
use super::slow_machine::CpuGroup;

/// How long a program may take until it answers, on a machine that is busy with other tests too.
pub const READY_WITHIN: Duration = SOON;
/// How long one attempt to reach it may take, which is then given up as lost.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(30);
/// How often a start is tried again with other ports, when the program ended before it was ready.
const ATTEMPTS: usize = 5;

/// `target/testbox` of this package.
pub fn box_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/testbox")
}

/// The built `controlplane` binary (etcd, apiserver, controllers, scheduler and registry in one), built on first use.
///
/// # Errors
/// The reason is on standard error already: no Go, or a build that failed.
pub async fn controlplane_binary() -> Result<PathBuf> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built_once(&BINARY, "tests/controlplane/build.sh").await
}

/// The folder of the tools that others resolve digests with (see [`super::peers`]), built on first use.
///
/// # Errors
/// As [`controlplane_binary`].
pub async fn tools_folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built_once(&FOLDER, "tests/peers/tools.sh").await
}

/// The folder of `prometheus` and `promtool`, fetched on first use where they are not in PATH.
///
/// # Errors
/// The reason is on standard error already.
pub async fn prometheus_folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built_once(&FOLDER, "tests/prometheus/tools.sh").await
}

/// The folder of `helm` and `kustomize`, built on first use.
///
/// # Errors
/// As [`controlplane_binary`].
pub async fn install_tools_folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built_once(&FOLDER, "tests/install/tools.sh").await
}

/// The folder of the Go controller that ours is compared with, built on first use.
///
/// # Errors
/// As [`controlplane_binary`].
pub async fn go_controller_folder() -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    built_once(&FOLDER, "tests/bench/go_controller/tools.sh").await
}

async fn built_once(place: &'static OnceLock<Result<PathBuf, String>>, script: &'static str) -> Result<PathBuf> {
    let build = move || build(script).map_err(|error| format!("{error:#}"));
    let built = tokio::task::spawn_blocking(move || place.get_or_init(build).clone()).await?;
    built.map_err(|reason| anyhow!(reason))
}

/// Runs a script of this package that builds something and prints its path.
fn build(name: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let output = Command::new(&script)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't run {}", script.display()))?;
    if !output.status.success() {
        bail!("{name} ended with {}; its message is above", output.status);
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// How much the heap of a Go program may grow between two collections, in percent; 100 by default.
const GARBAGE_COLLECTION: &str = "400";

/// The command that runs a program of the control plane: from `KUBEBUILDER_ASSETS` if it is set and has the program
/// (etcd and kube-apiserver), else from our own binary. It collects garbage less often than it would: memory is cheaper here than
/// processor time.
pub async fn program(name: &str) -> Result<Command> {
    let asset = std::env::var_os("KUBEBUILDER_ASSETS").map(|folder| Path::new(&folder).join(name));
    let mut command = match asset.filter(|file| file.is_file()) {
        Some(file) => Command::new(file),
        None => {
            let mut command = Command::new(controlplane_binary().await?);
            command.arg(name);
            command
        }
    };
    command.env("GOGC", GARBAGE_COLLECTION);
    Ok(command)
}

/// A TCP port of the loopback address that is free now. Another process may take it before the program binds it, therefore
/// starts are tried again with another one. Below the range that systems give to outgoing connections (from 32768 on),
/// so that a port is still free when a stopped program starts again on it.
pub fn free_port() -> Result<u16> {
    use std::hash::{BuildHasher as _, RandomState};
    for attempt in 0..200_u32 {
        let random = RandomState::new().hash_one(attempt) % 20_000;
        let port = 12_000 + u16::try_from(random)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free loopback port between 12000 and 31999")
}

/// Starts what chooses its ports with [`free_port`]; again, when another process took one between the choice and the bind.
///
/// # Errors
/// Those of `start`.
pub async fn start_on_free_ports<T>(start: impl AsyncFn() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match start().await {
            Err(error) if attempt < ATTEMPTS && format!("{error:#}").contains("address already in use") => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// A running program. Killed and reaped on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    // Dropped after the process has ended.
    _group: Option<CpuGroup>,
}

impl Process {
    /// Starts the command with both outputs appended to the log file.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        let child = command
            .env("TESTBOX_PARENT", "stdin")
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        let mut process = Self { name: name.to_owned(), log: log.to_owned(), child, _group: None };
        process._group = CpuGroup::of(process.id())?;
        Ok(process)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process and waits until it is gone. No graceful stop: the apiserver's takes up to a minute.
    pub fn kill(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit code, if the process has ended; -1 if a signal ended it.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.child.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }

    /// An error that shows the log's end, if the process has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text =
                fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(8)..].join("\n");
            bail!("{} ended ({status}); the end of {}:\n{end}", self.name, self.log.display());
        }
        Ok(())
    }

    /// Asks `ready` every 20 ms until it is true.
    ///
    /// # Errors
    /// The process ended, or is not ready within [`READY_WITHIN`].
    pub async fn wait_until_ready<F>(&mut self, mut ready: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            self.check_alive()?;
            let response = tokio::time::timeout(ATTEMPT_WITHIN, ready()).await;
            if response.unwrap_or(false) {
                // The response could be that of another process that took the port while ours fails to bind it.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return self.check_alive();
            }
            if started.elapsed() > READY_WITHIN {
                bail!("{} is not ready after {} s; see {}", self.name, READY_WITHIN.as_secs(), self.log.display());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program that ends by itself, such as a verb of the product. It is killed when the future is dropped, and also when this
/// process is killed.
///
/// # Errors
/// It can't be started, or did not end within the limit; the message has what it printed until then.
pub async fn run(
    program: &Path,
    prepare: impl FnOnce(&mut tokio::process::Command),
    limit: Duration,
) -> Result<Output> {
    let program = program.canonicalize().with_context(|| format!("{} is not built", program.display()))?;
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", UNDER_WATCH]).arg(&program);
    prepare(&mut command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("can't start {}", program.display()))?;
    let _group = child.id().map(CpuGroup::of).transpose()?;
    // Kept until the end: the watchman ends the program when it is closed.
    let _watched = child.stdin.take();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ended = {
        let running = async { tokio::join!(child.wait(), read(out, &mut stdout), read(err, &mut stderr)).0 };
        tokio::time::timeout(limit, running).await
    };
    if let Ok(status) = ended {
        return Ok(Output { status: status?, stdout, stderr });
    }
    child.kill().await?;
    let printed = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    bail!("{} did not end within {} s; it printed:\n{printed}", program.display(), limit.as_secs())
}

/// What cannot be read any more is at its end.
async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>, into: &mut Vec<u8>) {
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(into).await;
    }
}

/// The two folders of one start: data, removed on drop, and logs, which stay.
#[derive(Debug)]
pub struct Folders {
    /// `target/testbox/run/<name>-<pid>-<n>`
    pub data: PathBuf,
    /// `target/testbox/logs/<name>-<pid>-<n>`
    pub logs: PathBuf,
}

impl Folders {
    /// Makes both, and removes what killed test runs left (data) and logs of more than two days ago.
    pub fn create(name: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEPT: OnceLock<()> = OnceLock::new();
        SWEPT.get_or_init(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let unique = format!("{name}-{}-{number}", std::process::id());
        let data = box_folder().join("run").join(&unique);
        let logs = box_folder().join("logs").join(&unique);
        for folder in [&data, &logs] {
            // A former process with our id may have left one.
            let _ = fs::remove_dir_all(folder);
            fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))?;
        }
        Ok(Self { data, logs })
    }

    /// Writes a file into the data folder, readable by us only.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.data.join(name);
        fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(path)
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.data);
    }
}

fn sweep() {
    let entries = |folder: &str| fs::read_dir(box_folder().join(folder)).into_iter().flatten().flatten();
    for entry in entries("run") {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.rsplit('-').nth(1).and_then(|pid| pid.parse::<u32>().ok());
        // Only where /proc tells which processes live.
        if let Some(pid) = owner
            && Path::new("/proc/self").exists()
            && !Path::new("/proc").join(pid.to_string()).exists()
        {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    for entry in entries("logs") {
        let modified = entry.metadata().and_then(|data| data.modified());
        let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > Duration::from_secs(48 * 3600)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
