//! Check for operator images that lack a platform: of the cluster's nodes, or of nodes that may join. No set lists the operator's own
//! image, so its pod pulls whatever its Deployment names.

use std::collections::BTreeSet;

use crate::model::lists::list_first;
use crate::model::{Finding, Platform, PrepareVersion, Purpose, Reason, Reference, Subject};
use crate::rules::checks::input::CheckInput;

/// Maximum number of platforms in a message.
const MOST_PLATFORMS: usize = 5;

/// Returns a finding for each operator image that runs, is to run or is prepared. The platforms are known when the image was looked
/// up; until the next time the previous finding holds.
pub(super) fn check(input: &CheckInput<'_>) -> Vec<Finding> {
    images(input).iter().filter_map(|image| of_image(input, image)).collect()
}

/// Returns the images of the operators that run or are to run, and those that `prepare.versions` names.
fn images(input: &CheckInput<'_>) -> BTreeSet<Reference> {
    let operators = [&input.operator.running, &input.operator.target].into_iter().flatten();
    let used = operators.filter_map(|operator| operator.image.as_ref()?.parse().ok());
    let prepared = input.checked_sets.iter().filter_map(|set| match &set.purpose {
        Purpose::Prepared(PrepareVersion::Operator(reference)) => Some(reference.clone()),
        Purpose::Prepared(PrepareVersion::Release(release)) => input.effective.reference_of(*release),
        Purpose::Running | Purpose::Target | Purpose::Discovered(_) => None,
    });
    used.chain(prepared).collect()
}

fn of_image(input: &CheckInput<'_>, image: &Reference) -> Option<Finding> {
    let subject = Subject::Operator(PrepareVersion::Operator(image.clone()));
    let looked_up = input.snapshot.lookup_results.operators.get(image).and_then(|result| result.known());
    let Some(has) = looked_up.map(|looked_up| &looked_up.platforms).filter(|has| !has.is_empty()) else {
        let is_it = |finding: &&Finding| {
            matches!(finding.reason, Reason::OperatorPlatformMissing | Reason::SinglePlatformImage)
                && finding.subject == subject
        };
        return input.snapshot.remembered.findings.iter().find(is_it).cloned();
    };
    let lacks = |node: &&Platform| !node.is_windows() && !has.iter().any(|platform| platform.runs_on(node));
    let nodes = input.snapshot.nodes.known().into_iter().flatten().map(|(platform, _)| platform);
    let lacking: Vec<&Platform> = nodes.filter(lacks).collect();
    let listed: Vec<&Platform> = has.iter().collect();
    match (lacking.as_slice(), listed.as_slice()) {
        ([], [only]) => {
            let message = format!("it has {only} only: the operator's pod cannot start on a node of another platform");
            Some(Finding::new(Reason::SinglePlatformImage, subject, message))
        }
        ([], _) => None,
        (lacking, listed) => {
            let (lacking, listed) = (list_first(lacking, MOST_PLATFORMS), list_first(listed, MOST_PLATFORMS));
            let message = format!("it has nothing for {lacking} (it has {listed}), and nodes are of that platform");
            Some(Finding::new(Reason::OperatorPlatformMissing, subject, message))
        }
    }
}
