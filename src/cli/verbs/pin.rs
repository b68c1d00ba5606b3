//! `pin`: writes the operator's image by digest into the file that deploys it. Changes that one value and no other byte. Looks up the digest
//! in the registry of the image, and needs no cluster.

use std::collections::BTreeMap;

use clap::Args;
use tokio::runtime::Runtime;

use crate::cli::edits;
use crate::cli::flags::registry::RegistryFlags;
use crate::cli::inputs::files;
use crate::cli::inputs::operator_files::{self, parse_image};
use crate::cli::inputs::registries::Registries;
use crate::cli::output::{Failure, Output, note, registry_failure};
use crate::cli::runtime::runtime;
use crate::manifest::{Addition, KustomizedImage, MissingVersion, OperatorFile, OperatorPlace};
use crate::model::{Content, Digest, Hints, Reference, RegistryFailureKind, Release, ResolvedImage};

/// The operator's image in Tigera's manifests, kustomizations and charts.
const OPERATOR: &str = "quay.io/tigera/operator";

/// Write the operator's image into a file by its digest.
///
/// The tag stays beside the digest: image: quay.io/tigera/operator:v1.42.4@sha256:…. Comments, order, quotes and line ends stay as
/// they are. Finds the image in workloads, in values of charts (also within HelmChartConfig, HelmRelease, Application and HelmChartProxy),
/// in patches, and in strings that are YAML themselves. Prints the lines to add where no value could hold the digest. Refuses what it
/// does not understand, with kind, line and column, and then changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller pin tigera-operator.yaml > pinned.yaml
  imageset-controller pin --in-place tigera-operator.yaml
  imageset-controller pin --check tigera-operator.yaml
  curl -fsSL https://example.com/tigera-operator.yaml | imageset-controller pin - | kubectl apply --server-side -f -
  imageset-controller pin kustomization.yaml --version v1.42.4
  imageset-controller pin --in-place values.yaml

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
    let mut pinning =
        Pinning { arguments, registries, runtime: runtime()?, images: BTreeMap::new(), result: PinResult::default() };
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
    /// Adds a warning, once.
    fn warn(&mut self, warning: String) {
        if !self.notes.contains(&warning) {
            self.notes.push(warning);
        }
    }

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
                self.notes.push(format!("{place}: {image} is already pinned to {now}"));
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
    /// Images that were looked up.
    images: BTreeMap<Reference, ResolvedImage>,
    result: PinResult,
}

