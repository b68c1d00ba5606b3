//! Whether the cluster runs what a set pins: read from the templates of DaemonSets and Deployments, because
//! `status.imageSet` proves selection only (facts: it can name a set whose roll-out has just begun).

use std::collections::BTreeMap;

use super::report::Progress;
use super::settings::InstallationSettings;
use super::snapshot::Workload;
use super::{Digest, ImageName, OperatorImages, Reference};

/// A set's entries by the repository that nodes pull them from.
pub(super) struct PulledFrom(BTreeMap<String, Digest>);

/// How a workload stands to a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// None of its images is in the set.
    Unrelated,
    /// At least one image of the set is not by the pinned digest.
    Other,
    /// All images of the set are by the pinned digest.
    Pinned,
}

impl PulledFrom {
    pub fn new(
        images: &OperatorImages,
        installation: &InstallationSettings,
        entries: &BTreeMap<ImageName, Digest>,
    ) -> Self {
        let defaults = images.set_images(installation.variant, installation.fips);
        let placed = entries.iter().filter_map(|(name, digest)| {
            let reference = installation.layout.place(defaults.get(name)?).ok()?;
            Some((reference.name(), *digest))
        });
        Self(placed.collect())
    }

    pub fn standing(&self, workload: &Workload) -> Standing {
        let mut standing = Standing::Unrelated;
        for image in &workload.images {
            let Ok(reference) = image.parse::<Reference>() else { continue };
            match self.0.get(&reference.name()) {
                None => {}
                Some(pinned) if reference.digest() == Some(pinned) => standing = Standing::Pinned,
                Some(_) => return Standing::Other,
            }
        }
        standing
    }

    /// How far the workloads are that run images of the set.
    pub fn progress(&self, workloads: &[Workload]) -> Progress {
        let related = workloads.iter().map(|workload| (self.standing(workload), workload.rolled_out));
        related.fold(Progress::default(), |progress, (standing, rolled_out)| match standing {
            Standing::Unrelated => progress,
            Standing::Other => Progress { total: progress.total + 1, ..progress },
            Standing::Pinned => Progress {
                total: progress.total + 1,
                pinned: progress.pinned + 1,
                complete: progress.complete + usize::from(rolled_out),
            },
        })
    }

    /// The workloads whose pods the operator would roll for this set.
    pub fn rollouts(&self, workloads: &[Workload]) -> Vec<String> {
        let rolling = workloads.iter().filter(|workload| self.standing(workload) == Standing::Other);
        rolling.map(ToString::to_string).collect()
    }
}
