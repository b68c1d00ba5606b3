//! The effective catalogue: which image list applies to which operator version in this cluster, that of the catalogue or that of
//! an inspection. An inspection counts for its own image only; another image of the same version keeps the catalogue's list.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::catalogue::Catalogue;
use crate::model::{
    Digest, ImageSetName, Inspection, InstallationSettings, LookupResult, OperatorImages, PrepareVersion, RecordKey,
    Reference, Release, Snapshot, Variant, is_same_image,
};
use crate::rules::version::inspection::unstored_inspections;

/// Returns the catalogue that applies in a cluster, with the lists of inspected images.
#[must_use]
pub fn lists_of<'a>(snapshot: &'a Snapshot, embedded: &'a Catalogue<'a>) -> Catalogue<'a> {
    let effective = EffectiveCatalogue::new(snapshot, embedded);
    effective.overlay.unwrap_or_else(|| embedded.clone())
}

/// The catalogue that applies in one cluster.
pub(crate) struct EffectiveCatalogue<'a> {
    snapshot: &'a Snapshot,
    embedded: &'a Catalogue<'a>,
    /// The catalogue with inspections, if it differs from the embedded one.
    overlay: Option<Catalogue<'a>>,
    inspected: Vec<Cow<'a, Inspection>>,
    /// Digests of the images whose inspection counts, by version.
    own: BTreeMap<Release, Digest>,
}

impl<'a> EffectiveCatalogue<'a> {
    /// Creates the effective catalogue. If a version has several images, the running one takes precedence, then the target.
    pub fn new(snapshot: &'a Snapshot, embedded: &'a Catalogue<'a>) -> Self {
        let kept = snapshot.inspections.kept.iter().map(Cow::Borrowed);
        Self::of(snapshot, embedded, kept.chain(unstored_inspections(snapshot).into_iter().map(Cow::Owned)).collect())
    }

    /// Creates it with an updated inspection.
    pub fn with(snapshot: &'a Snapshot, embedded: &'a Catalogue<'a>, learned: Inspection) -> Self {
        let mut inspected = Self::new(snapshot, embedded).inspected;
        inspected.retain(|one| one.digest != learned.digest);
        inspected.push(Cow::Owned(learned));
        Self::of(snapshot, embedded, inspected)
    }

    fn of(snapshot: &'a Snapshot, embedded: &'a Catalogue<'a>, inspected: Vec<Cow<'a, Inspection>>) -> Self {
        let mut effective = Self { snapshot, embedded, overlay: None, inspected, own: BTreeMap::new() };
        for (release, position) in effective.claims() {
            let Some(inspected) = position.and_then(|position| effective.inspected.get(position)) else { continue };
            let images = inspected.list(release);
            let digest = inspected.digest;
            if embedded.get(&release).as_ref() == Some(&images) {
                // The catalogue has learned this release since: sets that were made from the record of this image keep it.
                if effective.has_record(release, digest) {
                    effective.own.insert(release, digest);
                }
                continue;
            }
            effective.own.insert(release, digest);
            let mut catalogue = effective.catalogue().clone().without(&release);
            // The release was removed, so nothing contradicts it.
            let _ = catalogue.add(&images);
            effective.overlay = Some(catalogue);
        }
        effective
    }

