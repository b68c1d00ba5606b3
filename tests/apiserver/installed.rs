//! From nothing to an upgrade and away again, by each documented way of installing: what is installed admits the pod of the rendered
//! Deployment and nothing weaker, its account's token is enough for the real binary, and an uninstall leaves what the guide says.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::shell::Shell;
use crate::testbox::kubelet::Plays;
use crate::testbox::operator_double::{OperatorDouble, What};
use crate::testbox::recorder::Write;
use crate::testbox::{Controller, Kubelet};
use crate::world::{SOON, Scenery, World, eventually};

const GUIDE: &str = include_str!("../../docs/guide/install.md");
const ROLLED_OUT: &str = "kubectl -n imageset-controller rollout status deployment/imageset-controller";

/// The command, when the guide has it in these words.
fn documented(line: &str) -> &str {
    let words = |text: &str| text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(GUIDE).contains(&words(line)), "the guide does not say: {line}");
    line
}

/// A cluster that runs Calico by tags, and the shell of a person with a checkout. Nothing of ours is in the cluster.
struct Site {
    world: World,
    shell: Shell,
    double: OperatorDouble,
    _kubelet: Kubelet,
}

impl Site {
    async fn start(name: &'static str) -> Self {
        let world = World::start(Scenery { name, installed: false, controllers: true, ..Scenery::default() }).await;
        let kubelet = Kubelet::start_for_all(world.client.clone(), "node-1").await.unwrap();
        kubelet.play("", Plays::Runs);
        let shell = Shell::of(&world).await;
        shell.run(documented("kubectl create namespace tigera-operator")).await;
        world.installation(json!({})).await;
        world.operator("v1.40.15").await;
        let double = world.double(|options| (options.play_pods, options.play_workloads) = (false, false));
        double.wait_for("tags", SOON, |what| *what == What::UsesTags).await.unwrap();
        Self { world, shell, double, _kubelet: kubelet }
    }

    /// The pods of the Deployment were admitted, by Pod Security and the quota, and run.
    async fn rolled_out(&self) {
        self.shell.run(&format!("timeout 60 {}", documented(ROLLED_OUT))).await;
    }

    /// Kind, namespace and name of whatever has to do with us, events aside, and what the API server makes of each definition.
    async fn owned(&self) -> BTreeSet<String> {
        let kinds = "kubectl api-resources --verbs=list -o name | grep -v -e ^events -e ^apiservices | paste -sd,";
        let columns = "KIND:.kind,IN:.metadata.namespace,NAME:.metadata.name";
        let all = self.shell.run(&format!("kubectl get $({kinds}) -A --no-headers -o custom-columns={columns}")).await;
        let words = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        words.filter(|line| line.to_lowercase().contains("imageset")).collect()
    }

