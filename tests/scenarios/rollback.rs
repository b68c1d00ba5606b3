//! Going back to the operator before, under a gate that rejects: for every patch step whose two releases look up one set, in every
//! spelling of the image, from another registry, and whoever made the set.

use std::collections::BTreeSet;

use imageset_controller::catalogue::Catalogue;
use imageset_controller::model::{Digest, Reference, Release, Variant};

use crate::story::{Scenario, pass, report};

/// One release and the next of its series, which look up one set.
struct Step {
    before: Release,
    after: Release,
    set: String,
}

fn shared_steps() -> Vec<Step> {
    let catalogue = Catalogue::embedded();
    let name = |release: Release| Some(catalogue.get(&release)?.image_set_name(Variant::Calico).ok()?.to_string());
    let releases: Vec<Release> = catalogue.releases().collect();
    let steps = releases.windows(2).filter(|step| step[0].series() == step[1].series());
    let step = |step: &[Release]| {
        let (before, after) = (step[0], step[1]);
        name(after).filter(|set| name(before).as_ref() == Some(set)).map(|set| Step { before, after, set })
    };
    steps.filter_map(step).collect()
}

/// Images of the operator before, as a Deployment may have named them.
fn images(release: Release) -> Vec<String> {
    let digest = Digest::of(release.to_string().as_bytes());
    let names = ["rancher/mirrored-calico-operator", "quay.io/tigera/operator", "old.example/tigera/operator"];
    let forms =
        |name: &str| [format!("{name}:{release}"), format!("{name}:{release}@{digest}"), format!("{name}@{digest}")];
    names.into_iter().flat_map(forms).collect()
}

/// Returns what the gate admits when the operator after the step runs, from another registry, and these images ran before.
fn admitted(step: &Step, ours: bool, before: &[String]) -> BTreeSet<String> {
    let Step { before: release, after, set } = step;
    let image = format!("new.example/tigera/operator:{after}");
    let remembered = match before {
        [] => "{}".to_owned(),
        [last, others @ ..] => {
            let retained = others
                .iter()
                .map(|image| format!("{{imageSet: {set}, operator: {release}, operatorImage: '{image}'}}"));
            let retained = retained.collect::<Vec<_>>().join(", ");
            format!("{{runningVersion: {release}, runningImage: '{last}', retained: [{retained}]}}")
        }
    };
    let text = format!(
        "story: one step back\n\
         given:\n  settings: {{mode: Apply, gate: Deny, retain: 0}}\n  operator: !known {{image: '{image}'}}\n  \
         operatorPods: !known [{{name: a, image: '{image}', ready: true}}]\n  installation: !known {{settings: {{}}}}\n  \
         remembered: {remembered}\n\
         sets: [{{name: {set}, operator: {after}, ours: {ours}}}]\nrecords: [{after}]\n\
         registry: {{fails: {{new.example: Unreachable}}}}\n"
    );
    let scenario: Scenario = imageset_controller::yaml::from_str(&text).unwrap();
    let (snapshot, decision, _) = pass(&scenario);
    report(&snapshot, &decision).admitted_images.unwrap().into_iter().collect()
}

#[test]
fn a_previous_operator_of_the_same_set_is_admitted_in_every_spelling() {
    let steps = shared_steps();
    assert_eq!(steps.len(), 150);
    for (at, step) in steps.iter().enumerate() {
        let images = images(step.before);
        // Every other set is somebody else's.
        let admitted = admitted(step, at % 2 == 0, &images);
        for image in &images {
            let reference: Reference = image.parse().unwrap();
            for spelling in reference.spellings() {
                assert!(admitted.contains(&spelling), "{} to {}: {spelling}", step.after, step.before);
            }
        }
        assert!(admitted.len() <= 512, "{} texts", admitted.len());
    }
}

/// After a restore from a backup nothing is remembered.
#[test]
fn a_release_that_the_stored_set_serves_is_admitted_without_being_remembered() {
    let not_served = |(at, step): &(usize, Step)| {
        !admitted(step, at % 2 == 0, &[]).contains(&format!("new.example/tigera/operator:{}", step.before))
    };
    let steps = shared_steps().into_iter().enumerate();
    let refused: Vec<String> = steps.filter(not_served).map(|(_, step)| step.before.to_string()).collect();
    // It pulls calico/windows-upgrade from another registry than v1.23.1.
    assert_eq!(refused, ["v1.23.0"]);
}
