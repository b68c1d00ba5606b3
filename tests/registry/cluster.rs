//! A cluster with a failing registry, without an API server: snapshots go through the product's own decisions and registry cache as in
//! a reconcile. A set is pinned and due for its recheck, another one is to be prepared. Whatever the fault, nothing pinned changes, one
//! finding reports it, nothing is retried early, and the planted secret appears nowhere: not in findings, conditions or events, and not
//! in the log at its most verbose level.

use std::fmt::Write as _;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use imageset_controller::catalogue::Catalogue;
use imageset_controller::cluster::registry_cache::RegistryCache;
use imageset_controller::model::{
    Action, Child, Content, Decision, Digest, Finding, GoalState, Installation, LookupResult, Mode, OperatorDeployment,
    OperatorPod, Outcome, PrepareVersion, Presence, Read, Reason, Reference, RegistryFailureKind, Report,
    ResolvedImage, Snapshot, StoredImage, StoredImageSet,
};
use imageset_controller::registry::{Access, RegistryClient};
use imageset_controller::rules::decide::decide;

use crate::server::Server;
use crate::{INDEX, index, secret_free};

/// The running operator; its set is stored.
const RUNNING: &str = "v1.40.15";
/// The next operator; its set is to be prepared.
const PREPARED: &str = "v1.42.4";
/// An operator whose images are elsewhere than those of the others.
const ON_DOCKER_HUB: &str = "v1.38.0";
/// Longer than any test.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The expected effect of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The registry client's reason.
    pub kind: RegistryFailureKind,
    /// Of the finding about the set that is to be prepared.
    pub reason: Reason,
    /// In its message.
    pub words: &'static str,
    /// Requests that came in.
    pub requested: Requests,
}

/// How often a failing registry is asked for both sets together.
#[derive(Clone, Copy, Debug)]
pub enum Requests {
    /// No server, or no trust.
    Never,
    /// One response is enough for all images.
    Once,
    /// So often for all images.
    Exactly(usize),
    /// Once for each image.
    Each,
    /// Once for each image, and so many times before.
    EachAfter(usize),
    /// Not oftener than so for each image.
    AtMostEachTimes(usize),
    /// Not oftener than so: they are asked side by side until one of them finds out.
    AtMost(usize),
    /// Once for each image; those that are pinned again, with GET, for a HEAD decides nothing.
    HeadThenGet,
    /// The same, so often.
    HeadThenGetTimes(usize),
    /// The same once, and so many requests before.
    HeadThenGetAfter(usize),
    /// The same by tag, and then the same for those that are pinned by digest.
    ByTagThenByDigest,
    /// The same, and each time one request for the registry's root before.
    RootThenByTagThenByDigest,
}

/// See the module.
pub struct Cluster {
    snapshot: Snapshot,
    pinned: Vec<Reference>,
    wanted: Vec<Reference>,
}

/// The result of one reconcile.
pub struct Run {
    /// With the answers.
    pub snapshot: Snapshot,
    /// What was decided.
    pub decision: Decision,
    /// What is told of it.
    pub report: Report,
    logged: String,
}

/// The image that an honest registry serves for a reference.
fn resolved(reference: &Reference) -> ResolvedImage {
    let bytes = index(reference.repository());
    let child = |architecture: &str| Child {
        platform: format!("linux/{architecture}").parse().unwrap(),
        digest: Digest::of(format!("{} {architecture}", reference.repository()).as_bytes()),
        presence: Presence::Present,
    };
    ResolvedImage {
        reference: reference.clone(),
        digest: Digest::of(&bytes),
        media_type: INDEX.to_owned(),
        content: Content::Index { children: vec![child("amd64"), child("arm64")] },
        size: bytes.len() as u64,
    }
}

impl Cluster {
    /// All its images come from this registry. What is pinned was made by the product itself, from good answers.
    pub fn pinned_to(registry: &str) -> Self {
        let mut snapshot = snapshot(registry);
        let pinned = store_first_set(&mut snapshot);
        snapshot.settings.prepare = vec![PrepareVersion::Release(PREPARED.parse().unwrap())];
        let wanted = decide(&snapshot, Catalogue::embedded()).lookups.images.into_iter().collect();
        snapshot.recheck_due = true;
        Self { snapshot, pinned, wanted }
    }

    /// Nothing is stored yet. The running operator's images are on quay.io, those of the prepared one on docker.io.
    pub fn of_two_registries() -> Self {
        let mut snapshot = snapshot("");
        snapshot.settings.prepare = vec![PrepareVersion::Release(ON_DOCKER_HUB.parse().unwrap())];
        Self { snapshot, pinned: Vec::new(), wanted: Vec::new() }
    }

