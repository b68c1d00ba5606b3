//! What others may write into the cluster is hostile: a node, a pod, a TigeraStatus, an ImageSet. The set of the cluster is
//! stored all the same, and what is shown of them is short and clean wherever it is shown.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch};
use serde_json::{Value, json};

use crate::testbox::apply_yaml;
use crate::testbox::crds::Kind as OperatorKind;
use crate::testbox::scenery;
use crate::world::{Scenery, World, eventually};

/// Ends lines, commands CI systems and terminals, and turns the direction of writing.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[8m\r\n::error::forged\n##[error]forged\n\u{9b}31m\u{202e}x";
/// Part of the same that must be escaped wherever it is shown.
const PLANTED: &str = "forged";

impl World {
    /// A node whose kubelet reports this, all in one.
    async fn node_reports(&self, name: &str, text: &str) {
        let mut info = scenery::node_info(text);
        info.as_object_mut().unwrap().values_mut().for_each(|field| *field = Value::from(text));
        scenery::node(&self.client, name, info).await.unwrap();
    }

    /// A pod in the operator's care whose owner, image and kubelet say this.
    async fn report_pod(&self, name: &str, text: &str) {
        apply_yaml(self.client.clone(), "{apiVersion: v1, kind: Namespace, metadata: {name: calico-system}}")
            .await
            .unwrap();
        let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: calico-system}}";
        apply_yaml(self.client.clone(), account).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "calico-system");
        let owner = json!({ "apiVersion": "apps/v1", "kind": text, "name": text, "uid": "0f3a", "controller": true });
        let image = format!("quay.io/{}", text.trim());
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "ownerReferences": [owner] },
            "spec": { "containers": [{ "name": "a", "image": image }], "automountServiceAccountToken": false },
        });
        pods.create(&Default::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let state = json!([{
            "name": "a", "image": text, "imageID": text, "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ErrImagePull", "message": text.repeat(50) } },
        }]);
        let status = Patch::Merge(json!({ "status": { "containerStatuses": state } }));
        pods.patch_status(name, &Default::default(), &status).await.unwrap();
    }
}

/// Every text in a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => fields.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// Nothing in it changes how a terminal shows it, and no CI system takes a line of it for a command.
fn assert_clean(place: &str, text: &str) {
    let odd = |character: char| character.is_control() && !matches!(character, '\n' | '\t') || character == '\u{202e}';
    assert!(!text.contains(odd), "{place}: {text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("::")), "{place}: {text:?}");
    assert!(!text.contains("##["), "{place}: {text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_nodes_pods_and_statuses_stop_nothing_and_are_shown_short_and_clean() {
    let world = World::with_calico(Scenery { name: "hostile-text", ..Scenery::default() }, "v1.40.15").await;
    // Ten odd characters, 100 KiB, and a virtual kubelet.
    world.node_reports("node-odd", HOSTILE).await;
    world.node_reports("node-long", &"x".repeat(100 * 1024)).await;
    world.node_reports("node-virtual", "wasm-wasi").await;
    world.report_pod("hostile", HOSTILE).await;
    for component in ["calico", "apiserver"] {
        let api = OperatorKind::TigeraStatus.api(&world.client);
        api.create(&Default::default(), &OperatorKind::TigeraStatus.object(component, json!({}))).await.unwrap();
        world.report_component(component, Some((HOSTILE, &HOSTILE.repeat(2_000))), 1).await;
    }
    // A set that no operator reads, with odd entries.
    let entries: Vec<Value> =
        (0..1000).map(|number| json!({ "image": format!("{HOSTILE}/{number}"), "digest": HOSTILE })).collect();
    let set = OperatorKind::ImageSet.object("unrelated", json!({ "images": entries }));
    OperatorKind::ImageSet.api(&world.client).create(&Default::default(), &set).await.unwrap();
    world.policy(json!({ "mode": "Apply" })).await;
    let controller = world.controller("first").await;

    world.until("Applied", "True", "ImageSetStored").await;
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
    let of = async |reason: &str| {
        let findings = world.status().await["findings"].as_array().cloned().unwrap_or_default();
        findings.into_iter().filter(|finding| finding["reason"] == reason).collect::<Vec<Value>>()
    };
    let three =
        eventually("the three nodes", async || Some(of("NodePlatformUnknown").await).filter(|all| all.len() == 3))
            .await;
    let names: Vec<&str> = three.iter().filter_map(|finding| finding["object"]["name"].as_str()).collect();
    assert_eq!(names, ["node-long", "node-odd", "node-virtual"]);
    world.until("OperatorDegraded", "True", "ComponentDegraded").await;
    world.until("ImagePullFailing", "True", "PullFailed").await;
    world.until_quiet().await;

    let status = world.status().await;
    let length = status.to_string().len();
    assert!(length < 32 * 1024, "{length}");
    assert!(status.to_string().contains(PLANTED));
    texts(&status).into_iter().for_each(|text| assert_clean("the status", text));
    let events: Api<k8s_openapi::api::core::v1::Event> = Api::all(world.client.clone());
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(events.iter().any(|event| event.message.as_deref().is_some_and(|note| note.contains(PLANTED))));
    for event in events {
        texts(&serde_json::to_value(&event).unwrap()).into_iter().for_each(|text| assert_clean("an event", text));
        assert!(event.message.unwrap_or_default().len() <= 1024);
    }
    let log = controller.log();
    assert_clean("the log", &log);
    assert!(log.lines().all(|line| line.len() < 17 * 1024));
    assert_clean("/metrics", &controller.get("/metrics").await.unwrap().1);

    for verb in [
        &["status"][..],
        &["status", "-o", "wide"],
        &["status", "-o", "yaml"],
        &["status", "-o", "json"],
        &["status", "--live"],
        &["plan"],
        &["verify"],
        &["disarm"],
    ] {
        let (_, stdout, stderr) = world.verb(verb).await;
        assert_clean(&format!("{verb:?}"), &stdout);
        assert_clean(&format!("{verb:?}"), &stderr);
        assert!(stdout.len() + stderr.len() < 64 * 1024, "{verb:?}: {}", stdout.len());
    }

    // What is gone is not shown any more.
    let nodes: Api<Node> = Api::all(world.client.clone());
    for node in ["node-odd", "node-long", "node-virtual"] {
        nodes.delete(node, &DeleteParams::default()).await.unwrap();
    }
    eventually("the nodes to be gone", async || of("NodePlatformUnknown").await.is_empty().then_some(())).await;
    world.finish(&[&controller]).await;
}
