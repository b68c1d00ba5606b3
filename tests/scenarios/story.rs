//! What a story says, and the pass that it leads to: the pure core, driven as the controller drives it, with a made-up registry in
//! the place of real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imageset_controller::api::{ImageSetPolicy, ImageSetPolicySpec, ImageSetPolicyStatus};
use imageset_controller::catalogue::Catalogue;
use imageset_controller::cluster::status;
use imageset_controller::inspection::output;
use imageset_controller::model::{
    Child, Content, Decision, Digest, Hints, ImageName, Inspection, InspectionJob, InstallationSettings, JobState,
    LookupResult, OperatorImage, OperatorImages, Origin, Outcome, Platform, Presence, Read, Record, RecordKey,
    Reference, RegistryFailure, RegistryFailureKind, RejectedContent, Release, Report, ResolvedImage, Snapshot,
    StoredImage, StoredImageSet, Workload, image_set::content_digest,
};
use imageset_controller::rules::decide::decide;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use crate::rules::OperatorRules;

/// A scenario file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Scenario {
    /// What happened, for the reader.
    pub(crate) story: String,
    /// The snapshot, without what the keys below add.
    pub(crate) given: Snapshot,
    /// ImageSets in short: made from a release's list and the made-up registry.
    #[serde(default)]
    pub(crate) sets: Vec<SetInShort>,
    /// Workloads that run pinned images: `DaemonSet calico-system/calico-node quay.io/calico/node:v3.31.7`.
    #[serde(default)]
    pub(crate) pinned: Vec<String>,
    /// Releases that have a record.
    #[serde(default)]
    pub(crate) records: Vec<Release>,
    /// Releases whose record has what was accepted before: their content without these names.
    #[serde(default)]
    pub(crate) accepted_without: BTreeMap<Release, BTreeSet<ImageName>>,
    /// Releases whose content was refused.
    #[serde(default)]
    pub(crate) refused: BTreeMap<Release, RejectedContent>,
    /// References that were of one platform only when they were recorded.
    #[serde(default)]
    pub(crate) recorded_single: BTreeMap<Reference, Platform>,
    /// References whose recorded digest somebody has changed.
    #[serde(default)]
    pub(crate) recorded_other: BTreeSet<Reference>,
    /// Releases whose record somebody else has written, so that it is not used.
    #[serde(default)]
    pub(crate) records_not_used: BTreeSet<Release>,
    /// They were recorded before there were nodes: nobody asked for platform manifests.
    #[serde(default)]
    pub(crate) recorded_without_nodes: bool,
    /// The registry that answers the questions.
    #[serde(default)]
    pub(crate) registry: MadeUpRegistry,
    /// Operator images that nobody has published.
    #[serde(default)]
    pub(crate) builds: BTreeMap<Reference, BuildInShort>,
}

/// A made-up operator build, and how far its inspection is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BuildInShort {
    /// The published release that it is like.
    pub(crate) like: Release,
    /// Most components are in one image.
    #[serde(default)]
    pub(crate) merged: bool,
    /// What it prints of itself.
    pub(crate) version: String,
    pub(crate) calico: String,
    /// A rebuild that prints the version of its base.
    #[serde(default)]
    pub(crate) counts_as: Option<String>,
    /// Its answer is kept.
    #[serde(default)]
    pub(crate) kept: bool,
    /// Names that it prints and refuses, and that this is kept of.
    #[serde(default)]
    pub(crate) rejects: BTreeSet<ImageName>,
    #[serde(default)]
    pub(crate) refused: BTreeSet<ImageName>,
    /// Its Job.
    #[serde(default)]
    pub(crate) job: Option<JobInShort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(crate) struct JobInShort {
    pub(crate) attempt: u32,
    pub(crate) failed_before: Option<String>,
    pub(crate) state: StateInShort,
}

