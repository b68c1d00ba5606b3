//! A policy's status as text for people, on one screen. In a pipe it is the same text without colours.

mod layout;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{
    ComponentStatus, Finding, ImageSetPolicy, ImageSetPolicyStatus, PendingWorkload, PlanAction, PreparedSet,
    PreparedState, RetainedSet,
};
use crate::model::{ConditionType, Mode, Reason, Severity, stored_time::elapsed};
use layout::{Line, View, bad, good, warn};

/// How much of the status is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What most people need to know.
    Normal,
    /// Also evidence, components, retained sets and all conditions.
    Wide,
}

/// Returns the status as text for a reader at `now`. With `silent_since`, the controller has not renewed its Lease since
/// then, so that all of it may be outdated.
#[must_use]
pub fn render(policy: &ImageSetPolicy, now: Timestamp, detail: Detail, silent_since: Option<Timestamp>) -> String {
    let mut view = View::default();
    view.add("POLICY", vec![Line::Text(mode(policy))]);
    let Some(status) = policy.status.as_ref().filter(|status| status.is_written()) else {
        let unknown = "nothing is known yet: the controller has not looked at this policy; is it running?";
        view.add("READY", vec![Line::Text(bad().apply_to(unknown).to_string())]);
        return view.render();
    };
    view.add("CONTROLLER", silent_since.map(|since| silent(since, now)).into_iter().collect());
    view.add("OUTDATED", outdated(policy, status).into_iter().collect());
    add_operator_and_sets(&mut view, status, now);
    add_plan(&mut view, status);
    add_findings(&mut view, status, now, detail);
    if detail == Detail::Wide {
        add_details(&mut view, status, now);
    }
    view.add("READY", vec![ready(status)]);
    view.render()
}

/// What runs, what is to run, and the sets for both and for later.
fn add_operator_and_sets(view: &mut View, status: &ImageSetPolicyStatus, now: Timestamp) {
    view.add("OPERATOR", operator(status));
    view.add("PIN", pin(status).into_iter().collect());
    let (label, line) = current(status, now);
    view.add(label, vec![line]);
    view.add("ROLLING", rolling(status));
    view.add("PREPARED", or_none(status.prepared.iter().map(prepared).collect()));
}

/// What the controller would change, and what rolls then.
fn add_plan(view: &mut View, status: &ImageSetPolicyStatus) {
    let Some(plan) = &status.plan else { return };
    let changes = plan.changes.iter().map(|change| {
        let action = match change.action {
            PlanAction::Create => "create",
            PlanAction::Update => "update",
            PlanAction::Delete => "delete",
            PlanAction::TakeOver => "take over",
        };
        let message = change.message.clone().unwrap_or_default();
        Line::Text(format!("{action} {}: {message}", change.image_set))
    });
    view.add("PLAN", or_none(changes.collect()));
    view.add("ROLLS", plan.rollouts.iter().map(|workload| Line::Text(workload.clone())).collect());
}

/// What is wrong, or worth a note.
fn add_findings(view: &mut View, status: &ImageSetPolicyStatus, now: Timestamp, detail: Detail) {
    let of = |block: Block| {
        let found = status.findings.iter().filter(move |finding| block_of(finding) == block);
        found.flat_map(|one| finding(one, now, detail)).collect::<Vec<Line>>()
    };
    for (label, concern) in CLUSTER_BLOCKS {
        view.add(label, unknown(status, concern).unwrap_or_else(|| or_none(of(Block::Cluster(concern)))));
    }
    view.add("PROBLEMS", of(Block::Problems));
    view.add("NOTES", of(Block::Notes));
}

/// What few people need to know.
fn add_details(view: &mut View, status: &ImageSetPolicyStatus, now: Timestamp) {
    view.add("COMPONENTS", or_none(status.components.iter().map(component).collect()));
    view.add("KEPT", or_none(status.retained.iter().map(retained).collect()));
    let admitted = status.gate.iter().flat_map(|gate| &gate.admitted_images);
    view.add("ADMITTED", admitted.map(|image| Line::Text(image.clone())).collect());
    view.add("CONDITIONS", or_none(status.conditions.iter().map(|one| condition(one, now)).collect()));
}

/// No instance of the controller has renewed its Lease since then.
fn silent(since: Timestamp, now: Timestamp) -> Line {
    let text = match elapsed(since, now) {
        Some(elapsed) => {
            let since = age(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
            format!("not heard of for {since}: what follows may be old; see its Deployment and logs")
        }
        None => format!("its Lease was renewed at {since}, which is in the future: compare the clocks"),
    };
    Line::Text(bad().apply_to(text).to_string())
}

/// Blocks that are always shown, each for one condition of the cluster.
const CLUSTER_BLOCKS: [(&str, ConditionType); 3] = [
    ("DRIFT", ConditionType::Drifted),
    ("DEGRADED", ConditionType::OperatorDegraded),
    ("PULLS", ConditionType::ImagePullFailing),
];

/// Where a finding is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Cluster(ConditionType),
    Problems,
    Notes,
}

