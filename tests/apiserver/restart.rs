//! Restarts and hand-overs: what is stored stays true, nobody is asked again, and one instance at a time acts.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::testbox::Controller;
use crate::world::{SOON, Scenery, World, eventually};

/// API group of Leases.
const LEASES: &str = "coordination.k8s.io";

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_sends_no_registry_request_and_one_of_two_instances_acts() {
    let world = World::with_calico(Scenery { name: "restart", ..Scenery::default() }, "v1.40.15").await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply", "prepare": { "versions": ["v1.42.4"] } })).await;
    let mut killed = world.controller("killed").await;
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    world.until_quiet().await;

    // kill -9, and a new process: it leads when the Lease has run out, looks, and finds nothing to ask or to do.
    killed.kill();
    world.mirror.registry.forget_requests().unwrap();
    let (revisions, events) = (world.recorder.revisions().len(), world.events("ImageSetPolicy", "default").await);
    let mut first = world.controller("first").await;
    reconciled(&first).await;
    world.recorder.assert_quiet(Duration::from_secs(3)).await.unwrap();
    assert_eq!(world.mirror.registry.requests().unwrap(), [], "the registry was asked");
    assert_eq!(world.recorder.revisions().len(), revisions, "something was written");
    assert_eq!(world.events("ImageSetPolicy", "default").await, events, "an event was published");

    // A second instance: it is ready and does nothing, not even when there is something to do.
    let mut second = world.controller("second").await;
    eventually("the second instance to be ready", async || {
        (second.get("/readyz").await.unwrap().0 == 200).then_some(())
    })
    .await;
    edit(&world).await;
    restored(&world).await;
    assert!(first.leads().await && !second.leads().await);
    let written = async || (!first.logged("written").is_empty()).then_some(());
    eventually("the first to tell of it", written).await;
    assert_eq!(first.logged("written").len(), 1);
    assert_eq!(second.logged("reconcile completed").len(), 0, "only the leader makes passes");
    let metrics = second.get("/metrics").await.unwrap().1;
    assert!(!metrics.contains("imageset_controller_condition{"), "only the leader tells of the policy:\n{metrics}");

    // SIGTERM: it ends well and gives the Lease back, so that the other one need not wait for its end.
    double.wait_healthy(SOON).await.unwrap();
    world.until("Adopted", "True", "AdoptionComplete").await;
    assert_eq!(first.terminate().await.unwrap(), 0);
    assert!(first.logged("could not release the Lease; it expires by itself").is_empty());
    reconciled(&second).await;
    edit(&world).await;
    eventually("the second instance to put the edit back", async || {
        (!second.logged("written").is_empty()).then_some(())
    })
    .await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
    assert_eq!(first.logged("written").len(), 1);

    // The last one goes, and nobody holds the Lease.
    assert_eq!(second.terminate().await.unwrap(), 0);
    let leases = world.own::<Lease>();
    let lease = leases.get("imageset-controller").await.unwrap().spec.unwrap();
    assert_eq!(lease.holder_identity.unwrap_or_default(), "");
    assert_eq!(world.mirror.registry.requests().unwrap(), [], "edits are put back from the record");
    double.stop().await;
    world.finish(&[&killed, &first, &second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_survives_refused_renewals_and_passes_on_when_its_holder_is_held_up() {
    let world = World::with_calico(Scenery { name: "lead", ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;
    let mut first = world.controller("first").await;
    world.until("Applied", "True", "ImageSetStored").await;

    // The API server refuses a renewal for a while, then the Lease is deleted: it is acquired again.
    let roles = world.own::<Role>();
    let rights = roles.get("imageset-controller").await.unwrap().rules.unwrap();
    let without = rights.iter().filter(|rule| rule.api_groups.iter().flatten().all(|group| group != LEASES));
    let (all, without) = (json!({ "rules": rights }), json!({ "rules": without.collect::<Vec<_>>() }));
    let human = PatchParams::default();
    roles.patch("imageset-controller", &human, &Patch::Merge(&without)).await.unwrap();
    eventually("a renewal to fail", async || {
        (!first.logged("the Lease could not be renewed").is_empty()).then_some(())
    })
    .await;
    roles.patch("imageset-controller", &human, &Patch::Merge(&all)).await.unwrap();
    reconciled(&first).await;
    let leases = world.own::<Lease>();
    leases.delete("imageset-controller", &Default::default()).await.unwrap();
    eventually("the Lease to be made again", async || leases.get_opt("imageset-controller").await.unwrap()).await;
    edit(&world).await;
    restored(&world).await;

    // The first is held up; the second leads when the Lease has not changed for its duration.
    let mut second = world.controller("second").await;
    first.pause().unwrap();
    reconciled(&second).await;
    edit(&world).await;
    restored(&world).await;
    eventually("the second to tell of it", async || (!second.logged("written").is_empty()).then_some(())).await;
    let written = first.logged("written").len();
    first.resume().unwrap();
    eventually("the first to see that it does not lead", async || (!first.leads().await).then_some(())).await;
    edit(&world).await;
    restored(&world).await;
    assert_eq!(first.logged("written").len(), written, "who does not lead writes nothing");
    assert!(second.leads().await);
    assert_eq!((first.terminate().await.unwrap(), second.terminate().await.unwrap()), (0, 0));
    world.finish(&[&first, &second]).await;
}

async fn restored(world: &World) {
    eventually("the edit to be put back", async || {
        (world.stored("calico-v3.31.7").await.unwrap() == world.wanted("v1.40.15", false)).then_some(())
    })
    .await;
}

/// Waits until this instance leads and has reconciled.
async fn reconciled(controller: &Controller) {
    eventually("a pass of the new leader", async || {
        (controller.leads().await && !controller.logged("reconcile completed").is_empty()).then_some(())
    })
    .await;
}

/// A human removes an entry.
async fn edit(world: &World) {
    world.edit_set("calico-v3.31.7", |images| drop(images.remove(0))).await;
}
