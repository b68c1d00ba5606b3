//! The one mapping of the status: from a report to the API's type, and back to the facts that later reconciles depend on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::api::{
    ComponentStatus, CurrentSet, DiscoveryStatus, Finding, FindingObject, GateStatus, ImageSetPolicyStatus,
    OperatorStatus, PendingWorkload, Plan, PlanAction, PlannedChange, PreparedSet, PreparedState, RetainedSet,
    SwapStatus, WorkloadProgress,
};
use crate::model::report::{self, MOST_FINDINGS};
use crate::model::{
    Action, ConditionType, Discovery, Evidence, EvidenceText, GoalState, Motive, PreviousStatus, Reason, Report,
    Retained, Status, Subject, Swap, adoption, condition, finding, foreign_text,
};

/// Longest status, in bytes of JSON: well below what etcd takes (1.5 MiB), also with the other half of a write in it.
const LONGEST_STATUS: usize = 256 * 1024;

/// Returns the status with the content of the report; times are kept where nothing changed.
#[must_use]
pub fn of_report(before: &ImageSetPolicyStatus, report: &Report, now: &Time) -> ImageSetPolicyStatus {
    let status = of_knowledge(before, report, now);
    if !report.inputs_unreadable {
        return bounded(status, report.findings.len());
    }
    let before = before.clone();
    let status = ImageSetPolicyStatus {
        operator: before.operator,
        current: before.current,
        prepared: before.prepared,
        discovery: before.discovery,
        retained: before.retained,
        last_swap: before.last_swap,
        ..status
    };
    bounded(status, report.findings.len())
}

/// A status that is no longer than [`LONGEST_STATUS`]. Every text in it is bounded where it is made; here the lists become
/// shorter, the longest and least important first. `found` is how many findings there are.
fn bounded(status: ImageSetPolicyStatus, found: usize) -> ImageSetPolicyStatus {
    let mut status = status;
    let mut kept = status.findings.len();
    loop {
        status.findings.truncate(kept);
        if let Some(more) = found.checked_sub(kept).filter(|more| *more > 0) {
            status.findings.push(more_findings(more));
        }
        if serde_json::to_vec(&status).is_ok_and(|json| json.len() <= LONGEST_STATUS) {
            return status;
        }
        if let Some(plan) = status.plan.as_mut().filter(|plan| !plan.waits_for.is_empty()) {
            // The findings say the same.
            plan.waits_for.clear();
        } else if kept > 0 {
            kept -= kept.div_ceil(8);
        } else if let Some(current) = status.current.as_mut().filter(|current| current.workloads.is_some()) {
            current.workloads = None;
        } else if !status.components.is_empty() {
            status.components.clear();
        } else if status.prepared.iter().any(|prepared| prepared.message.is_some()) {
            status.prepared.iter_mut().for_each(|prepared| prepared.message = None);
        } else {
            return status;
        }
    }
}

/// The last line of a list of findings that is not whole.
fn more_findings(more: usize) -> Finding {
    let reason = Reason::FindingsCut;
    Finding {
        reason: reason.to_string(),
        object: None,
        message: format!("{more} more findings"),
        have: None,
        want: None,
        next_step: Some(reason.next_step().to_owned()),
        since: None,
    }
}

