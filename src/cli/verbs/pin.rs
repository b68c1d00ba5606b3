//! `pin`: the operator's own image by digest, in the manifest that deploys it. Changes that one value and no other byte. Looks up the digest
//! in the registry of the image, and needs no cluster.

use clap::Args;
use tokio::runtime::Runtime;

use crate::cli::edits;
use crate::cli::flags::registry::RegistryFlags;
use crate::cli::inputs::files;
use crate::cli::inputs::registries::Registries;
use crate::cli::output::{Failure, Output, note, registry_failure};
use crate::cli::runtime::runtime;
use crate::manifest::{self, HelmValues, KustomizedImage, ManifestError, OperatorImage, OperatorManifest};
use crate::model::{Digest, Hints, Reference};

/// The operator's image in Tigera's manifests, kustomizations and charts.
const OPERATOR: &str = "quay.io/tigera/operator";

/// Write the operator's image into a manifest by its digest.
///
/// The tag stays beside the digest: image: quay.io/tigera/operator:v1.42.4@sha256:…. Comments, order, quotes and line ends stay as
/// they are. For a kustomization or the values of the Helm chart it prints the lines to add. What it does not understand it refuses,
/// with line and column.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller pin tigera-operator.yaml > pinned.yaml
  imageset-controller pin --in-place tigera-operator.yaml
  imageset-controller pin --check tigera-operator.yaml
  curl -fsSL https://example.com/tigera-operator.yaml | imageset-controller pin - | kubectl apply --server-side -f -
  imageset-controller pin kustomization.yaml --version v1.42.4
  imageset-controller pin values.yaml

Exit codes: 0 pinned; 1 with --check, it is not, or the tag is another digest now; 2 could not tell.")]
pub(in crate::cli) struct Arguments {
    /// Manifests with the operator's Deployment, a kustomization or chart values; - is standard input
    #[arg(value_name = "FILE", required = true)]
    file: Vec<String>,

    /// Change the files
    #[arg(short, long, conflicts_with = "check")]
    in_place: bool,

    /// Change and print nothing; tell whether the images are pinned to what their tags are now
    #[arg(long)]
    check: bool,

    /// Where a tag is another digest now than the one that is pinned, pin the new one
    #[arg(long)]
    update: bool,

    /// The tag for a kustomization or chart values that name none
    #[arg(long, value_name = "TAG")]
    version: Option<String>,

    /// Name of the operator's container
    #[arg(long, value_name = "NAME", default_value = "tigera-operator")]
    container: String,

    #[command(flatten)]
    access: RegistryFlags,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    if arguments.file.len() > 1 && !arguments.in_place && !arguments.check {
        return Err(Failure::new("several files make no one manifest").hint("name one, or change them with --in-place"));
    }
    let registries = Registries::open(&arguments.access)?;
    let mut pinning = Pinning { arguments, registries, runtime: runtime()?, result: PinResult::default() };
    // Everything is looked up before anything is written.
    let mut changes = Vec::new();
    for name in &arguments.file {
        changes.extend(pinning.file(name)?);
    }
    let mut result = pinning.result;
    if arguments.check {
        let lines = Output::lines(result.checks);
        return Ok(if result.differs { lines.drifted() } else { lines });
    }
    for FileChange { name, before, after } in &changes {
        match arguments.in_place && *name != "-" {
            true if before == after => {}
            true => edits::files::replace(name, after)?,
            false => result.text.push_str(after),
        }
    }
    result.notes.iter().for_each(|line| note(line));
    Ok(Output::file(result.text))
}

/// A manifest with its images by digest.
struct FileChange<'a> {
    name: &'a str,
    before: String,
    after: String,
}

/// What is printed in the end.
#[derive(Default)]
struct PinResult {
    /// For standard output.
    text: String,
    /// For a person, on standard error.
    notes: Vec<String>,
    /// With `--check`, one line per image.
    checks: Vec<String>,
    /// An image is not pinned, or its tag has another digest now.
    differs: bool,
}

impl PinResult {
    /// Adds an image that has a digest and no tag: it can mean nothing else.
    fn add_untagged(&mut self, place: &str, reference: &Reference) {
        let line = format!("{place}: {} is pinned, without a tag to compare it with", reference.short());
        self.checks.push(line.clone());
        self.notes.push(line);
    }

