//! The main job: upgrades of the operator that find their set, the worst case, and the way back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::Story;
use crate::cluster::{Cluster, SOON};
use crate::narrator::{Narrator, seconds};
use crate::opening::{POD_START, never_degraded};
use crate::testbox::Mirror;
use crate::testbox::operator_double::What;
use crate::testbox::recorder::{Revision, Watched};

/// One move of the operator, in revisions and moments.
struct Move {
    deployment: Revision,
    stored: Revision,
    ready: Revision,
    /// When the new operator first read its set, whether it found it, and in which revision.
    looked_up: (Instant, bool, Option<String>),
    adopted: Instant,
    /// From when until when something was Degraded, in which words, if it was.
    degraded: Option<(Instant, Instant, String)>,
    /// Revisions in which the new operator wrote templates.
    rendered: Vec<u64>,
}

/// How a person changes the operator's image.
pub fn typed(narrator: &Narrator, version: &str) {
    let image = format!("tigera-operator=…/operator:{version}");
    narrator.typed(&format!("kubectl -n tigera-operator set image deploy/tigera-operator {image}"));
}

/// Moves the Deployment and waits until the new operator has adopted its set, which is there already or will be.
async fn upgrade(
    narrator: &Narrator,
    cluster: &Cluster,
    mirror: &Mirror,
    (version, set): (&str, &str),
    staged: Option<Revision>,
) -> Result<Move> {
    let (events, spans) = (cluster.double.events().len(), cluster.double.degraded_moments().len());
    let image = mirror.operator_image(version);
    typed(narrator, version);
    let deployment = cluster.operator(&image).await?;
    let stored = match staged {
        Some(stored) => stored,
        None => {
            let storing = cluster.set_created_after(set, deployment.resource_version);
            narrator.wait("waiting for the set", storing).await?
        }
    };
    cluster.double.change(|options| options.hold_pods = false);
    let took_over = |what: &What| matches!(what, What::OperatorTookOver { version: now, .. } if now == version);
    narrator.wait("waiting for the new operator", cluster.double.wait_for("the take-over", SOON, took_over)).await?;
    narrator.wait("waiting for the roll-out", cluster.double.wait_adopted(set, SOON)).await?;
    narrator.wait("waiting for all components", cluster.double.wait_healthy(SOON)).await?;
    let ready = cluster
        .revision("the new operator pod to be Ready", |one| {
            one.watched == Watched::Pod
                && one.resource_version > deployment.resource_version
                && one.object.data["spec"]["containers"][0]["image"] == image.as_str()
                && one.object.data["status"]["containerStatuses"][0]["ready"] == true
        })
        .await?;
    let events: Vec<_> = cluster.double.events().into_iter().skip(events).collect();
    let new = events.iter().position(|seen| took_over(&seen.what)).context("no take-over")?;
    let looked_up = events[new..].iter().find_map(|seen| match &seen.what {
        What::LookedFor { name, found } if name == set => Some((seen.at, *found, seen.resource_version.clone())),
        _ => None,
    });
    let adopted = events[new..].iter().find(|seen| matches!(&seen.what, What::Adopted { name } if name == set));
    let rendered = events[new..].iter().filter(|seen| matches!(seen.what, What::Rendered { .. }));
    let rendered = rendered.filter_map(|seen| seen.resource_version.as_ref()?.parse().ok()).collect();
    let spans = cluster.double.degraded_moments().split_off(spans);
    let degraded = spans.first().and_then(|first| {
        let until = spans.iter().filter_map(|span| span.until).max()?;
        let cause = first.message.rsplit(": ").next().unwrap_or_default();
        Some((first.from, until, cause.to_owned()))
    });
    Ok(Move {
        degraded,
        rendered,
        deployment,
        stored,
        ready,
        looked_up: looked_up.context("the new operator did not look for its set")?,
        adopted: adopted.context("the set was not adopted")?.at,
    })
}

impl Move {
    /// Where the delay of a pod's start was not enough on this machine.
    fn admit_slowness(&self, narrator: &Narrator) {
        let took = self.stored.at.duration_since(self.deployment.at);
        if took > POD_START {
            narrator.narrate(&format!(
                "On this machine the set took {}, longer than the pod's {} s: the pod was held back until then.",
                seconds(took),
                POD_START.as_secs()
            ));
        }
    }

