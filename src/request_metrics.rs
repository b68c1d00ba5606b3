//! Counts requests to one kind of server by verb and result, and measures how long they take. Those who send requests count them; names
//! and help texts are in `metrics::table`.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets, in seconds.
const BUCKETS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

type Verb = [(&'static str, &'static str); 1];
type VerbAndResult = [(&'static str, &'static str); 2];

/// Metrics of requests to one kind of server. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    /// By verb and result.
    pub(crate) requests: Family<VerbAndResult, Counter>,
    /// By verb.
    pub(crate) seconds: Family<Verb, Histogram, NewHistogram>,
}

/// Creates the histogram of a verb.
#[derive(Debug, Clone)]
pub(crate) struct NewHistogram;

impl MetricConstructor<Histogram> for NewHistogram {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self { requests: Family::default(), seconds: Family::new_with_constructor(NewHistogram) }
    }
}

impl RequestMetrics {
    /// Starts to measure a request. One that is dropped before [`MeasuredRequest::end`] counts with the result `abandoned`.
    #[must_use]
    pub fn begin(&self, verb: &'static str, abandoned: &'static str) -> MeasuredRequest {
        MeasuredRequest { metrics: self.clone(), verb, result: abandoned, since: Instant::now() }
    }

    fn count(&self, verb: &'static str, result: &'static str, took: Duration) {
        self.requests.get_or_create(&[("verb", verb), ("result", result)]).inc();
        // The duration of a watch means nothing.
        if verb != "watch" {
            self.seconds.get_or_create(&[("verb", verb)]).observe(took.as_secs_f64());
        }
    }
}

/// A request under way, which is counted on drop.
pub struct MeasuredRequest {
    metrics: RequestMetrics,
    verb: &'static str,
    result: &'static str,
    since: Instant,
}

impl MeasuredRequest {
    /// Ends the request with a result.
    pub fn end(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for MeasuredRequest {
    fn drop(&mut self) {
        self.metrics.count(self.verb, self.result, self.since.elapsed());
    }
}
