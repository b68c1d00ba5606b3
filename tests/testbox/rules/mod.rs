//! The rules of the Tigera operator, release by release, as pure data and functions: no cluster, no clock.
//!
//! Taken from `tests/facts/` (what the releases list and what real operators were seen to say) and from the domain notes;
//! never from the product's own catalogue or code, so that one can catch the other.
//!
//! It may panic on a broken facts file: nothing can be tested without it.
//!
//! - `eras`: which text and which selection rule a release has,
//! - `requirements`: which images the objects in the cluster require,
//! - `verdict`: selection and validation of ImageSets, and the stricter reading that the invariants need.

#![allow(clippy::expect_used, clippy::panic)]

pub mod eras;
pub mod requirements;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

pub use eras::Version;
pub use requirements::{Component, EnterpriseObjects, Features};
pub use verdict::{NamedSet, Rejection, Selection, accepts, strict_problems};

/// One entry of an ImageSet: the name (`calico/node`) and the digest (`sha256:…`).
pub type Entry = (String, String);

/// What an operator installs: `spec.variant` of the Installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// Calico, the default.
    Calico,
    /// `TigeraSecureEnterprise` or `CalicoEnterprise`.
    Enterprise,
}

impl Variant {
    /// The value of `spec.variant`; empty or unknown text is Calico, the operator's default.
    pub fn from_spec(text: &str) -> Self {
        match text {
            "TigeraSecureEnterprise" | "CalicoEnterprise" => Self::Enterprise,
            _ => Self::Calico,
        }
    }

    /// The variant as `required-images.json` has it.
    fn from_fact(text: &str) -> Self {
        match text {
            "Enterprise" => Self::Enterprise,
            _ => Self::Calico,
        }
    }

    /// The value of `spec.variant` that messages print.
    fn spec(self) -> &'static str {
        match self {
            Self::Calico => "Calico",
            Self::Enterprise => "TigeraSecureEnterprise",
        }
    }

    /// The beginning of an ImageSet's name.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::Enterprise => "enterprise",
        }
    }
}

/// One release as `operator-images.json` has it.
#[derive(Clone, Debug, Deserialize)]
struct Published {
    calico: String,
    enterprise: String,
    calico_images: Vec<String>,
    common_images: Vec<String>,
    enterprise_images: Vec<String>,
    init_image: Option<String>,
    rejected_in_imageset: Vec<String>,
}

fn published() -> &'static BTreeMap<Version, Published> {
    static PUBLISHED: OnceLock<BTreeMap<Version, Published>> = OnceLock::new();
    PUBLISHED.get_or_init(|| {
        let by_text: BTreeMap<String, Published> =
            serde_json::from_str(include_str!("../../facts/operator-images.json"))
                .expect("tests/facts/operator-images.json is JSON of the shape its README describes");
        by_text.into_iter().map(|(text, release)| (text.parse().expect("releases are named vX.Y.Z"), release)).collect()
    })
}

/// All releases of the facts, oldest first.
pub fn all_versions() -> Vec<Version> {
    published().keys().copied().collect()
}

/// The releases that want an ImageSet of this name, oldest first.
pub fn versions_wanting(set_name: &str) -> Vec<(Version, Variant)> {
    let mut found = Vec::new();
    for version in published().keys() {
        let rules = OperatorRules::new(*version).expect("the version was taken from the facts");
        for variant in [Variant::Calico, Variant::Enterprise] {
            if rules.expected_set_name(variant) == set_name {
                found.push((*version, variant));
            }
        }
    }
    found
}

/// Where the Installation says that images come from. Empty or `UseDefault` is the release's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryLayout {
    /// `spec.registry`, with or without the trailing slash.
    pub registry: String,
    /// `spec.imagePath`.
    pub image_path: String,
    /// `spec.imagePrefix`.
    pub image_prefix: String,
}

/// What one operator build knows and does.
#[derive(Clone, Debug)]
pub struct OperatorRules {
    /// The release, as `v1.42.4`.
    pub version: Version,
    release: Published,
    also_rejected: BTreeSet<String>,
    /// The release whose requirements it has.
    rules_of: Version,
    /// Most components are in one image.
    merged: bool,
    /// [`Self::known_names`], once they were asked for.
    known: OnceLock<BTreeSet<String>>,
}

