//! Assembles the complete set of an operator version. Each image has its digest from the record or from a lookup, and is checked
//! against the nodes of the cluster. An image is left out only where that is allowed; anything else in the way is a finding. Only
//! a complete set leaves this module.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::model::lists::{MOST_NAMED, list_first};
use crate::model::{CompleteImageSet, Digest, Evidence, Finding, ImageName, LookupResult, Reason, Record, Reference};
use crate::rules::failed_reads::read_finding;
use crate::rules::image_set::blockers::Blockers;
use crate::rules::image_set::pin::ImageState;
use crate::rules::image_set::spec::SetSpec;
use crate::rules::image_set::tag_moved;

/// An assembled set, with what it was made from.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub set: CompleteImageSet,
    /// The record to write; `None` if the stored one is up to date.
    pub record: Option<Record>,
    pub omitted: Vec<ImageName>,
    /// Findings that do not hold the set.
    pub warnings: Vec<Finding>,
    /// Lookups to refresh in the background for an already stored set.
    pub background_lookups: BTreeSet<Reference>,
    /// Digests of the record that differ from the stored set or the registry.
    pub contradictions: Vec<Contradiction>,
    /// When the digests were looked up, which may be long ago for a set from a stored record; `None` without a record.
    pub resolved_at: Option<Timestamp>,
}

/// A recorded digest that is not used.
#[derive(Debug)]
pub(crate) struct Contradiction {
    pub reference: Reference,
    pub recorded: Digest,
    /// The digest of the stored set, or that of the registry if the set was edited.
    pub used: Digest,
}

/// Why a set cannot be assembled now.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// These references have to be looked up first.
    Lookups(BTreeSet<Reference>),
    /// Lookups are still pending.
    Pending,
    /// Findings that hold the set.
    Held(Vec<Finding>),
}

/// An image of the set, with its state.
struct Image<'a> {
    name: ImageName,
    reference: Reference,
    state: ImageState<'a>,
}

