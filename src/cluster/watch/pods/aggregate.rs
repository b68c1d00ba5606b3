//! Pods aggregated by what they report about images: one entry for all that report the same. What is kept of a pod is a hash of
//! its name and a pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kube::ResourceExt;
use kube_runtime::watcher::Event;

use super::partial_pod::PartialPod;
use crate::model::{
    Digest, FailingImage, ObjectRef, PodImages, PodSummary, PullFailureKind, Read, ReadFailure, RunningImage,
};
use crate::rules::explain::kubelet_messages::normalize;

/// What a pod reports, without messages.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    workload: ObjectRef,
    running: Vec<(String, Option<Digest>)>,
    /// Without a kind where the kubelet reports no cause.
    failing: Vec<(String, Option<PullFailureKind>)>,
}

/// Most bytes of shapes that are kept of one listing. Calico's own workloads take a hundredth of it; anybody with the right to
/// create pods there could create as many shapes as pods.
const MOST_BYTES: usize = 1 << 20;
/// Most messages that are kept before those that no pod has any more are forgotten.
const MOST_MESSAGES: usize = 2048;

impl Shape {
    /// Returns its approximate size.
    fn bytes(&self) -> usize {
        let images = self.running.iter().map(|(image, _)| image).chain(self.failing.iter().map(|(image, _)| image));
        128 + self.workload.name().len() + images.map(|image| 64 + image.len()).sum::<usize>()
    }
}

/// Pods of one listing. Each shape is there once, for as long as a pod has it.
#[derive(Default)]
struct Pods {
    by_name: BTreeMap<u64, Arc<Shape>>,
    shapes: BTreeMap<Arc<Shape>, u32>,
    /// Of all shapes, about.
    bytes: usize,
}

impl Pods {
    /// Whether there is another set of shapes now. A pod of one shape too many is as if it were not there.
    fn insert(&mut self, name: u64, shape: Shape) -> bool {
        let known = self.shapes.get_key_value(&shape).map(|(known, _)| known.clone());
        let is_new = known.is_none();
        if is_new && self.bytes + shape.bytes() > MOST_BYTES {
            return self.remove(name);
        }
        if is_new {
            self.bytes += shape.bytes();
        }
        let shape = known.unwrap_or_else(|| Arc::new(shape));
        *self.shapes.entry(shape.clone()).or_default() += 1;
        let before = self.by_name.insert(name, shape);
        let was_last = before.is_some_and(|before| self.forget(&before));
        is_new || was_last
    }

    fn remove(&mut self, name: u64) -> bool {
        let before = self.by_name.remove(&name);
        before.is_some_and(|before| self.forget(&before))
    }

    /// One pod less of this shape; whether it was the last.
    fn forget(&mut self, shape: &Arc<Shape>) -> bool {
        let Some(count) = self.shapes.get_mut(shape) else { return false };
        *count -= 1;
        let was_last = *count == 0;
        if was_last {
            self.shapes.remove(shape);
            self.bytes = self.bytes.saturating_sub(shape.bytes());
        }
        was_last
    }
}

/// The pods of one namespace.
struct Namespace {
    pods: Pods,
    /// A listing that is under way.
    listing: Option<Pods>,
    state: Read<()>,
}

/// Workload, image and why.
type Failure = (ObjectRef, String, Option<PullFailureKind>);

/// The aggregated pods of all namespaces.
pub struct Aggregate {
    namespaces: BTreeMap<&'static str, Namespace>,
    /// The message of the first pod with each failure.
    messages: BTreeMap<Failure, String>,
    /// The last reported summary, without numbers of pods.
    reported: Read<PodSummary>,
}

/// What reading the pods of a namespace is called in findings.
pub(super) fn what(namespace: &str) -> String {
    format!("list pods in {namespace}")
}