    /// Returns the catalogue that applies.
    pub fn catalogue(&self) -> &Catalogue<'a> {
        self.overlay.as_ref().unwrap_or(self.embedded)
    }

    /// Whether the embedded catalogue has the release: its tag and its label are then trusted.
    pub fn is_released(&self, release: &Release) -> bool {
        self.embedded.get(release).is_some()
    }

    /// Returns the lists of the other releases that look up this name.
    pub fn of_name(&self, name: &ImageSetName, variant: Variant, but: Release) -> Vec<OperatorImages> {
        let others = self.embedded.versions().filter(|(release, calico, enterprise)| {
            let product = match variant {
                Variant::Calico => calico,
                Variant::Enterprise => enterprise,
            };
            *release != but && ImageSetName::new(variant, product).as_ref() == Some(name)
        });
        others.filter_map(|(release, ..)| self.embedded.get(&release)).collect()
    }

    /// Returns the newest release of the embedded catalogue.
    pub fn newest(&self) -> Option<Release> {
        self.embedded.newest()
    }

    /// Returns the operator image of a release: from the repository of the cluster's operator, or from the default one before
    /// there is an operator. A private registry may keep it under any name.
    pub fn reference_of(&self, release: Release) -> Option<Reference> {
        let snapshot = self.snapshot;
        let template = snapshot.operator.known().and_then(Option::as_ref).and_then(|one| one.image.as_deref());
        let remembered = [&snapshot.remembered.target_image, &snapshot.remembered.running_image];
        let remembered = remembered.into_iter().find_map(|image| image.as_deref());
        let image = template.or(remembered).and_then(|image| image.parse::<Reference>().ok());
        let by_default = || {
            let layout = &snapshot.effective_installation().layout;
            let newest = self.embedded.newest().and_then(|newest| self.embedded.get(&newest))?;
            layout.is_default().then(|| newest.own_image().clone())
        };
        image.or_else(by_default).map(|image| image.with_tag(&release.to_string()))
    }

    /// Returns the inspection of this image: of the very digest, or, until the digest is looked up, of the latest image with its
    /// tag.
    pub fn of_image(&self, reference: &Reference) -> Option<&Inspection> {
        self.position(reference).and_then(|position| self.inspected.get(position)).map(AsRef::as_ref)
    }

    /// Returns the inspection of the image with this digest.
    pub fn inspected(&self, digest: &Digest) -> Option<&Inspection> {
        self.inspected.iter().find(|one| one.digest == *digest).map(AsRef::as_ref)
    }

    /// Returns the key of the record of a version's set.
    pub fn record_key(&self, release: Release, installation: &InstallationSettings) -> RecordKey {
        RecordKey { build: self.own.get(&release).copied(), ..RecordKey::new(release, installation) }
    }

    /// Returns the names of the records that sets of this version may have been made from.
    pub fn record_names(&self, release: Release, installation: &InstallationSettings) -> Vec<String> {
        let key = RecordKey::new(release, installation);
        let effective = self.inspected.iter().map(|one| Some(one.digest));
        effective.chain([None]).map(|build| RecordKey { build, ..key.clone() }.name()).collect()
    }

    fn has_record(&self, release: Release, digest: Digest) -> bool {
        let mut records = self.snapshot.records.known().into_iter().flatten();
        records.any(|record| record.key.operator == release && record.key.build == Some(digest))
    }

    fn position(&self, reference: &Reference) -> Option<usize> {
        let all = || self.inspected.iter().enumerate();
        if let Some(digest) = self.digest(reference) {
            return all().find(|(_, one)| one.digest == digest).map(|(position, _)| position);
        }
        let same = |one: &Inspection| {
            one.image.digest().is_none() && one.image.name() == reference.name() && one.image.tag() == reference.tag()
        };
        // A tag that is not a version moves all the time.
        let is_release = reference.tag().is_some_and(|tag| tag.parse::<Release>().is_ok());
        let found = all().filter(|(_, one)| is_release && same(one)).max_by_key(|(_, one)| one.completed_at);
        found.map(|(position, _)| position)
    }

    fn digest(&self, reference: &Reference) -> Option<Digest> {
        let looked_up = || match self.snapshot.lookup_results.operators.get(reference) {
            Some(LookupResult::Known(image)) => Some(image.digest),
            _ => None,
        };
        reference.digest().copied().or_else(looked_up)
    }

    /// Returns for each version that is in use or was inspected the position of its inspection; `None` for the catalogue.
    fn claims(&self) -> BTreeMap<Release, Option<usize>> {
        let mut claims = BTreeMap::new();
        for (image, reference) in self.in_use() {
            let position = self.position(&reference);
            let release = match position.and_then(|position| self.inspected.get(position)) {
                Some(inspected) => inspected.release().ok(),
                None => self.catalogued(&image, &reference),
            };
            if let Some(release) = release {
                claims.entry(release).or_insert(position);
            }
        }
        // An image that is not in use may have been, or may be again.
        let mut all: Vec<(usize, &Cow<'_, Inspection>)> = self.inspected.iter().enumerate().collect();
        all.sort_by_key(|(_, one)| std::cmp::Reverse(one.completed_at));
        for (position, inspected) in all {
            if let Ok(release) = inspected.release()
                && self.embedded.get(&release).is_none()
            {
                claims.entry(release).or_insert(Some(position));
            }
        }
        claims
    }

    /// Returns the version of an image that was not inspected, if the catalogue has it.
    fn catalogued(&self, image: &str, reference: &Reference) -> Option<Release> {
        let labelled = match self.snapshot.lookup_results.operators.get(reference) {
            Some(LookupResult::Known(image)) => image.version.as_deref().and_then(|label| label.parse().ok()),
            _ => None,
        };
        let tagged = || reference.tag().filter(|_| reference.digest().is_none()).and_then(|tag| tag.parse().ok());
        let known = labelled.or_else(tagged).or_else(|| self.snapshot.remembered.version_of(image));
        known.filter(|release| self.embedded.get(release).is_some())
    }

    /// Returns the operator images in use, the leading one first.
    fn in_use(&self) -> Vec<(String, Reference)> {
        let snapshot = self.snapshot;
        let template = snapshot.operator.known().and_then(Option::as_ref).and_then(|one| one.image.as_deref());
        let mut pods: Vec<_> = snapshot.operator_pods.known().into_iter().flatten().collect();
        // An old pod that is Ready leads until it is gone.
        pods.sort_by_key(|pod| (!pod.ready, template.is_some_and(|template| is_same_image(&pod.image, template))));
        let remembered = [&snapshot.remembered.running_image, &snapshot.remembered.target_image];
        let remembered = remembered.into_iter().filter_map(|image| image.as_deref());
        let images = pods.iter().map(|pod| pod.image.as_str()).chain(template).chain(remembered);
        let prepared = snapshot.to_prepare().into_iter().filter_map(|version| {
            let reference = match version {
                PrepareVersion::Operator(reference) => reference,
                PrepareVersion::Release(release) => self.reference_of(release)?,
            };
            Some((reference.to_string(), reference))
        });
        images.filter_map(|image| Some((image.to_owned(), image.parse().ok()?))).chain(prepared).collect()
    }
}
