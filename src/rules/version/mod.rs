//! The phase of the versions: the running and the target operator version, those to stage, and the images that each of them
//! deploys.

pub(crate) mod discovery;
pub mod effective_catalogue;
mod image_version;
pub(crate) mod inspection;
pub(crate) mod operator;
pub(crate) mod operator_digests;
pub(crate) mod rejected_set;

use crate::catalogue::Catalogue;
use crate::model::{
    Discovery, Finding, Inspection, InstallationSettings, Lookups, OperatorKnowledge, PrepareVersion, Reason, Release,
    Snapshot, Subject, Variant,
};
use crate::rules::version::effective_catalogue::EffectiveCatalogue;
use crate::rules::version::inspection::NeededInspection;
use crate::rules::version::operator::{PreparedVersions, operator_versions, prepared_versions};
use crate::rules::version::rejected_set::RejectedSet;

/// The operator versions, as far as they are known.
pub(crate) struct Versions<'a> {
    /// The running and the target version.
    pub operator: OperatorKnowledge,
    /// The image lists that apply in this cluster.
    pub effective: EffectiveCatalogue<'a>,
    /// Releases of the entries of `prepare.versions`, as far as they are known.
    pub prepared: Vec<(PrepareVersion, Release)>,
    /// Entries of `prepare.versions` whose images are unknown, and why.
    pub unknown: Vec<(PrepareVersion, Finding)>,
    pub discovery: Option<Discovery>,
    /// Newer releases to stage, the oldest first.
    pub discovered: Vec<Release>,
    /// The content that the running operator rejects in the set of its version.
    pub in_doubt: Option<RejectedSet>,
    /// Operator images that have to be run to learn their version and images.
    pub inspections: Vec<NeededInspection>,
    /// An inspection to update.
    pub learned: Option<Inspection>,
    /// Lookups for the versions.
    pub lookups: Lookups,
    pub findings: Vec<Finding>,
    /// Whether the lookup of the version of an operator image is still pending.
    pub pending: bool,
    /// Whether it is unknown which operator runs: nothing is changed then.
    pub frozen: bool,
}

impl Versions<'_> {
    /// Returns the release of an entry of `prepare.versions`.
    pub fn release_of(&self, version: &PrepareVersion) -> Option<Release> {
        self.prepared.iter().find(|(one, _)| one == version).map(|(_, release)| *release)
    }

    /// Whether the running operator rejects the set of its version.
    pub fn has_rejection(&self) -> bool {
        self.findings.iter().any(|finding| finding.reason == Reason::ImageSetRefused)
    }

    /// Returns the entries of `prepare.versions` that deploy no Calico release: no set can be made for them.
    pub fn unmakeable(&self, variant: Variant) -> Vec<(PrepareVersion, Finding)> {
        let marker = |(version, release): &(PrepareVersion, Release)| {
            let images = self.effective.catalogue().get(release)?;
            let product = images.product_version(variant);
            let message = format!("it deploys {variant} {:?}", product.as_str());
            let finding = || Finding::new(Reason::PreReleaseMarker, Subject::Operator(version.clone()), message);
            product.is_pre_release_marker().then(|| (version.clone(), finding()))
        };
        self.prepared.iter().filter_map(marker).collect()
    }
}

/// Determines the versions: first the running and the target one, then what the running operator rejected, because that can
/// change which list applies, then those to prepare and those to discover.
pub(crate) fn determine<'a>(
    snapshot: &'a Snapshot,
    embedded: &'a Catalogue<'a>,
    installation: &InstallationSettings,
) -> Versions<'a> {
    let variant = installation.variant;
    let effective = EffectiveCatalogue::new(snapshot, embedded);
    let known = operator_versions(snapshot, &effective, variant);
    let rejected = rejected_set::determine(snapshot, &effective, installation, known.knowledge.running.as_ref());
    let effective = match &rejected.learned {
        Some(learned) => EffectiveCatalogue::with(snapshot, embedded, learned.clone()),
        None => effective,
    };
    let prepared = prepared_versions(snapshot, &effective, variant);
    let prepared = match known.knowledge.first_install {
        // Before the first install the one entry is the target, whose own lookups suffice.
        true => PreparedVersions { releases: prepared.releases, ..PreparedVersions::default() },
        false => prepared,
    };
    let discovered = discovery::discover(snapshot, &known.knowledge);
    let operators = known.lookups.into_iter().chain(rejected.lookup).chain(prepared.lookups);
    Versions {
        operator: known.knowledge,
        effective,
        prepared: prepared.releases,
        unknown: prepared.unknown,
        discovery: discovered.known,
        discovered: discovered.candidates,
        in_doubt: rejected.in_doubt,
        inspections: known.needed.into_iter().chain(rejected.needed).chain(prepared.needed).collect(),
        learned: rejected.learned,
        lookups: Lookups {
            operators: operators.collect(),
            releases: discovered.lookup.into_iter().collect(),
            ..Lookups::default()
        },
        findings: known.findings.into_iter().chain(rejected.finding).chain(discovered.finding).collect(),
        pending: known.pending,
        frozen: known.frozen,
    }
}