/// As [`of_report`], from this report alone.
fn of_knowledge(before: &ImageSetPolicyStatus, report: &Report, now: &Time) -> ImageSetPolicyStatus {
    ImageSetPolicyStatus {
        observed_generation: Some(report.generation),
        operator: Some(operator(report)),
        current: report.current.as_ref().map(|current| CurrentSet {
            image_set: current.image_set.clone(),
            stored: current.stored,
            images: count(current.images),
            omitted: current.omitted.clone(),
            adopted: current.adopted,
            workloads: (current.workloads.total > 0).then(|| WorkloadProgress {
                total: count(current.workloads.total),
                pinned: count(current.workloads.pinned),
                complete: count(current.workloads.complete),
                pending: current.workloads.pending.iter().take(MOST_FINDINGS).map(pending).collect(),
            }),
            last_verified_time: current.last_verified.map(|at| seconds(&Time(at))),
        }),
        prepared: report.prepared.iter().map(prepared).collect(),
        discovery: report.discovery.as_ref().map(|discovery| DiscoveryStatus {
            last_checked_time: seconds(&Time(discovery.checked_at)),
            operator_version: discovery.operator.to_string(),
            releases: discovery.releases.iter().map(ToString::to_string).collect(),
        }),
        retained: report
            .retained
            .iter()
            .map(|retained| RetainedSet {
                image_set: retained.image_set.clone(),
                operator_version: retained.operator.to_string(),
                operator_image: retained.operator_image.clone(),
            })
            .collect(),
        last_swap: report.last_swap.as_ref().map(|swap| SwapStatus {
            image_set: swap.image_set.clone(),
            from_operator_version: swap.from.to_string(),
            operator_version: swap.operator.to_string(),
            time: seconds(&Time(swap.at)),
            gap_seconds: swap.gap_seconds,
        }),
        plan: plan(report),
        gate: report.admitted_images.as_ref().map(|admitted| GateStatus { admitted_images: admitted.clone() }),
        components: match &report.components {
            Some(components) => components.iter().take(MOST_FINDINGS).map(component).collect(),
            None => before.components.clone(),
        },
        findings: report.findings.iter().take(MOST_FINDINGS).map(|one| finding(before, one, now)).collect(),
        last_handled_refresh: report.handled_refresh.clone().or_else(|| before.last_handled_refresh.clone()),
        conditions: report.conditions.iter().map(|one| condition(before, one, report.generation, now)).collect(),
    }
}

fn operator(report: &Report) -> OperatorStatus {
    let operator = &report.operator;
    OperatorStatus {
        image: operator.image.clone(),
        running_image: operator.running_image.clone(),
        digest: operator.digest.map(|digest| digest.to_string()),
        pin: operator.pin.clone(),
        version: operator.version.clone(),
        target: operator.target.clone(),
        calico_version: operator.product_version.clone(),
        pinned: operator.pinned,
    }
}

fn pending(workload: &adoption::PendingWorkload) -> PendingWorkload {
    PendingWorkload {
        workload: workload.workload.to_string(),
        pinned: workload.pinned,
        percent: i32::try_from(workload.percent).unwrap_or(100),
    }
}

