//! Watches of the objects that show features: they count by being there.

use kube::Client;
use kube::api::Api;
use kube::core::ApiResource;
use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::store::Store;
use super::tasks::{Metadata, Tasks, all, now};
use crate::api::openshift::Infrastructure;
use crate::cluster::read::features::{self, DEFINITIONS, FEATURES, Presence};
use crate::model::{Feature, Read};

/// The stores of these watches.
pub(super) struct FeatureWatches {
    /// In the order of [`FEATURES`].
    kinds: Vec<Store<()>>,
    /// Whether OpenShift runs on AWS.
    infrastructure: Store<bool>,
    /// In the order of [`DEFINITIONS`].
    definitions: [Store<()>; DEFINITIONS.len()],
}

impl FeatureWatches {
    pub fn start(tasks: &mut Tasks, client: &Client) -> Self {
        let kinds = FEATURES.iter().map(|(_, kind)| {
            let api: Api<Metadata> = Api::all_with(client.clone(), &kind.api_resource());
            tasks.watch(api, all(), |_| Some(()), now)
        });
        let kinds = kinds.collect();
        let infrastructures: Api<Infrastructure> = Api::all(client.clone());
        let infrastructure = tasks.watch(infrastructures, all(), |one| Some(one.is_aws()), now);
        let definitions = DEFINITIONS.map(|name| {
            let api: Api<Metadata> =
                Api::all_with(client.clone(), &ApiResource::erase::<CustomResourceDefinition>(&()));
            tasks.watch(api, all().fields(&format!("metadata.name={name}")), |_| Some(()), now)
        });
        Self { kinds, infrastructure, definitions }
    }

    /// Makes the stores unavailable; whether that is news of any.
    pub fn unavailable(&self) -> bool {
        let stores = self.kinds.iter().chain(&self.definitions);
        stores.fold(self.infrastructure.unavailable(), |news, store| store.unavailable() | news)
    }

    /// Returns the features; `None` where a store does not know.
    pub fn read(&self) -> Option<Read<BTreeSet<Feature>>> {
        let kinds = self.kinds.iter().map(presence).collect::<Option<Vec<_>>>()?;
        let infrastructures = self.infrastructure.list()?;
        let is_aws = infrastructures.known().is_some_and(|found| found.contains(&true));
        let [before, native] = self.definitions.each_ref().map(presence);
        let definitions = [before? == Presence::Exists, native? == Presence::Exists];
        Some(Read::Known(features::observed(&kinds, is_aws, definitions)))
    }
}

fn presence(store: &Store<()>) -> Option<Presence> {
    match store.is_kind_missing() {
        true => Some(Presence::KindMissing),
        false if !store.is_complete() => None,
        false if store.has_objects() => Some(Presence::Exists),
        false => Some(Presence::NoObject),
    }
}
