//! `verify`: ImageSets in files, or those of a cluster, against the rules of their operator version and against the registry. Writes
//! nothing. [`sets`] finds the sets, [`compare`] compares one of them, and [`render`] prints the result.

mod compare;
mod render;
mod sets;

use clap::{Args, ValueEnum};

use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::flags::digests::DigestFlags;
use crate::cli::flags::installation::{FeatureValue, VariantValue};
use crate::cli::flags::operator_output::OperatorOutputFlags;
use crate::cli::flags::registry::{LayoutFlags, RegistryFlags};
use crate::cli::flags::release;
use crate::cli::inputs::registries::Registries;
use crate::cli::output::{Failure, Output};
use crate::cli::runtime::runtime;
use crate::model::{Platform, Release};
use crate::rules::set_verification::Mismatch;
use sets::SetToVerify;

/// Compare ImageSets with the rules of their operator version and with the registry.
///
/// An Installation in the files, and objects such as an APIServer, count as they do in a cluster. Of an image for several platforms the
/// manifests are looked for that its index lists, or with --platform those that are needed.
///
/// Without a file those of the cluster are compared: of the operator that runs, that is to run, and that is prepared. The operator
/// version of a file's set is that of its annotation, or follows from its name.
#[derive(Debug, Args)]
#[command(mut_arg("version_file", |file| file.requires("file").conflicts_with("operator_version")))]
#[command(mut_arg("inspect", |inspect| inspect.requires("file")))]
#[command(after_help = "Examples:
  imageset-controller verify
  imageset-controller verify imageset.yaml
  imageset-controller verify imageset.yaml installation.yaml
  imageset-controller verify imageset.yaml --registry mirror.example.com --image-path calico --operator-image
  imageset-controller verify imageset.yaml --operator-version v1.44.0 --inspect
  imageset-controller verify imagesets/*.yaml -o github

Exit codes: 0 in sync; 1 something differs; 2 could not tell.")]
pub(in crate::cli) struct Arguments {
    /// Files with ImageSets; - is standard input
    #[arg(value_name = "FILE")]
    file: Vec<String>,

    /// The operator release that the sets in the files are for
    #[arg(long, value_name = "VERSION", value_parser = release::parse, requires = "file")]
    operator_version: Option<Release>,

    #[command(flatten)]
    operator_output: OperatorOutputFlags,

    /// The operator's own image is to be there, too: a mirror that an upgrade pulls everything from
    #[arg(long)]
    operator_image: bool,

    /// The product that the operator installs [default: Calico]
    #[arg(long, value_enum, ignore_case = true, requires = "file")]
    variant: Option<VariantValue>,

    /// The images are those for FIPS mode
    #[arg(long, requires = "file")]
    fips: bool,

    /// An object that the cluster has beside the Installation: its images are insisted on; repeatable
    #[arg(long, value_name = "KIND", value_enum, ignore_case = true, requires = "file")]
    with: Vec<FeatureValue>,

    /// A platform of your nodes that every image must have; repeatable
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,

    #[command(flatten)]
    digests: DigestFlags,

    /// How to tell it; github makes annotations on the lines of the files
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    layout: LayoutFlags,

    #[command(flatten)]
    access: RegistryFlags,

    #[command(flatten)]
    cluster: ClusterFlags,
}

/// How the result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Github,
}

/// One set with everything in which it differs.
struct VerifiedSet {
    set: SetToVerify,
    mismatches: Vec<Mismatch>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let runtime = runtime()?;
    let registries = Registries::open(&arguments.access)?;
    let sets = match arguments.file.is_empty() {
        true => runtime.block_on(sets::of_cluster(arguments, &registries))?,
        false => runtime.block_on(sets::of_files(arguments, &registries))?,
    };
    let mut verified = Vec::new();
    for set in sets {
        let mismatches = runtime.block_on(compare::compare(&set, &registries, arguments.operator_image))?;
        verified.push(VerifiedSet { set, mismatches });
    }
    let output = match arguments.output {
        Format::Json => render::json(&verified)?,
        Format::Github => render::github(&verified),
        Format::Text => render::text(&verified),
    };
    let all = || verified.iter().flat_map(|one| &one.mismatches);
    // A known mismatch decides, whatever else could not be looked up.
    Ok(match (all().any(|one| one.known), all().next().is_some()) {
        (true, _) => output.drifted(),
        (false, true) => output.incomplete(),
        (false, false) => output,
    })
}
