//! `images`: the default references of operator releases, one per line, for mirroring. Needs no cluster, no registry.

use std::collections::BTreeSet;

use clap::Args;

use crate::cli::flags::installation::VariantValue;
use crate::cli::inputs::operator_images;
use crate::cli::output::{Failure, Output};
use crate::model::Release;

/// Print the default image references of operator releases, for mirroring.
///
/// One reference per line, sorted, without duplicates: the images of the variant, those that the operator may require
/// beside them, and the operator's own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller images v1.42.4
  imageset-controller images v1.40.15 v1.42.4 --fips
  imageset-controller images v1.42.4 --variant Enterprise")]
pub(in crate::cli) struct Arguments {
    /// Operator releases, such as v1.42.4
    #[arg(value_name = "VERSION", required = true)]
    releases: Vec<Release>,

    /// The images for FIPS mode where a release has them, in the place of the normal ones
    #[arg(long)]
    fips: bool,

    /// The product that the operator installs
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    variant: VariantValue,
}

/// Prints the references of all releases; none of them if one release is unknown.
pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let mut references = BTreeSet::new();
    for release in &arguments.releases {
        let images = operator_images::of_release(*release)?;
        references.extend(images.to_mirror(arguments.variant.into(), arguments.fips).iter().map(ToString::to_string));
    }
    Ok(Output::lines(references))
}