    /// Adds an image: the digest that is pinned, and that of its tag now.
    fn add(&mut self, place: &str, pinned: Option<&str>, reference: &Reference, current: Digest) {
        let image = format!("{}:{}", reference.name(), reference.tag().unwrap_or_default());
        let (place, now) = (files::display_name(place), current.short());
        match pinned {
            Some(pinned) if pinned == current.to_string() => {
                self.checks.push(format!("{place}: {image} is pinned to {now}"));
            }
            Some(pinned) => {
                self.differs = true;
                let pinned =
                    pinned.parse::<Digest>().map_or_else(|_| pinned.to_owned(), |pinned| pinned.short().to_string());
                self.checks.push(format!("{place}: {image} is {now} now, pinned is {pinned}"));
                self.notes.push(format!("{place}: {image} was {pinned}, is {now}"));
            }
            None => {
                self.differs = true;
                self.checks.push(format!("{place}: {image} is not pinned; it is {now}"));
                self.notes.push(format!("{place}: {image} is pinned to {now}"));
            }
        }
    }
}

/// The files of one command on their way to digests.
struct Pinning<'a> {
    arguments: &'a Arguments,
    registries: Registries,
    runtime: Runtime,
    result: PinResult,
}

impl Pinning<'_> {
    /// Pins the images of one file. Returns its change, if it is a manifest; for others the result has the lines to add.
    fn file<'name>(&mut self, name: &'name str) -> Result<Option<FileChange<'name>>, Failure> {
        let before = files::read(name)?;
        let container = &self.arguments.container;
        let found = manifest::operator_images(&before, container).map_err(|error| files::malformed(name, &error))?;
        match found {
            OperatorManifest::Workloads(images) => {
                let after = self.workloads(name, &before, &images)?;
                return Ok(Some(FileChange { name, before, after }));
            }
            OperatorManifest::None => {
                let message = format!("no workload in this file has a container named {container}");
                return Err(files::malformed(name, &ManifestError { line: 1, column: 1, message }));
            }
            OperatorManifest::Kustomization { .. } | OperatorManifest::HelmValues(_) if self.arguments.in_place => {
                let name = files::display_name(name);
                return Err(Failure::new(format!("{name}: kustomizations and chart values are not changed in place"))
                    .hint("without --in-place the lines to add are printed"));
            }
            OperatorManifest::Kustomization { images } => self.kustomization(name, &images)?,
            OperatorManifest::HelmValues(values) => self.helm_values(name, values)?,
        }
        Ok(None)
    }

    fn kustomization(&mut self, name: &str, images: &[KustomizedImage]) -> Result<(), Failure> {
        let entry = match kustomized_operator(self.arguments, name, images)? {
            KustomizedOperator::Tagged(entry) => entry,
            KustomizedOperator::Pinned(reference) => {
                self.digest(&reference)?;
                self.result.add_untagged(files::display_name(name), &reference);
                return Ok(());
            }
        };
        let digest = self.digest(&entry.reference)?;
        self.result.add(name, entry.entry.digest.as_deref(), &entry.reference, digest);
        self.result.text.push_str(&entry.lines(&digest));
        Ok(())
    }

    fn helm_values(&mut self, name: &str, values: HelmValues) -> Result<(), Failure> {
        let (reference, pinned) = operator_of_values(self.arguments, name, values)?;
        let digest = self.digest(&reference)?;
        self.result.add(name, pinned.as_ref().map(Digest::to_string).as_deref(), &reference, digest);
        let tag = reference.tag().unwrap_or_default();
        self.result.text.push_str(&format!("tigeraOperator:\n  version: {tag}@{digest}\n"));
        Ok(())
    }

    /// Returns the text of a manifest with all images by digest.
    fn workloads(&mut self, name: &str, text: &str, images: &[OperatorImage]) -> Result<String, Failure> {
        let mut text = text.to_owned();
        // From the end, so that the places of those before stay valid.
        for found in images.iter().rev() {
            if let Some(image) = self.workload(name, found)? {
                text = manifest::with_image(&text, found, &image).map_err(|error| files::malformed(name, &error))?;
            }
        }
        Ok(text)
    }

    /// Returns the reference with tag and digest of one image; `None` where it has a digest and no tag.
    fn workload(&mut self, name: &str, found: &OperatorImage) -> Result<Option<String>, Failure> {
        let (image, column) = (&found.image, found.place.column);
        let place = format!("{}:{}", files::display_name(name), found.place.line);
        let reference: Reference = image
            .parse()
            .map_err(|error| Failure::new(format!("{place}:{column}: {image:?} is no image reference: {error}")))?;
        let pinned = reference.digest().copied();
        let Some(tag) = reference.tag() else {
            self.digest(&reference)?;
            self.result.add_untagged(&place, &reference);
            return Ok(None);
        };
        // The parser adds `latest` where the text has no tag.
        if pinned.is_none() && !image.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            let message = format!("{place}:{column}: {image:?} has no tag, so that it would be any version");
            return Err(Failure::new(message).hint("write the version as its tag"));
        }
        let by_tag = reference.with_tag(tag);
        let now = self.digest(&by_tag)?;
        self.result.add(&place, pinned.as_ref().map(Digest::to_string).as_deref(), &by_tag, now);
        if pinned.is_some_and(|pinned| pinned != now) && !self.arguments.update && !self.arguments.check {
            let message = format!("{place}: {by_tag} is {} now, pinned is {}", now.short(), reference.short());
            return Err(Failure::new(message).known().hint("find out why the tag moved; --update pins the new digest"));
        }
        Ok(Some(format!("{by_tag}@{now}")))
    }

    /// Looks up the digest of a reference.
    fn digest(&self, reference: &Reference) -> Result<Digest, Failure> {
        let (references, hints) = ([reference.clone()], Hints::default());
        let images = self.runtime.block_on(self.registries.resolve("operator image", references, &hints));
        match images.into_values().next() {
            Some(Ok(image)) => Ok(image.digest),
            Some(Err(failed)) if failed.is_missing() => {
                Err(registry_failure::failure(&failed)
                    .hint("push or mirror the operator's image, or correct the manifest"))
            }
            Some(Err(failed)) => Err(registry_failure::failure(&failed)),
            None => Err(Failure::new(format!("{reference} was not asked for"))),
        }
    }
}

