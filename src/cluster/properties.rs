//! The properties (see `crate::properties`) of what is decoded from objects of the cluster: nodes, pods, records. Compiled for
//! tests and fuzzing only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_runtime::watcher::Event;
use serde_json::json;

use super::records::{self, Kept};
use super::watch::nodes::{Node, SeenNodes};
use super::watch::pods::properties::{Aggregate, PartialPod};
use crate::model::foreign_text::{LONGEST_NAME, LONGEST_QUOTE, escaped};
use crate::model::{FailingImage, Finding, NodePlatform, Platform, PullFailureKind, Reason};
use crate::rules::explain::kubelet_messages::{classify, normalize, reports_cause};

/// A node is of a platform that nodes have, or it is a short text about one node; nothing else becomes of what it reports. The lines
/// are `operatingSystem`, `architecture`, `kernelVersion` and the name, the rest the other fields.
pub fn node_fields(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (system, architecture, kernel, name, others) = (line(), line(), line(), line(), line());
    let node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/arch": others } },
        "status": { "nodeInfo": {
            "operatingSystem": system, "architecture": architecture, "kernelVersion": kernel, "osImage": others,
        } },
    });
    let decoded: Result<Node, _> = serde_json::from_str(&node.to_string());
    assert!(decoded.is_ok(), "{decoded:?}");
    let Ok(node) = decoded else { return };
    let mut seen = SeenNodes::default();
    (0..3).for_each(|_| seen.add_node(&node));
    match NodePlatform::of(system, architecture, kernel) {
        NodePlatform::Unreported => assert_eq!(seen, SeenNodes::default()),
        NodePlatform::Known(platform) => {
            assert_eq!(platform.to_string().parse().as_ref(), Ok(&platform));
            assert_eq!((&platform.os, &platform.architecture), (&system.to_owned(), &architecture.to_owned()));
            assert!(platform.to_string().bytes().all(|byte| byte.is_ascii_graphic()) && platform.runs_on(&platform));
            assert_eq!(seen.platforms, BTreeMap::from([(platform, 3)]));
            assert!(seen.unknown.is_empty());
        }
        NodePlatform::Unknown(_) => {
            assert!(seen.platforms.is_empty() && seen.unknown.len() == 3);
            for node in &seen.unknown {
                assert!(node.platform.len() <= 64 && node.node.len() <= LONGEST_QUOTE);
                shown_safely(&node.platform, 64);
                shown_safely(&node.node, LONGEST_QUOTE);
                // The platform is no name of one, whatever was cut of it.
                let parsed: Result<Platform, _> = node.platform.parse();
                assert!(parsed.is_err() || parsed.is_ok_and(|platform| !seen.platforms.contains_key(&platform)));
            }
        }
    }
}

/// A kubelet's report is bounded and escaped in every value made from it; pods that report the same are one entry. The lines are
/// the reason, the image, the owner's kind and name, the rest the message.
pub fn kubelet_words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.splitn(5, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (reason, image, kind, owner, message) = (line(), line(), line(), line(), line());
    let kind_of_failure = classify(reason, message);
    let _ = reports_cause(reason, message);
    shown_safely(&normalize(message), LONGEST_QUOTE);
    let pod = |name: &str, state: serde_json::Value| {
        let pod = json!({
            "metadata": {
                "name": name, "namespace": "calico-system",
                "ownerReferences": [{ "kind": kind, "name": owner, "controller": true }],
            },
            "spec": { "containers": [{ "name": owner, "image": image }] },
            "status": { "containerStatuses": [{ "name": owner, "imageID": message, "state": state }] },
        });
        let decoded: Result<PartialPod, _> = serde_json::from_str(&pod.to_string());
        assert!(decoded.is_ok(), "{decoded:?}");
        decoded.ok()
    };
    let waits = || json!({ "waiting": { "reason": reason, "message": message } });
    const NAMESPACE: &str = "calico-system";
    let mut aggregate = Aggregate::new(&[NAMESPACE]);
    aggregate.event(NAMESPACE, Event::Init);
    for pod in [pod("a", waits()), pod("b", waits())].into_iter().flatten() {
        aggregate.event(NAMESPACE, Event::InitApply(pod));
    }
    aggregate.event(NAMESPACE, Event::InitDone);
    let seen = aggregate.read().known().cloned().unwrap_or_default();
    // A long message is cut before it is read.
    if message.len() <= 4096 && reason.len() <= LONGEST_NAME {
        assert_eq!(seen.failing.len(), usize::from(kind_of_failure.is_some()));
    }
    for FailingImage { workload, image, kind, pods, message } in &seen.failing {
        assert_eq!((*pods, kind_of_failure.is_some() || reason.len() > LONGEST_NAME), (2, true), "{kind:?}");
        assert_ne!((*kind, message.is_empty()), (PullFailureKind::ExecFormat, true));
        shown_safely(&workload.to_string(), LONGEST_NAME);
        shown_safely(image, LONGEST_NAME);
        shown_safely(message, LONGEST_QUOTE);
        let finding = Finding::new(Reason::PullFailed, workload.clone(), format!("{image}: {message}"));
        assert!(!finding.sentence().contains(char::is_control));
    }
    // The same pod reports no failure once it runs.
    let now = [pod("a", json!({ "running": {} })).map(Event::Apply), pod("b", waits()).map(Event::Delete)];
    for event in now.into_iter().flatten() {
        aggregate.event(NAMESPACE, event);
    }
    let seen = aggregate.read().known().cloned().unwrap_or_default();
    assert!(seen.failing.is_empty() && seen.running.len() <= 1);
    for running in &seen.running {
        shown_safely(&running.image, LONGEST_NAME);
    }
}

/// A record that is read is written and read as the same, under its own name only; what is no record is an error that can be shown.
/// The first line is the label, the rest the text.
pub fn records(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (label, text) = text.split_once('\n').unwrap_or((text, ""));
    let map = |name: &str, text: &str| ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([(records::RECORD_LABEL.to_owned(), label.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(records::RECORD_KEY.to_owned(), text.to_owned())])),
        ..ConfigMap::default()
    };
    // The error names the ConfigMap that may hold it.
    let nameless = records::parsed(&map("", text), label).err().unwrap_or_default();
    assert!(!nameless.is_empty(), "a record without a name");
    let Some(name) = nameless.strip_prefix("it holds the record ") else {
        return shown_safely(&escaped(&nameless), LONGEST_QUOTE);
    };
    assert!(name.len() <= 253, "{name}");
    let read = match records::parsed(&map(name, text), label) {
        Ok(read) => read,
        Err(error) => return shown_safely(&escaped(&error), LONGEST_QUOTE),
    };
    let written = match &read {
        Kept::Images(record) => crate::yaml::to_string(record),
        Kept::Inspection(inspected) => crate::yaml::to_string(inspected),
    };
    let written = written.unwrap_or_default();
    let again = records::parsed(&map(name, &written), label);
    let same = match (&read, &again) {
        (Kept::Images(read), Ok(Kept::Images(again))) => read == again,
        (Kept::Inspection(read), Ok(Kept::Inspection(again))) => read == again,
        _ => false,
    };
    assert!(same, "{written}: {:?}", again.err());
}

/// Printable ASCII, and bounded.
fn shown_safely(text: &str, most: usize) {
    assert!(text.len() <= most && text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{text:?}");
}
