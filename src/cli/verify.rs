//! `verify`: ImageSets in files, or those of a cluster, against the rules of their operator version and against the registry.
//! Writes nothing; where the sets come from is `sets`' business, and how it is told `told`'s.

mod sets;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::Args;

use super::connection::Connection;
use super::output::{Answer, Failure};
use super::registry::{AccessArguments, LayoutArguments, Registries};
use super::{FeatureArgument, VariantArgument, runtime};
use crate::model::digest::Digest;
use crate::model::image_name::ImageName;
use crate::model::lookups::Hints;
use crate::model::platform::Platform;
use crate::model::reference::Reference;
use crate::model::registry_failure::RegistryFailure;
use crate::model::release::Release;
use crate::model::resolved_image::ResolvedImage;
use crate::rules::verification::{Asked, Mismatch, by_registry, by_rules, of_operator};
use sets::Checked;

/// Compare ImageSets with the rules of their operator version and with the registry.
///
/// An Installation in the files, and objects such as an APIServer, count as they do in a cluster. Of an image for several platforms the
/// manifests are looked for that its index lists, or with --platform those that are needed.
///
/// Without a file those of the cluster are compared: of the operator that runs, that is to run, and that is prepared. The operator
/// version of a file's set is that of its annotation, or follows from its name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller verify
  imageset-controller verify imageset.yaml
  imageset-controller verify imageset.yaml installation.yaml
  imageset-controller verify imageset.yaml --registry mirror.example.com --image-path calico --operator-image
  imageset-controller verify imagesets/*.yaml -o github

Exit codes: 0 in sync; 1 something differs; 2 could not tell.")]
pub(super) struct Arguments {
    /// Files with ImageSets; - is standard input
    #[arg(value_name = "FILE")]
    file: Vec<String>,

    /// The operator release that the sets in the files are for
    #[arg(long, value_name = "VERSION", requires = "file")]
    operator_version: Option<Release>,

    /// What the operator prints with --version, for one that this build does not know
    #[arg(long, value_name = "FILE", requires = "images_file", requires = "file", conflicts_with = "operator_version")]
    version_file: Option<PathBuf>,

    /// What the operator prints with --print-images=list
    #[arg(long, value_name = "FILE", requires = "version_file")]
    images_file: Option<PathBuf>,

    /// The operator's own image is to be there, too: a mirror that an upgrade pulls everything from
    #[arg(long)]
    operator_image: bool,

    /// The product that the operator installs [default: Calico]
    #[arg(long, value_enum, ignore_case = true, requires = "file")]
    variant: Option<VariantArgument>,

    /// The images are those for FIPS mode
    #[arg(long, requires = "file")]
    fips: bool,

    /// An object that the cluster has beside the Installation: its images are insisted on; repeatable
    #[arg(long, value_name = "KIND", value_enum, ignore_case = true, requires = "file")]
    with: Vec<FeatureArgument>,

    /// A platform of your nodes that every image must have; repeatable
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,

    /// How to tell it; github makes annotations on the lines of the files
    #[arg(short, long, default_value = "text", value_parser = ["text", "json", "github"])]
    output: String,

    #[command(flatten)]
    layout: LayoutArguments,

    #[command(flatten)]
    access: AccessArguments,

    #[command(flatten)]
    connection: Connection,
}

/// One set with all that is wrong with it.
struct Verified {
    set: Checked,
    mismatches: Vec<Mismatch>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let runtime = runtime()?;
    let registries = Registries::open(&arguments.access)?;
    let sets = match arguments.file.is_empty() {
        true => runtime.block_on(sets::of_cluster(arguments, &registries))?,
        false => sets::of_files(arguments)?,
    };
    let mut verified = Vec::new();
    for set in sets {
        let mismatches = runtime.block_on(verify(&set, &registries, arguments.operator_image))?;
        verified.push(Verified { set, mismatches });
    }
    let answer = match arguments.output.as_str() {
        "json" => told::json(&verified)?,
        "github" => told::github(&verified),
        _ => told::text(&verified),
    };
    let all = || verified.iter().flat_map(|one| &one.mismatches);
    // What is known to be wrong is known, whatever else could not be told.
    Ok(match (all().any(|one| one.known), all().next().is_some()) {
        (true, _) => answer.drifted(),
        (false, true) => answer.hindered(),
        (false, false) => answer,
    })
}

type Answers = BTreeMap<Reference, Result<ResolvedImage, RegistryFailure>>;

async fn verify(set: &Checked, registries: &Registries, operator_image: bool) -> Result<Vec<Mismatch>, Failure> {
    if let Some(absent) = set.absent() {
        return Ok(vec![absent]);
    }
    let (settings, images) = (&set.settings, &set.images);
    let required = images.requires(settings.variant, &set.features);
    let (mut mismatches, pinned) = by_rules(&set.entries, images, &required);
    mismatches.extend(set.misnamed());
    let place = |default: &Reference| settings.layout.place(default).map_err(|error| Failure::new(error.to_string()));
    let places = |fips: bool| -> Result<BTreeMap<ImageName, Reference>, Failure> {
        let defaults = images.set_images(settings.variant, fips);
        let placed = defaults.into_iter().filter_map(|(name, default)| {
            let (_, digest) = pinned.get(&name)?;
            // What the policy wants in the place of the tag is not compared with the tag.
            let overridden = set.overridden.get(&name).filter(|wanted| *wanted == digest);
            let placed = place(&default).map(|placed| match overridden {
                Some(digest) => placed.with_digest(*digest),
                None => placed,
            });
            Some(placed.map(|placed| (name, placed)))
        });
        placed.collect()
    };
    let (tags, twins) = (places(settings.fips)?, places(!settings.fips)?);
    let ask = async |references: BTreeSet<Reference>, platforms: &BTreeSet<Platform>| -> Answers {
        let references: Vec<Reference> = references.into_iter().collect();
        let hints = Hints { platforms: platforms.clone(), ..Hints::default() };
        let answers = registries.resolve(&format!("ImageSet {}", set.name), &references, &hints).await;
        references.into_iter().zip(answers).collect()
    };
    let mut by_tag = ask(tags.values().cloned().collect(), &set.platforms).await;
    if set.platforms.is_empty() {
        for (platforms, references) in by_platforms(&by_tag) {
            by_tag.extend(ask(references, &platforms).await);
        }
    }
    if operator_image {
        let reference = place(images.own_image())?;
        let answer = ask([reference.clone()].into(), &set.platforms).await.remove(&reference);
        mismatches.extend(answer.and_then(|answer| of_operator(&reference, &answer, &set.platforms)));
    }
    let differs = |name: &ImageName, pinned: &Digest| {
        let answer = tags.get(name).and_then(|reference| by_tag.get(reference));
        answer.is_some_and(|answer| answer.as_ref().map_or(true, |image| image.digest != *pinned))
    };
    // Only of those whose tag says something else is more to be known.
    let mut more = BTreeSet::new();
    for (name, (_, digest)) in pinned.iter().filter(|(name, (_, digest))| differs(name, digest)) {
        more.extend(tags.get(name).map(|reference| reference.with_digest(*digest)));
        more.extend(twins.get(name).filter(|twin| tags.get(name) != Some(twin)).cloned());
    }
    let more = if more.is_empty() { Answers::new() } else { ask(more, &set.platforms).await };
    for (name, (entry, digest)) in &pinned {
        let Some(reference) = tags.get(name) else { continue };
        let Some(answer) = by_tag.get(reference) else { continue };
        let asked = Asked {
            name,
            entry: *entry,
            pinned: *digest,
            reference,
            by_tag: answer,
            by_digest: more.get(&reference.with_digest(*digest)),
            twin: twins.get(name).filter(|twin| *twin != reference).and_then(|twin| more.get(twin)),
        };
        let listed = || answer.as_ref().map(listed_platforms).unwrap_or_default();
        let platforms = if set.platforms.is_empty() { listed() } else { set.platforms.clone() };
        mismatches.extend(by_registry(&asked, &platforms));
    }
    mismatches.sort_by_key(|one| (one.entry.unwrap_or(usize::MAX), one.reason));
    Ok(mismatches)
}

/// The platforms that an index lists: whatever it lists is there in a whole copy.
fn listed_platforms(image: &ResolvedImage) -> BTreeSet<Platform> {
    match image.is_index() {
        true => image.platforms().into_iter().cloned().collect(),
        false => BTreeSet::new(),
    }
}

/// What is to be asked once more, now that it is known for which platforms.
fn by_platforms(answers: &Answers) -> BTreeMap<BTreeSet<Platform>, BTreeSet<Reference>> {
    let mut grouped: BTreeMap<BTreeSet<Platform>, BTreeSet<Reference>> = BTreeMap::new();
    for (reference, answer) in answers {
        let platforms = answer.as_ref().map(listed_platforms).unwrap_or_default();
        if !platforms.is_empty() {
            grouped.entry(platforms).or_default().insert(reference.clone());
        }
    }
    grouped
}
