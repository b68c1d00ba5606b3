//! Determines the running and the target operator version (`domain.md`, "Knowing the version" and "Which version is the right
//! one?"). The controller never guesses: an unknown version is a finding, and nothing is written.

use std::collections::BTreeSet;

use crate::model::{
    Finding, Kind, KnownOperator, ObjectRef, OperatorDeployment, OperatorKnowledge, OperatorPod, PrepareVersion, Read,
    Reason, Reference, Release, Snapshot, Subject, Variant, is_same_image,
};
use crate::rules::version::effective_catalogue::EffectiveCatalogue;
use crate::rules::version::image_version::{ImageVersion, VersionFinder};
use crate::rules::version::inspection::NeededInspection;

/// The operator versions, and the lookups that determine the others.
#[derive(Debug, Default)]
pub(crate) struct OperatorVersions {
    pub knowledge: OperatorKnowledge,
    /// Operator images whose version label decides.
    pub lookups: BTreeSet<Reference>,
    /// Operator images that have to be inspected.
    pub needed: Vec<NeededInspection>,
    /// Whether lookups are pending.
    pub pending: bool,
    pub findings: Vec<Finding>,
    /// Whether the Deployment is gone or unclear: nothing is changed until it is back.
    pub frozen: bool,
}

/// Determines the running and the target version.
pub(crate) fn operator_versions(
    snapshot: &Snapshot,
    effective: &EffectiveCatalogue<'_>,
    variant: Variant,
) -> OperatorVersions {
    let mut versions = OperatorVersions::default();
    let finder = VersionFinder { snapshot, effective, variant };
    let subject = snapshot.settings.operator.object().into();
    match &snapshot.operator {
        Read::Known(Some(deployment)) => finder.find_with_deployment(&mut versions, deployment, &subject),
        Read::Known(None) | Read::KindMissing => finder.find_without_deployment(&mut versions, &subject),
        Read::Failed(_) => {
            // The findings about failed reads include this one.
            versions.frozen = true;
            versions.knowledge.running = finder.previous_running();
            versions.knowledge.target = finder.previous_target();
        }
    }
    versions
}

/// The versions of the entries of `prepare.versions`.
#[derive(Debug, Default)]
pub(crate) struct PreparedVersions {
    pub releases: Vec<(PrepareVersion, Release)>,
    pub lookups: BTreeSet<Reference>,
    pub needed: Vec<NeededInspection>,
    pub unknown: Vec<(PrepareVersion, Finding)>,
}

/// Determines the versions to prepare.
pub(crate) fn prepared_versions(
    snapshot: &Snapshot,
    effective: &EffectiveCatalogue<'_>,
    variant: Variant,
) -> PreparedVersions {
    let mut versions = PreparedVersions::default();
    let finder = VersionFinder { snapshot, effective, variant };
    for version in &snapshot.to_prepare() {
        let subject = Subject::Operator(version.clone());
        match finder.prepared_version(version, &subject, &mut versions.lookups) {
            ImageVersion::Known(operator) => versions.releases.push((version.clone(), operator.release)),
            ImageVersion::Unlisted(_, needed) => {
                versions.needed.push(NeededInspection { prepared: Some(version.clone()), ..*needed });
            }
            ImageVersion::Pending => {}
            ImageVersion::Unknown(finding) => versions.unknown.push((version.clone(), finding)),
        }
    }
    versions
}

/// Returns one Ready pod per image, if Ready pods have several images.
fn ready_by_image<'a>(old: &[&'a OperatorPod]) -> Option<Vec<&'a OperatorPod>> {
    let mut by_image: Vec<&OperatorPod> = Vec::new();
    for pod in old.iter().filter(|pod| pod.ready) {
        if !by_image.iter().any(|known| is_same_image(&known.image, &pod.image)) {
            by_image.push(pod);
        }
    }
    by_image.sort_by_key(|pod| &pod.image);
    (by_image.len() > 1).then_some(by_image)
}

