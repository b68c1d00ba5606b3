//! A slow machine, played on this one, for a whole run of tests or of the demo:
//!
//! - `TESTBOX_CPU=0.5` limits each process that the box starts, and the test's own, to half a core. Needs the right to make control
//!   groups (root), of either version. Where that is impossible, every start fails and says why.
//! - `TESTBOX_API_DELAY=300ms` puts a proxy in front of every API server that delays each request of those who come with a
//!   kubeconfig: the controller and the verbs. The test, the operator double and the recorder reach the API server directly.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

/// Of the control groups; a share of it is the quota.
const PERIOD_MICROSECONDS: u32 = 100_000;
const NAME: &str = "testbox";

/// `TESTBOX_CPU`: the cores that each process may use, such as 0.5.
///
/// # Errors
/// It is not a number between 0.01 and 64.
pub fn cpu_share() -> Result<Option<f64>> {
    let Some(text) = variable("TESTBOX_CPU") else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(share) if (0.01..=64.0).contains(&share) => Ok(Some(share)),
        _ => bail!("TESTBOX_CPU={text}: write the number of cores for each process, such as 0.5"),
    }
}

/// `TESTBOX_API_DELAY`: the delay of each API request, such as 300ms or 1s.
///
/// # Errors
/// It is not a duration in ms or s.
pub fn api_delay() -> Result<Option<Duration>> {
    let Some(text) = variable("TESTBOX_API_DELAY") else { return Ok(None) };
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    match (number.parse(), unit) {
        (Ok(number), "ms") => Ok(Some(Duration::from_millis(number))),
        (Ok(number), "s") => Ok(Some(Duration::from_secs(number))),
        _ => bail!("TESTBOX_API_DELAY={text}: write a duration such as 300ms or 1s"),
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// The control group of one process; removed on drop, if the process is gone.
#[derive(Debug)]
pub struct CpuGroup {
    folder: PathBuf,
}

impl CpuGroup {
    /// Moves a process with all its threads into a group of its own, if `TESTBOX_CPU` asks for that. The test's own process gets
    /// one as well.
    ///
    /// # Errors
    /// The group can't be made.
    pub fn of(process: u32) -> Result<Option<Self>> {
        static HIERARCHY: OnceLock<Result<Hierarchy, String>> = OnceLock::new();
        let Some(share) = cpu_share()? else { return Ok(None) };
        let hierarchy = HIERARCHY.get_or_init(|| {
            let own = || {
                let hierarchy = Hierarchy::find()?;
                hierarchy.sweep();
                // Never dropped: it ends with this process, and a later run sweeps it.
                std::mem::forget(hierarchy.group(std::process::id(), share)?);
                Ok(hierarchy)
            };
            own().map_err(|error: anyhow::Error| format!("{error:#}"))
        });
        let hierarchy = hierarchy.as_ref().map_err(|reason| anyhow!("TESTBOX_CPU can't be kept: {reason}"))?;
        let group = hierarchy.group(process, share);
        Ok(Some(group.with_context(|| format!("TESTBOX_CPU can't be kept for process {process}"))?))
    }
}

impl Drop for CpuGroup {
    fn drop(&mut self) {
        // Fails while something is left in it; then a later run sweeps it.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Where groups are made.
struct Hierarchy {
    folder: PathBuf,
    /// Of control groups, 1 or 2.
    version: u8,
}

impl Hierarchy {
    /// The one that this process is in, before it is moved.
    fn find() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/cgroup").context("/proc/self/cgroup")?;
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let is_version_1 = controllers.split(',').any(|controller| controller == "cpu");
            let mounted = Path::new("/sys/fs/cgroup").join(if is_version_1 { controllers } else { "" });
            let folder = mounted.join(path.trim_start_matches('/'));
            if is_version_1 && folder.join("cpu.cfs_quota_us").exists() {
                return Ok(Self { folder, version: 1 });
            }
            let has_cpu = |file: &str| {
                let listed = fs::read_to_string(folder.join(file)).unwrap_or_default();
                listed.split_whitespace().any(|controller| controller == "cpu")
            };
            if controllers.is_empty() && has_cpu("cgroup.controllers") {
                if !has_cpu("cgroup.subtree_control") {
                    let control = folder.join("cgroup.subtree_control");
                    fs::write(&control, "+cpu").with_context(|| control.display().to_string())?;
                }
                return Ok(Self { folder, version: 2 });
            }
        }
        bail!("no control groups for cpu are mounted below /sys/fs/cgroup")
    }

    fn group(&self, process: u32, share: f64) -> Result<CpuGroup> {
        let folder = self.folder.join(format!("{NAME}-{}-{process}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let group = CpuGroup { folder };
        let quota = (f64::from(PERIOD_MICROSECONDS) * share).round();
        match self.version {
            1 => {
                group.write("cpu.cfs_period_us", &PERIOD_MICROSECONDS.to_string())?;
                group.write("cpu.cfs_quota_us", &quota.to_string())?;
            }
            _ => group.write("cpu.max", &format!("{quota} {PERIOD_MICROSECONDS}"))?,
        }
        group.write("cgroup.procs", &process.to_string())?;
        Ok(group)
    }

    /// Removes what former runs left.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(NAME).and_then(|rest| rest.split('-').nth(1)?.parse::<u32>().ok());
            if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

impl CpuGroup {
    fn write(&self, file: &str, text: &str) -> Result<()> {
        let file = self.folder.join(file);
        fs::write(&file, text).with_context(|| file.display().to_string())
    }
}
