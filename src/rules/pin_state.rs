//! Comparison of one pinned digest with the registry. A tag that moved or is gone proves nothing about the pinned digest, so the
//! digest is then looked up as well; before that the tag of the other FIPS mode, which explains a different digest.

use std::collections::BTreeMap;

use crate::model::{Digest, LookupResult, Reference, RegistryFailure, ResolvedImage};

/// The state of one pinned image in the registry.
#[derive(Debug, Clone, PartialEq)]
pub enum PinState<'a> {
    /// The tag resolves to the pinned digest.
    Same(&'a ResolvedImage),
    /// The tag resolves to another digest.
    Moved {
        /// The image that the tag resolves to.
        now: &'a ResolvedImage,
        /// Whether nodes can still pull the pinned digest.
        served: Served<'a>,
    },
    /// The registry does not have the tag, or the digest of a reference without one.
    Gone {
        /// Whether nodes can still pull the pinned digest.
        served: Served<'a>,
    },
    /// The pinned digest is that of the other FIPS mode.
    OtherFipsMode {
        /// The image that the tag of the right mode resolves to.
        now: &'a ResolvedImage,
    },
    /// The lookup failed.
    Failed(&'a RegistryFailure),
    /// This reference has to be looked up first.
    NeedsLookup(Reference),
    /// The lookup is still pending.
    Pending,
}

/// Whether the registry serves a pinned digest that its tag no longer names.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Served<'a> {
    /// The registry serves it.
    Yes(&'a ResolvedImage),
    /// The registry does not have it.
    No,
    /// The lookup of the digest failed.
    Unknown(&'a RegistryFailure),
}

impl<'a> PinState<'a> {
    /// Returns the state that lookup results show. `reference` is what nodes pull by tag; `other_mode` returns what they pull in the
    /// other FIPS mode, if that is a different reference.
    pub fn new(
        reference: &Reference,
        pinned: Digest,
        other_mode: impl FnOnce() -> Option<Reference>,
        results: &'a BTreeMap<Reference, LookupResult<ResolvedImage>>,
    ) -> Self {
        let by_tag = match results.get(reference) {
            None => return Self::NeedsLookup(reference.clone()),
            Some(LookupResult::Pending) => return Self::Pending,
            Some(LookupResult::Known(image)) if image.digest == pinned => return Self::Same(image),
            Some(LookupResult::Known(image)) => Some(image),
            Some(LookupResult::Failed(failure)) if failure.is_missing() => None,
            Some(LookupResult::Failed(failure)) => return Self::Failed(failure),
        };
        if let (Some(now), Some(other)) = (by_tag, other_mode()) {
            match results.get(&other) {
                None => return Self::NeedsLookup(other),
                Some(LookupResult::Pending) => return Self::Pending,
                Some(LookupResult::Known(image)) if image.digest == pinned => return Self::OtherFipsMode { now },
                // Any other result shows that the pinned digest is not of the other mode.
                Some(LookupResult::Known(_) | LookupResult::Failed(_)) => {}
            }
        }
        let moved_or_gone = |served| match by_tag {
            Some(now) => Self::Moved { now, served },
            None => Self::Gone { served },
        };
        if reference.digest() == Some(&pinned) {
            return moved_or_gone(Served::No);
        }
        let by_digest = reference.with_digest(pinned);
        match results.get(&by_digest) {
            None => Self::NeedsLookup(by_digest),
            Some(LookupResult::Pending) => Self::Pending,
            Some(LookupResult::Known(image)) => moved_or_gone(Served::Yes(image)),
            Some(LookupResult::Failed(failure)) if failure.is_missing() => moved_or_gone(Served::No),
            Some(LookupResult::Failed(failure)) => moved_or_gone(Served::Unknown(failure)),
        }
    }

    /// Returns the failure that leaves the state unknown.
    #[must_use]
    pub const fn failure(&self) -> Option<&'a RegistryFailure> {
        match self {
            Self::Failed(failure)
            | Self::Moved { served: Served::Unknown(failure), .. }
            | Self::Gone { served: Served::Unknown(failure) } => Some(failure),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Content, RegistryFailureKind};

    fn image(reference: &Reference, content: &str) -> LookupResult<ResolvedImage> {
        LookupResult::Known(ResolvedImage {
            reference: reference.clone(),
            digest: Digest::of(content.as_bytes()),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            content: Content::Manifest { platform: "linux/amd64".parse().unwrap() },
            size: 1,
        })
    }

    #[test]
    fn a_digest_of_the_other_fips_mode_is_recognized_before_the_digest_is_looked_up() {
        let pinned = Digest::of(b"fips");
        let tag: Reference = "quay.io/calico/node:v3.32.1".parse().unwrap();
        let fips: Reference = "quay.io/calico/node:v3.32.1-fips".parse().unwrap();
        let by_digest = tag.with_digest(pinned);
        let failed = |kind| LookupResult::Failed(RegistryFailure::new(kind, None, "quay.io", ""));
        let mut results = BTreeMap::new();
        let check = |results: &BTreeMap<_, _>, expected: &dyn Fn(&PinState<'_>) -> bool| {
            let state = PinState::new(&tag, pinned, || Some(fips.clone()), results);
            assert!(expected(&state), "{state:?}");
        };
        check(&results, &|state| *state == PinState::NeedsLookup(tag.clone()));
        results.insert(tag.clone(), image(&tag, "normal"));
        check(&results, &|state| *state == PinState::NeedsLookup(fips.clone()));
        results.insert(by_digest.clone(), failed(RegistryFailureKind::Timeout));
        results.insert(fips.clone(), image(&fips, "fips"));
        check(
            &results,
            &|state| matches!(state, PinState::OtherFipsMode { now } if now.digest == Digest::of(b"normal")),
        );
        results.insert(fips.clone(), failed(RegistryFailureKind::NotFound));
        check(&results, &|state| matches!(state, PinState::Moved { served: Served::Unknown(_), .. }));
        results.insert(by_digest.clone(), failed(RegistryFailureKind::NotFound));
        check(&results, &|state| matches!(state, PinState::Moved { served: Served::No, .. }));
        results.insert(tag.clone(), failed(RegistryFailureKind::NotFound));
        check(&results, &|state| *state == PinState::Gone { served: Served::No });
        results.insert(by_digest.clone(), image(&by_digest, "fips"));
        check(&results, &|state| matches!(state, PinState::Gone { served: Served::Yes(_) }));
        results.insert(tag.clone(), image(&tag, "fips"));
        check(&results, &|state| matches!(state, PinState::Same(_)));
    }
}
