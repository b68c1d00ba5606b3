//! `status`, as people use it: with and without a controller, once and again and again, for people and for machines.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use crate::testbox::checkout::assert_contains;
use crate::testbox::scenery;
use crate::world::{SOON, Scenery, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_with_and_without_a_controller() {
    let world = World::with_calico(Scenery { name: "status", ..Scenery::default() }, "v1.40.15").await;
    world.policy(json!({ "mode": "Apply" })).await;

    // No controller: nothing is known without `--live`.
    let (code, screen, _) = world.verb(&["status"]).await;
    assert_eq!(code, 0);
    assert_contains(&screen, &["READY", "the controller has not looked at this policy; is it running?"]);
    let (code, screen, _) = world.verb(&["status", "--live"]).await;
    assert_eq!(code, 0, "{screen}");
    assert_contains(
        &screen,
        &["OPERATOR   v1.40.15", "TARGET", "calico-v3.31.7", "not stored", "DRIFT      none", "PULLS      none"],
    );
    assert_eq!(world.status().await, serde_json::json!({ "observedGeneration": -1 }), "looking writes nothing");
    world.assert_nothing_written();

    // Watched in a pipe: the screen comes again whenever the status is another one, plain.
    let watching = watch(&world);
    watching.until("READY").await;
    let double = world.double(|_| {});
    let controller = world.controller("first").await;
    double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
    let shown = watching.until("adopted ✓").await;
    assert!(!shown.contains('\u{1b}'), "colour in a pipe: {shown}");
    assert!(shown.matches("POLICY").count() > 1, "{shown}");
    drop(watching);
    world.until("Adopted", "True", "AdoptionComplete").await;

    // What the controller wrote and what is to be seen now is the same.
    let (_, reported, _) = world.verb(&["status", "-o", "json"]).await;
    let (_, seen, _) = world.verb(&["status", "--live", "-o", "json"]).await;
    let (reported, seen): (Value, Value) =
        (serde_json::from_str(&reported).unwrap(), serde_json::from_str(&seen).unwrap());
    for part in ["operator", "current", "components", "findings", "conditions"] {
        assert_eq!(reported[part], seen[part], "{part}");
    }
    assert_eq!(reported, world.status().await);
    let (_, yaml, _) = world.verb(&["status", "-o", "yaml"]).await;
    assert_eq!(imageset_controller::yaml::from_str::<Value>(&yaml).unwrap(), reported);
    let (_, wide, _) = world.verb(&["status", "-o", "wide"]).await;
    let parts = [
        "RUNNING",
        "adopted ✓",
        "DEGRADED     none",
        "COMPONENTS",
        "calico: available",
        "CONDITIONS",
        "Adopted",
        "True",
    ];
    assert_contains(&wide, &parts);

    // A person whose rights end at the policy sees what the controller wrote.
    let reader = "
{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader, namespace: tigera-operator}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules: [{apiGroups: [imageset-controller.io], resources: [imagesetpolicies], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: tigera-operator}]
";
    crate::testbox::apply_yaml(world.client.clone(), reader).await.unwrap();
    let kubeconfig = world.control_plane.kubeconfig_for_service_account("tigera-operator", "reader").await.unwrap();
    let (code, screen, stderr) = world.verb_as(&kubeconfig, &["status"]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_contains(&screen, &["RUNNING", "adopted ✓"]);
    let (_, screen, _) = world.verb_as(&kubeconfig, &["status", "--live"]).await;
    assert_contains(
        &screen,
        &["DEGRADED   unknown: list tigerastatuses.operator.tigera.io", "PROBLEMS", "ReadForbidden"],
    );

    // The controller is gone: what it said is old.
    drop(controller);
    let leases = world.own::<Lease>();
    let old = json!({ "spec": { "renewTime": "2026-01-01T00:00:00.000000Z" } });
    scenery::edit(&leases, "imageset-controller", old).await.unwrap();
    eventually("the silence to be told", async || {
        let (_, screen, _) = world.verb(&["status"]).await;
        screen.contains("CONTROLLER   not heard of for ").then_some(())
    })
    .await;
    double.stop().await;
    world.finish(&[]).await;
}

/// A `status --watch` that runs, and what it has printed; it ends on drop.
struct Watching {
    child: std::process::Child,
    lines: mpsc::Receiver<String>,
}

fn watch(world: &World) -> Watching {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imageset-controller"));
    command.args(["status", "--watch", "--kubeconfig"]).arg(world.control_plane.kubeconfig());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    Watching { child, lines }
}

impl Watching {
    /// Everything up to a line with this text.
    async fn until(&self, text: &str) -> String {
        let mut shown = String::new();
        eventually(text, async || {
            while let Ok(line) = self.lines.try_recv() {
                shown.push_str(&line);
                shown.push('\n');
            }
            shown.contains(text).then(|| shown.clone())
        })
        .await
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
