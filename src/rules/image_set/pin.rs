//! The digest of one image: from the stored set, a record or a lookup, and whether it covers the platforms of the nodes.

use std::collections::BTreeSet;

use crate::model::{
    Content, Coverage, Digest, ImageName, LookupResult, OnMissing, Platform, Presence, Reference, RegistryFailure,
    ResolvedImage, StoredImageSet, TagMoved,
};
use crate::rules::image_set::spec::SetSpec;

/// Whether the registry is known to have the manifests for the nodes.
enum ManifestPresence<'a> {
    Yes,
    Failed(&'a RegistryFailure),
    Pending,
    NeedsLookup(Reference),
}

/// Where the digest of one reference comes from.
enum Pin<'a> {
    Resolved(&'a ResolvedImage),
    /// The managed set pins it; the record with the details is lost.
    Stored(Digest),
    /// The record has it, but it does not cover the nodes. The tag has moved to the second image, which does.
    Moved(&'a ResolvedImage, &'a ResolvedImage),
    Missing(Option<&'a RegistryFailure>),
    Failed(&'a RegistryFailure),
    Pending,
    NeedsLookup,
}

/// The state of one image of a set.
pub(super) enum ImageState<'a> {
    /// This reference has to be looked up first.
    NeedsLookup(Reference),
    /// The lookup is still pending.
    Pending,
    /// The image is left out: nothing in the cluster requires it.
    Omitted,
    /// The lookup failed.
    Failed(&'a RegistryFailure),
    /// The registry does not have the image.
    Missing { failure: Option<&'a RegistryFailure>, required: bool },
    /// The image does not cover these nodes. The tag may have moved to one that does.
    Uncovered { image: ResolvedImage, platforms: Vec<Platform>, moved_to: Option<Digest> },
    /// The stored set pins it; the record with the details is lost.
    Stored(Digest),
    /// The image is resolved. `refresh` is a background lookup: whether the registry has its manifest for nodes that joined
    /// since.
    Resolved { image: ResolvedImage, refresh: Option<Reference> },
}

impl SetSpec<'_> {
    /// Returns the state of the image of this name, with its digest from the stored set, a record or a lookup.
    pub(super) fn state(&self, name: &ImageName, reference: &Reference, required: bool) -> ImageState<'_> {
        let may_omit = !required && self.snapshot.settings.on_missing == OnMissing::OmitUnneeded;
        match self.pin(name, reference, may_omit) {
            Pin::NeedsLookup => ImageState::NeedsLookup(reference.clone()),
            Pin::Pending => ImageState::Pending,
            Pin::Stored(digest) => ImageState::Stored(digest),
            Pin::Failed(failure) => ImageState::Failed(failure),
            Pin::Missing(_) if may_omit => ImageState::Omitted,
            Pin::Missing(failure) => ImageState::Missing { failure, required },
            Pin::Moved(recorded, now) => ImageState::Uncovered {
                platforms: self.uncovered(name, recorded),
                image: recorded.clone(),
                moved_to: Some(now.digest),
            },
            Pin::Resolved(image) => self.resolved(name, reference, image, may_omit),
        }
    }

    /// Returns the state of an image whose manifest is known, for the nodes of the cluster.
    fn resolved(
        &self,
        name: &ImageName,
        reference: &Reference,
        image: &ResolvedImage,
        may_omit: bool,
    ) -> ImageState<'_> {
        let image = self.with_presence(reference, image);
        let platforms = self.uncovered(name, &image);
        if !platforms.is_empty() {
            return match may_omit {
                true => ImageState::Omitted,
                false => ImageState::Uncovered { image, platforms, moved_to: None },
            };
        }
        // A stored image stays stored while the lookup for nodes that joined since is pending.
        let is_pinned = self.is_pinned(name, &image);
        match self.presence(name, reference, &image) {
            ManifestPresence::Failed(failure) => ImageState::Failed(failure),
            ManifestPresence::NeedsLookup(by_digest) if is_pinned => {
                ImageState::Resolved { image, refresh: Some(by_digest) }
            }
            ManifestPresence::NeedsLookup(by_digest) => ImageState::NeedsLookup(by_digest),
            ManifestPresence::Pending if !is_pinned => ImageState::Pending,
            ManifestPresence::Yes | ManifestPresence::Pending => {
                let by_digest = reference.with_digest(image.digest);
                let unchecked = self.nodes_for(name, &image).any(|node| image.coverage(node) == Coverage::Unchecked);
                let refresh = unchecked && !self.snapshot.lookup_results.images.contains_key(&by_digest);
                ImageState::Resolved { image, refresh: refresh.then_some(by_digest) }
            }
        }
    }

    /// Returns where the digest comes from. A pinned digest takes precedence over the registry: a stored digest never changes
    /// silently. The stored set takes precedence over its own record, and this over the records of other releases that pull the
    /// same reference.
    ///
    /// A record is a cache of registry responses that anybody with the right can edit. Alone, it can create a set that does not
    /// exist, swap one for that of another version, and restore an edited one. It never changes the content of a set that is as
    /// the controller wrote it: the registry has to confirm that.
    fn pin(&self, name: &ImageName, reference: &Reference, may_omit: bool) -> Pin<'_> {
        let result = self.snapshot.lookup_results.images.get(reference);
        let repin = self.snapshot.settings.tag_moved == TagMoved::Repin && reference.digest().is_none();
        let own = self.own_record().and_then(|record| record.images.get(reference));
        let stored = self.stored_pin(name, reference);
        if let Some(digest) = stored.filter(|digest| own.is_none_or(|image| image.digest != *digest)) {
            return match result {
                Some(LookupResult::Known(image)) if repin || image.digest == digest => Pin::Resolved(image),
                _ => Pin::Stored(digest),
            };
        }
        let others = self.snapshot.records.known().into_iter().flatten();
        let recorded = own.or_else(|| others.into_iter().find_map(|record| record.images.get(reference)));
        let recorded = recorded.filter(|image| self.may_use_record(name, reference, image));
        let lacks = |image: &ResolvedImage| !self.uncovered(name, &self.with_presence(reference, image)).is_empty();
        let uncovered_record = recorded.filter(|image| lacks(image));
        match (recorded, result) {
            (Some(_), Some(LookupResult::Known(image))) if repin => Pin::Resolved(image),
            // Nodes of a further platform joined: the registry may have a new image.
            (_, None) if uncovered_record.is_some() => self.without_lookup(reference, may_omit),
            (_, Some(LookupResult::Pending)) if uncovered_record.is_some() => Pin::Pending,
            (Some(image), Some(LookupResult::Known(now)))
                if uncovered_record.is_some() && now.digest != image.digest =>
            {
                let covers = !may_omit && self.uncovered(name, now).is_empty();
                if covers { Pin::Moved(image, now) } else { Pin::Resolved(image) }
            }
            (Some(image), _) => Pin::Resolved(image),
            (None, Some(LookupResult::Known(image))) => Pin::Resolved(image),
            (None, Some(LookupResult::Pending)) => Pin::Pending,
            (None, Some(LookupResult::Failed(failure))) if failure.is_missing() => Pin::Missing(Some(failure)),
            (None, Some(LookupResult::Failed(failure))) => Pin::Failed(failure),
            (None, None) => self.without_lookup(reference, may_omit),
        }
    }

    /// Whether a recorded digest may be used without a lookup.
    fn may_use_record(&self, name: &ImageName, reference: &Reference, recorded: &ResolvedImage) -> bool {
        let stands = !self.pinned.is_empty() && !self.is_pinned(name, recorded);
        // The policy names this very digest: a person requested it.
        let is_requested = reference.digest() == Some(&recorded.digest);
        let result = self.snapshot.lookup_results.images.get(reference).and_then(LookupResult::known);
        !(stands || self.record_in_doubt) || is_requested || result.is_some_and(|now| now.digest == recorded.digest)
    }

    fn without_lookup(&self, reference: &Reference, may_omit: bool) -> Pin<'_> {
        let missing = self.own_record().is_some_and(|own| own.missing.contains(reference));
        if may_omit && missing { Pin::Missing(None) } else { Pin::NeedsLookup }
    }

    /// Returns the digest that the managed set has for a reference. A digest from the policy's `digests` does not count for the
    /// tag.
    fn stored_pin(&self, name: &ImageName, reference: &Reference) -> Option<Digest> {
        let digest = *self.pinned.get(name)?;
        let replaced = || self.own_record().is_some_and(|own| own.images.contains_key(&reference.with_digest(digest)));
        match reference.digest() {
            Some(wanted) => (*wanted == digest).then_some(digest),
            None => (!replaced()).then_some(digest),
        }
    }

    /// Whether a lookup shows another digest than an entry of this stored set, and no record shows which of the two is right.
    pub fn contradicts_lookup(&self, stored: &StoredImageSet) -> bool {
        let recorded = |reference: &Reference| {
            self.snapshot.records.known().into_iter().flatten().any(|record| record.images.contains_key(reference))
        };
        let references = self.references().unwrap_or_default();
        stored.images.iter().any(|entry| {
            let reference = references.iter().find(|(name, _)| name.as_str() == entry.image).map(|(_, found)| found);
            reference.is_some_and(|reference| match self.snapshot.lookup_results.images.get(reference) {
                Some(LookupResult::Known(image)) => {
                    reference.digest().is_none() && !recorded(reference) && image.digest.to_string() != entry.digest
                }
                _ => false,
            })
        })
    }

    /// Returns the image with what later lookups show about the manifests of its index.
    fn with_presence(&self, reference: &Reference, image: &ResolvedImage) -> ResolvedImage {
        let mut image = image.clone();
        // Looked up by tag and by digest: a manifest found either way is present.
        let mut reported: Vec<(Digest, Presence)> = Vec::new();
        for looked_up in [reference.clone(), reference.with_digest(image.digest)] {
            if let Some(LookupResult::Known(now)) = self.snapshot.lookup_results.images.get(&looked_up)
                && now.digest == image.digest
                && let (Content::Index { children }, Content::Index { children: seen }) = (&image.content, &now.content)
            {
                for child in children {
                    let seen = seen.iter().find(|seen| seen.digest == child.digest);
                    reported.extend(seen.map(|seen| (child.digest, seen.presence)));
                }
            }
        }
        if let Content::Index { children } = &mut image.content {
            for child in children {
                let reported =
                    reported.iter().filter(|(digest, _)| *digest == child.digest).map(|(_, presence)| *presence);
                let reported: Vec<Presence> = reported.filter(|presence| *presence != Presence::Unchecked).collect();
                child.presence = match reported.first() {
                    Some(_) if reported.contains(&Presence::Present) => Presence::Present,
                    Some(absent) => *absent,
                    None => child.presence,
                };
            }
        }
        image
    }

    /// Returns whether the registry has the manifests that the nodes pull. An image is looked up again by its pinned digest if
    /// nodes joined after it was resolved.
    fn presence(&self, name: &ImageName, reference: &Reference, image: &ResolvedImage) -> ManifestPresence<'_> {
        if !self.deciding_nodes(name, image).iter().any(|node| image.coverage(node) == Coverage::Unchecked) {
            return ManifestPresence::Yes;
        }
        let pinned = reference.with_digest(image.digest);
        match self.snapshot.lookup_results.images.get(&pinned) {
            None => ManifestPresence::NeedsLookup(pinned),
            Some(LookupResult::Failed(failure)) => ManifestPresence::Failed(failure),
            // The cache of lookups repeats a lookup that was made for fewer platforms.
            Some(LookupResult::Pending | LookupResult::Known(_)) => ManifestPresence::Pending,
        }
    }

    /// Returns references, by tag and by digest, whose lookup result and record both lack a platform of the nodes.
    pub fn unsuitable(&self) -> BTreeSet<Reference> {
        let suited = |name: &ImageName, reference: &Reference| {
            let records = self.snapshot.records.known().into_iter().flatten();
            let mut recorded = records.filter_map(|record| record.images.get(reference));
            recorded.any(|image| self.uncovered(name, &self.with_presence(reference, image)).is_empty())
        };
        let lacks = |name: &ImageName, looked_up: &Reference| match self.snapshot.lookup_results.images.get(looked_up) {
            Some(LookupResult::Known(image)) => !self.uncovered(name, image).is_empty(),
            _ => false,
        };
        let mut unsuitable = BTreeSet::new();
        for (name, reference) in self.references().unwrap_or_default() {
            if suited(&name, &reference) {
                continue;
            }
            let same_repository = |looked_up: &&Reference| looked_up.name() == reference.name();
            let looked_up = self.snapshot.lookup_results.images.keys().filter(same_repository);
            unsuitable.extend(looked_up.filter(|looked_up| lacks(&name, looked_up)).cloned());
        }
        unsuitable
    }
}