impl Aggregate {
    pub fn new(namespaces: &[&'static str]) -> Self {
        let not_yet = |namespace: &str| {
            let message = "not listed yet".to_owned();
            Read::Failed(ReadFailure { what: what(namespace), forbidden: false, message })
        };
        let start =
            |name: &&'static str| (*name, Namespace { pods: Pods::default(), listing: None, state: not_yet(name) });
        let mut aggregate = Self {
            namespaces: namespaces.iter().map(start).collect(),
            messages: BTreeMap::new(),
            reported: Read::default(),
        };
        aggregate.reported = aggregate.summary(|_| 0);
        aggregate
    }

    /// What is known, with counts.
    pub fn read(&self) -> Read<PodSummary> {
        self.summary(|pods| pods)
    }

    /// Takes an event of a namespace. Returns whether the summary has changed, numbers of pods apart.
    pub fn event(&mut self, name: &'static str, event: Event<PartialPod>) -> bool {
        let Some(namespace) = self.namespaces.get_mut(name) else { return false };
        let changed = match event {
            Event::Init => {
                namespace.listing = Some(Pods::default());
                false
            }
            Event::InitApply(pod) => {
                let shape = shape(pod.images(), namespace.pods.by_name.get(&hash(&pod)), &mut self.messages);
                if let Some(listing) = &mut namespace.listing {
                    listing.insert(hash(&pod), shape);
                }
                false
            }
            Event::InitDone => {
                namespace.pods = namespace.listing.take().unwrap_or_default();
                namespace.state = Read::Known(());
                true
            }
            Event::Apply(pod) => {
                let shape = shape(pod.images(), namespace.pods.by_name.get(&hash(&pod)), &mut self.messages);
                namespace.pods.insert(hash(&pod), shape)
            }
            Event::Delete(pod) => namespace.pods.remove(hash(&pod)),
        };
        if self.messages.len() > MOST_MESSAGES {
            self.forget_messages();
        }
        changed && self.is_news()
    }

    /// Records that a namespace could not be listed. One that was listed before keeps its content: it is listed again.
    pub fn failure(&mut self, name: &'static str, failure: ReadFailure) -> bool {
        let Some(namespace) = self.namespaces.get_mut(name) else { return false };
        if matches!(namespace.state, Read::Known(())) {
            return false;
        }
        namespace.state = Read::Failed(failure);
        self.is_news()
    }

    /// Drops messages of pods that are gone.
    fn forget_messages(&mut self) {
        let of_shape = |shape: &Arc<Shape>| {
            let failing = shape.failing.iter().map(|(image, kind)| (shape.workload.clone(), image.clone(), *kind));
            failing.collect::<Vec<_>>()
        };
        let listings = self.namespaces.values().flat_map(|one| [Some(&one.pods), one.listing.as_ref()]).flatten();
        let held: BTreeSet<Failure> = listings.flat_map(|pods| pods.shapes.keys()).flat_map(of_shape).collect();
        self.messages.retain(|failure, _| held.contains(failure));
    }

    fn is_news(&mut self) -> bool {
        self.forget_messages();
        let summary = self.summary(|_| 0);
        let is_news = summary != self.reported;
        self.reported = summary;
        is_news
    }

    fn summary(&self, count: impl Fn(u32) -> u32) -> Read<PodSummary> {
        // Only one is reported: a missing right before what may only take time.
        let failures = self.namespaces.values().filter_map(|one| one.state.failure());
        if let Some(failure) = failures.min_by_key(|failure| !failure.forbidden) {
            return Read::Failed(failure.clone());
        }
        let mut running: BTreeMap<(&ObjectRef, &str, Option<Digest>), u32> = BTreeMap::new();
        let mut failing: BTreeMap<(&ObjectRef, &str, Option<PullFailureKind>), u32> = BTreeMap::new();
        for (shape, pods) in self.namespaces.values().flat_map(|one| &one.pods.shapes) {
            for (image, digest) in &shape.running {
                *running.entry((&shape.workload, image, *digest)).or_default() += count(*pods);
            }
            for (image, kind) in &shape.failing {
                *failing.entry((&shape.workload, image, *kind)).or_default() += count(*pods);
            }
        }
        let running = running.into_iter().map(|((workload, image, digest), pods)| RunningImage {
            workload: workload.clone(),
            image: image.to_owned(),
            digest,
            pods,
        });
        Read::Known(PodSummary { running: running.collect(), failing: self.failing(failing) })
    }

    /// Counts pods that wait without a cause with those of the same image that report one, if there are any.
    fn failing(&self, mut failing: BTreeMap<(&ObjectRef, &str, Option<PullFailureKind>), u32>) -> Vec<FailingImage> {
        let without_cause: Vec<_> = failing.keys().filter(|key| key.2.is_none()).copied().collect();
        for (workload, image, _) in without_cause {
            let of_it = |key: &&(&ObjectRef, &str, Option<PullFailureKind>)| {
                key.0 == workload && key.1 == image && key.2.is_some()
            };
            let Some(one) = failing.keys().find(of_it).copied() else { continue };
            let pods = failing.remove(&(workload, image, None)).unwrap_or_default();
            *failing.entry(one).or_default() += pods;
        }
        let reported = failing.into_iter().map(|((workload, image, kind), pods)| FailingImage {
            workload: workload.clone(),
            image: image.to_owned(),
            kind: kind.unwrap_or(PullFailureKind::Other),
            pods,
            message: self.messages.get(&(workload.clone(), image.to_owned(), kind)).cloned().unwrap_or_default(),
        });
        reported.collect()
    }
}

/// Returns the shape of a pod. A cause that it does not report now is the one that it reported before.
fn shape(images: PodImages, before: Option<&Arc<Shape>>, messages: &mut BTreeMap<Failure, String>) -> Shape {
    let PodImages { workload, running, failing } = images;
    let mut known: Vec<(String, Option<PullFailureKind>)> = Vec::new();
    for one in failing {
        let earlier = || before?.failing.iter().find(|(image, _)| *image == one.image)?.1;
        let kind = one.kind.or_else(earlier);
        messages.entry((workload.clone(), one.image.clone(), kind)).or_insert_with(|| normalize(&one.message));
        known.push((one.image, kind));
    }
    known.sort();
    known.dedup();
    Shape { workload, running, failing: known }
}

fn hash(pod: &PartialPod) -> u64 {
    let mut hasher = DefaultHasher::new();
    (pod.namespace(), pod.name_any()).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const NAMESPACE: &str = "calico-system";
    const IMAGE: &str = "quay.io/calico/node@sha256:e684c5ccef0e2de6e758e01576ae3eb2add65aa7b63e916c5e475c09c4db3c94";
    const NOT_FOUND: &str = "rpc error: code = NotFound desc = failed to pull and unpack image \"quay.io/calico/node\": \
                             failed to resolve reference \"quay.io/calico/node\": quay.io/calico/node: not found";

    fn pod(name: &str, state: &Value, image_id: &str) -> PartialPod {
        let owner = json!({ "kind": "DaemonSet", "name": "calico-node", "controller": true });
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": NAMESPACE, "ownerReferences": [owner] },
            "spec": { "containers": [{ "name": "node", "image": IMAGE }] },
            "status": { "containerStatuses": [{ "name": "node", "imageID": image_id, "state": state }] },
        }))
        .unwrap()
    }

    fn runs(name: &str) -> PartialPod {
        pod(name, &json!({ "running": {} }), IMAGE)
    }

    fn waits(name: &str, reason: &str, message: &str) -> PartialPod {
        pod(name, &json!({ "waiting": { "reason": reason, "message": message } }), "")
    }

    fn backs_off(name: &str) -> PartialPod {
        waits(name, "ImagePullBackOff", "Back-off pulling image \"quay.io/calico/node\"")
    }

    fn listed(pods: impl IntoIterator<Item = PartialPod>) -> Aggregate {
        let mut aggregate = Aggregate::new(&[NAMESPACE]);
        assert!(!aggregate.event(NAMESPACE, Event::Init));
        for pod in pods {
            assert!(!aggregate.event(NAMESPACE, Event::InitApply(pod)));
        }
        assert!(aggregate.event(NAMESPACE, Event::InitDone));
        aggregate
    }

    fn summary(aggregate: &Aggregate) -> PodSummary {
        aggregate.read().known().unwrap().clone()
    }

    #[test]
    fn nothing_is_kept_of_pods_but_what_differs() {
        let mut aggregate = listed((0..1000).map(|number| runs(&number.to_string())));
        assert_eq!(summary(&aggregate).running.iter().map(|one| one.pods).collect::<Vec<_>>(), [1000]);
        assert_eq!(aggregate.namespaces[NAMESPACE].pods.shapes.len(), 1);
        // Counts are no news; the first that fails and the last that runs are.
        assert!(!aggregate.event(NAMESPACE, Event::Delete(runs("0"))));
        assert!(aggregate.event(NAMESPACE, Event::Apply(waits("1", "ErrImagePull", NOT_FOUND))));
        for number in 2..999 {
            assert!(!aggregate.event(NAMESPACE, Event::Apply(waits(&number.to_string(), "ErrImagePull", NOT_FOUND))));
        }
        assert!(aggregate.event(NAMESPACE, Event::Apply(waits("999", "ErrImagePull", NOT_FOUND))));
        assert_eq!(summary(&aggregate).failing.iter().map(|one| one.pods).collect::<Vec<_>>(), [999]);
        for number in 1..1000 {
            assert_eq!(aggregate.event(NAMESPACE, Event::Delete(runs(&number.to_string()))), number == 999);
        }
        let namespace = &aggregate.namespaces[NAMESPACE];
        assert!(namespace.pods.shapes.is_empty() && namespace.pods.by_name.is_empty() && aggregate.messages.is_empty());
    }

    /// Whoever may make pods in a namespace of the operator's can make each different from all others.
    #[test]
    fn what_differs_is_bounded_and_who_was_first_stays() {
        let of = |name: &str| {
            let state = json!({ "waiting": { "reason": "ErrImagePull", "message": name } });
            let containers = (0..10).map(|container| {
                let container = container.to_string();
                let image = format!("quay.io/{name}/{container}/{}", "x".repeat(900));
                let spec = json!({ "name": container, "image": image });
                (spec, json!({ "name": container, "imageID": "", "state": state }))
            });
            let (specs, statuses): (Vec<Value>, Vec<Value>) = containers.unzip();
            let owner = json!({ "kind": "Job", "name": name, "controller": true });
            let pod = json!({
                "metadata": { "name": name, "namespace": NAMESPACE, "ownerReferences": [owner] },
                "spec": { "containers": specs }, "status": { "containerStatuses": statuses },
            });
            serde_json::from_value::<PartialPod>(pod).unwrap()
        };
        let mut aggregate = listed([runs("calico-node")]);
        for number in 0..200 {
            aggregate.event(NAMESPACE, Event::Apply(of(&number.to_string())));
        }
        let pods = &aggregate.namespaces[NAMESPACE].pods;
        assert!(
            pods.bytes <= MOST_BYTES && (50..150).contains(&pods.shapes.len()),
            "{} {}",
            pods.bytes,
            pods.shapes.len()
        );
        assert!(pods.by_name.len() == pods.shapes.len() && aggregate.messages.len() <= MOST_MESSAGES + 1);
        assert_eq!(summary(&aggregate).running.len(), 1);
        // There is room again when they go.
        for number in 0..200 {
            aggregate.event(NAMESPACE, Event::Delete(of(&number.to_string())));
        }
        let pods = &aggregate.namespaces[NAMESPACE].pods;
        assert_eq!((pods.shapes.len(), aggregate.messages.len()), (1, 0));
        let bytes = pods.bytes;
        aggregate.event(NAMESPACE, Event::Delete(runs("calico-node")));
        assert_eq!((aggregate.namespaces[NAMESPACE].pods.bytes, bytes > 0), (0, true));
    }

    #[test]
    fn a_kubelet_that_only_reports_waiting_changes_nothing() {
        let mut aggregate = listed([waits("a", "ErrImagePull", NOT_FOUND)]);
        let before = summary(&aggregate);
        assert_eq!(before.failing[0].kind, PullFailureKind::NotFound);
        assert_eq!(before.failing[0].message, "quay.io/calico/node: not found");
        for _ in 0..3 {
            assert!(!aggregate.event(NAMESPACE, Event::Apply(backs_off("a"))));
            assert_eq!(summary(&aggregate), before);
            assert!(!aggregate.event(NAMESPACE, Event::Apply(waits("a", "ErrImagePull", NOT_FOUND))));
        }
        // Also over a listing, and for another pod of which nobody knows more.
        assert!(!aggregate.event(NAMESPACE, Event::Init));
        assert!(!aggregate.event(NAMESPACE, Event::InitApply(backs_off("a"))));
        assert!(!aggregate.event(NAMESPACE, Event::InitApply(backs_off("b"))));
        assert!(!aggregate.event(NAMESPACE, Event::InitDone));
        assert_eq!((summary(&aggregate).failing.len(), summary(&aggregate).failing[0].pods), (1, 2));
        assert_eq!(summary(&aggregate).failing[0].message, before.failing[0].message);
    }

    #[test]
    fn a_failure_without_a_cause_is_reported_with_its_own_message() {
        let mut aggregate = listed([backs_off("a")]);
        assert_eq!(summary(&aggregate).failing[0].kind, PullFailureKind::Other);
        assert!(aggregate.event(NAMESPACE, Event::Apply(waits("a", "ErrImagePull", NOT_FOUND))));
        assert_eq!(summary(&aggregate).failing[0].kind, PullFailureKind::NotFound);
    }

    #[test]
    fn a_failed_list_is_reported_until_the_first_response() {
        let mut aggregate = Aggregate::new(&[NAMESPACE, "calico-apiserver"]);
        let denied = || ReadFailure { what: what(NAMESPACE), forbidden: true, message: "no".to_owned() };
        assert!(aggregate.failure(NAMESPACE, denied()));
        assert!(!aggregate.failure(NAMESPACE, denied()));
        assert_eq!(aggregate.read().failure(), Some(&denied()));
        assert!(!aggregate.event("calico-apiserver", Event::InitDone));
        assert_eq!(aggregate.read().failure(), Some(&denied()));
        assert!(aggregate.event(NAMESPACE, Event::InitDone));
        assert!(!aggregate.failure(NAMESPACE, denied()));
        assert_eq!(aggregate.read(), Read::Known(PodSummary::default()));
    }
}
