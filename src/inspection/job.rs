//! The Job that runs an operator image. The image is untrusted code: it runs by digest, under an account without rights, without token,
//! volumes or name lookups, on a read-only file system, and for a limited time.

use serde_json::{Value, json};

use crate::api;
use crate::api::workload::{Container, Job};
use crate::model::{Digest, Reference, StartInspection, inspection::object_name};

/// Label of inspection Jobs and of their pods.
pub const LABEL: &str = "imageset-controller.io/inspection";
/// ServiceAccount of the pods, in the inspection namespace; it has no rights.
pub const SERVICE_ACCOUNT: &str = "imageset-inspection";
/// The containers, and the one argument of each.
pub const CONTAINERS: [(&str, &str); 2] = [("version", "--version"), ("images", "--print-images=list")];

/// Value of the label that every managed object has.
const MANAGED_BY: &str = "imageset-controller";
/// Annotation: the image reference as it was found.
const IMAGE: &str = "imageset-controller.io/operator-image";
/// Annotation: the image's version label.
const VERSION_LABEL: &str = "imageset-controller.io/version-label";
/// Annotation: the attempt number, starting at 1.
const ATTEMPT: &str = "imageset-controller.io/attempt";
/// Annotation: why the previous attempt failed.
const FAILED_BEFORE: &str = "imageset-controller.io/failed-before";

/// Time to pull and run the image, in seconds. An operator prints at once.
const DEADLINE_SECONDS: i64 = 600;
/// Time until an ended Job is deleted if the controller does not delete it, in seconds.
const KEPT_SECONDS: i32 = 3600;
/// Numeric, so that `runAsNonRoot` can be verified whatever user the image names.
pub const USER: i64 = 65532;
/// Command of the operator's own manifests. Releases keep it in different folders, and images have no shell.
pub const BINARY: &str = "operator";

/// Returns the Job for one image.
#[must_use]
pub fn build(start: &StartInspection, inspection: &api::InspectionRules) -> Value {
    let labels = json!({ "app.kubernetes.io/managed-by": MANAGED_BY, LABEL: "true" });
    let annotations = [
        (IMAGE, Some(start.image.to_string())),
        (VERSION_LABEL, start.label.clone()),
        (ATTEMPT, Some(start.attempt.to_string())),
        (FAILED_BEFORE, start.failed_before.clone()),
    ];
    let annotations = annotations.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))));
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": start.name(),
            "namespace": inspection.namespace,
            "labels": labels,
            "annotations": annotations.collect::<Value>(),
        },
        "spec": {
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            // The controller retries, with pauses.
            "backoffLimit": 0,
            "template": { "metadata": { "labels": labels }, "spec": pod(start, inspection) },
        },
    })
}

fn pod(start: &StartInspection, inspection: &api::InspectionRules) -> Value {
    let image = start.image.with_digest(start.digest).to_string();
    let secrets = inspection.image_pull_secrets.iter().map(|secret| json!({ "name": secret.name }));
    let mut nodes = json!({ "kubernetes.io/os": "linux" });
    for (key, value) in &inspection.node_selector {
        nodes[key] = json!(value);
    }
    let mut pod = json!({
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // The operator looks up no names, and the cluster's DNS may not work yet.
        "dnsPolicy": "Default",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "imagePullSecrets": secrets.collect::<Vec<_>>(),
        "nodeSelector": nodes,
        "tolerations": inspection.tolerations,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": CONTAINERS.map(|(name, argument)| container(name, argument, &image)),
    });
    if inspection.host_network {
        pod["hostNetwork"] = json!(true);
    }
    pod
}

fn container(name: &str, argument: &str, image: &str) -> Value {
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [BINARY],
        "args": [argument],
        // Reports why the container failed without reading its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": {
            "requests": { "cpu": "10m", "memory": "64Mi", "ephemeral-storage": "16Mi" },
            "limits": { "cpu": "1", "memory": "512Mi", "ephemeral-storage": "16Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
    })
}

