//! Check for components whose TigeraStatus has condition Degraded. Each becomes a finding with the cause, as far as the message
//! and the cluster explain it. The finding blames an ImageSet only if one is the cause.

use std::collections::BTreeSet;

use crate::catalogue::required::condition::RuleCondition;
use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{
    ComponentStatus, Evidence, Finding, ImageName, ObjectRef, OperatorImages, OperatorKnowledge, PodSummary, Reason,
    Release, StoredImageSet, Variant, foreign_text::escaped,
};
use crate::rules::checks::input::CheckInput;
use crate::rules::checks::{omitted_image, pull_failures};
use crate::rules::explain::operator_messages::{OperatorMessage, Pull};
use crate::rules::image_set::impossible::why_no_set;

/// Names that the documented script keeps of a list, whatever the version.
const DOCUMENTED_SCRIPT: [&str; 9] = [
    "calico/node",
    "calico/cni",
    "calico/typha",
    "calico/kube-controllers",
    "calico/pod2daemon-flexvol",
    "calico/apiserver",
    "calico/windows-upgrade",
    "tigera/key-cert-provisioner",
    "tigera/operator",
];

/// Returns one finding per degraded component, those about images first.
pub(crate) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    let operator = input.operator.running.as_ref().or(input.operator.target.as_ref());
    let running_images = operator.and_then(|operator| input.effective.catalogue().get(&operator.release));
    let no_set = |images| why_no_set(input.snapshot, input.installation, images).is_some();
    let cluster = ClusterState {
        input,
        no_set: running_images.as_ref().is_some_and(no_set),
        sets: input.sets(),
        operator: input.operator,
        variant: input.installation.variant,
        running_images,
        pods: input.snapshot.pods.known(),
        left_out: omitted_image::missed(input),
    };
    let degraded = input.snapshot.component_statuses.known().into_iter().flatten();
    let mut findings: Vec<Finding> = degraded.filter_map(|status| cluster.explain(status)).collect();
    // A build that rejects the set of its version has a finding of its own.
    let reported =
        |reason: Reason| input.rejected && matches!(reason, Reason::UnexpectedImages | Reason::ImagesNotListed);
    findings.retain(|finding| !reported(finding.reason));
    findings.sort_by_key(|finding| finding.reason);
    findings
}

/// The state of the cluster that explains an operator's message.
struct ClusterState<'a> {
    input: &'a CheckInput<'a>,
    sets: &'a [StoredImageSet],
    operator: &'a OperatorKnowledge,
    variant: Variant,
    /// Images of the running operator, if they are known.
    running_images: Option<OperatorImages>,
    /// Whether the running operator can have no set.
    no_set: bool,
    /// Pods of the operator's workloads; `None` if they could not be read.
    pods: Option<&'a PodSummary>,
    /// Names that the operator misses and that have a finding of their own.
    left_out: BTreeSet<ImageName>,
}

