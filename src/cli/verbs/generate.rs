//! `generate`: complete ImageSets as files, from the registry that a cluster pulls from. Needs neither cluster nor Docker.
//!
//! The rules are the controller's: to them it is the first install of that operator version in a cluster of which nothing is known but the
//! flags, a manifest or a live cluster. [`requested`] determines the versions.

mod check;
mod requested;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::flags::digests::DigestFlags;
use crate::cli::flags::installation::{FeatureValue, VariantValue};
use crate::cli::flags::operator_output::OperatorOutputFlags;
use crate::cli::flags::registry::{self, LayoutFlags, RegistryFlags};
use crate::cli::flags::release;
use crate::cli::inputs::registries::Registries;
use crate::cli::output::{Failure, Output, image_set_file, note, registry_failure};
use crate::cli::runtime::runtime;
use crate::model::{
    Action, CompleteImageSet, Decision, ImageName, LookupResult, Platform, Reason, Release, Severity, Variant,
};
use crate::rules::lookup_loop::decide_with_lookups;
use requested::RequestedSet;

/// Print the ImageSet of operator releases, with digests from the registry.
///
/// The releases are named, or read from an operator manifest, a live cluster, or what an operator printed of itself. Every
/// digest is the SHA-256 of the bytes that the registry serves. Nothing is printed unless each set is complete.
#[derive(Debug, Args)]
#[command(mut_arg("version_file", |file| file.conflicts_with("releases")))]
#[command(after_help = "Examples:
  imageset-controller generate v1.42.4
  imageset-controller generate v1.42.4 --registry registry.example.com --image-path mirror/calico
  imageset-controller generate v1.40.15 v1.42.4 --fips --platform linux/amd64 > imagesets.yaml
  imageset-controller generate -f tigera-operator.yaml -f installation.yaml
  curl -fsSL https://example.com/tigera-operator.yaml | imageset-controller generate -f -
  imageset-controller generate --from-cluster --only-required
  imageset-controller generate v1.44.0 --inspect
  imageset-controller generate --version-file version.txt --images-file images.txt
  imageset-controller generate v1.42.4 --check imageset.yaml

Exit codes: 0 printed, or the file is as it should be; 1 the file is out of date; 2 could not tell.")]
pub(in crate::cli) struct Arguments {
    /// Operator releases, such as v1.42.4
    #[arg(value_name = "VERSION", value_parser = release::parse, required_unless_present_any = ["file", "from_cluster", "version_file", "inspect"])]
    releases: Vec<Release>,

    /// A manifest with the operator's Deployment, and perhaps the Installation; - is standard input; repeatable
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["releases", "from_cluster", "version_file"])]
    file: Vec<String>,

    /// Take version, registry, FIPS mode and node platforms from the cluster
    #[arg(long, conflicts_with_all = ["releases", "version_file"])]
    from_cluster: bool,

    #[command(flatten)]
    operator_output: OperatorOutputFlags,

    /// The product that the operator installs [default: Calico]
    #[arg(long, value_enum, ignore_case = true)]
    variant: Option<VariantValue>,

    /// The images for FIPS mode, as with fipsMode: Enabled in the Installation
    #[arg(long)]
    fips: bool,

    /// Leave out an image, such as calico/node-windows; one that the operator insists on is refused
    #[arg(long, value_name = "NAME")]
    exclude: Vec<ImageName>,

    #[command(flatten)]
    digests: DigestFlags,

    /// Leave out what the operator does not insist on, for an Installation with the objects of --with
    #[arg(long)]
    only_required: bool,

    /// An object that the cluster has beside the Installation, for --only-required; repeatable
    #[arg(long, value_name = "KIND", value_enum, ignore_case = true)]
    with: Vec<FeatureValue>,

    /// A platform of your nodes, such as linux/arm64, that every image must have; repeatable
    #[arg(long, value_name = "PLATFORM")]
    platform: Vec<Platform>,

    /// Print nothing; tell whether the sets in this file are what would be printed
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    check: Option<PathBuf>,

    /// What to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    #[command(flatten)]
    layout: LayoutFlags,

    #[command(flatten)]
    access: RegistryFlags,

    #[command(flatten)]
    cluster: ClusterFlags,
}

/// How the sets are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    #[default]
    Yaml,
    Json,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let runtime = runtime()?;
    let registries = Registries::open(&arguments.access)?;
    let requested = runtime.block_on(requested::find(arguments, &registries))?;
    let mut sets = Vec::new();
    for one in &requested {
        sets.push(runtime.block_on(complete(one, &registries))?);
    }
    let sets = one_per_name(sets)?;
    match (&arguments.check, arguments.output) {
        (Some(path), _) => check::check(path, &sets),
        (None, Format::Json) => image_set_file::json(&sets),
        (None, Format::Yaml) => image_set_file::yaml(&sets, |set| arguments.header(set, &requested)),
    }
}

