//! `disarm`: the ordered way back from digests to tags. Prints the steps; with `--yes` it carries them out, by the same writer and with the
//! same preconditions as the controller. Never deletes an unmanaged ImageSet.

use std::collections::BTreeMap;

use clap::Args;
use kube::Client;
use serde_json::json;

use crate::api::{ImageSetPolicy, InspectionRules};
use crate::catalogue::Catalogue;
use crate::cli::edits::policy_patch;
use crate::cli::flags::cluster::{ClusterFlags, LEASE};
use crate::cli::flags::timeout::TimeoutFlag;
use crate::cli::inputs::policy::{self, POLICY};
use crate::cli::output::{Failure, Output, note};
use crate::cli::runtime::runtime;
use crate::cluster::leader::{self, Term};
use crate::cluster::read::{Reader, Source};
use crate::cluster::write::{Basis, Writer};
use crate::model::{
    Action, Gate, GateState, Mode, ObjectRef, PruneImageSet, Read, Reason, Snapshot, StoredImageSet, Workload,
};
use crate::rules::decide::decide;

/// Print the steps back from digests to tags; with --yes go them.
///
/// In this order: the policy only observes, the gate is gone, the sets of other versions are deleted, and last the set that
/// the running operator uses. Then the operator deploys by tag again, and rolls the workloads once.
#[derive(Debug, Args)]
#[command(mut_arg("timeout", |timeout| timeout.help("How long to wait until the controller has taken notice")))]
#[command(after_help = "Examples:
  imageset-controller disarm
  imageset-controller disarm --yes")]
pub(in crate::cli) struct Arguments {
    /// Do it
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    timeout: TimeoutFlag,

    #[command(flatten)]
    cluster: ClusterFlags,
}

/// The steps to take.
struct Steps {
    /// The policy would store sets again, and must change to Observe.
    observe: bool,
    /// The policy sets the gate, or the gate exists.
    gate: bool,
    /// Sets to delete, that of the running operator last.
    sets: Vec<PruneImageSet>,
    /// The set that the operator uses, managed or not.
    used: Option<String>,
    /// Workloads with digests of these sets in their templates.
    rolls: Vec<ObjectRef>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    runtime()?.block_on(async {
        let client = arguments.cluster.client().await?;
        let policy = policy::find(&client).await?;
        let steps = plan(&client, policy.as_deref(), &arguments.cluster.namespace).await?;
        if !steps.observe && !steps.gate && steps.sets.is_empty() {
            return Ok(Output::text(
                "nothing to disarm: no ImageSet of this controller is there, and none will be stored",
            ));
        }
        if !arguments.yes {
            return Ok(Output::lines(steps.render(policy.as_deref())));
        }
        if let Some(policy) = &policy {
            stop(&client, policy, &steps, arguments).await?;
        }
        let policy = policy::find(&client).await?;
        // The controller may have written until it stopped.
        let steps = plan(&client, policy.as_deref(), &arguments.cluster.namespace).await?;
        let stopped = policy.map(|_| format!("{POLICY} only observes"));
        carry_out(&client, steps, stopped, &arguments.cluster.namespace).await
    })
}

/// Plans the steps for the cluster as it is.
///
/// # Errors
/// It cannot be read, or the way back would stop the operator.
async fn plan(client: &Client, policy: Option<&ImageSetPolicy>, namespace: &str) -> Result<Steps, Failure> {
    let defaults = policy::defaults();
    let mut reader = Reader::new(client.clone(), namespace.to_owned());
    let snapshot = reader.observe(policy.unwrap_or(&defaults), Source::ApiServer).await.snapshot;
    let failures = [
        snapshot.image_sets.failure(),
        snapshot.operator.failure(),
        snapshot.operator_pods.failure(),
        snapshot.installation.failure(),
        snapshot.workloads.failure(),
        snapshot.gate.failure(),
    ];
    if let Some(failure) = failures.into_iter().flatten().next() {
        return Err(Failure::new(format!("{}: {}", failure.what, failure.message)));
    }
    let mut steps = steps(snapshot)?;
    if let Some(policy) = policy {
        steps.observe = policy.spec.mode != Mode::Observe;
        steps.gate |= policy.spec.gate != Gate::Disabled;
    }
    Ok(steps)
}

