//! Every right in `deploy/base` is needed: each rule of each Role and ClusterRole is taken away alone, a controller is started, and it
//! says which one it lacks, in a finding or in its log. That none is missing is what all other tests show: they run with these rights.

#![allow(clippy::print_stdout)] // A line for each rule, for `--nocapture` and for a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::testbox::recorder::HUMAN;
use crate::testbox::rights::Right;
use crate::testbox::{Controller, Kind, Kubelet};
use crate::unknown_version::{prints_all, scenery};
use crate::world::{CANARY, INSPECTION, INSPECTIONS, SOON, Scenery, USER, World, newer};

/// Of all that is installed.
const LABEL: &str = "app.kubernetes.io/name=imageset-controller";
/// A role of ours: none is a ClusterRole, or its namespace.
type RoleId = (Option<String>, String);

/// What this account asks is kept, without content.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: ['system:serviceaccount:imageset-controller:imageset-controller']
- level: None
";
/// Verbs that this story does not come to: an edited set is put back and an old one deleted, a gate is switched off, something happens
/// again and its event is counted, a record is made anew. A server-side apply that creates is asked for as a patch and needs both; a
/// server that does not stream lists is asked for one. Kinds of Enterprise and of OpenShift are not installed: they are listed only.
const ELSEWHERE: [&str; 22] = [
    "cluster: patch imagesets",
    "cluster: delete imagesets",
    "cluster: watch amazoncloudintegrations",
    "cluster: watch applicationlayers",
    "cluster: watch authentications",
    "cluster: watch compliances",
    "cluster: watch egressgateways",
    "cluster: watch intrusiondetections",
    "cluster: watch logcollectors",
    "cluster: watch logstorages",
    "cluster: watch managers",
    "cluster: watch monitors",
    "cluster: watch packetcaptureapis",
    "cluster: watch policyrecommendations",
    "cluster: watch infrastructures",
    "cluster: create validatingadmissionpolicies",
    "cluster: create validatingadmissionpolicybindings",
    "cluster: delete validatingadmissionpolicies",
    "cluster: delete validatingadmissionpolicybindings",
    "cluster: list nodes",
    "cluster: patch events",
    "imageset-controller: patch configmaps",
];

/// Verb, resource with its subresource, and namespace: what was asked.
type UsedRights = BTreeSet<(String, String, String)>;

