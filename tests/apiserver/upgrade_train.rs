//! A train of upgrades, hands off: real controllers roll the operator's Deployment and what it renders out, a person sets the image
//! of the next version, and nothing else. Each staged set is there before; where two versions want one name with other content,
//! that is reported beforehand, and one write swaps it. The same with a registry that is gone once everything is staged.

#![allow(clippy::print_stdout)] // A line for each step, with its gap, for `--nocapture` and for a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::testbox::kubelet::Plays;
use crate::testbox::operator_double::{DegradedSpan, OperatorDouble, What};
use crate::testbox::recorder::{Revision, Verb, Watched};
use crate::testbox::rules::{OperatorRules, Variant};
use crate::testbox::{Kubelet, crds};
use crate::world::{SOON, Scenery, World, eventually};

const RELEASES: &[&str] = &[
    "v1.30.4", "v1.32.0", "v1.34.5", "v1.36.0", "v1.38.5", "v1.39.0", "v1.38.6", "v1.39.3", "v1.40.15", "v1.42.4",
    "v1.43.0",
];
/// One version back, and far back to a name that three versions share.
const BACK: &[&str] = &["v1.42.4", "v1.39.3"];
/// The operator's kubelet runs on it.
const NODE: &str = "node-1";

/// What becomes of the registry once everything is staged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    Responds,
    RejectsEverything,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_upgrade_of_the_train_finds_its_set() {
    ride("train", Afterwards::Responds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_train_needs_no_registry_once_all_is_staged() {
    ride("train-alone", Afterwards::RejectsEverything).await;
}

async fn ride(name: &'static str, afterwards: Afterwards) {
    let mut world =
        World::start(Scenery { name, releases: RELEASES, roll_outs: true, cache: true, ..Scenery::default() }).await;
    let kubelet = Kubelet::start_for_all(world.client.clone(), NODE).await.unwrap();
    kubelet.play("", Plays::Runs);
    world.installation(json!({})).await;
    world.operator(RELEASES[0]).await;
    let double = world.double(|options| (options.play_pods, options.play_workloads) = (false, false));
    double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();

    let to_come = &RELEASES[1..];
    let policy = json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": to_come } });
    world.policy(policy).await;
    let controller = world.controller("first").await;
    eventually("all versions to be prepared", async || {
        (world.condition("Prepared").await.0 == "True" && adopted(&world, RELEASES[0]).await).then_some(())
    })
    .await;
    world.until("Ready", "True", "Succeeded").await;
    double.wait_adopted(&set_of(RELEASES[0]), SOON).await.unwrap();
    // Other content under one name: the only sets that may ever change.
    for swapped in ["calico-v3.26.1", "calico-v3.30.2"] {
        world.recorder.allow_repin(swapped);
    }
    // The gate takes effect a moment after its objects are there; only a dry run, so that nothing is admitted.
    let unprepared = world.mirror.operator_image("v1.29.3");
    eventually("the gate to refuse", async || world.rejects(&unprepared).await.then_some(())).await;
    world.recorder.gate_is_in_force().await.unwrap();
    world.mirror.registry.forget_requests().unwrap();
    if afterwards == Afterwards::RejectsEverything {
        world.mirror.registry.stop();
    }

    let staged: BTreeSet<String> = RELEASES.iter().map(|version| set_of(version)).collect();
    eventually("the recorder to see each set once", async || {
        let mut changes = changes(&world);
        changes.sort();
        changes.iter().eq(&staged).then_some(())
    })
    .await;
    let prepared = world.status().await["prepared"].to_string();
    assert!(prepared.contains("other digests are stored for operator v1.38.5"), "{prepared}");
    let mut journey = Journey { world: &world, double: &double, moved: 0, changes: staged.len() };
    let mut from = RELEASES[0];
    let mut swaps = Vec::new();
    for to in to_come.iter().chain(BACK) {
        let step = journey.go(from, to).await;
        println!("{name}: {step}");
        if let Step { to, swap: true, .. } = step {
            swaps.push(to);
        }
        from = *to;
    }
    assert_eq!(swaps, ["v1.32.0", "v1.39.0"], "what has to be swapped is known from the published lists");
    assert!(world.rejects(&unprepared).await);
    world.until_quiet().await;
    assert_eq!(changes(&world).len(), journey.changes, "{:#?}", world.writes());
    assert_eq!(world.mirror.registry.requests().unwrap(), [], "the registry was asked");

    double.stop().await;
    drop(kubelet);
    let report = world.finish(&[&controller]).await;
    let deleted = report.writes.iter().filter(|write| write.kind == "ImageSet" && write.verb == Verb::Delete);
    assert_eq!(deleted.count(), 0, "{:#?}", report.writes);
}

/// One upgrade or rollback, as it went.
struct Step {
    from: &'static str,
    to: &'static str,
    set: String,
    /// What the status said of the version before.
    state: String,
    swap: bool,
    /// How long the new operator was Degraded, as the double saw it.
    degraded: Duration,
    /// What the policy's status says of the gap.
    reported: Value,
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, set, state, degraded, reported, .. } = self;
        write!(formatter, "{from} -> {to}: {set} was {state} before; ")?;
        match self.swap {
            false => write!(formatter, "gap 0 s"),
            true if degraded.is_zero() => {
                write!(formatter, "gap not Degraded, swapped after the take-over; status: at most {reported} s")
            }
            true => {
                write!(
                    formatter,
                    "gap {degraded:.1?} Degraded, swapped after the take-over; status: at most {reported} s"
                )
            }
        }
    }
}

