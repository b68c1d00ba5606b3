//! The main job: upgrades of the operator that find their set, the worst case, and the way back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use console::style;

use crate::Story;
use crate::cluster::{Cluster, SOON};
use crate::opening::{POD_START, moment, never_degraded};
use crate::teller::{Teller, seconds};
use crate::testbox::Mirror;
use crate::testbox::operator_double::What;
use crate::testbox::recorder::{Revision, Watched};

/// One move of the operator, in revisions and moments.
struct Move {
    deployment: Revision,
    stored: Revision,
    ready: Revision,
    /// When the new operator first looked for its set, whether it found it, and in which revision.
    looked: (Instant, bool, Option<String>),
    adopted: Instant,
}

/// Moves the Deployment and waits until the new operator has adopted its set.
async fn upgrade(tell: &Teller, cluster: &Cluster, mirror: &Mirror, version: &str, set: &str) -> Result<Move> {
    let events = cluster.double.events().len();
    let image = mirror.operator_image(version);
    tell.typed(&format!("kubectl set image deployment/tigera-operator -n tigera-operator \\"));
    tell.shows(&format!("  tigera-operator={image}"));
    let deployment = cluster.operator(&image).await?;
    let storing = cluster.set_created_after(set, deployment.resource_version);
    let stored = tell.wait("waiting for the set", storing).await?;
    let took_over = |what: &What| matches!(what, What::OperatorTookOver { version: now, .. } if now == version);
    tell.wait("waiting for the new operator", cluster.double.wait_for("the take-over", SOON, took_over)).await?;
    tell.wait("waiting for the roll-out", cluster.double.wait_adopted(set, SOON)).await?;
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
    Ok(Move {
        deployment,
        stored,
        ready,
        looked: looked.context("the new operator did not look for its set")?,
        adopted: adopted.context("the set was not adopted")?.at,
    })
}

impl Move {
    /// One line per moment, in the order of time, with the revision in etcd where there is one.
    fn timeline(&self, tell: &Teller, version: &str, set: &str, images: usize) {
        let start = self.deployment.at;
        let found = if self.looked.1 { "found" } else { "not found" };
        let mut rows = [
            (start, self.deployment.resource_version.to_string(), format!("Deployment: operator {version}")),
            (
                self.stored.at,
                self.stored.resource_version.to_string(),
                format!("ImageSet {set} stored, {images} images"),
            ),
            (self.ready.at, self.ready.resource_version.to_string(), format!("operator {version} Ready")),
            (self.looked.0, String::new(), format!("operator {version} looks for {set}: {found}")),
            (self.adopted, String::new(), format!("{set} adopted by all workloads")),
        ];
        rows.sort_by_key(|row| row.0);
        let mut table = vec![vec![style("TIME").dim().to_string(), style("REVISION").dim().to_string(), String::new()]];
        table.extend(rows.into_iter().map(|(at, revision, told)| {
            vec![format!("+{}", seconds(at.saturating_duration_since(start))), revision, told]
        }));
        tell.table(&table);
    }
}

/// Chapter 4.
pub async fn in_time(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, .. } = story;
    tell.chapter("An upgrade: the set is there before the operator looks for it");
    tell.says(&format!(
        "Nobody announced operator v1.42.4, its set was not prepared. It wants calico-v3.32.1, and would be Degraded \
         without it. Its pod takes {} s to start (fixed here), which is the time that there is.",
        POD_START.as_secs()
    ));
    mirror.registry.forget_requests()?;
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    let done = upgrade(tell, cluster, mirror, version, set).await?;
    let requests = mirror.registry.requests()?.len();
    let wanted = mirror.wanted(version)?;
    done.timeline(tell, version, set, wanted.len());

    let promise = format!(
        "stored {} after the change, from {requests} requests to the registry; every digest as pushed",
        seconds(done.stored.at.duration_since(done.deployment.at))
    );
    tell.check_equal(&promise, &wanted, &cluster.entries(set).await?)?;
    let (stored, ready) = (done.stored.resource_version, done.ready.resource_version);
    let promise = format!(
        "stored in revision {stored}, before revision {ready} in which the operator became Ready; its first look \
         found revision {stored}, {} after it was stored",
        seconds(done.looked.0.saturating_duration_since(done.stored.at))
    );
    let seen = (stored < ready, done.looked.1, done.looked.2.as_deref());
    tell.check_equal(&promise, &(true, true, Some(stored.to_string().as_str())), &seen)?;
    never_degraded(tell, cluster, "no TigeraStatus was ever Degraded", 0)
}

