//! `pin`: the operator's own image by digest, in the manifest that deploys it. Changes that one value and no other byte; asks the
//! registry that the image names, and no cluster.

use clap::Args;

use super::output::{Answer, Failure, note};
use super::registry::{self, AccessArguments, Registries};
use super::{files, runtime};
use crate::manifest::{self, Found, KustomizedImage, OperatorImage};
use crate::model::digest::Digest;
use crate::model::lookups::Hints;
use crate::model::reference::Reference;
use crate::model::registry_failure::RegistryFailureKind;

/// What manifests, kustomizations and charts of its makers call the operator's image.
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
pub(super) struct Arguments {
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
    access: AccessArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    if arguments.file.len() > 1 && !arguments.in_place && !arguments.check {
        return Err(Failure::new("several files make no one manifest").hint("name one, or change them with --in-place"));
    }
    let runtime = runtime()?;
    let registries = Registries::open(&arguments.access)?;
    let mut answer = Outcome::default();
    // All is known before anything is written.
    let mut changed = Vec::new();
    for name in &arguments.file {
        let text = files::read(name)?;
        let found =
            manifest::operator_images(&text, &arguments.container).map_err(|refused| files::refused(name, &refused))?;
        match found {
            Found::Images(images) => {
                let pinned = runtime.block_on(pinned(arguments, name, &text, &images, &registries, &mut answer))?;
                changed.push((name, text, pinned));
            }
            Found::Nothing => {
                let message = format!("no workload in this file has a container named {}", arguments.container);
                return Err(files::refused(name, &manifest::Refused { line: 1, column: 1, message }));
            }
            Found::Kustomization { .. } | Found::HelmValues { .. } if arguments.in_place => {
                let message =
                    format!("{}: kustomizations and chart values are not changed in place", files::shown(name));
                return Err(Failure::new(message).hint("without --in-place the lines to add are printed"));
            }
            Found::Kustomization { images } => {
                let wanted = match of_kustomization(arguments, name, &images)? {
                    Kustomized::Tagged(wanted) => wanted,
                    Kustomized::Pinned(reference) => {
                        runtime.block_on(digest(&registries, &reference))?;
                        answer.told_untagged(files::shown(name), &reference);
                        continue;
                    }
                };
                let digest = runtime.block_on(digest(&registries, &wanted.reference))?;
                answer.told(name, wanted.digest.as_deref(), &wanted.reference, digest);
                answer.lines.push_str(&wanted.lines(&digest));
            }
            Found::HelmValues { registry, image, version } => {
                let (reference, have) = of_values(arguments, name, registry, image, version)?;
                let digest = runtime.block_on(digest(&registries, &reference))?;
                answer.told(name, have.as_ref().map(Digest::to_string).as_deref(), &reference, digest);
                let tag = reference.tag().unwrap_or_default();
                answer.lines.push_str(&format!("tigeraOperator:\n  version: {tag}@{digest}\n"));
            }
        }
    }
    if arguments.check {
        let lines = Answer::lines(answer.checked);
        return Ok(if answer.differs { lines.drifted() } else { lines });
    }
    for (name, before, after) in &changed {
        match arguments.in_place && name.as_str() != "-" {
            true if before == after => {}
            true => files::replace(name, after)?,
            false => answer.lines.push_str(after),
        }
    }
    answer.notes.iter().for_each(|line| note(line));
    Ok(Answer::exactly(answer.lines))
}

/// What is to be said in the end.
#[derive(Default)]
struct Outcome {
    /// For standard output.
    lines: String,
    /// For a person beside it.
    notes: Vec<String>,
    /// With `--check`.
    checked: Vec<String>,
    differs: bool,
}

impl Outcome {
    /// A digest alone: nothing else can be meant by it.
    fn told_untagged(&mut self, place: &str, reference: &Reference) {
        let line = format!("{place}: {} is pinned, without a tag to compare it with", reference.short());
        self.checked.push(line.clone());
        self.notes.push(line);
    }

    /// One image: what is pinned, and what its tag is now.
    fn told(&mut self, place: &str, have: Option<&str>, reference: &Reference, digest: Digest) {
        let image = reference.name();
        let tag = reference.tag().unwrap_or_default();
        let place = files::shown(place);
        let wanted = digest.to_string();
        match have {
            Some(have) if have == wanted => {
                self.checked.push(format!("{place}: {image}:{tag} is pinned to {}", digest.short()));
            }
            Some(have) => {
                self.differs = true;
                let have = have.parse::<Digest>().map_or_else(|_| have.to_owned(), |have| have.short().to_string());
                self.checked.push(format!("{place}: {image}:{tag} is {} now, pinned is {have}", digest.short()));
                self.notes.push(format!("{place}: {image}:{tag} was {have}, is {}", digest.short()));
            }
            None => {
                self.differs = true;
                self.checked.push(format!("{place}: {image}:{tag} is not pinned; it is {}", digest.short()));
                self.notes.push(format!("{place}: {image}:{tag} is pinned to {}", digest.short()));
            }
        }
    }
}