/// The operator's image by a kustomization.
enum KustomizedOperator {
    /// With a tag, or that of `--version`.
    Tagged(TaggedEntry),
    /// With a digest and no tag, like the lines that this verb prints.
    Pinned(Reference),
}

/// An entry of a kustomization, and the reference that it stands for.
struct TaggedEntry {
    entry: KustomizedImage,
    reference: Reference,
}

impl TaggedEntry {
    /// Returns the entry with a digest. kustomize takes either a tag or a digest, so that the tag becomes a comment.
    fn lines(&self, digest: &Digest) -> String {
        let new_name = self.entry.new_name.as_ref().map(|name| format!("  newName: {name}\n")).unwrap_or_default();
        let tag = self.reference.tag().unwrap_or_default();
        format!("images:\n- name: {}\n{new_name}  digest: {digest} # {tag}\n", self.entry.name)
    }
}

fn kustomized_operator(
    arguments: &Arguments,
    file: &str,
    images: &[KustomizedImage],
) -> Result<KustomizedOperator, Failure> {
    let shown = files::display_name(file);
    let is_operator = |image: &&KustomizedImage| image.name == OPERATOR || image.name.ends_with("tigera/operator");
    let entry = images.iter().find(is_operator).cloned().unwrap_or_else(|| KustomizedImage {
        name: OPERATOR.to_owned(),
        new_name: None,
        new_tag: None,
        digest: None,
    });
    let tag = arguments.version.clone().or_else(|| entry.new_tag.clone());
    let name = entry.new_name.as_ref().unwrap_or(&entry.name).clone();
    if let (None, Some(digest)) = (&tag, &entry.digest) {
        return parse(shown, &format!("{name}@{digest}")).map(KustomizedOperator::Pinned);
    }
    let Some(tag) = tag else {
        return Err(Failure::new(format!("{shown}: no newTag says which version of {} is meant", entry.name))
            .hint("name it with --version"));
    };
    let reference = parse(shown, &format!("{name}:{tag}"))?;
    Ok(KustomizedOperator::Tagged(TaggedEntry { entry, reference }))
}

/// Returns the image of the chart, `{registry}/{image}:{version}`, and the digest in its version.
fn operator_of_values(
    arguments: &Arguments,
    file: &str,
    values: HelmValues,
) -> Result<(Reference, Option<Digest>), Failure> {
    let shown = files::display_name(file);
    let HelmValues { registry, image, version } = values;
    let registry = registry.unwrap_or_else(|| "quay.io".to_owned());
    let image = image.unwrap_or_else(|| "tigera/operator".to_owned());
    let (tag, digest) = match version.as_deref().map(|version| version.split_once('@').unwrap_or((version, ""))) {
        Some((tag, digest)) => (Some(tag.to_owned()), digest.parse().ok()),
        None => (None, None),
    };
    let Some(tag) = arguments.version.clone().or(tag) else {
        return Err(Failure::new(format!("{shown}: tigeraOperator.version is not set")).hint("name it with --version"));
    };
    let registry = registry.trim_end_matches('/');
    let name = if registry.is_empty() { image } else { format!("{registry}/{image}") };
    Ok((parse(shown, &format!("{name}:{tag}"))?, digest))
}

fn parse(file: &str, image: &str) -> Result<Reference, Failure> {
    image.parse().map_err(|error| Failure::new(format!("{file}: {image:?} is no image reference: {error}")))
}