fn or_none(lines: Vec<Line>) -> Vec<Line> {
    if lines.is_empty() { vec![Line::Text("none".to_owned())] } else { lines }
}

fn mode(policy: &ImageSetPolicy) -> String {
    let mode = match policy.spec.mode {
        Mode::Observe => "Observe (nothing is written)",
        Mode::Apply => "Apply",
    };
    let suspended = if policy.spec.suspend { ", suspended" } else { "" };
    format!("{mode}{suspended}")
}

fn outdated(policy: &ImageSetPolicy, status: &ImageSetPolicyStatus) -> Option<Line> {
    let (current, seen) = (policy.metadata.generation?, status.observed_generation?);
    let text = || format!("this is about generation {seen} of the policy, which is at {current} now");
    (seen < current).then(|| Line::Text(warn().apply_to(text()).to_string()))
}

/// `v1.40.15 (quay.io/tigera/operator:v1.40.15, by tag)`; during an upgrade one line each for what runs and what is to run.
fn operator(status: &ImageSetPolicyStatus) -> Vec<Line> {
    let Some(operator) = &status.operator else { return or_none(Vec::new()) };
    let by = |image: &str| if image.contains('@') { "by digest" } else { "by tag" };
    let describe = |version: Option<&str>, image: Option<&str>| {
        let version = version.unwrap_or("version unknown");
        match image {
            Some(image) => format!("{version} ({image}, {})", by(image)),
            None => format!("{version} (not installed yet)"),
        }
    };
    let target = describe(operator.target.as_deref(), operator.image.as_deref());
    let changes = operator.version.is_some()
        && (&operator.version, &operator.running_image) != (&operator.target, &operator.image);
    if operator.image.is_none() && operator.target.is_none() && operator.version.is_none() {
        return or_none(Vec::new());
    }
    if !changes {
        return vec![Line::Text(target)];
    }
    let running = describe(operator.version.as_deref(), operator.running_image.as_deref());
    vec![Line::Text(format!("{running} runs")), Line::Text(format!("{target} is to run"))]
}

/// The line for a manifest that pins the operator itself, where it is not pinned and its digest is known.
fn pin(status: &ImageSetPolicyStatus) -> Option<Line> {
    let pin = status.operator.as_ref()?.pin.as_ref()?;
    Some(Line::Text(format!("image: {pin}   # pins the operator itself")))
}

/// The set of the operator that is to run.
fn current(status: &ImageSetPolicyStatus, now: Timestamp) -> (&'static str, Line) {
    let operator = status.operator.clone().unwrap_or_default();
    let label = if operator.version.is_some() && operator.version == operator.target { "RUNNING" } else { "TARGET" };
    let Some(current) = &status.current else { return (label, Line::Text("no ImageSet can be named yet".to_owned())) };
    let mut cells = vec![current.image_set.clone(), format!("{} images", current.images)];
    if !current.stored {
        cells.push(warn().apply_to("not stored").to_string());
        return (label, Line::Columns(cells));
    }
    let unknown = status.conditions.iter().any(|one| one.type_ == "Adopted" && one.status == "Unknown");
    cells.push(match (&current.workloads, current.adopted) {
        _ if unknown => warn().apply_to("stored, adoption unknown").to_string(),
        (_, true) => good().apply_to("adopted ✓").to_string(),
        (Some(progress), false) if progress.pinned > 0 => {
            warn().apply_to(format!("rolling out, {} of {} workloads", progress.complete, progress.total)).to_string()
        }
        _ => warn().apply_to("stored, not adopted yet").to_string(),
    });
    if !current.omitted.is_empty() {
        cells.push(format!("without {}", current.omitted.join(", ")));
    }
    cells.push(match &current.last_verified_time {
        Some(at) => format!("verified {} ago", age(now.duration_since(at.0).as_secs())),
        None => "not verified yet".to_owned(),
    });
    (label, Line::Columns(cells))
}

