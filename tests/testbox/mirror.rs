//! A registry with the images of operator releases under one `imagePath`, as a platform team mirrors them; or with what several
//! registries hold, each under its own name, as a cache in front of them does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::images::{self, Image};
use super::registry::Registry;
use super::rules::{OperatorRules, Variant, key};

/// The registry, and what was pushed into it.
#[derive(Debug)]
pub struct Mirror {
    /// The registry itself: to stop, to start again, to ask for its requests.
    pub registry: Registry,
    /// None: a cache.
    image_path: Option<String>,
    /// Digest that each default reference was pushed with.
    pushed: BTreeMap<String, String>,
    known_digests: Arc<Mutex<BTreeSet<String>>>,
    /// What stands in front of the registry for those who pull, if anything does.
    front: Option<String>,
}

impl Mirror {
    /// An empty one. `image_path` is what an Installation says: `mirror/calico`.
    pub fn new(registry: Registry, image_path: &str) -> Self {
        Self { image_path: Some(image_path.to_owned()), ..Self::cache(registry) }
    }

    /// An empty cache: `docker.io/calico/node` is kept as the repository of this name. Installations name no registry, and
    /// images of one name and tag can differ between the registries.
    pub fn cache(registry: Registry) -> Self {
        Self { registry, image_path: None, pushed: BTreeMap::new(), known_digests: Arc::default(), front: None }
    }

    /// From now on those who pull come to this host, which answers for the registry.
    pub fn stand_behind(&mut self, host: String) {
        self.front = Some(host);
    }

    /// Where those who pull come to.
    pub fn host(&self) -> String {
        self.front.clone().unwrap_or_else(|| self.registry.host())
    }

    /// Pushes all Calico images of a release, FIPS twins included, and the operator's own. Returns how many images were
    /// not there yet.
    ///
    /// # Errors
    /// No such release, or the registry refused something.
    pub async fn push_release(&mut self, version: &str) -> Result<usize> {
        self.push_release_without(version, &[]).await
    }

    /// The same without some images, given as `calico/typha`: an incomplete mirror.
    ///
    /// # Errors
    /// As [`Self::push_release`].
    pub async fn push_release_without(&mut self, version: &str, left_out: &[&str]) -> Result<usize> {
        self.push_build(&OperatorRules::for_version(version)?, left_out).await
    }

    /// The same for any build.
    ///
    /// # Errors
    /// The registry refused something.
    pub async fn push_build(&mut self, rules: &OperatorRules, left_out: &[&str]) -> Result<usize> {
        let names = rules.names_of(Variant::Calico);
        let version = rules.version;
        let references: BTreeSet<String> = names
            .iter()
            .filter(|name| !left_out.contains(&name.as_str()))
            .flat_map(|name| [false, true].map(|fips| rules.default_reference(Variant::Calico, name, fips)))
            .flatten()
            .chain([operator_reference(version)])
            .filter(|reference| !self.pushed.contains_key(reference))
            .collect();
        self.push(&references.into_iter().collect::<Vec<_>>()).await
    }

    /// Pushes an operator image of a version that nobody knows; its label says the version.
    ///
    /// # Errors
    /// The registry refused something.
    pub async fn push_operator(&mut self, version: &str) -> Result<()> {
        self.push(&[operator_reference(version)]).await.map(|_| ())
    }

    /// Pushes one image of a test's own making, which may be pinned then; returns its digest.
    ///
    /// # Errors
    /// The registry refused something.
    pub async fn push_image(&self, repository: &str, tag: &str, image: &Image) -> Result<String> {
        let digest = images::push(&self.registry.access()?, repository, tag, image).await?;
        self.known_digests.lock().unwrap_or_else(PoisonError::into_inner).insert(digest.clone());
        Ok(digest)
    }

    async fn push(&mut self, references: &[String]) -> Result<usize> {
        let access = self.registry.access()?;
        let repository_of = |reference: &str| match &self.image_path {
            Some(_) => self.repository(&key(reference)),
            None => reference.rsplit_once(':').map_or(reference, |(repository, _)| repository).to_owned(),
        };
        let pushed = images::push_release(&access, references, Some(&repository_of)).await?;
        let mut known = self.known_digests.lock().unwrap_or_else(PoisonError::into_inner);
        for reference in pushed.keys() {
            let image = Image::of_reference(reference)?;
            known.insert(image.digest());
            known.extend(image.manifests.iter().map(|manifest| manifest.digest.clone()));
        }
        drop(known);
        self.pushed.extend(pushed);
        Ok(references.len())
    }

    /// Every digest that was ever pushed, for the recorder; grows with each push.
    pub fn known_digests(&self) -> Arc<Mutex<BTreeSet<String>>> {
        self.known_digests.clone()
    }

    /// What an Installation says of this registry, without pull secrets.
    pub fn layout(&self) -> Value {
        match &self.image_path {
            Some(path) => json!({ "registry": format!("{}/", self.host()), "imagePath": path }),
            None => json!({}),
        }
    }

    /// The registries that a cache stands for, and where in it their images are; none where Installations name it themselves.
    pub fn mirrored(&self) -> BTreeMap<String, String> {
        let references = self.pushed.keys().filter(|_| self.image_path.is_none());
        let hosts = references.filter_map(|reference| reference.split_once('/')).map(|(host, _)| host.to_owned());
        hosts.map(|host| (host.clone(), format!("{}/{host}", self.host()))).collect()
    }

    /// The operator's image, as a Deployment names it.
    pub fn operator_image(&self, version: &str) -> String {
        match &self.image_path {
            Some(_) => format!("{}/{}:{version}", self.host(), self.repository("tigera/operator")),
            None => operator_reference(version),
        }
    }

    /// What a complete set of a release holds, from the published facts and the pushed digests.
    ///
    /// # Errors
    /// No such release, or an image of it was not pushed.
    pub fn wanted(&self, version: &str) -> Result<BTreeMap<String, String>> {
        self.wanted_with(version, false)
    }

    /// The same, with the FIPS twins' digests or without.
    ///
    /// # Errors
    /// As [`Self::wanted`].
    pub fn wanted_with(&self, version: &str, fips: bool) -> Result<BTreeMap<String, String>> {
        self.wanted_by(&OperatorRules::for_version(version)?, fips)
    }

    /// The same for any build.
    ///
    /// # Errors
    /// An image of it was not pushed.
    pub fn wanted_by(&self, rules: &OperatorRules, fips: bool) -> Result<BTreeMap<String, String>> {
        let version = rules.version;
        let digest = |name: String| {
            let reference = rules.default_reference(Variant::Calico, &name, fips);
            let digest = reference.and_then(|reference| self.pushed.get(&reference));
            Ok((name.clone(), digest.with_context(|| format!("{name} of {version} was not pushed"))?.clone()))
        };
        rules.names_of(Variant::Calico).into_iter().map(digest).collect()
    }

    /// The repository of an image under the `imagePath`; not for a cache.
    pub fn repository(&self, name: &str) -> String {
        let path = self.image_path.as_deref().unwrap_or_default();
        format!("{path}/{}", name.rsplit('/').next().unwrap_or(name))
    }
}

/// Where upstream publishes the operator.
fn operator_reference(version: impl Display) -> String {
    format!("quay.io/tigera/operator:{version}")
}
