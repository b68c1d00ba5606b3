//! The sets that are to be verified, with what they are verified against: from files and flags, or from a cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::Arguments;
use crate::catalogue::Catalogue;
use crate::cli::files;
use crate::cli::live::{self, Live};
use crate::cli::output::Failure;
use crate::cli::registry::Registries;
use crate::cli::surroundings::Surroundings;
use crate::cli::{known_images, printed_images};
use crate::manifest::{self, FileImageSet};
use crate::model::decision::GoalState;
use crate::model::decision::Purpose;
use crate::model::digest::Digest;
use crate::model::feature::Feature;
use crate::model::image_name::ImageName;
use crate::model::operator_images::OperatorImages;
use crate::model::platform::Platform;
use crate::model::reason::Reason;
use crate::model::release::{Release, Variant};
use crate::model::settings::InstallationSettings;
use crate::model::stored_image_set::StoredImage;
use crate::rules::verification::Mismatch;

/// A set with what it is verified against.
pub(super) struct Checked {
    /// Its name.
    pub name: String,
    /// The file and the line of each entry, and of the set itself; nothing for a cluster's.
    pub file: Option<(String, Vec<usize>, usize)>,
    pub images: OperatorImages,
    pub settings: InstallationSettings,
    pub features: BTreeSet<Feature>,
    pub platforms: BTreeSet<Platform>,
    /// Digests that the policy puts in the place of what a tag is.
    pub overridden: BTreeMap<ImageName, Digest>,
    pub entries: Vec<StoredImage>,
    /// False for a set that an operator of the cluster looks for in vain.
    pub stored: bool,
}

impl Checked {
    /// Its operator finds other sets and not this one.
    pub fn absent(&self) -> Option<Mismatch> {
        (!self.stored).then(|| Mismatch {
            reason: Reason::ExactImageSetMissing,
            entry: None,
            image: None,
            message: format!(
                "operator {} looks for it, finds other sets only, and reconciles nothing",
                self.images.release()
            ),
            next_step: Reason::ExactImageSetMissing.next_step(),
            known: true,
        })
    }

    /// It does not have the name under which its operator looks for it.
    pub fn misnamed(&self) -> Option<Mismatch> {
        let wanted = self.images.image_set_name(self.settings.variant).ok()?;
        (wanted.as_str() != self.name).then(|| Mismatch {
            reason: Reason::StrayImageSet,
            entry: None,
            image: None,
            message: format!("operator {} looks for {wanted}", self.images.release()),
            next_step: Reason::StrayImageSet.next_step(),
            known: true,
        })
    }
}

/// All sets of all files. A file without one is looked at for an Installation, and for what makes the operator insist on images.
pub(super) fn of_files(arguments: &Arguments) -> Result<Vec<Checked>, Failure> {
    let (mut sets, mut around) = (Vec::new(), Surroundings::default());
    around.features.extend(arguments.with.iter().map(|one| one.0));
    for name in &arguments.file {
        let text = files::read(name)?;
        around.read(name, &text)?;
        let found = manifest::image_sets(&text).map_err(|refused| files::refused(name, &refused))?;
        sets.extend(found.into_iter().map(|set| (name, set)));
    }
    if sets.is_empty() {
        let names: Vec<&str> = arguments.file.iter().map(|name| files::shown(name)).collect();
        return Err(Failure::new(format!("there is no ImageSet in {}", names.join(" or "))));
    }
    let Surroundings { installation, features } = around;
    let mut settings = installation.unwrap_or_default();
    settings.fips |= arguments.fips;
    settings.layout = arguments.layout.over(settings.layout);
    let printed = match (&arguments.version_file, &arguments.images_file) {
        (Some(version), Some(images)) => Some(printed_images(version, images)?),
        _ => None,
    };
    let checked = |(name, set): (&String, FileImageSet)| {
        let settings = InstallationSettings { variant: variant_of(arguments, &set), ..settings.clone() };
        let images = match &printed {
            Some(images) => images.clone(),
            None => operator_of(arguments, name, &set, &settings)?,
        };
        Ok(of_file(arguments, name, set, images, settings, features.clone()))
    };
    sets.into_iter().map(checked).collect()
}

/// The product that a set is for: by flag, or by its name.
fn variant_of(arguments: &Arguments, set: &FileImageSet) -> Variant {
    let enterprise = set.name.starts_with(Variant::Enterprise.image_set_prefix());
    match arguments.variant {
        Some(variant) => variant.into(),
        None if enterprise => Variant::Enterprise,
        None => Variant::Calico,
    }
}

