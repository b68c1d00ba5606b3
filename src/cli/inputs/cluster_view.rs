//! A cluster as verbs that work on ImageSets require it: read once, with the rights of the user. Writes nothing. From
//! registries it looks up only the version of an operator that is pinned by digest, as the controller does.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::Catalogue;
use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::inputs::operator_images::unknown_release;
use crate::cli::inputs::policy;
use crate::cli::inputs::registries::Registries;
use crate::cli::output::Failure;
use crate::cluster::read::registry_access::registry_access;
use crate::cluster::reconcile::{self, Reconciled};
use crate::model::{
    ConditionType, Feature, InstallationSettings, KnownOperator, OperatorImages, Outcome, Platform, Reason, Release,
    Report,
};
use crate::rules::lookup_loop::decide_with_lookups;
use crate::rules::version::effective_catalogue::lists_of;

/// What the cluster has, and what the rules decide on it.
pub(in crate::cli) struct ClusterView {
    /// The snapshot with its decision and report.
    pub reconciled: Reconciled,
    /// Those of the Installation, or of the policy where there is no Installation; `None` where it cannot be read.
    pub settings: Option<InstallationSettings>,
    /// Features that make the operator require further images; all of them where they cannot be read.
    pub features: BTreeSet<Feature>,
    /// Number of nodes by platform.
    pub nodes: BTreeMap<Platform, u32>,
}

impl ClusterView {
    /// Returns the images of an operator version: by the catalogue, or by the controller's inspection of its image.
    ///
    /// # Errors
    /// Neither has it.
    pub fn images(&self, release: Release) -> Result<OperatorImages, Failure> {
        lists_of(&self.reconciled.snapshot, Catalogue::embedded()).get(&release).ok_or_else(|| unknown_release(release))
    }

    /// Returns the target operator, of the Deployment.
    ///
    /// # Errors
    /// Its version is not known, with the reason.
    pub fn target(&self) -> Result<&KnownOperator, Failure> {
        let has_operator = self.reconciled.snapshot.operator.known().is_some_and(Option::is_some);
        if let Some(target) = self.reconciled.decision.operator.target.as_ref().filter(|_| has_operator) {
            return Ok(target);
        }
        let findings = &self.reconciled.report.findings;
        let why = findings.iter().find(|finding| finding.reason.condition() == ConditionType::VersionKnown);
        let (reason, why) = match why.or_else(|| findings.iter().find(|finding| finding.reason.is_failed_read())) {
            Some(finding) => (finding.reason, finding.message.clone()),
            None => {
                let place = self.reconciled.snapshot.settings.operator.object();
                (Reason::OperatorVersionUnknown, format!("there is no {place}"))
            }
        };
        Err(Failure::new(format!("the operator's version is not known: {why}")).reason(reason).hint("name the version"))
    }
}

/// Reads the cluster once, and its registry access into `registries`.
///
/// # Errors
/// The cluster cannot be reached, or its policy cannot be read.
pub(in crate::cli) async fn observe(cluster: &ClusterFlags, registries: &Registries) -> Result<ClusterView, Failure> {
    let client = cluster.client().await?;
    let policy = policy::find(&client).await?.unwrap_or_else(policy::defaults);
    let mut reconciled = reconcile::preview_of_cluster(client.clone(), &policy, cluster.namespace.clone()).await;
    if let Some(installation) = reconciled.snapshot.installation.known().and_then(Option::as_ref) {
        // Secrets that may not be read here are reported by the registry, as missing credentials.
        let (access, _) = registry_access(&client, &policy.spec, &installation.settings).await;
        registries.add_cluster_access(access);
    }
    reconciled.decision =
        decide_with_lookups(&mut reconciled.snapshot, Catalogue::embedded(), async |snapshot, decision| {
            let operators = decision.lookups.operators.clone();
            let any = !operators.is_empty();
            if any {
                snapshot.lookup_results.operators.extend(registries.operators(operators).await);
            }
            any
        })
        .await;
    reconciled.report = Report::new(&reconciled.snapshot, &reconciled.decision, &Outcome::default());
    let snapshot = &reconciled.snapshot;
    let settings = snapshot.installation.known().map(|_| snapshot.effective_installation().clone());
    let features = snapshot.features.known().cloned().unwrap_or_else(|| Feature::ALL.into());
    let nodes = snapshot.nodes.known().cloned().unwrap_or_default();
    Ok(ClusterView { settings, features, nodes, reconciled })
}
