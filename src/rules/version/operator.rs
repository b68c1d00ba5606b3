//! Determines the running and the target operator version (`domain.md`, "Knowing the version" and "Which version is the right
//! one?"). The controller never guesses: an unknown version is a finding, and nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::decision::{KnownOperator, OperatorKnowledge};
use crate::model::digest::Digest;
use crate::model::finding::Finding;
use crate::model::inspection::Inspected;
use crate::model::lookups::{Answer, OperatorImage};
use crate::model::object_ref::{Kind, ObjectRef};
use crate::model::operator_deployment::{OperatorDeployment, OperatorPod};
use crate::model::read::Read;
use crate::model::reason::Reason;
use crate::model::reference::Reference;
use crate::model::release::{Release, Variant};
use crate::model::settings::PrepareVersion;
use crate::model::snapshot::Snapshot;
use crate::model::subject::Subject;
use crate::rules::version::effective_catalogue::EffectiveCatalogue;
use crate::rules::version::inspection::NeededInspection;

/// The operator versions, and the lookups that determine the others.
#[derive(Debug, Default)]
pub(crate) struct OperatorVersions {
    pub knowledge: OperatorKnowledge,
    /// Operator images whose version label decides.
    pub questions: BTreeSet<Reference>,
    /// Operator images that have to be inspected.
    pub wanted: Vec<NeededInspection>,
    /// Whether lookups are pending.
    pub pending: bool,
    pub findings: Vec<Finding>,
    /// Whether the Deployment is gone or unclear: nothing is changed until it is back.
    pub frozen: bool,
}

/// The version of one image.
enum ImageVersion {
    Known(Box<KnownOperator>),
    /// The image list is unknown, and possibly the version.
    Unlisted(Option<Box<KnownOperator>>, Box<NeededInspection>),
    Pending,
    Unknown(Finding),
}

/// Determines the running and the target version.
pub(crate) fn operator_versions(
    snapshot: &Snapshot,
    builds: &EffectiveCatalogue<'_>,
    variant: Variant,
) -> OperatorVersions {
    let mut versions = OperatorVersions::default();
    let look = VersionFinder { snapshot, builds, variant };
    let subject = snapshot.settings.operator.object().into();
    match &snapshot.operator {
        Read::Known(Some(deployment)) => look.with_deployment(&mut versions, deployment, &subject),
        Read::Known(None) | Read::KindMissing => look.without_deployment(&mut versions, &subject),
        Read::Failed(_) => {
            // The findings about failed reads include this one.
            versions.frozen = true;
            versions.knowledge.running = look.remembered_running();
            versions.knowledge.target = look.remembered_target();
        }
    }
    versions
}

/// The versions of the entries of `prepare.versions`.
#[derive(Debug, Default)]
pub(crate) struct PreparedVersions {
    pub releases: Vec<(PrepareVersion, Release)>,
    pub questions: BTreeSet<Reference>,
    pub wanted: Vec<NeededInspection>,
    pub unknown: Vec<(PrepareVersion, Finding)>,
}

/// Determines the versions to prepare.
pub(crate) fn prepared_versions(
    snapshot: &Snapshot,
    builds: &EffectiveCatalogue<'_>,
    variant: Variant,
) -> PreparedVersions {
    let mut versions = PreparedVersions::default();
    let look = VersionFinder { snapshot, builds, variant };
    for version in &snapshot.to_prepare() {
        let subject = Subject::Operator(version.clone());
        match look.prepared_version(version, &subject, &mut versions.questions) {
            ImageVersion::Known(operator) => versions.releases.push((version.clone(), operator.release)),
            ImageVersion::Unlisted(_, wanted) => {
                versions.wanted.push(NeededInspection { prepared: Some(version.clone()), ..*wanted });
            }
            ImageVersion::Pending => {}
            ImageVersion::Unknown(finding) => versions.unknown.push((version.clone(), finding)),
        }
    }
    versions
}

/// Returns one Ready pod per image, if Ready pods have several images.
fn several_lead<'a>(old: &[&'a OperatorPod]) -> Option<Vec<&'a OperatorPod>> {
    let by_image: BTreeMap<&str, &OperatorPod> =
        old.iter().filter(|pod| pod.ready).map(|pod| (pod.image.as_str(), *pod)).collect();
    (by_image.len() > 1).then(|| by_image.into_values().collect())
}

