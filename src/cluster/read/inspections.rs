//! The state of inspection Jobs, and the output of their containers. The output of a Job is read once.

use std::collections::{BTreeMap, BTreeSet};

use futures::AsyncReadExt;
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{Api, LogParams};
use kube::{Client, ResourceExt};

use super::request::read;
use crate::api::workload::{Job, Pod};
use crate::inspection::job::{self, CONTAINERS};
use crate::inspection::outcome::{self, Progress, StartProblem};
use crate::inspection::output;
use crate::model::{Digest, InspectionJob, JobState, Read, foreign_text::escaped};

/// Most Jobs whose output is read in one reconcile; the others are read in the next ones.
const MOST_READ: usize = 8;

/// The Jobs of one cluster.
pub struct InspectionJobs {
    client: Client,
    seen: BTreeMap<String, Seen>,
}

/// What is remembered of a Job, by its uid.
#[derive(Default, Clone)]
struct Seen {
    /// The best known cause that keeps its pod from starting. It stays the same while the Job exists, however often the kubelet
    /// changes its message.
    start_problem: Option<StartProblem>,
    /// The state that its output leads to.
    printed: Option<JobState>,
}

/// Inspection Jobs and their pods as the API server has them.
#[derive(Debug, PartialEq)]
pub struct InspectionObjects {
    /// Where they are.
    pub namespace: String,
    /// The Jobs.
    pub jobs: Vec<Job>,
    /// Their pods; empty where there is no Job.
    pub pods: Vec<Pod>,
}

impl InspectionObjects {
    /// The objects of these reads. Without Jobs the pods do not count; a kind that is not installed has no objects.
    pub fn of(namespace: &str, jobs: Read<Vec<Job>>, pods: Read<Vec<Pod>>) -> Read<Self> {
        let jobs = match jobs {
            Read::Known(jobs) => jobs,
            Read::KindMissing => Vec::new(),
            Read::Failed(failure) => return Read::Failed(failure),
        };
        let pods = match pods {
            Read::Failed(failure) if !jobs.is_empty() => return Read::Failed(failure),
            Read::Known(pods) if !jobs.is_empty() => pods,
            _ => Vec::new(),
        };
        Read::Known(Self { namespace: namespace.to_owned(), jobs, pods })
    }
}