impl OperatorRules {
    /// The rules of a release written as `v1.42.4`.
    ///
    /// # Errors
    /// The text is no version, or the facts don't know it.
    pub fn for_version(version: &str) -> Result<Self> {
        Self::new(version.parse().with_context(|| format!("operator version {version:?}"))?)
    }

    /// The rules of a release.
    ///
    /// # Errors
    /// The facts don't know this release.
    pub fn new(version: Version) -> Result<Self> {
        let Some(release) = published().get(&version) else {
            bail!("operator {version} is not in tests/facts/operator-images.json");
        };
        Ok(Self {
            version,
            release: release.clone(),
            also_rejected: BTreeSet::new(),
            rules_of: version,
            merged: false,
            known: OnceLock::new(),
        })
    }

    /// A build that nobody has published: like `base` in all but its own version and Calico's.
    ///
    /// # Errors
    /// The facts don't know `base`, or `version` is none.
    pub fn unpublished(base: &str, version: &str, calico: &str) -> Result<Self> {
        let mut rules = Self::for_version(base)?;
        rules.version = version.parse().with_context(|| format!("operator version {version:?}"))?;
        let release = &mut rules.release;
        let old = std::mem::replace(&mut release.calico, calico.to_owned());
        let replace = |reference: &mut String, old: &str, new: &str| {
            if let Some((repository, _)) = reference.rsplit_once(':').filter(|(_, tag)| *tag == old) {
                *reference = format!("{repository}:{new}");
            }
        };
        release.calico_images.iter_mut().for_each(|reference| replace(reference, &old, calico));
        release.init_image.iter_mut().for_each(|reference| replace(reference, base, version));
        Ok(rules)
    }

    /// A build that nobody has published, with most components in the image `calico/calico`, as the branch of v1.44 has them: 13
    /// names of Calico.
    ///
    /// # Errors
    /// `version` is none.
    pub fn merged(version: &str, calico: &str) -> Result<Self> {
        let mut rules = Self::unpublished("v1.43.0", version, calico)?;
        let images = &mut rules.release.calico_images;
        images.retain(|reference| requirements::in_merged(&key(reference)) == key(reference));
        images.extend(["calico", "third-party-cni-plugins"].map(|image| format!("quay.io/calico/{image}:{calico}")));
        rules.merged = true;
        Ok(rules)
    }

    /// The image that a component of this build is in, by the name that earlier releases give it.
    pub fn image_of(&self, name: &str) -> String {
        if self.merged { requirements::in_merged(name) } else { name.to_owned() }
    }

    /// What `operator --version` prints.
    pub fn printed_version(&self) -> String {
        let Published { calico, enterprise, .. } = &self.release;
        format!("Operator: {}\nCalico: {calico}\nEnterprise: {enterprise}\n", self.version)
    }

    /// What `operator --print-images=list` prints.
    pub fn printed_list(&self) -> String {
        self.printed_references().map(|reference| format!("{reference}\n")).collect()
    }

    /// A fork under the upstream tag: the same build, but it refuses one more name.
    #[must_use]
    pub fn refusing(mut self, name: &str) -> Self {
        self.also_rejected.insert(name.to_owned());
        self.known = OnceLock::new();
        self
    }

    /// What `operator --version` prints after `Calico:` or `Enterprise:`.
    pub fn release_name(&self, variant: Variant) -> &str {
        match variant {
            Variant::Calico => &self.release.calico,
            Variant::Enterprise => &self.release.enterprise,
        }
    }

    /// The only ImageSet name that this build uses: `calico-v3.32.1`.
    pub fn expected_set_name(&self, variant: Variant) -> String {
        format!("{}-{}", variant.prefix(), self.release_name(variant))
    }

    /// The names this build's validator accepts in an ImageSet, of whatever variant: it looks through its Calico,
    /// Enterprise and common lists together. (From v1.36.0 the operator's own image is in none of them.)
    pub fn known_names(&self) -> &BTreeSet<String> {
        self.known.get_or_init(|| self.find_known_names())
    }

    fn find_known_names(&self) -> BTreeSet<String> {
        [&self.release.calico_images, &self.release.common_images, &self.release.enterprise_images]
            .into_iter()
            .flatten()
            .map(|reference| key(reference))
            .filter(|name| !self.rejects(name))
            .collect()
    }