/// Merges sets of one name, which are one object: the newest release stands for all, if all have the same entries.
fn one_per_name(sets: Vec<CompleteImageSet>) -> Result<Vec<CompleteImageSet>, Failure> {
    let mut kept: Vec<CompleteImageSet> = Vec::new();
    for set in sets {
        let Some(same) = kept.iter_mut().find(|one| one.name() == set.name()) else {
            kept.push(set);
            continue;
        };
        if same.entries() != set.entries() {
            let (one, other) = (same.origin().operator, set.origin().operator);
            let message =
                format!("operators {one} and {other} both look for {} and want other content in it", set.name());
            return Err(Failure::new(message).reason(Reason::SameNameConflict).hint(
                "make a file for each; in a cluster the one of the operator that runs is stored until the other has taken over",
            ));
        }
        *same = set;
    }
    Ok(kept)
}

/// Builds one set by the rules of the controller.
async fn complete(requested: &RequestedSet, registries: &Registries) -> Result<CompleteImageSet, Failure> {
    let mut snapshot = requested.snapshot();
    let decision = decide_with_lookups(&mut snapshot, requested.catalogue(), async |snapshot, decision| {
        let title = format!("operator {}", requested.release);
        let lookups = &decision.lookups;
        let resolved = registries.resolve(&title, lookups.images.iter().cloned(), &lookups.hints).await;
        let result = |image: Result<_, _>| image.map_or_else(LookupResult::Failed, LookupResult::Known);
        let results = resolved.into_iter().map(|(reference, image)| (reference, result(image)));
        snapshot.lookup_results.images.extend(results);
        true
    })
    .await;
    complete_set(decision, requested.release)
}

/// Returns the set of a decision, or the failures that its findings are.
fn complete_set(decision: Decision, release: Release) -> Result<CompleteImageSet, Failure> {
    for finding in decision.findings.iter().filter(|finding| finding.reason.severity() == Severity::Warning) {
        note(&format!("warning: {}", finding.sentence()));
    }
    let blocking = decision.findings.iter().filter(|finding| finding.blocks());
    let failures = blocking.map(|finding| {
        // Without a cluster there are no nodes that could have credentials of their own.
        let reason = match finding.reason {
            Reason::NodeCredentialsOnly => Reason::RegistryUnauthorized,
            reason => reason,
        };
        Failure::new(format!("{}: {}", finding.subject, finding.message))
            .reason(reason)
            .hint(registry_failure::hint(reason))
    });
    if let Some(failure) = failures.reduce(Failure::and) {
        return Err(failure);
    }
    let stored = decision.plan.iter().find_map(Action::image_set).map(|store| store.set.clone());
    stored.ok_or_else(|| Failure::new(format!("no ImageSet came out for operator {release}")))
}

impl Arguments {
    /// Returns the comment above a set: what it is made for and from, and the command that makes it again.
    fn header(&self, set: &CompleteImageSet, requested: &[RequestedSet]) -> Vec<String> {
        let release = set.origin().operator;
        let Some(one) = requested.iter().find(|one| one.release == release) else { return Vec::new() };
        let layout = &one.settings.layout;
        let place = if layout.registry.is_empty() { "the default registries" } else { layout.registry.as_str() };
        let mut lines = vec![
            format!("Digests for tigera-operator {release}, {} images from {place}. Made by:", set.entries().len()),
            format!("  {}", self.command_line(one)),
        ];
        lines.extend(one.source.as_ref().map(|source| format!("from {source}")));
        lines
    }
    /// Returns the command that makes a set again.
    fn command_line(&self, one: &RequestedSet) -> String {
        let output = &self.operator_output;
        let source = match (&output.version_file, &output.images_file, output.image()) {
            (Some(version), Some(images), _) => {
                format!("--version-file {} --images-file {}", version.display(), images.display())
            }
            (_, _, Some(image)) => format!("--inspect={image}"),
            _ if one.is_of_catalogue() => one.release.to_string(),
            _ => {
                let source = if self.from_cluster { "--from-cluster".to_owned() } else { one.release.to_string() };
                source + if output.inspect.is_some() { " --inspect" } else { "" }
            }
        };
        let mut command = vec![format!("imageset-controller generate {source}")];
        if matches!(one.settings.variant, Variant::Enterprise) {
            command.push("--variant Enterprise".to_owned());
        }
        if one.settings.fips {
            command.push("--fips".to_owned());
        }
        command.extend(registry::command_line(&one.settings.layout));
        if self.only_required {
            command.push("--only-required".to_owned());
            command.extend(one.features.iter().map(|feature| format!("--with {}", feature.kind())));
        }
        command.extend(self.exclude.iter().collect::<BTreeSet<_>>().iter().map(|name| format!("--exclude {name}")));
        command.extend(one.digests.iter().map(|(name, digest)| format!("--digest {name}={digest}")));
        command.extend(one.platforms().into_iter().map(|platform| format!("--platform {platform}")));
        command.join(" ")
    }
}
