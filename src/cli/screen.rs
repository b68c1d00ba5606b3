//! The one screen: a policy's status in words and columns, for people. The same text in a pipe, without colour. Pure, but
//! for asking whether there is a terminal to colour.

use console::Style;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::columns;
use crate::api::{
    ComponentStatus, Finding, ImageSetPolicy, ImageSetPolicyStatus, Mode, PendingWorkload, PlanAction, PreparedSet,
    PreparedState, RetainedSet,
};
use crate::model::reason::{ConditionType, Reason, Severity};
use crate::model::stored_time::elapsed;

/// Between two columns.
const GAP: &str = "   ";

/// Lines with a label in front of each block.
#[derive(Default)]
struct Screen {
    blocks: Vec<(&'static str, Vec<Line>)>,
}

enum Line {
    /// Cells that are aligned with the cells of all other lines.
    Columns(Vec<String>),
    /// Free text.
    Text(String),
}

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What a person needs to know.
    Normal,
    /// Evidence, components, kept sets and all conditions, too.
    Wide,
}

/// Everything that the status says, for somebody who looks at `now`. Where the controller is silent, all of it is old.
#[must_use]
pub fn of_policy(policy: &ImageSetPolicy, now: Timestamp, detail: Detail, silent_since: Option<Timestamp>) -> String {
    let mut screen = Screen::default();
    let Some(status) = policy.status.as_ref().filter(|status| status.is_written()) else {
        screen.add("POLICY", vec![Line::Text(mode(policy))]);
        let told = "nothing is known yet: the controller has not looked at this policy; is it running?";
        screen.add("READY", vec![Line::Text(bad().apply_to(told).to_string())]);
        return screen.render();
    };
    screen.add("POLICY", vec![Line::Text(mode(policy))]);
    if let Some(since) = silent_since {
        let told = match elapsed(since, now) {
            Some(elapsed) => {
                let since = age(i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX));
                format!("not heard of for {since}: what follows may be old; see its Deployment and logs")
            }
            None => format!("its Lease was renewed at {since}, which is in the future: compare the clocks"),
        };
        screen.add("CONTROLLER", vec![Line::Text(bad().apply_to(told).to_string())]);
    }
    if let Some(line) = outdated(policy, status) {
        screen.add("OUTDATED", vec![line]);
    }
    screen.add("OPERATOR", operator(status));
    if let Some(line) = pin(status) {
        screen.add("PIN", vec![line]);
    }
    let (label, line) = current(status, now);
    screen.add(label, vec![line]);
    let rolling = rolling(status);
    if !rolling.is_empty() {
        screen.add("ROLLING", rolling);
    }
    screen.add("PREPARED", or_none(status.prepared.iter().map(prepared).collect()));
    if let Some(plan) = &status.plan {
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
        screen.add("PLAN", or_none(changes.collect()));
        if !plan.rollouts.is_empty() {
            screen.add("ROLLS", plan.rollouts.iter().map(|workload| Line::Text(workload.clone())).collect());
        }
    }
    let of = |block: Block| {
        let found = status.findings.iter().filter(move |finding| block_of(finding) == block);
        found.flat_map(|one| finding(one, now, detail)).collect::<Vec<Line>>()
    };
    for (label, concern) in CLUSTER_BLOCKS {
        screen.add(label, unknown(status, concern).unwrap_or_else(|| or_none(of(Block::Cluster(concern)))));
    }
    for (label, block) in [("PROBLEMS", Block::Problems), ("NOTES", Block::Notes)] {
        let lines = of(block);
        if !lines.is_empty() {
            screen.add(label, lines);
        }
    }
    if detail == Detail::Wide {
        screen.add("COMPONENTS", or_none(status.components.iter().map(component).collect()));
        screen.add("KEPT", or_none(status.retained.iter().map(kept).collect()));
        if let Some(gate) = &status.gate {
            screen.add("ADMITTED", gate.admitted_images.iter().map(|image| Line::Text(image.clone())).collect());
        }
        screen.add("CONDITIONS", or_none(status.conditions.iter().map(|one| condition(one, now)).collect()));
    }
    screen.add("READY", vec![ready(status)]);
    screen.render()
}

/// Blocks that are shown always, each for one question about the cluster.
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

impl Screen {
    fn add(&mut self, label: &'static str, lines: Vec<Line>) {
        self.blocks.push((label, lines));
    }

    fn render(&self) -> String {
        let lines = self.blocks.iter().flat_map(|(_, lines)| lines);
        let rows = lines.filter_map(|line| if let Line::Columns(cells) = line { Some(cells.as_slice()) } else { None });
        let widths = columns::widths(rows);
        let labels = self.blocks.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (label, lines) in &self.blocks {
            for (index, line) in lines.iter().enumerate() {
                let label = if index == 0 { *label } else { "" };
                let shown = match line {
                    Line::Text(text) => text.clone(),
                    Line::Columns(cells) => columns::row(cells, &widths, GAP),
                };
                let label = bold().apply_to(format!("{label:<labels$}")).to_string();
                // A line of a status that somebody else wrote must not look like a line of ours.
                let shown = shown.replace(['\n', '\r'], " ");
                text.push_str(format!("{label}{GAP}{shown}").trim_end());
                text.push('\n');
            }
        }
        text
    }
}

fn bold() -> Style {
    Style::new().bold()
}

fn good() -> Style {
    Style::new().green()
}

fn warn() -> Style {
    Style::new().yellow()
}

fn bad() -> Style {
    Style::new().red()
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
    let (wanted, seen) = (policy.metadata.generation?, status.observed_generation?);
    let told = || format!("this is about generation {seen} of the policy, which is at {wanted} now");
    (seen < wanted).then(|| Line::Text(warn().apply_to(told()).to_string()))
}

