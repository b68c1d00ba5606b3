//! One set against the rules of its operator version and against the registry.

use std::collections::{BTreeMap, BTreeSet};

use super::sets::SetToVerify;
use crate::cli::inputs::registries::{Registries, ResolvedImages};
use crate::cli::output::Failure;
use crate::model::{Digest, Hints, ImageName, LookupResult, Platform, Reason, Reference, ResolvedImage};
use crate::rules::pin_state::PinState;
use crate::rules::set_verification::{
    ComparedEntry, Mismatch, check_entries, check_operator_image, compare_with_registry,
};

/// The entries that count: the place in the list and the digest, by image name.
type Pinned = BTreeMap<ImageName, (usize, Digest)>;
type Places = BTreeMap<ImageName, Reference>;
type Results = BTreeMap<Reference, LookupResult<ResolvedImage>>;

/// Returns everything in which a set differs, in the order of its entries.
pub(super) async fn compare(
    set: &SetToVerify,
    registries: &Registries,
    operator_image: bool,
) -> Result<Vec<Mismatch>, Failure> {
    if let Some(absent) = set.absent() {
        return Ok(vec![set.impossible().unwrap_or(absent)]);
    }
    let (settings, images) = (&set.settings, &set.images);
    let (mut mismatches, pinned) =
        check_entries(&set.entries, images, &images.requires(settings.variant, &set.features));
    mismatches.extend(set.impossible());
    mismatches.extend(set.misnamed());
    let lookup = Lookup { set, registries };
    let (tags, twins) = (set.places(&pinned, settings.fips)?, set.places(&pinned, !settings.fips)?);
    let by_tag = lookup.by_tag(&tags).await;
    if operator_image {
        let reference = set.place(images.own_image())?;
        let image = lookup.resolve([reference.clone()].into(), &set.platforms).await.remove(&reference);
        mismatches.extend(image.and_then(|image| check_operator_image(&reference, &image, &set.platforms)));
    }
    lookup.add_digests(&mut mismatches).await?;
    let results = lookup.with_further(&pinned, &tags, &twins, by_tag).await;
    for (name, (entry, pinned)) in &pinned {
        let Some(reference) = tags.get(name) else { continue };
        let state = pin_state(name, reference, *pinned, &twins, &results);
        let listed = || results.get(reference).and_then(LookupResult::known).map(listed_platforms).unwrap_or_default();
        let platforms = if set.platforms.is_empty() { listed() } else { set.platforms.clone() };
        let compared = ComparedEntry { name, entry: *entry, pinned: *pinned, reference, state };
        mismatches.extend(compare_with_registry(&compared, &platforms));
    }
    mismatches.sort_by_key(|one| (one.entry.unwrap_or(usize::MAX), one.reason));
    Ok(mismatches)
}

impl SetToVerify {
    /// Returns where the cluster pulls an image from.
    fn place(&self, default: &Reference) -> Result<Reference, Failure> {
        self.settings.layout.place(default).map_err(|error| Failure::new(error.to_string()))
    }

    /// Returns the references that the entries stand for, with or without FIPS mode.
    fn places(&self, pinned: &Pinned, fips: bool) -> Result<Places, Failure> {
        let mut places = Places::new();
        for (name, default) in self.images.entries(self.settings.variant, fips, &pinned.keys().cloned().collect()) {
            let Some((_, digest)) = pinned.get(&name) else { continue };
            let placed = self.place(&default)?;
            // A digest that the policy sets in the place of the tag is not compared with the tag.
            let placed = match self.overridden.get(&name).filter(|overridden| *overridden == digest) {
                Some(digest) => placed.with_digest(*digest),
                None => placed,
            };
            places.insert(name, placed);
        }
        Ok(places)
    }
}

/// Lookups for one set.
struct Lookup<'a> {
    set: &'a SetToVerify,
    registries: &'a Registries,
}

