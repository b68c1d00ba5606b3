//! From the list of an operator version to a complete set: each image's digest from the record or the registry's
//! answer, checked against the cluster's nodes, left out only where that is allowed, or a finding that says what is in
//! the way. A set that is not complete does not leave this module.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::model::digest::Digest;
use crate::model::feature::Feature;
use crate::model::finding::{Evidence, Finding};
use crate::model::image_name::ImageName;
use crate::model::image_set::CompleteImageSet;
use crate::model::listed::{NAMED, listed};
use crate::model::lookups::Answer;
use crate::model::object_ref::ObjectRef;
use crate::model::operator_images::OperatorImages;
use crate::model::platform::Platform;
use crate::model::reason::Reason;
use crate::model::record::{Record, RecordKey};
use crate::model::reference::Reference;
use crate::model::registry_failure::{RegistryFailure, RegistryFailureKind};
use crate::model::release::ImageSetName;
use crate::model::resolved_image::{Content, Coverage, Presence, ResolvedImage};
use crate::model::settings::{InstallationSettings, OnMissing, TagMoved};
use crate::model::snapshot::Snapshot;
use crate::model::stored_image_set::StoredImageSet;
use crate::model::subject::Subject;

/// A set that could be built, with what it was built from.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub set: CompleteImageSet,
    /// The record as it should be; `None` where the stored one is right already.
    pub record: Option<Record>,
    pub omitted: Vec<ImageName>,
    /// What is not in the way, but should be known.
    pub warnings: Vec<Finding>,
    /// What should be asked for beside, of a set that is stored already.
    pub ask: BTreeSet<Reference>,
    /// The record has another digest than the stored set or the registry.
    pub contradicted: Vec<Contradiction>,
    /// When its digests were asked for; for a set from the stored record that may be long ago. Not known where no
    /// record tells.
    pub resolved_at: Option<Timestamp>,
}

/// A recorded digest that is not used.
#[derive(Debug)]
pub(crate) struct Contradiction {
    pub reference: Reference,
    pub recorded: Digest,
    /// What the stored set pins, or the registry serves where the set was edited.
    pub used: Digest,
}

/// Why there is no set (yet).
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// These have to be asked for first.
    Ask(BTreeSet<Reference>),
    /// Asked, not answered yet.
    Pending,
    /// Something has to change.
    Held(Vec<Finding>),
}

/// What a set is assembled for.
pub(crate) struct Recipe<'a> {
    pub snapshot: &'a Snapshot,
    pub installation: &'a InstallationSettings,
    pub images: &'a OperatorImages,
    pub name: &'a ImageSetName,
    pub key: &'a RecordKey,
    /// What our own stored set pins, where it is as we wrote it from this very record.
    pub pinned: BTreeMap<ImageName, Digest>,
    /// Every image counts as required: nothing in the cluster says otherwise yet.
    pub everything_required: bool,
    /// What is recorded counts only where the registry says the same now: the set was edited, and its record is not what it was made
    /// from.
    pub record_in_doubt: bool,
}

/// Whether the manifests for the nodes are known to be there.
enum Known<'a> {
    Yes,
    Failed(&'a RegistryFailure),
    Pending,
    Unasked(Reference),
}

