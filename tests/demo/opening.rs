//! The first chapters: a cluster that pulls from a registry of its own, a policy in mode Observe, and one in mode Apply.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Story;
use crate::cluster::{Cluster, PULL_SECRET, SOON};
use crate::narrator::{Narrator, seconds};
use crate::testbox::operator_double::{Options, What};
use crate::testbox::recorder::Watched;
use crate::testbox::{Access, Kind, Mirror, Registry};

/// How long an operator pod takes to start, as an image pull and a leader election do (rather little).
pub const POD_START: Duration = Duration::from_secs(2);
const PASSWORD: &str = "demo-password";
const RELEASES: [(&str, &str); 3] = [("v1.40.15", "v3.31.7"), ("v1.42.4", "v3.32.1"), ("v1.43.0", "v3.32.0")];

/// How the double plays its parts here.
pub fn options() -> Options {
    Options { pod_start: POD_START, poll: Duration::from_millis(25), ..Options::default() }
}

/// Chapter 1.
pub async fn a_cluster(narrator: &mut Narrator) -> Result<(Mirror, Cluster)> {
    narrator.chapter("A cluster that pulls Calico from its own registry");
    narrator.narrate(
        "A control plane, and a registry that asks for a password and holds the images of three Calico releases under \
         mirror/calico. Operator v1.40.15 installs Calico from there, by tag.",
    );
    let started = Instant::now();
    let kind = Kind::Htpasswd { user: "puller".to_owned(), password: PASSWORD.to_owned() };
    let registry = narrator.wait("starting the registry", Registry::start(kind)).await?;
    let registry_took = started.elapsed();
    let mut mirror = Mirror::new(registry, "mirror/calico");

    let started = Instant::now();
    let starting = Cluster::start("demo", &mirror, options());
    let cluster = narrator.wait("starting etcd and kube-apiserver", starting).await?;
    let cluster_took = started.elapsed();

    let started = Instant::now();
    let mut images = 0;
    for (operator, _) in RELEASES {
        images += narrator.wait("pushing images", mirror.push_release(operator)).await?;
    }
    let pushing_took = started.elapsed();

    let installing = async {
        cluster.operator(&mirror.operator_image("v1.40.15")).await?;
        cluster.install_calico(&mirror).await?;
        cluster.double.wait_for("Calico to run by tag", SOON, |what| *what == What::UsesTags).await?;
        cluster.all_available().await
    };
    narrator.wait("installing Calico by tag", installing).await?;

    narrator.typed("kubectl apply -f tigera-operator.yaml -f installation.yaml");
    narrator.shows(&format!(
        "registry: {}/, imagePath: mirror/calico      (both together are …/ below)\nimagePullSecrets: [{{name: {PULL_SECRET}}}]",
        mirror.registry.host()
    ));
    let version = cluster.client.apiserver_version().await?.git_version;
    let (node, release) = ("mirror/calico/node", RELEASES[0].1);
    let stranger = Access::new(&mirror.registry.host(), None, None)?;
    let seen = (
        stranger.manifest(node, release).await?.status.as_u16(),
        mirror.registry.access()?.manifest(node, release).await?.status.as_u16(),
    );
    let promise = format!(
        "etcd and kube-apiserver {version} up in {}, the registry in {}; it holds {images} images (pushed in {}) and \
         answers 401 to strangers",
        seconds(cluster_took),
        seconds(registry_took),
        seconds(pushing_took)
    );
    narrator.check_equal(&promise, &(401, 200), &seen)?;
    let workloads = cluster.workloads().await?;
    let tags = workloads.iter().flat_map(|(_, _, images)| images).filter(|image| image.ends_with(":v3.31.7")).count();
    let images: usize = workloads.iter().map(|(_, _, images)| images.len()).sum();
    let promise =
        format!("{} workloads are Available, with {tags} containers by tag; there is no ImageSet", workloads.len());
    let seen = (tags, cluster.sets().await?);
    narrator.check_equal(&promise, &(images, BTreeMap::new()), &seen)?;
    Ok((mirror, cluster))
}

/// Chapter 2.
pub async fn observe(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, binary, .. } = story;
    narrator.chapter("Observe: what would happen");
    narrator.narrate("The controller runs with the rights of deploy/base and nothing more. Its policy only looks.");
    narrator.typed("kubectl apply -k deploy/base      # its pod is a process on this machine here");
    narrator.wait("starting the controller", cluster.start_controller(binary)).await?;
    narrator.typed("kubectl apply -f policy.yaml");
    narrator.shows(&format!(
        "spec: {{mode: Observe, registries: [{{host: '{}', plainHttp: true}}]}}",
        mirror.registry.host()
    ));
    mirror.registry.forget_requests()?;
    let created = cluster.policy(mirror, json!({ "mode": "Observe" })).await?;
    narrator.wait("waiting for the plan", cluster.condition("Ready", "True", "PlanComputed")).await?;
    let planned = cluster
        .revision("the plan in the policy's status", |one| {
            let conditions = one.object.data["status"]["conditions"].as_array();
            one.watched == Watched::Policy
                && conditions.into_iter().flatten().any(|one| one["reason"] == "PlanComputed")
        })
        .await?;
    let requests = mirror.registry.requests()?.len();
    let plan = planned.object.data["status"]["plan"].clone();
    narrator.typed("kubectl get imagesetpolicy default -o yaml      # status.plan");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let output = |change: &Value| {
        format!("{} {}: {}", text(&change["action"]), text(&change["imageSet"]), text(&change["message"]))
    };
    let join = |list: &Value, output: &dyn Fn(&Value) -> String| {
        list.as_array().into_iter().flatten().map(output).collect::<Vec<_>>().join(", ")
    };
    narrator.fields(&[("changes:", &join(&plan["changes"], &output)), ("rollouts:", &join(&plan["rollouts"], &text))]);

    let promise = format!(
        "the plan was there {} after the policy: {requests} requests to the registry for 18 images",
        seconds(planned.at.duration_since(created.at))
    );
    let created_set = json!([{ "action": "Create", "imageSet": "calico-v3.31.7" }]);
    let mut changes = plan["changes"].clone();
    for change in changes.as_array_mut().into_iter().flatten() {
        if let Some(change) = change.as_object_mut() {
            change.remove("message");
        }
    }
    narrator.check_equal(&promise, &created_set, &changes)?;
    let wrote = written_by_us(cluster);
    let only_status = BTreeSet::from(["ImageSetPolicy".to_owned()]);
    narrator.check_equal(
        "no ImageSet and no record was written; only the policy (and our Lease, which is not watched)",
        &only_status,
        &wrote,
    )
}