struct Journey<'a> {
    world: &'a World,
    double: &'a OperatorDouble,
    /// The revision of the Deployment's last change of image.
    moved: u64,
    /// How often a set got other content so far.
    changes: usize,
}

impl Journey<'_> {
    /// Sets the image of the next version, and checks all that follows.
    async fn go(&mut self, from: &'static str, to: &'static str) -> Step {
        let (world, double) = (self.world, self.double);
        let set = set_of(to);
        let wanted = world.wanted(to, false);
        let swap = world.stored(&set).await.unwrap() != wanted;
        let state = eventually("the next version to be as ready as can be", async || {
            let prepared = world.status().await["prepared"].as_array().cloned().unwrap_or_default();
            let found = prepared.into_iter().find(|prepared| prepared["operatorVersion"] == to)?;
            let state = found["state"].as_str()?.to_owned();
            let ready: &[&str] = if swap { &["Waiting", "Conflict"] } else { &["Staged"] };
            ready.contains(&state.as_str()).then_some(state)
        })
        .await;
        assert_eq!(world.condition("Prepared").await.0, "True");
        let (degraded_before, led_before) = (double.degraded_moments().len(), take_overs(double, to));

        // The API server's gate learns what the status admits a moment later.
        let image = world.mirror.operator_image(to);
        eventually("the gate to let it through", async || world.set_image(&image).await.ok()).await;
        eventually("the take-over", async || (take_overs(double, to) > led_before).then_some(())).await;
        eventually("the status to say that the set is adopted", async || adopted(world, to).await.then_some(())).await;
        double.wait_adopted(&set, SOON).await.unwrap();
        double.wait_healthy(SOON).await.unwrap();
        assert_eq!(world.stored(&set).await.unwrap(), wanted);
        world.until("Ready", "True", "Succeeded").await;
        self.everything_runs_by(&wanted).await;

        let moved = self.moved_to(&image).await;
        self.staged_before(moved, to, &wanted, swap);
        self.nothing_else_changed(&set, swap).await;
        self.moved = moved;
        let spans = double.degraded_moments().split_off(degraded_before);
        assert!(state == "Conflict" || spans.is_empty(), "{from} -> {to}, {state}: {spans:#?}");
        let reported = world.status().await["lastSwap"].clone();
        if swap {
            assert_eq!((&reported["fromOperatorVersion"], &reported["operatorVersion"]), (&json!(from), &json!(to)));
        }
        Step { from, to, set, state, swap, degraded: total(&spans), reported: reported["gapSeconds"].clone() }
    }

    /// The revision in which the Deployment's image became this one.
    async fn moved_to(&self, image: &str) -> u64 {
        let of = |revision: &Revision| {
            let containers = &revision.object.data["spec"]["template"]["spec"]["containers"];
            revision.watched == Watched::Deployment
                && revision.resource_version > self.moved
                && containers[0]["image"] == image
        };
        let found = eventually("the recorder to see the upgrade", async || self.world.recorder.first(of)).await;
        found.resource_version
    }

    /// By revisions, not by clocks: when the Deployment changed, the set, or what it is to be swapped for, was stored.
    fn staged_before(&self, moved: u64, version: &str, wanted: &BTreeMap<String, String>, swap: bool) {
        let mut before =
            self.world.recorder.revisions().into_iter().filter(|revision| revision.resource_version < moved);
        let is_set = |revision: &Revision| revision.name() == set_of(version) && is_image_set(revision);
        let record = format!("record-{version}-calico-");
        let is_record =
            |revision: &Revision| revision.watched == Watched::ConfigMap && revision.name().starts_with(&record);
        let last = before.rfind(|revision| if swap { is_record(revision) } else { is_set(revision) }).unwrap();
        assert_ne!(last.verb, Verb::Delete, "{last}");
        match swap {
            false => assert_eq!(entries(&last), *wanted, "{last}"),
            true => {
                let text = last.object.data["data"].to_string();
                let missing: Vec<_> = wanted.values().filter(|digest| !text.contains(digest.as_str())).collect();
                assert!(missing.is_empty(), "{missing:?} is not in {last}");
            }
        }
    }

    /// Nothing but the set of the new version got other content, and that once.
    async fn nothing_else_changed(&mut self, set: &str, swap: bool) {
        let expected: &[&str] = if swap { &[set] } else { &[] };
        let enough = self.changes + expected.len();
        let seen = eventually("the recorder to see the swap", async || {
            let changes = changes(self.world);
            (changes.len() >= enough).then_some(changes)
        })
        .await;
        assert_eq!(seen[self.changes..], *expected, "{:#?}", self.world.writes());
        self.changes = enough;
    }

    /// All pods that the real controllers have made for the operator's templates.
    async fn everything_runs_by(&self, wanted: &BTreeMap<String, String>) {
        let pinned: BTreeSet<&str> = wanted.values().map(String::as_str).collect();
        let by_digest = |image: &String| image.split_once('@').is_some_and(|(_, digest)| pinned.contains(digest));
        let pods: Api<Pod> = Api::namespaced(self.world.client.clone(), "calico-system");
        eventually("all pods to run by the set", async || {
            let pods = pods.list(&ListParams::default()).await.unwrap().items;
            let node = pods.iter().any(|pod| pod.name_any().starts_with("calico-node-"));
            let images = pods.iter().filter_map(|pod| pod.spec.as_ref()).flat_map(|spec| {
                spec.containers.iter().chain(spec.init_containers.iter().flatten()).filter_map(|one| one.image.clone())
            });
            let ready = pods
                .iter()
                .all(|pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running")));
            (node && ready && images.into_iter().all(|image| by_digest(&image))).then_some(())
        })
        .await;
    }
}

