//! The sets that are to be verified, with what they are verified against: from files and flags, or from a cluster.

use std::collections::BTreeSet;

use super::Arguments;
use crate::cli::files;
use crate::cli::known_images;
use crate::cli::live::{self, Live};
use crate::cli::output::Failure;
use crate::cli::registry::Registries;
use crate::domain::finding::Reason;
use crate::domain::settings::InstallationSettings;
use crate::domain::snapshot::StoredImage;
use crate::domain::verification::Mismatch;
use crate::domain::{Catalogue, Feature, GoalState, OperatorImages, Platform, Release, Variant};
use crate::manifest::{self, FileImageSet};

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
    pub entries: Vec<StoredImage>,
}

impl Checked {
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

/// All sets of all files.
pub(super) fn of_files(arguments: &Arguments) -> Result<Vec<Checked>, Failure> {
    let mut checked = Vec::new();
    for name in &arguments.file {
        let text = files::read(name)?;
        let refused = |refused: manifest::Refused| files::refused(name, &refused);
        let sets = manifest::image_sets(&text).map_err(refused)?;
        if sets.is_empty() {
            return Err(Failure::new(format!("{} has no ImageSet", files::shown(name))));
        }
        for set in sets {
            checked.push(of_file(arguments, name, set)?);
        }
    }
    Ok(checked)
}

fn of_file(arguments: &Arguments, file: &str, set: FileImageSet) -> Result<Checked, Failure> {
    let enterprise = set.name.starts_with(Variant::Enterprise.image_set_prefix());
    let variant = match arguments.variant {
        Some(variant) => variant.into(),
        None if enterprise => Variant::Enterprise,
        None => Variant::Calico,
    };
    let layout = arguments.layout.layout();
    let settings = InstallationSettings { variant, layout, fips: arguments.fips, ..InstallationSettings::default() };
    let lines = set.entries.iter().map(|entry| entry.place.line).collect();
    Ok(Checked {
        images: operator_of(arguments, file, &set, variant)?,
        name: set.name,
        file: Some((files::shown(file).to_owned(), lines, set.place.line)),
        settings,
        features: arguments.with.iter().map(|one| one.0).collect(),
        platforms: arguments.platform.iter().cloned().collect(),
        entries: set.entries.into_iter().map(|one| StoredImage { image: one.image, digest: one.digest }).collect(),
    })
}

/// For which operator a set in a file is.
fn operator_of(
    arguments: &Arguments,
    file: &str,
    set: &FileImageSet,
    variant: Variant,
) -> Result<OperatorImages, Failure> {
    if let Some(release) = arguments.operator_version {
        return known_images(release);
    }
    let place = format!("{}:{}", files::shown(file), set.place.line);
    if let Some(operator) = &set.operator {
        let release: Release = operator
            .parse()
            .map_err(|_| Failure::new(format!("{place}: {operator:?} is not the version of an operator release")))?;
        return known_images(release);
    }
    // Several releases may look for one name, and their lists may differ: the newest that knows all its entries.
    let catalogue = Catalogue::embedded();
    let of_name = |images: &OperatorImages| images.image_set_name(variant).is_ok_and(|name| name.as_str() == set.name);
    let candidates: Vec<OperatorImages> =
        catalogue.releases().filter_map(|release| catalogue.get(&release)).filter(of_name).collect();
    let takes = |images: &&OperatorImages| {
        set.entries.iter().all(|entry| entry.image.parse().is_ok_and(|name| images.accepts(&name)))
    };
    let found = candidates.iter().rev().find(takes).or(candidates.last()).cloned();
    found.ok_or_else(|| {
        Failure::new(format!("{place}: no known operator looks for an ImageSet {:?}", set.name))
            .reason(Reason::StrayImageSet.as_str())
            .hint("name the operator's version with --operator-version")
    })
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
    let asked = arguments.layout.layout();
    if !asked.is_default() {
        settings.layout = asked;
    }
    let platforms = match arguments.platform.is_empty() {
        true => platforms.clone(),
        false => arguments.platform.iter().cloned().collect(),
    };
    let mut checked: Vec<Checked> = Vec::new();
    for goal in &decision.goals {
        // A content that waits for its operator is not what is stored under that name.
        let waits = matches!(goal.state, GoalState::Waiting | GoalState::Conflict);
        let Some(set) = stored.iter().find(|set| set.name == goal.name.as_str()).filter(|_| !waits) else { continue };
        if checked.iter().any(|one| one.name == set.name) {
            continue;
        }
        let images = live.images(goal.release)?;
        checked.push(Checked {
            name: set.name.clone(),
            file: None,
            images,
            settings: settings.clone(),
            features: features.clone(),
            platforms: platforms.clone(),
            entries: set.images.clone(),
        });
    }
    if checked.is_empty() {
        if let Some(failure) = live.version_unknown() {
            return Err(failure);
        }
        return Err(Failure::new("no ImageSet is stored that the operator of this cluster looks for")
            .hint("imageset-controller plan says which one it wants"));
    }
    Ok(checked)
}