    /// Nothing is to be prepared: only the recheck is due.
    pub fn only_pinned(mut self) -> Self {
        self.snapshot.settings.prepare.clear();
        self.wanted.clear();
        self
    }

    /// The images that are pinned.
    pub fn pinned(&self) -> &[Reference] {
        &self.pinned
    }

    /// The Installation names no pull secret.
    pub fn without_pull_secrets(mut self) -> Self {
        let Read::Known(Some(installation)) = &mut self.snapshot.installation else { panic!("no Installation") };
        installation.settings.image_pull_secrets.clear();
        self
    }

    /// Passes against a registry that fails in this way, and all that must hold.
    pub async fn meets(
        &self,
        fault: &str,
        client: RegistryClient,
        access: Access,
        servers: &[&Server],
        expected: Expected,
    ) {
        let fault: String = fault.chars().take(300).collect();
        let requests = || servers.iter().map(|server| server.seen().len()).sum::<usize>();
        let responses = RegistryCache::new(client);
        let run = self.run(&responses, &access, PATIENCE).await;
        assert!(run.logged.contains("hyper_util"), "{fault}: the log was not kept");
        self.nothing_pinned_changed(&fault, &run);
        self.one_finding_reports(&fault, &run, expected);
        let requested = requests();
        assert!(
            self.bounds(expected.requested).contains(&requested),
            "{fault}: {requested} requests, not {:?}",
            expected.requested
        );

        // Time stands still: nothing is asked before it is due, whatever wakes a pass, and then no oftener than at first.
        tokio::time::pause();
        let due = responses.next_retry(&run.snapshot.lookup_results).expect("a failure is asked again");
        // On a machine that was held up it may be due already.
        if let Some(before) = due.checked_sub(Duration::from_millis(1)) {
            tokio::time::advance(before).await;
            let early = self.run(&responses, &access, PATIENCE).await;
            assert_eq!((early.decision, requests()), (run.decision, requested), "{fault}: {due:?} are to be waited");
        }
        tokio::time::advance(Duration::from_millis(2)).await;
        tokio::time::resume();
        let late = self.run(&responses, &access, PATIENCE).await;
        self.nothing_pinned_changed(&fault, &late);
        let (again, most) = (requests() - requested, *self.bounds(expected.requested).end());
        assert!((most.min(1)..=most).contains(&again), "{fault}: {again} requests when it was due again");
    }

    /// One pass as the controller makes it. Everything that it writes is searched for the planted secret.
    pub async fn run(&self, responses: &RegistryCache, access: &Access, patience: Duration) -> Run {
        let log = Log::start();
        let mut snapshot = self.snapshot.clone();
        let mut decision = decide(&snapshot, Catalogue::embedded());
        while !decision.lookups.blocks_no_write() {
            // The operator's own image is in another registry, and nothing waits for its digest.
            decision.lookups.digests.clear();
            let responded = responses.look_up(&decision.lookups, access.clone(), patience).await;
            snapshot.lookup_results.images.extend(responded.images);
            decision = decide(&snapshot, Catalogue::embedded());
        }
        let report = Report::new(&snapshot, &decision, &Outcome::default());
        let logged = log.text();
        let mut written = format!("{snapshot:?} {decision:?} {report:?} {access:?} {logged}");
        write!(written, " {}", serde_json::to_string(&report).unwrap()).unwrap();
        for finding in &decision.findings {
            write!(written, " {}", finding.sentence()).unwrap();
        }
        secret_free(&written);
        Run { snapshot, decision, report, logged }
    }

    /// No write of any kind, and the pinned set is as far as it was.
    pub fn nothing_pinned_changed(&self, fault: &str, run: &Run) {
        let Run { decision, report, .. } = run;
        assert!(decision.actions.is_empty() && decision.plan.is_empty(), "{fault}: {:?}", decision.plan);
        let goals: Vec<_> = decision.goals.iter().map(|goal| (goal.state, goal.images)).collect();
        assert_eq!(goals[0], (GoalState::Stored, self.pinned.len()), "{fault}");
        assert!(goals[1..].iter().all(|goal| *goal == (GoalState::Held, 0)), "{fault}: {goals:?}");
        let current = report.current.as_ref().unwrap();
        assert_eq!(current.image_set, "calico-v3.31.7", "{fault}");
    }

