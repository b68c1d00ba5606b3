//! Metrics, names and help in one place. Gauges are made at each scrape from the latest report; only happenings are
//! counted. Labels are words of closed lists, never an error's text, a pod, a node or a digest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::domain::finding::Reason;
use crate::domain::report::{Report, Status};

type Labels = [(&'static str, &'static str); 1];
type TwoLabels = [(&'static str, &'static str); 2];

/// Bounds of the buckets of a pass, in seconds.
const PASS_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// All metrics of a controller.
pub struct Metrics {
    passes: Family<Labels, Counter>,
    glass_broken: Counter,
    pass_seconds: Histogram,
    leads: AtomicBool,
    ready: AtomicBool,
    latest: Mutex<Option<Report>>,
    /// Whether there still is what the latest report is about.
    exists: Mutex<Box<dyn Fn() -> bool + Send>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            passes: Family::default(),
            glass_broken: Counter::default(),
            pass_seconds: Histogram::new(PASS_SECONDS),
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
        let broken = report.events.iter().filter(|event| event.reason == Reason::GlassBroken.as_str());
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
        let mut registry = Registry::with_prefix("imageset_controller");
        registry.register("passes", "Passes over the policy", self.passes.clone());
        registry.register("pass_duration_seconds", "Time that a pass took", self.pass_seconds.clone());
        let help = "Operator images that passed the gate by the annotation break-glass alone";
        registry.register("break_glass", help, self.glass_broken.clone());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of this controller", build);
        let leader: Gauge = Gauge::default();
        leader.set(i64::from(self.leads.load(Ordering::Relaxed)));
        registry.register("leader", "1 if this instance leads", leader);
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let exists = self.exists.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = latest.as_ref().filter(|_| exists()) {
            of_report(&mut registry, report);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn of_report(registry: &mut Registry, report: &Report) {
    let conditions: Family<TwoLabels, Gauge> = Family::default();
    for condition in &report.conditions {
        for status in [Status::True, Status::False, Status::Unknown] {
            let labels = [("type", condition.r#type.as_str()), ("status", status.as_str())];
            conditions.get_or_create(&labels).set(i64::from(condition.status == status));
        }
    }
    registry.register("condition", "1 for the status that a condition of the policy has", conditions);
    let findings: Family<Labels, Gauge> = Family::default();
    for finding in &report.findings {
        findings.get_or_create(&[("reason", finding.reason.as_str())]).inc();
    }
    registry.register("findings", "Things that a person should know, by reason", findings);
    let adopted: Gauge = Gauge::default();
    adopted.set(i64::from(report.current.as_ref().is_some_and(|current| current.adopted)));
    registry.register("adopted", "1 if every workload runs the target's set", adopted);
    let stored: Gauge = Gauge::default();
    stored.set(i64::from(report.current.as_ref().is_some_and(|current| current.stored)));
    registry.register("stored", "1 if the target's set is stored", stored);
    let verified: Gauge = Gauge::default();
    let at = report.current.as_ref().and_then(|current| current.last_verified);
    verified.set(at.map_or(0, |at| at.as_second()));
    let help = "When all digests of the target's set were last compared with the registry, 0 for never";
    registry.register("last_verification_timestamp_seconds", help, verified);
}
