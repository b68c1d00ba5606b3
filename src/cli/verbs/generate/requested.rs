//! For which operator versions sets are generated, and for which cluster: named by flags, or read from a manifest, a live cluster, or what an
//! operator prints of itself. Looks up no images.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::Arguments;
use crate::catalogue::Catalogue;
use crate::cli::inputs::cluster_view::{self, ClusterView};
use crate::cli::inputs::files;
use crate::cli::inputs::image_names;
use crate::cli::inputs::manifest_context::ManifestContext;
use crate::cli::inputs::operator_files::{self, CONTAINER};
use crate::cli::inputs::operator_images::{OperatorFinder, unknown_release};
use crate::cli::inputs::registries::Registries;
use crate::cli::output::{Failure, note, registry_failure};
use crate::manifest;
use crate::model::{
    Digest, Feature, ImageName, InstallationSettings, LookupResult, Mode, OperatorImages, Platform, PrepareVersion,
    Read, Reason, Reference, Release, Settings, Snapshot,
};

/// A set to generate.
pub(super) struct RequestedSet {
    pub release: Release,
    pub settings: InstallationSettings,
    /// Features that make the operator require further images.
    pub features: BTreeSet<Feature>,
    /// Platforms that every image must have.
    platforms: BTreeSet<Platform>,
    /// Number of nodes of the cluster, by platform.
    nodes: BTreeMap<Platform, u32>,
    /// Where the version was read, if no flag names it.
    pub source: Option<String>,
    /// Digests that are pinned in the place of those of tags.
    pub digests: BTreeMap<ImageName, Digest>,
    exclude: BTreeSet<ImageName>,
    catalogue: Cow<'static, Catalogue<'static>>,
}

impl RequestedSet {
    /// Returns the snapshot of a cluster of which nothing else is known.
    pub fn snapshot(&self) -> Snapshot {
        let settings = Settings {
            mode: Mode::Apply,
            installation: self.settings.clone(),
            prepare: vec![PrepareVersion::Release(self.release)],
            exclude: self.exclude.clone(),
            digests: self.digests.clone(),
            ..Settings::default()
        };
        Snapshot {
            settings,
            nodes: Read::Known(self.nodes.clone()),
            required_platforms: self.platforms.clone(),
            features: Read::Known(self.features.clone()),
            ..Snapshot::default()
        }
    }

    /// Returns the platforms that were named, or those of the cluster's nodes.
    pub fn platforms(&self) -> BTreeSet<&Platform> {
        self.platforms.iter().chain(Platform::of_several(&self.nodes)).collect()
    }

    /// Whether its images are those of the embedded catalogue.
    pub const fn is_of_catalogue(&self) -> bool {
        matches!(self.catalogue, Cow::Borrowed(_))
    }

    /// Returns the catalogue that has its release.
    pub fn catalogue(&self) -> &Catalogue<'static> {
        &self.catalogue
    }
}

/// The values of a source, before flags override them.
struct Source {
    images: Vec<OperatorImages>,
    settings: InstallationSettings,
    features: BTreeSet<Feature>,
    platforms: BTreeSet<Platform>,
    nodes: BTreeMap<Platform, u32>,
    name: Option<String>,
}

/// Returns the sets to generate, in the order of releases, each once. Fails before any image is looked up.
pub(super) async fn find(arguments: &Arguments, registries: &Registries) -> Result<Vec<RequestedSet>, Failure> {
    let operators = OperatorFinder::new(&arguments.operator_output, Some(registries));
    let names_image = arguments.operator_output.image().is_some();
    let names_others = !arguments.releases.is_empty() || !arguments.file.is_empty() || arguments.from_cluster;
    if names_image && names_others {
        return Err(Failure::new("an image to run is named, and another operator").hint(
            "the image itself says its version: give --inspect=IMAGE alone; --inspect without an image runs the other one's",
        ));
    }
    let source = if arguments.from_cluster {
        from_cluster(arguments, registries, operators).await?
    } else if arguments.file.is_empty() {
        Source::of(operators.all(&arguments.releases, &arguments.layout.layout()).await?, None)
    } else {
        from_manifests(&arguments.file, registries, operators).await?
    };
    let source = source.with_flags(arguments);
    let digests = arguments.digests.by_name()?;
    image_names::check(arguments.exclude.iter().chain(digests.keys()), &source.images)?;
    let sets = source.images.iter().map(|images| source.request(images, arguments, &digests));
    let sets: BTreeMap<Release, RequestedSet> =
        sets.map(|set| set.map(|set| (set.release, set))).collect::<Result<_, _>>()?;
    Ok(sets.into_values().collect())
}

