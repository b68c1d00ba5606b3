use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{ComponentReport, ConditionType, Finding, PreparedReport};

/// A report with every field set, and more entries than a cluster has.
fn full() -> Report {
    let component = |index: usize| ComponentReport {
        name: format!("component-{index}-of-a-rather-long-name"),
        available: true,
        progressing: false,
        degraded: false,
    };
    let prepared = |index: usize| PreparedReport {
        version: format!("registry.example.com/a/rather/long/path/operator:v1.42.{index}").parse().unwrap(),
        image_set: None,
        images: 0,
        state: None,
        message: None,
        discovered: false,
        requested_until: None,
        operator_image: None,
    };
    let condition = |r#type| crate::model::Condition {
        r#type,
        status: crate::model::Status::True,
        reason: Reason::Progressing,
        message: String::new(),
    };
    Report {
        components: Some((0..1000).map(component).collect()),
        prepared: (0..1000).map(prepared).collect(),
        conditions: ConditionType::ALL.map(condition).to_vec(),
        findings: vec![Finding::new(Reason::TagMoved, crate::model::ObjectRef::image_set("a"), ""); 3],
        ..Report::default()
    }
}

fn rendered() -> String {
    let metrics = Metrics::default();
    metrics.set_leading(true);
    metrics.report(&full());
    metrics.registry.begin("get", "Timeout").end("Ok");
    metrics.api.begin("patch", "timeout").end("2xx");
    metrics.render().unwrap()
}

/// Parses the names and labels of a scrape.
fn scraped(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut scraped: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = line.split_once('{').map_or((line, ""), |(name, rest)| (name, rest));
        let name = name.split(' ').next().unwrap_or_default();
        let name = ["_bucket", "_sum", "_count"].iter().fold(name, |name, suffix| name.trim_end_matches(suffix));
        let labels = labels.rsplit_once('}').map_or("", |(labels, _)| labels);
        let names = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        scraped.entry(name.to_owned()).or_default().extend(names.filter(|label| label != "le"));
    }
    scraped
}

#[test]
fn the_table_describes_exactly_what_is_exported() {
    let wanted: BTreeMap<String, BTreeSet<String>> = table::ALL
        .iter()
        .map(|one| (one.full_name(), one.labels.iter().map(|(label, _)| (*label).to_owned()).collect()))
        .collect();
    assert_eq!(scraped(&rendered()), wanted);
}

#[test]
fn nothing_grows_with_the_cluster() {
    let text = rendered();
    assert!(text.len() < 64 * 1024, "{} bytes", text.len());
    assert_eq!(text.lines().filter(|line| line.contains("tigerastatus_condition{")).count(), 3 * 64);
}

#[test]
fn a_reason_without_findings_is_zero() {
    let text = rendered();
    let line = |reason: &str| {
        let start = format!("imageset_controller_findings{{reason=\"{reason}\"");
        text.lines().find(|line| line.starts_with(&start)).unwrap_or_default().to_owned()
    };
    assert!(line("TagMoved").ends_with(r#"condition="Drifted",severity="Warning"} 3"#), "{}", line("TagMoved"));
    assert!(line("FipsMismatch").ends_with(" 0"), "{}", line("FipsMismatch"));
    assert_eq!(line("Succeeded"), "");
}

#[test]
fn only_the_leader_exports_metrics_of_the_policy() {
    let metrics = Metrics::default();
    metrics.report(&full());
    metrics.set_leading(false);
    let exported: BTreeSet<String> = scraped(&metrics.render().unwrap()).into_keys().collect();
    let of_policy = table::ALL.iter().filter(|one| one.of_policy).map(MetricDescription::full_name);
    assert_eq!(of_policy.filter(|name| exported.contains(name)).collect::<Vec<_>>(), Vec::<String>::new());
    assert!(exported.contains("imageset_controller_leader"));
}