fn prepared(set: &PreparedSet) -> Line {
    let name = set.image_set.clone().unwrap_or_else(|| "?".to_owned());
    let images = set.images.map_or_else(|| "no images".to_owned(), |images| format!("{images} images"));
    let state = match set.state {
        PreparedState::Staged => good().apply_to("staged ✓"),
        PreparedState::Waiting => good().apply_to("waiting"),
        PreparedState::Conflict => warn().apply_to("conflict"),
        PreparedState::Held => warn().apply_to("held"),
        PreparedState::NeedsInspection => warn().apply_to("needs inspection"),
    };
    let message = set.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let requested =
        set.requested_until.as_ref().map(|until| format!(", asked for until {}", until.0)).unwrap_or_default();
    Line::Columns(vec![
        name,
        images,
        state.to_string(),
        format!("for operator {}{requested}{message}", set.operator_version),
    ])
}

/// What happened to which object since when, and below it the next step.
fn finding(finding: &Finding, now: Timestamp, detail: Detail) -> Vec<Line> {
    let object = finding.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let reason = warn().apply_to(&finding.reason);
    let since = finding.since.as_ref().map(|since| format!(" ({})", age(now.duration_since(since.0).as_secs())));
    let text = format!("{reason}{}: {object}{}", since.unwrap_or_default(), finding.message);
    let mut lines = vec![Line::Text(text)];
    if let (Detail::Wide, Some(have), Some(want)) = (detail, &finding.have, &finding.want) {
        lines.push(Line::Text(format!("  have {have}")));
        lines.push(Line::Text(format!("  want {want}")));
    }
    lines.extend(finding.next_step.iter().map(|step| Line::Text(format!("  → {step}"))));
    lines
}

/// Findings of conditions of the cluster have blocks of their own.
fn block_of(finding: &Finding) -> Block {
    let Ok(reason) = finding.reason.parse::<Reason>() else { return Block::Problems };
    match reason.condition() {
        _ if reason.severity() == Severity::Note => Block::Notes,
        concern if concern.is_about_cluster() => Block::Cluster(concern),
        _ => Block::Problems,
    }
}

/// A condition that is Unknown is not shown as "none".
fn unknown(status: &ImageSetPolicyStatus, concern: ConditionType) -> Option<Vec<Line>> {
    let condition = status.conditions.iter().find(|one| one.type_ == concern.as_str())?;
    let line = || Line::Text(format!("{}: {}", warn().apply_to("unknown"), condition.message));
    (condition.status == "Unknown").then(|| vec![line()])
}

/// The progress of each workload that does not run the set everywhere yet.
fn rolling(status: &ImageSetPolicyStatus) -> Vec<Line> {
    let current = status.current.iter().filter(|current| current.stored);
    let pending = current.filter_map(|current| current.workloads.as_ref()).flat_map(|workloads| &workloads.pending);
    let line = |workload: &PendingWorkload| {
        let far = match (workload.pinned, workload.percent) {
            (false, _) => "not pinned yet".to_owned(),
            (true, 100) => "updated, not available everywhere yet".to_owned(),
            (true, percent) => format!("{percent} %"),
        };
        Line::Text(format!("{}   {}", workload.workload, warn().apply_to(far)))
    };
    pending.map(line).collect()
}

/// One TigeraStatus.
fn component(component: &ComponentStatus) -> Line {
    let mut states = Vec::new();
    if component.degraded {
        states.push(bad().apply_to("degraded").to_string());
    }
    if component.progressing {
        states.push(warn().apply_to("progressing").to_string());
    }
    states.push(match component.available {
        true => good().apply_to("available").to_string(),
        false => warn().apply_to("not available").to_string(),
    });
    Line::Text(format!("{}: {}", component.name, states.join(", ")))
}

fn retained(set: &RetainedSet) -> Line {
    Line::Text(format!("{} of operator {}, for the way back", set.image_set, set.operator_version))
}

fn condition(condition: &Condition, now: Timestamp) -> Line {
    let since = age(now.duration_since(condition.last_transition_time.0).as_secs());
    let (name, status) = (&condition.type_, &condition.status);
    Line::Text(format!("{name:<16}   {status:<7}   {since:>4}   {}", condition.reason))
}

fn ready(status: &ImageSetPolicyStatus) -> Line {
    let condition = status.conditions.iter().find(|one| one.type_ == ConditionType::Ready.to_string());
    let Some(condition) = condition else { return Line::Text("unknown".to_owned()) };
    let style = if condition.status == "True" { good() } else { bad() };
    let value = style.apply_to(&condition.status);
    Line::Text(format!("{value}, {}: {}", condition.reason, condition.message))
}