    /// The names that are both printed for this variant and accepted in an ImageSet, without the operator's own image, which only
    /// OpenShift on AWS requires.
    pub fn names_of(&self, variant: Variant) -> BTreeSet<String> {
        let names = self.references_of(variant).map(key);
        names.filter(|name| !self.rejects(name) && name != "tigera/operator").collect()
    }

    /// What `operator --print-images=list` prints: Calico, Enterprise, common images and the operator's own.
    pub fn printed_references(&self) -> impl Iterator<Item = &str> {
        [&self.release.calico_images, &self.release.enterprise_images, &self.release.common_images]
            .into_iter()
            .flatten()
            .chain(&self.release.init_image)
            .map(String::as_str)
    }

    /// True if this release lists a Calico image of that name.
    pub fn lists(&self, variant: Variant, name: &str) -> bool {
        self.references_of(variant).any(|reference| key(reference) == name)
    }

    /// The default references of Calico's images, without FIPS twins.
    pub fn calico_references(&self) -> Vec<String> {
        let names = self.names_of(Variant::Calico);
        names.iter().filter_map(|name| self.default_reference(Variant::Calico, name, false)).collect()
    }

    /// The full default reference, by tag, that this build runs for a name: the `-fips` twin where `fips` is set and one
    /// exists; of two tags for one Enterprise name the Enterprise release's.
    pub fn default_reference(&self, variant: Variant, name: &str, fips: bool) -> Option<String> {
        let candidates: Vec<&str> = self.references_of(variant).filter(|reference| key(reference) == name).collect();
        let is_fips = |reference: &&str| tag(reference).ends_with("-fips");
        if fips && let Some(twin) = candidates.iter().copied().find(is_fips) {
            return Some(twin.to_owned());
        }
        let normal: Vec<&str> = candidates.into_iter().filter(|reference| !is_fips(reference)).collect();
        let own = normal.iter().find(|reference| tag(reference) == self.release_name(variant));
        own.or(normal.first()).map(|reference| (*reference).to_owned())
    }

    /// The reference that lands in a pod template: by digest where one is given, else by the default tag.
    pub fn rendered_reference(
        &self,
        variant: Variant,
        name: &str,
        fips: bool,
        layout: &RegistryLayout,
        digest: Option<&str>,
    ) -> Option<String> {
        let reference = self.default_reference(variant, name, fips)?;
        let (repository, tag) = reference.rsplit_once(':')?;
        let registry = match layout.registry.as_str() {
            "" | "UseDefault" => repository.strip_suffix(name)?.to_owned(),
            given if given.ends_with('/') => given.to_owned(),
            given => format!("{given}/"),
        };
        let (default_path, last) = name.rsplit_once('/')?;
        let path = match layout.image_path.as_str() {
            "" | "UseDefault" => default_path,
            given => given.trim_end_matches('/'),
        };
        let prefix = match layout.image_prefix.as_str() {
            "" | "UseDefault" => "",
            given => given,
        };
        Some(match digest {
            Some(digest) => format!("{registry}{path}/{prefix}{last}@{digest}"),
            None => format!("{registry}{path}/{prefix}{last}:{tag}"),
        })
    }

    fn rejects(&self, name: &str) -> bool {
        self.also_rejected.contains(name) || self.release.rejected_in_imageset.iter().any(|rejected| rejected == name)
    }

    fn references_of(&self, variant: Variant) -> impl Iterator<Item = &str> {
        let own = match variant {
            Variant::Calico => &self.release.calico_images,
            Variant::Enterprise => &self.release.enterprise_images,
        };
        own.iter().chain(&self.release.common_images).map(String::as_str)
    }
}

/// The key of an image in an ImageSet: the last two path segments of its reference, without the tag.
pub fn key(reference: &str) -> String {
    let repository = reference.rsplit_once(':').map_or(reference, |(repository, _)| repository);
    let mut segments = repository.rsplit('/');
    let last = segments.next().unwrap_or_default();
    match segments.next() {
        Some(path) => format!("{path}/{last}"),
        None => last.to_owned(),
    }
}

fn tag(reference: &str) -> &str {
    reference.rsplit_once(':').map_or("", |(_, tag)| tag)
}