/// What the API server's audit log says that was asked.
fn used(log: &str) -> UsedRights {
    let events = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let requested = |event: serde_json::Value| {
        let text = |field: &str| event["objectRef"][field].as_str().unwrap_or_default().to_owned();
        let resource = match text("subresource").as_str() {
            "" => text("resource"),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        (event["verb"].as_str().unwrap_or_default().to_owned(), resource, text("namespace"))
    };
    events.map(requested).collect()
}

/// One rule in its place.
struct Taken {
    role: RoleId,
    index: usize,
    rule: PolicyRule,
}

impl Taken {
    /// What a message has that names this rule: the API server's own words for one of its verbs on one of its resources.
    fn words(&self) -> Vec<String> {
        let resources = self.rule.resources.clone().unwrap_or_default();
        let cannot = |verb: &String| {
            resources.iter().map(move |one| format!("cannot {verb} resource \"{one}\"")).collect::<Vec<_>>()
        };
        self.rule.verbs.iter().flat_map(cannot).collect()
    }

    /// Verbs on resources that were not asked for where this rule allows them.
    fn unused(&self, used: &UsedRights) -> Vec<String> {
        let mut unused = Vec::new();
        for resource in self.rule.resources.iter().flatten() {
            for verb in &self.rule.verbs {
                let is_this = |(requested, what, namespace): &(String, String, String)| {
                    requested == verb && what == resource && self.role.0.as_ref().is_none_or(|role| role == namespace)
                };
                if !used.iter().any(is_this) {
                    unused.push(format!("{}: {verb} {resource}", self.role.0.as_deref().unwrap_or("cluster")));
                }
            }
        }
        unused
    }

    fn rights(&self) -> Vec<Right> {
        Right::all_of(self.role.0.as_deref(), &self.rule)
    }

    fn shown(&self) -> String {
        let (namespace, name) = &self.role;
        let place =
            namespace.as_ref().map_or_else(|| format!("ClusterRole {name}"), |one| format!("Role {one}/{name}"));
        format!("{place}: {} {}", self.rule.resources.clone().unwrap_or_default().join(","), self.rule.verbs.join(","))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_is_needed_and_named_when_it_is_missing() {
    let kind = Kind::Htpasswd { user: USER.to_owned(), password: CANARY.to_owned() };
    let folder = tempfile::tempdir().unwrap();
    let (policy, audit) = (folder.path().join("policy.yaml"), folder.path().join("audit.log"));
    std::fs::write(&policy, AUDIT_POLICY).unwrap();
    let apiserver_flags =
        vec![format!("--audit-policy-file={}", policy.display()), format!("--audit-log-path={}", audit.display())];
    let mut world = World::start(Scenery { kind, tls: true, apiserver_flags, ..scenery("least-rights") }).await;
    world.mirror.push_build(&newer(), &[]).await.unwrap();
    let kubelet = Kubelet::start(world.client.clone(), "kubelet", INSPECTION).await.unwrap();
    kubelet.play("/operator@sha256:", prints_all());
    world.pull_secret().await;
    world.installation(json!({})).await;
    world.operator("v1.43.0").await;
    let _double = world.double(|_| {});
    let spec = json!({ "mode": "Apply", "gate": "Deny", "retain": 3, "prepare": { "versions": ["v1.44.0"] } });
    world.policy(spec).await;
    let mut controller = world.controller("all-rights").await;
    everything_is_done(&world).await;
    assert_eq!(controller.terminate().await.unwrap(), 0);
    assert_eq!(refusals(&controller), [] as [String; 0], "with all rights nothing is refused");

    let rules = rules(&world).await;
    assert!(rules.len() >= 20, "only {} rules were found", rules.len());
    // What a rule for all namespaces allows as well is needed where people take that one away, as its comment offers.
    let wide = rules.iter().find(|taken| taken.role.0.is_none() && resources(&taken.rule) == ["pods"]).unwrap();
    let mut unnoticed = Vec::new();
    for (number, taken) in rules.iter().enumerate() {
        forget(&world).await;
        let narrow = taken.role.0.is_some() && resources(&taken.rule) == ["pods"];
        if narrow {
            take(&world, &[wide, taken]).await;
        } else {
            take(&world, &[taken]).await;
        }
        let mut controller = world.controller(&format!("without-{number}")).await;
        let place =
            taken.role.0.as_ref().filter(|_| narrow).map(|namespace| format!("in the namespace \"{namespace}\""));
        let reported = reported(&world, &controller, &taken.words(), place.as_deref()).await;
        match reported {
            Some(where_) => println!("{}: {where_}", taken.shown()),
            None => unnoticed.push(taken.shown()),
        }
        controller.kill();
        give_back(&world, &rules).await;
    }
    assert!(unnoticed.is_empty(), "nobody says that these are missing, or nobody needs them: {unnoticed:#?}");

    // Given back, all is well again.
    let mut controller = world.controller("all-rights-again").await;
    everything_is_done(&world).await;
    assert_eq!(controller.terminate().await.unwrap(), 0);

    // And no verb is granted that nobody uses.
    let used = used(&std::fs::read_to_string(&audit).unwrap());
    let surplus: Vec<String> = rules.iter().flat_map(|taken| taken.unused(&used)).collect();
    assert_eq!(surplus, ELSEWHERE, "granted, and not asked for");
    world.finish(&[&controller]).await;
}

async fn everything_is_done(world: &World) {
    world.until("Prepared", "True", "AllVersionsPrepared").await;
    world.until("Ready", "True", "Succeeded").await;
}

fn resources(rule: &PolicyRule) -> Vec<&str> {
    rule.resources.iter().flatten().map(String::as_str).collect()
}

/// What the API server refused, as the log has it.
fn refusals(controller: &Controller) -> Vec<String> {
    controller
        .log()
        .lines()
        .filter(|line| line.contains("cannot ") && line.contains(" resource "))
        .map(str::to_owned)
        .collect()
}

/// Waits until somebody says that a right is missing: a finding, a condition, or a line of the log.
async fn reported(world: &World, controller: &Controller, words: &[String], place: Option<&str>) -> Option<String> {
    let names =
        |text: &str| words.iter().any(|one| text.contains(one)) && place.is_none_or(|place| text.contains(place));
    let started = Instant::now();
    while started.elapsed() < SOON {
        let status = world.status().await;
        let findings = status["findings"].as_array().cloned().unwrap_or_default();
        let stated: Vec<String> =
            findings.iter().filter_map(|one| one["message"].as_str()).map(str::to_owned).collect();
        let stated: Vec<&String> = stated.iter().filter(|message| names(message)).collect();
        if !stated.is_empty() {
            // A right for two reads may be told once for each, and none twice.
            let once: BTreeSet<&&String> = stated.iter().collect();
            assert_eq!(once.len(), stated.len(), "{stated:#?}");
            return Some("a finding".to_owned());
        }
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().filter_map(|one| one["message"].as_str()).any(names) {
            return Some("a condition".to_owned());
        }
        // The API server quotes with quotation marks, which JSON escapes.
        if refusals(controller).iter().any(|line| names(&line.replace("\\\"", "\""))) {
            return Some("the log".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// All rules of all roles of ours.
async fn rules(world: &World) -> Vec<Taken> {
    let labelled = ListParams::default().labels(LABEL);
    let cluster: Api<ClusterRole> = Api::all(world.client.clone());
    let roles: Api<Role> = Api::all(world.client.clone());
    let cluster =
        cluster.list(&labelled).await.unwrap().items.into_iter().map(|role| ((None, role.name_any()), role.rules));
    let roles = roles
        .list(&labelled)
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|role| ((role.namespace(), role.name_any()), role.rules));
    let taken = |(role, rules): (RoleId, Option<Vec<PolicyRule>>)| {
        let rules = rules.unwrap_or_default().into_iter().enumerate();
        rules.map(move |(index, rule)| Taken { role: role.clone(), index, rule }).collect::<Vec<_>>()
    };
    cluster.chain(roles).flat_map(taken).collect()
}

/// Takes these rules away, and no other.
async fn take(world: &World, taken: &[&Taken]) {
    let all = rules(world).await;
    let left = all.iter().filter(|one| !taken.iter().any(|taken| one.role == taken.role && one.index == taken.index));
    let roles = taken.iter().map(|taken| taken.role.clone()).collect();
    write(world, left.clone(), roles).await;
    let left: Vec<&Taken> = left.collect();
    for one in taken {
        let is_gone = |right: &Right| !left.iter().any(|left| right.is_allowed_by(left.role.0.as_deref(), &left.rule));
        // What another rule allows as well is not gone.
        if let Some(gone) = one.rights().into_iter().find(is_gone) {
            gone.until_allowed(&world.client, false).await.unwrap();
        }
    }
}

async fn give_back(world: &World, rules: &[Taken]) {
    write(world, rules.iter(), rules.iter().map(|taken| taken.role.clone()).collect()).await;
    for right in rules.iter().flat_map(Taken::rights) {
        right.until_allowed(&world.client, true).await.unwrap();
    }
}

/// Writes these roles with the rules that are theirs.
async fn write<'a>(world: &World, rules: impl Iterator<Item = &'a Taken>, roles: Vec<RoleId>) {
    let mut by_role: BTreeMap<RoleId, Vec<PolicyRule>> = roles.into_iter().map(|role| (role, Vec::new())).collect();
    for taken in rules {
        if let Some(rules) = by_role.get_mut(&taken.role) {
            rules.push(taken.rule.clone());
        }
    }
    let human = PatchParams { field_manager: Some(HUMAN.to_owned()), ..PatchParams::default() };
    for ((namespace, name), rules) in by_role {
        let patch = Patch::Merge(json!({ "rules": rules }));
        match namespace {
            None => drop(Api::<ClusterRole>::all(world.client.clone()).patch(&name, &human, &patch).await.unwrap()),
            Some(namespace) => {
                drop(
                    Api::<Role>::namespaced(world.client.clone(), &namespace)
                        .patch(&name, &human, &patch)
                        .await
                        .unwrap(),
                );
            }
        }
    }
}

/// Everything that a controller has to do once is to be done again: the gate, the inspection and its answer, the Lease, and what was said.
async fn forget(world: &World) {
    world.delete_gate().await;
    world.release_lease().await;
    let jobs: Api<Job> = Api::namespaced(world.client.clone(), INSPECTION);
    for job in jobs.list(&ListParams::default()).await.unwrap().items {
        let _ = jobs.delete(&job.name_any(), &DeleteParams::background()).await;
    }
    world.delete_records(INSPECTIONS).await;
    // The answers of registries, which need the Secret.
    let none = Patch::Merge(json!({ "status": null }));
    let _ = world.policies().patch_status("default", &PatchParams::default(), &none).await;
}
