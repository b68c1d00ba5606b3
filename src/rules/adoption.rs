//! Whether the cluster runs the digests that a set pins. This is read from the templates of DaemonSets and Deployments, because
//! `status.imageSet` proves selection only (facts: it can name a set whose rollout has just begun).

use std::collections::BTreeMap;

use crate::model::{
    Digest, Evidence, ImageName, InstallationSettings, ObjectRef, OperatorImages, PendingWorkload, Progress, Reference,
    Workload,
};

/// The entries of a set, by the repository that nodes pull them from.
pub(crate) struct PinnedImages(BTreeMap<String, Digest>);

/// An image in the template of a workload that differs from the pinned digest.
pub(crate) struct Unpinned {
    /// Image, as the template names it.
    pub image: Reference,
    /// Digest that the set pins.
    pub pinned: Digest,
}

impl Unpinned {
    /// Returns the observed image and the pinned digest.
    pub fn evidence(&self) -> Evidence {
        match self.image.digest() {
            Some(digest) => Evidence::digest(digest, &self.pinned),
            None => Evidence::text(self.image.to_string(), self.pinned.short().to_string()),
        }
    }
}

/// How the template of a workload relates to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pinning {
    /// None of its images is in the set.
    Unrelated,
    /// At least one image of the set differs from the pinned digest.
    Differs,
    /// All images of the set have the pinned digest.
    Pinned,
}

impl PinnedImages {
    pub fn new(
        images: &OperatorImages,
        installation: &InstallationSettings,
        entries: &BTreeMap<ImageName, Digest>,
    ) -> Self {
        let defaults = images.entries(installation.variant, installation.fips, &entries.keys().cloned().collect());
        let placed = entries.iter().filter_map(|(name, digest)| {
            let reference = installation.layout.place(defaults.get(name)?).ok()?;
            Some((reference.name(), *digest))
        });
        Self(placed.collect())
    }

    pub fn pinning(&self, workload: &Workload) -> Pinning {
        if self.unpinned(workload).is_some() {
            return Pinning::Differs;
        }
        let listed = |image: &String| image.parse::<Reference>().is_ok_and(|image| self.0.contains_key(&image.name()));
        if workload.images.iter().any(listed) { Pinning::Pinned } else { Pinning::Unrelated }
    }

    /// Returns the first image of the set that the template does not name by the pinned digest.
    pub fn unpinned(&self, workload: &Workload) -> Option<Unpinned> {
        workload.images.iter().find_map(|image| {
            let image: Reference = image.parse().ok()?;
            let pinned = *self.0.get(&image.name())?;
            (image.digest() != Some(&pinned)).then_some(Unpinned { image, pinned })
        })
    }

    /// Returns how far the workloads with images of the set have adopted it.
    pub fn progress(&self, workloads: &[Workload]) -> Progress {
        let mut progress = Progress::default();
        for workload in workloads {
            let pinned = match self.pinning(workload) {
                Pinning::Unrelated => continue,
                Pinning::Differs => false,
                Pinning::Pinned => true,
            };
            progress.total += 1;
            progress.pinned += usize::from(pinned);
            if pinned && workload.rolled_out {
                progress.complete += 1;
            } else {
                progress.pending.push(PendingWorkload::new(workload, pinned));
            }
        }
        progress
    }

    /// Returns the workloads whose pods the operator would roll for this set.
    pub fn rollouts(&self, workloads: &[Workload]) -> Vec<ObjectRef> {
        let rolling = workloads.iter().filter(|workload| self.pinning(workload) == Pinning::Differs);
        rolling.map(Workload::object).collect()
    }
}
