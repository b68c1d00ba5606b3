//! `bundle`: the images of operator releases by digest, as a script that copies them into another registry. Copies nothing itself; looks up
//! digests in the registry that they come from, and needs no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use crate::cli::flags::digests::DigestFlags;
use crate::cli::flags::installation::VariantValue;
use crate::cli::flags::operator_output::OperatorOutputFlags;
use crate::cli::flags::registry::{self, LayoutFlags, RegistryFlags};
use crate::cli::flags::release;
use crate::cli::inputs::image_names;
use crate::cli::inputs::operator_files::ManifestImages;
use crate::cli::inputs::operator_images::OperatorFinder;
use crate::cli::inputs::registries::{Registries, ResolvedImages};
use crate::cli::output::registry_failure;
use crate::cli::output::{Failure, Output};
use crate::cli::runtime::runtime;
use crate::model::{Digest, Hints, ImageName, OperatorImages, Reference, RegistryLayout, Release};

/// Print a script that copies the images of operator releases into another registry, by digest and for all platforms.
///
/// Or the list of these images by digest, for a Zarf package or for Hauler.
///
/// The operator's own image is among them. The list is that of the release and not of any cluster. The tags stay, so that verify
/// can prove the copy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller bundle v1.42.4 --to mirror.example.com --to-path calico > mirror.sh
  imageset-controller bundle v1.40.15 v1.42.4 --to mirror.example.com --tool skopeo > mirror.sh
  imageset-controller bundle v1.44.0 --inspect --to mirror.example.com > mirror.sh
  imageset-controller bundle -f tigera-operator.yaml --to mirror.example.com > openshift.sh
  imageset-controller bundle v1.42.4 -o hauler > images.yaml
  sh mirror.sh
  imageset-controller verify imageset.yaml --registry mirror.example.com --image-path calico

Exit codes: 0 printed; 2 an image is missing or a registry could not be asked, and nothing is printed.")]
pub(in crate::cli) struct Arguments {
    /// Operator releases, such as v1.42.4
    #[arg(value_name = "VERSION", value_parser = release::parse, required_unless_present_any = ["version_file", "inspect", "file"])]
    releases: Vec<Release>,

    /// Add what a manifest runs, such as calico/ctl, and the release of its operator; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Vec<String>,

    /// Registry to copy to: `registry` of the Installation there
    #[arg(long, value_name = "HOST", default_value = "", hide_default_value = true)]
    to: String,

    /// `imagePath` of the Installation there
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    to_path: String,

    /// `imagePrefix` of the Installation there
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    to_prefix: String,

    /// What copies
    #[arg(long, value_enum, default_value_t)]
    tool: Tool,

    /// A script for --tool, a component of a Zarf package, or a manifest of Hauler
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    /// The product that the operator installs
    #[arg(long, value_enum, default_value_t, ignore_case = true)]
    variant: VariantValue,

    /// The images for FIPS mode
    #[arg(long)]
    fips: bool,

    /// Leave out an image, such as calico/node-windows
    #[arg(long, value_name = "NAME")]
    exclude: Vec<ImageName>,

    #[command(flatten)]
    digests: DigestFlags,

    #[command(flatten)]
    operator_output: OperatorOutputFlags,

    #[command(flatten)]
    layout: LayoutFlags,

    #[command(flatten)]
    access: RegistryFlags,
}

/// A program that copies images between registries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Tool {
    /// go-containerregistry's.
    #[default]
    Crane,
    /// containers/image's.
    Skopeo,
    /// The OCI registry client.
    Oras,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// A shell script.
    #[default]
    Script,
    /// A component of a Zarf package: from Zarf v0.76 on it keeps an index that is named by digest.
    Zarf,
    /// A manifest of Hauler.
    Hauler,
}

impl Format {
    /// Returns the list of images by digest. Each tag stays in front of its digest, for people.
    fn list(self, copies: &BTreeMap<Reference, Reference>, digests: &BTreeMap<Reference, Digest>) -> String {
        let (head, item) = match self {
            Self::Hauler => (
                "apiVersion: content.hauler.cattle.io/v1\nkind: Images\nmetadata:\n  name: calico\nspec:\n  images:\n",
                "  - name: ",
            ),
            Self::Zarf | Self::Script => {
                ("# Zarf v0.76 or newer.\ncomponents:\n- name: calico-images\n  required: true\n  images:\n", "  - ")
            }
        };
        let named = copies.keys().filter_map(|from| match from.digest() {
            Some(_) => Some(format!("{item}{from}\n")),
            None => digests.get(from).map(|digest| format!("{item}{from}@{digest}\n")),
        });
        head.to_owned() + &named.collect::<String>()
    }
}

impl Tool {
    /// Returns the command that copies a whole index and keeps its digest, up to the two references.
    fn command(self, from_plain: bool, to_plain: bool) -> String {
        let mut words = match self {
            Self::Crane => vec!["crane copy"],
            Self::Skopeo => vec!["skopeo copy --all --preserve-digests"],
            Self::Oras => vec!["oras copy"],
        };
        let (from, to) = match self {
            // crane has one switch for both.
            Self::Crane => ("--insecure", ""),
            Self::Skopeo => ("--src-tls-verify=false", "--dest-tls-verify=false"),
            Self::Oras => ("--from-plain-http", "--to-plain-http"),
        };
        words.extend((from_plain || to_plain && to.is_empty()).then_some(from));
        words.extend((to_plain && !to.is_empty()).then_some(to));
        words.join(" ")
    }

