//! The main job: upgrades of the operator that find their set, the worst case, and the way back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::Story;
use crate::cluster::{Cluster, SOON};
use crate::opening::{POD_START, never_degraded};
use crate::teller::{Teller, seconds};
use crate::testbox::Mirror;
use crate::testbox::operator_double::What;
use crate::testbox::recorder::{Revision, Watched};

/// One move of the operator, in revisions and moments.
struct Move {
    deployment: Revision,
    stored: Revision,
    ready: Revision,
    /// When the new operator first read its set, whether it found it, and in which revision.
    looked: (Instant, bool, Option<String>),
    adopted: Instant,
    /// From when until when something was Degraded, in which words, if it was.
    degraded: Option<(Instant, Instant, String)>,
    /// Revisions in which the new operator wrote templates.
    rendered: Vec<u64>,
}

/// How a person changes the operator's image.
pub fn typed(tell: &Teller, version: &str) {
    let image = format!("tigera-operator=…/operator:{version}");
    tell.typed(&format!("kubectl -n tigera-operator set image deploy/tigera-operator {image}"));
}

/// Moves the Deployment and waits until the new operator has adopted its set, which is there already or will be.
async fn upgrade(
    tell: &Teller,
    cluster: &Cluster,
    mirror: &Mirror,
    (version, set): (&str, &str),
    staged: Option<Revision>,
) -> Result<Move> {
    let (events, spans) = (cluster.double.events().len(), cluster.double.degraded_moments().len());
    let image = mirror.operator_image(version);
    typed(tell, version);
    let deployment = cluster.operator(&image).await?;
    let stored = match staged {
        Some(stored) => stored,
        None => {
            let storing = cluster.set_created_after(set, deployment.resource_version);
            tell.wait("waiting for the set", storing).await?
        }
    };
    cluster.double.change(|options| options.hold_pods = false);
    let took_over = |what: &What| matches!(what, What::OperatorTookOver { version: now, .. } if now == version);
    tell.wait("waiting for the new operator", cluster.double.wait_for("the take-over", SOON, took_over)).await?;
    tell.wait("waiting for the roll-out", cluster.double.wait_adopted(set, SOON)).await?;
    tell.wait("waiting for all components", cluster.double.wait_healthy(SOON)).await?;
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
    let looked = events[new..].iter().find_map(|seen| match &seen.what {
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
        looked: looked.context("the new operator did not look for its set")?,
        adopted: adopted.context("the set was not adopted")?.at,
    })
}

impl Move {
    /// Where the delay of a pod's start was not enough on this machine.
    fn admit_slowness(&self, tell: &Teller) {
        let took = self.stored.at.duration_since(self.deployment.at);
        if took > POD_START {
            tell.says(&format!(
                "On this machine the set took {}, longer than the pod's {} s: the pod was held back until then.",
                seconds(took),
                POD_START.as_secs()
            ));
        }
    }

    /// One line per moment, in the order of time, with the revision in etcd where there is one.
    fn timeline(&self, tell: &Teller, version: &str, set: &str, images: usize, more: Option<(Instant, &str)>) {
        let start = self.deployment.at;
        let looked = match &self.looked.2 {
            Some(revision) => format!("operator {version} looks for {set}: found, revision {revision}"),
            None => format!("operator {version} looks for {set}: not found"),
        };
        let revision = |revision: &Revision| format!("rev {}", revision.resource_version);
        let mut rows = vec![
            (start, revision(&self.deployment), format!("Deployment tigera-operator: {version}")),
            (self.stored.at, revision(&self.stored), format!("ImageSet {set} stored, {images} images")),
            (self.ready.at, revision(&self.ready), format!("operator {version} Ready")),
            (self.looked.0, String::new(), looked),
            (self.adopted, String::new(), format!("{set} adopted by all workloads")),
        ];
        if let Some((from, until, words)) = &self.degraded {
            rows.push((*from, String::new(), format!("Degraded: {words}")));
            rows.push((*until, String::new(), "no longer Degraded".to_owned()));
        }
        rows.extend(more.map(|(at, told)| (at, String::new(), told.to_owned())));
        rows.sort_by_key(|row| row.0);
        let rows = rows.into_iter().map(|(at, revision, told)| {
            let when = match at.checked_duration_since(start) {
                Some(after) => format!("+{}", seconds(after)),
                None => "before".to_owned(),
            };
            vec![when, revision, told]
        });
        tell.table(&rows.collect::<Vec<_>>());
    }
}

