//! What goes wrong, how it is reported, and that nothing changes; then the recorder's verdict and the screen.

use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;

use crate::Story;
use crate::cluster::Cluster;
use crate::narrator::Narrator;
use crate::testbox::recorder::{self, InvariantRecorder, Verb, Violation};
use crate::upgrades::typed;

/// Chapter 9.
pub async fn clear_words(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, .. } = story;
    narrator.chapter("What goes wrong is told, and changes nothing");
    let apply = |versions: &[&str]| json!({ "mode": "Apply", "prepare": { "versions": versions } });

    narrator.narrate(
        "First, an operator that is newer than the catalogue: its image is to be asked, by a Job without any rights. \
         (Nothing runs pods here, so neither starts.)",
    );
    narrator.wait("waiting for quiet", cluster.settled()).await?;
    let before = cluster.sets().await?;
    let unknown = mirror.operator_image("v1.99.0");
    mirror.push_operator("v1.99.0").await?;
    cluster.double.change(|options| options.unpullable.extend([unknown.clone()]));
    typed(narrator, "v1.99.0");
    cluster.operator(&unknown).await?;
    let waiting = cluster.condition("Ready", "False", "InspectionRunning");
    let message = narrator.wait("waiting for the condition", waiting).await?;
    describe(narrator, "InspectionRunning", &message);
    let promise = "it names the object, the version and the Job; no set has changed";
    told_and_unchanged(narrator, cluster, promise, &message, &["v1.99.0", "Deployment tigera-operator"], &before)
        .await?;
    cluster.operator(&mirror.operator_image("v1.42.4")).await?;
    let waiting = cluster.condition("Ready", "True", "Succeeded");
    narrator.wait("waiting for the way back", waiting).await?;

    narrator.narrate("Then, a version to prepare that was mirrored without calico/typha.");
    mirror.push_release_without("v1.41.1", &["calico/typha"]).await?;
    narrator.typed(r#"kubectl patch isp default --type merge -p '{"spec":{"prepare":{"versions":["v1.41.1"]}}}'"#);
    cluster.policy(mirror, apply(&["v1.41.1"])).await?;
    let waiting = cluster.condition("Ready", "False", "ImageMissing");
    let message = narrator.wait("waiting for the condition", waiting).await?;
    describe(narrator, "ImageMissing", &message);
    let promise = "it names the image and what to do; no set has changed, and none is half-made";
    told_and_unchanged(narrator, cluster, promise, &message, &["typha", "v3.31.3"], &before).await?;

    cluster.policy(mirror, apply(&["v1.43.0"])).await?;
    let waiting = cluster.condition("Ready", "True", "Succeeded");
    narrator.wait("waiting for the policy", waiting).await?;
    let adopted = cluster.condition("Adopted", "True", "AdoptionComplete");
    narrator.wait("waiting for the policy", adopted).await?;
    Ok(())
}

fn describe(narrator: &Narrator, reason: &str, message: &str) {
    narrator.typed("kubectl describe imagesetpolicy default      # its condition Ready");
    narrator.fields(&[("Ready:", &format!("False, {reason}")), ("Message:", message)]);
}

async fn told_and_unchanged(
    narrator: &mut Narrator,
    cluster: &Cluster,
    promise: &str,
    message: &str,
    words: &[&str],
    before: &BTreeMap<String, String>,
) -> Result<()> {
    let missing: Vec<&&str> = words.iter().filter(|word| !message.contains(**word)).collect();
    let after = cluster.sets().await?;
    let seen = (missing, &after);
    let expected = format!("nothing unsaid and {before:?}");
    narrator.check(seen.0.is_empty() && after == *before, promise, &expected, &seen)
}

/// Chapter 10.
pub async fn verdict(story: &mut Story) -> Result<()> {
    let Story { narrator, cluster, .. } = story;
    narrator.chapter("The verdict on every revision");
    narrator.narrate(
        "All the time a recorder has followed etcd. It judges each revision: the running version's set first (S1), \
         accepted by the operator's rules (S2), digests of real bytes (S3), no silent change (S4), nothing foreign or \
         needed deleted (S5).",
    );
    // Another one goes on, for a cluster that is kept.
    let next = InvariantRecorder::start(cluster.client.clone(), recorder::Config::default()).await?;
    let recorder = std::mem::replace(&mut cluster.recorder, next);
    let report = narrator.wait("judging", recorder.finish()).await?;
    let of_sets = |verb: Verb| {
        let writes = report.writes.iter().filter(|write| write.kind == "ImageSet");
        writes.filter(|write| write.verb == verb).count()
    };
    let violations: Vec<String> =
        report.violations.iter().map(Violation::to_string).chain(report.gaps.clone()).collect();
    let promise = format!(
        "{} revisions judged, {} sets stored, {} changed; violations: {}, gaps: {}",
        report.revisions,
        of_sets(Verb::Create),
        of_sets(Verb::Update),
        report.violations.len(),
        report.gaps.len()
    );
    narrator.check(violations.is_empty(), &promise, "no violation, no gap", &violations)
}

/// The end: what the product itself says.
pub async fn screen(story: &mut Story) -> Result<()> {
    let Story { narrator, cluster, binary, .. } = story;
    narrator.chapter("The one screen");
    narrator.typed("imageset-controller status");
    let output = narrator.wait("asking for the status", cluster.verb(binary, &["status"])).await?;
    narrator.shows(&String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let narrate = ["calico-v3.32.1", "calico-v3.32.0", "v1.42.4"].iter().all(|word| text.contains(word));
    let promise = "exit code 0, and it tells what runs and what is prepared";
    narrator.check(output.status.success() && narrate, promise, "exit code 0", &(output.status.code(), text))
}
