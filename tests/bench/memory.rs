//! What a process takes, as the kernel counts it.

use std::time::Duration;

/// The kernel's unit of a process' time, the same on every Linux that we know.
const TICKS_PER_SECOND: u64 = 100;

/// A value of `/proc/PID/status`, such as `VmRSS` or `VmHWM`; `None` where the process has none (any more).
pub fn mebibytes(process: u32, name: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let rest = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: f64 = rest.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kibibytes / 1024.0)
}

/// The time that a process has had of the processors, in user and system mode together, in steps of 10 ms.
pub fn processor_time(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}
