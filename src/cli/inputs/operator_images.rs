//! The images of operators: by the catalogue, or by what an operator image printed of itself, into files or to us.

use std::path::Path;

use super::files;
use super::inspection::{inspect, note_remarks};
use super::registries::Registries;
use crate::catalogue::Catalogue;
use crate::cli::flags::operator_output::OperatorOutputFlags;
use crate::cli::output::Failure;
use crate::inspection::output;
use crate::model::{OperatorImages, Reason, Reference, RegistryLayout, Release};

/// Finds the images of operators.
#[derive(Clone, Copy)]
pub(in crate::cli) struct OperatorFinder<'a> {
    flags: &'a OperatorOutputFlags,
    /// Where the digests of images are looked up that are run; `None` where no image is to be run.
    registries: Option<&'a Registries>,
}

impl<'a> OperatorFinder<'a> {
    pub const fn new(flags: &'a OperatorOutputFlags, registries: Option<&'a Registries>) -> Self {
        Self { flags, registries }
    }

    /// Returns the images of the releases, and of the operator that the flags name.
    ///
    /// # Errors
    /// There is none of them, or the images of one are not known.
    pub async fn all(&self, releases: &[Release], layout: &RegistryLayout) -> Result<Vec<OperatorImages>, Failure> {
        let mut all: Vec<OperatorImages> = self.named().await?.into_iter().collect();
        for release in releases {
            if !all.iter().any(|images| images.release() == *release) {
                all.push(self.of_release(*release, layout).await?);
            }
        }
        match all.is_empty() {
            true => Err(Failure::new("no operator is named").hint("name its version, or its image: --inspect=IMAGE")),
            false => Ok(all),
        }
    }

    /// Returns the images of the operator that the flags name: by files with what it printed, or by its image.
    pub async fn named(&self) -> Result<Option<OperatorImages>, Failure> {
        match self.flags.image() {
            Some(image) => self.inspected(image).await.map(Some),
            None => of_files(self.flags),
        }
    }

    /// Returns the images of a release: by the catalogue, or, with `--inspect`, by its image in a registry of this layout.
    pub async fn of_release(&self, release: Release, layout: &RegistryLayout) -> Result<OperatorImages, Failure> {
        let catalogue = Catalogue::embedded();
        if let Some(images) = catalogue.get(&release) {
            return Ok(images);
        }
        let newest = catalogue.newest().and_then(|newest| catalogue.get(&newest)).filter(|_| self.inspects());
        let Some(newest) = newest else { return Err(unknown_release(release)) };
        let default = newest.own_image().with_tag(&release.to_string());
        let image = layout.place(&default).map_err(|error| Failure::new(error.to_string()))?;
        self.inspected(&image).await
    }

    /// Whether an image may be run that the catalogue does not know.
    pub const fn inspects(&self) -> bool {
        self.flags.inspect.is_some()
    }

    /// Returns the images that an operator image prints.
    pub async fn inspected(&self, image: &Reference) -> Result<OperatorImages, Failure> {
        let no_registry = || Failure::new(format!("{image} is not run: no registry is read"));
        let registries = self.registries.ok_or_else(no_registry)?;
        let inspection = inspect(image, registries, self.flags.inspect_timeout).await?;
        let ambiguous = |message: String| Failure::new(message).reason(Reason::OperatorVersionAmbiguous);
        Ok(inspection.list(inspection.release().map_err(ambiguous)?))
    }
}

/// Returns the images by what the operator printed, if these files are given.
fn of_files(flags: &OperatorOutputFlags) -> Result<Option<OperatorImages>, Failure> {
    let (Some(version), Some(images)) = (&flags.version_file, &flags.images_file) else { return Ok(None) };
    let read = |path: &Path| files::read(&path.to_string_lossy());
    let (version, images) = (read(version)?, read(images)?);
    let images = output::parse(&version, &images).map_err(|error| {
        Failure::new(error.to_string())
            .hint("run the operator's image once with --version and once with --print-images=list, and keep both outputs whole")
    })?;
    note_remarks(&version);
    Ok(Some(images))
}

/// The failure for a release that the catalogue does not know, with what to do about it.
pub(in crate::cli) fn unknown_release(release: Release) -> Failure {
    let newest = Catalogue::embedded().newest().map_or_else(String::new, |newest| format!(" (its newest is {newest})"));
    Failure::new(format!("this build's catalogue does not have operator {release}{newest}"))
        .reason(Reason::OperatorVersionUnknown)
        .hint(
            "add --inspect: the operator's image is run once with docker, podman or nerdctl, to read what it installs; or give \
             what it prints with --version-file and --images-file",
        )
}
