//! Gauges of the latest report, computed at each scrape.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::{register as add, table};
use crate::model::{GoalState, PreparedReport, Report, Status, report::MOST_FINDINGS};

type Gauges = Family<Vec<(&'static str, String)>, Gauge>;

/// Registers all gauges of a report.
pub(super) fn register(registry: &mut Registry, report: &Report) {
    conditions(registry, report);
    findings(registry, report);
    current(registry, report);
    prepared(registry, report);
    components(registry, report);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let image_set = report.current.as_ref().map(|current| current.image_set.clone()).unwrap_or_default();
    let (running, target) = (text(&report.operator.version), text(&report.operator.target));
    add(registry, &table::OPERATOR, Info::new([("running", running), ("target", target), ("image_set", image_set)]));
}

fn conditions(registry: &mut Registry, report: &Report) {
    let gauges = Gauges::default();
    for condition in &report.conditions {
        for status in [Status::True, Status::False, Status::Unknown] {
            let labels = vec![("type", condition.r#type.to_string()), ("status", status.as_str().to_owned())];
            gauges.get_or_create(&labels).set(i64::from(condition.status == status));
        }
    }
    add(registry, &table::CONDITION, gauges);
}

fn findings(registry: &mut Registry, report: &Report) {
    let gauges = Gauges::default();
    for reason in table::reasons_of_findings() {
        let labels = vec![
            ("reason", reason.to_string()),
            ("condition", reason.condition().to_string()),
            ("severity", reason.severity().to_string()),
        ];
        let found = report.findings.iter().filter(|finding| finding.reason == reason).count();
        gauges.get_or_create(&labels).set(number(found));
    }
    add(registry, &table::FINDINGS, gauges);
}

fn current(registry: &mut Registry, report: &Report) {
    let current = report.current.clone().unwrap_or_default();
    let verified = current.last_verified.map_or(0, |at| at.as_second());
    for (described, value) in [
        (table::STORED, i64::from(current.stored)),
        (table::ADOPTED, i64::from(current.adopted)),
        (table::IMAGES, number(current.images)),
        (table::WORKLOADS, number(current.workloads.total)),
        (table::WORKLOADS_PINNED, number(current.workloads.pinned)),
        (table::WORKLOADS_ROLLED_OUT, number(current.workloads.complete)),
        (table::VERIFIED, verified),
    ] {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        add(registry, &described, gauge);
    }
}

fn prepared(registry: &mut Registry, report: &Report) {
    let (each, all) = (Gauges::default(), Gauges::default());
    for state in table::PREPARED_STATES {
        let such =
            report.prepared.iter().filter(|prepared| !prepared.discovered && state_of(prepared) == state).count();
        all.get_or_create(&vec![("state", state.to_owned())]).set(number(such));
    }
    for version in report.prepared.iter().take(MOST_FINDINGS) {
        let labels = vec![("version", version.version.to_string()), ("state", state_of(version).to_owned())];
        each.get_or_create(&labels).set(1);
    }
    add(registry, &table::PREPARED_VERSION, each);
    add(registry, &table::PREPARED_VERSIONS, all);
}

/// Returns the state as the status shows it.
fn state_of(prepared: &PreparedReport) -> &'static str {
    match prepared.state {
        None => "NeedsInspection",
        Some(GoalState::Stored) => "Staged",
        Some(GoalState::Waiting | GoalState::Ready) => "Waiting",
        Some(GoalState::Conflict) => "Conflict",
        Some(GoalState::Resolving | GoalState::Held) => "Held",
    }
}

fn components(registry: &mut Registry, report: &Report) {
    let gauges = Gauges::default();
    for component in report.components.iter().flatten().take(MOST_FINDINGS) {
        let holds = [
            ("Available", component.available),
            ("Progressing", component.progressing),
            ("Degraded", component.degraded),
        ];
        for (r#type, holds) in holds {
            let labels = vec![("component", component.name.clone()), ("type", r#type.to_owned())];
            gauges.get_or_create(&labels).set(i64::from(holds));
        }
    }
    add(registry, &table::TIGERASTATUS, gauges);
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
