//! What a process takes, as the kernel counts it.

/// A value of `/proc/PID/status`, such as `VmRSS` or `VmHWM`; `None` where the process has none (any more).
pub fn mebibytes(process: u32, name: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: f64 = rest.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes / 1024.0)
}