impl ClusterState<'_> {
    fn explain(&self, status: &ComponentStatus) -> Option<Finding> {
        let degraded = status.degraded.as_ref()?;
        let parsed = OperatorMessage::of(&degraded.reason, &degraded.message);
        let cause = parsed.cause();
        let object = ObjectRef::tigera_status(&status.name);
        let finding = |message: String| Finding::new(cause, object.clone(), message);
        Some(match cause {
            Reason::ExactImageSetMissing => {
                let wanted = parsed.wanted.unwrap_or_default();
                if self.sets.iter().any(|set| set.name == wanted) {
                    let why = "it is stored by now, and the operator has not looked again yet";
                    return Some(finding(format!("the operator wanted {wanted}: {why}")));
                }
                let present: Vec<&str> = self.sets.iter().map(|set| set.name.as_str()).collect();
                let present = if present.is_empty() { "none now".to_owned() } else { list_first(&present, MOST_NAMED) };
                let message = format!("the operator wants {wanted} and finds {present}{}", self.explain_missing_set());
                finding(message).with_evidence(Evidence::text(present, wanted))
            }
            Reason::UnexpectedImages => {
                let names: Vec<&ImageName> = parsed.unexpected.iter().collect();
                let misspelt = parsed.misspelt.iter().map(ToString::to_string);
                let all: Vec<String> = names.iter().map(ToString::to_string).chain(misspelt).collect();
                let listed = list_first(&all, MOST_NAMED);
                let why = explain_unknown_names(&names);
                finding(format!("entries that this operator does not know: {listed}{why}"))
                    .with_evidence(Evidence::text(listed, "no such entry"))
            }
            Reason::ImagesNotListed => {
                let names: Vec<&ImageName> =
                    parsed.missing.iter().filter(|name| !self.left_out.contains(*name)).collect();
                if names.is_empty() {
                    return None;
                }
                let message = format!(
                    "entries that it needs are missing: {}{}",
                    list_first(&names, MOST_NAMED),
                    self.explain_missing_images(&names)
                );
                finding(message).with_evidence(Evidence::text("no entry", list_first(&names, MOST_NAMED)))
            }
            Reason::DigestsMalformed => {
                let entries: Vec<String> = parsed.bad_digests.iter().map(|entry| escaped(entry)).collect();
                finding(format!("entries without a digest of sha256: {}", list_first(&entries, MOST_NAMED)))
            }
            Reason::PodsCannotPull => {
                let pulls: Vec<String> = parsed.pulls.iter().map(|pull| self.describe_pull(pull)).collect();
                finding(list_first(&pulls, MOST_NAMED))
            }
            _ => {
                let reported = [degraded.reason.as_str(), degraded.message.as_str()];
                let reported = reported.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
                let reported = escaped(&reported);
                let about = if cause.is_unrelated_to_images() && self.nothing_points_to_images(&reported) {
                    "not because of images: "
                } else {
                    ""
                };
                finding(format!("{about}{reported}"))
            }
        })
    }

    /// Returns a pod that cannot pull, with the entry of the set where the operator names the image.
    fn describe_pull(&self, pull: &Pull) -> String {
        let Pull { pods, containers, image } = pull;
        let image = image.as_ref().map(|image| format!(": {}", pull_failures::describe(image, self.input)));
        format!("a pod of {pods} cannot pull the image of {containers}{}", image.unwrap_or_default())
    }

    /// Whether nothing points to images: neither the message nor a pod.
    fn nothing_points_to_images(&self, reported: &str) -> bool {
        !reported.contains("container") && self.pods.is_some_and(|pods| pods.failing.is_empty())
    }

    /// Returns a probable reason why the set is missing.
    fn explain_missing_set(&self) -> String {
        let running = self.operator.running.as_ref().map(|running| running.release);
        let target = self.operator.target.as_ref().map(|target| target.release);
        let upgraded = |set: &StoredImageSet| {
            set.origin.as_ref().is_some_and(|origin| Some(origin.operator) != running.or(target))
        };
        let Some(first) = self.sets.first() else { return String::new() };
        let name = &first.name;
        let why = if !name.starts_with(self.variant.image_set_prefix()) {
            format!("{name} is for something else, and operators before v1.34.2 stop at any set")
        } else if self.sets.iter().any(upgraded) {
            format!("the operator was upgraded before its set was stored, or {name} is left over")
        } else {
            format!("{name} is of another version, of another tool, or a typo")
        };
        format!(": {why}")
    }

    /// Returns what the missing images are required for.
    fn explain_missing_images(&self, names: &[&ImageName]) -> String {
        let condition = |name: &&&ImageName| self.running_images.as_ref()?.required_for(self.variant, name);
        let labels: BTreeSet<&str> =
            names.iter().filter_map(|name| condition(&name)).map(RuleCondition::label).collect();
        let features: Vec<&str> = labels.into_iter().collect();
        if self.no_set {
            return " (it rejects a set that lists them: no set is possible)".to_owned();
        }
        let script = names.iter().any(|name| !DOCUMENTED_SCRIPT.contains(&name.as_str()));
        match features.as_slice() {
            [] if script => " (the documented script leaves such names out)".to_owned(),
            [] => String::new(),
            features => format!(" (for {})", features.join(", ")),
        }
    }
}

/// Returns what is known about names that operators reject.
fn explain_unknown_names(names: &[&ImageName]) -> String {
    const FROM: [(&str, Release, &str); 2] = [
        ("tigera/operator", Release::new(1, 36, 0), "drop it"),
        ("tigera/key-cert-provisioner", Release::new(1, 34, 0), "it is calico/key-cert-provisioner since: rename it"),
    ];
    let known = FROM.iter().filter(|(name, ..)| names.iter().any(|one| one.as_str() == *name));
    let notes: Vec<String> =
        known.map(|(name, from, what)| format!("{name} is refused from {from} on, {what}")).collect();
    if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) }
}
