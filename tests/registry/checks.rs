//! Registries that contradict themselves or delay others, seen from the cluster.

use std::time::Duration;

use imageset_controller::cluster::registry_cache::RegistryCache;
use imageset_controller::model::{ConditionType, Digest, GoalState, Reason};
use imageset_controller::registry::RegistrySettings;
use tokio::sync::watch;

use crate::cluster::{Cluster, PATIENCE};
use crate::server::{Reply, Server};
use crate::{good, index, patient, plain, with_secret};

use Reason::{DigestGone, RecheckFailed, TagGone, TagMoved};

/// The silent registry is released only after the other one's set is stored; waiting for it would never end.
#[tokio::test]
async fn a_failing_registry_delays_no_other() {
    let (quick, silent) = (Server::start().await, Server::start().await);
    let (open, gate) = watch::channel(false);
    quick.on("*", good("node"));
    silent.on("*", good("node").after(gate));
    let mut access = plain(&[&quick, &silent]);
    for (host, server) in [("quay.io", &quick), ("docker.io", &silent)] {
        let mirror = Some(server.host().to_owned());
        access.registries.push(RegistrySettings { host: host.to_owned(), mirror, ..RegistrySettings::default() });
    }
    let cluster = Cluster::of_two_registries();
    let responses = RegistryCache::new(patient());
    let states = async |running: GoalState, prepared: GoalState| {
        let wanted = [running, prepared];
        loop {
            let run = cluster.run(&responses, &access, Duration::ZERO).await;
            let states: Vec<GoalState> = run.decision.goals.iter().map(|goal| goal.state).collect();
            if states == wanted {
                return;
            }
            let late = tokio::time::timeout(PATIENCE, responses.late.notified()).await;
            assert!(late.is_ok(), "{states:?} is all that came, not {wanted:?}");
        }
    };
    states(GoalState::Ready, GoalState::Resolving).await;
    assert_eq!(silent.seen().len(), 1, "it was asked, and holds the first answer back");
    open.send_replace(true);
    states(GoalState::Ready, GoalState::Ready).await;
}

/// HEAD and GET disagree, or the tag moves in between. HEAD is a reason to fetch, the bytes decide, and even they change nothing that
/// is pinned.
#[tokio::test]
async fn head_and_get_disagree() {
    let (name, other) = ("calico/node", Digest::of(b"other").to_string());
    let (pinned, moved) = (Digest::of(&index(name)), Digest::of(&index("moved")));
    let head = |digest: &str| Reply::status(200).with("docker-content-digest", digest);
    let drift = |reason: Reason, words: &str| Some((reason, words.to_owned()));
    let is_now = format!("is {} now, pinned is {}", moved.short(), pinned.short());
    // One GET, and one HEAD for each platform of what it brought; where the tag says nothing any more, the digest is asked for.
    let (nothing, rejected, fetched) = (0, 1, 3);
    let served = || good(name).with("docker-content-digest", &pinned.to_string());
    // Of a tag that has moved, the tag of the other FIPS mode, too.
    let (other_mode, requested, looked_up_again) = (1, 1, 2);
    for (head, get, by_digest, drift, more) in [
        (head(&pinned.to_string()), good("moved"), served(), None, nothing),
        (head(&other), good(name), served(), None, fetched),
        (Reply::status(200), good(name), served(), None, fetched),
        (head("sha256:../../etc/passwd"), good(name), served(), None, fetched),
        (Reply::status(404), good(name), served(), None, fetched),
        (Reply::status(405), good("moved"), served(), drift(TagMoved, &is_now), fetched + other_mode + requested),
        (head(&other), good("moved"), served(), drift(TagMoved, &is_now), fetched + other_mode + requested),
        // The tag has moved, whatever is the matter with the digest.
        (head(&other), good("moved"), Reply::status(503), drift(TagMoved, &is_now), fetched + other_mode + requested),
        (head(&other), good("moved"), good("forged"), drift(TagMoved, &is_now), fetched + other_mode + looked_up_again),
        (
            head(&other),
            good("moved"),
            Reply::status(404),
            drift(DigestGone, "by the digest that is pinned"),
            fetched + other_mode + looked_up_again,
        ),
        (head(&other), Reply::status(404), served(), drift(TagGone, "by tag"), rejected + requested),
        (
            head(&other),
            Reply::status(404),
            Reply::status(404),
            drift(DigestGone, "no longer in the registry"),
            rejected + looked_up_again,
        ),
        (
            head(&other),
            good("moved").with("docker-content-digest", &other),
            served(),
            drift(RecheckFailed, &other[..20]),
            rejected,
        ),
        (head(&other), Reply::status(503), served(), drift(RecheckFailed, "failed (503)"), rejected),
        (Reply::status(503), good("moved"), served(), drift(RecheckFailed, "failed (503)"), nothing),
    ] {
        let fault = format!("{head:?} {get:?} {by_digest:?}");
        let server = Server::start().await;
        server.on("*", Reply::status(200));
        let cluster = Cluster::pinned_to(server.host()).only_pinned();
        for image in cluster.pinned() {
            let path = format!("/v2/{}/manifests/{}", image.repository(), image.tag().unwrap());
            let reply = good(image.repository());
            server.on(&path, reply.with("docker-content-digest", &Digest::of(&index(image.repository())).to_string()));
            if image.repository() == name {
                server.on(&format!("HEAD {path}"), head.clone()).on(&path, get.clone());
                server.on(&format!("/v2/{name}/manifests/{pinned}"), by_digest.clone());
            }
        }
        let responses = RegistryCache::new(patient());
        let run = cluster.run(&responses, &with_secret(&[&server]), PATIENCE).await;
        cluster.nothing_pinned_changed(&fault, &run);
        let output = run.report.findings.iter().find(|finding| finding.reason.condition() == ConditionType::Drifted);
        assert_eq!(
            output.map(|finding| finding.reason),
            drift.as_ref().map(|(reason, _)| *reason),
            "{fault}: {output:?}"
        );
        if let (Some(finding), Some((_, words))) = (output, drift) {
            assert!(finding.message.contains(&words), "{fault}: {}", finding.message);
        }
        let seen = server.seen();
        assert_eq!(seen.len(), cluster.pinned().len() + more, "{fault}: {seen:#?}");
    }
}