impl Pinning<'_> {
    /// Pins the images of one file. Returns its change; for a file without a value to change the result has the lines to add.
    fn file<'name>(&mut self, name: &'name str) -> Result<Option<FileChange<'name>>, Failure> {
        let before = files::read(name)?;
        let OperatorFile { places, additions, .. } = operator_files::read(name, &before, &self.arguments.container)?;
        if places.is_empty() && self.arguments.in_place {
            let name = files::display_name(name);
            let message = format!("{name}: kustomizations, and values without a version, are not changed in place");
            return Err(Failure::new(message).hint("without --in-place the lines to add are printed"));
        }
        for addition in &additions {
            match addition {
                Addition::Kustomization { images, .. } => self.kustomization(name, images)?,
                Addition::Values(missing) => self.missing_version(name, missing)?,
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let after = self.places(name, &before, &places)?;
        Ok(Some(FileChange { name, before, after }))
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

    fn missing_version(&mut self, name: &str, missing: &MissingVersion) -> Result<(), Failure> {
        let place = format!("{}:{}", files::display_name(name), missing.line);
        let Some(tag) = &self.arguments.version else {
            let field = missing.keys.iter().map(|key| key.trim_end_matches(": |-")).collect::<Vec<_>>().join(".");
            let message = format!("{place}: {field} is not set, so that the chart decides which version runs");
            return Err(Failure::new(message).hint(
                "name it with --version, or pin what the chart renders: helm template … | imageset-controller pin -",
            ));
        };
        let reference = parse_image(&place, &format!("{}:{tag}", missing.name))?;
        let digest = self.digest(&reference)?;
        self.result.add(&place, None, &reference, digest);
        self.result.text.push_str(&missing.lines(&format!("{tag}@{digest}")));
        Ok(())
    }

    /// Returns the text of a file with all images by digest.
    fn places(&mut self, name: &str, text: &str, places: &[OperatorPlace]) -> Result<String, Failure> {
        let mut text = text.to_owned();
        // From the end, so that the places of those before stay valid.
        for found in places.iter().rev() {
            if let Some((by_tag, digest)) = self.place(name, found)? {
                let tag = format!("{}@{digest}", by_tag.tag().unwrap_or_default());
                text = found.pinned(&text, &tag).map_err(|error| files::malformed(name, &error))?;
            }
        }
        Ok(text)
    }

    /// Returns the reference by tag and the digest of one image; `None` where it has a digest and no tag.
    fn place(&mut self, name: &str, found: &OperatorPlace) -> Result<Option<(Reference, Digest)>, Failure> {
        let (image, column) = (&found.image, found.place.column);
        let place = format!("{}:{}", files::display_name(name), found.place.line);
        let reference = parse_image(&format!("{place}:{column}"), image)?;
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
        if tag.parse::<Release>().is_err() {
            let message =
                format!("warning: {place}: tag {tag:?} is not the version of an operator release, and may move");
            self.result.warn(message);
        }
        let by_tag = reference.with_tag(tag);
        let now = self.digest(&by_tag)?;
        self.result.add(&place, pinned.as_ref().map(Digest::to_string).as_deref(), &by_tag, now);
        if pinned.is_some_and(|pinned| pinned != now) && !self.arguments.update && !self.arguments.check {
            let message = format!("{place}: {by_tag} is {} now, pinned is {}", now.short(), reference.short());
            return Err(Failure::new(message).known().hint("find out why the tag moved; --update pins the new digest"));
        }
        Ok(Some((by_tag, now)))
    }

    /// Looks up the digest of a reference, once.
    fn digest(&mut self, reference: &Reference) -> Result<Digest, Failure> {
        if let Some(known) = self.images.get(reference) {
            return Ok(known.digest);
        }
        let image = self.resolve(reference)?;
        let digest = image.digest;
        if let Content::Manifest { platform } = &image.content {
            let message = format!(
                "warning: {reference} is a single manifest for {platform} and no index: nodes of other platforms cannot run it"
            );
            self.result.warn(message);
        }
        self.images.insert(reference.clone(), image);
        Ok(digest)
    }

    fn resolve(&self, reference: &Reference) -> Result<ResolvedImage, Failure> {
        let (references, hints) = ([reference.clone()], Hints::default());
        let images = self.runtime.block_on(self.registries.resolve("operator image", references, &hints));
        match images.into_values().next() {
            Some(Ok(image)) => Ok(image),
            Some(Err(failed)) if failed.kind == RegistryFailureKind::NotFound => {
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
    let entry = images.iter().find(|image| image.is_operator()).cloned().unwrap_or_else(|| KustomizedImage {
        name: OPERATOR.to_owned(),
        new_name: None,
        new_tag: None,
        digest: None,
    });
    let tag = arguments.version.clone().or_else(|| entry.new_tag.clone());
    let name = entry.new_name.as_ref().unwrap_or(&entry.name).clone();
    if let (None, Some(digest)) = (&tag, &entry.digest) {
        return parse_image(shown, &format!("{name}@{digest}")).map(KustomizedOperator::Pinned);
    }
    let Some(tag) = tag else {
        return Err(Failure::new(format!("{shown}: no newTag says which version of {} is meant", entry.name))
            .hint("name it with --version"));
    };
    let reference = parse_image(shown, &format!("{name}:{tag}"))?;
    Ok(KustomizedOperator::Tagged(TaggedEntry { entry, reference }))
}