impl Default for JobInShort {
    fn default() -> Self {
        Self { attempt: 1, failed_before: None, state: StateInShort::Answered }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StateInShort {
    Answered,
    Running,
    Troubled(String),
    Failed(String),
    Unusable(String),
}

impl BuildInShort {
    pub(crate) fn counts_as(&self) -> &str {
        self.counts_as.as_deref().unwrap_or(&self.version)
    }

    pub(crate) fn rules(&self) -> OperatorRules {
        let rules = match self.merged {
            true => OperatorRules::merged(&self.version, &self.calico),
            false => OperatorRules::unpublished(&self.like.to_string(), &self.version, &self.calico),
        };
        let rules = rules.unwrap();
        self.rejects.iter().fold(rules, |rules, name| rules.refusing(name.as_str()))
    }

    /// As the product reads what it prints.
    fn images(&self) -> OperatorImages {
        output::parse(&self.rules().printed_version(), &self.rules().printed_list()).unwrap()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SetInShort {
    pub(crate) name: String,
    pub(crate) operator: Release,
    /// Made by us.
    #[serde(default)]
    pub(crate) ours: bool,
    /// Registry that it was made from, where it is not the one of the cluster.
    #[serde(default)]
    pub(crate) registry: Option<String>,
    /// Names that it was made without.
    #[serde(default)]
    pub(crate) without: BTreeSet<String>,
    /// Edits by hand: name to digest, or to nothing for a removed entry.
    #[serde(default)]
    pub(crate) edited: BTreeMap<String, Option<String>>,
    /// Its annotations are gone.
    #[serde(default)]
    pub(crate) bare: bool,
    /// When it was written last; long ago, if nothing is said.
    #[serde(default)]
    pub(crate) changed_at: Option<jiff::Timestamp>,
    /// The tool that applies it.
    #[serde(default)]
    pub(crate) applied_by: Option<imageset_controller::model::AppliedBy>,
    /// The digests are those of the other FIPS mode.
    #[serde(default)]
    pub(crate) other_fips_mode: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct MadeUpRegistry {
    /// References that it does not have.
    pub(crate) lacks: BTreeSet<Reference>,
    /// Registries that fail with this kind.
    pub(crate) fails: BTreeMap<String, RegistryFailureKind>,
    /// References that are of one platform only.
    pub(crate) single: BTreeMap<Reference, Platform>,
    /// References whose index lists these platforms, while the registry does not have their manifests.
    pub(crate) sparse: BTreeMap<Reference, BTreeSet<Platform>>,
    /// References whose recorded bytes it does not serve by digest any more.
    pub(crate) collected: BTreeSet<Reference>,
    /// References that resolve to other bytes than they did.
    pub(crate) moved: BTreeSet<Reference>,
    /// Version labels of operator images; `null` for an image without one.
    pub(crate) labels: BTreeMap<Reference, Option<String>>,
    /// Tags of the operator's repository; without them it cannot be listed.
    pub(crate) tags: Option<BTreeSet<String>>,
    /// Nobody may ask anything.
    pub(crate) silent: bool,
}

impl MadeUpRegistry {
    fn image(&self, reference: &Reference, hints: &Hints) -> LookupResult<ResolvedImage> {
        if let Some(failure) = self.failure(reference) {
            return LookupResult::Failed(failure);
        }
        let mut image = resolved(reference);
        if self.moved.contains(reference) {
            image.digest = Digest::of(format!("moved {reference}").as_bytes());
        }
        if let Some(platform) = self.single.get(reference) {
            image.content = Content::Manifest { platform: platform.clone() };
        }
        let sparse = self.sparse.iter().find(|(listed, _)| listed.repository() == reference.repository());
        if let Content::Index { children } = &mut image.content {
            for child in
                children.iter_mut().filter(|child| hints.platforms.iter().any(|node| child.platform.runs_on(node)))
            {
                let absent = sparse.is_some_and(|(_, platforms)| platforms.contains(&child.platform));
                child.presence = if absent { Presence::Absent } else { Presence::Present };
            }
        }
        LookupResult::Known(image)
    }

    fn operator(&self, reference: &Reference) -> LookupResult<OperatorImage> {
        match self.failure(reference) {
            Some(failure) => LookupResult::Failed(failure),
            None => LookupResult::Known(self.operator_image(reference)),
        }
    }

    fn operator_image(&self, reference: &Reference) -> OperatorImage {
        let image = resolved(reference);
        let platforms = match self.single.get(reference) {
            Some(only) => [only.clone()].into(),
            None => image.platforms().into_iter().cloned().collect(),
        };
        OperatorImage { digest: image.digest, version: self.labels.get(reference).cloned().flatten(), platforms }
    }

    fn releases(&self, reference: &Reference) -> LookupResult<BTreeSet<Release>> {
        match (&self.tags, self.failure(reference)) {
            (Some(tags), None) => LookupResult::Known(tags.iter().filter_map(|tag| tag.parse().ok()).collect()),
            (_, failure) => LookupResult::Failed(failure.unwrap_or_else(|| {
                let kind = RegistryFailureKind::Forbidden;
                RegistryFailure::new(kind, Some(reference.clone()), reference.registry(), "")
            })),
        }
    }

    fn failure(&self, reference: &Reference) -> Option<RegistryFailure> {
        let by_digest = |collected: &Reference| reference.digest().is_some() && collected.name() == reference.name();
        let kind = if self.lacks.contains(reference) || self.collected.iter().any(by_digest) {
            RegistryFailureKind::NotFound
        } else {
            *self.fails.get(reference.registry())?
        };
        Some(RegistryFailure::new(kind, Some(reference.clone()), reference.registry(), ""))
    }
}

/// A digest that somebody wrote into a record.
fn other(reference: &Reference) -> Digest {
    Digest::of(format!("other {reference}").as_bytes())
}

/// What the made-up registry holds for a reference: an index for the usual platforms.
pub(crate) fn resolved(reference: &Reference) -> ResolvedImage {
    let windows = reference.repository().ends_with("-windows") || reference.repository().ends_with("/windows-upgrade");
    let platforms = if windows { &["windows/amd64/10.0.17763.1"][..] } else { &["linux/amd64", "linux/arm64"] };
    ResolvedImage {
        reference: reference.clone(),
        digest: reference.digest().copied().unwrap_or_else(|| Digest::of(reference.to_string().as_bytes())),
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        content: Content::Index {
            children: platforms
                .iter()
                .map(|platform| Child {
                    platform: platform.parse().unwrap(),
                    digest: Digest::of(format!("{} for {platform}", reference.repository()).as_bytes()),
                    presence: Presence::Unchecked,
                })
                .collect(),
        },
        size: 1,
    }
}

/// The snapshot with everything that the short forms stand for.
pub(crate) fn expand(scenario: &Scenario) -> Snapshot {
    let mut snapshot = scenario.given.clone();
    let installation = match &snapshot.installation {
        Read::Known(Some(installation)) => installation.settings.clone(),
        _ => snapshot.settings.installation.clone(),
    };
    let references = |release: &Release, installation: &InstallationSettings| -> BTreeMap<String, Reference> {
        let images = Catalogue::embedded().get(release).unwrap().set_images(installation.variant, installation.fips);
        let placed =
            images.into_iter().map(|(name, default)| (name.to_string(), installation.layout.place(&default).unwrap()));
        placed.collect()
    };
    if let Read::Known(sets) = &mut snapshot.image_sets {
        for short in &scenario.sets {
            let mut installation = installation.clone();
            if let Some(registry) = &short.registry {
                installation.layout.registry.clone_from(registry);
            }
            installation.fips ^= short.other_fips_mode;
            let mut entries: BTreeMap<String, String> = references(&short.operator, &installation)
                .into_iter()
                .filter(|(name, _)| !short.without.contains(name))
                .map(|(name, reference)| (name, resolved(&reference).digest.to_string()))
                .collect();
            let content = content_digest(entries.clone().into_iter());
            for (name, digest) in &short.edited {
                entries.remove(name);
                if let Some(digest) = digest {
                    entries.insert(name.clone(), digest.clone());
                }
            }
            sets.push(StoredImageSet {
                changed_at: short.changed_at,
                applied_by: short.applied_by,
                name: short.name.clone(),
                resource_version: "7".to_owned(),
                managed: short.ours,
                origin: (short.ours && !short.bare).then(|| Origin {
                    operator: short.operator,
                    record: RecordKey::new(short.operator, &installation).name(),
                    content,
                }),
                images: entries.into_iter().map(|(image, digest)| StoredImage { image, digest }).collect(),
                manager: Some(
                    if short.ours && short.edited.is_empty() { "imageset-controller" } else { "kubectl-edit" }
                        .to_owned(),
                ),
            });
        }
    }
    if let Read::Known(workloads) = &mut snapshot.workloads {
        for text in &scenario.pinned {
            let parts: Vec<&str> = text.split([' ', '/']).collect();
            let reference: Reference = text.rsplit(' ').next().unwrap().parse().unwrap();
            workloads.push(Workload {
                kind: parts[0].parse().unwrap(),
                namespace: parts[1].to_owned(),
                name: parts[2].to_owned(),
                images: vec![reference.with_digest(resolved(&reference).digest).to_string()],
                rolled_out: true,
                updated: 1,
                desired: 1,
            });
        }
    }
    for (image, build) in &scenario.builds {
        let digest = scenario.registry.operator_image(image).digest;
        let label = scenario.registry.labels.get(image).cloned().flatten();
        let images = build.images();
        let at = jiff::Timestamp::UNIX_EPOCH;
        if build.kept {
            let (image, label, images) = (image.clone(), label.clone(), images.clone());
            let rejected = build.refused.clone();
            snapshot.inspections.kept.push(Inspection { image, digest, label, completed_at: at, images, rejected });
        }
        if let (Some(job), Read::Known(jobs)) = (&build.job, &mut snapshot.inspections.jobs) {
            jobs.push(InspectionJob {
                uid: "uid".to_owned(),
                image: image.clone(),
                digest,
                label,
                attempt: job.attempt,
                failed_before: job.failed_before.clone(),
                state: match &job.state {
                    StateInShort::Answered => JobState::Completed { at, images: Box::new(images) },
                    StateInShort::Running => JobState::Running { start_problem: None },
                    StateInShort::Troubled(problem) => JobState::Running { start_problem: Some(problem.clone()) },
                    StateInShort::Failed(why) => JobState::Failed { at, why: why.clone() },
                    StateInShort::Unusable(why) => JobState::Unusable { at, why: why.clone() },
                },
            });
        }
    }
    let not_used = scenario.records_not_used.iter().map(|release| RecordKey::new(*release, &installation).name());
    snapshot.unusable_records.extend(not_used);
    if let Read::Known(records) = &mut snapshot.records {
        for release in &scenario.records {
            let images = references(release, &installation).into_values();
            let recorded = |reference: &Reference| {
                let mut image = resolved(reference);
                if let (Content::Index { children }, false) = (&mut image.content, scenario.recorded_without_nodes) {
                    children.iter_mut().for_each(|child| child.presence = Presence::Present);
                }
                if scenario.recorded_other.contains(reference) {
                    image.digest = other(reference);
                }
                if let Some(platform) = scenario.recorded_single.get(reference) {
                    image.content = Content::Manifest { platform: platform.clone() };
                }
                image
            };
            let accepted = scenario.accepted_without.get(release).map(|without| {
                let names = references(release, &installation).into_iter();
                let entries = names.map(|(name, reference)| (name.parse().unwrap(), resolved(&reference).digest));
                entries.filter(|(name, _)| !without.contains(name)).collect()
            });
            records.push(Record {
                accepted,
                rejected: scenario.refused.get(release).cloned(),
                key: RecordKey::new(*release, &installation),
                resolved_at: snapshot.observed_at,
                images: images.map(|reference| (reference.clone(), recorded(&reference))).collect(),
                missing: BTreeSet::new(),
            });
        }
    }
    snapshot
}

/// The pass as the controller makes it, with the made-up registry in the place of real ones.
pub(crate) fn pass(scenario: &Scenario) -> (Snapshot, Decision, usize) {
    let mut snapshot = expand(scenario);
    let mut asked = 0;
    for _ in 0..4 {
        let decision = decide(&snapshot, Catalogue::embedded());
        if decision.lookups.is_empty() {
            return (snapshot, decision, asked);
        }
        let questions = &decision.lookups;
        if scenario.registry.silent {
            // Nothing waits for the digests of operator images.
            assert!(
                questions.blocks_no_write() && questions.releases.is_empty(),
                "the registry was asked: {questions:?}"
            );
            return (snapshot, decision, asked);
        }
        asked +=
            questions.images.len() + questions.operators.len() + questions.digests.len() + questions.releases.len();
        let images = questions
            .images
            .iter()
            .map(|reference| (reference.clone(), scenario.registry.image(reference, &questions.hints)));
        snapshot.lookup_results.images.extend(images);
        let operators = questions
            .operators
            .union(&questions.digests)
            .map(|reference| (reference.clone(), scenario.registry.operator(reference)));
        snapshot.lookup_results.operators.extend(operators);
        let releases =
            questions.releases.iter().map(|reference| (reference.clone(), scenario.registry.releases(reference)));
        snapshot.lookup_results.releases.extend(releases);
    }
    panic!("the questions never end");
}

/// The policy object as it is after this pass, of those fields of the spec that a snapshot tells.
pub(crate) fn policy(snapshot: &Snapshot, report: &Report) -> ImageSetPolicy {
    let mut policy = ImageSetPolicy::new("default", ImageSetPolicySpec::default());
    policy.spec.mode = snapshot.settings.mode;
    policy.spec.suspend = snapshot.settings.suspend;
    policy.status = Some(status::of_report(&ImageSetPolicyStatus::default(), report, &Time(snapshot.observed_at)));
    policy
}

/// What is told of the pass when all that was decided is written.
pub(crate) fn report(snapshot: &Snapshot, decision: &Decision) -> Report {
    let outcome = Outcome { completed: decision.actions.len(), at: Some(snapshot.observed_at), failure: None };
    Report::new(snapshot, decision, &outcome)
}

/// The files of all stories.
pub(crate) fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/stories");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

/// The story in a file.
pub(crate) fn read(file: &Path) -> Scenario {
    let text = std::fs::read_to_string(file).unwrap();
    imageset_controller::yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
