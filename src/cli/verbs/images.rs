//! `images`: the default references of operator releases, one per line, for mirroring. Needs no cluster, and no registry for a release that
//! the catalogue has.

use std::collections::BTreeSet;

use clap::Args;

use crate::cli::flags::installation::VariantValue;
use crate::cli::flags::operator_output::OperatorOutputFlags;
use crate::cli::flags::registry::RegistryFlags;
use crate::cli::flags::release;
use crate::cli::inputs::operator_files::ManifestImages;
use crate::cli::inputs::operator_images::OperatorFinder;
use crate::cli::inputs::registries::Registries;
use crate::cli::output::{Failure, Output};
use crate::cli::runtime::runtime;
use crate::model::{RegistryLayout, Release};

/// Print the default image references of operator releases, for mirroring.
///
/// One reference per line, sorted, without duplicates: the images of the variant, those that the operator may require
/// beside them, and the operator's own. With manifests also what they run beside the operator, such as calico/ctl on OpenShift.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller images v1.42.4
  imageset-controller images v1.40.15 v1.42.4 --fips
  imageset-controller images v1.42.4 --variant Enterprise
  imageset-controller images v1.44.0 --inspect
  imageset-controller images -f tigera-operator.yaml")]
pub(in crate::cli) struct Arguments {
    /// Operator releases, such as v1.42.4
    #[arg(value_name = "VERSION", value_parser = release::parse, required_unless_present_any = ["version_file", "inspect", "file"])]
    releases: Vec<Release>,

    /// Add what a manifest runs, and the release of its operator; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,

    /// The images for FIPS mode where a release has them, in the place of the normal ones
    #[arg(long)]
    fips: bool,

    /// The product that the operator installs
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    variant: VariantValue,

    #[command(flatten)]
    operator_output: OperatorOutputFlags,

    #[command(flatten)]
    access: RegistryFlags,
}

/// Prints the references of all releases; none of them if one release is unknown.
pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let of_manifests = ManifestImages::of_files(&arguments.file)?;
    let flags = &arguments.operator_output;
    let registries = flags.inspect.is_some().then(|| Registries::open(&arguments.access)).transpose()?;
    let operators = OperatorFinder::new(flags, registries.as_ref());
    let releases = of_manifests.releases_with(&arguments.releases);
    let all = runtime()?.block_on(operators.all(&releases, &RegistryLayout::default()))?;
    let mut references: BTreeSet<String> = of_manifests.images.iter().map(ToString::to_string).collect();
    for images in all {
        references.extend(images.to_mirror(arguments.variant.into(), arguments.fips).iter().map(ToString::to_string));
    }
    Ok(Output::lines(references))
}
