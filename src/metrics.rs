//! Metrics of a controller. Gauges are computed from the latest report at each scrape; only events are counted, where they happen.
//! Labels are values of closed lists or bounded names (a TigeraStatus, a release), never the text of an error, a pod, a node or a
//! digest: nothing here grows with the cluster.

mod gauges;
mod process;
pub mod table;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use crate::model::{Reason, Report};
use crate::request_metrics::RequestMetrics;
use table::MetricDescription;

/// Prefix of every name except those of the process.
const PREFIX: &str = "imageset_controller";
/// Upper bounds of the buckets of a reconcile, in seconds.
const RECONCILE_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counts events by their result.
pub type Results = Family<[(&'static str, &'static str); 1], Counter>;

/// All metrics of a controller.
pub struct Metrics {
    reconciles: Results,
    reconcile_seconds: Histogram,
    glass_broken: Counter,
    /// Writes to the API server, by result.
    pub writes: Results,
    /// Requests to registries.
    pub registry: RequestMetrics,
    /// Requests to the API server.
    pub api: RequestMetrics,
    is_leader: AtomicBool,
    ready: AtomicBool,
    latest: Mutex<Option<Report>>,
    /// Whether the object of the latest report still exists.
    exists: Mutex<Box<dyn Fn() -> bool + Send>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (reconciles, writes) = (Results::default(), Results::default());
        for (counters, results) in [(&reconciles, table::RECONCILE_RESULTS), (&writes, table::WRITE_RESULTS)] {
            // A result that never occurred is 0, not absent: alerts need the difference.
            results.iter().for_each(|result| drop(counters.get_or_create(&[("result", *result)])));
        }
        Self {
            reconciles,
            reconcile_seconds: Histogram::new(RECONCILE_BUCKETS),
            glass_broken: Counter::default(),
            writes,
            registry: RequestMetrics::default(),
            api: RequestMetrics::default(),
            is_leader: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            latest: Mutex::default(),
            exists: Mutex::new(Box::new(|| true)),
        }
    }
}

impl Metrics {
    /// Counts a reconcile.
    pub fn count_reconcile(&self, time: Duration, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.reconciles.get_or_create(&[("result", result)]).inc();
        self.reconcile_seconds.observe(time.as_secs_f64());
    }

    /// Counts the events of a report, and keeps it for the next scrape.
    pub fn report(&self, report: &Report) {
        let broken = report.events.iter().filter(|event| event.reason == Reason::GlassBroken);
        self.glass_broken.inc_by(u64::try_from(broken.count()).unwrap_or_default());
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
    }

    /// Exports reports only while `exists` returns true. Called at each scrape, because nothing reconciles a deleted policy.
    pub fn report_while(&self, exists: impl Fn() -> bool + Send + 'static) {
        *self.exists.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(exists);
    }

    /// Sets whether this instance is the leader. Other instances export nothing about the policy.
    pub fn set_leading(&self, is_leader: bool) {
        self.is_leader.store(is_leader, Ordering::Relaxed);
        if !is_leader {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Notes that the API server has responded.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether the API server has responded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Returns the current metrics as OpenMetrics text.
    ///
    /// # Errors
    /// None in practice: writing to a string does not fail.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut whole = Registry::default();
        process::register(&mut whole);
        let registry = whole.sub_registry_with_prefix(PREFIX);
        register(registry, &table::RECONCILES, self.reconciles.clone());
        register(registry, &table::RECONCILE_DURATION, self.reconcile_seconds.clone());
        register(registry, &table::WRITES, self.writes.clone());
        register(registry, &table::BREAK_GLASS, self.glass_broken.clone());
        register(registry, &table::REGISTRY_REQUESTS, self.registry.requests.clone());
        register(registry, &table::REGISTRY_DURATION, self.registry.seconds.clone());
        register(registry, &table::API_REQUESTS, self.api.requests.clone());
        register(registry, &table::API_DURATION, self.api.seconds.clone());
        register(registry, &table::BUILD, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let leader: Gauge = Gauge::default();
        leader.set(i64::from(self.is_leader.load(Ordering::Relaxed)));
        register(registry, &table::LEADER, leader);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let exists = self.exists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = latest.as_ref().filter(|_| exists()) {
            gauges::register(registry, report);
        }
        let mut text = String::new();
        encode(&mut text, &whole)?;
        Ok(text)
    }
}

/// Registers a metric with the name and help text of the table.
fn register(registry: &mut Registry, described: &MetricDescription, metric: impl Metric) {
    registry.register(described.name, described.help, metric);
}

#[cfg(test)]
mod tests;
