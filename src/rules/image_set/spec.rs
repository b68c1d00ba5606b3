//! The input of assembling one set: the release, the effective Installation, the policy and the records.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Digest, Feature, Finding, ImageName, ImageSetName, InstallationSettings, ObjectRef, OnMissing, OperatorImages,
    Reason, Record, RecordKey, Reference, ResolvedImage, Snapshot,
};

/// The input of assembling one set.
pub(crate) struct SetSpec<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a InstallationSettings,
    pub images: &'a OperatorImages,
    pub name: &'a ImageSetName,
    pub key: &'a RecordKey,
    /// Digests of the managed set, if it is as the controller wrote it from this very record.
    pub pinned: BTreeMap<ImageName, Digest>,
    /// Whether every image counts as required, because the cluster does not show otherwise.
    pub everything_required: bool,
    /// Whether a recorded digest counts only if the registry confirms it: the set was edited, and its record is not the one that
    /// it was made from.
    pub record_in_doubt: bool,
}

impl SetSpec<'_> {
    /// Returns the references of the set as the cluster pulls them, without excluded names, and with replaced entries by their
    /// digest.
    pub fn references(&self) -> Result<BTreeMap<ImageName, Reference>, Vec<Finding>> {
        let settings = &self.snapshot.settings;
        let required = self.required_now();
        let mut references = BTreeMap::new();
        let mut findings = Vec::new();
        for (name, default) in self.entries() {
            if settings.exclude.contains(&name) {
                if self.images.has_known_requirements() && required.contains(&name) {
                    let requires = match self.snapshot.features.known() {
                        Some(_) => "insists on it",
                        None => "may insist on it: what the cluster uses cannot be read",
                    };
                    let message = format!("{name} is excluded, but operator {} {requires}", self.images.release());
                    findings.push(Finding::new(Reason::ExcludedImageRequired, self.object(), message));
                }
                continue;
            }
            match self.installation.layout.place(&default) {
                Ok(placed) => {
                    let reference =
                        settings.digests.get(&name).map_or(placed.clone(), |digest| placed.with_digest(*digest));
                    references.insert(name, reference);
                }
                Err(error) => {
                    findings.push(Finding::new(Reason::LayoutInvalid, self.object(), error.to_string()));
                    break;
                }
            }
        }
        if findings.is_empty() { Ok(references) } else { Err(findings) }
    }

    /// Returns the names of the set with the default reference of each: the list of the variant, and what the operator requires
    /// beside it.
    pub fn entries(&self) -> BTreeMap<ImageName, Reference> {
        let variant = self.installation.variant;
        let required = match self.features() {
            Some(features) => self.images.requires(variant, &features),
            // Names that the stored set has stay, whatever made the operator require them.
            None => {
                let may_require = self.images.may_require(variant).into_iter();
                let pinned = may_require.filter(|name| self.pinned.contains_key(name));
                pinned.chain(self.images.requires(variant, &BTreeSet::new())).collect()
            }
        };
        self.images.entries(variant, self.installation.fips, &required)
    }

    /// Returns the names that the operator requires with what is in the cluster. While that cannot be read, every condition counts
    /// as given. If it is not known what the build requires, the policy decides which images may be left out.
    pub fn required_now(&self) -> BTreeSet<ImageName> {
        let settings = &self.snapshot.settings;
        let variant = self.installation.variant;
        if !self.images.has_known_requirements() {
            let all = if settings.on_missing == OnMissing::Hold { self.entries() } else { BTreeMap::new() };
            return all.into_keys().filter(|name| !settings.exclude.contains(name)).collect();
        }
        match self.features() {
            Some(features) => self.images.requires(variant, &features),
            None => {
                let entries = self.entries();
                self.images.may_require(variant).into_iter().filter(|name| entries.contains_key(name)).collect()
            }
        }
    }

    /// Returns the names that no set of this spec may lack.
    pub fn required(&self) -> BTreeSet<ImageName> {
        if self.everything_required || self.snapshot.features.known().is_none() {
            let all = self.entries().into_keys();
            return all.filter(|name| !self.snapshot.settings.exclude.contains(name)).collect();
        }
        self.required_now()
    }

    /// Returns the features of the cluster, if they are known.
    pub(super) fn features(&self) -> Option<BTreeSet<Feature>> {
        self.snapshot.cluster_features()
    }

    /// Returns this spec's record, if it is stored.
    pub fn own_record(&self) -> Option<&Record> {
        self.snapshot.records.known().into_iter().flatten().find(|record| record.key == *self.key)
    }

    /// Returns this spec's record, or an empty one.
    pub fn record(&self) -> Record {
        self.own_record().cloned().unwrap_or_else(|| self.empty_record())
    }

    /// Whether a record of this name exists that is not used.
    pub(super) fn record_is_unusable(&self) -> bool {
        self.snapshot.unusable_records.contains(&self.key.name())
    }

    fn empty_record(&self) -> Record {
        Record {
            key: self.key.clone(),
            resolved_at: self.snapshot.observed_at,
            images: BTreeMap::new(),
            missing: BTreeSet::new(),
            accepted: None,
            rejected: None,
        }
    }

    pub(super) fn is_pinned(&self, name: &ImageName, image: &ResolvedImage) -> bool {
        self.pinned.get(name) == Some(&image.digest)
    }

    pub(super) fn object(&self) -> ObjectRef {
        ObjectRef::image_set(self.name.as_str())
    }
}