impl Source {
    fn of(images: Vec<OperatorImages>, name: Option<String>) -> Self {
        Self {
            images,
            settings: InstallationSettings::default(),
            features: BTreeSet::new(),
            platforms: BTreeSet::new(),
            nodes: BTreeMap::new(),
            name,
        }
    }

    /// Flags override the source's values.
    fn with_flags(mut self, arguments: &Arguments) -> Self {
        if let Some(variant) = arguments.variant {
            self.settings.variant = variant.into();
        }
        self.settings.fips |= arguments.fips;
        self.settings.layout = arguments.layout.over(self.settings.layout);
        self.features.extend(arguments.with.iter().map(|one| one.0));
        if !arguments.platform.is_empty() {
            self.platforms = arguments.platform.iter().cloned().collect();
            self.nodes.clear();
        }
        self
    }

    /// Returns the set for one operator.
    fn request(
        &self,
        images: &OperatorImages,
        arguments: &Arguments,
        digests: &BTreeMap<ImageName, Digest>,
    ) -> Result<RequestedSet, Failure> {
        let settings = &self.settings;
        images.image_set_name(settings.variant).map_err(|marker| {
            Failure::new(marker.to_string()).reason(Reason::PreReleaseMarker).hint(Reason::PreReleaseMarker.next_step())
        })?;
        let mut exclude: BTreeSet<ImageName> = arguments.exclude.iter().cloned().collect();
        if arguments.only_required {
            let required = images.requires(settings.variant, &self.features);
            let all = images.entries(settings.variant, settings.fips, &required).into_keys();
            exclude.extend(all.filter(|name| !required.contains(name)));
        }
        let embedded = Catalogue::embedded();
        let catalogue = match embedded.get(&images.release()).as_ref() == Some(images) {
            true => Cow::Borrowed(embedded),
            false => {
                let mut catalogue = Catalogue::default();
                catalogue.add(images).map_err(|error| Failure::new(error.to_string()))?;
                Cow::Owned(catalogue)
            }
        };
        Ok(RequestedSet {
            release: images.release(),
            settings: settings.clone(),
            features: self.features.clone(),
            platforms: self.platforms.clone(),
            nodes: self.nodes.clone(),
            source: self.name.clone(),
            digests: digests.clone(),
            exclude,
            catalogue,
        })
    }
}

/// Reads operator Deployments, and with them the Installation and features, if they are there.
async fn from_manifests(
    names: &[String],
    registries: &Registries,
    operators: OperatorFinder<'_>,
) -> Result<Source, Failure> {
    let (mut images, mut context, mut sources) = (Vec::new(), ManifestContext::default(), Vec::new());
    let mut unset = false;
    for name in names {
        let text = files::read(name)?;
        context.add(name, &text)?;
        let found = manifest::operator_file(&text, CONTAINER).map_err(|error| files::malformed(name, &error))?;
        for (line, image) in operator_files::images(&found) {
            let source = format!("{}: {image}", files::display_name(name));
            if !sources.contains(&source) {
                sources.push(source);
                let place = format!("{}:{line}", files::display_name(name));
                images.push(images_of(&place, &image, registries, operators).await?);
            }
        }
        unset |= !found.additions.is_empty();
        context.installation = context.installation.or(found.installation);
    }
    if images.is_empty() {
        let names: Vec<&str> = names.iter().map(|name| files::display_name(name)).collect();
        let names = names.join(" or ");
        return Err(match unset {
            true => Failure::new(format!("{names} has no version of the operator: the chart or the resources decide"))
                .hint("name the version in the place of the file, or render it first: helm template or kustomize build, then -f -"),
            false => Failure::new(format!("no workload in {names} has a container named {CONTAINER}"))
                .hint("give the operator's manifest, too, or name the version in its place"),
        });
    }
    let ManifestContext { installation, features } = context;
    Ok(Source { settings: installation.unwrap_or_default(), features, ..Source::of(images, Some(sources.join(", "))) })
}