    fn one_finding_reports(&self, fault: &str, run: &Run, expected: Expected) {
        for reference in self.wanted.iter().chain(&self.pinned) {
            let kind = match run.snapshot.lookup_results.images.get(reference) {
                Some(LookupResult::Failed(failure)) => Some(failure.kind),
                _ => None,
            };
            assert_eq!(kind, Some(expected.kind), "{fault}: {reference}");
        }
        let (of_check, of_set): (Vec<&Finding>, Vec<&Finding>) = run
            .decision
            .findings
            .iter()
            .partition(|finding| matches!(finding.reason, Reason::RecheckFailed | Reason::DigestGone));
        let reasons: Vec<Reason> = of_set.iter().map(|finding| finding.reason).collect();
        // What the operator insists on is told apart from what nothing needs.
        let output = if expected.reason == Reason::ImageMissing { 2 } else { 1 };
        assert_eq!(reasons, vec![expected.reason; output], "{fault}: {of_set:?}");
        assert!(of_set[0].message.contains(expected.words), "{fault}: {}", of_set[0].sentence());
        let lost =
            if expected.kind == RegistryFailureKind::NotFound { Reason::DigestGone } else { Reason::RecheckFailed };
        let responded = lost == Reason::DigestGone;
        assert_eq!(run.decision.verified, responded, "{fault}: verified is what had an answer");
        let reasons: Vec<Reason> = of_check.iter().map(|finding| finding.reason).collect();
        assert_eq!(reasons, [lost], "{fault}: {of_check:?}");
    }

    fn bounds(&self, requested: Requests) -> RangeInclusive<usize> {
        let images = self.pinned.len() + self.wanted.len();
        let times = match requested {
            Requests::Never => 0,
            Requests::Once => 1,
            Requests::Exactly(times) => times,
            Requests::AtMost(times) => return 1..=times,
            Requests::Each => images,
            Requests::EachAfter(times) => times + images,
            Requests::HeadThenGetAfter(times) => times + images + self.pinned.len(),
            Requests::AtMostEachTimes(times) => return 1..=times * images,
            Requests::HeadThenGet => images + self.pinned.len(),
            Requests::HeadThenGetTimes(times) => times * (images + self.pinned.len()),
            Requests::ByTagThenByDigest => images + 3 * self.pinned.len(),
            Requests::RootThenByTagThenByDigest => 2 + images + 3 * self.pinned.len(),
        };
        times..=times
    }
}

/// The operator runs and nothing is stored.
fn snapshot(registry: &str) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.settings.mode = Mode::Apply;
    let image = format!("quay.io/tigera/operator:{RUNNING}");
    let template = OperatorDeployment {
        image: Some(image.clone()),
        init_image_version: None,
        calico_api_group: None,
        break_glass: None,
    };
    snapshot.operator = Read::Known(Some(template));
    let pod = OperatorPod { name: "operator-1".to_owned(), image, image_digest: None, ready: true, ready_since: None };
    snapshot.operator_pods = Read::Known(vec![pod]);
    let mut installation = Installation::default();
    installation.settings.layout.registry = registry.to_owned();
    installation.settings.image_pull_secrets = vec!["tigera-pull-secret".to_owned()];
    snapshot.installation = Read::Known(Some(installation));
    let nodes = [("linux/amd64", 3), ("linux/arm64", 1)];
    snapshot.nodes = Read::Known(nodes.into_iter().map(|(node, count)| (node.parse().unwrap(), count)).collect());
    snapshot
}

/// Stores what the product would store if all lookups succeeded. Returns the references.
fn store_first_set(snapshot: &mut Snapshot) -> Vec<Reference> {
    let requested: Vec<Reference> = decide(snapshot, Catalogue::embedded()).lookups.images.into_iter().collect();
    let known = |reference: &Reference| (reference.clone(), LookupResult::Known(resolved(reference)));
    snapshot.lookup_results.images = requested.iter().map(known).collect();
    for action in decide(snapshot, Catalogue::embedded()).actions {
        match action {
            Action::WriteRecord(record) => snapshot.records = Read::Known(vec![*record]),
            Action::StoreImageSet(store) => {
                let entry = |(name, digest): (&_, &Digest)| StoredImage {
                    image: format!("{name}"),
                    digest: digest.to_string(),
                };
                snapshot.image_sets = Read::Known(vec![StoredImageSet {
                    changed_at: None,
                    applied_by: None,
                    name: store.set.name().to_string(),
                    resource_version: "7".to_owned(),
                    managed: true,
                    origin: Some(store.set.origin().clone()),
                    images: store.set.entries().iter().map(entry).collect(),
                    manager: Some("imageset-controller".to_owned()),
                }]);
            }
            other => panic!("nothing is stored yet: {other:?}"),
        }
    }
    snapshot.lookup_results.images.clear();
    requested
}

/// Everything that is logged on this thread during its lifetime, at every level.
struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    fn start() -> Self {
        let lines = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&lines);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || Kept(Arc::clone(&kept)))
            .finish();
        Self { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
