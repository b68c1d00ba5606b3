//! A cluster as verbs that work on files see it: one look with the rights of who asks, and what it says of images. Writes nothing.
//! A registry is asked for the version of an operator that is pinned by digest, as the controller asks it, and for nothing else; how the
//! cluster gets at its registries is kept for those who ask more.

use std::collections::BTreeSet;

use super::connection::{self, Connection};
use super::output::Failure;
use super::registry::Registries;
use super::unknown_release;
use crate::catalogue::Catalogue;
use crate::cluster::pass::{self, Passed};
use crate::cluster::registry_access::registry_access;
use crate::model::decision::KnownOperator;
use crate::model::feature::Feature;
use crate::model::operator_images::OperatorImages;
use crate::model::outcome::Outcome;
use crate::model::platform::Platform;
use crate::model::reason::ConditionType;
use crate::model::reason::Reason;
use crate::model::release::Release;
use crate::model::report::Report;
use crate::model::settings::InstallationSettings;
use crate::rules::decide::decide;
use crate::rules::version::effective_catalogue::lists_of;

/// An answer can lead to another question: the running operator's, then the target's.
const ROUNDS: usize = 3;

/// What was seen.
pub(super) struct Live {
    /// All of it, with what follows.
    pub passed: Passed,
    /// Of the Installation, or of the policy where there is none; nothing where it cannot be read.
    pub settings: Option<InstallationSettings>,
    /// What makes the operator insist on more; all of it where that cannot be read.
    pub features: BTreeSet<Feature>,
    /// Of the nodes.
    pub platforms: BTreeSet<Platform>,
}

impl Live {
    /// What an operator version deploys: by the catalogue, or by what its image said of itself when the controller asked it.
    ///
    /// # Errors
    /// Neither knows it.
    pub fn images(&self, release: Release) -> Result<OperatorImages, Failure> {
        lists_of(&self.passed.snapshot, Catalogue::embedded()).get(&release).ok_or_else(|| unknown_release(release))
    }

    /// The operator that is to run.
    ///
    /// # Errors
    /// Its version is not known, and why.
    pub fn target(&self) -> Result<&KnownOperator, Failure> {
        let has_operator = self.passed.snapshot.operator.known().is_some_and(Option::is_some);
        if let Some(target) = self.passed.decision.operator.target.as_ref().filter(|_| has_operator) {
            return Ok(target);
        }
        let findings = &self.passed.report.findings;
        let why = findings.iter().find(|finding| finding.reason.condition() == ConditionType::VersionKnown);
        let (reason, why) = match why.or_else(|| findings.iter().find(|finding| finding.reason.is_of_a_read())) {
            Some(finding) => (finding.reason, finding.message.clone()),
            None => {
                (Reason::OperatorVersionUnknown, "there is no Deployment tigera-operator/tigera-operator".to_owned())
            }
        };
        Err(Failure::new(format!("the operator's version is not known: {why}")).reason(reason).hint("name the version"))
    }
}

/// Looks once.
///
/// # Errors
/// The cluster cannot be reached, or its policy cannot be read.
pub(super) async fn look(connection: &Connection, registries: &Registries) -> Result<Live, Failure> {
    let client = connection.client().await?;
    let policy = connection::policy_if_any(&client).await?.unwrap_or_else(connection::defaults);
    let mut passed = pass::look_at_cluster(client.clone(), &policy, connection.namespace.clone()).await;
    if let Some(installation) = passed.snapshot.installation.known().and_then(Option::as_ref) {
        // What may not be read here is of no use to whoever asks; the registry says so.
        let (access, _) = registry_access(&client, &policy.spec, &installation.settings).await;
        registries.learn(access);
    }
    for _ in 0..ROUNDS {
        let asked = passed.decision.questions.operators.clone();
        if asked.is_empty() {
            break;
        }
        passed.snapshot.answers.operators.extend(registries.operators(asked).await);
        passed.decision = decide(&passed.snapshot, Catalogue::embedded());
        passed.report = Report::new(&passed.snapshot, &passed.decision, &Outcome::default());
    }
    let snapshot = &passed.snapshot;
    let settings = snapshot.installation.known().map(|installation| match installation {
        Some(installation) => installation.settings.clone(),
        None => snapshot.settings.installation.clone(),
    });
    let features = snapshot.features.known().cloned().unwrap_or_else(|| Feature::ALL.into());
    let platforms = snapshot.nodes.known().map(|nodes| nodes.keys().cloned().collect()).unwrap_or_default();
    Ok(Live { settings, features, platforms, passed })
}