    /// One line per moment, in the order of time, with the revision in etcd where there is one.
    fn timeline(&self, narrator: &Narrator, version: &str, set: &str, images: usize, more: Option<(Instant, &str)>) {
        let start = self.deployment.at;
        let looked_up = match &self.looked_up.2 {
            Some(revision) => format!("operator {version} looks for {set}: found, revision {revision}"),
            None => format!("operator {version} looks for {set}: not found"),
        };
        let revision = |revision: &Revision| format!("rev {}", revision.resource_version);
        let mut rows = vec![
            (start, revision(&self.deployment), format!("Deployment tigera-operator: {version}")),
            (self.stored.at, revision(&self.stored), format!("ImageSet {set} stored, {images} images")),
            (self.ready.at, revision(&self.ready), format!("operator {version} Ready")),
            (self.looked_up.0, String::new(), looked_up),
            (self.adopted, String::new(), format!("{set} adopted by all workloads")),
        ];
        if let Some((from, until, words)) = &self.degraded {
            rows.push((*from, String::new(), format!("Degraded: {words}")));
            rows.push((*until, String::new(), "no longer Degraded".to_owned()));
        }
        rows.extend(more.map(|(at, printed)| (at, String::new(), printed.to_owned())));
        rows.sort_by_key(|row| row.0);
        let rows = rows.into_iter().map(|(at, revision, printed)| {
            let when = match at.checked_duration_since(start) {
                Some(after) => format!("+{}", seconds(after)),
                None => "before".to_owned(),
            };
            vec![when, revision, printed]
        });
        narrator.table(&rows.collect::<Vec<_>>());
    }
}

/// Chapter 4.
pub async fn in_time(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, .. } = story;
    narrator.chapter("An upgrade: the set is there before the operator looks for it");
    narrator.narrate(&format!(
        "Nobody announced operator v1.42.4: nothing is prepared, and without calico-v3.32.1 it would be Degraded. Its \
         pod takes {} s to start (a fixed delay here, which a slow machine extends until the set is stored).",
        POD_START.as_secs()
    ));
    mirror.registry.forget_requests()?;
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    cluster.double.change(|options| options.hold_pods = true);
    let done = upgrade(narrator, cluster, mirror, (version, set), None).await?;
    let requests = mirror.registry.requests()?.len();
    let wanted = mirror.wanted(version)?;
    done.timeline(narrator, version, set, wanted.len(), None);
    done.admit_slowness(narrator);

    let promise = format!(
        "stored {} after the change, from {requests} requests to the registry; every digest as pushed",
        seconds(done.stored.at.duration_since(done.deployment.at))
    );
    narrator.check_equal(&promise, &wanted, &cluster.entries(set).await?)?;
    let (stored, ready) = (done.stored.resource_version, done.ready.resource_version);
    let promise =
        format!("revision {stored} is before {ready}, in which the operator was Ready; its first look found it");
    let seen = (stored < ready, done.looked_up.1, done.looked_up.2.as_deref());
    narrator.check_equal(&promise, &(true, true, Some(stored.to_string().as_str())), &seen)?;
    never_degraded(narrator, cluster, "no TigeraStatus was ever Degraded", 0)
}

/// Chapter 5.
pub async fn held(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, binary, .. } = story;
    narrator.chapter("A gate: what nobody prepared is refused, and what is prepared finds its set");
    narrator.narrate(
        "A ValidatingAdmissionPolicy on the operator's Deployment, with the policy's status as its parameter: the API server \
         itself refuses an operator that no set is ready for.",
    );
    let (version, set) = ("v1.43.0", "calico-v3.32.0");
    let (old, new) = (mirror.operator_image("v1.42.4"), mirror.operator_image(version));
    narrator.typed(r#"kubectl patch imagesetpolicy default --type merge -p '{"spec":{"gate":"Deny"}}'"#);
    let closed = cluster.policy(mirror, json!({ "mode": "Apply", "gate": "Deny" })).await?;
    let rejected = narrator.wait("waiting for the gate", cluster.rejection_of(&new, true)).await?;
    typed(narrator, version);
    let response = cluster.operator(&new).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    narrator.fields(&[("Error:", &rejected)]);
    let words = ["no ImageSet is ready for", "spec.prepare.versions"];
    let seen = (words.iter().all(|word| response.contains(word)), cluster.operator_image().await?);
    let promise = "refused, with what to do in the answer; the Deployment is as it was";
    narrator.check_equal(promise, &(true, old), &seen)?;

    narrator.typed(&format!("imageset-controller prepare {version} --wait"));
    let output = narrator.wait("waiting for the set", cluster.verb(binary, &["prepare", version, "--wait"])).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    narrator.shows(&text);
    let stored = cluster.set_created_after(set, closed.resource_version).await?;
    let staged = (output.status.success(), cluster.entries(set).await?);
    narrator.check_equal("staged: exit code 0, every digest as pushed", &(true, mirror.wanted(version)?), &staged)?;
    narrator.wait("waiting for the gate", cluster.rejection_of(&new, false)).await?;
    let done = upgrade(narrator, cluster, mirror, (version, set), Some(stored)).await?;
    done.timeline(narrator, version, set, staged.1.len(), None);
    let (stored, moved) = (done.stored.resource_version, done.deployment.resource_version);
    let promise =
        format!("admitted; revision {stored} of the set is before {moved} of the Deployment: nothing to wait for");
    narrator.check_equal(&promise, &(true, true), &(stored < moved, done.looked_up.1))?;
    never_degraded(narrator, cluster, "no TigeraStatus was ever Degraded", 0)?;

    // The next chapter moves the operator without any preparation.
    cluster.policy(mirror, json!({ "mode": "Apply" })).await?;
    narrator.wait("taking the gate away", cluster.rejection_of(&mirror.operator_image("v1.40.14"), false)).await?;
    Ok(())
}

