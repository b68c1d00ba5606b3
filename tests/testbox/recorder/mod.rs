//! The invariant recorder: sees every revision of what the product touches, through watches of its own, and judges the
//! safety invariants S1 to S6 on each; of S6 only what must not be admitted, once a test knows that the gate is in force. S7, L1 and
//! L2, and whom the gate must let through, are for other tests.
//!
//! - `stream`: lists and watches, and the merge into one history,
//! - `history`: one revision, and who wrote it,
//! - `world`: the state of the cluster at a revision: running and target version, sets, features,
//! - `invariants`: the judge.
//!
//! Whoever plays a human in a test writes ImageSets with the field manager [`HUMAN`] (or the box's `testbox`, or one of
//! kubectl's): anything else that touches a set with our label is taken to be the product.
// A poisoned lock is a test that has failed already.
#![allow(clippy::unwrap_used)]

mod history;
mod invariants;
mod stream;
mod world;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use kube::Client;

use super::operator_images::OperatorImages;
pub use history::{Revision, Verb, Watched, Write};
pub use invariants::Violation;
use stream::{History, Streams};

/// The label that says that an ImageSet is the product's.
pub const OUR_LABEL: &str = "imageset-controller.io/policy";
/// The annotation whose value is the image that it admits.
pub const BREAK_GLASS: &str = "imageset-controller.io/break-glass";
/// The field manager for tests that play a human.
pub const HUMAN: &str = "human";

/// What the recorder needs to know of a test.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the operator's Deployment and pods are.
    pub operator_namespace: String,
    /// The Deployment's name, which is also its container's.
    pub deployment: String,
    /// Where the product keeps its records.
    pub own_namespace: String,
    /// The product's field managers begin with this.
    pub field_manager: String,
    /// Managers that are not the product, although they touch its sets.
    pub humans: BTreeSet<String>,
    /// Which image is which build.
    pub images: OperatorImages,
    /// Every digest that a registry of the box holds (S3). Tests add to it as they push.
    pub known_digests: Arc<Mutex<BTreeSet<String>>>,
}

impl Default for Config {
    fn default() -> Self {
        let humans = ["testbox", HUMAN, "kubectl", "kubectl-edit", "kubectl-patch", "kubectl-client-side-apply"];
        Self {
            operator_namespace: "tigera-operator".to_owned(),
            deployment: "tigera-operator".to_owned(),
            own_namespace: "imageset-controller".to_owned(),
            field_manager: "imageset-controller".to_owned(),
            humans: humans.map(str::to_owned).into(),
            images: OperatorImages::new(),
            known_digests: Arc::default(),
        }
    }
}

/// What a test declares to be wanted.
#[derive(Clone, Debug, Default)]
struct Allowed {
    repin: BTreeSet<String>,
    delete: BTreeSet<String>,
    take_ownership: BTreeSet<String>,
    /// The revision from which on the API server has the gate.
    gate_in_force: Option<u64>,
}

/// A recorder at work. Dropped without [`InvariantRecorder::finish`], it judges nothing.
#[derive(Debug)]
pub struct InvariantRecorder {
    config: Config,
    client: Connection,
    streams: Streams,
    allowed: Arc<Mutex<Allowed>>,
}

/// [`Client`] has no `Debug`.
#[derive(Clone)]
struct Connection(Client);

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Client")
    }
}

/// What was recorded and found.
#[derive(Clone, Debug)]
pub struct RecorderReport {
    /// How many revisions were judged.
    pub revisions: usize,
    /// What must never have happened.
    pub violations: Vec<Violation>,
    /// Revisions that may have been missed (compaction), or could not be judged, and why.
    pub gaps: Vec<String>,
    /// Invariants that this recorder does not judge yet.
    pub unchecked: Vec<&'static str>,
    /// All writes, in order.
    pub writes: Vec<Write>,
}