/// What is known of one reference.
enum Pin<'a> {
    Resolved(&'a ResolvedImage),
    /// By our stored set; the record that would tell more is lost.
    Stored(Digest),
    /// Recorded for other platforms than the nodes have now; the tag has moved to this, which would suit them.
    Moved(&'a ResolvedImage, &'a ResolvedImage),
    Missing(Option<&'a RegistryFailure>),
    Failed(&'a RegistryFailure),
    Pending,
    Unasked,
}

impl Recipe<'_> {
    /// The references of the set as the cluster pulls them, with excluded names left out and replaced entries by their
    /// digest.
    pub fn references(&self) -> Result<BTreeMap<ImageName, Reference>, Vec<Finding>> {
        let settings = &self.snapshot.settings;
        let required = self.insisted_on();
        let mut references = BTreeMap::new();
        let mut findings = Vec::new();
        for (name, default) in self.images.set_images(self.installation.variant, self.installation.fips) {
            if settings.exclude.contains(&name) {
                if required.contains(&name) {
                    let insists = match self.snapshot.features.known() {
                        Some(_) => "insists on it",
                        None => "may insist on it: what the cluster uses cannot be read",
                    };
                    let message = format!("{name} is excluded, but operator {} {insists}", self.images.release());
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

    /// The names that the operator insists on with the objects that are in the cluster; while these cannot be read, with
    /// all that there could be.
    pub fn insisted_on(&self) -> BTreeSet<ImageName> {
        let all = || BTreeSet::from(Feature::ALL);
        let features = self.snapshot.features.known().cloned().unwrap_or_else(all);
        self.images.requires(self.installation.variant, &features)
    }

    /// The names that no set of this recipe may lack.
    pub fn required(&self) -> BTreeSet<ImageName> {
        if self.everything_required || self.snapshot.features.known().is_none() {
            let all = self.images.set_images(self.installation.variant, self.installation.fips).into_keys();
            return all.filter(|name| !self.snapshot.settings.exclude.contains(name)).collect();
        }
        self.insisted_on()
    }

    /// Builds the set, or says what is in the way.
    pub fn assemble(&self) -> Result<Assembled, Obstacle> {
        let references = self.references().map_err(Obstacle::Held)?;
        let required = self.required();
        let own = self.own_record();
        let mut entries: BTreeMap<ImageName, Digest> = BTreeMap::new();
        let mut record = self.record();
        let mut omitted = Vec::new();
        let mut ask = BTreeSet::new();
        let mut pending = false;
        let (mut single, mut beside, mut contradicted) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut moved = Vec::new();
        let mut troubles = self.troubles();
        for (name, reference) in &references {
            let may_omit = !required.contains(name) && self.snapshot.settings.on_missing == OnMissing::OmitUnneeded;
            match self.pin(name, reference, may_omit) {
                Pin::Unasked => {
                    ask.insert(reference.clone());
                }
                Pin::Pending => pending = true,
                Pin::Stored(digest) => {
                    contradicted.extend(self.contradiction(reference, digest));
                    // What the record should hold, the registry has to say.
                    let lost = record.images.remove(reference).is_some() || self.record_is_unusable();
                    if lost && !self.snapshot.answers.images.contains_key(reference) {
                        beside.insert(reference.clone());
                    }
                    moved.extend(self.moved(reference, digest));
                    entries.insert(name.clone(), digest);
                }
                Pin::Failed(failure) => troubles.failed(failure),
                Pin::Moved(recorded, now) => {
                    troubles.uncovered(reference, recorded, &self.uncovered(name, recorded));
                    troubles.other.push(crate::rules::image_set::tag_moved::finding(
                        self.object(),
                        reference,
                        recorded.digest,
                        now.digest,
                    ));
                }
                Pin::Missing(_) if may_omit => {
                    record.images.remove(reference);
                    record.missing.insert(reference.clone());
                    omitted.push(name.clone());
                }
                Pin::Missing(failure) => troubles.missing(name, reference, required.contains(name), failure),
                Pin::Resolved(image) => {
                    let image = self.with_presence(reference, image);
                    let uncovered = self.uncovered(name, &image);
                    match self.presence(name, reference, &image) {
                        _ if !uncovered.is_empty() && may_omit => {
                            // Remembered like one that is not there, so that no restart asks for it again.
                            record.images.remove(reference);
                            record.missing.insert(reference.clone());
                            omitted.push(name.clone());
                        }
                        _ if !uncovered.is_empty() => troubles.uncovered(reference, &image, &uncovered),
                        Known::Failed(failure) => troubles.failed(failure),
                        Known::Unasked(by_digest) if !self.is_pinned(name, &image) => {
                            ask.insert(by_digest);
                        }
                        Known::Pending if !self.is_pinned(name, &image) => pending = true,
                        known => {
                            // What is stored is no less stored while nodes that joined since are asked for.
                            if let Known::Unasked(by_digest) = known {
                                beside.insert(by_digest);
                            }
                            if !image.is_index() {
                                single.push(reference.clone());
                            }
                            if self.record_in_doubt || self.is_pinned(name, &image) {
                                contradicted.extend(self.contradiction(reference, image.digest));
                            }
                            record.missing.remove(reference);
                            entries.insert(name.clone(), image.digest);
                            record.images.insert(reference.clone(), image);
                        }
                    }
                }
            }
        }
        if let Some(failure) = self.snapshot.nodes.failure() {
            troubles.other.push(crate::rules::failed_reads::read_finding(failure));
        }
        let findings = troubles.into_findings(&self.object());
        if !ask.is_empty() {
            return Err(Obstacle::Ask(ask));
        }
        if !findings.is_empty() {
            return Err(Obstacle::Held(findings));
        }
        if pending {
            return Err(Obstacle::Pending);
        }
        let accepts = |name: &ImageName| self.images.accepts(name);
        let set =
            CompleteImageSet::new(self.name.clone(), self.images.release(), self.key, entries, &required, accepts)
                .map_err(|error| {
                    Obstacle::Held(vec![Finding::new(Reason::ImageMissing, self.object(), error.to_string())])
                })?;
        let unchanged = match own {
            Some(own) => own.images == record.images && own.missing == record.missing,
            None if self.record_is_unusable() => false,
            None => record.images.is_empty() && record.missing.is_empty(),
        };
        if !unchanged {
            record.resolved_at = self.snapshot.observed_at;
        }
        let resolved_at = (own.is_some() || !unchanged).then_some(record.resolved_at);
        let mut warnings = self.single_platform(&single);
        warnings.extend(self.record_edited(&contradicted));
        warnings.extend(moved);
        let record = (!unchanged).then_some(record);
        Ok(Assembled { set, record, omitted, warnings, ask: beside, contradicted, resolved_at })
    }

    /// This recipe's record, if it is kept already.
    pub fn own_record(&self) -> Option<&Record> {
        self.snapshot.records.known().into_iter().flatten().find(|record| record.key == *self.key)
    }

    /// This recipe's record, or one that has nothing yet.
    pub fn record(&self) -> Record {
        self.own_record().cloned().unwrap_or_else(|| self.empty_record())
    }

    /// A record of this name exists, and is not used.
    fn record_is_unusable(&self) -> bool {
        self.snapshot.unusable_records.contains(&self.key.name())
    }

    /// The own record's entry for a reference, where it has another digest than the one that is used.
    fn contradiction(&self, reference: &Reference, used: Digest) -> Option<Contradiction> {
        let recorded = self.own_record()?.images.get(reference)?.digest;
        (recorded != used).then(|| Contradiction { reference: reference.clone(), recorded, used })
    }

    /// The registry was asked for what the stored set pins, and has another digest under the tag.
    fn moved(&self, reference: &Reference, pinned: Digest) -> Option<Finding> {
        let now = self.snapshot.answers.images.get(reference).and_then(Answer::known)?.digest;
        let is_moved = reference.digest().is_none() && now != pinned;
        is_moved.then(|| crate::rules::image_set::tag_moved::finding(self.object(), reference, pinned, now))
    }

    fn record_edited(&self, contradicted: &[Contradiction]) -> Option<Finding> {
        let first = contradicted.first()?;
        let references: Vec<&Reference> = contradicted.iter().map(|one| &one.reference).collect();
        let by = if self.record_in_doubt { "the registry serves" } else { "the set pins" };
        let message = format!("{} has other digests than {by}: {}", self.key.name(), listed(&references, NAMED));
        let finding = Finding::new(Reason::RecordEdited, self.object(), message);
        Some(finding.with_evidence(Evidence::digest(&first.recorded, &first.used)))
    }

    fn empty_record(&self) -> Record {
        Record {
            key: self.key.clone(),
            resolved_at: self.snapshot.observed_at,
            images: BTreeMap::new(),
            missing: BTreeSet::new(),
            accepted: None,
            refused: None,
        }
    }

    /// What is pinned counts before what the registry says now: a stored digest never changes silently. The stored set counts before
    /// the own record, and this before the records of other releases that pull the same reference.
    ///
    /// A record is a cache of what a registry said and anybody with the right can edit it. By itself it makes a set where there is
    /// none, swaps one for another version's and puts an edited one back. It never changes what a set has that stands as the
    /// controller wrote it: there the registry has to say the same.
    fn pin(&self, name: &ImageName, reference: &Reference, may_omit: bool) -> Pin<'_> {
        let answer = self.snapshot.answers.images.get(reference);
        let repin = self.snapshot.settings.tag_moved == TagMoved::Repin && reference.digest().is_none();
        let own = self.own_record().and_then(|record| record.images.get(reference));
        let stored = self.stored_pin(name, reference);
        if let Some(digest) = stored.filter(|digest| own.is_none_or(|image| image.digest != *digest)) {
            return match answer {
                Some(Answer::Known(image)) if repin || image.digest == digest => Pin::Resolved(image),
                _ => Pin::Stored(digest),
            };
        }
        let others = self.snapshot.records.known().into_iter().flatten();
        let recorded = own.or_else(|| others.into_iter().find_map(|record| record.images.get(reference)));
        let recorded = recorded.filter(|image| self.counts(name, reference, image));
        let lacks = |image: &ResolvedImage| !self.uncovered(name, &self.with_presence(reference, image)).is_empty();
        let unsuited = recorded.filter(|image| lacks(image));
        match (recorded, answer) {
            (Some(_), Some(Answer::Known(image))) if repin => Pin::Resolved(image),
            // Nodes of a further platform came: the registry may have more by now.
            (_, None) if unsuited.is_some() => self.unasked(reference, may_omit),
            (_, Some(Answer::Pending)) if unsuited.is_some() => Pin::Pending,
            (Some(image), Some(Answer::Known(now))) if unsuited.is_some() && now.digest != image.digest => {
                let suits = !may_omit && self.uncovered(name, now).is_empty();
                if suits { Pin::Moved(image, now) } else { Pin::Resolved(image) }
            }
            (Some(image), _) => Pin::Resolved(image),
            (None, Some(Answer::Known(image))) => Pin::Resolved(image),
            (None, Some(Answer::Pending)) => Pin::Pending,
            (None, Some(Answer::Failed(failure))) if Reason::from(failure.kind) == Reason::ImageMissing => {
                Pin::Missing(Some(failure))
            }
            (None, Some(Answer::Failed(failure))) => Pin::Failed(failure),
            (None, None) => self.unasked(reference, may_omit),
        }
    }

    /// Whether a recorded digest may be used without another word of the registry.
    fn counts(&self, name: &ImageName, reference: &Reference, recorded: &ResolvedImage) -> bool {
        let stands = !self.pinned.is_empty() && !self.is_pinned(name, recorded);
        // The policy names that very digest: a person asked.
        let asked_for = reference.digest() == Some(&recorded.digest);
        let answer = self.snapshot.answers.images.get(reference).and_then(Answer::known);
        !(stands || self.record_in_doubt) || asked_for || answer.is_some_and(|now| now.digest == recorded.digest)
    }

    fn unasked(&self, reference: &Reference, may_omit: bool) -> Pin<'_> {
        let missing = self.own_record().is_some_and(|own| own.missing.contains(reference));
        if may_omit && missing { Pin::Missing(None) } else { Pin::Unasked }
    }

    /// The digest that our stored set has for a reference. One that the policy put there by `digests` says nothing of
    /// the tag.
    fn stored_pin(&self, name: &ImageName, reference: &Reference) -> Option<Digest> {
        let digest = *self.pinned.get(name)?;
        let replaced = || self.own_record().is_some_and(|own| own.images.contains_key(&reference.with_digest(digest)));
        match reference.digest() {
            Some(wanted) => (*wanted == digest).then_some(digest),
            None => (!replaced()).then_some(digest),
        }
    }

    /// Whether the registry was asked for an entry that this stored set has with another digest: no record tells which
    /// of the two is right.
    pub fn asked_anew(&self, stored: &StoredImageSet) -> bool {
        let recorded = |reference: &Reference| {
            self.snapshot.records.known().into_iter().flatten().any(|record| record.images.contains_key(reference))
        };
        let references = self.references().unwrap_or_default();
        stored.images.iter().any(|entry| {
            let reference = references.iter().find(|(name, _)| name.as_str() == entry.image).map(|(_, found)| found);
            reference.is_some_and(|reference| match self.snapshot.answers.images.get(reference) {
                Some(Answer::Known(image)) => {
                    reference.digest().is_none() && !recorded(reference) && image.digest.to_string() != entry.digest
                }
                _ => false,
            })
        })
    }

    /// The platforms of the nodes that an image of this name is for: Windows images for Windows nodes, all others for the rest.
    fn nodes(&self, name: &ImageName) -> impl Iterator<Item = &Platform> {
        let nodes = self.snapshot.nodes.known().into_iter().flatten().map(|(platform, _)| platform);
        let windows = name.is_windows();
        nodes.filter(move |node| node.is_windows() == windows)
    }

    /// The nodes' platforms that this image should run on and cannot.
    fn uncovered(&self, name: &ImageName, image: &ResolvedImage) -> Vec<Platform> {
        image.uncovered(name, self.nodes(name)).into_iter().cloned().collect()
    }

    /// The image with what the registry said since of the manifests that its index lists.
    fn with_presence(&self, reference: &Reference, image: &ResolvedImage) -> ResolvedImage {
        let mut image = image.clone();
        // Asked by tag and by digest: what was found in either way is there.
        let mut said: Vec<(Digest, Presence)> = Vec::new();
        for asked in [reference.clone(), reference.with_digest(image.digest)] {
            if let Some(Answer::Known(now)) = self.snapshot.answers.images.get(&asked)
                && now.digest == image.digest
                && let (Content::Index { children }, Content::Index { children: seen }) = (&image.content, &now.content)
            {
                for child in children {
                    let seen = seen.iter().find(|seen| seen.digest == child.digest);
                    said.extend(seen.map(|seen| (child.digest, seen.presence)));
                }
            }
        }
        if let Content::Index { children } = &mut image.content {
            for child in children {
                let said = said.iter().filter(|(digest, _)| *digest == child.digest).map(|(_, presence)| *presence);
                let said: Vec<Presence> = said.filter(|presence| *presence != Presence::Unasked).collect();
                child.presence = match said.first() {
                    Some(_) if said.contains(&Presence::Present) => Presence::Present,
                    Some(absent) => *absent,
                    None => child.presence,
                };
            }
        }
        image
    }

    /// Whether it is known that the registry has the manifests that the nodes will pull. An image whose nodes joined after it
    /// was resolved is asked for again, by the digest that is pinned.
    fn presence(&self, name: &ImageName, reference: &Reference, image: &ResolvedImage) -> Known<'_> {
        if !self.nodes(name).any(|node| image.coverage(node) == Coverage::Unasked) {
            return Known::Yes;
        }
        let pinned = reference.with_digest(image.digest);
        match self.snapshot.answers.images.get(&pinned) {
            None => Known::Unasked(pinned),
            Some(Answer::Failed(failure)) => Known::Failed(failure),
            // An answer that was asked for with fewer nodes in mind is asked for again by those who keep answers.
            Some(Answer::Pending | Answer::Known(_)) => Known::Pending,
        }
    }

    fn is_pinned(&self, name: &ImageName, image: &ResolvedImage) -> bool {
        self.pinned.get(name) == Some(&image.digest)
    }

    fn single_platform(&self, single: &[Reference]) -> Vec<Finding> {
        if single.is_empty() {
            return Vec::new();
        }
        let message = format!("a single manifest, not an index: {}", listed(single, NAMED));
        vec![Finding::new(Reason::SinglePlatformImage, self.object(), message)]
    }

    fn troubles(&self) -> Troubles {
        let no_secrets = self.installation.image_pull_secrets.is_empty();
        Troubles { no_secrets, ..Troubles::default() }
    }

    /// References, by tag and by digest, whose answer lacks a platform of the nodes, as does what is recorded, if anything is.
    pub fn unsuitable(&self) -> BTreeSet<Reference> {
        let suited = |name: &ImageName, reference: &Reference| {
            let records = self.snapshot.records.known().into_iter().flatten();
            let mut recorded = records.filter_map(|record| record.images.get(reference));
            recorded.any(|image| self.uncovered(name, &self.with_presence(reference, image)).is_empty())
        };
        let lacks = |name: &ImageName, asked: &Reference| match self.snapshot.answers.images.get(asked) {
            Some(Answer::Known(image)) => !self.uncovered(name, image).is_empty(),
            _ => false,
        };
        let mut unsuitable = BTreeSet::new();
        for (name, reference) in self.references().unwrap_or_default() {
            if suited(&name, &reference) {
                continue;
            }
            let same_repository = |asked: &&Reference| asked.name() == reference.name();
            let asked = self.snapshot.answers.images.keys().filter(same_repository);
            unsuitable.extend(asked.filter(|asked| lacks(&name, asked)).cloned());
        }
        unsuitable
    }

    fn object(&self) -> ObjectRef {
        ObjectRef::image_set(self.name.as_str())
    }
}

/// What went wrong, gathered so that many images on one broken registry make one finding.
#[derive(Default)]
struct Troubles {
    /// The Installation names no pull secret.
    no_secrets: bool,
    failures: BTreeMap<(Reason, String), Vec<String>>,
    missing: BTreeMap<bool, Vec<Reference>>,
    missing_at: String,
    uncovered: Vec<String>,
    other: Vec<Finding>,
}

impl Troubles {
    fn failed(&mut self, failure: &RegistryFailure) {
        let reason = match failure.kind {
            // Nodes pull with a credential provider then, or the cluster could not run.
            RegistryFailureKind::CredentialsMissing if self.no_secrets => Reason::NodeCredentialsOnly,
            kind => kind.into(),
        };
        let group = self.failures.entry((reason, failure.registry.clone())).or_default();
        if failure.reference.is_some() {
            group.push(failure.summary());
        } else if group.is_empty() {
            self.other.push(Finding::new(reason, Subject::registry(&failure.registry), failure.summary()));
        }
    }

    fn missing(&mut self, _name: &ImageName, reference: &Reference, required: bool, failure: Option<&RegistryFailure>) {
        if let Some(failure) = failure {
            self.missing_at.clone_from(&failure.registry);
        }
        self.missing.entry(required).or_default().push(reference.clone());
    }

    fn uncovered(&mut self, reference: &Reference, image: &ResolvedImage, platforms: &[Platform]) {
        self.uncovered.extend(image.lacks(reference, &platforms.iter().collect::<Vec<_>>()));
    }

    fn into_findings(self, object: &ObjectRef) -> Vec<Finding> {
        let mut findings = self.other;
        for ((reason, registry), failures) in self.failures {
            let Some(words) = failures.first() else { continue };
            let message = match failures.len() {
                1 => words.clone(),
                count => format!("{count} images cannot be resolved; {words}"),
            };
            findings.push(Finding::new(reason, Subject::registry(&registry), message));
        }
        // What the operator insists on comes first.
        for (required, references) in self.missing.into_iter().rev() {
            let need = if required { "the operator insists on" } else { "nothing in the cluster needs" };
            let at = if self.missing_at.is_empty() { String::new() } else { format!(" {}", self.missing_at) };
            let message = format!("the registry{at} does not have {}, which {need}", listed(&references, NAMED));
            findings.push(Finding::new(Reason::ImageMissing, object.clone(), message));
        }
        if !self.uncovered.is_empty() {
            let more = self.uncovered.len().saturating_sub(NAMED);
            let mut message = self.uncovered.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            if more > 0 {
                message.push_str(&format!("; and {more} more"));
            }
            findings.push(Finding::new(Reason::PlatformMissing, object.clone(), message));
        }
        findings
    }
}
