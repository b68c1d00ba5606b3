//! Two replicas: the one that leads is killed again and again, in the midst of upgrades that nobody announced, and another one is
//! started in its place, as a Deployment does. The other one takes over when the Lease has run out, and nothing is written twice.

#![allow(clippy::print_stdout)] // A line for each kill, for `--nocapture` and for a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use serde_json::json;

use crate::testbox::Controller;
use crate::testbox::recorder::Verb;
use crate::testbox::rules::{OperatorRules, Variant, all_versions};
use crate::world::{SOON, Scenery, World, eventually};

/// Each kill falls into an upgrade whose set nobody has made yet.
const KILLS: usize = 20;
/// Shorter than by default, so that the test is, too.
const LEASE: &str = "5s";

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_killed_twenty_times_and_nothing_is_lost_or_written_twice() {
    let releases = releases();
    let mut world = World::start(Scenery { name: "two-replicas", releases: &[], ..Scenery::default() }).await;
    for release in &releases {
        world.mirror.push_release(release).await.unwrap();
    }
    world.installation(json!({})).await;
    world.operator(&releases[0]).await;
    let double = world.double(|_| {});
    world.policy(json!({ "mode": "Apply", "retain": 20 })).await;
    let mut pair = vec![replica(&world, 0).await, replica(&world, 1).await];
    let mut names = vec![name_of(0), name_of(1)];
    double.wait_adopted(&set_of(&releases[0]), SOON).await.unwrap();
    let mut dead: Vec<Controller> = Vec::new();
    for kill in 0..KILLS {
        let to = releases[kill + 1].as_str();
        let leader = eventually("one of the two to lead", async || {
            let (first, second) = (pair[0].leads().await, pair[1].leads().await);
            // Asked one after the other: the lead may have gone from the one to the other in between.
            assert!(!(first && second && pair[0].leads().await), "both lead");
            [first, second].iter().position(|leads| *leads)
        })
        .await;
        let before = lease(&world).await;
        world.operator(to).await;
        // Before it reconciles, during its registry requests, while it writes, and after that.
        tokio::time::sleep(Duration::from_millis(60 * (kill as u64 % 8))).await;
        let mut killed = pair.remove(leader);
        killed.kill();
        let dying = names.remove(leader);
        let at = Instant::now();
        dead.push(killed);
        pair.push(replica(&world, kill + 2).await);
        names.push(name_of(kill + 2));
        double.wait_adopted(&set_of(to), SOON).await.unwrap();
        // The new set can have been stored, and adopted, by the one that is dead.
        let after = eventually("the Lease to have another holder", async || {
            let now = lease(&world).await;
            (now.holder_identity.as_ref() != Some(&dying) && now.holder_identity.is_some()).then_some(now)
        })
        .await;
        let vacant = after.acquire_time.unwrap().0.duration_since(before.renew_time.unwrap().0);
        println!(
            "kill {}: {to} adopted; the Lease of {LEASE} was taken {:.1} s after it was last seen renewed; {:.1} s in all",
            kill + 1,
            vacant.as_secs_f64(),
            at.elapsed().as_secs_f64()
        );
    }
    let transitions = lease(&world).await.lease_transitions.unwrap();
    assert!(usize::try_from(transitions).unwrap() >= KILLS, "{transitions}");
    world.until_quiet().await;
    double.wait_healthy(SOON).await.unwrap();
    let living: Vec<&Controller> = dead.iter().chain(&pair).collect();
    let wanted: BTreeSet<String> = releases.iter().map(|release| set_of(release)).collect();
    for release in &releases {
        assert_eq!(world.stored(&set_of(release)).await.unwrap(), world.wanted(release, false), "{release}");
    }
    let report = world.finish(&living).await;
    // Each set was created, once, and never touched again, whoever led; and so was its record.
    let of_kind = |kind: &str| {
        let mut writes: BTreeMap<&str, Vec<Verb>> = BTreeMap::new();
        for write in report.writes.iter().filter(|write| write.kind == kind) {
            writes.entry(&write.name).or_default().push(write.verb);
        }
        assert!(writes.values().all(|verbs| *verbs == [Verb::Create]), "{writes:?}");
        writes.into_keys().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    assert_eq!(of_kind("ImageSet"), wanted);
    assert_eq!(of_kind("ConfigMap").len(), wanted.len());
}

/// The newest releases with set names of their own, oldest first.
fn releases() -> Vec<String> {
    let mut names = BTreeSet::new();
    let all = all_versions().into_iter().rev().map(|version| version.to_string());
    let own = all.filter(|release| release != "v1.41.0" && names.insert(set_of(release)));
    let mut releases: Vec<String> = own.take(KILLS + 1).collect();
    releases.reverse();
    releases
}

async fn replica(world: &World, number: usize) -> Controller {
    world.controller_with(&["--leader-elect-lease-duration", LEASE], &name_of(number)).await
}

fn name_of(number: usize) -> String {
    format!("replica-{number}")
}

fn set_of(release: &str) -> String {
    OperatorRules::for_version(release).unwrap().expected_set_name(Variant::Calico)
}

async fn lease(world: &World) -> LeaseSpec {
    let leases = world.own::<Lease>();
    leases.get_opt("imageset-controller").await.unwrap().and_then(|lease| lease.spec).unwrap_or_default()
}
