//! The page of all metrics, made from the table that they are registered with.

use std::fmt::Write as _;

use imageset_controller::metrics::table::{ALL, Kind, MetricDescription};

use super::assert_current;
use super::reference::cell;

const HEAD: &str = "\
# Metrics

<!-- Made from src/metrics/table.rs by `UPDATE=1 cargo test --test docs`; don't edit. -->

The controller serves OpenMetrics text at `/metrics` on port 8080. The metrics contain no secrets, no error texts, and no names of pods, nodes or
digests, and their number does not grow with the cluster. Labels have the values that are listed here; the reasons are those of
[reasons](reasons.md). Counters of reconciles (`passes`) and writes start at 0, so that `increase()` sees the first one.
";

const OF_POLICY: &str = "\
Gauges of the policy `default`, rendered at each scrape from its status. Only the leader exports them, and only while a policy exists, so that sums over
instances count nothing twice.
";

const OF_INSTANCE: &str = "Each instance counts for itself, from its start.\n";

const OF_PROCESS: &str = "Standard process metrics, without the product's prefix.\n";

fn rows(page: &mut String, wanted: impl Fn(&MetricDescription) -> bool) {
    page.push_str("\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for one in ALL.iter().filter(|one| wanted(one)) {
        let kind = match one.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        };
        let labels: Vec<String> =
            one.labels.iter().map(|(label, values)| format!("`{label}`: {}", cell(values))).collect();
        writeln!(page, "| `{}` | {kind} | {} | {} |", one.full_name(), labels.join("<br>"), cell(one.help)).unwrap();
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    write!(page, "\n## Of the policy\n\n{OF_POLICY}").unwrap();
    rows(&mut page, |one| one.of_policy);
    write!(page, "\n## Of the instance\n\n{OF_INSTANCE}").unwrap();
    rows(&mut page, |one| !one.of_policy && !one.of_process);
    write!(page, "\n## Of the process\n\n{OF_PROCESS}").unwrap();
    rows(&mut page, |one| one.of_process);
    page
}

#[test]
fn the_page_of_metrics_says_what_the_code_says() {
    assert_current("docs/reference/metrics.md", &page());
}
