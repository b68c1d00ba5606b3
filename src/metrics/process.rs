//! What every process tells of itself, by the names that Prometheus' own client libraries use. Read from `/proc`; where that is
//! not there, nothing is told.

use std::fs::read_to_string;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::table;

/// Clock ticks of `/proc` in a second: `USER_HZ`, which is 100 on every architecture that Linux gives to programs.
const TICKS: f64 = 100.0;

pub(super) fn register(registry: &mut Registry) {
    if let Some(bytes) = resident() {
        let gauge: Gauge = Gauge::default();
        gauge.set(bytes);
        super::register(registry, &table::RESIDENT, gauge);
    }
    let Some((cpu, start)) = times() else { return };
    let counter: Counter<f64, AtomicU64> = Counter::default();
    counter.inc_by(cpu);
    super::register(registry, &table::CPU, counter);
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(start);
    super::register(registry, &table::START, gauge);
}

/// Resident memory in bytes.
fn resident() -> Option<i64> {
    let status = read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<i64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Seconds of processor time, and when the process was started, in seconds since 1970.
fn times() -> Option<(f64, f64)> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    // Fields 14, 15 and 22 of proc(5), the third being the first after the name.
    let (user, system, started) = (field(11)?, field(12)?, field(19)?);
    let boot = read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(((user + system) / TICKS, boot + started / TICKS))
}
