//! The catalogue: the image lists of every operator release that supports ImageSets. The mapping from an operator version to its
//! Calico version and images is compiled into each operator and cannot be computed. It is therefore data
//! (`data/operator-releases.txt`, see [`text`] for its format), generated from the operators' own printed output.
//!
//! The catalogue knows exact releases only. A vendor's rebuild `v1.38.2-1` is another build than `v1.38.2` and may have other
//! images, so it is unknown until it is inspected or added.

pub mod names;
pub mod required;
pub mod text;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use crate::model::{
    ImageName, InvalidOperatorImages, InvalidReference, OperatorImages, PrintedImages, ProductVersion, Reference,
    Release,
};

/// The name of the data file in the directory `data/` of a checkout.
pub const FILE_NAME: &str = "operator-releases.txt";

/// The compiled-in data file.
const EMBEDDED: &str = include_str!("../../data/operator-releases.txt");

/// The image lists of many operator releases, in little memory: releases share common lists, entries borrow from the text, and
/// [`Catalogue::get`] expands the references.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Catalogue<'text> {
    releases: BTreeMap<Release, Build<'text>>,
}

/// One release, in the form of the data file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Build<'text> {
    calico: Product<'text>,
    enterprise: Product<'text>,
    lists: [Arc<BTreeSet<Cow<'text, str>>>; Part::ALL.len()],
}

/// The version of a product, and the registry (with path) of most of its images.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Product<'text> {
    version: ProductVersion,
    registry: Cow<'text, str>,
}

/// The list of an operator that an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Calico,
    Enterprise,
    Common,
    Own,
    Rejected,
}

impl Part {
    const ALL: [Self; 5] = [Self::Calico, Self::Enterprise, Self::Common, Self::Own, Self::Rejected];

    const fn word(self) -> &'static str {
        match self {
            Self::Calico => "calico",
            Self::Enterprise => "enterprise",
            Self::Common => "common",
            Self::Own => "own",
            Self::Rejected => "rejected",
        }
    }
}

/// The result of [`Catalogue::add`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addition {
    /// The release is new.
    Added,
    /// The catalogue has the release with the same content.
    AlreadyKnown,
}

/// The error for a release that the catalogue has with other content. The content of a release never changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operator {release} is in the catalogue already, with other content: {}", differences.join("; "))]
pub struct OtherContent {
    /// Release that was to be added.
    pub release: Release,
    /// Entries that only the catalogue has (`-`) and that only the addition has (`+`), in the format of the data file.
    pub differences: Vec<String>,
}

/// Why an entry of the data file does not make a reference.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    #[error(transparent)]
    Name(#[from] crate::model::InvalidImageName),
    #[error(transparent)]
    Images(#[from] InvalidOperatorImages),
    #[error("not exactly one image of the operator itself")]
    OwnImage,
}

impl Catalogue<'static> {
    /// Returns the compiled-in catalogue, which is parsed once. Tests prove that it parses. If it did not, it would be empty, so
    /// that every version is unknown and nothing is decided on half a catalogue.
    #[must_use]
    pub fn embedded() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue<'static>> = OnceLock::new();
        CATALOGUE.get_or_init(|| Self::parse(EMBEDDED).unwrap_or_default())
    }
}

impl Catalogue<'_> {
    /// Returns the image lists of exactly this release.
    #[must_use]
    pub fn get(&self, release: &Release) -> Option<OperatorImages> {
        // Parsing has checked each entry, so expanding them cannot fail.
        self.releases.get(release)?.expand(*release).ok()
    }

    /// Returns the names of all images that exactly this release prints, its own included.
    #[must_use]
    pub fn printed_names(&self, release: &Release) -> Option<BTreeSet<&str>> {
        let build = self.releases.get(release)?;
        let entries = [Part::Calico, Part::Enterprise, Part::Common, Part::Own].map(|part| build.list(part));
        Some(entries.into_iter().flat_map(|entries| entries.iter()).map(|entry| name_of(entry)).collect())
    }

    /// Returns all known releases, oldest first.
    pub fn releases(&self) -> impl DoubleEndedIterator<Item = Release> + ExactSizeIterator {
        self.releases.keys().copied()
    }

    /// Returns the Calico and Enterprise version of every known release, oldest first.
    pub fn versions(&self) -> impl DoubleEndedIterator<Item = (Release, &ProductVersion, &ProductVersion)> {
        self.releases.iter().map(|(release, build)| (*release, &build.calico.version, &build.enterprise.version))
    }

    /// Returns the newest known release, for messages about unknown ones.
    #[must_use]
    pub fn newest(&self) -> Option<Release> {
        self.releases().next_back()
    }

    /// Adds a release.
    ///
    /// # Errors
    /// The catalogue has the release with other content.
    pub fn add(&mut self, images: &OperatorImages) -> Result<Addition, OtherContent> {
        let build = Build::of(images);
        match self.releases.get(&images.release()) {
            Some(known) if *known == build => Ok(Addition::AlreadyKnown),
            Some(known) => Err(OtherContent { release: images.release(), differences: known.differences(&build) }),
            None => {
                self.releases.insert(images.release(), build);
                Ok(Addition::Added)
            }
        }
    }

    /// Returns the same catalogue without one release.
    #[must_use]
    pub fn without(mut self, release: &Release) -> Self {
        self.releases.remove(release);
        self
    }
}

