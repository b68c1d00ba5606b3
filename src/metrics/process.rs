//! Metrics of the process, under the names of Prometheus' own client libraries. Read from `/proc`; without it, none are exported.

use std::fs::read_to_string;
use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::table;

/// Clock ticks of `/proc` per second: `USER_HZ`, which is 100 on every architecture of Linux.
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

/// Returns the resident memory in bytes.
fn resident() -> Option<i64> {
    let status = read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<i64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Returns the CPU time in seconds, and the start of the process in seconds since 1970.
fn times() -> Option<(f64, f64)> {
    let stat = read_to_string("/proc/self/stat").ok()?;
    // The name of the program is in parentheses and may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    // Fields 14, 15 and 22 of proc(5), the third being the first after the name.
    let (user, system, started) = (field(11)?, field(12)?, field(19)?);
    let boot = read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(((user + system) / TICKS, boot + started / TICKS))
}