/// Plans the steps for a snapshot.
fn steps(mut snapshot: Snapshot) -> Result<Steps, Failure> {
    let decision = decide(&snapshot, Catalogue::embedded());
    let known = &decision.operator;
    let sets = match std::mem::take(&mut snapshot.image_sets) {
        Read::Known(sets) => sets,
        Read::KindMissing | Read::Failed(_) => Vec::new(),
    };
    let (mut managed, unmanaged): (Vec<StoredImageSet>, Vec<StoredImageSet>) =
        sets.into_iter().partition(|set| set.managed);
    let goal = decision.goals.iter().find(|goal| goal.purpose.is_current()).map(|goal| goal.name.to_string());
    let installation = snapshot.installation.known().and_then(Option::as_ref);
    let used = goal.or_else(|| installation.and_then(|seen| seen.selected_image_set.clone()));
    if let (Some(running), Some(target), false) = (&known.running, &known.target, managed.is_empty())
        && running.release != target.release
        && !known.rollout_complete
    {
        let (running, target) = (running.release, target.release);
        return Err(Failure::new(format!("an upgrade is under way: operator {running} runs, {target} is to run"))
            .hint("wait until it is over, or undo it; then run this again"));
    }
    if used.is_none() && managed.len() > 1 && matches!(snapshot.operator, Read::Known(Some(_))) {
        return Err(Failure::new("it cannot be told which ImageSet the operator uses, and that one must go last")
            .hint("imageset-controller status tells what is in the way"));
    }
    managed.sort_by_key(|set| Some(&set.name) == used.as_ref());
    let digests: Vec<&str> = managed.iter().flat_map(|set| &set.images).map(|image| image.digest.as_str()).collect();
    let carries = |image: &String| image.split_once('@').is_some_and(|(_, digest)| digests.contains(&digest));
    let workloads = snapshot.workloads.known().into_iter().flatten();
    let stays = unmanaged.iter().any(|set| Some(&set.name) == used.as_ref());
    let rolls = workloads.filter(|workload| !stays && workload.images.iter().any(carries)).map(Workload::object);
    let (gate, rolls) = (
        matches!(snapshot.gate, Read::Known(seen) if !matches!(seen, GateState::Absent | GateState::NotManaged)),
        rolls.collect(),
    );
    if !managed.is_empty() {
        check_unmanaged(snapshot, unmanaged)?;
    }
    let prune = |set: StoredImageSet| PruneImageSet { image_set: set.name, resource_version: set.resource_version };
    Ok(Steps { observe: false, gate, sets: managed.into_iter().map(prune).collect(), used, rolls })
}

/// Checks that no unmanaged set would stop the operator once the managed ones are deleted. `snapshot` has no sets.
fn check_unmanaged(mut snapshot: Snapshot, unmanaged: Vec<StoredImageSet>) -> Result<(), Failure> {
    let owners: Vec<(String, String)> =
        unmanaged.iter().map(|set| (set.name.clone(), set.owner().to_owned())).collect();
    snapshot.image_sets = Read::Known(unmanaged);
    let decision = decide(&snapshot, Catalogue::embedded());
    // Where it is not known which set the operator looks for, any other set may stop it.
    let unknown = decision.goals.is_empty() && matches!(snapshot.operator, Read::Known(Some(_)));
    let blocks = |(name, _): &(String, String)| {
        let object = ObjectRef::image_set(name);
        let mut findings = decision.findings.iter();
        unknown || findings.any(|one| one.reason == Reason::BlockingImageSet && one.subject == object)
    };
    let failures = owners.into_iter().filter(blocks).map(|(name, by)| {
        Failure::new(format!("ImageSet {name}, made by {by}, would stop the operator when ours are gone"))
            .reason(Reason::BlockingImageSet)
            .hint(format!("if nobody needs it: kubectl delete imageset {name}; then run this again"))
    });
    failures.reduce(Failure::and).map_or(Ok(()), Err)
}

