//! The progress of an inspection Job, from the Job and its pods. Messages of containers are untrusted text, which is escaped and
//! shortened here.

use jiff::Timestamp;
use kube::ResourceExt;

use super::job::SERVICE_ACCOUNT;
use crate::api::workload::{ContainerStatus, Job, Pod};
use crate::model::foreign_text::escaped;

/// The progress of a Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Under way, or being deleted.
    Running,
    /// Every container ended with exit code 0.
    Complete(Timestamp),
    /// Failed for good.
    Failed(Timestamp),
}

/// Why a pod does not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartProblem {
    /// Reason and message.
    pub message: String,
    /// Only reports a retry after a failure; the failure itself is more specific.
    pub is_backoff: bool,
}

/// Returns the progress of a Job, by its own conditions.
#[must_use]
pub fn progress(job: &Job) -> Progress {
    if job.metadata.deletion_timestamp.is_some() {
        return Progress::Running;
    }
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut ended = conditions.filter(|condition| condition.status == "True");
    let since = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    match ended.find(|condition| matches!(condition.type_.as_str(), "Complete" | "Failed")) {
        Some(condition) if condition.type_ == "Complete" => Progress::Complete(since(&condition.last_transition_time)),
        Some(condition) => Progress::Failed(since(&condition.last_transition_time)),
        None => Progress::Running,
    }
}

/// Returns the pods that this Job created, by UID.
#[must_use]
pub fn pods_of<'a>(job: &Job, pods: &'a [Pod]) -> Vec<&'a Pod> {
    let Some(uid) = job.uid() else { return Vec::new() };
    pods.iter().filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == uid)).collect()
}

/// Returns the pod whose containers all succeeded.
#[must_use]
pub fn succeeded<'a>(pods: &[&'a Pod]) -> Option<&'a Pod> {
    pods.iter().copied().find(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded"))
}

/// Returns why one of these pods does not start.
#[must_use]
pub fn start_problem(pods: &[&Pod]) -> Option<StartProblem> {
    pods.iter().find_map(|pod| waiting(pod).or_else(|| unscheduled(pod)))
}

fn waiting(pod: &Pod) -> Option<StartProblem> {
    containers(pod).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let starts = matches!(reason, "ContainerCreating" | "PodInitializing");
        (!starts).then(|| StartProblem {
            message: escaped(&format!("{reason}: {}", waiting.message.as_deref().unwrap_or("nothing more is told"))),
            is_backoff: reason.ends_with("BackOff"),
        })
    })
}

fn unscheduled(pod: &Pod) -> Option<StartProblem> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    let message = condition.message.as_deref().unwrap_or_default();
    Some(StartProblem {
        message: escaped(&format!("{}: {message}", condition.reason.as_deref().unwrap_or("not scheduled"))),
        is_backoff: false,
    })
}

/// Returns why a Job failed: by its pods, which are most specific; else by `seen`, the last reason why they did not start, because the
/// pods of a Job beyond its deadline are deleted.
#[must_use]
pub fn failure(job: &Job, pods: &[&Pod], seen: Option<&StartProblem>) -> String {
    let status = job.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let condition = conditions.clone().find(|condition| condition.type_ == "Failed" && condition.status == "True");
    let reason = condition.and_then(|condition| condition.reason.as_deref()).unwrap_or("Failed");
    let no_pod_created = || {
        let none = status.and_then(|status| status.failed).unwrap_or_default() == 0;
        let why = format!(
            "no pod was made for it; kubectl describe job tells why (does the namespace admit the pod, and is there a \
             ServiceAccount {SERVICE_ACCOUNT}?)"
        );
        none.then_some(why)
    };
    let by_pods = pods.iter().find_map(|pod| exited(pod).or_else(|| ended(pod)));
    let message = by_pods
        .or_else(|| seen.map(|problem| problem.message.clone()))
        .or_else(|| start_problem(pods).map(|problem| problem.message))
        .or_else(|| pods.is_empty().then(no_pod_created).flatten())
        .or_else(|| condition.and_then(|condition| condition.message.clone()))
        .unwrap_or_default();
    escaped(&format!("{reason}: {message}"))
}

/// Returns how a container failed.
fn exited(pod: &Pod) -> Option<String> {
    containers(pod).find_map(|container| {
        let terminated = container.state.as_ref()?.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
        let reason = terminated.reason.as_deref().unwrap_or("Error");
        let message = terminated.message.as_deref().unwrap_or_default();
        let message = message.trim();
        let output = if message.is_empty() { String::new() } else { format!(" and said: {message}") };
        Some(format!("container {} ended with exit code {} ({reason}){output}", container.name, terminated.exit_code))
    })
}

