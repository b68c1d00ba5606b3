//! GitOps: what Argo CD (its own Lua, with the health check of `deploy/gitops`) and Flux (its own kstatus) make of a policy, for
//! every story of the scenarios and for what is before and between them; and the examples are whole.
//!
//! `UPDATE=1 cargo test --test gitops` writes `health.txt` anew, the table of all stories, and the test data of the health check.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../testbox/checkout.rs"]
mod checkout;
mod examples;
mod recorded;

#[allow(dead_code, missing_docs, unused_imports)]
#[path = "../testbox/rules/mod.rs"]
mod rules;
#[allow(dead_code)]
#[path = "../scenarios/story.rs"]
mod story;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use checkout::{assert_current, built_by, root, text, updates};
use imageset_controller::model::Reason;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The health check, where Argo CD's repository would have it.
const CHECK: &str = "deploy/gitops/argocd/imageset-controller.io/ImageSetPolicy";

/// What keeps a policy from being Ready until there is another commit: Argo CD's sync has to fail, not wait, to let it in.
const TAKES_ANOTHER_COMMIT: [Reason; 10] = [
    Reason::ExcludedImageRequired,
    Reason::FirstInstallAmbiguous,
    Reason::ForeignImageSetInvalid,
    Reason::InspectionDisabled,
    Reason::InspectionPlanned,
    Reason::LayoutInvalid,
    Reason::NodeCredentialsOnly,
    Reason::OperatorContainerNotFound,
    Reason::OperatorImageInvalid,
    Reason::PreReleaseMarker,
];

/// A status in the words of a tool, and why.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Told {
    status: String,
    message: String,
}

/// What both tools say of an object.
#[derive(Debug, Deserialize)]
struct Verdict {
    argo: Told,
    kstatus: Told,
}

/// Has objects judged by a real Lua and the real kstatus (main.go).
fn judged(objects: &[Value]) -> Vec<Verdict> {
    let mut judges = Command::new(built_by("tests/gitops/tools.sh").join("gitops"));
    judges.arg(root().join(CHECK).join("health.lua")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = judges.spawn().unwrap();
    let mut input = running.stdin.take().unwrap();
    let text = serde_json::to_vec(objects).unwrap();
    let writes = std::thread::spawn(move || input.write_all(&text).unwrap());
    let output = running.wait_with_output().unwrap();
    writes.join().unwrap();
    assert!(output.status.success(), "the judges ended with {}", output.status);
    let verdicts: Vec<Verdict> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdicts.len(), objects.len());
    verdicts
}

/// A story's policy as the API server has it after the reconcile.
fn object(file: &Path) -> Value {
    let scenario = story::read(file);
    let (snapshot, decision, _) = story::pass(&scenario);
    let mut policy = serde_json::to_value(story::policy(&snapshot, &story::report(&snapshot, &decision))).unwrap();
    let generation = policy["status"]["observedGeneration"].clone();
    policy["metadata"]["generation"] = generation;
    policy
}

fn condition<'a>(object: &'a Value, name: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    conditions.iter().find(|one| one["type"] == name).unwrap_or_else(|| panic!("there is no condition {name}"))
}

fn is_true(object: &Value, name: &str) -> bool {
    condition(object, name)["status"] == "True"
}

/// The expected health of a reconciled policy, by its conditions alone: (Argo CD, kstatus).
fn expected(object: &Value) -> (&'static str, &'static str) {
    let kstatus = if is_true(object, "Reconciling") {
        "InProgress"
    } else if is_true(object, "Stalled") {
        "Failed"
    } else if is_true(object, "Ready") {
        "Current"
    } else {
        "InProgress"
    };
    let argo = match kstatus {
        _ if object["spec"]["suspend"] == json!(true) => "Suspended",
        "Failed" => "Degraded",
        "Current" => "Healthy",
        _ if is_true(object, "Reconciling") => "Progressing",
        _ if TAKES_ANOTHER_COMMIT.iter().any(|reason| condition(object, "Ready")["reason"] == reason.as_str()) => {
            "Degraded"
        }
        _ => "Progressing",
    };
    (argo, kstatus)
}

