//! What happens in a cluster: a beginning without faults, something that a person or the cluster does, and what must come of it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::lane::Lane;
use crate::plan::{Fault, Object, Rival};
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::images::{Image, LINUX_PLATFORMS};
use crate::testbox::kubelet::Plays;
use crate::testbox::scenery::{self, PULL_SECRET};
use crate::world::{CANARY, GATE_KINDS, USER, World, eventually, newer};

const OLD: (&str, &str) = ("calico-v3.31.7", "v1.40.15");
const NEW: (&str, &str) = ("calico-v3.32.1", "v1.42.4");
/// Two releases that want one name with other content.
const SHARED: &str = "calico-v3.26.1";
const SHARING: [&str; 2] = ["v1.30.4", "v1.32.0"];
const KNOWN: (&str, &str) = ("calico-v3.32.0", "v1.43.0");
const UNKNOWN: (&str, &str) = ("calico-v3.33.0", "v1.44.0");
/// Every release whose images a lane has.
pub const RELEASES: &[&str] = &["v1.30.4", "v1.32.0", "v1.40.15", "v1.42.4", "v1.43.0"];

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    FirstArming,
    FirstInstall,
    UnpreparedUpgrade,
    StagedUpgrade,
    SameNameSwap,
    Rollback,
    Inspection,
    GateOn,
    GateOff,
    Prune,
    MovedTag,
    RotatedCredential,
    NodeAdded,
    EditedSet,
    LostRecord,
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::FirstArming => "first-arming",
            Self::FirstInstall => "first-install",
            Self::UnpreparedUpgrade => "unprepared-upgrade",
            Self::StagedUpgrade => "staged-upgrade",
            Self::SameNameSwap => "same-name-swap",
            Self::Rollback => "rollback",
            Self::Inspection => "inspection",
            Self::GateOn => "gate-on",
            Self::GateOff => "gate-off",
            Self::Prune => "prune",
            Self::MovedTag => "moved-tag",
            Self::RotatedCredential => "rotated-credential",
            Self::NodeAdded => "node-added",
            Self::EditedSet => "edited-set",
            Self::LostRecord => "lost-record",
        })
    }
}

impl Scenario {
    pub const ALL: [Self; 15] = [
        Self::FirstArming,
        Self::FirstInstall,
        Self::UnpreparedUpgrade,
        Self::StagedUpgrade,
        Self::SameNameSwap,
        Self::Rollback,
        Self::Inspection,
        Self::GateOn,
        Self::GateOff,
        Self::Prune,
        Self::MovedTag,
        Self::RotatedCredential,
        Self::NodeAdded,
        Self::EditedSet,
        Self::LostRecord,
    ];

    /// Whether it runs with every fault; the others run with those that matter most.
    pub const fn is_main(self) -> bool {
        matches!(self, Self::FirstArming)
    }

    /// Whether it also runs with a slow API server, with a second instance, with unmanaged objects and with watches that fail:
    /// one of each way to write a set.
    pub const fn is_thorough(self) -> bool {
        matches!(
            self,
            Self::FirstArming
                | Self::UnpreparedUpgrade
                | Self::StagedUpgrade
                | Self::SameNameSwap
                | Self::GateOn
                | Self::MovedTag
                | Self::EditedSet
        )
    }

    /// Whether a set is stored when it begins.
    pub const fn is_armed(self) -> bool {
        !matches!(self, Self::FirstArming | Self::FirstInstall)
    }

    /// Whether this is the record of a version that does not run at the end.
    pub fn leaves(self, record: &str) -> bool {
        let of = |version: &str| record.contains(&format!("operator: {version}\n"));
        let moves = matches!(self, Self::UnpreparedUpgrade | Self::StagedUpgrade | Self::SameNameSwap | Self::Rollback);
        moves || (self.is_armed() && of(OLD.1))
    }

    /// Whether a fault makes sense here.
    pub fn allows(self, fault: Fault) -> bool {
        match fault {
            // Without the operator's Deployment no pods are read.
            Fault::Object(Object::StrangerPod) => self != Self::FirstInstall,
            // What is deleted can't be changed, and this scenario checks that it is recreated.
            Fault::Object(Object::UnlabelledRecord | Object::ChangedRecord) => self != Self::LostRecord,
            // Here another digest is what is wanted.
            Fault::Rival(Rival::HumanDeletesRecords | Rival::HumanDeletes) => self != Self::MovedTag,
            _ => true,
        }
    }

    fn policy(self) -> Value {
        let prepare = |versions: &[&str]| json!({ "versions": versions });
        match self {
            Self::FirstInstall => json!({ "mode": "Apply", "prepare": prepare(&[NEW.1]) }),
            Self::StagedUpgrade | Self::GateOn => json!({ "mode": "Apply", "prepare": prepare(&[NEW.1]) }),
            Self::GateOff => json!({ "mode": "Apply", "gate": "Deny", "prepare": prepare(&[NEW.1]) }),
            Self::SameNameSwap => json!({ "mode": "Apply", "prepare": prepare(&[SHARING[1]]) }),
            Self::Prune => json!({ "mode": "Apply", "retain": 1 }),
            Self::MovedTag => json!({ "mode": "Apply", "tagMoved": "Repin" }),
            _ => json!({ "mode": "Apply" }),
        }
    }