/// Chapter 6.
pub async fn no_time(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, .. } = story;
    narrator.chapter("The worst case: an operator that looks before the set is there");
    narrator.narrate(
        "No gate now, and somebody installs operator v1.40.14, unannounced. It starts without any delay, and the controller is held up \
         (kill -STOP) until that operator has looked for its set and is Degraded. How long does it take to recover?",
    );
    let (version, set) = ("v1.40.14", "calico-v3.31.6");
    narrator.wait("pushing images", mirror.push_release(version)).await?;
    cluster.double.change(|options| {
        options.pod_start = Duration::ZERO;
        options.poll = Duration::from_millis(1);
    });
    let controller = cluster.controller.as_ref().context("no controller")?;
    controller.pause()?;
    let letting_go = async {
        cluster.double.wait_degraded("calico", SOON).await?;
        let at = Instant::now();
        controller.resume()?;
        anyhow::Ok(at)
    };
    let (done, let_go) = futures::join!(upgrade(narrator, cluster, mirror, (version, set), None), letting_go);
    let (done, let_go) = (done?, let_go?);
    cluster.double.change(|options| {
        options.pod_start = POD_START;
        options.poll = crate::opening::options().poll;
    });
    let wanted = mirror.wanted(version)?;
    done.timeline(narrator, version, set, wanted.len(), Some((let_go, "the controller goes on")));

    let (_, well, _) = done.degraded.as_ref().context("nothing was Degraded")?;
    let promise = format!(
        "stored {} after the controller went on, and everything well again {} after that",
        seconds(done.stored.at.saturating_duration_since(let_go)),
        seconds(well.saturating_duration_since(done.stored.at))
    );
    let still = cluster.double.degraded_moments().into_iter().filter(|span| span.until.is_none()).count();
    narrator.check_equal(&promise, &(wanted, 0), &(cluster.entries(set).await?, still))?;
    let early: Vec<&u64> = done.rendered.iter().filter(|revision| **revision < done.stored.resource_version).collect();
    let promise = "no template was touched before the set was stored: Calico ran on by its old digests";
    narrator.check(early.is_empty() && !done.rendered.is_empty(), promise, "no revision before the set's", &early)
}

/// Chapter 7.
pub async fn rollback(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, .. } = story;
    narrator.chapter("A rollback needs no registry");
    narrator.narrate(
        "Back to v1.42.4, which ran here before, on a bad day: the registry is down, and somebody has deleted its set.",
    );
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    let before = cluster.entries(set).await?;
    let degraded = cluster.double.degraded_moments().len();
    narrator.typed(&format!("kubectl delete imageset {set}"));
    cluster.delete_set(set).await?;
    mirror.registry.stop();
    let rejected = mirror.registry.access()?.manifest("mirror/calico/node", "v3.32.1").await.is_err();
    mirror.registry.forget_requests()?;
    cluster.double.change(|options| options.hold_pods = true);
    let done = upgrade(narrator, cluster, mirror, (version, set), None).await?;
    done.timeline(narrator, version, set, before.len(), None);
    done.admit_slowness(narrator);
    let responded = mirror.registry.requests()?;
    narrator.wait("starting the registry again", mirror.registry.start_again()).await?;

    narrator.check(
        rejected && responded.is_empty(),
        "the registry was down: it refused connections and answered no request",
        "no answer",
        &responded,
    )?;
    let promise = format!(
        "stored again {} after the change, before the operator looked; the {} digests of before, from a record",
        seconds(done.stored.at.duration_since(done.deployment.at)),
        before.len()
    );
    let in_time = done.stored.resource_version < done.ready.resource_version && done.looked_up.1;
    narrator.check_equal(&promise, &(before, true), &(cluster.entries(set).await?, in_time))?;
    never_degraded(narrator, cluster, "no TigeraStatus was Degraded on the way back", degraded)
}