/// Returns the images of the operator that a manifest deploys: by its tag, or, where a digest decides what runs, by the version label of
/// that digest; of one that the catalogue does not know, and that may be run, by what it prints.
async fn images_of(
    place: &str,
    image: &str,
    registries: &Registries,
    operators: OperatorFinder<'_>,
) -> Result<OperatorImages, Failure> {
    let reference = operator_files::parse_image(place, image)?;
    let labelled = match reference.digest() {
        Some(_) => version_label(place, &reference, registries).await?,
        None => None,
    };
    let unknown_version = |message: String| {
        Failure::new(format!("{place}: {message}")).reason(Reason::OperatorVersionUnknown).hint(
            "name the version in the place of the file, add --inspect to have the image run, or give what it prints: \
             --version-file, --images-file",
        )
    };
    let tagged: Option<Release> = match reference.tag().map(str::parse) {
        Some(Ok(tagged)) => Some(tagged),
        Some(Err(_)) if operators.inspects() => return operators.inspected(&reference).await,
        Some(Err(error)) => {
            return Err(unknown_version(format!("the tag of {image} does not say its version: {error}")));
        }
        None => None,
    };
    let release = match labelled.or(tagged) {
        Some(release) => release.agree(tagged).map_err(|(labelled, tagged)| {
            Failure::new(format!("{place}: {image} is tagged {tagged}, and its digest is labelled {labelled}"))
                .reason(Reason::OperatorVersionAmbiguous)
                .hint("correct the tag or the digest; pin does both")
        })?,
        None if operators.inspects() => return operators.inspected(&reference).await,
        None => return Err(unknown_version(format!("{image} has no tag, so its version is not known"))),
    };
    match Catalogue::embedded().get(&release) {
        Some(images) => Ok(images),
        None if operators.inspects() => operators.inspected(&reference).await,
        None => Err(unknown_release(release)),
    }
}

/// Returns the version label of a digest. Where the lookup fails, the tag has to do if there is one, with a note.
async fn version_label(
    place: &str,
    reference: &Reference,
    registries: &Registries,
) -> Result<Option<Release>, Failure> {
    let failed = match registries.operators([reference.clone()].into()).await.remove(reference) {
        Some(LookupResult::Known(image)) => return Ok(image.version.and_then(|label| label.parse().ok())),
        Some(LookupResult::Failed(failed)) => failed,
        _ => return Ok(None),
    };
    if reference.tag().is_none() {
        return Err(registry_failure::failure(&failed));
    }
    note(&format!(
        "warning: {place}: the version is that of the tag; the digest's own is not known: {}",
        failed.summary()
    ));
    Ok(None)
}

/// Reads the operator of the cluster, and its Installation. An operator that neither the catalogue nor the controller knows is run if it may
/// be.
async fn from_cluster(
    arguments: &Arguments,
    registries: &Registries,
    operators: OperatorFinder<'_>,
) -> Result<Source, Failure> {
    let view = cluster_view::observe(&arguments.cluster, registries).await?;
    let known = view.target().and_then(|target| Ok((view.images(target.release)?, target.image.clone())));
    let deployed = view.reconciled.snapshot.operator.known().and_then(Option::as_ref).and_then(|one| one.image.clone());
    let (images, image) = match (known, deployed.filter(|_| operators.inspects())) {
        (Ok(known), _) => known,
        (Err(_), Some(image)) => {
            let reference: Reference =
                image.parse().map_err(|error| Failure::new(format!("the cluster's operator: {error}")))?;
            (operators.inspected(&reference).await?, Some(image))
        }
        (Err(failure), None) => return Err(failure),
    };
    let source = format!("the cluster's {}", image.as_deref().unwrap_or("operator"));
    let ClusterView { settings, features, nodes, .. } = view;
    let settings = settings
        .ok_or_else(|| Failure::new("the Installation cannot be read").hint("name version, registry and path"))?;
    Ok(Source { settings, features, nodes, ..Source::of(vec![images], Some(source)) })
}
