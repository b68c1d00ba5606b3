//! For which operator versions a set is to be made, and for which cluster: named by flags, or read from a manifest, from a live
//! cluster, or from what an operator printed of itself. Asks no registry for images.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Arguments;
use crate::catalogue::Catalogue;
use crate::cli::files;
use crate::cli::live::{self, Live};
use crate::cli::output::{Failure, note};
use crate::cli::registry::{self, Registries};
use crate::cli::surroundings::Surroundings;
use crate::cli::{known_images, printed_images, unknown_release};
use crate::manifest;
use crate::model::feature::Feature;
use crate::model::image_name::ImageName;
use crate::model::lookups::Answer as Of;
use crate::model::operator_images::OperatorImages;
use crate::model::platform::Platform;
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::reference::Reference;
use crate::model::release::Release;
use crate::model::settings::{InstallationSettings, Mode, PrepareVersion, Settings};
use crate::model::snapshot::Snapshot;

/// The name of the operator's container in every manifest of its makers.
const CONTAINER: &str = "tigera-operator";

/// A set that is to be made.
pub(super) struct Wanted {
    pub release: Release,
    pub settings: InstallationSettings,
    /// Objects that make the operator insist on more.
    pub features: BTreeSet<Feature>,
    pub platforms: BTreeSet<Platform>,
    /// From what all this was read, where it was not typed.
    pub source: Option<String>,
    exclude: BTreeSet<ImageName>,
    catalogue: Cow<'static, Catalogue<'static>>,
}

impl Wanted {
    /// A cluster of which nothing else is known.
    pub fn snapshot(&self) -> Snapshot {
        let settings = Settings {
            mode: Mode::Apply,
            installation: self.settings.clone(),
            prepare: vec![PrepareVersion::Release(self.release)],
            exclude: self.exclude.clone(),
            ..Settings::default()
        };
        let nodes: BTreeMap<Platform, u32> = self.platforms.iter().map(|platform| (platform.clone(), 1)).collect();
        let features = Read::Known(self.features.clone());
        Snapshot { settings, nodes: Read::Known(nodes), features, ..Snapshot::default() }
    }

    /// Whether its images are those that this build knows.
    pub const fn is_of_catalogue(&self) -> bool {
        matches!(self.catalogue, Cow::Borrowed(_))
    }

    /// What is known of operator releases.
    pub fn catalogue(&self) -> &Catalogue<'static> {
        &self.catalogue
    }
}

/// What a source says, before the flags have their say.
struct Said {
    images: Vec<OperatorImages>,
    settings: InstallationSettings,
    features: BTreeSet<Feature>,
    platforms: BTreeSet<Platform>,
    source: Option<String>,
    /// The images are not those of the catalogue.
    printed: bool,
}

/// All that is wanted, in the order of releases, each once. What no registry can help is said before any is asked for images.
pub(super) async fn of(arguments: &Arguments, registries: &Registries) -> Result<Vec<Wanted>, Failure> {
    let said = match (&arguments.version_file, &arguments.images_file) {
        (Some(version), Some(images)) => printed(version, images)?,
        _ if arguments.from_cluster => of_cluster(arguments, registries).await?,
        _ if !arguments.file.is_empty() => of_manifests(&arguments.file, registries).await?,
        _ => named(&arguments.releases)?,
    };
    let mut settings = said.settings;
    if let Some(variant) = arguments.variant {
        settings.variant = variant.into();
    }
    settings.fips |= arguments.fips;
    settings.layout = arguments.layout.over(settings.layout);
    let features: BTreeSet<Feature> = said.features.into_iter().chain(arguments.with.iter().map(|one| one.0)).collect();
    let platforms = match arguments.platform.is_empty() {
        true => said.platforms,
        false => arguments.platform.iter().cloned().collect(),
    };
    let mut wanted = BTreeMap::new();
    for images in said.images {
        images.image_set_name(settings.variant).map_err(|marker| {
            Failure::new(marker.to_string()).reason(Reason::PreReleaseMarker).hint(Reason::PreReleaseMarker.next_step())
        })?;
        let mut exclude: BTreeSet<ImageName> = arguments.exclude.iter().cloned().collect();
        if arguments.only_required {
            let required = images.requires(settings.variant, &features);
            let all = images.set_images(settings.variant, settings.fips).into_keys();
            exclude.extend(all.filter(|name| !required.contains(name)));
        }
        let catalogue = match said.printed {
            false => Cow::Borrowed(Catalogue::embedded()),
            true => {
                let mut catalogue = Catalogue::default();
                catalogue.add(&images).map_err(|error| Failure::new(error.to_string()))?;
                Cow::Owned(catalogue)
            }
        };
        let one = Wanted {
            release: images.release(),
            settings: settings.clone(),
            features: features.clone(),
            platforms: platforms.clone(),
            source: said.source.clone(),
            exclude,
            catalogue,
        };
        wanted.insert(one.release, one);
    }
    Ok(wanted.into_values().collect())
}

fn said(images: Vec<OperatorImages>, source: Option<String>) -> Said {
    Said {
        images,
        settings: InstallationSettings::default(),
        features: BTreeSet::new(),
        platforms: BTreeSet::new(),
        source,
        printed: false,
    }
}

