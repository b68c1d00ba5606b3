//! Which operator build an image is, as the test that made it knows: by digest first, as only the bytes decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::rules::OperatorRules;

/// The operator images that a test has put into its registries.
#[derive(Clone, Debug, Default)]
pub struct OperatorImages {
    by_digest: BTreeMap<String, Arc<OperatorRules>>,
    digest_of: BTreeMap<String, String>,
    by_tag: BTreeMap<String, Arc<OperatorRules>>,
}

impl OperatorImages {
    /// None: tags of released versions are believed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The image with this digest (`sha256:…`) is a build with these rules, whatever tag it goes by.
    #[must_use]
    pub fn with(mut self, digest: &str, rules: OperatorRules) -> Self {
        self.by_digest.insert(digest.to_owned(), Arc::new(rules));
        self
    }

    /// A tag of no released version is a build with these rules, wherever it is pulled from.
    #[must_use]
    pub fn with_tag(mut self, tag: &str, rules: OperatorRules) -> Self {
        self.by_tag.insert(tag.to_owned(), Arc::new(rules));
        self
    }

    /// Every declared build.
    pub fn builds(&self) -> impl Iterator<Item = &Arc<OperatorRules>> {
        self.by_digest.values().chain(self.by_tag.values())
    }

    /// A kubelet that pulls this reference finds this digest; it is what a pod's `imageID` will say.
    #[must_use]
    pub fn with_reference(mut self, reference: &str, digest: &str) -> Self {
        self.digest_of.insert(reference.to_owned(), digest.to_owned());
        self
    }

    /// What the kubelet writes as `imageID` for a reference: `<repository>@<digest>`, or empty if none is declared.
    pub fn image_id(&self, reference: &str) -> String {
        let (rest, digest) = split_digest(reference);
        match digest.or_else(|| self.digest_of.get(reference).map(String::as_str)) {
            Some(digest) => format!("{}@{digest}", repository(rest)),
            None => String::new(),
        }
    }

    /// The build that runs in a container with this `image` and `imageID` (may be empty); `None` if nobody can know.
    pub fn rules(&self, image: &str, image_id: &str) -> Option<Arc<OperatorRules>> {
        let (rest, digest) = split_digest(image);
        let digest = split_digest(image_id).1.or(digest).or_else(|| self.digest_of.get(image).map(String::as_str));
        if let Some(rules) = digest.and_then(|digest| self.by_digest.get(digest)) {
            return Some(rules.clone());
        }
        let (_, tag) = rest.rsplit_once(':')?;
        self.by_tag.get(tag).cloned().or_else(|| OperatorRules::for_version(tag).ok().map(Arc::new))
    }
}

fn split_digest(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    }
}

fn repository(rest: &str) -> &str {
    match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => rest,
    }
}