/// The kinds that the controller has written so far.
fn written_by_us(cluster: &Cluster) -> BTreeSet<String> {
    let writes = cluster.recorder.writes().into_iter();
    let automated = writes.filter(|write| {
        write.manager.as_deref().is_some_and(|manager| manager.starts_with("imageset-controller"))
            || matches!(write.kind.as_str(), "ImageSet" | "ConfigMap")
    });
    automated.map(|write| write.kind).collect()
}

/// Chapter 3.
pub async fn apply(story: &mut Story) -> Result<()> {
    let Story { narrator, mirror, cluster, .. } = story;
    narrator.chapter("Apply: the cluster goes by digest");
    narrator.narrate(
        "The same policy may act. The operator adopts the set: it selects it, puts its digests into every template, \
         and rolls the workloads once.",
    );
    narrator.typed(r#"kubectl patch imagesetpolicy default --type merge -p '{"spec":{"mode":"Apply"}}'"#);
    let plan = cluster.get_policy().await?.data["status"]["plan"]["rollouts"].clone();
    let events = cluster.double.events().len();
    let changed = cluster.policy(mirror, json!({ "mode": "Apply" })).await?;
    let storing = cluster.set_created_after("calico-v3.31.7", changed.resource_version);
    let stored = narrator.wait("waiting for the set", storing).await?;
    narrator.wait("waiting for the operator", cluster.double.wait_adopted("calico-v3.31.7", SOON)).await?;
    narrator.wait("waiting for the status", cluster.condition("Adopted", "True", "AdoptionComplete")).await?;

    narrator.typed("kubectl get imagesetpolicy");
    narrator.table(&cluster.table("/apis/imageset-controller.io/v1alpha1/imagesetpolicies").await?);
    narrator.typed("kubectl -n calico-system get daemonset calico-node -o yaml      # the image");
    let workloads = cluster.workloads().await?;
    let node = workloads.iter().find(|(title, _, _)| title.ends_with("/calico-node")).context("no calico-node")?;
    let image = node.2.last().context("calico-node has no image")?;
    let (repository, digest) = image.rsplit_once('@').with_context(|| format!("{image} has no digest"))?;
    let short: String = digest.chars().take(19).collect();
    narrator.shows(&format!("image: …/{}@{short}…", repository.rsplit('/').next().unwrap_or_default()));

    let wanted = mirror.wanted("v1.40.15")?;
    let promise = format!(
        "calico-v3.31.7 stored {} after the change: {} images, each digest as pushed",
        seconds(stored.at.duration_since(changed.at)),
        wanted.len()
    );
    narrator.check_equal(&promise, &wanted, &cluster.entries("calico-v3.31.7").await?)?;
    let adopted = moment(cluster, events, |what| matches!(what, What::Adopted { .. }))?;
    let by_tag: Vec<&String> =
        workloads.iter().flat_map(|(_, _, images)| images).filter(|image| !image.contains("@sha256:")).collect();
    let promise = format!(
        "adopted {} after the change: all {} workloads by digest, rolled out",
        seconds(adopted.duration_since(changed.at)),
        workloads.len()
    );
    narrator.check(by_tag.is_empty(), &promise, "no container by tag", &by_tag)?;
    let rendered = cluster.double.events().into_iter().skip(events).filter_map(|seen| match seen.what {
        What::Rendered { workload } => Some(workload),
        _ => None,
    });
    let planned = plan.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned));
    let (planned, rendered): (BTreeSet<String>, BTreeSet<String>) = (planned.collect(), rendered.collect());
    narrator.check_equal("the workloads that rolled are the ones that the plan had named", &planned, &rendered)?;
    never_degraded(narrator, cluster, "no TigeraStatus was ever Degraded", 0)
}

/// When the double saw this for the first time, from the event with this number on.
fn moment(cluster: &Cluster, from: usize, matches: impl Fn(&What) -> bool) -> Result<Instant> {
    let events = cluster.double.events();
    let found = events.iter().skip(from).find(|seen| matches(&seen.what));
    found.map(|seen| seen.at).context("the operator's double has not seen what was waited for")
}

/// There were as many spans of Degraded as before, and none that is open.
pub fn never_degraded(narrator: &mut Narrator, cluster: &Cluster, promise: &str, before: usize) -> Result<()> {
    let spans = cluster.double.degraded_moments();
    narrator.check(spans.len() == before, promise, "no Degraded condition", &spans.get(before..))
}
