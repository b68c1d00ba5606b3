//! A cluster where only the policy exists: no operator, no Installation.

use anyhow::Result;
use serde_json::json;

use crate::Story;
use crate::cluster::{Cluster, SOON, layout};
use crate::narrator::seconds;
use crate::opening::{POD_START, options};
use crate::testbox::operator_double::What;
use crate::testbox::recorder::{Verb, Violation};

/// Chapter 8.
pub async fn from_nothing(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, binary, fresh, .. } = story;
    narrator.chapter("A first install: Git delivers the policy before there is an operator");
    narrator.narrate(
        "A second, fresh control plane with the operator's CRDs, the controller and a policy: no operator, no \
         Installation. The set is made from spec.installation, for the one version to prepare.",
    );
    let starting = Cluster::start("demo-first-install", mirror, options());
    let fresh = fresh.insert(narrator.wait("starting a second control plane", starting).await?);
    narrator.wait("starting its controller", fresh.start_controller(binary)).await?;
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    narrator.typed("kubectl apply -f policy.yaml");
    narrator.shows(&format!(
        "spec: {{mode: Apply, prepare: {{versions: [{version}]}}, installation: {{registry: …/, ...}}, ...}}"
    ));
    let spec = json!({ "mode": "Apply", "prepare": { "versions": [version] }, "installation": layout(mirror) });
    let policy = fresh.policy(mirror, spec).await?;
    let storing = fresh.set_created_after(set, policy.resource_version);
    let stored = narrator.wait("waiting for the set", storing).await?;
    let ready = narrator.wait("waiting for Ready", fresh.condition("Ready", "True", "Succeeded")).await?;
    narrator.typed("kubectl wait imagesetpolicy default --for=condition=Ready");
    narrator.fields(&[("Ready:", &ready)]);
    let nothing_else = fresh.recorder.writes().into_iter().filter(|write| write.kind == "Deployment").count()
        + fresh.recorder.writes().into_iter().filter(|write| write.kind == "Installation").count();
    narrator.check_equal(
        &format!(
            "{set} stored {} after the policy, while there was no operator and no Installation",
            seconds(stored.at.duration_since(policy.at))
        ),
        &(mirror.wanted(version)?, 0),
        &(fresh.entries(set).await?, nothing_else),
    )?;

    narrator.typed("kubectl apply -f tigera-operator.yaml -f installation.yaml");
    let operator = fresh.operator(&mirror.operator_image(version)).await?;
    fresh.install_calico(mirror).await?;
    narrator.wait("waiting for Calico", fresh.double.wait_adopted(set, SOON)).await?;
    let adopted = fresh.double.events().into_iter().find(|seen| matches!(&seen.what, What::Adopted { .. }));
    let took = adopted.as_ref().map(|seen| seen.at.duration_since(operator.at)).unwrap_or_default();
    let workloads = fresh.workloads().await?;
    let promise = format!(
        "Calico runs {} after the operator came (its pod took {} s to start), and was never Degraded",
        seconds(took),
        POD_START.as_secs()
    );
    let spans = fresh.double.degraded_moments();
    narrator.check(adopted.is_some() && spans.is_empty(), &promise, "no Degraded condition", &spans)?;
    let others: Vec<_> = workloads
        .iter()
        .filter(|(_, generation, images)| *generation != 1 || images.iter().any(|image| !image.contains("@sha256:")))
        .collect();
    let promise =
        format!("all {} workloads are in their first generation, by digest: none rolled twice", workloads.len());
    narrator.check(!workloads.is_empty() && others.is_empty(), &promise, "generation 1 and digests only", &others)?;

    let Some(Cluster { recorder, double, controller, control_plane, .. }) = story.fresh.take() else { return Ok(()) };
    let narrator = &mut story.narrator;
    double.stop().await;
    let report = narrator.wait("judging", recorder.finish()).await?;
    drop((controller, control_plane));
    let sets = report.writes.iter().filter(|write| write.kind == "ImageSet");
    let creates = sets.filter(|write| write.verb == Verb::Create).count();
    let violations: Vec<String> = report.violations.iter().map(Violation::to_string).chain(report.gaps).collect();
    let promise =
        format!("{} revisions of this cluster judged: {creates} set stored; violations: 0, gaps: 0", report.revisions);
    narrator.check(violations.is_empty(), &promise, "no violation of S1 to S6, no gap", &violations)
}