    /// Waits until what has to do with us is this.
    async fn until_left(&self, left: &BTreeSet<String>) {
        let started = Instant::now();
        loop {
            let seen = self.owned().await;
            if seen == *left {
                return;
            }
            let (more, fewer) = (seen.difference(left).collect::<Vec<_>>(), left.difference(&seen).collect::<Vec<_>>());
            assert!(started.elapsed() < SOON, "not taken away: {more:#?}\nnot left: {fewer:#?}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// With the token of the installed account and nothing more: the policy gets Ready, and an upgrade of the operator finds its set.
    async fn works(&self) -> Controller {
        let world = &self.world;
        world.policy(json!({ "mode": "Apply", "gate": "Deny", "prepare": { "versions": ["v1.42.4"] } })).await;
        let controller = world.controller("first").await;
        world.until("Ready", "True", "Succeeded").await;
        world.until_gate("Deny").await;
        self.double.wait_adopted("calico-v3.31.7", SOON).await.unwrap();
        let new = world.mirror.operator_image("v1.42.4");
        eventually("the prepared operator to be admitted", async || (!world.rejects(&new).await).then_some(())).await;
        world.operator("v1.42.4").await;
        self.double.wait_adopted("calico-v3.32.1", SOON).await.unwrap();
        world.until("Adopted", "True", "AdoptionComplete").await;
        world.until("Ready", "True", "Succeeded").await;
        assert_eq!(world.stored("calico-v3.31.7").await.unwrap(), world.wanted("v1.40.15", false));
        assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
        assert!(self.double.degraded_moments().is_empty(), "{:?}", self.double.degraded_moments());
        // Every denial by RBAC is reported as a finding or in the log.
        let findings = world.status().await["findings"].to_string();
        let log = controller.log();
        assert!(!findings.contains("orbidden") && !log.contains("orbidden"), "{findings}\n{log}");
        controller
    }

    /// Another process in the place of this one, as in a rollout: it reconciles, sends no registry request, and writes nothing.
    async fn replaced(&self, mut before: Controller, instance: &str) -> Controller {
        assert_eq!(before.terminate().await.unwrap(), 0);
        self.comes_back(instance).await
    }

    async fn comes_back(&self, instance: &str) -> Controller {
        self.world.mirror.registry.forget_requests().unwrap();
        let writes = self.sets_and_records();
        let controller = self.world.controller(instance).await;
        eventually("a pass", async || (!controller.logged("reconcile completed").is_empty()).then_some(())).await;
        self.world.until_quiet().await;
        self.world.until("Ready", "True", "Succeeded").await;
        assert_eq!(self.world.mirror.registry.requests().unwrap(), [], "the registry was asked");
        assert_eq!(self.sets_and_records(), writes, "something was written");
        controller
    }

    fn sets_and_records(&self) -> Vec<String> {
        let shown = |write: &Write| format!("{write:?}");
        self.world.writes().iter().map(shown).collect()
    }

    async fn finish(self, controllers: &[&Controller]) {
        self.double.stop().await;
        self.world.finish(controllers).await;
    }

    /// The installed pod as one of its own, changed; what the API server says to it.
    async fn admits(&self, namespace: &str, account: &str, change: impl FnOnce(&mut Value)) -> (bool, String) {
        let deployment =
            self.shell.json("kubectl -n imageset-controller get deployment imageset-controller -o json").await;
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("dry");
        pod["metadata"]["namespace"] = json!(namespace);
        pod["spec"]["serviceAccountName"] = json!(account);
        pod["spec"]["serviceAccount"] = json!(account);
        change(&mut pod["spec"]);
        self.shell.write("pod.json", &pod.to_string());
        self.shell.tried("kubectl create --dry-run=server -f pod.json").await
    }
}

/// What a test does to the pod's spec.
type Change = fn(&mut Value);

fn of_names(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

const SETS: [&str; 2] = ["ImageSet <none> calico-v3.31.7", "ImageSet <none> calico-v3.32.1"];
/// What Helm leaves in any case, records aside: the definition, and the namespace with what was not Helm's.
const NAMESPACE: [&str; 5] = [
    "CustomResourceDefinition <none> imagesetpolicies.imageset-controller.io",
    "Namespace <none> imageset-controller",
    "ServiceAccount imageset-controller default",
    "ConfigMap imageset-controller kube-root-ca.crt",
    "Lease imageset-controller imageset-controller",
];
/// What a registry of the guide's is called.
const IMAGE: &str = "registry.example.com/imageset-controller:v0.1.0";

impl Site {
    /// Our ConfigMaps, by the label that they have.
    async fn records(&self) -> BTreeSet<String> {
        let get = "kubectl -n imageset-controller get configmaps -l imageset-controller.io/record -o name";
        let names = self.shell.run(get).await;
        let line = |name: &str| format!("ConfigMap imageset-controller {}", name.trim_start_matches("configmap/"));
        names.lines().map(line).collect()
    }

    async fn image(&self) -> String {
        let path = "{.spec.template.spec.containers[0].image}";
        let get = "kubectl -n imageset-controller get deployment imageset-controller";
        self.shell.run(&format!("{get} -o jsonpath='{path}'")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_kustomize_from_nothing_and_away_again() {
    let site = Site::start("kustomize").await;
    let before = site.owned().await;
    let overlay = GUIDE.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    site.shell.write("overlay/kustomization.yaml", overlay);
    let apply = documented("kubectl apply --server-side -k overlay");
    site.shell.run(apply).await;
    site.rolled_out().await;
    assert_eq!(site.image().await, IMAGE);
    let mut controller = site.works().await;

    // What is weaker than the rendered pod gets into neither namespace.
    for (namespace, account) in
        [("imageset-controller", "imageset-controller"), ("imageset-inspection", "imageset-inspection")]
    {
        let (admitted, reported) = site.admits(namespace, account, |_| {}).await;
        assert!(admitted && !reported.contains("Warning"), "{reported}");
        let weaker: [(&str, Change); 4] = [
            ("host namespaces", |spec| spec["hostNetwork"] = json!(true)),
            ("privileged", |spec| spec["containers"][0]["securityContext"]["privileged"] = json!(true)),
            ("runAsNonRoot", |spec| spec["securityContext"]["runAsNonRoot"] = json!(false)),
            ("unrestricted capabilities", |spec| spec["containers"][0]["securityContext"]["capabilities"] = json!({})),
        ];
        for (words, weaken) in weaker {
            let (admitted, reported) = site
                .admits(namespace, account, |spec| {
                    weaken(spec);
                    // What else the API server would refuse of such a pod.
                    if words == "privileged" {
                        spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
                    }
                })
                .await;
            assert!(
                !admitted && reported.contains(r#"violates PodSecurity "restricted"#) && reported.contains(words),
                "{reported}"
            );
        }
    }

    // Applied again, nothing changes.
    site.world.until_quiet().await;
    let versions =
        "kubectl get -k overlay --no-headers -o custom-columns=K:.kind,N:.metadata.name,V:.metadata.resourceVersion";
    let first = site.shell.run(versions).await;
    site.shell.run(apply).await;
    assert_eq!(site.shell.run(versions).await, first);

    // Away, as the guide says it: the sets stay, and nothing else.
    site.shell.run(documented("kubectl delete imagesetpolicy default")).await;
    let gate = "kubectl wait --for=delete validatingadmissionpolicybinding/imageset-controller-gate --timeout=2m";
    site.shell.run(documented(gate)).await;
    site.shell.run(documented("kubectl delete -k overlay")).await;
    // Its account is gone; it ends well all the same.
    assert_eq!(controller.terminate().await.unwrap(), 0);
    site.until_left(&before.union(&of_names(&SETS)).cloned().collect()).await;
    assert_eq!(site.world.stored("calico-v3.32.1").await.unwrap(), site.world.wanted("v1.42.4", false));

    // The host's network: the namespaces admit such a pod, and no NetworkPolicy pretends to protect it.
    site.shell.run(documented("kubectl apply --server-side -k deploy/overlays/host-network")).await;
    site.rolled_out().await;
    let pods = site.shell.json("kubectl -n imageset-controller get pods -o json").await;
    assert_eq!(pods["items"][0]["spec"]["hostNetwork"], true, "{pods}");
    site.finish(&[&controller]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_helm_from_nothing_through_an_upgrade_away_and_back() {
    let site = Site::start("helm").await;
    let before = site.owned().await;
    let install = documented(
        "helm install imageset-controller deploy/chart/imageset-controller --namespace imageset-controller \
         --create-namespace --set image.registry=registry.example.com",
    );
    let label = documented("kubectl label namespace imageset-controller pod-security.kubernetes.io/enforce=restricted");
    site.shell.run(install).await;
    site.shell.run(label).await;
    site.rolled_out().await;
    assert_eq!(site.image().await, IMAGE);
    let first = site.works().await;
    // The same values again: nothing changes.
    site.world.until_quiet().await;
    let versions = "helm get manifest imageset-controller --namespace imageset-controller | kubectl get -f - --no-headers \
                    -o custom-columns=K:.kind,IN:.metadata.namespace,N:.metadata.name,V:.metadata.resourceVersion";
    let stored = site.shell.run(versions).await;
    site.shell.run(&install.replace("helm install", "helm upgrade --install")).await;
    assert_eq!(site.shell.run(versions).await, stored);

    // Another version and a second replica: the definition first, then the chart. Each pod that comes is a new process.
    site.shell.write("values.yaml", "image: {registry: registry.example.com, tag: v0.1.1}\nreplicas: 2\n");
    let definition = "kubectl apply --server-side --force-conflicts -f deploy/chart/imageset-controller/crds";
    site.shell.run(documented(definition)).await;
    let upgrade = "helm upgrade imageset-controller deploy/chart/imageset-controller --namespace imageset-controller \
                   --values values.yaml";
    site.shell.run(documented(upgrade)).await;
    site.rolled_out().await;
    assert_eq!(site.image().await, IMAGE.replace("v0.1.0", "v0.1.1"));
    let budget = site.shell.json("kubectl -n imageset-controller get poddisruptionbudgets -o json").await;
    assert_eq!(budget["items"].as_array().unwrap().len(), 1, "{budget}");
    let mut second = site.replaced(first, "second").await;

    // Away: the sets, the definition, the policy, and the namespace with the records stay; nothing that could act does. The
    // policy was not deleted, so that its gate goes on to guard upgrades.
    site.shell.run(documented("helm uninstall imageset-controller --namespace imageset-controller")).await;
    assert_eq!(second.terminate().await.unwrap(), 0);
    let records = site.records().await;
    assert_eq!(records.len(), SETS.len(), "{records:?}");
    let stays = of_names(&[
        "ImageSetPolicy <none> default",
        "ValidatingAdmissionPolicy <none> imageset-controller-gate",
        "ValidatingAdmissionPolicyBinding <none> imageset-controller-gate",
    ]);
    let mut left: BTreeSet<String> = before.union(&stays).cloned().collect();
    left.extend(of_names(&SETS));
    left.extend(of_names(&NAMESPACE));
    left.extend(records);
    site.until_left(&left).await;

    // Back: the records answer, no registry is asked, and no set is written.
    site.shell.run(install).await;
    site.rolled_out().await;
    let third = site.comes_back("third").await;
    site.finish(&[&third]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_one_file_and_then_by_helm() {
    let site = Site::start("one-file").await;
    let before = site.owned().await;
    let apply = documented(
        "sed 's|image: imageset-controller:|image: registry.example.com/imageset-controller:|' deploy/install.yaml | \
         kubectl apply --server-side -f -",
    );
    site.shell.run(apply).await;
    site.rolled_out().await;
    assert_eq!(site.image().await, IMAGE);
    let first = site.works().await;
    // The same again: no field of a stored object is another one.
    let repeated = site.shell.run(apply).await;
    assert!(repeated.lines().count() > 15, "{repeated}");

    // Helm takes over what is there, and the pods stay.
    let pods = "kubectl -n imageset-controller get pods -o name";
    let running = site.shell.run(pods).await;
    let take_over = documented(
        "helm install imageset-controller deploy/chart/imageset-controller --namespace imageset-controller \
         --take-ownership --force-conflicts --set image.registry=registry.example.com",
    );
    site.shell.run(take_over).await;
    site.rolled_out().await;
    assert_eq!(site.shell.run(pods).await, running);
    let upgrade = "helm upgrade imageset-controller deploy/chart/imageset-controller --namespace imageset-controller \
                   --force-conflicts --set image.registry=registry.example.com --set replicas=2";
    site.shell.run(upgrade).await;
    site.rolled_out().await;
    let mut second = site.replaced(first, "second").await;

    // With the policy as a value it goes by the uninstall, and its gate with it, although nobody is left who could take that away.
    let policy = site.shell.json("kubectl get imagesetpolicy default -o jsonpath='{.spec}'").await;
    site.shell.write(
        "values.yaml",
        &json!({ "image": { "registry": "registry.example.com" }, "policy": policy }).to_string(),
    );
    let adopt = "helm upgrade imageset-controller deploy/chart/imageset-controller --namespace imageset-controller \
                 --take-ownership --force-conflicts --values values.yaml";
    site.shell.run(adopt).await;
    site.world.until_quiet().await;
    second.kill();
    site.shell.run("helm uninstall imageset-controller --namespace imageset-controller").await;
    let left = site.records().await;
    let left = before.into_iter().chain(of_names(&SETS)).chain(of_names(&NAMESPACE)).chain(left).collect();
    site.until_left(&left).await;
    site.finish(&[&second]).await;
}
