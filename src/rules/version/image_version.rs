//! Determines the version of one operator image: from an inspection, its tag, the previous status or its label.

use std::collections::BTreeSet;

use crate::model::{
    Digest, Finding, Inspection, KnownOperator, LookupResult, OperatorImage, PrepareVersion, ProductVersion, Reason,
    Reference, Release, Snapshot, Subject, Variant,
};
use crate::rules::version::effective_catalogue::EffectiveCatalogue;
use crate::rules::version::inspection::NeededInspection;

/// The version of one image.
pub(super) enum ImageVersion {
    Known(Box<KnownOperator>),
    /// The image list is unknown, and possibly the version.
    Unlisted(Option<Box<KnownOperator>>, Box<NeededInspection>),
    Pending,
    Unknown(Finding),
}

/// Determines versions from a snapshot and the lists that apply in its cluster.
pub(super) struct VersionFinder<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) effective: &'a EffectiveCatalogue<'a>,
    pub(super) variant: Variant,
}

impl VersionFinder<'_> {
    /// Determines the version: of an inspected image by its output, of a released tag by the catalogue, of any other by the label
    /// of the image.
    pub(super) fn version_of(&self, image: &str, subject: &Subject, lookups: &mut BTreeSet<Reference>) -> ImageVersion {
        let reference: Reference = match image.parse() {
            Ok(reference) => reference,
            Err(error) => {
                return ImageVersion::Unknown(Finding::new(
                    Reason::OperatorImageInvalid,
                    subject.clone(),
                    error.to_string(),
                ));
            }
        };
        let tag = reference.tag().filter(|_| reference.digest().is_none());
        let tagged: Option<Release> = tag.and_then(|tag| tag.parse().ok());
        if let Some(inspected) = self.effective.of_image(&reference) {
            return self.version_by_inspection(image, subject, tagged, inspected);
        }
        if let Some(release) = tagged.filter(|release| self.effective.is_released(release)) {
            return self.known_operator(image, release, None);
        }
        // The label of a digest never changes, so the status keeps it. A tag can move.
        if let Some(digest) = reference.digest()
            && let Some(release) = self.snapshot.remembered.version_of(image)
            && self.effective.is_released(&release)
        {
            return self.known_operator(image, release, Some(*digest));
        }
        match self.snapshot.lookup_results.operators.get(&reference) {
            None => {
                lookups.insert(reference);
                ImageVersion::Pending
            }
            Some(LookupResult::Pending) => ImageVersion::Pending,
            Some(LookupResult::Failed(failure)) => {
                let message = format!("the version label of its image cannot be read: {}", failure.summary());
                ImageVersion::Unknown(Finding::new(Reason::OperatorVersionUnknown, subject.clone(), message))
            }
            Some(LookupResult::Known(looked_up)) => {
                self.version_by_label(image, subject, tagged, &reference, looked_up)
            }
        }
    }

    /// Determines the version by the label of the image. A tag that contradicts it makes the version ambiguous.
    fn version_by_label(
        &self,
        image: &str,
        subject: &Subject,
        tagged: Option<Release>,
        reference: &Reference,
        looked_up: &OperatorImage,
    ) -> ImageVersion {
        let needed = |why: String| {
            let (image, label) = (reference.clone(), looked_up.version.clone());
            let subject = subject.clone();
            Box::new(NeededInspection { image, digest: looked_up.digest, label, subject, why, prepared: None })
        };
        let labelled = match looked_up.version.as_deref().map(str::parse::<Release>) {
            Some(Ok(labelled)) => labelled,
            Some(Err(error)) => {
                let why = format!("the version label of image {image} is no release: {error}");
                return ImageVersion::Unlisted(None, needed(why));
            }
            None => return ImageVersion::Unlisted(None, needed(format!("image {image} has no version label"))),
        };
        match labelled.agree(tagged) {
            Err((labelled, tagged)) => {
                let message = format!("image {image} is tagged {tagged} and labelled {labelled}");
                ImageVersion::Unknown(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message))
            }
            Ok(release) if self.effective.is_released(&release) => {
                self.known_operator(image, release, Some(looked_up.digest))
            }
            Ok(release) => {
                let (image, digest) = (Some(image.to_owned()), Some(looked_up.digest));
                let operator = KnownOperator { image, digest, release, product: None };
                ImageVersion::Unlisted(Some(Box::new(operator)), needed(self.not_listed(release)))
            }
        }
    }

    /// Determines the version of an image that was inspected.
    fn version_by_inspection(
        &self,
        image: &str,
        subject: &Subject,
        tagged: Option<Release>,
        inspected: &Inspection,
    ) -> ImageVersion {
        let ambiguous = |message: String| {
            ImageVersion::Unknown(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message))
        };
        match inspected.release().map(|release| release.agree(tagged)) {
            Ok(Ok(release)) => self.known_operator(image, release, Some(inspected.digest)),
            Ok(Err((release, tagged))) => {
                ambiguous(format!("image {image} is tagged {tagged} and says that it is {release}"))
            }
            Err(message) => ambiguous(message),
        }
    }

    fn known_operator(&self, image: &str, release: Release, digest: Option<Digest>) -> ImageVersion {
        let image = Some(image.to_owned());
        ImageVersion::Known(Box::new(KnownOperator { image, digest, release, product: self.product(release) }))
    }

    pub(super) fn product(&self, release: Release) -> Option<ProductVersion> {
        self.effective.catalogue().get(&release).map(|images| images.product_version(self.variant).clone())
    }

    /// Determines the version of an entry of `prepare.versions`. A release is pulled from the repository of the operator.
    pub(super) fn prepared_version(
        &self,
        version: &PrepareVersion,
        subject: &Subject,
        lookups: &mut BTreeSet<Reference>,
    ) -> ImageVersion {
        let reference = match version {
            PrepareVersion::Operator(reference) => Some(reference.clone()),
            PrepareVersion::Release(release) => self.effective.reference_of(*release),
        };
        match (reference, version) {
            (Some(reference), _) => self.version_of(&reference.to_string(), subject, lookups),
            (None, PrepareVersion::Release(release)) if self.effective.is_released(release) => {
                self.known_operator("", *release, None)
            }
            (None, _) => {
                let name_it = "name its whole image reference in spec.prepare.versions to have it asked";
                let why = version.release().map(|release| self.not_listed(release)).unwrap_or_default();
                let finding =
                    Finding::new(Reason::OperatorVersionUnknown, subject.clone(), format!("{why}; {name_it}"));
                ImageVersion::Unknown(finding)
            }
        }
    }

    fn not_listed(&self, release: Release) -> String {
        let newest = self.effective.newest().map(|newest| format!(" (newest: {newest})")).unwrap_or_default();
        format!("operator version {release} is not in the catalogue{newest}")
    }

    /// Returns a finding if no set can be made for a known version.
    pub(super) fn objection(&self, operator: &KnownOperator, subject: &Subject) -> Option<Finding> {
        let release = operator.release;
        match &operator.product {
            None => Some(Finding::new(Reason::OperatorVersionUnknown, subject.clone(), self.not_listed(release))),
            Some(product) if product.is_pre_release_marker() => {
                let message = format!("operator version {release} deploys {} {:?}", self.variant, product.as_str());
                Some(Finding::new(Reason::PreReleaseMarker, subject.clone(), message))
            }
            Some(_) => None,
        }
    }
}
