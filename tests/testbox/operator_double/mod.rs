//! A double of the Tigera operator: a task in the test's process that plays one operator build after another as the
//! Deployment's image changes, in the words and by the rules of each release (`rules`).
//!
//! It plays three parts, each of which can be left to real controllers:
//! - `pods`: ReplicaSet and kubelet of the operator's own Deployment,
//! - `reconcile`: the operator: ImageSet selection and validation, TigeraStatus, `Installation.status`,
//! - `workloads`: the DaemonSets and Deployments it renders, and their rollout.
//!
//! It polls, so a change is seen at most [`Options::poll`] (100 ms by default) late.
// A poisoned lock is a test that has failed already.
#![allow(clippy::unwrap_used)]

mod pods;
mod reconcile;
mod timeline;
mod workloads;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use tokio::task::JoinHandle;

use super::operator_images::OperatorImages;
use super::patience::{SOON, until};
pub use timeline::{DegradedSpan, Seen, Timeline, What};

/// How long one reconcile may take.
const RECONCILE_WITHIN: Duration = Duration::from_secs(60);

/// How the double plays its parts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the operator's Deployment is.
    pub namespace: String,
    /// The Deployment's name, which is also the name of its container.
    pub deployment: String,
    /// Which image is which build.
    pub images: OperatorImages,
    /// Play ReplicaSet and kubelet for the operator's own pods.
    pub play_pods: bool,
    /// Play kubelet and controllers for the workloads: their status.
    pub play_workloads: bool,
    /// From the creation of an operator pod until it is Ready; zero: it is born Ready, and takes over at once.
    pub pod_start: Duration,
    /// New operator pods do not get Ready while this is set, whatever `pod_start` says: for what has to be seen or stored before
    /// the new operator reconciles, however slow the machine is.
    pub hold_pods: bool,
    /// From a change of a workload's template until it is rolled out.
    pub roll_out: Duration,
    /// After how long `gatewayapi` and `istio` notice a change of ImageSets (the operator: five minutes).
    pub resync: Duration,
    /// Operator images whose pods never start.
    pub unpullable: BTreeSet<String>,
    /// How many nodes the DaemonSets have.
    pub nodes: i32,
    /// Interval between two reconciles.
    pub poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "tigera-operator".to_owned(),
            deployment: "tigera-operator".to_owned(),
            images: OperatorImages::new(),
            play_pods: true,
            play_workloads: true,
            pod_start: Duration::from_millis(500),
            hold_pods: false,
            roll_out: Duration::from_millis(300),
            resync: Duration::from_secs(300),
            unpullable: BTreeSet::new(),
            nodes: 3,
            poll: Duration::from_millis(100),
        }
    }
}

/// A running double. It stops when dropped.
#[derive(Debug)]
pub struct OperatorDouble {
    task: Option<JoinHandle<()>>,
    stop: tokio::sync::watch::Sender<bool>,
    options: Arc<Mutex<Options>>,
    timeline: Timeline,
}

impl OperatorDouble {
    /// Starts it. Neither the Deployment nor any CRD needs to exist yet.
    pub fn start(client: Client, options: Options) -> Self {
        let options = Arc::new(Mutex::new(options));
        let timeline = Timeline::default();
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let mut stage = Stage::new(client, timeline.clone());
        let shared = options.clone();
        let task = tokio::spawn(async move {
            while !*stopped.borrow_and_update() {
                let now = shared.lock().unwrap().clone();
                stage.run_once(&now).await;
                let _ = tokio::time::timeout(now.poll, stopped.changed()).await;
            }
        });
        Self { task: Some(task), stop, options, timeline }
    }