/// Chapter 4.
pub async fn in_time(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, .. } = story;
    tell.chapter("An upgrade: the set is there before the operator looks for it");
    tell.says(&format!(
        "Nobody announced operator v1.42.4: nothing is prepared, and without calico-v3.32.1 it would be Degraded. Its \
         pod takes {} s to start (a fixed delay here, which a slow machine extends until the set is stored).",
        POD_START.as_secs()
    ));
    mirror.registry.forget_requests()?;
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    cluster.double.change(|options| options.hold_pods = true);
    let done = upgrade(tell, cluster, mirror, (version, set), None).await?;
    let requests = mirror.registry.requests()?.len();
    let wanted = mirror.wanted(version)?;
    done.timeline(tell, version, set, wanted.len(), None);
    done.admit_slowness(tell);

    let promise = format!(
        "stored {} after the change, from {requests} requests to the registry; every digest as pushed",
        seconds(done.stored.at.duration_since(done.deployment.at))
    );
    tell.check_equal(&promise, &wanted, &cluster.entries(set).await?)?;
    let (stored, ready) = (done.stored.resource_version, done.ready.resource_version);
    let promise =
        format!("revision {stored} is before {ready}, in which the operator was Ready; its first look found it");
    let seen = (stored < ready, done.looked.1, done.looked.2.as_deref());
    tell.check_equal(&promise, &(true, true, Some(stored.to_string().as_str())), &seen)?;
    never_degraded(tell, cluster, "no TigeraStatus was ever Degraded", 0)
}

/// Chapter 5.
pub async fn held(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, binary, .. } = story;
    tell.chapter("A gate: what nobody prepared is refused, and what is prepared finds its set");
    tell.says(
        "A ValidatingAdmissionPolicy on the operator's Deployment, with the policy's status as its parameter: the API server \
         itself refuses an operator that no set is ready for.",
    );
    let (version, set) = ("v1.43.0", "calico-v3.32.0");
    let (old, new) = (mirror.operator_image("v1.42.4"), mirror.operator_image(version));
    tell.typed(r#"kubectl patch imagesetpolicy default --type merge -p '{"spec":{"gate":"Deny"}}'"#);
    let closed = cluster.policy(mirror, json!({ "mode": "Apply", "gate": "Deny" })).await?;
    let refused = tell.wait("waiting for the gate", cluster.refusal_of(&new, true)).await?;
    typed(tell, version);
    let answer = cluster.operator(&new).await.err().map(|error| format!("{error:#}")).unwrap_or_default();
    tell.fields(&[("Error:", &refused)]);
    let words = ["no ImageSet is ready for", "spec.prepare.versions"];
    let seen = (words.iter().all(|word| answer.contains(word)), cluster.operator_image().await?);
    let promise = "refused, with what to do in the answer; the Deployment is as it was";
    tell.check_equal(promise, &(true, old), &seen)?;

    tell.typed(&format!("imageset-controller prepare {version} --wait"));
    let output = tell.wait("waiting for the set", cluster.verb(binary, &["prepare", version, "--wait"])).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    tell.shows(&text);
    let stored = cluster.set_created_after(set, closed.resource_version).await?;
    let staged = (output.status.success(), cluster.entries(set).await?);
    tell.check_equal("staged: exit code 0, every digest as pushed", &(true, mirror.wanted(version)?), &staged)?;
    tell.wait("waiting for the gate", cluster.refusal_of(&new, false)).await?;
    let done = upgrade(tell, cluster, mirror, (version, set), Some(stored)).await?;
    done.timeline(tell, version, set, staged.1.len(), None);
    let (stored, moved) = (done.stored.resource_version, done.deployment.resource_version);
    let promise =
        format!("admitted; revision {stored} of the set is before {moved} of the Deployment: nothing to wait for");
    tell.check_equal(&promise, &(true, true), &(stored < moved, done.looked.1))?;
    never_degraded(tell, cluster, "no TigeraStatus was ever Degraded", 0)?;

    // The next chapter moves the operator without any preparation.
    cluster.policy(mirror, json!({ "mode": "Apply" })).await?;
    tell.wait("taking the gate away", cluster.refusal_of(&mirror.operator_image("v1.40.14"), false)).await?;
    Ok(())
}