/// Seconds in their largest unit, as kubectl shows ages.
fn age(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "
operator: {image: 'quay.io/tigera/operator:v1.42.4', runningImage: 'quay.io/tigera/operator:v1.40.15', version: v1.40.15, target: v1.42.4, pinned: false, pin: 'quay.io/tigera/operator:v1.42.4@sha256:1e62'}
current: {imageSet: calico-v3.32.1, stored: true, images: 23, adopted: false, workloads: {total: 3, pinned: 2, complete: 1, pending: [{workload: DaemonSet calico-system/calico-node, pinned: true, percent: 40}, {workload: Deployment calico-system/calico-typha}]}, lastVerifiedTime: '2026-01-01T00:00:00Z'}
prepared:
- {operatorVersion: v1.43.0, imageSet: calico-v3.32.0, state: Staged, images: 23, discovered: false, requestedUntil: '2026-01-02T00:00:00Z'}
findings:
- {reason: TagMoved, object: {kind: ImageSet, name: calico-v3.32.1}, message: it moved, have: 'sha256:aa', want: 'sha256:bb', nextStep: find out why, since: '2026-01-01T00:01:00Z'}
- {reason: StrayImageSet, object: {kind: ImageSet, name: calico-x}, message: nobody looks for it}
- {reason: ImageMissing, object: {kind: Secret, namespace: a, name: b}, message: gone}
retained: [{imageSet: calico-v3.31.7, operatorVersion: v1.40.15}]
components:
- {name: apiserver, available: true}
- {name: calico, available: false, progressing: true, degraded: true}
conditions:
- {type: OperatorDegraded, status: Unknown, reason: ReadForbidden, message: 'list tigerastatuses: no right', lastTransitionTime: '2026-01-01T00:00:00Z'}
- {type: Ready, status: 'False', reason: ImageMissing, message: 'one is missing', lastTransitionTime: '2026-01-01T00:00:00Z'}
";

    fn shown(status: Option<&str>, detail: Detail) -> String {
        let mut policy = ImageSetPolicy::new("default", crate::api::ImageSetPolicySpec::default());
        policy.status = status.map(|text| crate::yaml::from_str(text).unwrap());
        render(&policy, "2026-01-01T00:04:10Z".parse().unwrap(), detail, None)
    }

    #[test]
    fn an_upgrade_in_progress_fits_one_screen() {
        assert_eq!(
            shown(Some(STATUS), Detail::Normal),
            "\
POLICY     Observe (nothing is written)
OPERATOR   v1.40.15 (quay.io/tigera/operator:v1.40.15, by tag) runs
           v1.42.4 (quay.io/tigera/operator:v1.42.4, by tag) is to run
PIN        image: quay.io/tigera/operator:v1.42.4@sha256:1e62   # pins the operator itself
TARGET     calico-v3.32.1   23 images   rolling out, 1 of 3 workloads   verified 4m ago
ROLLING    DaemonSet calico-system/calico-node   40 %
           Deployment calico-system/calico-typha   not pinned yet
PREPARED   calico-v3.32.0   23 images   staged ✓                        for operator v1.43.0, asked for until 2026-01-02T00:00:00Z
DRIFT      TagMoved (3m): ImageSet calico-v3.32.1: it moved
             → find out why
DEGRADED   unknown: list tigerastatuses: no right
PULLS      none
PROBLEMS   ImageMissing: Secret a/b: gone
NOTES      StrayImageSet: ImageSet calico-x: nobody looks for it
READY      False, ImageMissing: one is missing
"
        );
    }

    #[test]
    fn wide_output_has_evidence_components_and_conditions() {
        let text = shown(Some(STATUS), Detail::Wide);
        for part in [
            "               have sha256:aa\n               want sha256:bb\n",
            "COMPONENTS   apiserver: available\n             calico: degraded, progressing, not available\n",
            "KEPT         calico-v3.31.7 of operator v1.40.15, for the way back\n",
            "CONDITIONS   OperatorDegraded   Unknown     4m   ReadForbidden\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_silent_controller_is_reported_before_its_status() {
        let mut policy = ImageSetPolicy::new("default", crate::api::ImageSetPolicySpec::default());
        policy.status = Some(crate::yaml::from_str(STATUS).unwrap());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let silent = Some(at("2026-01-01T00:00:00Z"));
        let text = render(&policy, at("2026-01-01T02:00:00Z"), Detail::Normal, silent);
        assert!(text.contains("CONTROLLER   not heard of for 2h: what follows may be old"), "{text}");
    }

    #[test]
    fn a_policy_without_status_is_reported_as_unseen() {
        // As the API server has it, and as one without the default.
        for status in [Some("observedGeneration: -1"), None] {
            let text = shown(status, Detail::Normal);
            assert!(text.contains("the controller has not looked at this policy"), "{text}");
        }
    }

    #[test]
    fn ages_have_their_largest_unit() {
        for (seconds, text) in [(-3, "0s"), (59, "59s"), (250, "4m"), (7300, "2h"), (200_000, "2d")] {
            assert_eq!(age(seconds), text);
        }
    }
}