impl Steps {
    /// Returns the steps as numbered lines.
    fn render(&self, policy: Option<&ImageSetPolicy>) -> Vec<String> {
        let in_git = |field: &str| {
            let owner = policy.and_then(|policy| policy_patch::gitops_owner(policy, field));
            owner.map(|owner| format!(" (in Git: {owner} owns it)")).unwrap_or_default()
        };
        let mut steps = Vec::new();
        if self.observe {
            steps.push(format!("set spec.mode: Observe, so that no set is stored again{}", in_git("mode")));
        }
        if self.gate {
            steps.push(format!("set spec.gate: Disabled, so that the gate goes{}", in_git("gate")));
        }
        for set in &self.sets {
            let last = if Some(&set.image_set) == self.used.as_ref() { "   # the operator uses it: last" } else { "" };
            steps.push(format!("kubectl delete imageset {}{last}", set.image_set));
        }
        let mut lines = vec!["The way back to tags, in this order:".to_owned()];
        lines.extend(steps.iter().enumerate().map(|(index, step)| format!("{}. {step}", index + 1)));
        lines.extend(self.outlook());
        lines.push("Nothing was changed. imageset-controller disarm --yes does it.".to_owned());
        lines
    }

    /// Returns what the operator does after that.
    fn outlook(&self) -> Vec<String> {
        if self.rolls.is_empty() {
            return vec!["No workload carries a digest of these sets: none rolls.".to_owned()];
        }
        let mut lines = vec!["Then the operator deploys by tag, and these roll:".to_owned()];
        lines.extend(self.rolls.iter().map(|workload| format!("   {workload}")));
        lines
    }
}

/// Sets the policy to Observe and the gate to Disabled, and waits until the controller has seen that.
async fn stop(client: &Client, policy: &ImageSetPolicy, steps: &Steps, arguments: &Arguments) -> Result<(), Failure> {
    let fields = [("mode", steps.observe), ("gate", policy.spec.gate != Gate::Disabled)];
    let fields = fields.into_iter().filter(|(_, changes)| *changes).map(|(field, _)| field);
    for field in fields.clone() {
        if let Some(owner) = policy_patch::gitops_owner(policy, field) {
            return Err(Failure::new(format!("{owner} owns spec.{field} of the policy and would set it back"))
                .hint("set spec.mode: Observe and spec.gate: Disabled in Git, wait for the sync, and run this again"));
        }
    }
    let namespace = arguments.cluster.namespace.as_str();
    // Before anything is changed: without the right to read it, nobody would know when it is safe to go on.
    lease(client, namespace).await?;
    if fields.count() > 0 {
        policy_patch::apply(client, &json!({ "spec": { "mode": "Observe", "gate": "Disabled" } })).await?;
    }
    let observed = |policy: &ImageSetPolicy| {
        let seen = policy.status.as_ref().and_then(|status| status.observed_generation);
        seen == policy.metadata.generation && policy.spec.mode == Mode::Observe
    };
    if policy::wait_until(client, arguments.timeout.duration(), &observed).await?.is_some() {
        return Ok(());
    }
    let before = lease(client, namespace).await?;
    if let Some(before) = &before {
        tokio::time::sleep(before.shows_within()).await;
    }
    if lease(client, namespace).await? != before {
        return Err(Failure::new(format!("the controller has not taken notice within {}", arguments.timeout.timeout))
            .hint("imageset-controller status tells what is in its way; the policy is in mode Observe already"));
    }
    note("note: no controller runs that could store a set again; going on");
    Ok(())
}

/// Returns the controller's Lease; `None` where there is none.
///
/// # Errors
/// It cannot be read, so that it is not known whether a controller runs.
async fn lease(client: &Client, namespace: &str) -> Result<Option<Term>, Failure> {
    policy::request(leader::current_term(client, namespace, LEASE)).await?.map_err(|status| {
        let message = &status.message;
        Failure::new(format!("it is not known whether a controller runs: Lease {namespace}/{LEASE}: {message}"))
            .hint(format!("run this with the right to get leases.coordination.k8s.io in {namespace}"))
    })
}

