//! Newer operator releases are found among the tags of the operator image's own repository, and staged ahead, each for
//! itself: what is not pushed yet, or not known, holds nothing up but itself.

use futures::stream::{StreamExt as _, TryStreamExt as _};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::testbox::{Image, images};
use crate::world::{Scenery, World, eventually};

/// More tags than any registry gives in one answer. They come before those of releases in the order of the alphabet.
const BUILDS: usize = 1050;

impl World {
    /// Puts tags of one image into the operator's repository; their names are all that matters.
    async fn operator_tags(&self, tags: Vec<String>) {
        let (repository, image) =
            (self.mirror.repository("tigera/operator"), Image::of_reference("a/build:x").unwrap());
        let access = self.mirror.registry.access().unwrap();
        images::push(&access, &repository, "build", &image).await.unwrap();
        let (access, repository, image) = (&access, repository.as_str(), &image);
        let pushes = tags.into_iter().map(|tag| async move {
            access.push_manifest(repository, &tag, image.media_type(), &image.content()).await
        });
        let pushes = futures::stream::iter(pushes.collect::<Vec<_>>()).buffer_unordered(16);
        pushes.try_collect::<Vec<_>>().await.unwrap();
    }

    /// Version, state and whether it was discovered, of each entry of `status.prepared`.
    async fn prepared_versions(&self) -> Vec<(String, String, bool)> {
        let prepared = self.status().await["prepared"].as_array().cloned().unwrap_or_default();
        let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
        let one = |one: &Value| (text(one, "operatorVersion"), text(one, "state"), one["discovered"] == true);
        prepared.iter().map(one).collect()
    }

    /// Until these are the versions that were discovered, in these states.
    async fn until_discovered(&self, wanted: &[(&str, &str)]) {
        let wanted: Vec<_> =
            wanted.iter().map(|(version, state)| ((*version).to_owned(), (*state).to_owned(), true)).collect();
        eventually(&format!("{wanted:?}"), async || (self.prepared_versions().await == wanted).then_some(())).await;
    }

    /// How many pages of tags the registry was asked for since its requests were forgotten.
    fn pages(&self) -> usize {
        let requests = self.mirror.registry.requests().unwrap();
        requests.iter().filter(|one| one.path.contains("/operator/tags/list")).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_releases_are_found_among_many_tags_and_staged_each_for_itself() {
    let scenery = Scenery { name: "discovery", releases: &["v1.40.15", "v1.42.4"], jobs: true, ..Scenery::default() };
    let mut world = World::start(scenery).await;
    let noise =
        ["latest", "master", "v1.43.0-rc1", "v1.99.0-alpha.1", "v1.99.0-beta1", "v1.42.4-arm64", "1.99.0", "v1.99"];
    let builds = (0..BUILDS).map(|number| format!("build-{number:04}"));
    world.operator_tags(builds.chain(noise.map(str::to_owned)).collect()).await;
    // Tagged, and nothing of its Calico pushed; and a rebuild that nobody knows.
    world.mirror.push_operator("v1.43.0").await.unwrap();
    world.mirror.push_operator("v1.42.4-1").await.unwrap();
    world.installation(json!({})).await;
    world.operator("v1.40.15").await;
    world.mirror.registry.forget_requests().unwrap();
    let discover = json!({ "discover": { "channel": "Minor", "limit": 4, "interval": "6h" } });
    world.policy(json!({ "mode": "Apply", "prepare": discover })).await;
    let mut controller = world.controller("first").await;

    // Each for itself, the rebuild after its base; the policy is Ready whatever its candidates are.
    let not_yet = [("v1.42.4", "Staged"), ("v1.42.4-1", "NeedsInspection"), ("v1.43.0", "Held")];
    world.until_discovered(&not_yet).await;
    world.until("Ready", "True", "Succeeded").await;
    let status = world.status().await;
    assert_eq!(status["discovery"]["releases"], json!(["v1.42.4", "v1.42.4-1", "v1.43.0"]));
    assert_eq!(status["discovery"]["operatorVersion"], "v1.40.15");
    let held = status["prepared"][2]["message"].as_str().unwrap_or_default().to_owned();
    assert!(held.contains("does not have") && held.contains("calico/node:v3.32.0"), "{held}");
    assert_eq!(world.pages(), 2, "{:#?}", world.mirror.registry.requests().unwrap());
    assert_eq!(world.stored("calico-v3.32.1").await.unwrap(), world.wanted("v1.42.4", false));
    assert!(world.stored("calico-v3.32.0").await.is_none(), "v1.43.0 has no images yet");
    let order: Vec<String> =
        world.writes().iter().filter(|one| one.kind == "ImageSet").map(|one| one.name.clone()).collect();
    assert_eq!(order, ["calico-v3.31.7", "calico-v3.32.1"], "the running version's set comes first");

    // Its images are pushed: requested again, without listing tags again.
    world.mirror.push_release("v1.43.0").await.unwrap();
    world.until_discovered(&[("v1.42.4", "Staged"), ("v1.42.4-1", "NeedsInspection"), ("v1.43.0", "Staged")]).await;
    assert_eq!(world.stored("calico-v3.32.0").await.unwrap(), world.wanted("v1.43.0", false));
    assert_eq!(world.pages(), 2);

    // A tag that comes later is no news before the interval is over, neither to a new life of the controller.
    world.mirror.push_operator("v1.44.0").await.unwrap();
    assert_eq!(controller.terminate().await.unwrap(), 0);
    let mut controller = world.controller("second").await;
    eventually("a pass", async || (!controller.logged("reconcile completed").is_empty()).then_some(())).await;
    world.until("Ready", "True", "Succeeded").await;
    assert_eq!((world.pages(), world.prepared_versions().await.len()), (2, 3));

    // Seven hours later.
    assert_eq!(controller.terminate().await.unwrap(), 0);
    let past = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_hours(7)).unwrap();
    let past = jiff::Timestamp::from_second(past.as_second()).unwrap().to_string();
    let aged = json!({ "status": { "discovery": { "lastCheckedTime": past } } });
    world.policies().patch_status("default", &PatchParams::default(), &Patch::Merge(aged)).await.unwrap();
    let controller = world.controller("third").await;
    let all = [
        ("v1.42.4", "Staged"),
        ("v1.42.4-1", "NeedsInspection"),
        ("v1.43.0", "Staged"),
        ("v1.44.0", "NeedsInspection"),
    ];
    world.until_discovered(&all).await;
    assert_ne!(world.status().await["discovery"]["lastCheckedTime"], json!(past));
    assert_eq!(world.pages(), 4);
    world.until("Ready", "True", "Succeeded").await;

    // Nobody runs an image that was only discovered.
    assert!(world.jobs().await.is_empty());
    for instance in ["first", "second", "third"] {
        let log = std::fs::read_to_string(world.control_plane.logs().join(format!("{instance}.log"))).unwrap();
        assert!(!log.contains("Job imageset-inspection/"), "{log}");
    }
    world.finish(&[&controller]).await;
}