    const fn scheme(self) -> &'static str {
        match self {
            Self::Skopeo => "docker://",
            Self::Crane | Self::Oras => "",
        }
    }
}

impl Arguments {
    /// Returns where the images are copied to.
    fn target(&self) -> RegistryLayout {
        RegistryLayout {
            registry: self.to.clone(),
            image_path: self.to_path.clone(),
            image_prefix: self.to_prefix.clone(),
        }
    }
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    if arguments.output == Format::Script && arguments.to.is_empty() {
        return Err(
            Failure::new("a script copies to a registry").hint("name it with --to; -o zarf and -o hauler need none")
        );
    }
    let of_manifests = ManifestImages::of_files(&arguments.file)?;
    let runtime = runtime()?;
    let registries = Registries::open(&arguments.access)?;
    let finder = OperatorFinder::new(&arguments.operator_output, Some(&registries));
    let releases = of_manifests.releases_with(&arguments.releases);
    let operators = runtime.block_on(finder.all(&releases, &arguments.layout.layout()))?;
    let copies = copies(arguments, &operators, &of_manifests.images)?;
    let images = runtime.block_on(registries.resolve("bundle", copies.keys().cloned(), &Hints::default()));
    let digests = digests(images)?;
    let releases: Vec<String> = operators.iter().map(|images| images.release().to_string()).collect();
    Ok(Output::text(match arguments.output {
        Format::Script => script(arguments, &releases.join(" "), &copies, &digests),
        list => list.list(&copies, &digests),
    }))
}

/// Returns the digests by reference.
///
/// # Errors
/// A lookup failed; a registry that is down is reported once.
fn digests(images: ResolvedImages) -> Result<BTreeMap<Reference, Digest>, Failure> {
    let mut digests = BTreeMap::new();
    let (mut failures, mut reported) = (Vec::new(), BTreeSet::new());
    for (reference, image) in images {
        match image {
            Ok(image) => drop(digests.insert(reference, image.digest)),
            Err(failed) if failed.kind.concerns_whole_registry() && !reported.insert(failed.registry.clone()) => {}
            Err(failed) => failures.push(registry_failure::failure(&failed)),
        }
    }
    failures.into_iter().reduce(Failure::and).map_or(Ok(digests), Err)
}

/// Returns source and target of each image, by tag.
fn copies(
    arguments: &Arguments,
    operators: &[OperatorImages],
    of_manifests: &BTreeSet<Reference>,
) -> Result<BTreeMap<Reference, Reference>, Failure> {
    let target = arguments.target();
    let (source, digests) = (arguments.layout.layout(), arguments.digests.by_name()?);
    image_names::check(arguments.exclude.iter().chain(digests.keys()), operators)?;
    let place = |layout: &RegistryLayout, default: &Reference| {
        layout.place(default).map_err(|error| {
            Failure::new(error.to_string()).hint("a registry is a host, without scheme; paths are in lower case")
        })
    };
    let mut copies = BTreeMap::new();
    for images in operators {
        let variant = arguments.variant.into();
        let listed = images.entries(variant, arguments.fips, &images.may_require_in_cluster_of(variant));
        let own = images.own_image();
        let listed = listed.into_iter().filter(|(name, _)| !arguments.exclude.contains(name));
        for (name, default) in listed.chain(own.image_name().ok().map(|name| (name, own.clone()))) {
            let from = place(&source, &default)?;
            let from = digests.get(&name).map_or_else(|| from.clone(), |digest| from.with_digest(*digest));
            copies.insert(from, place(&target, &default)?);
        }
    }
    let listed: BTreeSet<Reference> = copies.values().cloned().collect();
    for image in of_manifests {
        let to = place(&target, image)?;
        // The operator's own image is among those of its release.
        if !listed.contains(&to) {
            copies.insert(image.clone(), to);
        }
    }
    Ok(copies)
}

/// Returns the script.
fn script(
    arguments: &Arguments,
    releases: &str,
    copies: &BTreeMap<Reference, Reference>,
    digests: &BTreeMap<Reference, Digest>,
) -> String {
    let plain = |reference: &Reference| arguments.access.uses_plain_http(reference.registry());
    let (tool, scheme) = (arguments.tool, arguments.tool.scheme());
    let target = arguments.target();
    let mut script = format!(
        "#!/bin/sh\n# {} images of operator {releases}, by digest and for all platforms. Log in to both registries first.\n\
         # Afterwards: imageset-controller verify FILE {}\nset -eu\n",
        copies.len(),
        registry::command_line(&target).join(" ")
    );
    for (number, (from, to)) in copies.iter().enumerate() {
        let Some(digest) = digests.get(from) else { continue };
        let command = tool.command(plain(from), plain(to));
        let _ = writeln!(script, "echo '{} of {}: {to}' >&2", number + 1, copies.len());
        let _ = writeln!(script, "{command} '{scheme}{}@{digest}' '{scheme}{to}'", from.name());
    }
    script
}