fn of_file(
    arguments: &Arguments,
    file: &str,
    set: FileImageSet,
    images: OperatorImages,
    settings: InstallationSettings,
    features: BTreeSet<Feature>,
) -> Checked {
    let lines = set.entries.iter().map(|entry| entry.place.line).collect();
    Checked {
        images,
        name: set.name,
        file: Some((files::shown(file).to_owned(), lines, set.place.line)),
        settings,
        features,
        platforms: arguments.platform.iter().cloned().collect(),
        overridden: BTreeMap::new(),
        entries: set.entries.into_iter().map(|one| StoredImage { image: one.image, digest: one.digest }).collect(),
        stored: true,
    }
}

/// For which operator a set in a file is.
fn operator_of(
    arguments: &Arguments,
    file: &str,
    set: &FileImageSet,
    settings: &InstallationSettings,
) -> Result<OperatorImages, Failure> {
    if let Some(release) = arguments.operator_version {
        return known_images(release);
    }
    let variant = settings.variant;
    let place = format!("{}:{}", files::shown(file), set.place.line);
    if let Some(operator) = &set.operator {
        let release: Release = operator
            .parse()
            .map_err(|_| Failure::new(format!("{place}: {operator:?} is not the version of an operator release")))?;
        return known_images(release);
    }
    // Several releases may look for one name, and their lists may differ: the newest of those that know all its entries, if these
    // are of one mind.
    let catalogue = Catalogue::embedded();
    let of_name = |images: &OperatorImages| images.image_set_name(variant).is_ok_and(|name| name.as_str() == set.name);
    let candidates: Vec<OperatorImages> =
        catalogue.releases().filter_map(|release| catalogue.get(&release)).filter(of_name).collect();
    let takes = |images: &&OperatorImages| {
        set.entries.iter().all(|entry| entry.image.parse().is_ok_and(|name| images.accepts(&name)))
    };
    let list = |images: &OperatorImages| images.set_images(variant, settings.fips);
    let taking: Vec<&OperatorImages> = candidates.iter().filter(takes).collect();
    let Some(newest) = taking.last().copied().or(candidates.last()) else {
        return Err(Failure::new(format!("{place}: no known operator looks for an ImageSet {:?}", set.name))
            .reason(Reason::StrayImageSet)
            .hint("name the operator's version with --operator-version"));
    };
    if let Some(other) = taking.iter().find(|images| list(images) != list(newest)) {
        let (one, other) = (other.release(), newest.release());
        return Err(Failure::new(format!(
            "{place}: operators {one} and {other} look for {:?} and mean other images",
            set.name
        ))
        .reason(Reason::OperatorVersionAmbiguous)
        .hint("name the operator's version with --operator-version"));
    }
    Ok(newest.clone())
}

/// The sets of the cluster that an operator of it looks for.
pub(super) async fn of_cluster(arguments: &Arguments, registries: &Registries) -> Result<Vec<Checked>, Failure> {
    let live = live::look(&arguments.connection, registries).await?;
    let Live { passed, settings, features, platforms } = &live;
    let (snapshot, decision) = (&passed.snapshot, &passed.decision);
    let Some(stored) = snapshot.image_sets.known() else {
        return Err(Failure::new("the ImageSets of the cluster cannot be read"));
    };
    let mut settings = settings.clone().ok_or_else(|| Failure::new("the Installation cannot be read"))?;
    settings.layout = arguments.layout.over(settings.layout);
    let platforms = match arguments.platform.is_empty() {
        true => platforms.clone(),
        false => arguments.platform.iter().cloned().collect(),
    };
    let mut checked: Vec<Checked> = Vec::new();
    for goal in &decision.goals {
        // A content that waits for its operator is not what is stored under that name.
        let waits = matches!(goal.state, GoalState::Waiting | GoalState::Conflict);
        let set = stored.iter().find(|set| set.name == goal.name.as_str());
        // Without any set the operator goes by tags. What is only prepared may come later.
        let in_vain = !stored.is_empty() && matches!(goal.purpose, Purpose::Running | Purpose::Target);
        if waits || checked.iter().any(|one| one.name == goal.name.as_str()) || (set.is_none() && !in_vain) {
            continue;
        }
        let images = live.images(goal.release)?;
        checked.push(Checked {
            name: goal.name.to_string(),
            file: None,
            images,
            settings: settings.clone(),
            features: features.clone(),
            platforms: platforms.clone(),
            overridden: snapshot.settings.digests.clone(),
            entries: set.map(|set| set.images.clone()).unwrap_or_default(),
            stored: set.is_some(),
        });
    }
    if checked.is_empty() {
        live.target()?;
        return Err(Failure::new("no ImageSet is stored that the operator of this cluster looks for")
            .hint("imageset-controller plan says which one it wants"));
    }
    Ok(checked)
}