impl Lookup<'_> {
    async fn resolve(&self, references: BTreeSet<Reference>, platforms: &BTreeSet<Platform>) -> ResolvedImages {
        let hints = Hints { platforms: platforms.clone(), ..Hints::default() };
        let title = format!("ImageSet {}", self.set.name);
        self.registries.resolve(&title, references, &hints).await
    }

    /// Adds the digest to write to entries without a valid one.
    async fn add_digests(&self, mismatches: &mut [Mismatch]) -> Result<(), Failure> {
        let malformed = mismatches.iter_mut().filter(|one| one.reason == Reason::DigestsMalformed);
        let mut named: BTreeMap<ImageName, &mut Mismatch> =
            malformed.filter_map(|one| Some((one.image.as_deref()?.parse().ok()?, one))).collect();
        let (settings, images) = (&self.set.settings, &self.set.images);
        let names = named.keys().cloned().collect();
        let mut places = BTreeMap::new();
        for (name, default) in images.entries(settings.variant, settings.fips, &names) {
            if named.contains_key(&name) {
                places.insert(self.set.place(&default)?, name);
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        for (reference, image) in self.resolve(places.keys().cloned().collect(), &self.set.platforms).await {
            let mismatch = places.get(&reference).and_then(|name| named.get_mut(name));
            if let (Some(mismatch), Ok(image)) = (mismatch, image) {
                mismatch.message.push_str(&format!("; {reference} is {}", image.digest));
            }
        }
        Ok(())
    }

    /// Looks up all tags. Where no platforms are given, every platform that an index lists must be there.
    async fn by_tag(&self, tags: &Places) -> ResolvedImages {
        let platforms = &self.set.platforms;
        let mut by_tag = self.resolve(tags.values().cloned().collect(), platforms).await;
        if platforms.is_empty() {
            for (platforms, references) in by_platforms(&by_tag) {
                by_tag.extend(self.resolve(references, &platforms).await);
            }
        }
        by_tag
    }

    /// Looks up what the state of each entry depends on besides its tag: for an entry whose tag has another digest, the tag of the
    /// other FIPS mode, and then the pinned digest.
    async fn with_further(&self, pinned: &Pinned, tags: &Places, twins: &Places, by_tag: ResolvedImages) -> Results {
        let mut results: Results =
            by_tag.into_iter().map(|(reference, image)| (reference, LookupResult::from(image))).collect();
        loop {
            let states = pinned
                .iter()
                .filter_map(|(name, (_, digest))| Some(pin_state(name, tags.get(name)?, *digest, twins, &results)));
            let further: BTreeSet<Reference> = states
                .filter_map(|state| match state {
                    PinState::NeedsLookup(reference) => Some(reference),
                    _ => None,
                })
                .collect();
            if further.is_empty() {
                return results;
            }
            let found = self.resolve(further.clone(), &self.set.platforms).await;
            results.extend(further.into_iter().map(|reference| (reference, LookupResult::Pending)));
            results.extend(found.into_iter().map(|(reference, image)| (reference, LookupResult::from(image))));
        }
    }
}

/// Returns the state of an entry, from the lookups made so far.
fn pin_state<'a>(
    name: &ImageName,
    reference: &Reference,
    pinned: Digest,
    twins: &Places,
    results: &'a Results,
) -> PinState<'a> {
    let other_mode = || twins.get(name).filter(|other_mode| *other_mode != reference).cloned();
    PinState::new(reference, pinned, other_mode, results)
}

/// Returns the platforms that an index lists: a complete copy has all of them.
fn listed_platforms(image: &ResolvedImage) -> BTreeSet<Platform> {
    match image.is_index() {
        true => image.platforms().into_iter().cloned().collect(),
        false => BTreeSet::new(),
    }
}

/// Groups the references that need a second lookup by the platforms that are known now.
fn by_platforms(lookups: &ResolvedImages) -> BTreeMap<BTreeSet<Platform>, BTreeSet<Reference>> {
    let mut grouped: BTreeMap<BTreeSet<Platform>, BTreeSet<Reference>> = BTreeMap::new();
    for (reference, image) in lookups {
        let platforms = image.as_ref().map(listed_platforms).unwrap_or_default();
        if !platforms.is_empty() {
            grouped.entry(platforms).or_default().insert(reference.clone());
        }
    }
    grouped
}