/// The text with all images by digest.
async fn pinned(
    arguments: &Arguments,
    name: &str,
    text: &str,
    images: &[OperatorImage],
    registries: &Registries,
    outcome: &mut Outcome,
) -> Result<String, Failure> {
    let mut text = text.to_owned();
    // From the end, so that the places of those before stay what they are.
    for found in images.iter().rev() {
        let place = format!("{}:{}", files::shown(name), found.place.line);
        let parsed: Result<Reference, _> = found.image.parse();
        let reference = parsed.map_err(|error| {
            Failure::new(format!("{place}:{}: {:?} is no image reference: {error}", found.place.column, found.image))
        })?;
        let have = reference.digest().copied();
        let Some(tag) = reference.tag() else {
            // Nothing else than this digest can be meant.
            digest(registries, &reference).await?;
            outcome.told_untagged(&place, &reference);
            continue;
        };
        if have.is_none() && !found.image.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            let message = format!(
                "{place}:{}: {:?} has no tag, so that it would be any version",
                found.place.column, found.image
            );
            return Err(Failure::new(message).hint("write the version as its tag"));
        }
        let by_tag = reference.with_tag(tag);
        let now = digest(registries, &by_tag).await?;
        outcome.told(&place, have.as_ref().map(Digest::to_string).as_deref(), &by_tag, now);
        if have.is_some_and(|have| have != now) && !arguments.update && !arguments.check {
            let message = format!("{place}: {by_tag} is {} now, pinned is {}", now.short(), reference.short());
            return Err(Failure::new(message).known().hint("find out why the tag moved; --update pins the new digest"));
        }
        let image = format!("{by_tag}@{now}");
        text = manifest::with_image(&text, found, &image).map_err(|refused| files::refused(name, &refused))?;
    }
    Ok(text)
}

/// What a registry has for a reference.
async fn digest(registries: &Registries, reference: &Reference) -> Result<Digest, Failure> {
    let answers = registries.resolve("operator image", std::slice::from_ref(reference), &Hints::default()).await;
    match answers.into_iter().next() {
        Some(Ok(image)) => Ok(image.digest),
        Some(Err(failed)) if failed.kind == RegistryFailureKind::NotFound => {
            Err(registry::failure(&failed).hint("push or mirror the operator's image, or correct the manifest"))
        }
        Some(Err(failed)) => Err(registry::failure(&failed)),
        None => Err(Failure::new(format!("{reference} was not asked for"))),
    }
}

/// What a kustomization says of the operator's image.
enum Kustomized {
    /// A tag, or `--version`.
    Tagged(TaggedEntry),
    /// A digest and no tag, as the lines that we print have it.
    Pinned(Reference),
}

/// An entry of a kustomization, as it should be.
struct TaggedEntry {
    entry: KustomizedImage,
    reference: Reference,
    digest: Option<String>,
}

impl TaggedEntry {
    /// kustomize takes either a tag or a digest, so that the tag becomes a comment.
    fn lines(&self, digest: &Digest) -> String {
        let new_name = self.entry.new_name.as_ref().map(|name| format!("  newName: {name}\n")).unwrap_or_default();
        let tag = self.reference.tag().unwrap_or_default();
        format!("images:\n- name: {}\n{new_name}  digest: {digest} # {tag}\n", self.entry.name)
    }
}

fn of_kustomization(arguments: &Arguments, file: &str, images: &[KustomizedImage]) -> Result<Kustomized, Failure> {
    let shown = files::shown(file);
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
        return parsed(shown, &format!("{name}@{digest}")).map(Kustomized::Pinned);
    }
    let Some(tag) = tag else {
        return Err(Failure::new(format!("{shown}: no newTag says which version of {} is meant", entry.name))
            .hint("name it with --version"));
    };
    let reference = parsed(shown, &format!("{name}:{tag}"))?;
    Ok(Kustomized::Tagged(TaggedEntry { digest: entry.digest.clone(), entry, reference }))
}

/// What the chart makes of its values: `{registry}/{image}:{version}`.
fn of_values(
    arguments: &Arguments,
    file: &str,
    registry: Option<String>,
    image: Option<String>,
    version: Option<String>,
) -> Result<(Reference, Option<Digest>), Failure> {
    let shown = files::shown(file);
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
    Ok((parsed(shown, &format!("{name}:{tag}"))?, digest))
}

fn parsed(file: &str, image: &str) -> Result<Reference, Failure> {
    image.parse().map_err(|error| Failure::new(format!("{file}: {image:?} is no image reference: {error}")))
}
