//! Metrics of a controller. Gauges are made at each scrape from the latest report; only happenings are counted, by those to whom
//! they happen. Labels are words of closed lists or bounded names (a TigeraStatus, a release), never an error's text, a pod, a node
//! or a digest: nothing here grows with the cluster.

mod of_report;
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

use crate::model::reason::Reason;
use crate::model::report::Report;
use crate::traffic::Traffic;
use table::Described;

/// In front of every name but those of the process.
const PREFIX: &str = "imageset_controller";
/// Bounds of the buckets of a pass, in seconds.
const PASS_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Happenings by the one word that tells how they ended.
pub type Results = Family<[(&'static str, &'static str); 1], Counter>;

/// All metrics of a controller.
pub struct Metrics {
    passes: Results,
    pass_seconds: Histogram,
    glass_broken: Counter,
    /// Writes to the API server that were decided upon.
    pub writes: Results,
    /// Requests to registries.
    pub registry: Traffic,
    /// Requests to the API server.
    pub api: Traffic,
    leads: AtomicBool,
    ready: AtomicBool,
    latest: Mutex<Option<Report>>,
    /// Whether there still is what the latest report is about.
    exists: Mutex<Box<dyn Fn() -> bool + Send>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let (passes, writes) = (Results::default(), Results::default());
        for (results, words) in [(&passes, table::PASS_RESULTS), (&writes, table::WRITE_RESULTS)] {
            // What never happened is 0 and not absent: alerts need the difference.
            words.iter().for_each(|word| drop(results.get_or_create(&[("result", *word)])));
        }
        Self {
            passes,
            pass_seconds: Histogram::new(PASS_SECONDS),
            glass_broken: Counter::default(),
            writes,
            registry: Traffic::default(),
            api: Traffic::default(),
            leads: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            latest: Mutex::default(),
            exists: Mutex::new(Box::new(|| true)),
        }
    }
}

impl Metrics {
    /// Counts a pass.
    pub fn pass_took(&self, time: Duration, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.passes.get_or_create(&[("result", result)]).inc();
        self.pass_seconds.observe(time.as_secs_f64());
    }

    /// Counts what the report says has happened, and keeps it for the next scrape.
    pub fn report(&self, report: &Report) {
        let broken = report.events.iter().filter(|event| event.reason == Reason::GlassBroken);
        self.glass_broken.inc_by(u64::try_from(broken.count()).unwrap_or_default());
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
    }

    /// Reports are told only as long as there is a policy. Asked at each scrape, because nobody makes a pass over a policy
    /// that is gone.
    pub fn tell_while(&self, exists: impl Fn() -> bool + Send + 'static) {
        *self.exists.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(exists);
    }

    /// Says whether this instance leads. One that does not has nothing to tell of the policy.
    pub fn set_leading(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
        if !leads {
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Says that the API server has answered.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// Whether the API server has answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The OpenMetrics text of this moment.
    ///
    /// # Errors
    /// Never in practice: writing into a string does not fail.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut whole = Registry::default();
        process::register(&mut whole);
        let registry = whole.sub_registry_with_prefix(PREFIX);
        register(registry, &table::PASSES, self.passes.clone());
        register(registry, &table::PASS_DURATION, self.pass_seconds.clone());
        register(registry, &table::WRITES, self.writes.clone());
        register(registry, &table::BREAK_GLASS, self.glass_broken.clone());
        register(registry, &table::REGISTRY_REQUESTS, self.registry.requests.clone());
        register(registry, &table::REGISTRY_DURATION, self.registry.seconds.clone());
        register(registry, &table::API_REQUESTS, self.api.requests.clone());
        register(registry, &table::API_DURATION, self.api.seconds.clone());
        register(registry, &table::BUILD, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let leader: Gauge = Gauge::default();
        leader.set(i64::from(self.leads.load(Ordering::Relaxed)));
        register(registry, &table::LEADER, leader);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let exists = self.exists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = latest.as_ref().filter(|_| exists()) {
            of_report::register_all(registry, report);
        }
        let mut text = String::new();
        encode(&mut text, &whole)?;
        Ok(text)
    }
}

/// With the name and help that the table has for it.
fn register(registry: &mut Registry, described: &Described, metric: impl Metric) {
    registry.register(described.name, described.help, metric);
}

#[cfg(test)]
mod tests;