fn named(releases: &[Release]) -> Result<Said, Failure> {
    let images = releases.iter().map(|release| known_images(*release)).collect::<Result<_, _>>()?;
    Ok(said(images, None))
}

/// What an operator printed of itself.
fn printed(version: &Path, images: &Path) -> Result<Said, Failure> {
    let parsed = printed_images(version, images)?;
    Ok(Said { printed: true, ..said(vec![parsed], None) })
}

/// Operator Deployments, and the Installation and what else makes an operator insist on images, if they are there.
async fn of_manifests(names: &[String], registries: &Registries) -> Result<Said, Failure> {
    let (mut images, mut around, mut sources) = (Vec::new(), Surroundings::default(), Vec::new());
    for name in names {
        let text = files::read(name)?;
        around.read(name, &text)?;
        let found = manifest::operator_images(&text, CONTAINER).map_err(|refused| files::refused(name, &refused))?;
        match found {
            manifest::Found::Nothing => {}
            manifest::Found::Images(found) => {
                for one in found {
                    sources.push(format!("{}: {}", files::shown(name), one.image));
                    images.push(of_image(name, &one, registries).await?);
                }
            }
            manifest::Found::Kustomization { .. } | manifest::Found::HelmValues { .. } => {
                let message = format!("{} is no operator manifest but values for one", files::shown(name));
                return Err(Failure::new(message).hint("render it first: helm template or kustomize build, then -f -"));
            }
        }
    }
    if images.is_empty() {
        let names: Vec<&str> = names.iter().map(|name| files::shown(name)).collect();
        let message = format!("no workload in {} has a container named {CONTAINER}", names.join(" or "));
        return Err(Failure::new(message).hint("give the operator's manifest, too, or name the version in its place"));
    }
    let Surroundings { installation, features } = around;
    Ok(Said { settings: installation.unwrap_or_default(), features, ..said(images, Some(sources.join(", "))) })
}

/// By the tag; where a digest decides what runs, by the label of that digest, of which a tag beside it is only a decoration.
async fn of_image(
    file: &str,
    found: &manifest::OperatorImage,
    registries: &Registries,
) -> Result<OperatorImages, Failure> {
    let place = format!("{}:{}", files::shown(file), found.place.line);
    let image = &found.image;
    let reference: Reference = image.parse().map_err(|error| Failure::new(format!("{place}: {image:?}: {error}")))?;
    let labelled = match reference.digest() {
        Some(_) => labelled(&place, &reference, registries).await?,
        None => None,
    };
    let unknown = |message: String| {
        Failure::new(format!("{place}: {message}")).reason(Reason::OperatorVersionUnknown).hint(
            "name the version in the place of the file, or give what the operator prints: --version-file, --images-file",
        )
    };
    let tagged = match reference.tag() {
        Some(tag) => Some(
            tag.parse::<Release>()
                .map_err(|_| unknown(format!("{tag:?} is not the version of an operator release")))?,
        ),
        None => None,
    };
    let release = match (labelled, tagged) {
        (Some(labelled), Some(tagged)) if labelled.base() != tagged.base() => {
            return Err(Failure::new(format!(
                "{place}: {image} is tagged {tagged}, and its digest is labelled {labelled}"
            ))
            .reason(Reason::OperatorVersionAmbiguous)
            .hint("correct the tag or the digest; pin does both"));
        }
        (Some(release), _) | (None, Some(release)) => release,
        (None, None) => return Err(unknown(format!("{image} has no tag, so its version is not known"))),
    };
    Catalogue::embedded().get(&release).ok_or_else(|| unknown_release(release))
}

/// The version label of a digest. Where the registry can't be asked, the tag has to do if there is one, and that is said.
async fn labelled(place: &str, reference: &Reference, registries: &Registries) -> Result<Option<Release>, Failure> {
    let failed = match registries.operators([reference.clone()].into()).await.remove(reference) {
        Some(Of::Known(answer)) => return Ok(answer.version.and_then(|label| label.parse().ok())),
        Some(Of::Failed(failed)) => failed,
        _ => return Ok(None),
    };
    if reference.tag().is_none() {
        return Err(registry::failure(&failed));
    }
    note(&format!(
        "warning: {place}: the version is that of the tag; the digest's own is not known: {}",
        failed.summary()
    ));
    Ok(None)
}

/// The operator of the cluster, and what its Installation says.
async fn of_cluster(arguments: &Arguments, registries: &Registries) -> Result<Said, Failure> {
    let live = live::look(&arguments.connection, registries).await?;
    let target = live.target()?;
    let source = format!("the cluster's {}", target.image.as_deref().unwrap_or("operator"));
    let images = live.images(target.release)?;
    let printed = Catalogue::embedded().get(&target.release).as_ref() != Some(&images);
    let Live { settings, features, platforms, .. } = live;
    let settings = settings
        .ok_or_else(|| Failure::new("the Installation cannot be read").hint("name version, registry and path"))?;
    Ok(Said { settings, features, platforms, printed, ..said(vec![images], Some(source)) })
}