/// Deletes in the order of the steps. `stopped` is the line for what was done before.
async fn carry_out(client: &Client, steps: Steps, stopped: Option<String>, namespace: &str) -> Result<Output, Failure> {
    let mut lines: Vec<String> = stopped.into_iter().collect();
    let mut actions = Vec::new();
    if steps.gate {
        // Where no controller has deleted it.
        actions.push(Action::SetGate(None));
        lines
            .push("validatingadmissionpolicy.admissionregistration.k8s.io/imageset-controller-gate deleted".to_owned());
    }
    for set in &steps.sets {
        lines.push(format!("imageset.operator.tigera.io/{} deleted", set.image_set));
        actions.push(Action::PruneImageSet(set.clone()));
    }
    let mut writer = Writer::new(client.clone(), namespace.to_owned(), Default::default());
    let basis = Basis { inspection: &InspectionRules::default(), record_versions: &BTreeMap::new() };
    let (outcome, _) = writer.apply(&actions, &basis).await;
    if let Some(failure) = outcome.failure {
        let hint =
            if failure.conflict { "it was changed at the same moment; run this again" } else { "run this again" };
        return Err(Failure::new(format!("{}: {}", failure.object, failure.message)).hint(hint));
    }
    lines.extend(steps.outlook());
    Ok(Output::lines(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    /// An operator of this image, with these sets, managed or not, and a DaemonSet by the digest of all of them.
    fn seen(image: &str, selected: &str, sets: &[(&str, bool)]) -> Snapshot {
        let sets = sets.iter().map(|(name, managed)| {
            format!(
                "{{name: {name}, ours: {managed}, manager: kubectl, images: [{{image: calico/node, digest: '{DIGEST}'}}]}}"
            )
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        let text = format!(
            "operator: !known {{image: '{image}'}}\n\
             operatorPods: !known [{{name: a, image: '{image}', ready: true}}]\n\
             installation: !known {{selectedImageSet: {selected}}}\n\
             imageSets: !known [{sets}]\n\
             workloads: !known [{{kind: DaemonSet, namespace: n, name: node, images: ['x/node@{DIGEST}']}}]\n"
        );
        crate::yaml::from_str(&text).unwrap()
    }

    fn order(steps: &Steps) -> Vec<&str> {
        steps.sets.iter().map(|set| set.image_set.as_str()).collect()
    }

    #[test]
    fn the_set_in_use_is_deleted_last_and_its_workloads_roll() {
        let managed = [("calico-v3.31.7", true), ("calico-v3.30.3", true), ("calico-v3.32.1", true)];
        let known = steps(seen("quay.io/tigera/operator:v1.40.15", "null", &managed)).unwrap();
        assert_eq!(order(&known), ["calico-v3.30.3", "calico-v3.32.1", "calico-v3.31.7"]);
        assert_eq!(known.rolls.iter().map(ToString::to_string).collect::<Vec<_>>(), ["DaemonSet n/node"]);
        // That operator is unknown; the Installation names the set that it selected.
        let selected = steps(seen("reg.example/operator:latest", "calico-v3.30.3", &managed)).unwrap();
        assert_eq!(order(&selected), ["calico-v3.31.7", "calico-v3.32.1", "calico-v3.30.3"]);
        assert!(steps(seen("reg.example/operator:latest", "null", &managed)).is_err());
        assert!(steps(seen("reg.example/operator:latest", "null", &managed[..1])).is_ok());
    }

    #[test]
    fn an_unmanaged_set_blocks_only_where_it_would_stop_the_operator() {
        let image = "quay.io/tigera/operator:v1.40.15";
        assert!(steps(seen(image, "null", &[("calico-v3.31.7", true), ("calico-v3.29.0", false)])).is_err());
        assert!(steps(seen(image, "null", &[("calico-v3.31.7", true), ("other", false)])).is_ok());
        // Older operators stop at any set.
        let old = "quay.io/tigera/operator:v1.30.4";
        assert!(steps(seen(old, "null", &[("calico-v3.26.1", true), ("other", false)])).is_err());
        // They compare prefixes from v1.34.2 on.
        let sets = [("calico-v3.28.0", true), ("calico-v3.28.1", true), ("foo", false)];
        for (version, refuses) in [("v1.34.0", true), ("v1.34.1", true), ("v1.34.2", false)] {
            let image = format!("quay.io/tigera/operator:{version}");
            assert_eq!(steps(seen(&image, "null", &sets)).is_err(), refuses, "{version}");
        }
        // The one in use is unmanaged: it stays, and nothing rolls.
        let stays = steps(seen(image, "null", &[("calico-v3.30.3", true), ("calico-v3.31.7", false)])).unwrap();
        assert_eq!((order(&stays), stays.rolls.len()), (vec!["calico-v3.30.3"], 0));
        // Without any managed set there is nothing to reject.
        assert!(steps(seen(image, "null", &[("calico-v3.29.0", false)])).unwrap().sets.is_empty());
    }
}