/// Chapter 5.
pub async fn no_time(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, .. } = story;
    tell.chapter("The worst case: an operator that starts at once");
    tell.says(
        "The same for operator v1.43.0, which starts without any delay: both begin at the same moment. Whoever looks \
         too early is Degraded, and recovers by itself as soon as the set is stored.",
    );
    let (version, set) = ("v1.43.0", "calico-v3.32.0");
    cluster.double.change(|options| {
        options.pod_start = Duration::ZERO;
        options.poll = Duration::from_millis(5);
    });
    let events = cluster.double.events().len();
    let done = upgrade(tell, cluster, mirror, version, set).await?;
    tell.wait("waiting for all components", cluster.double.wait_healthy(SOON)).await?;
    cluster.double.change(|options| {
        options.pod_start = POD_START;
        options.poll = crate::opening::options().poll;
    });
    let wanted = mirror.wanted(version)?;
    done.timeline(tell, version, set, wanted.len());

    let spans = cluster.double.degraded_moments();
    let stored = seconds(done.stored.at.duration_since(done.deployment.at));
    tell.check_equal(&format!("stored {stored} after the change"), &wanted, &cluster.entries(set).await?)?;
    let first = spans.iter().map(|span| span.from).min();
    let last = spans.iter().filter_map(|span| span.until).max();
    let open = spans.iter().filter(|span| span.until.is_none()).count();
    let promise = match (first, last) {
        (Some(first), Some(last)) => {
            let span = spans.first().map(|span| format!("{}: {}", span.reason, span.message)).unwrap_or_default();
            tell.shows_wrapped(&format!("TigeraStatus meanwhile: {span}"));
            let after = seconds(last.saturating_duration_since(done.stored.at));
            format!("Degraded for {}, all well again {after} after the set was stored", seconds(last - first))
        }
        _ => "the set was there even so: no TigeraStatus was Degraded".to_owned(),
    };
    tell.check_equal(&promise, &0, &open)?;
    let rendered = moment(cluster, events, |what| matches!(what, What::Rendered { .. }))?;
    let none_before = last.is_none_or(|_| rendered >= done.stored.at || rendered >= done.looked.0);
    let by_tag = cluster.workloads().await?.into_iter().flat_map(|(_, _, images)| images);
    let by_tag: Vec<String> = by_tag.filter(|image| !image.contains("@sha256:")).collect();
    let promise = "Calico ran on by its old digests until then; no container went back to a tag";
    tell.check(none_before && by_tag.is_empty(), promise, "digests only", &by_tag)
}

/// Chapter 6.
pub async fn rollback(story: &mut Story) -> Result<()> {
    let Story { tell, mirror, cluster, .. } = story;
    tell.chapter("A rollback needs no registry");
    tell.says(
        "Back to operator v1.42.4, on a bad day: somebody has tidied up its ImageSet, which nobody used any more, and \
         the registry is down.",
    );
    let (version, set) = ("v1.42.4", "calico-v3.32.1");
    let before = cluster.entries(set).await?;
    let degraded = cluster.double.degraded_moments().len();
    tell.typed(&format!("kubectl delete imageset {set}"));
    cluster.delete_set(set).await?;
    mirror.registry.stop();
    let refused = mirror.registry.access()?.manifest("mirror/calico/node", "v3.32.1").await.is_err();
    mirror.registry.forget_requests()?;
    let done = upgrade(tell, cluster, mirror, version, set).await?;
    done.timeline(tell, version, set, before.len());
    let answered = mirror.registry.requests()?;
    tell.wait("starting the registry again", mirror.registry.start_again()).await?;

    tell.check(
        refused && answered.is_empty(),
        "the registry was down all the time: connections refused, no request answered",
        "no answer",
        &answered,
    )?;
    let promise = format!(
        "stored again {} after the change, from the record of chapter 4: the same {} digests",
        seconds(done.stored.at.duration_since(done.deployment.at)),
        before.len()
    );
    tell.check_equal(&promise, &before, &cluster.entries(set).await?)?;
    let revisions = (done.stored.resource_version < done.ready.resource_version, done.looked.1);
    tell.check_equal("stored before the operator looked for it", &(true, true), &revisions)?;
    never_degraded(tell, cluster, "no TigeraStatus was Degraded on the way back", degraded)
}