impl VersionFinder<'_> {
    fn find_with_deployment(
        &self,
        versions: &mut OperatorVersions,
        deployment: &OperatorDeployment,
        subject: &Subject,
    ) {
        let container = &self.snapshot.settings.operator.container;
        let Some(image) = &deployment.image else {
            let message = format!("its template has no container named {container}");
            versions.findings.push(Finding::new(Reason::OperatorContainerNotFound, subject.clone(), message));
            versions.frozen = true;
            versions.knowledge.running = self.previous_running();
            versions.knowledge.target = self.previous_target();
            return;
        };
        versions.knowledge.target = self.resolve(versions, image, subject);
        let Some(pods) = self.snapshot.operator_pods.known() else {
            // The order of writes depends on the running version.
            versions.frozen = true;
            versions.knowledge.running = self.previous_running();
            return;
        };
        let (new, old): (Vec<&OperatorPod>, Vec<&OperatorPod>) =
            pods.iter().partition(|pod| is_same_image(&pod.image, image));
        let new_is_ready = new.iter().any(|pod| pod.ready);
        // During a rollout the old pod still leads, so an old Ready pod outranks a new one.
        let leading_old = old.iter().find(|pod| pod.ready);
        versions.knowledge.rollout_complete = old.is_empty() || (new_is_ready && leading_old.is_none());
        if let Some(several) = ready_by_image(&old) {
            versions.knowledge.running = self.running_of_several(versions, &several, subject);
            return;
        }
        versions.knowledge.running = match leading_old {
            Some(pod) => self.resolve_pod(versions, pod),
            None if new_is_ready => versions.knowledge.target.clone(),
            None => self.previous_running().or_else(|| self.running_of_unready(versions, &old, subject)),
        };
    }

    /// Returns the version of an old pod. If it is unknown, so is the set that must exist first, and none is written.
    fn resolve_pod(&self, versions: &mut OperatorVersions, pod: &OperatorPod) -> Option<KnownOperator> {
        let namespace = &self.snapshot.settings.operator.namespace;
        let subject = ObjectRef::namespaced(Kind::Pod, namespace, &pod.name).into();
        let known = self.resolve(versions, &pod.image, &subject);
        // While a lookup is pending, nothing changes anyway; freezing would drop the lookup.
        versions.frozen |= known.is_none() && !versions.pending;
        known
    }

    /// Returns the running version if Ready old pods have several images, any of which may lead. It does not matter which only if
    /// the sets of all are stored; the first one then counts as running.
    fn running_of_several(
        &self,
        versions: &mut OperatorVersions,
        several: &[&OperatorPod],
        subject: &Subject,
    ) -> Option<KnownOperator> {
        let known: Vec<KnownOperator> = several.iter().filter_map(|pod| self.resolve_pod(versions, pod)).collect();
        if versions.pending || versions.frozen {
            return None;
        }
        let one_release = known.iter().all(|operator| Some(operator.release) == known.first().map(|one| one.release));
        if one_release || known.iter().all(|operator| self.is_stored(operator.release)) {
            return known.into_iter().next();
        }
        let message = "pods of several older images are Ready, and the sets of some are not stored";
        versions.findings.push(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message));
        versions.frozen = true;
        None
    }

    fn is_stored(&self, release: Release) -> bool {
        let name = self.effective.catalogue().get(&release).and_then(|images| images.image_set_name(self.variant).ok());
        let mut sets = self.snapshot.image_sets.known().into_iter().flatten();
        name.is_some_and(|name| {
            sets.any(|set| {
                let other = set.origin.as_ref().is_some_and(|origin| origin.operator != release);
                set.name == name.as_str() && !(set.managed && other)
            })
        })
    }

    /// Returns the version of an old pod if no pod is Ready and no earlier version is known: an old pod may become Ready at any
    /// time and lead again.
    fn running_of_unready(
        &self,
        versions: &mut OperatorVersions,
        old: &[&OperatorPod],
        subject: &Subject,
    ) -> Option<KnownOperator> {
        let (first, others) = old.split_first()?;
        if others.iter().any(|pod| !is_same_image(&pod.image, &first.image)) {
            let message = "pods of several older images are there, and nothing tells which of them leads";
            versions.findings.push(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message));
            versions.frozen = true;
            return None;
        }
        self.resolve_pod(versions, first)
    }

    fn find_without_deployment(&self, versions: &mut OperatorVersions, subject: &Subject) {
        if self.operator_was_seen() {
            versions.frozen = true;
            versions.knowledge.running = self.previous_running();
            versions.knowledge.target = self.previous_target().or_else(|| self.previous_running());
            let message = "it is gone; the last target stays and nothing is changed";
            versions.findings.push(Finding::new(Reason::OperatorGone, subject.clone(), message));
            return;
        }
        versions.knowledge.rollout_complete = true;
        match self.snapshot.settings.prepare.as_slice() {
            [only] => {
                versions.knowledge.first_install = true;
                let version = self.prepared_version(only, subject, &mut versions.lookups);
                let target = self.record(versions, version, subject);
                versions.knowledge.target = match only {
                    PrepareVersion::Release(_) => target.map(|target| KnownOperator { image: None, ..target }),
                    PrepareVersion::Operator(_) => target,
                };
            }
            [] => {
                let message = "it does not exist and spec.prepare.versions is empty";
                versions.findings.push(Finding::new(Reason::OperatorNotFound, subject.clone(), message));
            }
            several => {
                let message = format!("it does not exist and spec.prepare.versions names {} versions", several.len());
                versions.findings.push(Finding::new(Reason::FirstInstallAmbiguous, subject.clone(), message));
            }
        }
    }

    /// Whether an operator ever ran here, by the policy's status or the Installation's. A managed set counts only until a status
    /// was written: it may have been stored for a first install whose version was changed since.
    fn operator_was_seen(&self) -> bool {
        let snapshot = self.snapshot;
        let selected = snapshot.installation.known().and_then(Option::as_ref);
        let is_requested = |release: &Release| {
            snapshot.to_prepare().contains(&PrepareVersion::Release(*release))
                || snapshot.remembered.target_version.as_deref() == Some(release.to_string().as_str())
        };
        let managed_set = snapshot
            .image_sets
            .known()
            .into_iter()
            .flatten()
            .any(|set| set.managed && !set.origin.as_ref().is_some_and(|origin| is_requested(&origin.operator)));
        // A written status that names no running operator is more reliable than a set.
        let is_status_written = !snapshot.remembered.conditions.is_empty();
        snapshot.remembered.running_version.is_some()
            || selected.is_some_and(|installation| installation.selected_image_set.is_some())
            || (managed_set && !is_status_written)
    }

    /// Returns the version of `image`; lookups and findings go to `versions`.
    fn resolve(&self, versions: &mut OperatorVersions, image: &str, subject: &Subject) -> Option<KnownOperator> {
        let version = self.version_of(image, subject, &mut versions.lookups);
        self.record(versions, version, subject)
    }

    fn record(
        &self,
        versions: &mut OperatorVersions,
        version: ImageVersion,
        subject: &Subject,
    ) -> Option<KnownOperator> {
        match version {
            ImageVersion::Known(operator) => {
                versions.findings.extend(self.objection(&operator, subject));
                Some(*operator)
            }
            ImageVersion::Unlisted(operator, needed) => {
                versions.needed.push(*needed);
                operator.map(|operator| *operator)
            }
            ImageVersion::Pending => {
                versions.pending = true;
                None
            }
            ImageVersion::Unknown(finding) => {
                if !versions.findings.contains(&finding) {
                    versions.findings.push(finding);
                }
                None
            }
        }
    }

    fn previous_running(&self) -> Option<KnownOperator> {
        let remembered = &self.snapshot.remembered;
        self.previous_operator(remembered.running_image.as_deref(), remembered.running_version.as_deref())
    }

    fn previous_target(&self) -> Option<KnownOperator> {
        let remembered = &self.snapshot.remembered;
        self.previous_operator(remembered.target_image.as_deref(), remembered.target_version.as_deref())
    }

    fn previous_operator(&self, image: Option<&str>, version: Option<&str>) -> Option<KnownOperator> {
        let release: Release = version?.parse().ok()?;
        let product = self.product(release);
        Some(KnownOperator { image: image.map(str::to_owned), digest: None, release, product })
    }
}