/// Returns the inspection that a Job performs; `None` if the controller would not have created it so, and its output proves nothing.
#[must_use]
pub fn parse(job: &Job) -> Option<StartInspection> {
    let annotation = |key: &str| job.metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let image: Reference = annotation(IMAGE)?.parse().ok()?;
    let pod = job.spec.as_ref()?.template.spec.as_ref()?;
    let runs: Reference = pod.containers.first()?.image.as_ref()?.parse().ok()?;
    let digest: Digest = *runs.digest()?;
    let wanted = image.with_digest(digest).to_string();
    let is_expected = |((name, argument), found): (&(&str, &str), &Container)| {
        let only = |texts: &Option<Vec<String>>, one: &str| texts.as_ref().is_some_and(|texts| *texts == [one]);
        found.name == *name
            && found.image.as_ref() == Some(&wanted)
            && only(&found.command, BINARY)
            && only(&found.args, argument)
    };
    let is_valid = pod.containers.len() == CONTAINERS.len()
        && pod.init_containers.as_ref().is_none_or(Vec::is_empty)
        && CONTAINERS.iter().zip(&pod.containers).all(is_expected)
        && job.metadata.name.as_deref() == Some(object_name(&digest).as_str());
    is_valid.then(|| StartInspection {
        image,
        digest,
        label: annotation(VERSION_LABEL),
        attempt: annotation(ATTEMPT).and_then(|attempt| attempt.parse().ok()).unwrap_or(1),
        failed_before: annotation(FAILED_BEFORE),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::batch::v1::Job as WholeJob;
    use k8s_openapi::api::core::v1::Toleration;

    use super::*;
    use crate::api::workload::PodSpec;
    use crate::rules::schedule::INSPECTION_PAUSE;

    fn start() -> StartInspection {
        StartInspection {
            image: "registry.example/oss/tigera/operator:v9.9.9".parse().unwrap(),
            digest: Digest::of(b"x"),
            label: Some("v9.9.9".to_owned()),
            attempt: 3,
            failed_before: Some("no".to_owned()),
        }
    }

    #[test]
    fn a_job_is_kept_longer_than_every_pause() {
        assert!(u64::try_from(KEPT_SECONDS).unwrap() > INSPECTION_PAUSE.longest.as_secs());
    }

    #[test]
    fn the_image_runs_by_digest_and_without_rights() {
        let job: WholeJob = serde_json::from_value(build(&start(), &api::InspectionRules::default())).unwrap();
        let pod = job.spec.unwrap().template.spec.unwrap();
        let digest = Digest::of(b"x");
        for container in &pod.containers {
            let image = format!("registry.example/oss/tigera/operator@{digest}");
            assert_eq!(container.image.as_deref(), Some(image.as_str()));
            let security = container.security_context.clone().unwrap();
            assert_eq!(security.read_only_root_filesystem, Some(true));
            assert_eq!(security.allow_privilege_escalation, Some(false));
            assert_eq!(security.capabilities.unwrap().drop.unwrap(), ["ALL"]);
            assert!(container.volume_mounts.is_none() && container.env.is_none() && container.resources.is_some());
        }
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.service_account_name.as_deref(), Some(SERVICE_ACCOUNT));
        let security = pod.security_context.unwrap();
        assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(USER)));
        assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
        assert!(pod.volumes.is_none() && pod.host_network.is_none() && pod.host_pid.is_none());
        assert!(
            pod.image_pull_secrets.unwrap_or_default().is_empty() && pod.tolerations.unwrap_or_default().is_empty()
        );
    }

    #[test]
    fn the_policy_sets_where_the_job_runs() {
        let inspection = api::InspectionRules {
            namespace: "elsewhere".to_owned(),
            host_network: true,
            image_pull_secrets: vec![api::ObjectName { name: "pull".to_owned() }],
            node_selector: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            tolerations: vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }],
            ..api::InspectionRules::default()
        };
        let job: WholeJob = serde_json::from_value(build(&start(), &inspection)).unwrap();
        assert_eq!(job.metadata.namespace.as_deref(), Some("elsewhere"));
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!((pod.host_network, pod.dns_policy.as_deref()), (Some(true), Some("Default")));
        assert_eq!(pod.image_pull_secrets.unwrap()[0].name, "pull");
        assert_eq!(pod.node_selector.unwrap().len(), 2);
        assert_eq!(pod.tolerations.unwrap(), inspection.tolerations);
    }

    #[test]
    fn only_a_job_as_the_controller_creates_it_is_parsed() {
        let job: Job = serde_json::from_value(build(&start(), &api::InspectionRules::default())).unwrap();
        assert_eq!(parse(&job), Some(start()));
        let changed = |change: &dyn Fn(&mut Job, &mut PodSpec)| {
            let mut job = job.clone();
            let mut pod = job.spec.as_mut().unwrap().template.spec.take().unwrap();
            change(&mut job, &mut pod);
            job.spec.as_mut().unwrap().template.spec = Some(pod);
            parse(&job)
        };
        assert_eq!(changed(&|_, pod| pod.containers[1].args = Some(vec!["--help".to_owned()])), None);
        let other = start().image.with_digest(Digest::of(b"y")).to_string();
        assert_eq!(changed(&|_, pod| pod.containers[1].image = Some(other.clone())), None);
        assert_eq!(changed(&|_, pod| pod.containers.iter_mut().for_each(|one| one.image = Some(other.clone()))), None);
        assert_eq!(changed(&|job, _| job.metadata.annotations = None), None);
        assert_eq!(changed(&|_, pod| pod.containers.push(Container::default())), None);
    }
}