impl Build<'_> {
    fn of(images: &OperatorImages) -> Self {
        let printed = images.as_printed();
        let product = |version: &ProductVersion, references: &BTreeSet<Reference>| Product {
            version: version.clone(),
            registry: Cow::Owned(most_frequent_registry(references)),
        };
        let calico = product(&printed.calico, &printed.calico_images);
        let enterprise = product(&printed.enterprise, &printed.enterprise_images);
        let list = |references: &BTreeSet<Reference>, registry: &str, version: &str| {
            Arc::new(
                references.iter().map(|reference| Cow::Owned(shorten_entry(reference, registry, version))).collect(),
            )
        };
        let own = BTreeSet::from([printed.own_image.clone()]);
        let lists = [
            list(&printed.calico_images, &calico.registry, printed.calico.as_str()),
            list(&printed.enterprise_images, &enterprise.registry, printed.enterprise.as_str()),
            list(&printed.common_images, "", ""),
            list(&own, "", &printed.release.to_string()),
            Arc::new(printed.rejected.iter().map(|name| Cow::Owned(name.to_string())).collect()),
        ];
        Self { calico, enterprise, lists }
    }

    fn list(&self, part: Part) -> &Arc<BTreeSet<Cow<'_, str>>> {
        &self.lists[part as usize]
    }

    fn expand(&self, release: Release) -> Result<OperatorImages, Unusable> {
        let references = |part, registry: &str, version: &str| {
            let expand = |entry: &Cow<'_, str>| expand_entry(entry, registry, version).parse();
            self.list(part).iter().map(expand).collect::<Result<BTreeSet<Reference>, _>>()
        };
        let mut own = references(Part::Own, "", &release.to_string())?;
        let (Some(own_image), true) = (own.pop_first(), own.is_empty()) else {
            return Err(Unusable::OwnImage);
        };
        let rejected: Result<BTreeSet<ImageName>, _> =
            self.list(Part::Rejected).iter().map(|name| name.parse()).collect();
        Ok(OperatorImages::new(PrintedImages {
            release,
            calico: self.calico.version.clone(),
            enterprise: self.enterprise.version.clone(),
            calico_images: references(Part::Calico, &self.calico.registry, self.calico.version.as_str())?,
            enterprise_images: references(
                Part::Enterprise,
                &self.enterprise.registry,
                self.enterprise.version.as_str(),
            )?,
            common_images: references(Part::Common, "", "")?,
            own_image,
            rejected: rejected?,
        })?)
    }

    /// Returns the differences between this release and `other`, in the format of the data file.
    fn differences(&self, other: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let products = |build: &Self| text::products(&build.calico, &build.enterprise);
        if products(self) != products(other) {
            differences.push(format!("- {}", products(self)));
            differences.push(format!("+ {}", products(other)));
        }
        differences.extend(text::changes(Some(&self.lists), &other.lists));
        differences
    }
}

/// Splits a reference into its key, which is the last two segments, and the registry and path before it.
fn registry_and_key(reference: &Reference) -> (String, String) {
    let whole = reference.name();
    let key_start = whole.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
    (whole[..key_start].trim_end_matches('/').to_owned(), whole[key_start..].to_owned())
}

/// Returns the name in an entry of the data file: the last two segments, without the tag.
fn name_of(entry: &str) -> &str {
    let start = entry.rmatch_indices('/').nth(1).map_or(0, |(slash, _)| slash + 1);
    let name = &entry[start..];
    name.split_once(':').map_or(name, |(name, _)| name)
}

/// Returns the registry of most of the images; the first by name if several have equally many.
fn most_frequent_registry(references: &BTreeSet<Reference>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reference in references {
        *counts.entry(registry_and_key(reference).0).or_default() += 1;
    }
    let most = counts.values().copied().max();
    counts
        .into_iter()
        .find(|(_, count)| Some(*count) == most)
        .map_or_else(|| "none".to_owned(), |(registry, _)| registry)
}

/// Returns a reference in the form of the data file. With `""` as version, the tag is always written.
fn shorten_entry(reference: &Reference, registry: &str, version: &str) -> String {
    let (own_registry, key) = registry_and_key(reference);
    let tag = reference.tag().unwrap_or_default();
    let tag = match tag.strip_prefix(version) {
        Some("") => String::new(),
        Some("-fips") if !version.is_empty() => ":*-fips".to_owned(),
        _ => format!(":{tag}"),
    };
    if own_registry == registry { format!("{key}{tag}") } else { format!("{own_registry}/{key}{tag}") }
}

/// Expands an entry of the data file: the reverse of [`shorten_entry`].
fn expand_entry(entry: &str, registry: &str, version: &str) -> String {
    // A colon before the last slash belongs to a port.
    let (name, tag) = match entry.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (entry, "*"),
    };
    let tag = tag.replacen('*', version, 1);
    if name.matches('/').count() == 1 { format!("{registry}/{name}:{tag}") } else { format!("{name}:{tag}") }
}
