//! Alerts and dashboard: they ask for metrics and words that exist, each alert has its page, and the rules for the Prometheus
//! operator are the plain ones. That they fire and have data is seen with a real Prometheus, elsewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use imageset_controller::metrics::table::ALL;
use imageset_controller::model::{ConditionType, Reason, Severity};
use serde_json::Value;

use super::{assert_current, root, text};

const RULE: &str = "\
# The alerts of rules.yaml for the Prometheus operator; made from it by `UPDATE=1 cargo test --test docs`, don't edit. If your
# Prometheus selects rules by a label, add it in an overlay.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: imageset-controller
  namespace: imageset-controller
  labels:
    app.kubernetes.io/name: imageset-controller
spec:
";

const PARTS: [&str; 4] = ["What it means", "Impact", "Diagnosis", "Fix"];

fn rules() -> Vec<Value> {
    let rules: Value = imageset_controller::yaml::from_str(&text("deploy/monitoring/rules.yaml")).unwrap();
    rules["groups"][0]["rules"].as_array().unwrap().clone()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// All questions to Prometheus.
fn queries() -> Vec<String> {
    let dashboard: Value = imageset_controller::yaml::from_str(&text("deploy/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    let of_dashboard: Vec<String> = targets.map(|target| word(&target["expr"])).collect();
    assert!(of_dashboard.len() > 15 && rules().len() > 10);
    rules().iter().map(|rule| word(&rule["expr"])).chain(of_dashboard).collect()
}

/// Whether a metric has a label that can have this value.
fn can_be(metric: &str, label: &str, value: &str) -> bool {
    let Some(described) = ALL.iter().find(|one| one.full_name() == metric) else { return false };
    let Some((_, values)) = described.labels.iter().find(|(name, _)| *name == label) else { return false };
    match (described.name, label) {
        (_, "reason") => Reason::ALL.iter().any(|reason| reason.as_str() == value),
        ("findings", "condition") | ("condition", "type") => ConditionType::ALL.iter().any(|one| one.as_str() == value),
        (_, "severity") => Severity::ALL.iter().any(|one| one.to_string() == value),
        _ => values.split([',', ' ', ':']).any(|one| one == value),
    }
}

/// What a query asks for that does not exist.
fn unknown(query: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    for part in query.split("imageset_controller_").skip(1) {
        let end =
            part.find(|character: char| !character.is_ascii_lowercase() && character != '_').unwrap_or(part.len());
        let name = format!("imageset_controller_{}", part[..end].trim_end_matches("_bucket"));
        if ALL.iter().all(|one| one.full_name() != name) {
            unknown.push(name.clone());
        }
        let Some(matchers) = part[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')) else { continue };
        for matcher in matchers.0.split(',') {
            let (label, values) = matcher.split_at(matcher.find(['=', '!']).unwrap());
            let values = values.trim_start_matches(['=', '!', '~']).trim_matches('"');
            let wrong = values.split('|').filter(|value| !can_be(&name, label, value));
            unknown.extend(wrong.map(|value| format!("{name}{{{label}={value}}}")));
        }
    }
    unknown
}

#[test]
fn alerts_and_dashboard_ask_for_what_exists() {
    let unknown: Vec<String> = queries().iter().flat_map(|query| unknown(query)).collect();
    assert_eq!(unknown, Vec::<String>::new());
}

#[test]
fn what_does_not_exist_is_found() {
    assert_eq!(unknown("sum(imageset_controller_fidings) > 0"), ["imageset_controller_fidings"]);
    let query =
        r#"imageset_controller_findings{reason=~"TagMoved|TagMooved",tone="x"} > imageset_controller_passes_total"#;
    assert_eq!(
        unknown(query),
        ["imageset_controller_findings{reason=TagMooved}", "imageset_controller_findings{tone=x}"]
    );
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let mut pages: BTreeSet<String> = fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(pages.remove("README.md"));
    let index = text("docs/runbooks/README.md");
    for rule in rules() {
        let alert = word(&rule["alert"]);
        assert!(pages.remove(&format!("{alert}.md")), "{alert} has no page");
        let path = format!("docs/runbooks/{alert}.md");
        assert_eq!(word(&rule["annotations"]["runbook_url"]), path);
        let page = text(&path);
        let severity = word(&rule["labels"]["severity"]);
        assert!(
            page.starts_with(&format!("# {alert}\n")) && page.contains(&format!("Severity: {severity}.")),
            "{path}"
        );
        assert!(index.contains(&format!("| [{alert}]({alert}.md) | {severity} |")), "{alert} is not in the index");
        let parts: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(parts, PARTS, "{path}");
    }
    assert!(pages.is_empty(), "without an alert: {pages:?}");
}

#[test]
fn the_rules_for_the_prometheus_operator_are_the_plain_ones() {
    let plain = text("deploy/monitoring/rules.yaml");
    let mut made = RULE.to_owned();
    for line in plain.lines().filter(|line| !line.starts_with('#')) {
        writeln!(made, "  {line}").unwrap();
    }
    assert_current("deploy/monitoring/prometheus-rule.yaml", &made);
}
