//! Publishes events on the policy and on the objects that they are about.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ListParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, Resource, TypeMeta};
use kube::{Client, ResourceExt};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};

use crate::api::ImageSetPolicy;
use crate::cluster::FIELD_MANAGER;
use crate::model::{Kind, ObjectRef, event, foreign_text};

/// Longest note of an event, in bytes (Kubernetes API: 1 KiB).
const LONGEST_NOTE: usize = 1000;
/// For all events of a reconcile.
const DEADLINE: Duration = Duration::from_secs(30);

/// The plural of a kind on whose objects events are published.
const fn plural(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::ImageSet => Some("imagesets"),
        Kind::Installation => Some("installations"),
        Kind::TigeraStatus => Some("tigerastatuses"),
        Kind::DaemonSet => Some("daemonsets"),
        Kind::Deployment => Some("deployments"),
        _ => None,
    }
}

/// Publishes events on the policy and on the objects that they are about.
pub(super) struct EventPublisher {
    client: Client,
    recorder: Recorder,
}

impl EventPublisher {
    pub fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance };
        Self { recorder: Recorder::new(client.clone(), reporter), client }
    }

    /// Publishes these events; one that fails is logged.
    pub async fn publish_all(&self, policy: &ImageSetPolicy, events: &[event::Event]) {
        let events = join_all(events.iter().map(|event| self.publish(policy, event)));
        if tokio::time::timeout(DEADLINE, events).await.is_err() {
            tracing::warn!("not all events could be published within {} s", DEADLINE.as_secs());
        }
    }

    async fn publish(&self, policy: &ImageSetPolicy, event: &event::Event) {
        let mut objects = Vec::new();
        for (object, note) in &event.about {
            objects.extend(self.reference(object).await.map(|reference| (reference, note)));
        }
        let related = objects.first().map(|(reference, _)| reference.clone());
        let mut published = Event {
            type_: if event.warning { EventType::Warning } else { EventType::Normal },
            reason: event.reason.to_string(),
            note: Some(note(&event.note)),
            action: event.action.to_owned(),
            secondary: related,
        };
        self.publish_on(&policy.object_ref(&()), &published).await;
        published.secondary = None;
        for (object, text) in objects {
            published.note = Some(note(text));
            self.publish_on(&object, &published).await;
        }
    }

    async fn publish_on(&self, object: &ObjectReference, event: &Event) {
        if let Err(error) = self.recorder.publish(event, object).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be published");
        }
    }

    /// Finds an object that an event is about, if it exists. By listing, a right that a reconcile requires anyway.
    async fn reference(&self, object: &ObjectRef) -> Option<ObjectReference> {
        let kind = object.kind();
        let types = TypeMeta { api_version: kind.api_version()?.to_owned(), kind: kind.to_string() };
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::try_from(&types).ok()?, plural(kind)?);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let only = ListParams::default().fields(&format!("metadata.name={}", object.name())).limit(1);
        let found = api.list_metadata(&only).await.ok()?.items.pop()?;
        Some(ObjectReference {
            api_version: Some(resource.api_version),
            uid: found.uid(),
            kind: Some(types.kind),
            namespace: object.namespace().map(str::to_owned),
            name: Some(object.name().to_owned()),
            ..ObjectReference::default()
        })
    }
}

fn note(text: &str) -> String {
    foreign_text::line(text, LONGEST_NOTE)
}