impl InspectionJobs {
    /// A reader without memory.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, seen: BTreeMap::new() }
    }

    /// Returns the state of each Job. Output is read unless the inspection is stored already.
    pub async fn states(
        &mut self,
        listed: &Read<InspectionObjects>,
        kept: &BTreeSet<Digest>,
    ) -> Read<Vec<InspectionJob>> {
        let listed = match listed {
            Read::Known(listed) => listed,
            Read::KindMissing => return Read::KindMissing,
            Read::Failed(failure) => return Read::Failed(failure.clone()),
        };
        let uids: BTreeSet<String> = listed.jobs.iter().filter_map(ResourceExt::uid).collect();
        self.seen.retain(|uid, _| uids.contains(uid));
        let read = self.read_printed(listed, kept).await;
        let mut jobs = Vec::new();
        for made in &listed.jobs {
            let (Some(inspection), Some(uid)) = (job::parse(made), made.uid()) else {
                tracing::warn!(
                    job = made.name_any(),
                    "this Job has the label of the controller, but not the form of its Jobs; it is ignored"
                );
                continue;
            };
            let is_kept = kept.contains(&inspection.digest);
            jobs.push(InspectionJob {
                state: self.state(made, &uid, listed, is_kept, read.get(&uid)),
                uid,
                image: inspection.image,
                digest: inspection.digest,
                label: inspection.label,
                attempt: inspection.attempt,
                failed_before: inspection.failed_before,
            });
        }
        Read::Known(jobs)
    }

    /// Reads what Jobs have printed that is neither stored nor remembered, side by side. By the uid of the Job.
    async fn read_printed(
        &mut self,
        listed: &InspectionObjects,
        kept: &BTreeSet<Digest>,
    ) -> BTreeMap<String, JobState> {
        let this = &*self;
        let unread = listed.jobs.iter().filter_map(|made| {
            let (inspection, uid) = (job::parse(made)?, made.uid()?);
            let Progress::Complete(at) = outcome::progress(made) else { return None };
            let is_known =
                kept.contains(&inspection.digest) || this.seen.get(&uid).is_some_and(|seen| seen.printed.is_some());
            let pod = outcome::succeeded(&outcome::pods_of(made, &listed.pods))?;
            (!is_known).then_some((uid, at, pod))
        });
        let namespace = listed.namespace.as_str();
        let reads =
            unread.take(MOST_READ).map(|(uid, at, pod)| async move { (uid, this.printed(at, namespace, pod).await) });
        let read = join_all(reads).await;
        let mut states = BTreeMap::new();
        for (uid, state) in read {
            // What cannot be read now may be readable later.
            if matches!(state, JobState::Completed { .. } | JobState::Unusable { .. }) {
                self.seen.entry(uid.clone()).or_default().printed = Some(state.clone());
            }
            states.insert(uid, state);
        }
        states
    }

    /// `read` is what was read of its output just now.
    fn state(
        &mut self,
        made: &Job,
        uid: &str,
        listed: &InspectionObjects,
        is_kept: bool,
        read: Option<&JobState>,
    ) -> JobState {
        let pods = outcome::pods_of(made, &listed.pods);
        match outcome::progress(made) {
            Progress::Running => {
                let now = outcome::start_problem(&pods);
                let best = self.remember(uid, now.as_ref());
                JobState::Running { start_problem: now.and(best).map(|problem| problem.message) }
            }
            Progress::Failed(at) => {
                JobState::Failed { at, why: outcome::failure(made, &pods, self.remember(uid, None).as_ref()) }
            }
            Progress::Complete(at) if is_kept => {
                JobState::Failed { at, why: "its output is stored already".to_owned() }
            }
            Progress::Complete(at) => {
                let remembered = || self.seen.get(uid).and_then(|seen| seen.printed.clone());
                read.cloned().or_else(remembered).unwrap_or_else(|| match outcome::succeeded(&pods) {
                    Some(_) => JobState::Running { start_problem: None },
                    None => JobState::Failed { at, why: "its pod is gone, and with it what it printed".to_owned() },
                })
            }
        }
    }

    /// Returns the start problem to report from now on.
    fn remember(&mut self, uid: &str, now: Option<&StartProblem>) -> Option<StartProblem> {
        let seen = self.seen.entry(uid.to_owned()).or_default();
        let better =
            now.filter(|now| seen.start_problem.as_ref().is_none_or(|known| known.is_backoff && !now.is_backoff));
        if let Some(better) = better {
            seen.start_problem = Some(better.clone());
        }
        seen.start_problem.clone()
    }

    async fn printed(&self, at: Timestamp, namespace: &str, pod: &Pod) -> JobState {
        let (name, [version, images]) = (pod.name_any(), CONTAINERS.map(|(container, _)| container));
        let read = futures::join!(self.log(namespace, &name, version), self.log(namespace, &name, images));
        let (version, images) = match read {
            (Ok(version), Ok(images)) => (version, images),
            (Err(why), _) | (_, Err(why)) => {
                return JobState::Failed { at, why: format!("what it printed cannot be read: {why}") };
            }
        };
        match output::parse(&version, &images) {
            Ok(images) => JobState::Completed { at, images: Box::new(images) },
            Err(error) => JobState::Unusable { at, why: escaped(&error.to_string()) },
        }
    }

    /// Returns the log of one container; of one that is too long, enough to detect that.
    async fn log(&self, namespace: &str, pod: &str, container: &str) -> Result<String, String> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client.clone(), namespace);
        let longest = output::LIMIT + 1;
        let parameters = LogParams {
            container: Some(container.to_owned()),
            limit_bytes: i64::try_from(longest).ok(),
            ..LogParams::default()
        };
        let reading = async {
            let stream = pods.log_stream(pod, &parameters).await?;
            let mut bytes = Vec::new();
            // Whatever a kubelet makes of the limit.
            stream.take(longest as u64).read_to_end(&mut bytes).await.map_err(kube::Error::ReadEvents)?;
            Ok(bytes)
        };
        match read(&format!("get pods/log {namespace}/{pod}"), reading).await {
            Read::Known(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Read::KindMissing => Err("it is gone".to_owned()),
            Read::Failed(failure) => Err(failure.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::read::request::too_many;

    #[test]
    fn jobs_that_cannot_be_read_are_not_taken_for_none() {
        let failed = || too_many("list jobs.batch in inspection", 500);
        assert_eq!(InspectionObjects::of("n", Read::Failed(failed()), Read::KindMissing), Read::Failed(failed()));
        let job = || Read::Known(vec![crate::yaml::from_str("metadata: {name: one}").unwrap()]);
        assert_eq!(InspectionObjects::of("n", job(), Read::Failed(failed())), Read::Failed(failed()));
        let none = InspectionObjects { namespace: "n".to_owned(), jobs: Vec::new(), pods: Vec::new() };
        assert_eq!(InspectionObjects::of("n", Read::KindMissing, Read::Failed(failed())), Read::Known(none));
    }
}