impl InvariantRecorder {
    /// Starts it and returns when every kind that is served has been listed. Kinds whose CRD is missing are followed as
    /// soon as it appears. Objects that exist already are taken as they are.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn start(client: Client, config: Config) -> Result<Self> {
        let streams = Streams::start(&client, &config).await?;
        Ok(Self { config, client: Connection(client), streams, allowed: Arc::default() })
    }

    /// From now on and before: digests in this set may change (a moved tag under `tagMoved: Repin`, another registry).
    pub fn allow_repin(&self, set: &str) {
        self.allowed.lock().unwrap().repin.insert(set.to_owned());
    }

    /// A human (or `disarm --yes`) deletes or empties this set.
    pub fn allow_delete(&self, set: &str) {
        self.allowed.lock().unwrap().delete.insert(set.to_owned());
    }

    /// The policy says `takeOwnership` and this set is foreign.
    pub fn allow_take_ownership(&self, set: &str) {
        self.allowed.lock().unwrap().take_ownership.insert(set.to_owned());
    }

    /// An unprepared image was refused: from now on the gate must hold, while the policy says so.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn gate_is_in_force(&self) -> Result<()> {
        let present = stream::present(&self.client.0, &self.config).await?;
        self.allowed.lock().unwrap().gate_in_force = Some(present);
        Ok(())
    }

    /// The writes seen so far, in order of their revisions.
    pub fn writes(&self) -> Vec<Write> {
        self.streams.history().writes()
    }

    /// The revisions seen so far, in order.
    pub fn revisions(&self) -> Vec<Revision> {
        self.streams.history().sorted()
    }

    /// The first revision that matches, such as the one in which a set was stored.
    pub fn first(&self, matches: impl Fn(&Revision) -> bool) -> Option<Revision> {
        self.revisions().into_iter().find(|revision| matches(revision))
    }

    /// Watches for this long: no revision may come, of any kind that is watched (Leases are not). What was written before
    /// the call and only arrives during it does not count.
    ///
    /// # Errors
    /// Something was written; the message lists it. Or the API server does not answer.
    pub async fn assert_quiet(&self, duration: Duration) -> Result<()> {
        let present = stream::present(&self.client.0, &self.config).await?;
        tokio::time::sleep(duration).await;
        let revisions = self.revisions();
        let news = revisions.iter().filter(|revision| revision.resource_version > present);
        let news: Vec<String> = news.map(Revision::to_string).collect();
        if !news.is_empty() {
            bail!("{} writes in {duration:?} that should have been quiet:\n{}", news.len(), news.join("\n"));
        }
        Ok(())
    }

    /// Reads on until every stream has reached the present, and judges all revisions.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn finish(self) -> Result<RecorderReport> {
        let history: History = self.streams.drain(&self.client.0).await?;
        let allowed = self.allowed.lock().unwrap().clone();
        let revisions = history.sorted();
        let (violations, unjudged) = invariants::judge(&self.config, &allowed, &revisions);
        let mut gaps = history.gaps;
        gaps.extend(unjudged);
        Ok(RecorderReport {
            revisions: revisions.len(),
            violations,
            gaps,
            unchecked: if allowed.gate_in_force.is_some() {
                vec![]
            } else {
                vec!["S6: no test said that the gate is there"]
            },
            writes: revisions.iter().filter(|revision| !revision.initial).map(Revision::write).collect(),
        })
    }

    /// As [`Self::finish`]; a violation is an error. (Gaps are not: check the report where they matter.)
    ///
    /// # Errors
    /// A violation, or as [`Self::finish`].
    pub async fn finish_ok(self) -> Result<RecorderReport> {
        let report = self.finish().await?;
        if !report.violations.is_empty() {
            let lines: Vec<String> = report.violations.iter().map(Violation::to_string).collect();
            bail!("{} violations of the safety invariants:\n{}", lines.len(), lines.join("\n"));
        }
        Ok(report)
    }
}
