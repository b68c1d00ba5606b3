//! Whichever way it is installed, the same objects come of it.

use super::objects::{Objects, differences, objects};
use super::text;
use super::tools::{CHART, MONITORING, OVERLAYS, helm, kustomize, printed, tool};

/// What kustomize makes and the chart does not, and why.
const NOT_IN_THE_CHART: [(&str, &str); 1] = [(
    "Namespace imageset-controller",
    "Helm makes the release's namespace (--create-namespace), before it has looked into the chart; one in the chart would be \
     refused as not Helm's own, and an uninstall would take the records with it",
)];

/// As the chart has to make it.
fn expected(folder: &str) -> Objects {
    let mut objects = objects(&kustomize(folder));
    for (key, reason) in NOT_IN_THE_CHART {
        assert!(objects.remove(key).is_some(), "{folder} has no {key}, which the chart leaves out because {reason}");
    }
    objects
}

#[test]
fn the_chart_makes_the_objects_of_base_and_overlays() {
    for (folder, flags) in OVERLAYS {
        let wrong = differences(&expected(folder), &objects(&helm(flags)));
        assert!(wrong.is_empty(), "{folder} and the chart with {flags:?}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn the_overlays_differ_from_base() {
    let base = objects(&kustomize("deploy/base"));
    let different = |folder: &str| differences(&base, &objects(&kustomize(folder))).join("\n");
    let host_network = different("deploy/overlays/host-network");
    for part in
        [".hostNetwork: nothing and true", "NetworkPolicy imageset-controller/imageset-controller: ", "privileged"]
    {
        assert!(host_network.contains(part), "{part}:\n{host_network}");
    }
    let two = different("deploy/overlays/two-replicas");
    for part in [".replicas: 1 and 2", "PodDisruptionBudget imageset-controller/imageset-controller: ", ".affinity: "] {
        assert!(two.contains(part), "{part}:\n{two}");
    }
}

#[test]
fn the_chart_has_what_monitoring_has() {
    let without = objects(&helm(&[]));
    let mut with = objects(&helm(&MONITORING));
    with.retain(|key, _| !without.contains_key(key));
    let wrong = differences(&objects(&kustomize("deploy/monitoring")), &with);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_one_file_is_base() {
    let wrong = differences(&objects(&kustomize("deploy/base")), &objects(&text("deploy/install.yaml")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn helm_lint_has_nothing_to_say() {
    let message = printed(&tool("helm").args(["lint", "--strict", CHART]).output().unwrap());
    assert!(message.contains("1 chart(s) linted, 0 chart(s) failed"), "{message}");
    // An icon is all that it may wish for.
    let remarks = message.lines().filter(|line| line.starts_with('[') && !line.contains("icon is recommended"));
    assert_eq!(remarks.collect::<Vec<_>>(), Vec::<&str>::new());
}
