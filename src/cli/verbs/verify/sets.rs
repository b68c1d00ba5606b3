//! The sets to verify, with what they are compared with: from files and flags, or from a cluster.

use std::collections::{BTreeMap, BTreeSet};

use super::Arguments;
use crate::catalogue::Catalogue;
use crate::cli::inputs::cluster_view::{self, ClusterView};
use crate::cli::inputs::files;
use crate::cli::inputs::image_names;
use crate::cli::inputs::manifest_context::ManifestContext;
use crate::cli::inputs::operator_images::OperatorFinder;
use crate::cli::inputs::registries::Registries;
use crate::cli::output::Failure;
use crate::manifest::{self, FileImageSet};
use crate::model::{
    Digest, Feature, GoalState, ImageName, InstallationSettings, OperatorImages, Platform, Purpose, Reason, Release,
    StoredImage, Variant,
};
use crate::rules::image_set::impossible::{NoSet, why_no_set};
use crate::rules::set_verification::Mismatch;

/// A set, with what it is compared with.
pub(super) struct SetToVerify {
    /// Its name.
    pub name: String,
    /// Where it is in a file; `None` for a set of the cluster.
    pub file: Option<FilePlace>,
    pub images: OperatorImages,
    pub settings: InstallationSettings,
    pub features: BTreeSet<Feature>,
    pub platforms: BTreeSet<Platform>,
    /// Digests that the policy sets in the place of tags.
    pub overridden: BTreeMap<ImageName, Digest>,
    pub entries: Vec<StoredImage>,
    /// False for a set that an operator of the cluster requires and that does not exist.
    pub stored: bool,
    /// Why its operator can have no set at all.
    pub no_set: Option<String>,
}

/// Where a set is in a file; lines count from 1.
pub(super) struct FilePlace {
    pub name: String,
    /// The line of the set.
    pub line: usize,
    /// The line of each entry.
    pub entry_lines: Vec<usize>,
}

impl SetToVerify {
    /// Returns the mismatch of a set that does not exist, while the operator finds others.
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

    /// Returns the mismatch of a set whose operator can have none.
    pub fn impossible(&self) -> Option<Mismatch> {
        self.no_set.as_ref().map(|why| Mismatch {
            reason: Reason::ImageSetImpossible,
            entry: None,
            image: None,
            message: why.clone(),
            next_step: Reason::ImageSetImpossible.next_step(),
            known: true,
        })
    }

    /// Returns the mismatch of a set whose operator looks up another name.
    pub fn misnamed(&self) -> Option<Mismatch> {
        let expected = self.images.image_set_name(self.settings.variant).ok()?;
        (expected.as_str() != self.name).then(|| Mismatch {
            reason: Reason::StrayImageSet,
            entry: None,
            image: None,
            message: format!("operator {} looks for {expected}", self.images.release()),
            next_step: Reason::StrayImageSet.next_step(),
            known: true,
        })
    }
}

/// Returns all sets of all files. Files may also have the Installation, and objects that make the operator require further images.
pub(super) async fn of_files(arguments: &Arguments, registries: &Registries) -> Result<Vec<SetToVerify>, Failure> {
    let (mut sets, mut context) = (Vec::new(), ManifestContext::default());
    context.features.extend(arguments.with.iter().map(|one| one.0));
    for name in &arguments.file {
        let text = files::read(name)?;
        context.add(name, &text)?;
        let found = manifest::image_sets(&text).map_err(|error| files::malformed(name, &error))?;
        sets.extend(found.into_iter().map(|set| (name, set)));
    }
    if sets.is_empty() {
        let names: Vec<&str> = arguments.file.iter().map(|name| files::display_name(name)).collect();
        return Err(Failure::new(format!("there is no ImageSet in {}", names.join(" or "))));
    }
    let ManifestContext { installation, features } = context;
    let mut settings = installation.unwrap_or_default();
    settings.fips |= arguments.fips;
    settings.layout = arguments.layout.over(settings.layout);
    let operators = OperatorFinder::new(&arguments.operator_output, Some(registries));
    let (named, digests) = (operators.named().await?, arguments.digests.by_name()?);
    let mut checked: Vec<SetToVerify> = Vec::new();
    for (name, set) in sets {
        let settings = InstallationSettings { variant: variant_of(arguments, &set), ..settings.clone() };
        let images = match &named {
            Some(images) => images.clone(),
            None => find_operator(arguments, name, &set, &settings, operators).await?,
        };
        image_names::check(digests.keys(), std::slice::from_ref(&images))?;
        let set = of_file(arguments, name, set, images, settings, features.clone());
        checked.push(SetToVerify { overridden: digests.clone(), ..set });
    }
    Ok(checked)
}

/// Returns the product that a set is for: by flag, or by its name.
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
) -> SetToVerify {
    let no_set = NoSet::find(&settings, &features, &images);
    let entry_lines = set.entries.iter().map(|entry| entry.place.line).collect();
    SetToVerify {
        images,
        name: set.name,
        file: Some(FilePlace { name: files::display_name(file).to_owned(), line: set.place.line, entry_lines }),
        settings,
        features,
        platforms: arguments.platform.iter().cloned().collect(),
        overridden: BTreeMap::new(),
        entries: set.entries.into_iter().map(|one| StoredImage { image: one.image, digest: one.digest }).collect(),
        stored: true,
        no_set: no_set.map(|no_set| no_set.why),
    }
}

