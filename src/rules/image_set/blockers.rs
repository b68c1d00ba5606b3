//! What keeps a set from being complete, grouped so that many images of one broken registry make one finding.

use std::collections::BTreeMap;

use crate::model::lists::{MOST_NAMED, first_sentences, list_first};
use crate::model::{
    CloudProvider, Finding, ObjectRef, Platform, Reason, Reference, RegistryFailure, RegistryFailureKind,
    ResolvedImage, Subject,
};

/// What keeps a set from being complete, grouped by registry and reason.
#[derive(Default)]
pub(super) struct Blockers {
    /// The Installation names no pull secret.
    no_secrets: bool,
    /// It is not known which images the build requires.
    unproven: bool,
    failures: BTreeMap<(Reason, String), Vec<String>>,
    missing: BTreeMap<bool, Vec<Reference>>,
    missing_at: String,
    uncovered: Vec<String>,
    pub(super) other: Vec<Finding>,
}

impl Blockers {
    /// Returns an empty group. `no_secrets`: the Installation names no pull secret. `unproven`: it is not known which images the
    /// build requires.
    pub(super) fn new(no_secrets: bool, unproven: bool) -> Self {
        Self { no_secrets, unproven, ..Self::default() }
    }

    pub(super) fn add_failure(&mut self, failure: &RegistryFailure) {
        let reason = match failure.kind {
            // The nodes then have a credential provider, or the cluster could not run.
            RegistryFailureKind::CredentialsMissing if self.no_secrets => Reason::NodeCredentialsOnly,
            _ => failure.into(),
        };
        let group = self.failures.entry((reason, failure.registry.clone())).or_default();
        let summary = match reason {
            Reason::NodeCredentialsOnly => format!("{}{}", failure.summary(), provider_for(&failure.registry)),
            _ => failure.summary(),
        };
        if failure.reference.is_some() {
            group.push(summary);
        } else if group.is_empty() {
            self.other.push(Finding::new(reason, Subject::registry(&failure.registry), summary));
        }
    }

    pub(super) fn add_missing(&mut self, reference: &Reference, required: bool, failure: Option<&RegistryFailure>) {
        if let Some(failure) = failure {
            self.missing_at.clone_from(&failure.registry);
        }
        self.missing.entry(required).or_default().push(reference.clone());
    }

    pub(super) fn add_uncovered(&mut self, reference: &Reference, image: &ResolvedImage, platforms: &[Platform]) {
        self.uncovered.extend(image.describe_gaps(reference, &platforms.iter().collect::<Vec<_>>()));
    }

    pub(super) fn into_findings(self, object: &ObjectRef) -> Vec<Finding> {
        let mut findings = self.other;
        for ((reason, registry), failures) in self.failures {
            let Some(summary) = failures.first() else { continue };
            let message = match failures.len() {
                1 => summary.clone(),
                count => format!("{count} images cannot be resolved; {summary}"),
            };
            findings.push(Finding::new(reason, Subject::registry(&registry), message));
        }
        // Images that the operator requires come first.
        for (required, references) in self.missing.into_iter().rev() {
            let need = match (required, self.unproven) {
                (true, true) => "the operator may insist on",
                (true, false) => "the operator insists on",
                (false, _) => "nothing in the cluster needs",
            };
            let at = if self.missing_at.is_empty() { String::new() } else { format!(" {}", self.missing_at) };
            let message =
                format!("the registry{at} does not have {}, which {need}", list_first(&references, MOST_NAMED));
            findings.push(Finding::new(Reason::ImageMissing, object.clone(), message));
        }
        if !self.uncovered.is_empty() {
            let message = first_sentences(&self.uncovered);
            findings.push(Finding::new(Reason::PlatformMissing, object.clone(), message));
        }
        findings
    }
}

/// Returns how to use an identity of the cloud, if a registry is one of a cloud: its nodes pull with theirs.
fn provider_for(registry: &str) -> String {
    let Some(provider) = CloudProvider::of_host(registry) else { return String::new() };
    let provider = provider.as_str();
    format!(
        "; it is a registry of {provider}: provider: {provider} (registries[] of the policy, or --provider {provider}) \
             uses an identity of that cloud"
    )
}
