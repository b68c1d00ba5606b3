//! Requests to one kind of server, counted by how they ended and by how long that took. Those who make requests count them; names
//! and help are the metrics' business.

use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;

/// Bounds of the buckets, in seconds.
const SECONDS: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

type Verb = [(&'static str, &'static str); 1];
type VerbAndResult = [(&'static str, &'static str); 2];

/// See the module. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// By verb and result.
    pub(crate) requests: Family<VerbAndResult, Counter>,
    /// By verb.
    pub(crate) seconds: Family<Verb, Histogram, Buckets>,
}

/// Makes the histogram of a verb.
#[derive(Debug, Clone)]
pub(crate) struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

impl Default for Traffic {
    fn default() -> Self {
        Self { requests: Family::default(), seconds: Family::new_with_constructor(Buckets) }
    }
}

impl Traffic {
    /// A request that begins now. If nobody says how it ended, it was given up, and counts with that word.
    #[must_use]
    pub fn begin(&self, verb: &'static str, given_up: &'static str) -> UnderWay {
        UnderWay { traffic: self.clone(), verb, result: given_up, since: Instant::now() }
    }

    fn count(&self, verb: &'static str, result: &'static str, took: Duration) {
        self.requests.get_or_create(&[("verb", verb), ("result", result)]).inc();
        // A watch lasts as long as it lasts.
        if verb != "watch" {
            self.seconds.get_or_create(&[("verb", verb)]).observe(took.as_secs_f64());
        }
    }
}

/// A request whose end is counted, however it ends.
pub struct UnderWay {
    traffic: Traffic,
    verb: &'static str,
    result: &'static str,
    since: Instant,
}

impl UnderWay {
    /// It ended like this.
    pub fn end(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.traffic.count(self.verb, self.result, self.since.elapsed());
    }
}