/// Finds the operator that a set in a file is for: by flag, by its annotation, or by its name.
async fn find_operator(
    arguments: &Arguments,
    file: &str,
    set: &FileImageSet,
    settings: &InstallationSettings,
    operators: OperatorFinder<'_>,
) -> Result<OperatorImages, Failure> {
    if let Some(release) = arguments.operator_version {
        return operators.of_release(release, &settings.layout).await;
    }
    let place = format!("{}:{}", files::display_name(file), set.place.line);
    if let Some(operator) = &set.operator {
        let release: Release = operator
            .parse()
            .map_err(|_| Failure::new(format!("{place}: {operator:?} is not the version of an operator release")))?;
        return operators.of_release(release, &settings.layout).await;
    }
    by_name(&place, set, settings)
}

/// Finds the operator by the name of a set. Several releases may look for one name, and their images may differ: it is the newest of those
/// that accept all entries, if these agree on the images.
fn by_name(place: &str, set: &FileImageSet, settings: &InstallationSettings) -> Result<OperatorImages, Failure> {
    let (catalogue, variant) = (Catalogue::embedded(), settings.variant);
    let has_name = |images: &OperatorImages| images.image_set_name(variant).is_ok_and(|name| name.as_str() == set.name);
    let candidates: Vec<OperatorImages> =
        catalogue.releases().filter_map(|release| catalogue.get(&release)).filter(has_name).collect();
    let accepts_all = |images: &&OperatorImages| {
        set.entries.iter().all(|entry| entry.image.parse().is_ok_and(|name| images.accepts(&name)))
    };
    let list = |images: &OperatorImages| images.set_images(variant, settings.fips);
    let accepting: Vec<&OperatorImages> = candidates.iter().filter(accepts_all).collect();
    let hint = "name the operator's version with --operator-version";
    let Some(newest) = accepting.last().copied().or(candidates.last()) else {
        return Err(Failure::new(format!("{place}: no known operator looks for an ImageSet {:?}", set.name))
            .reason(Reason::StrayImageSet)
            .hint(hint));
    };
    if let Some(other) = accepting.iter().find(|images| list(images) != list(newest)) {
        let (one, other) = (other.release(), newest.release());
        return Err(Failure::new(format!(
            "{place}: operators {one} and {other} look for {:?} and mean other images",
            set.name
        ))
        .reason(Reason::OperatorVersionAmbiguous)
        .hint(hint));
    }
    Ok(newest.clone())
}

/// Returns the sets that an operator of the cluster looks up.
pub(super) async fn of_cluster(arguments: &Arguments, registries: &Registries) -> Result<Vec<SetToVerify>, Failure> {
    let view = cluster_view::observe(&arguments.cluster, registries).await?;
    let ClusterView { reconciled, settings, features, nodes } = &view;
    let (snapshot, decision) = (&reconciled.snapshot, &reconciled.decision);
    let Some(stored) = snapshot.image_sets.known() else {
        return Err(Failure::new("the ImageSets of the cluster cannot be read"));
    };
    let mut settings = settings.clone().ok_or_else(|| Failure::new("the Installation cannot be read"))?;
    settings.layout = arguments.layout.over(settings.layout);
    let platforms: BTreeSet<Platform> = match arguments.platform.is_empty() {
        // Nothing of the set runs on Windows nodes without a Windows data plane.
        true => {
            let runs_windows = features.contains(&Feature::WindowsHns);
            nodes.keys().filter(|platform| runs_windows || !platform.is_windows()).cloned().collect()
        }
        false => arguments.platform.iter().cloned().collect(),
    };
    let mut overridden = snapshot.settings.digests.clone();
    overridden.extend(arguments.digests.by_name()?);
    let mut checked: Vec<SetToVerify> = Vec::new();
    for goal in &decision.goals {
        // Content that waits for its operator is not what is stored under that name.
        let waits = matches!(goal.state, GoalState::Waiting | GoalState::Conflict);
        let set = stored.iter().find(|set| set.name == goal.name.as_str());
        // Without any set the operator uses tags. A set that is only prepared may come later.
        let is_missed = !stored.is_empty() && matches!(goal.purpose, Purpose::Running | Purpose::Target);
        if waits || checked.iter().any(|one| one.name == goal.name.as_str()) || (set.is_none() && !is_missed) {
            continue;
        }
        let images = view.images(goal.release)?;
        let no_set = why_no_set(snapshot, &settings, &images).map(|no_set| no_set.why);
        checked.push(SetToVerify {
            name: goal.name.to_string(),
            file: None,
            images,
            settings: settings.clone(),
            features: features.clone(),
            platforms: platforms.clone(),
            overridden: overridden.clone(),
            entries: set.map(|set| set.images.clone()).unwrap_or_default(),
            stored: set.is_some(),
            no_set,
        });
    }
    if checked.is_empty() {
        view.target()?;
        return Err(Failure::new("no ImageSet is stored that the operator of this cluster looks for")
            .hint("imageset-controller plan says which one it wants"));
    }
    Ok(checked)
}
