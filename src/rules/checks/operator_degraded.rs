//! Check for components whose TigeraStatus has condition Degraded. Each becomes a finding with the cause, as far as the message
//! and the cluster explain it. The finding blames an ImageSet only if one is the cause.

use crate::model::decision::OperatorKnowledge;
use crate::model::feature::Feature;
use crate::model::finding::{Evidence, Finding};
use crate::model::foreign_text::escaped;
use crate::model::image_name::ImageName;
use crate::model::listed::{NAMED, listed};
use crate::model::object_ref::ObjectRef;
use crate::model::pods::SeenPods;
use crate::model::reason::Reason;
use crate::model::release::{Release, Variant};
use crate::model::stored_image_set::StoredImageSet;
use crate::model::tigera_status::ComponentStatus;
use crate::rules::checks::view::View;
use crate::rules::explain::operator_messages::OperatorMessage;

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
pub(crate) fn check(view: &View<'_>) -> Vec<Finding> {
    let around = ClusterView {
        sets: view.sets(),
        operator: view.operator,
        variant: view.installation.variant,
        pods: view.snapshot.pods.known(),
    };
    let degraded = view.snapshot.component_statuses.known().into_iter().flatten();
    let mut findings: Vec<Finding> = degraded.filter_map(|status| around.explained(status)).collect();
    // A build that rejects the set of its version has a finding of its own.
    let reported =
        |reason: Reason| view.refused && matches!(reason, Reason::UnexpectedImages | Reason::ImagesNotListed);
    findings.retain(|finding| !reported(finding.reason));
    findings.sort_by_key(|finding| finding.reason);
    findings
}

/// The state of the cluster that explains an operator's message.
struct ClusterView<'a> {
    sets: &'a [StoredImageSet],
    operator: &'a OperatorKnowledge,
    variant: Variant,
    /// Pods of the operator's workloads; `None` if they could not be read.
    pods: Option<&'a SeenPods>,
}

impl ClusterView<'_> {
    fn explained(&self, status: &ComponentStatus) -> Option<Finding> {
        let degraded = status.degraded.as_ref()?;
        let words = OperatorMessage::of(&degraded.reason, &degraded.message);
        let cause = words.cause();
        let object = ObjectRef::tigera_status(&status.name);
        let finding = |message: String| Finding::new(cause, object.clone(), message);
        Some(match cause {
            Reason::ExactImageSetMissing => {
                let wanted = words.wanted.unwrap_or_default();
                if self.sets.iter().any(|set| set.name == wanted) {
                    let why = "it is stored by now, and the operator has not looked again yet";
                    return Some(finding(format!("the operator wanted {wanted}: {why}")));
                }
                let there: Vec<&str> = self.sets.iter().map(|set| set.name.as_str()).collect();
                let there = if there.is_empty() { "none now".to_owned() } else { listed(&there, NAMED) };
                let message = format!("the operator wants {wanted} and finds {there}{}", self.why_missing());
                finding(message).with_evidence(Evidence::words(there, wanted))
            }
            Reason::UnexpectedImages => {
                let names: Vec<&ImageName> = words.unexpected.iter().collect();
                let message =
                    format!("entries that this operator does not know: {}{}", listed(&names, NAMED), why(&names));
                finding(message).with_evidence(Evidence::words(listed(&names, NAMED), "no such entry"))
            }
            Reason::ImagesNotListed => {
                let names: Vec<&ImageName> = words.missing.iter().collect();
                let message =
                    format!("entries that it needs are missing: {}{}", listed(&names, NAMED), self.needed_for(&names));
                finding(message).with_evidence(Evidence::words("no entry", listed(&names, NAMED)))
            }
            Reason::DigestsMalformed => {
                let entries: Vec<String> = words.bad_digests.iter().map(|entry| escaped(entry)).collect();
                finding(format!("entries without a digest of sha256: {}", listed(&entries, NAMED)))
            }
            Reason::PodsCannotPull => {
                let (pods, containers) = words.pull.map(|pull| (pull.pods, pull.containers)).unwrap_or_default();
                finding(format!("a pod of {pods} cannot pull the image of {containers}"))
            }
            _ => {
                let said = [degraded.reason.as_str(), degraded.message.as_str()];
                let said = said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
                let said = escaped(&said);
                let about = if cause == Reason::ComponentDegraded && self.images_are_well(&said) {
                    "not because of images: "
                } else {
                    ""
                };
                finding(format!("{about}{said}"))
            }
        })
    }

    /// Whether nothing points to images: neither the message nor a pod.
    fn images_are_well(&self, said: &str) -> bool {
        !said.contains("container") && self.pods.is_some_and(|pods| pods.failing.is_empty())
    }

    /// Returns a probable reason why the set is missing.
    fn why_missing(&self) -> String {
        let running = self.operator.running.as_ref().map(|running| running.release);
        let target = self.operator.target.as_ref().map(|target| target.release);
        let upgraded = |set: &StoredImageSet| {
            set.origin.as_ref().is_some_and(|origin| Some(origin.operator) != running.or(target))
        };
        let Some(first) = self.sets.first() else { return String::new() };
        let name = &first.name;
        let why = if !name.starts_with(self.variant.image_set_prefix()) {
            format!("{name} is for something else, and operators before v1.34 stop at any set")
        } else if self.sets.iter().any(upgraded) {
            format!("the operator was upgraded before its set was stored, or {name} is left over")
        } else {
            format!("{name} is of another version, of another tool, or a typo")
        };
        format!(": {why}")
    }

    /// Returns what the missing images are required for.
    fn needed_for(&self, names: &[&ImageName]) -> String {
        let asks = |feature: &&Feature| names.iter().any(|name| feature.images().contains(&name.as_str()));
        let features: Vec<&str> = Feature::ALL.iter().filter(asks).map(|feature| feature.told()).collect();
        let script = names.iter().any(|name| !DOCUMENTED_SCRIPT.contains(&name.as_str()));
        match features.as_slice() {
            [] if script => " (the documented script leaves such names out)".to_owned(),
            [] => String::new(),
            features => format!(" (for {})", features.join(", ")),
        }
    }
}

/// Returns what is known about names that operators reject.
fn why(names: &[&ImageName]) -> String {
    const FROM: [(&str, Release, &str); 2] = [
        ("tigera/operator", Release::new(1, 36, 0), "drop it"),
        ("tigera/key-cert-provisioner", Release::new(1, 34, 0), "it is calico/key-cert-provisioner since: rename it"),
    ];
    let known = FROM.iter().filter(|(name, ..)| names.iter().any(|one| one.as_str() == *name));
    let told: Vec<String> =
        known.map(|(name, from, what)| format!("{name} is refused from {from} on, {what}")).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
}