struct VersionFinder<'a> {
    snapshot: &'a Snapshot,
    builds: &'a EffectiveCatalogue<'a>,
    variant: Variant,
}

impl VersionFinder<'_> {
    pub(crate) fn with_deployment(
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
            versions.knowledge.running = self.remembered_running();
            versions.knowledge.target = self.remembered_target();
            return;
        };
        versions.knowledge.target = self.note(versions, image, subject);
        let Some(pods) = self.snapshot.operator_pods.known() else {
            // The order of writes depends on the running version.
            versions.frozen = true;
            versions.knowledge.running = self.remembered_running();
            return;
        };
        let (new, old): (Vec<&OperatorPod>, Vec<&OperatorPod>) = pods.iter().partition(|pod| pod.image == *image);
        let new_is_ready = new.iter().any(|pod| pod.ready);
        // During a rollout the old pod still leads, so an old Ready pod outranks a new one.
        let leading_old = old.iter().find(|pod| pod.ready);
        versions.knowledge.taken_over = old.is_empty() || (new_is_ready && leading_old.is_none());
        if let Some(several) = several_lead(&old) {
            versions.knowledge.running = self.one_of(versions, &several, subject);
            return;
        }
        versions.knowledge.running = match leading_old {
            Some(pod) => self.note_pod(versions, pod),
            None if new_is_ready => versions.knowledge.target.clone(),
            None => self.remembered_running().or_else(|| self.may_be_back(versions, &old, subject)),
        };
    }

    /// Returns the version of an old pod. If it is unknown, so is the set that must exist first, and none is written.
    pub(crate) fn note_pod(&self, versions: &mut OperatorVersions, pod: &OperatorPod) -> Option<KnownOperator> {
        let namespace = &self.snapshot.settings.operator.namespace;
        let subject = ObjectRef::namespaced(Kind::Pod, namespace, &pod.name).into();
        let known = self.note(versions, &pod.image, &subject);
        // While a lookup is pending, nothing changes anyway; freezing would drop the lookup.
        versions.frozen |= known.is_none() && !versions.pending;
        known
    }

    /// Returns the running version if Ready old pods have several images, any of which may lead. It does not matter which only if
    /// the sets of all are stored; the first one then counts as running.
    pub(crate) fn one_of(
        &self,
        versions: &mut OperatorVersions,
        several: &[&OperatorPod],
        subject: &Subject,
    ) -> Option<KnownOperator> {
        let known: Vec<KnownOperator> = several.iter().filter_map(|pod| self.note_pod(versions, pod)).collect();
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

    pub(crate) fn is_stored(&self, release: Release) -> bool {
        let name = self.builds.catalogue().get(&release).and_then(|images| images.image_set_name(self.variant).ok());
        let mut sets = self.snapshot.image_sets.known().into_iter().flatten();
        name.is_some_and(|name| {
            sets.any(|set| {
                let other = set.origin.as_ref().is_some_and(|origin| origin.operator != release);
                set.name == name.as_str() && !(set.ours && other)
            })
        })
    }

    /// Returns the version of an old pod if no pod is Ready and no earlier version is known: an old pod may become Ready at any
    /// time and lead again.
    pub(crate) fn may_be_back(
        &self,
        versions: &mut OperatorVersions,
        old: &[&OperatorPod],
        subject: &Subject,
    ) -> Option<KnownOperator> {
        let (first, others) = old.split_first()?;
        if others.iter().any(|pod| pod.image != first.image) {
            let message = "pods of several older images are there, and nothing tells which of them leads";
            versions.findings.push(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message));
            versions.frozen = true;
            return None;
        }
        self.note_pod(versions, first)
    }

    pub(crate) fn without_deployment(&self, versions: &mut OperatorVersions, subject: &Subject) {
        if self.operator_was_seen() {
            versions.frozen = true;
            versions.knowledge.running = self.remembered_running();
            versions.knowledge.target = self.remembered_target().or_else(|| self.remembered_running());
            let message = "it is gone; the last target stays and nothing is changed";
            versions.findings.push(Finding::new(Reason::OperatorGone, subject.clone(), message));
            return;
        }
        versions.knowledge.taken_over = true;
        match self.snapshot.settings.prepare.as_slice() {
            [only] => {
                versions.knowledge.first_install = true;
                let version = self.prepared_version(only, subject, &mut versions.questions);
                let target = self.noted(versions, version, subject);
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
    pub(crate) fn operator_was_seen(&self) -> bool {
        let snapshot = self.snapshot;
        let selected = snapshot.installation.known().and_then(Option::as_ref);
        let asked_for = |release: &Release| {
            snapshot.to_prepare().contains(&PrepareVersion::Release(*release))
                || snapshot.remembered.target_version.as_deref() == Some(release.to_string().as_str())
        };
        let set_of_ours = snapshot
            .image_sets
            .known()
            .into_iter()
            .flatten()
            .any(|set| set.ours && !set.origin.as_ref().is_some_and(|origin| asked_for(&origin.operator)));
        // A written status that names no running operator is more reliable than a set.
        let status_tells = !snapshot.remembered.conditions.is_empty();
        snapshot.remembered.running_version.is_some()
            || selected.is_some_and(|installation| installation.selected_image_set.is_some())
            || (set_of_ours && !status_tells)
    }

    /// Returns the version of `image`; lookups and findings go to `versions`.
    pub(crate) fn note(
        &self,
        versions: &mut OperatorVersions,
        image: &str,
        subject: &Subject,
    ) -> Option<KnownOperator> {
        let version = self.version_of(image, subject, &mut versions.questions);
        self.noted(versions, version, subject)
    }

    pub(crate) fn noted(
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
            ImageVersion::Unlisted(operator, wanted) => {
                versions.wanted.push(*wanted);
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

    /// Determines the version: of an inspected image by its output, of a released tag by the catalogue, of any other by the label
    /// of the image.
    pub(crate) fn version_of(
        &self,
        image: &str,
        subject: &Subject,
        questions: &mut BTreeSet<Reference>,
    ) -> ImageVersion {
        let reference: Reference = match image.parse() {
            Ok(reference) => reference,
            Err(error) => {
                return ImageVersion::Unknown(Finding::new(
                    Reason::OperatorImageInvalid,
                    subject.clone(),
                    error.to_string(),
                ));
            }
        };
        let tag = reference.tag().filter(|_| reference.digest().is_none());
        let tagged: Option<Release> = tag.and_then(|tag| tag.parse().ok());
        if let Some(inspected) = self.builds.of_image(&reference) {
            return self.own_word(image, subject, tagged, inspected);
        }
        if let Some(release) = tagged.filter(|release| self.builds.is_released(release)) {
            return self.known(image, release, None);
        }
        // The label of a digest never changes, so the status keeps it. A tag can move.
        if let Some(digest) = reference.digest()
            && let Some(release) = self.snapshot.remembered.version_of(image)
            && self.builds.is_released(&release)
        {
            return self.known(image, release, Some(*digest));
        }
        match self.snapshot.answers.operators.get(&reference) {
            None => {
                questions.insert(reference);
                ImageVersion::Pending
            }
            Some(Answer::Pending) => ImageVersion::Pending,
            Some(Answer::Failed(failure)) => {
                let message = format!("the version label of its image cannot be read: {}", failure.summary());
                ImageVersion::Unknown(Finding::new(Reason::OperatorVersionUnknown, subject.clone(), message))
            }
            Some(Answer::Known(answer)) => self.by_label(image, subject, &reference, answer),
        }
    }

    /// Determines the version by the label of the image. A tag that contradicts it makes the version ambiguous.
    fn by_label(&self, image: &str, subject: &Subject, reference: &Reference, answer: &OperatorImage) -> ImageVersion {
        let tag = reference.tag().filter(|_| reference.digest().is_none()).unwrap_or_default();
        let tagged: Option<Release> = tag.parse().ok();
        let wanted = |why: String| {
            let (image, label) = (reference.clone(), answer.version.clone());
            let subject = subject.clone();
            Box::new(NeededInspection { image, digest: answer.digest, label, subject, why, prepared: None })
        };
        match answer.version.as_deref().map(str::parse::<Release>) {
            Some(Ok(labelled)) if tagged.is_some_and(|tagged| tagged.base() != labelled.base()) => {
                let message = format!("image {image} is tagged {tag} and labelled {labelled}");
                ImageVersion::Unknown(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message))
            }
            Some(Ok(labelled)) if self.builds.is_released(&labelled) => {
                self.known(image, labelled, Some(answer.digest))
            }
            Some(Ok(labelled)) => {
                let (image, digest) = (Some(image.to_owned()), Some(answer.digest));
                let operator = KnownOperator { image, digest, release: labelled, product: None };
                ImageVersion::Unlisted(Some(Box::new(operator)), wanted(self.not_listed(labelled)))
            }
            Some(Err(error)) => {
                let why = format!("the version label of image {image} is no release: {error}");
                ImageVersion::Unlisted(None, wanted(why))
            }
            None => ImageVersion::Unlisted(None, wanted(format!("image {image} has no version label"))),
        }
    }

    /// Determines the version of an image that was inspected.
    pub(crate) fn own_word(
        &self,
        image: &str,
        subject: &Subject,
        tagged: Option<Release>,
        inspected: &Inspected,
    ) -> ImageVersion {
        let ambiguous = |message: String| {
            ImageVersion::Unknown(Finding::new(Reason::OperatorVersionAmbiguous, subject.clone(), message))
        };
        match (inspected.release(), tagged) {
            (Err(message), _) => ambiguous(message),
            (Ok(release), Some(tagged)) if tagged.base() != release.base() => {
                ambiguous(format!("image {image} is tagged {tagged} and says that it is {release}"))
            }
            (Ok(release), _) => self.known(image, release, Some(inspected.digest)),
        }
    }

    pub(crate) fn known(&self, image: &str, release: Release, digest: Option<Digest>) -> ImageVersion {
        let image = Some(image.to_owned());
        ImageVersion::Known(Box::new(KnownOperator { image, digest, release, product: self.product(release) }))
    }

    pub(crate) fn product(&self, release: Release) -> Option<crate::model::release::ProductVersion> {
        self.builds.catalogue().get(&release).map(|images| images.product_version(self.variant).clone())
    }

    /// Determines the version of an entry of `prepare.versions`. A release is pulled from the repository of the operator.
    pub(crate) fn prepared_version(
        &self,
        version: &PrepareVersion,
        subject: &Subject,
        questions: &mut BTreeSet<Reference>,
    ) -> ImageVersion {
        let reference = match version {
            PrepareVersion::Operator(reference) => Some(reference.clone()),
            PrepareVersion::Release(release) => self.builds.reference_of(*release),
        };
        match (reference, version) {
            (Some(reference), _) => self.version_of(&reference.to_string(), subject, questions),
            (None, PrepareVersion::Release(release)) if self.builds.is_released(release) => {
                self.known("", *release, None)
            }
            (None, _) => {
                let name_it = "name its whole image reference in spec.prepare.versions to have it asked";
                let why = version.release().map(|release| self.not_listed(release)).unwrap_or_default();
                let finding =
                    Finding::new(Reason::OperatorVersionUnknown, subject.clone(), format!("{why}; {name_it}"));
                ImageVersion::Unknown(finding)
            }
        }
    }

    pub(crate) fn not_listed(&self, release: Release) -> String {
        let newest = self.builds.newest().map(|newest| format!(" (newest: {newest})")).unwrap_or_default();
        format!("operator version {release} is not in the catalogue{newest}")
    }

    /// Returns a finding if no set can be made for a known version.
    pub(crate) fn objection(&self, operator: &KnownOperator, subject: &Subject) -> Option<Finding> {
        let release = operator.release;
        match &operator.product {
            None => Some(Finding::new(Reason::OperatorVersionUnknown, subject.clone(), self.not_listed(release))),
            Some(product) if product.is_pre_release_marker() => {
                let message = format!("operator version {release} deploys {} {:?}", self.variant, product.as_str());
                Some(Finding::new(Reason::PreReleaseMarker, subject.clone(), message))
            }
            Some(_) => None,
        }
    }

    pub(crate) fn remembered_running(&self) -> Option<KnownOperator> {
        let remembered = &self.snapshot.remembered;
        self.recalled(remembered.running_image.as_deref(), remembered.running_version.as_deref())
    }

    pub(crate) fn remembered_target(&self) -> Option<KnownOperator> {
        let remembered = &self.snapshot.remembered;
        self.recalled(remembered.target_image.as_deref(), remembered.target_version.as_deref())
    }

    pub(crate) fn recalled(&self, image: Option<&str>, version: Option<&str>) -> Option<KnownOperator> {
        let release: Release = version?.parse().ok()?;
        let product = self.product(release);
        Some(KnownOperator { image: image.map(str::to_owned), digest: None, release, product })
    }
}