fn component(report: &report::ComponentReport) -> ComponentStatus {
    ComponentStatus {
        name: report.name.clone(),
        available: report.available,
        progressing: report.progressing,
        degraded: report.degraded,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The API keeps whole seconds; a finer time would differ from what is read back.
fn seconds(now: &Time) -> Time {
    Time(jiff::Timestamp::from_second(now.0.as_second()).unwrap_or(now.0))
}

fn prepared(report: &report::PreparedReport) -> PreparedSet {
    PreparedSet {
        operator_version: report.version.to_string(),
        image_set: report.image_set.clone(),
        state: match report.state {
            None => PreparedState::NeedsInspection,
            Some(GoalState::Stored) => PreparedState::Staged,
            Some(GoalState::Waiting | GoalState::Ready) => PreparedState::Waiting,
            Some(GoalState::Conflict) => PreparedState::Conflict,
            Some(GoalState::Resolving | GoalState::Held) => PreparedState::Held,
        },
        images: (report.images > 0).then(|| count(report.images)),
        discovered: report.discovered,
        requested_until: report.requested_until.map(|until| seconds(&Time(until))),
        operator_image: report.operator_image.clone(),
        message: report.message.as_deref().map(message),
    }
}

/// A message of the status, bounded.
fn message(text: &str) -> String {
    foreign_text::line(text, foreign_text::LONGEST_MESSAGE)
}

fn plan(report: &Report) -> Option<Plan> {
    let change = |action: &Action| match action {
        Action::WriteRecord(_)
        | Action::KeepInspection(_)
        | Action::StartInspection(_)
        | Action::EndInspection { .. }
        | Action::SetGate(_) => None,
        Action::PruneImageSet(prune) => Some(PlannedChange {
            action: PlanAction::Delete,
            image_set: prune.image_set.clone(),
            message: Some("more previous sets than spec.retain keeps".to_owned()),
        }),
        Action::StoreImageSet(store) => Some(PlannedChange {
            action: match store.motive {
                Motive::Create => PlanAction::Create,
                Motive::Update | Motive::Restore | Motive::StandIn => PlanAction::Update,
                Motive::TakeOver => PlanAction::TakeOver,
            },
            image_set: store.set.name().to_string(),
            message: Some(format!("{} images for operator {}", store.set.entries().len(), store.set.origin().operator)),
        }),
    };
    let plan = Plan {
        changes: report.plan.changes.iter().filter_map(change).collect(),
        rollouts: report.plan.rollouts.iter().take(MOST_FINDINGS).map(ToString::to_string).collect(),
        waits_for: report.plan.waits_for.iter().take(MOST_FINDINGS).map(|text| message(text)).collect(),
    };
    (plan != Plan::default()).then_some(plan)
}

fn finding(before: &ImageSetPolicyStatus, found: &finding::Finding, now: &Time) -> Finding {
    let is_same = |one: &&Finding| remembered_finding(one).is_some_and(|before| before.is_same(found));
    let same = before.findings.iter().find(is_same);
    let next_step = found.reason.next_step();
    let (have, want) = found.evidence.clone().map(EvidenceText::from).map(|both| (both.have, both.want)).unzip();
    Finding {
        reason: found.reason.to_string(),
        object: object(&found.subject),
        message: found.message.clone(),
        have,
        want,
        next_step: (!next_step.is_empty()).then(|| next_step.to_owned()),
        since: same.and_then(|one| one.since.clone()).or_else(|| Some(seconds(now))),
    }
}

/// A subject as the status has it. What is no object stands there as if it were one.
fn object(subject: &Subject) -> Option<FindingObject> {
    let like = |kind: &str, name: String| Some(FindingObject { kind: kind.to_owned(), namespace: None, name });
    match subject {
        Subject::Object(object) => Some(FindingObject {
            kind: object.kind().to_string(),
            namespace: object.namespace().map(str::to_owned),
            name: object.name().to_owned(),
        }),
        Subject::Registry(host) => like("registry", host.clone()),
        Subject::Operator(version) => like("operator", version.to_string()),
        Subject::Read { verb, resource } => like(verb, resource.clone()),
        Subject::OperatorKinds => None,
    }
}

fn condition(
    before: &ImageSetPolicyStatus,
    condition: &condition::Condition,
    generation: i64,
    now: &Time,
) -> Condition {
    let r#type = condition.r#type.to_string();
    let status = condition.status.as_str().to_owned();
    let was = before.conditions.iter().find(|was| was.type_ == r#type);
    let since = was.filter(|was| was.status == status).map(|was| was.last_transition_time.clone());
    Condition {
        type_: r#type,
        status,
        reason: condition.reason.to_string(),
        message: condition.message.clone(),
        observed_generation: Some(generation),
        last_transition_time: since.unwrap_or_else(|| seconds(now)),
    }
}

/// A finding as the status has it. `None` for one that another version wrote and this one does not know, and for the line that only
/// counts findings.
#[must_use]
pub fn remembered_finding(finding: &Finding) -> Option<finding::Finding> {
    let reason: Reason = finding.reason.parse().ok().filter(|reason| *reason != Reason::FindingsCut)?;
    let subject = match &finding.object {
        Some(object) => object.to_string().parse().ok()?,
        None => Subject::OperatorKinds,
    };
    let found = finding::Finding::new(reason, subject, finding.message.clone());
    Some(match (&finding.have, &finding.want) {
        (Some(have), Some(want)) => {
            found.with_evidence(Evidence::parse(reason, &EvidenceText { have: have.clone(), want: want.clone() }))
        }
        _ => found,
    })
}

/// A condition as the status has it. `None` for one that another version wrote and this one does not know.
fn remembered_condition(condition: &Condition) -> Option<condition::Condition> {
    Some(condition::Condition {
        r#type: ConditionType::ALL.into_iter().find(|one| one.as_str() == condition.type_)?,
        status: match condition.status.as_str() {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        },
        reason: condition.reason.parse().ok()?,
        message: condition.message.clone(),
    })
}

/// Returns the facts that later reconciles depend on.
#[must_use]
pub fn remembered(status: &ImageSetPolicyStatus) -> PreviousStatus {
    let operator = status.operator.clone().unwrap_or_default();
    let current = status.current.clone();
    PreviousStatus {
        running_image: operator.running_image,
        running_version: operator.version,
        target_image: operator.image,
        target_version: operator.target,
        last_verified: current.as_ref().and_then(|current| current.last_verified_time.as_ref().map(|time| time.0)),
        current_image_set: current.map(|current| current.image_set),
        pinned_operators: operator
            .pin
            .into_iter()
            .chain(status.prepared.iter().filter_map(|prepared| prepared.operator_image.clone()))
            .chain(status.retained.iter().filter_map(|retained| retained.operator_image.clone()))
            .collect(),
        admitted_images: status.gate.as_ref().map(|gate| gate.admitted_images.clone()),
        retained: status
            .retained
            .iter()
            .filter_map(|retained| {
                Some(Retained {
                    image_set: retained.image_set.clone(),
                    operator: retained.operator_version.parse().ok()?,
                    operator_image: retained.operator_image.clone(),
                })
            })
            .collect(),
        discovery: status.discovery.as_ref().and_then(|discovery| {
            Some(Discovery {
                checked_at: discovery.last_checked_time.0,
                operator: discovery.operator_version.parse().ok()?,
                releases: discovery.releases.iter().filter_map(|release| release.parse().ok()).collect(),
            })
        }),
        findings: status.findings.iter().filter_map(remembered_finding).collect(),
        handled_refresh: status.last_handled_refresh.clone(),
        last_swap: status.last_swap.as_ref().and_then(|swap| {
            Some(Swap {
                image_set: swap.image_set.clone(),
                from: swap.from_operator_version.parse().ok()?,
                operator: swap.operator_version.parse().ok()?,
                at: swap.time.0,
                gap_seconds: swap.gap_seconds,
            })
        }),
        adopted_since: status
            .conditions
            .iter()
            .find(|one| one.type_ == ConditionType::Adopted.as_str() && one.status == Status::True.as_str())
            .map(|one| one.last_transition_time.0),
        conditions: status.conditions.iter().filter_map(remembered_condition).collect(),
    }
}

/// Returns the facts that later reconciles depend on, without findings and conditions, which only people read. A status that changes
/// the facts is confirmed by reading the API server.
#[must_use]
pub fn facts(status: &ImageSetPolicyStatus) -> PreviousStatus {
    PreviousStatus { findings: Vec::new(), conditions: Vec::new(), ..remembered(status) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, ObjectRef};

    #[test]
    fn the_same_report_leads_to_the_same_status() {
        let report = Report { generation: 2, ..Report::default() };
        let first = of_report(&ImageSetPolicyStatus::default(), &report, &Time(jiff::Timestamp::UNIX_EPOCH));
        let again = of_report(&first, &report, &Time(jiff::Timestamp::now()));
        assert_eq!(first, again);
    }

    /// A text as a value.
    fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    #[test]
    fn reported_facts_are_remembered() {
        let text = |text: &str| Some(text.to_owned());
        let at: jiff::Timestamp = parsed("2026-11-28T10:00:00Z");
        let remembered = PreviousStatus {
            running_image: text("a.example/operator:v1.40.15"),
            running_version: text("v1.40.15"),
            target_image: text("a.example/operator:v1.42.4"),
            target_version: text("v1.42.4"),
            current_image_set: text("calico-v3.32.1"),
            last_verified: Some(at),
            pinned_operators: vec!["pin".to_owned(), "prepared".to_owned(), "retained".to_owned()],
            admitted_images: Some(vec!["a.example/operator:v1.42.4".to_owned()]),
            retained: vec![Retained {
                image_set: "calico-v3.31.7".to_owned(),
                operator: parsed("v1.40.15"),
                operator_image: text("retained"),
            }],
            discovery: Some(Discovery {
                checked_at: at,
                operator: parsed("v1.42.4"),
                releases: [parsed("v1.42.5")].into(),
            }),
            findings: vec![
                finding::Finding::new(Reason::TagMoved, ObjectRef::image_set("calico-v3.32.1"), "moved")
                    .with_evidence(finding::Evidence::text("a", "b")),
            ],
            handled_refresh: text("now"),
            last_swap: Some(Swap {
                image_set: "calico-v3.32.1".to_owned(),
                from: parsed("v1.42.3"),
                operator: parsed("v1.42.4"),
                at,
                gap_seconds: 3,
            }),
            adopted_since: Some(at),
            conditions: vec![condition::Condition {
                r#type: ConditionType::Adopted,
                status: Status::True,
                reason: Reason::AdoptionComplete,
                message: "all of it".to_owned(),
            }],
        };
        let operator = report::OperatorReport {
            image: remembered.target_image.clone(),
            running_image: remembered.running_image.clone(),
            version: remembered.running_version.clone(),
            target: remembered.target_version.clone(),
            pin: text("pin"),
            ..Default::default()
        };
        let prepared = report::PreparedReport {
            version: parsed("v1.43.0"),
            image_set: None,
            images: 0,
            state: None,
            message: None,
            discovered: false,
            requested_until: None,
            operator_image: text("prepared"),
        };
        let report = Report {
            operator,
            current: Some(report::CurrentReport {
                image_set: "calico-v3.32.1".to_owned(),
                last_verified: Some(at),
                ..Default::default()
            }),
            prepared: vec![prepared],
            admitted_images: remembered.admitted_images.clone(),
            retained: remembered.retained.clone(),
            discovery: remembered.discovery.clone(),
            handled_refresh: remembered.handled_refresh.clone(),
            last_swap: remembered.last_swap.clone(),
            findings: remembered.findings.clone(),
            conditions: remembered.conditions.clone(),
            ..Report::default()
        };
        let status = of_report(&ImageSetPolicyStatus::default(), &report, &Time(at));
        let stored: ImageSetPolicyStatus = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        assert_eq!(stored, status, "the API server returns what was written");
        assert_eq!(super::remembered(&stored), remembered);
        let other = Report { findings: Vec::new(), conditions: Vec::new(), ..report };
        assert_eq!(facts(&of_report(&stored, &other, &Time(at))).adopted_since, None);
    }

    #[test]
    fn a_status_survives_unreadable_inputs() {
        let operator = crate::model::OperatorReport { version: Some("v1.42.4".into()), ..Default::default() };
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        let first = of_report(&ImageSetPolicyStatus::default(), &Report { operator, ..Report::default() }, &now);
        let unreadable = of_report(&first, &Report { inputs_unreadable: true, ..Report::default() }, &now);
        assert_eq!(unreadable.operator.and_then(|operator| operator.version).as_deref(), Some("v1.42.4"));
        let seen = of_report(&first, &Report::default(), &now);
        assert_eq!(seen.operator.and_then(|operator| operator.version), None);
    }

    #[test]
    fn a_status_is_bounded_and_counts_what_is_left_out() {
        use crate::model::Finding as Found;
        let long = "x\u{1b}[31m\n".repeat(1000);
        let finding = |number: usize| {
            Found::new(Reason::DegradedUnexplained, ObjectRef::tigera_status(&format!("{number}-{long}")), long.clone())
                .with_evidence(Evidence::text(long.clone(), long.clone()))
        };
        let findings: Vec<Found> = (0..500).map(finding).collect();
        let waits_for = findings.iter().map(Found::sentence).collect();
        let plan = crate::model::PlanReport { waits_for, ..Default::default() };
        let report = Report { findings, plan, ..Report::default() };
        let status = of_report(&ImageSetPolicyStatus::default(), &report, &Time(jiff::Timestamp::UNIX_EPOCH));
        let json = serde_json::to_string(&status).unwrap();
        assert!(json.len() <= LONGEST_STATUS, "{}", json.len());
        assert!(!status.findings.iter().any(|one| one.message.contains(char::is_control)));
        let (last, findings) = status.findings.split_last().unwrap();
        assert!((16..=MOST_FINDINGS).contains(&findings.len()), "{}", findings.len());
        let marker = (last.reason.as_str(), last.message.clone());
        assert_eq!(marker, ("FindingsCut", format!("{} more findings", 500 - findings.len())));

        // The same report leads to the same status, and one without omissions has no such line.
        assert_eq!(of_report(&status, &report, &Time(jiff::Timestamp::now())), status);
        let report = Report { findings: vec![finding(1)], ..Report::default() };
        let status = of_report(&status, &report, &Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(status.findings.len(), 1);
    }

    #[test]
    fn a_status_without_findings_is_bounded_too() {
        let pending = crate::api::PendingWorkload { workload: "w".repeat(1000), pinned: false, percent: 0 };
        let workloads = WorkloadProgress { total: 1, pinned: 0, complete: 0, pending: vec![pending; 1000] };
        let current = CurrentSet { workloads: Some(workloads), ..CurrentSet::default() };
        let status = bounded(ImageSetPolicyStatus { current: Some(current), ..Default::default() }, 0);
        assert_eq!(status.current, Some(CurrentSet::default()));
    }

    #[test]
    fn findings_and_conditions_are_remembered_as_reported() {
        use crate::model::{Condition, ConditionType, Digest, Finding as Found, Status};
        let subjects = [
            ObjectRef::image_set("calico-v3.31.7").into(),
            ObjectRef::namespaced(Kind::Secret, "tigera-operator", "pull").into(),
            ObjectRef::namespaced("Gateway".parse().unwrap(), "calico-system", "a b").into(),
            Subject::registry("registry.example:5000"),
            Subject::Operator("registry.example/tigera/operator:v1.42.4".parse().unwrap()),
            Subject::read("get deployments.apps tigera-operator/tigera-operator"),
            Subject::OperatorKinds,
        ];
        let digests = [Digest::of(b"one"), Digest::of(b"other")];
        let evidence = [
            None,
            Some(Evidence::digest(&digests[0], &digests[1])),
            Some(Evidence::gone(&digests)),
            Some(Evidence::fips_mode(true, &digests)),
            Some(Evidence::text("no entry", "calico/csi")),
        ];
        let reasons = [
            Reason::TagMoved,
            Reason::TagMoved,
            Reason::DigestGone,
            Reason::FipsMismatch,
            Reason::RequiredImageMissing,
        ];
        let found = |(at, subject): (usize, &Subject)| Found {
            evidence: evidence[at % evidence.len()].clone(),
            ..Found::new(reasons[at % reasons.len()], subject.clone(), "it moved")
        };
        let findings: Vec<Found> = subjects.iter().enumerate().map(found).collect();
        let conditions = ConditionType::ALL.map(|r#type| Condition {
            r#type,
            status: Status::Unknown,
            reason: Reason::Progressing,
            message: "under way".to_owned(),
        });
        let report = Report { findings: findings.clone(), conditions: conditions.to_vec(), ..Report::default() };
        let mut status = of_report(&ImageSetPolicyStatus::default(), &report, &Time(jiff::Timestamp::UNIX_EPOCH));
        let again = of_report(&status, &report, &Time(jiff::Timestamp::now()));
        assert_eq!(again, status, "nothing is new");

        // Another version may know more reasons and subjects.
        let mut of_tomorrow = status.clone();
        of_tomorrow.findings[0].reason = "ReasonOfTomorrow".to_owned();
        of_tomorrow.findings[1].object.as_mut().unwrap().kind = "something of tomorrow".to_owned();
        of_tomorrow.conditions[0].reason = "ReasonOfTomorrow".to_owned();
        let tomorrow = remembered(&of_tomorrow);
        assert_eq!((tomorrow.findings, tomorrow.conditions), (findings[2..].to_vec(), conditions[1..].to_vec()));
        status.findings.push(more_findings(3));
        let remembered = remembered(&status);
        assert_eq!((remembered.findings, remembered.conditions), (findings, conditions.to_vec()));
    }
}
