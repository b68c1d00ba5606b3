//! Inspection of an operator image on this machine, without a cluster: what the controller's Job does there. [`engine`] runs the image,
//! [`cache`] keeps what it printed.

mod cache;
mod engine;

use jiff::Timestamp;

use super::registries::Registries;
use crate::api::Interval;
use crate::cli::output::{Failure, note, registry_failure};
use crate::inspection::output::{self, InvalidOutput};
use crate::model::{Inspection, LookupResult, OperatorImages, Reason, Reference};
use engine::Printed;

/// Returns what an operator image prints of itself. The image runs by the digest that its registry serves, once: what it printed is kept.
///
/// # Errors
/// The digest cannot be looked up, the image cannot be run, or what it prints is not the whole list of an operator.
pub(super) async fn inspect(
    image: &Reference,
    registries: &Registries,
    limit: Interval,
) -> Result<Inspection, Failure> {
    let operator = match registries.operators([image.clone()].into()).await.remove(image) {
        Some(LookupResult::Known(operator)) => operator,
        Some(LookupResult::Failed(failed)) => return Err(registry_failure::failure(&failed)),
        _ => return Err(Failure::new(format!("{image} was not looked up"))),
    };
    let digest = operator.digest;
    let kept = cache::read(&digest).and_then(|printed| Some((parse(&printed).ok()?, printed)));
    let (images, printed) = match kept {
        Some(kept) => kept,
        None => {
            let printed = engine::run(&image.with_digest(digest), &digest, limit).await?;
            let images = parse(&printed).map_err(|error| invalid(image, &error))?;
            if let Err(error) = cache::write(&digest, &printed) {
                note(&format!("note: what {image} printed is not kept for the next time: {error}"));
            }
            (images, printed)
        }
    };
    note_remarks(&printed.version);
    let label = operator.version;
    Ok(Inspection { image: image.clone(), digest, label, completed_at: Timestamp::now(), images, rejected: [].into() })
}

fn parse(printed: &Printed) -> Result<OperatorImages, InvalidOutput> {
    output::parse(&printed.version, &printed.images)
}

fn invalid(image: &Reference, error: &InvalidOutput) -> Failure {
    Failure::new(format!("{image}: {error}"))
        .reason(Reason::InspectionOutputInvalid)
        .hint("name the image of the operator itself: --inspect=IMAGE")
}

/// Notes what a valid output of `--version` has that no release prints.
pub(super) fn note_remarks(version: &str) {
    if let Some((printed, release)) = output::rebuild_of(version) {
        note(&format!("note: the operator prints the version {printed:?}, a rebuild; it is read as {release}"));
    }
    if let Some(variant) = output::build_variant(version) {
        note(&format!("note: the operator is built for {variant:?}; --variant says which of its lists counts"));
    }
}