#[test]
fn every_story_is_healthy_for_the_right_reasons() {
    let files = story::stories();
    assert!(files.len() > 150, "only {} stories were found", files.len());
    let objects: Vec<Value> = files.iter().map(|file| object(file)).collect();
    let mut table =
        "# story: Argo CD, kstatus, condition Ready and its reason (UPDATE=1 cargo test --test gitops)\n".to_owned();
    for ((file, object), verdict) in files.iter().zip(&objects).zip(judged(&objects)) {
        let name = file.file_stem().unwrap().to_string_lossy();
        let Verdict { argo, kstatus } = &verdict;
        assert_eq!((argo.status.as_str(), kstatus.status.as_str()), expected(object), "{name}: {verdict:?}");
        assert!(!argo.message.is_empty(), "{name}: Argo CD says no more than {}", argo.status);
        let ready = condition(object, "Ready");
        let (ready, reason) = (ready["status"].as_str().unwrap(), ready["reason"].as_str().unwrap());
        writeln!(table, "{name:<42} {:<12} {:<11} {ready:<6} {reason}", argo.status, kstatus.status).unwrap();
        // A tool that waits for a policy continues only when the set that the next operator requires is stored, or is planned.
        if argo.status == "Healthy" || kstatus.status == "Current" {
            assert_eq!(ready, "True", "{name}");
        }
    }
    for status in ["Healthy", "Progressing", "Degraded", "Suspended"] {
        assert!(table.contains(&format!(" {status} ")), "no story is {status}");
    }
    assert_current("tests/gitops/health.txt", &table);
}

/// The list of the check has the reasons that it should have, and no others: each reason that there is stands in for Ready's.
#[test]
fn what_takes_another_commit_fails_a_sync_and_all_else_is_waited_for() {
    let held = object(&root().join("tests/scenarios/stories/excluded-required.yaml"));
    let with = |reason: &Reason| {
        let mut object = held.clone();
        let conditions = object["status"]["conditions"].as_array_mut().unwrap();
        conditions.iter_mut().find(|one| one["type"] == "Ready").unwrap()["reason"] = json!(reason.as_str());
        object
    };
    let objects: Vec<Value> = Reason::ALL.iter().map(with).collect();
    for (reason, verdict) in Reason::ALL.iter().zip(judged(&objects)) {
        let wanted = if TAKES_ANOTHER_COMMIT.contains(reason) { "Degraded" } else { "Progressing" };
        assert_eq!((verdict.argo.status.as_str(), verdict.kstatus.status.as_str()), (wanted, "InProgress"), "{reason}");
    }
    // While something is under way nothing has failed.
    let mut busy = held.clone();
    let conditions = busy["status"]["conditions"].as_array_mut().unwrap();
    conditions.iter_mut().find(|one| one["type"] == "Reconciling").unwrap()["status"] = json!("True");
    assert_eq!(judged(&[busy])[0].argo.status, "Progressing");
}

/// The time before the first reconcile, and between a change of the policy and the next reconcile.
#[test]
fn a_policy_that_was_never_reconciled_is_never_healthy() {
    let ready = object(&root().join("tests/scenarios/stories/adopted-and-quiet.yaml"));
    assert_eq!(expected(&ready), ("Healthy", "Current"));
    let mut changed = ready.clone();
    changed["metadata"]["generation"] = json!(2 + ready["metadata"]["generation"].as_i64().unwrap());
    let mut fresh = ready.clone();
    fresh["status"] = status_of_the_server();
    let mut no_conditions = ready.clone();
    no_conditions["status"].as_object_mut().unwrap().remove("conditions");
    let mut unknown = ready.clone();
    for condition in unknown["status"]["conditions"].as_array_mut().unwrap() {
        condition["status"] = json!("Unknown");
    }
    let mut bare = ready.clone();
    bare.as_object_mut().unwrap().remove("status");
    let verdicts = judged(&[changed, fresh, unknown, no_conditions, bare, ready]);
    let argo: Vec<&str> = verdicts.iter().map(|one| one.argo.status.as_str()).collect();
    assert_eq!(argo, ["Progressing", "Progressing", "Progressing", "Progressing", "Progressing", "Healthy"]);
    let kstatus: Vec<&str> = verdicts.iter().map(|one| one.kstatus.status.as_str()).collect();
    // Without any status kstatus takes an object for done, which is why the API server fills one in.
    assert_eq!(kstatus, ["InProgress", "InProgress", "InProgress", "Current", "Current", "Current"]);
}

/// What the definition has the API server fill in.
fn status_of_the_server() -> Value {
    let definition: Value =
        imageset_controller::yaml::from_str(&imageset_controller::api::crds_yaml().unwrap()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let status = schema["properties"]["status"]["default"].clone();
    assert_eq!(status, json!({"observedGeneration": -1}));
    status
}