    /// The operator that runs when it begins.
    const fn begins_with(self) -> Option<&'static str> {
        match self {
            Self::FirstInstall => None,
            Self::SameNameSwap => Some(SHARING[0]),
            Self::Inspection => Some(KNOWN.1),
            _ => Some(OLD.1),
        }
    }

    /// Whether the registry asks for a password, which is in a pull secret.
    const fn pulls_with_a_secret(self) -> bool {
        matches!(self, Self::FirstArming | Self::RotatedCredential)
    }

    /// Up to where it begins: a cluster in which all is well. No fault comes here.
    pub async fn begin(self, lane: &Lane) {
        let world = &lane.world;
        if self.pulls_with_a_secret() {
            lane.registry.ask_for(Some(&format!("{USER}:{CANARY}")));
            world.pull_secret_with(&docker_config(lane, CANARY)).await;
        }
        if self == Self::NodeAdded {
            nodes(world).delete("node-2", &DeleteParams::default()).await.unwrap();
        }
        let Some(version) = self.begins_with() else { return };
        world.installation(self.installation()).await;
        world.operator(version).await;
        if !self.is_armed() {
            return;
        }
        world.policy(self.policy()).await;
        lane.start_controller("before").await;
        let set = match self {
            Self::SameNameSwap => SHARED,
            Self::Inspection => KNOWN.0,
            _ => OLD.0,
        };
        settled(lane, set).await;
        if matches!(self, Self::Rollback | Self::Prune) {
            world.operator(NEW.1).await;
            settled(lane, NEW.0).await;
        }
        if matches!(self, Self::StagedUpgrade | Self::GateOn | Self::GateOff | Self::SameNameSwap) {
            eventually("the next version to be prepared", async || {
                (world.condition("Prepared").await.0 == "True").then_some(())
            })
            .await;
        }
        lane.until_quiet().await;
        lane.stop_controller().await;
    }

    fn installation(self) -> Value {
        match self.pulls_with_a_secret() {
            true => json!({ "imagePullSecrets": [{ "name": PULL_SECRET }] }),
            false => json!({}),
        }
    }

    /// What happens, while something goes wrong.
    pub async fn act(self, lane: &Lane) {
        let world = &lane.world;
        match self {
            Self::FirstArming => world.policy(self.policy()).await,
            Self::FirstInstall => {
                let mut policy = self.policy();
                policy["installation"] = world.layout();
                world.policy(policy).await;
            }
            Self::UnpreparedUpgrade | Self::StagedUpgrade => drop(world.operator(NEW.1).await),
            Self::SameNameSwap => {
                // Both have images that differ in content.
                world.recorder.allow_repin(SHARED);
                world.operator(SHARING[1]).await;
            }
            Self::Rollback => drop(world.operator(OLD.1).await),
            Self::Inspection => {
                let (version, list) = (newer().printed_version(), newer().printed_list());
                let printed = [("version".to_owned(), version), ("images".to_owned(), list)];
                lane.kubelet.play("/operator@sha256:", Plays::Prints(printed.into(), 0));
                world.policy(json!({ "mode": "Apply", "prepare": { "versions": [UNKNOWN.1] } })).await;
            }
            Self::GateOn => {
                world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": [NEW.1] } })).await;
            }
            Self::GateOff => {
                world.policy(json!({ "mode": "Apply", "gate": "Disabled", "prepare": { "versions": [NEW.1] } })).await;
            }
            Self::Prune => world.policy(json!({ "mode": "Apply", "retain": 0 })).await,
            Self::MovedTag => {
                world.recorder.allow_repin(OLD.0);
                let moved = Image::index("moved", LINUX_PLATFORMS).unwrap();
                world.push(&world.mirror.repository("calico/node"), "v3.31.7", &moved).await;
                refresh(world).await;
            }
            Self::RotatedCredential => {
                lane.registry.ask_for(Some(&format!("{USER}:{CANARY}-rotated")));
                world.pull_secret_with(&docker_config(lane, &format!("{CANARY}-rotated"))).await;
                world.policy(json!({ "mode": "Apply", "prepare": { "versions": [NEW.1] } })).await;
            }
            Self::NodeAdded => {
                world.node("node-2", "arm64").await;
                world.policy(json!({ "mode": "Apply", "prepare": { "versions": [NEW.1] } })).await;
            }
            Self::EditedSet => {
                world.edit_set(OLD.0, |images| drop(images.remove(0))).await;
            }
            Self::LostRecord => {
                world.delete_records("").await;
                refresh(world).await;
            }
        }
    }

    /// After [`Self::act`], what follows when that has had its effect.
    pub async fn follow(self, lane: &Lane) {
        if self != Self::FirstInstall {
            return;
        }
        let world = &lane.world;
        world.installation(json!({})).await;
        world.operator(NEW.1).await;
    }

    /// Whether the first effect is there, for [`Self::follow`].
    pub async fn has_begun(self, lane: &Lane) -> bool {
        self != Self::FirstInstall || lane.world.stored(NEW.0).await.is_some()
    }

    /// The sets that must be there at the end, and the one that the workloads must have.
    fn ends_with(self, world: &World) -> (BTreeMap<&'static str, BTreeMap<String, String>>, &'static str) {
        let wanted = |(set, version): (&'static str, &str)| (set, world.wanted(version, false));
        match self {
            Self::FirstArming | Self::EditedSet | Self::LostRecord => ([wanted(OLD)].into(), OLD.0),
            Self::FirstInstall | Self::Prune => ([wanted(NEW)].into(), NEW.0),
            Self::UnpreparedUpgrade | Self::StagedUpgrade => ([wanted(OLD), wanted(NEW)].into(), NEW.0),
            Self::Rollback | Self::GateOn | Self::GateOff | Self::RotatedCredential | Self::NodeAdded => {
                ([wanted(OLD), wanted(NEW)].into(), OLD.0)
            }
            Self::SameNameSwap => ([(SHARED, world.wanted(SHARING[1], false))].into(), SHARED),
            Self::Inspection => {
                let unknown = world.mirror.wanted_by(&newer(), false).unwrap();
                ([wanted(KNOWN), (UNKNOWN.0, unknown)].into(), KNOWN.0)
            }
            Self::MovedTag => {
                let (set, mut content) = wanted(OLD);
                let moved = Image::index("moved", LINUX_PLATFORMS).unwrap();
                content.insert("calico/node".to_owned(), moved.digest());
                ([(set, content)].into(), OLD.0)
            }
        }
    }

    /// What is still missing of the end; nothing if all is done.
    pub async fn misses(self, lane: &Lane) -> Option<String> {
        let world = &lane.world;
        let (sets, current) = self.ends_with(world);
        let stored = OperatorKind::ImageSet.api(&world.client).list(&ListParams::default()).await.ok()?.items;
        let names: Vec<String> = stored.iter().map(ResourceExt::name_any).collect();
        if names.len() != sets.len() {
            return Some(format!("sets {:?}, stored {names:?}", sets.keys()));
        }
        for (name, content) in &sets {
            if world.stored(name).await.as_ref() != Some(content) {
                return Some(format!("ImageSet {name} is not what it must be"));
            }
        }
        for (condition, reason) in [("Ready", "Succeeded"), ("Adopted", "AdoptionComplete")] {
            let (status, because, message) = world.condition(condition).await;
            if (status.as_str(), because.as_str()) != ("True", reason) {
                return Some(format!("{condition} is {status}, {because}: {message}"));
            }
        }
        if world.status().await["current"]["imageSet"] != current {
            return Some(format!("{current} is not the current set"));
        }
        match self {
            Self::GateOn | Self::GateOff => {
                let there = world.gate_specs().await.len();
                let wanted = if self == Self::GateOn { GATE_KINDS.len() } else { 0 };
                (there != wanted).then(|| format!("{there} objects of the gate"))
            }
            Self::Inspection => {
                let jobs = world.jobs().await.len();
                (jobs > 0).then(|| format!("{jobs} Jobs are left"))
            }
            Self::LostRecord => world.records().await.is_empty().then(|| "the record is not there again".to_owned()),
            _ => None,
        }
    }

    /// What it has changed outside the cluster.
    pub async fn undo(self, lane: &Lane) {
        lane.registry.ask_for(None);
        if self == Self::MovedTag {
            let image = Image::of_reference("quay.io/calico/node:v3.31.7").unwrap();
            lane.world.push(&lane.world.mirror.repository("calico/node"), "v3.31.7", &image).await;
        }
    }
}

/// Waits until the operator runs by this set, and the controller says so.
async fn settled(lane: &Lane, set: &str) {
    eventually(&format!("{set} to be adopted, before anything goes wrong"), async || {
        let current = lane.world.status().await["current"]["imageSet"] == set;
        (current && lane.world.condition("Adopted").await.1 == "AdoptionComplete").then_some(())
    })
    .await;
}

/// What `refresh` does.
pub async fn refresh(world: &World) {
    let annotations = json!({ "imageset-controller.io/refresh": "once" });
    let patch = json!({ "metadata": { "annotations": annotations } });
    scenery::edit(&world.policies(), "default", patch).await.unwrap();
}

fn docker_config(lane: &Lane, password: &str) -> String {
    json!({ "auths": { lane.registry.host(): { "username": USER, "password": password } } }).to_string()
}

pub fn nodes(world: &World) -> Api<Node> {
    Api::all(world.client.clone())
}