    /// Changes options from now on, e.g. `double.change(|options| options.pod_start = Duration::ZERO)`.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options.lock().unwrap());
    }

    /// All that it saw and did so far, in order.
    pub fn events(&self) -> Vec<Seen> {
        self.timeline.events()
    }

    /// Every Degraded condition it set, with its span of time. All of them are caused by ImageSets.
    pub fn degraded_moments(&self) -> Vec<DegradedSpan> {
        self.timeline.degraded()
    }

    /// Waits until this set has been adopted by the running operator and still is: selected, in every template, rolled out.
    /// With a GatewayAPI or an Istio that takes [`Options::resync`].
    ///
    /// # Errors
    /// It was not within `deadline`; the message has the timeline's end.
    pub async fn wait_adopted(&self, name: &str, deadline: Duration) -> Result<()> {
        let what = format!("{name} to be adopted");
        self.wait(&what, deadline, |timeline| timeline.adopted().as_deref() == Some(name)).await
    }

    /// Waits until something like this was seen, at whatever time.
    ///
    /// # Errors
    /// It was not within `deadline`.
    pub async fn wait_for(&self, what: &str, deadline: Duration, matches: impl Fn(&What) -> bool) -> Result<()> {
        self.wait(what, deadline, |timeline| timeline.events().iter().any(|seen| matches(&seen.what))).await
    }

    /// Waits until no Degraded span is open; true at once if there never was one.
    ///
    /// # Errors
    /// Something still was after `deadline`.
    pub async fn wait_healthy(&self, deadline: Duration) -> Result<()> {
        self.wait("all components to be healthy", deadline, |timeline| {
            timeline.degraded().iter().all(|span| span.until.is_some())
        })
        .await
    }

    /// Waits until a component is Degraded, and returns its latest open span.
    ///
    /// # Errors
    /// It was not within `deadline`.
    pub async fn wait_degraded(&self, component: &str, deadline: Duration) -> Result<DegradedSpan> {
        let open = |timeline: &Timeline| {
            timeline.degraded().into_iter().rev().find(|span| span.component == component && span.until.is_none())
        };
        self.wait(&format!("{component} to be Degraded"), deadline, |timeline| open(timeline).is_some()).await?;
        match open(&self.timeline) {
            Some(span) => Ok(span),
            None => bail!("{component} recovered at once"),
        }
    }

    /// Stops after the reconcile that is under way, so that nothing is written afterwards.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        if let Some(task) = self.task.take() {
            let _ = tokio::time::timeout(SOON, task).await;
        }
    }

    async fn wait(&self, what: &str, deadline: Duration, done: impl Fn(&Timeline) -> bool) -> Result<()> {
        until(what, deadline, async || Ok(done(&self.timeline).then_some(()))).await.with_context(|| {
            let events = self.timeline.events();
            let last = events.iter().skip(events.len().saturating_sub(20)).map(|seen| seen.to_string());
            format!("the double's last events:\n{}", last.collect::<Vec<_>>().join("\n"))
        })
    }
}

impl Drop for OperatorDouble {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// What the task keeps between two reconciles.
struct Stage {
    client: Client,
    timeline: Timeline,
    pods: pods::Memory,
    operator: reconcile::Memory,
    workloads: workloads::Memory,
}

impl Stage {
    fn new(client: Client, timeline: Timeline) -> Self {
        Self {
            client,
            timeline,
            pods: pods::Memory::default(),
            operator: reconcile::Memory::default(),
            workloads: workloads::Memory::default(),
        }
    }

    /// One reconcile. An error (the API server is away, a CRD is missing) ends only this one; it is recorded once.
    async fn run_once(&mut self, options: &Options) {
        // The client retries on its own for minutes; a reconcile must not. On a slow machine it takes seconds.
        let outcome = match tokio::time::timeout(RECONCILE_WITHIN, self.act(options)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("a reconcile took longer than {} s", RECONCILE_WITHIN.as_secs())),
        };
        let problem = outcome.err().map(|error| format!("{error:#}"));
        self.timeline.problem(problem);
    }

    async fn act(&mut self, options: &Options) -> Result<()> {
        if options.play_pods {
            self.play_pods(options).await?;
        }
        self.reconcile(options).await
    }
}
