//! Causes that come and go: each real change is one write of the status and at most one event, and what is no change is neither.

use kube::ResourceExt;
use serde_json::json;

use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::recorder::Revision;
use crate::world::{Scenery, World, eventually};

const TIMES: usize = 5;
const SAID: (&str, &str) = ("ResourceReadError", "Error querying IP pools");

impl World {
    async fn policy_version(&self) -> u64 {
        self.policies().get("default").await.unwrap().resource_version().unwrap().parse().unwrap()
    }

    /// How often the policy was written since this version of it.
    fn policy_writes_since(&self, version: u64) -> usize {
        let history = self.recorder.revisions();
        let later = |one: &Revision| one.watched.kind() == "ImageSetPolicy" && one.resource_version > version;
        history.iter().filter(|one| later(one)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_cause_is_reported_once_per_real_change() {
    let world = World::with_calico(Scenery { name: "flapping", ..Scenery::default() }, "v1.40.15").await;
    world.create(OperatorKind::TigeraStatus, "ippools", json!({})).await;
    world.report_component("ippools", None, 1).await;
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;
    world.until("Ready", "True", "Succeeded").await;
    world.until("OperatorDegraded", "False", "NotDegraded").await;
    world.until_quiet().await;

    let before = world.policy_version().await;
    for generation in 0..TIMES {
        let generation = i64::try_from(generation).unwrap();
        world.report_component("ippools", Some(SAID), generation).await;
        world.until("OperatorDegraded", "True", "ComponentDegraded").await;
        // The operator says the same again, of a newer generation.
        world.report_component("ippools", Some(SAID), generation + 100).await;
        world.report_component("ippools", None, generation).await;
        world.until("OperatorDegraded", "False", "NotDegraded").await;
    }
    world.until_quiet().await;
    let writes = world.policy_writes_since(before);
    assert!(writes <= 2 * TIMES, "{writes} writes for {} changes", 2 * TIMES);
    assert!(writes >= 2, "nothing was told");
    for (kind, name) in [("ImageSetPolicy", "default"), ("TigeraStatus", "ippools")] {
        let reported = eventually("the events", async || {
            let events = world.events(kind, name).await;
            let of_cause: Vec<_> = events.into_iter().filter(|event| event.0 == "ComponentDegraded").collect();
            (!of_cause.is_empty()).then_some(of_cause)
        })
        .await;
        // Kubernetes keeps one event with a count.
        assert_eq!(reported.len(), 1, "{reported:?}");
        assert!(reported[0].1 <= i32::try_from(TIMES).unwrap(), "{reported:?}");
    }
    world.finish(&[&controller]).await;
}