/// Chapter 6.
pub async fn no_time(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, .. } = story;
    tell.chapter("The worst case: an operator that looks before the set is there");
    tell.says(
        "No gate now, and somebody installs operator v1.40.14, unannounced. It starts without any delay, and the controller is held up \
         (kill -STOP) until that operator has looked for its set and is Degraded. How long does it take to recover?",
    );
    let (version, set) = ("v1.40.14", "calico-v3.31.6");
    tell.wait("pushing images", mirror.push_release(version)).await?;
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
    let (done, let_go) = futures::join!(upgrade(tell, cluster, mirror, (version, set), None), letting_go);
    let (done, let_go) = (done?, let_go?);
    cluster.double.change(|options| {
        options.pod_start = POD_START;
        options.poll = crate::opening::options().poll;
    });
    let wanted = mirror.wanted(version)?;
    done.timeline(tell, version, set, wanted.len(), Some((let_go, "the controller goes on")));

    let (_, well, _) = done.degraded.as_ref().context("nothing was Degraded")?;
    let promise = format!(
        "stored {} after the controller went on, and everything well again {} after that",
        seconds(done.stored.at.saturating_duration_since(let_go)),
        seconds(well.saturating_duration_since(done.stored.at))
    );
    let still = cluster.double.degraded_moments().into_iter().filter(|span| span.until.is_none()).count();
    tell.check_equal(&promise, &(wanted, 0), &(cluster.entries(set).await?, still))?;
    let early: Vec<&u64> = done.rendered.iter().filter(|revision| **revision < done.stored.resource_version).collect();
    let promise = "no template was touched before the set was stored: Calico ran on by its old digests";
    tell.check(early.is_empty() && !done.rendered.is_empty(), promise, "no revision before the set's", &early)
}

/// Chapter 7.
pub async fn rollback(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, .. } = story;
    tell.chapter("A rollback needs no registry");
    tell.says(
        "Back to v1.42.4, which ran here before, on a bad day: the registry is down, and somebody has deleted its set.",
    );
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    let before = cluster.entries(set).await?;
    let degraded = cluster.double.degraded_moments().len();
    tell.typed(&format!("kubectl delete imageset {set}"));
    cluster.delete_set(set).await?;
    mirror.registry.stop();
    let refused = mirror.registry.access()?.manifest("mirror/calico/node", "v3.32.1").await.is_err();
    mirror.registry.forget_requests()?;
    cluster.double.change(|options| options.hold_pods = true);
    let done = upgrade(tell, cluster, mirror, (version, set), None).await?;
    done.timeline(tell, version, set, before.len(), None);
    done.admit_slowness(tell);
    let answered = mirror.registry.requests()?;
    tell.wait("starting the registry again", mirror.registry.start_again()).await?;

    tell.check(
        refused && answered.is_empty(),
        "the registry was down: it refused connections and answered no request",
        "no answer",
        &answered,
    )?;
    let promise = format!(
        "stored again {} after the change, before the operator looked; the {} digests of before, from a record",
        seconds(done.stored.at.duration_since(done.deployment.at)),
        before.len()
    );
    let in_time = done.stored.resource_version < done.ready.resource_version && done.looked.1;
    tell.check_equal(&promise, &(before, true), &(cluster.entries(set).await?, in_time))?;
    never_degraded(tell, cluster, "no TigeraStatus was Degraded on the way back", degraded)
}
