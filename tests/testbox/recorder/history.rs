//! One revision of one object, and who wrote it.

use std::fmt;
use std::time::Instant;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;

use super::super::crds::Kind;

/// The kinds that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watched {
    /// A kind of the operator's API group.
    Operator(Kind),
    /// Deployments in the operator's namespace.
    Deployment,
    /// Pods in the operator's namespace.
    Pod,
    /// Our policy.
    Policy,
    /// ConfigMaps in our namespace: the records.
    ConfigMap,
}

impl Watched {
    /// All of them. TigeraStatus is left out: nobody but the operator writes it, and often.
    pub const ALL: [Self; 12] = [
        Self::Operator(Kind::ImageSet),
        Self::Operator(Kind::Installation),
        Self::Operator(Kind::ApiServer),
        Self::Operator(Kind::Goldmane),
        Self::Operator(Kind::Whisker),
        Self::Operator(Kind::GatewayApi),
        Self::Operator(Kind::Istio),
        Self::Operator(Kind::ManagementClusterConnection),
        Self::Deployment,
        Self::Pod,
        Self::Policy,
        Self::ConfigMap,
    ];

    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Operator(kind) => return kind.resource(),
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::Pod => ("", "v1", "Pod", "pods"),
            Self::Policy => ("imageset-controller.io", "v1alpha1", "ImageSetPolicy", "imagesetpolicies"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// `ImageSet`
    pub fn kind(self) -> String {
        self.resource().kind
    }
}

/// What happened to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It is new.
    Create,
    /// It changed.
    Update,
    /// It is gone.
    Delete,
}

/// One revision of one object.
#[derive(Clone, Debug)]
pub struct Revision {
    /// The etcd revision, comparable across kinds (all are in one etcd).
    pub resource_version: u64,
    /// Which kind.
    pub watched: Watched,
    /// What happened.
    pub verb: Verb,
    /// It existed before the recorder started.
    pub initial: bool,
    /// The object after it, or for a deletion its last state.
    pub object: DynamicObject,
    /// When the recorder saw it.
    pub at: Instant,
    /// Who wrote it, according to managed fields; unknown for deletions.
    pub manager: Option<String>,
}

impl Revision {
    /// The object's name.
    pub fn name(&self) -> String {
        self.object.name_any()
    }

    pub(super) fn write(&self) -> Write {
        Write {
            kind: self.watched.kind(),
            name: self.name(),
            namespace: self.object.namespace(),
            verb: self.verb,
            resource_version: self.resource_version,
            manager: self.manager.clone(),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manager = self.manager.as_deref().unwrap_or("?");
        let (verb, kind) = (self.verb, self.watched.kind());
        write!(formatter, "rv={} {verb:?} {kind} {} by {manager}", self.resource_version, self.name())
    }
}

/// A write, for "nothing was written" assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `ImageSet`, `ConfigMap`, …
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// Its namespace, if it has one.
    pub namespace: Option<String>,
    /// What happened.
    pub verb: Verb,
    /// The etcd revision.
    pub resource_version: u64,
    /// The writer according to managed fields.
    pub manager: Option<String>,
}

/// Who wrote this state, given the one before. The times in managed fields are whole seconds, so the fields that moved
/// count first; where nothing moved, it is whoever owns the spec.
pub fn writer(before: Option<&DynamicObject>, now: &DynamicObject) -> Option<String> {
    let old = before.map(|object| object.managed_fields()).unwrap_or_default();
    let same = |a: &ManagedFieldsEntry, b: &ManagedFieldsEntry| {
        a.manager == b.manager && a.operation == b.operation && a.subresource == b.subresource
    };
    let gained = |entry: &&ManagedFieldsEntry| match old.iter().find(|old| same(old, entry)) {
        Some(old) => size(entry) > size(old) || (entry.time != old.time && size(entry) >= size(old)),
        None => true,
    };
    let newest = |entries: Vec<&ManagedFieldsEntry>| {
        entries
            .into_iter()
            .max_by_key(|entry| (entry.time.as_ref().map(|time| time.0), owns_spec(entry)))
            .and_then(|entry| entry.manager.clone())
    };
    let all = now.managed_fields();
    newest(all.iter().filter(gained).collect())
        .or_else(|| newest(all.iter().filter(|entry| owns_spec(entry)).collect()))
        .or_else(|| newest(all.iter().collect()))
}

fn size(entry: &ManagedFieldsEntry) -> usize {
    entry.fields_v1.as_ref().map_or(0, |fields| fields.0.to_string().len())
}

fn owns_spec(entry: &ManagedFieldsEntry) -> bool {
    entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
}