/// `v1.40.15 (quay.io/tigera/operator:v1.40.15, by tag)`, and where it goes.
fn operator(status: &ImageSetPolicyStatus) -> Vec<Line> {
    let Some(operator) = &status.operator else { return or_none(Vec::new()) };
    let by = |image: &str| if image.contains('@') { "by digest" } else { "by tag" };
    let told = |version: Option<&str>, image: Option<&str>| {
        let version = version.unwrap_or("version unknown");
        match image {
            Some(image) => format!("{version} ({image}, {})", by(image)),
            None => format!("{version} (not installed yet)"),
        }
    };
    let target = told(operator.target.as_deref(), operator.image.as_deref());
    let changes = operator.version.is_some()
        && (&operator.version, &operator.running_image) != (&operator.target, &operator.image);
    if operator.image.is_none() && operator.target.is_none() && operator.version.is_none() {
        return or_none(Vec::new());
    }
    if !changes {
        return vec![Line::Text(target)];
    }
    let running = told(operator.version.as_deref(), operator.running_image.as_deref());
    vec![Line::Text(format!("{running} runs")), Line::Text(format!("{target} is to run"))]
}

/// The line for the Deployment or manifest that pins the operator itself, where it is not pinned and the digest is known.
fn pin(status: &ImageSetPolicyStatus) -> Option<Line> {
    let pin = status.operator.as_ref()?.pin.as_ref()?;
    Some(Line::Text(format!("image: {pin}   # pins the operator itself")))
}

/// The set of the operator that the Deployment asks for.
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
    let asked = set.requested_until.as_ref().map(|until| format!(", asked for until {}", until.0)).unwrap_or_default();
    Line::Columns(vec![
        name,
        images,
        state.to_string(),
        format!("for operator {}{asked}{message}", set.operator_version),
    ])
}

/// What happened to which object since when, and below it what to do.
fn finding(finding: &Finding, now: Timestamp, detail: Detail) -> Vec<Line> {
    let object = finding.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    let reason = warn().apply_to(&finding.reason);
    let since = finding.since.as_ref().map(|since| format!(" ({})", age(now.duration_since(since.0).as_secs())));
    let told = format!("{reason}{}: {object}{}", since.unwrap_or_default(), finding.message);
    let mut lines = vec![Line::Text(told)];
    if let (Detail::Wide, Some(have), Some(want)) = (detail, &finding.have, &finding.want) {
        lines.push(Line::Text(format!("  have {have}")));
        lines.push(Line::Text(format!("  want {want}")));
    }
    lines.extend(finding.next_step.iter().map(|step| Line::Text(format!("  → {step}"))));
    lines
}

/// What is seen in the cluster has blocks of its own.
fn block_of(finding: &Finding) -> Block {
    let Ok(reason) = finding.reason.parse::<Reason>() else { return Block::Problems };
    match reason.condition() {
        _ if reason.severity() == Severity::Note => Block::Notes,
        concern if concern.is_of_cluster() => Block::Cluster(concern),
        _ => Block::Problems,
    }
}

/// A question that could not be answered is not answered with "none".
fn unknown(status: &ImageSetPolicyStatus, concern: ConditionType) -> Option<Vec<Line>> {
    let condition = status.conditions.iter().find(|one| one.type_ == concern.as_str())?;
    let told = || Line::Text(format!("{}: {}", warn().apply_to("unknown"), condition.message));
    (condition.status == "Unknown").then(|| vec![told()])
}

/// How far each workload is that does not run the set everywhere yet.
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

fn kept(set: &RetainedSet) -> Line {
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
    let answer = style.apply_to(&condition.status);
    Line::Text(format!("{answer}, {}: {}", condition.reason, condition.message))
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
        policy.status = status.map(|text| serde_yaml_ng::from_str(text).unwrap());
        of_policy(&policy, "2026-01-01T00:04:10Z".parse().unwrap(), detail, None)
    }

    #[test]
    fn an_upgrade_under_way_on_one_screen() {
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
    fn more_of_it_for_those_who_ask() {
        let text = shown(Some(STATUS), Detail::Wide);
        for told in [
            "               have sha256:aa\n               want sha256:bb\n",
            "COMPONENTS   apiserver: available\n             calico: degraded, progressing, not available\n",
            "KEPT         calico-v3.31.7 of operator v1.40.15, for the way back\n",
            "CONDITIONS   OperatorDegraded   Unknown     4m   ReadForbidden\n",
        ] {
            assert!(text.contains(told), "{told:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_controller_that_is_silent_is_told_before_all_that_it_said() {
        let mut policy = ImageSetPolicy::new("default", crate::api::ImageSetPolicySpec::default());
        policy.status = Some(serde_yaml_ng::from_str(STATUS).unwrap());
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let silent = Some(at("2026-01-01T00:00:00Z"));
        let text = of_policy(&policy, at("2026-01-01T02:00:00Z"), Detail::Normal, silent);
        assert!(text.contains("CONTROLLER   not heard of for 2h: what follows may be old"), "{text}");
    }

    #[test]
    fn a_policy_that_nobody_has_looked_at_says_so() {
        // As the API server has it, and as one without the default.
        for status in [Some("observedGeneration: -1"), None] {
            let text = shown(status, Detail::Normal);
            assert!(text.contains("the controller has not looked at this policy"), "{text}");
        }
    }

    #[test]
    fn ages_are_told_in_their_largest_unit() {
        for (seconds, told) in [(-3, "0s"), (59, "59s"), (250, "4m"), (7300, "2h"), (200_000, "2d")] {
            assert_eq!(age(seconds), told);
        }
    }
}