impl SetSpec<'_> {
    /// Returns the complete set, or what is in the way.
    pub fn assemble(&self) -> Result<Assembled, Obstacle> {
        let required = self.required();
        let references = self.references().map_err(Obstacle::Held)?;
        let images: Vec<Image<'_>> = references
            .into_iter()
            .map(|(name, reference)| {
                let state = self.state(&name, &reference, required.contains(&name));
                Image { name, reference, state }
            })
            .collect();
        self.obstacle(&images)?;

        let entries = images.iter().filter_map(|image| Some((image.name.clone(), image.digest()?))).collect();
        let accepts = |name: &ImageName| self.images.accepts(name);
        let set =
            CompleteImageSet::new(self.name.clone(), self.images.release(), self.key, entries, &required, accepts)
                .map_err(|error| {
                    Obstacle::Held(vec![Finding::new(Reason::ImageMissing, self.object(), error.to_string())])
                })?;
        let (record, resolved_at) = self.record_of(&images);
        let contradictions = self.contradictions(&images);
        Ok(Assembled {
            set,
            record,
            omitted: images.iter().filter(|image| image.is_omitted()).map(|image| image.name.clone()).collect(),
            warnings: self.warnings(&images, &contradictions),
            background_lookups: images.iter().filter_map(|image| self.background_lookup(image)).collect(),
            contradictions,
            resolved_at,
        })
    }

    /// Returns what is in the way of the set: lookups first, then findings, then pending lookups.
    fn obstacle(&self, images: &[Image<'_>]) -> Result<(), Obstacle> {
        let unknown: BTreeSet<Reference> = images
            .iter()
            .filter_map(|image| match &image.state {
                ImageState::NeedsLookup(reference) => Some(reference.clone()),
                _ => None,
            })
            .collect();
        if !unknown.is_empty() {
            return Err(Obstacle::Lookups(unknown));
        }
        let findings = self.blockers(images).into_findings(&self.object());
        if !findings.is_empty() {
            return Err(Obstacle::Held(findings));
        }
        match images.iter().any(|image| matches!(image.state, ImageState::Pending)) {
            true => Err(Obstacle::Pending),
            false => Ok(()),
        }
    }

    fn blockers(&self, images: &[Image<'_>]) -> Blockers {
        let mut blockers =
            Blockers::new(self.installation.image_pull_secrets.is_empty(), !self.images.has_known_requirements());
        for Image { reference, state, .. } in images {
            match state {
                ImageState::Failed(failure) => blockers.add_failure(failure),
                ImageState::Missing { failure, required } => blockers.add_missing(reference, *required, *failure),
                ImageState::Uncovered { image, platforms, moved_to } => {
                    blockers.add_uncovered(reference, image, platforms);
                    let moved = moved_to.map(|now| tag_moved::finding(self.object(), reference, image.digest, now));
                    blockers.other.extend(moved);
                }
                _ => {}
            }
        }
        blockers.other.extend(self.snapshot.nodes.failure().map(read_finding));
        blockers
    }

    /// Returns the record to write, if there is one, and when the digests were resolved, if a record says so.
    fn record_of(&self, images: &[Image<'_>]) -> (Option<Record>, Option<Timestamp>) {
        let own = self.own_record();
        let mut record = self.record();
        for Image { reference, state, .. } in images {
            match state {
                // The registry has to confirm the content of the record.
                ImageState::Stored(_) => drop(record.images.remove(reference)),
                // Recorded as missing, so that a restart repeats no lookup.
                ImageState::Omitted => {
                    record.images.remove(reference);
                    record.missing.insert(reference.clone());
                }
                ImageState::Resolved { image, .. } => {
                    record.missing.remove(reference);
                    record.images.insert(reference.clone(), image.clone());
                }
                _ => {}
            }
        }
        let unchanged = match own {
            Some(own) => own.images == record.images && own.missing == record.missing,
            None if self.record_is_unusable() => false,
            None => record.images.is_empty() && record.missing.is_empty(),
        };
        if unchanged {
            return (None, own.map(|own| own.resolved_at));
        }
        record.resolved_at = self.snapshot.observed_at;
        (Some(record), Some(self.snapshot.observed_at))
    }

    /// Returns the digests of the set's own record that are not used.
    fn contradictions(&self, images: &[Image<'_>]) -> Vec<Contradiction> {
        let contradiction = |image: &Image<'_>| {
            let used = match &image.state {
                ImageState::Stored(digest) => *digest,
                ImageState::Resolved { image: resolved, .. }
                    if self.record_in_doubt || self.is_pinned(&image.name, resolved) =>
                {
                    resolved.digest
                }
                _ => return None,
            };
            let recorded = self.own_record()?.images.get(&image.reference)?.digest;
            (recorded != used).then(|| Contradiction { reference: image.reference.clone(), recorded, used })
        };
        images.iter().filter_map(contradiction).collect()
    }

    /// Returns the background lookup for an image that is already stored.
    fn background_lookup(&self, image: &Image<'_>) -> Option<Reference> {
        match &image.state {
            ImageState::Resolved { refresh, .. } => refresh.clone(),
            ImageState::Stored(_) => {
                let recorded = self.own_record().is_some_and(|own| own.images.contains_key(&image.reference));
                let is_lost = recorded || self.record_is_unusable();
                let is_looked_up = self.snapshot.lookup_results.images.contains_key(&image.reference);
                (is_lost && !is_looked_up).then(|| image.reference.clone())
            }
            _ => None,
        }
    }

    /// Returns the findings that do not hold the set.
    fn warnings(&self, images: &[Image<'_>], contradictions: &[Contradiction]) -> Vec<Finding> {
        let single =
            |image: &Image<'_>| matches!(&image.state, ImageState::Resolved { image, .. } if !image.is_index());
        let single: Vec<&Reference> =
            images.iter().filter(|image| single(image)).map(|image| &image.reference).collect();
        let moved = images.iter().filter_map(|image| match image.state {
            ImageState::Stored(digest) => self.moved(&image.reference, digest),
            _ => None,
        });
        let resolved = images.iter().filter_map(|image| match &image.state {
            ImageState::Resolved { image: resolved, .. } => Some((&image.name, resolved)),
            _ => None,
        });
        let mut warnings: Vec<Finding> = self.single_platform(&single).into_iter().collect();
        warnings.extend(self.nodes_not_served(resolved));
        warnings.extend(self.omission_unproven(images));
        warnings.extend(self.record_edited(contradictions));
        warnings.extend(moved);
        warnings
    }

    /// Returns a finding if images are left out of the set of a build whose requirements are not known.
    fn omission_unproven(&self, images: &[Image<'_>]) -> Option<Finding> {
        let excluded = self.entries().into_keys().filter(|name| self.snapshot.settings.exclude.contains(name));
        let omitted = images.iter().filter(|image| image.is_omitted()).map(|image| image.name.clone());
        let names: BTreeSet<ImageName> = excluded.chain(omitted).collect();
        if names.is_empty() || self.images.has_known_requirements() {
            return None;
        }
        let names = list_first(&names.into_iter().collect::<Vec<_>>(), MOST_NAMED);
        let release = self.images.release();
        let message = format!("without {names}: it is not known whether operator {release} requires it");
        Some(Finding::new(Reason::OmissionUnproven, self.object(), message))
    }

    fn single_platform(&self, single: &[&Reference]) -> Option<Finding> {
        let message = format!("a single manifest, not an index: {}", list_first(single, MOST_NAMED));
        (!single.is_empty()).then(|| Finding::new(Reason::SinglePlatformImage, self.object(), message))
    }

    /// Returns a finding if the lookup of a pinned image shows another digest under the tag.
    fn moved(&self, reference: &Reference, pinned: Digest) -> Option<Finding> {
        let now = self.snapshot.lookup_results.images.get(reference).and_then(LookupResult::known)?.digest;
        let is_moved = reference.digest().is_none() && now != pinned;
        is_moved.then(|| tag_moved::finding(self.object(), reference, pinned, now))
    }

    fn record_edited(&self, contradictions: &[Contradiction]) -> Option<Finding> {
        let first = contradictions.first()?;
        let references: Vec<&Reference> = contradictions.iter().map(|one| &one.reference).collect();
        let by = if self.record_in_doubt { "the registry serves" } else { "the set pins" };
        let message =
            format!("{} has other digests than {by}: {}", self.key.name(), list_first(&references, MOST_NAMED));
        let finding = Finding::new(Reason::RecordEdited, self.object(), message);
        Some(finding.with_evidence(Evidence::digest(&first.recorded, &first.used)))
    }
}

impl Image<'_> {
    /// Returns the digest that the set pins.
    const fn digest(&self) -> Option<Digest> {
        match &self.state {
            ImageState::Stored(digest) => Some(*digest),
            ImageState::Resolved { image, .. } => Some(image.digest),
            _ => None,
        }
    }

    const fn is_omitted(&self) -> bool {
        matches!(self.state, ImageState::Omitted)
    }
}