/// Returns why a pod was ended from outside.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    Some(format!("{}: {}", status.reason.as_ref()?, status.message.as_deref().unwrap_or_default()))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.as_ref().and_then(|status| status.container_statuses.as_ref()).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: &str) -> Job {
        crate::yaml::from_str(&format!("metadata: {{name: j, uid: u}}\nstatus: {status}")).unwrap()
    }

    fn pod(status: &str) -> Pod {
        let text = format!(
            "metadata: {{name: p, ownerReferences: [{{apiVersion: batch/v1, kind: Job, name: j, uid: u}}]}}\nstatus: {status}"
        );
        crate::yaml::from_str(&text).unwrap()
    }

    fn waits(reason: &str, message: &str) -> Pod {
        let message = serde_json::to_string(message).unwrap();
        let state = format!("{{waiting: {{reason: {reason}, message: {message}}}}}");
        let rest = "image: i, imageID: '', ready: false, restartCount: 0";
        pod(&format!("{{phase: Pending, containerStatuses: [{{name: version, {rest}, state: {state}}}]}}"))
    }

    const LATE: &str = "{failed: 1, conditions: [{type: Failed, status: 'True', reason: DeadlineExceeded, message: too long, lastTransitionTime: '2026-11-24T00:00:00Z'}]}";

    #[test]
    fn a_job_ends_with_its_final_condition() {
        assert_eq!(progress(&job("{active: 1}")), Progress::Running);
        let soon = "{conditions: [{type: SuccessCriteriaMet, status: 'True'}]}";
        assert_eq!(progress(&job(soon)), Progress::Running);
        let complete = "{conditions: [{type: Complete, status: 'True', lastTransitionTime: '2026-11-24T00:00:00Z'}]}";
        assert_eq!(progress(&job(complete)), Progress::Complete("2026-11-24T00:00:00Z".parse().unwrap()));
        assert!(matches!(progress(&job(LATE)), Progress::Failed(_)));
        let mut leaving = job(complete);
        leaving.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        assert_eq!(progress(&leaving), Progress::Running);
    }

    #[test]
    fn a_pod_that_cannot_pull_is_reported_with_its_message() {
        let failing = waits("ErrImagePull", "not\u{7}found");
        let problem = start_problem(&[&failing]).unwrap();
        let message = "ErrImagePull: not\\u{7}found".to_owned();
        assert_eq!(problem, StartProblem { message, is_backoff: false });
        assert!(start_problem(&[&waits("ImagePullBackOff", "Back-off")]).unwrap().is_backoff);
        assert_eq!(start_problem(&[&waits("ContainerCreating", "")]), None);
        let unscheduled = "{phase: Pending, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: no node}]}";
        assert_eq!(start_problem(&[&pod(unscheduled)]).unwrap().message, "Unschedulable: no node");
        // Beyond the deadline the pod is deleted; the last problem is remembered.
        assert_eq!(failure(&job(LATE), &[], Some(&problem)), "DeadlineExceeded: ErrImagePull: not\\u{7}found");
        assert_eq!(failure(&job(LATE), &[], None), "DeadlineExceeded: too long");
        let none = LATE.replace("failed: 1", "failed: 0");
        assert!(failure(&job(&none), &[], None).contains("no pod was made"));
    }

    #[test]
    fn a_failed_container_is_reported_with_its_message() {
        let limit = "{conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: m}]}";
        let ended = "{phase: Failed, containerStatuses: [{name: images, image: i, imageID: '', ready: false, restartCount: 0, state: {terminated: {exitCode: 1, reason: Error, message: 'flag provided but not defined'}}}]}";
        let (failed, bad) = (job(limit), pod(ended));
        assert_eq!(
            failure(&failed, &pods_of(&failed, std::slice::from_ref(&bad)), None),
            "BackoffLimitExceeded: container images ended with exit code 1 (Error) and said: flag provided but not defined"
        );
        assert!(succeeded(&[&bad]).is_none());
        let evicted = pod("{phase: Failed, reason: Evicted, message: low on disk}");
        assert_eq!(failure(&failed, &[&evicted], None), "BackoffLimitExceeded: Evicted: low on disk");
    }

    #[test]
    fn only_pods_of_this_job_count() {
        let (mine, mut other) = (pod("{phase: Succeeded}"), pod("{phase: Succeeded}"));
        other.metadata.owner_references.as_mut().unwrap()[0].uid = "older".to_owned();
        let pods = [other, mine.clone()];
        let owners = |pods: Vec<&Pod>| pods.into_iter().map(|pod| pod.owner_references().to_vec()).collect::<Vec<_>>();
        assert_eq!(owners(pods_of(&job("{}"), &pods)), [mine.owner_references()]);
    }
}