fn set_of(version: &str) -> String {
    OperatorRules::for_version(version).unwrap().expected_set_name(Variant::Calico)
}

/// The status says that this version runs, and that all its workloads do so by its set.
async fn adopted(world: &World, version: &str) -> bool {
    let status = world.status().await;
    let (operator, current) = (&status["operator"], &status["current"]);
    operator["version"] == version
        && operator["target"] == version
        && current["imageSet"] == set_of(version)
        && current["stored"] == true
        && current["adopted"] == true
}

/// How often this version took over.
fn take_overs(double: &OperatorDouble, version: &str) -> usize {
    let this = |what: &What| matches!(what, What::OperatorTookOver { version: led, .. } if led == version);
    double.events().iter().filter(|seen| this(&seen.what)).count()
}

fn total(spans: &[DegradedSpan]) -> Duration {
    let from = spans.iter().map(|span| span.from).min();
    let until = spans.iter().filter_map(|span| span.until).max();
    from.zip(until).map(|(from, until)| until.duration_since(from)).unwrap_or_default()
}

/// The names of the sets that got other content, once for each time.
fn changes(world: &World) -> Vec<String> {
    let mut contents: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut changed = Vec::new();
    for revision in world.recorder.revisions().iter().filter(|revision| is_image_set(revision)) {
        let now = entries(revision);
        if contents.insert(revision.name(), now.clone()) != Some(now) {
            changed.push(revision.name());
        }
    }
    changed
}

fn is_image_set(revision: &Revision) -> bool {
    revision.watched == Watched::Operator(crds::Kind::ImageSet)
}

fn entries(set: &Revision) -> BTreeMap<String, String> {
    let entries = set.object.data["spec"]["images"].as_array().cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| (text(entry, "image"), text(entry, "digest"))).collect()
}
