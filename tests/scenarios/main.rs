//! Scenarios: each file under `stories/` tells what is in the cluster and in the registries; the golden file beside it
//! holds what is decided and said. No I/O but the files: this is the pure core, driven as the controller drives it.
//!
//! `UPDATE=1 cargo test --test scenarios` writes the golden files anew; read the difference before committing it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use imageset_controller::api::{self, ImageSetPolicy, ImageSetPolicySpec, ImageSetPolicyStatus};
use imageset_controller::cli;
use imageset_controller::cluster::status;
use imageset_controller::domain::answer::{Answer, Hints, OperatorImage};
use imageset_controller::domain::decision::{Action, Decision, GoalState};
use imageset_controller::domain::imageset::{Origin, content_digest};
use imageset_controller::domain::inspection::{Inspected, InspectionJob, JobState};
use imageset_controller::domain::record::{Record, RecordKey, Refused};
use imageset_controller::domain::report::{Outcome, Report};
use imageset_controller::domain::settings::{InstallationSettings, Mode};
use imageset_controller::domain::snapshot::{Read, StoredImage, StoredImageSet, Workload};
use imageset_controller::domain::{
    Catalogue, Child, Content, Digest, ImageName, OperatorImages, Platform, Presence, Reference, RegistryFailure,
    RegistryFailureKind, Release, ResolvedImage, Snapshot, decide,
};
use imageset_controller::inspection::output;
use imageset_controller::metrics::Metrics;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;

use rules::OperatorRules;

mod judge;
#[allow(dead_code, missing_docs, unused_imports)]
#[path = "../testbox/rules/mod.rs"]
mod rules;

/// A scenario file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Scenario {
    /// What happened, for the reader.
    story: String,
    /// The snapshot, without what the keys below add.
    given: Snapshot,
    /// ImageSets in short: made from a release's list and the made-up registry.
    #[serde(default)]
    sets: Vec<SetInShort>,
    /// Workloads that run pinned images: `DaemonSet calico-system/calico-node quay.io/calico/node:v3.31.7`.
    #[serde(default)]
    pinned: Vec<String>,
    /// Releases that have a record.
    #[serde(default)]
    records: Vec<Release>,
    /// Releases whose record has what was accepted before: their content without these names.
    #[serde(default)]
    accepted_without: BTreeMap<Release, BTreeSet<ImageName>>,
    /// Releases whose content was refused.
    #[serde(default)]
    refused: BTreeMap<Release, Refused>,
    /// References that were of one platform only when they were recorded.
    #[serde(default)]
    recorded_single: BTreeMap<Reference, Platform>,
    /// They were recorded before there were nodes: nobody asked for platform manifests.
    #[serde(default)]
    recorded_without_nodes: bool,
    /// The registry that answers the questions.
    #[serde(default)]
    registry: MadeUpRegistry,
    /// Operator images that nobody has published.
    #[serde(default)]
    builds: BTreeMap<Reference, BuildInShort>,
}

/// A made-up operator build, and how far its inspection is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BuildInShort {
    /// The published release that it is like.
    like: Release,
    /// What it prints of itself.
    version: String,
    calico: String,
    /// A rebuild that prints the version of its base.
    #[serde(default)]
    counts_as: Option<String>,
    /// Its answer is kept.
    #[serde(default)]
    kept: bool,
    /// Names that it prints and refuses, and that this is kept of.
    #[serde(default)]
    rejects: BTreeSet<ImageName>,
    #[serde(default)]
    refused: BTreeSet<ImageName>,
    /// Its Job.
    #[serde(default)]
    job: Option<JobInShort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct JobInShort {
    attempt: u32,
    failed_before: Option<String>,
    state: StateInShort,
}

impl Default for JobInShort {
    fn default() -> Self {
        Self { attempt: 1, failed_before: None, state: StateInShort::Answered }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum StateInShort {
    Answered,
    Running,
    Troubled(String),
    Failed(String),
    Unusable(String),
}

impl BuildInShort {
    fn counts_as(&self) -> &str {
        self.counts_as.as_deref().unwrap_or(&self.version)
    }

    fn rules(&self) -> OperatorRules {
        let rules = OperatorRules::unpublished(&self.like.to_string(), &self.version, &self.calico).unwrap();
        self.rejects.iter().fold(rules, |rules, name| rules.refusing(name.as_str()))
    }

    /// As the product reads what it prints.
    fn images(&self) -> OperatorImages {
        output::parse(&self.rules().printed_version(), &self.rules().printed_list()).unwrap()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct SetInShort {
    name: String,
    operator: Release,
    /// Made by us.
    #[serde(default)]
    ours: bool,
    /// Registry that it was made from, where it is not the one of the cluster.
    #[serde(default)]
    registry: Option<String>,
    /// Names that it was made without.
    #[serde(default)]
    without: BTreeSet<String>,
    /// Edits by hand: name to digest, or to nothing for a removed entry.
    #[serde(default)]
    edited: BTreeMap<String, Option<String>>,
    /// Its annotations are gone.
    #[serde(default)]
    bare: bool,
    /// When it was written last; long ago, if nothing is said.
    #[serde(default)]
    changed_at: Option<jiff::Timestamp>,
    /// The digests are those of the other FIPS mode.
    #[serde(default)]
    other_fips_mode: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct MadeUpRegistry {
    /// References that it does not have.
    lacks: BTreeSet<Reference>,
    /// Registries that fail with this kind.
    fails: BTreeMap<String, RegistryFailureKind>,
    /// References that are of one platform only.
    single: BTreeMap<Reference, Platform>,
    /// References whose index lists these platforms, while the registry does not have their manifests.
    sparse: BTreeMap<Reference, BTreeSet<Platform>>,
    /// References whose recorded bytes it does not serve by digest any more.
    collected: BTreeSet<Reference>,
    /// References that resolve to other bytes than they did.
    moved: BTreeSet<Reference>,
    /// Version labels of operator images; `null` for an image without one.
    labels: BTreeMap<Reference, Option<String>>,
    /// Tags of the operator's repository; without them it cannot be listed.
    tags: Option<BTreeSet<String>>,
    /// Nobody may ask anything.
    silent: bool,
}

impl MadeUpRegistry {
    fn image(&self, reference: &Reference, hints: &Hints) -> Answer<ResolvedImage> {
        if let Some(failure) = self.failure(reference) {
            return Answer::Failed(failure);
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
        Answer::Known(image)
    }

    fn operator(&self, reference: &Reference) -> Answer<OperatorImage> {
        match self.failure(reference) {
            Some(failure) => Answer::Failed(failure),
            None => Answer::Known(self.operator_image(reference)),
        }
    }

    fn operator_image(&self, reference: &Reference) -> OperatorImage {
        OperatorImage { digest: resolved(reference).digest, version: self.labels.get(reference).cloned().flatten() }
    }

    fn releases(&self, reference: &Reference) -> Answer<BTreeSet<Release>> {
        match (&self.tags, self.failure(reference)) {
            (Some(tags), None) => Answer::Known(tags.iter().filter_map(|tag| tag.parse().ok()).collect()),
            (_, failure) => Answer::Failed(failure.unwrap_or_else(|| {
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

/// What the made-up registry holds for a reference: an index for the usual platforms.
fn resolved(reference: &Reference) -> ResolvedImage {
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
                    presence: Presence::Unasked,
                })
                .collect(),
        },
        size: 1,
    }
}

/// The snapshot with everything that the short forms stand for.
fn expand(scenario: &Scenario) -> Snapshot {
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
                name: short.name.clone(),
                resource_version: "7".to_owned(),
                ours: short.ours,
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
                kind: parts[0].to_owned(),
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
            let refused = build.refused.clone();
            snapshot.inspections.kept.push(Inspected { image, digest, label, answered_at: at, images, refused });
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
                    StateInShort::Answered => JobState::Answered { at, images: Box::new(images) },
                    StateInShort::Running => JobState::Running { trouble: None },
                    StateInShort::Troubled(told) => JobState::Running { trouble: Some(told.clone()) },
                    StateInShort::Failed(why) => JobState::Failed { at, why: why.clone() },
                    StateInShort::Unusable(why) => JobState::Unusable { at, why: why.clone() },
                },
            });
        }
    }
    if let Read::Known(records) = &mut snapshot.records {
        for release in &scenario.records {
            let images = references(release, &installation).into_values();
            let recorded = |reference: &Reference| {
                let mut image = resolved(reference);
                if let (Content::Index { children }, false) = (&mut image.content, scenario.recorded_without_nodes) {
                    children.iter_mut().for_each(|child| child.presence = Presence::Present);
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
                refused: scenario.refused.get(release).cloned(),
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
fn pass(scenario: &Scenario) -> (Snapshot, Decision, usize) {
    let mut snapshot = expand(scenario);
    let mut asked = 0;
    for _ in 0..4 {
        let decision = decide(&snapshot, Catalogue::embedded());
        if decision.questions.is_empty() {
            return (snapshot, decision, asked);
        }
        let questions = &decision.questions;
        if scenario.registry.silent {
            // Nothing waits for the digests of operator images.
            assert!(
                questions.holds_nothing() && questions.releases.is_empty(),
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
        snapshot.answers.images.extend(images);
        let operators = questions
            .operators
            .union(&questions.digests)
            .map(|reference| (reference.clone(), scenario.registry.operator(reference)));
        snapshot.answers.operators.extend(operators);
        let releases =
            questions.releases.iter().map(|reference| (reference.clone(), scenario.registry.releases(reference)));
        snapshot.answers.releases.extend(releases);
    }
    panic!("the questions never end");
}

/// Every decision is put before the judge.
fn judge(story: &str, scenario: &Scenario, snapshot: &Snapshot, decision: &Decision) {
    let builds = scenario.builds.iter().map(|(image, build)| judge::Unpublished {
        image: image.clone(),
        version: build.counts_as().to_owned(),
        rules: build.rules(),
    });
    let builds: Vec<judge::Unpublished> = builds.collect();
    let found = judge::violations_with(snapshot, decision, &builds);
    assert!(found.is_empty(), "{story}:\n{}", found.join("\n"));
}

/// Otherwise the next pass would find a check due and ask the registry, which may be why the cluster is rolled back.
#[test]
fn a_rollback_counts_as_verified_when_its_record_was_made() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/stories");
    let mut scenario = read(&folder.join("rollback-from-record.yaml"));
    scenario.pinned = vec!["DaemonSet calico-system/calico-node quay.io/calico/node:v3.32.1".to_owned()];
    let mut snapshot = expand(&scenario);
    let at = |hour: &str| format!("2026-11-24T{hour}:00:00Z").parse::<jiff::Timestamp>().unwrap();
    snapshot.observed_at = at("12");
    snapshot.remembered.current_image_set = Some("calico-v3.32.1".to_owned());
    snapshot.remembered.last_verified = Some(at("11"));
    let Read::Known(records) = &mut snapshot.records else { panic!("no records") };
    records.iter_mut().for_each(|record| record.resolved_at = at("10"));
    let decision = decide(&snapshot, Catalogue::embedded());
    assert!(decision.questions.holds_nothing());
    let outcome = Outcome { done: decision.actions.len(), at: Some(snapshot.observed_at), failure: None };
    let current = Report::new(&snapshot, &decision, &outcome).current.unwrap();
    assert_eq!((current.image_set.as_str(), current.last_verified), ("calico-v3.31.7", Some(at("10"))));
    // The roll-out that is to come is not the one of the set before.
    assert_eq!((current.workloads.total, current.workloads.pinned), (1, 0));
}

fn golden(snapshot: &Snapshot, decision: &Decision, report: &Report, asked: usize) -> String {
    let mut text = String::new();
    writeln!(text, "registry: {asked} questions").unwrap();
    writeln!(
        text,
        "operator: running {} target {}",
        or_dash(&report.operator.version),
        or_dash(&report.operator.target)
    )
    .unwrap();
    writeln!(text, "\nactions:").unwrap();
    for (list, title) in [(&decision.actions, "do"), (&decision.plan, "plan")] {
        if title == "plan" && decision.actions == decision.plan {
            continue;
        }
        for action in list {
            match action {
                Action::WriteRecord(record) => {
                    let missing = if record.missing.is_empty() {
                        String::new()
                    } else {
                        format!(", {} missing", record.missing.len())
                    };
                    writeln!(
                        text,
                        "  {title}: record {} ({} images{missing})",
                        record.key.operator,
                        record.images.len()
                    )
                    .unwrap();
                }
                Action::StoreImageSet(store) => {
                    writeln!(text, "  {title}: {:?} {} if {:?}", store.motive, store.set, store.precondition).unwrap();
                }
                Action::KeepInspection(inspected) => {
                    let printed = inspected.images.release();
                    let refused: Vec<&str> = inspected.refused.iter().map(ImageName::as_str).collect();
                    let refused = match refused.as_slice() {
                        [] => String::new(),
                        names => format!(", and that it refuses {}", names.join(" ")),
                    };
                    writeln!(text, "  {title}: keep what {} says, {printed}{refused}", inspected.image).unwrap();
                }
                Action::StartInspection(start) => {
                    let before = start.failed_before.as_ref().map(|why| format!(" after {why:?}")).unwrap_or_default();
                    writeln!(text, "  {title}: attempt {} to ask {}{before}", start.attempt, start.image).unwrap();
                }
                Action::EndInspection { name, .. } => {
                    writeln!(text, "  {title}: delete Job {}", &name[..15]).unwrap();
                }
                Action::SetGate(enforcement) => writeln!(text, "  {title}: gate {enforcement:?}").unwrap(),
                Action::PruneImageSet(prune) => writeln!(text, "  {title}: delete {}", prune.image_set).unwrap(),
            }
        }
    }
    if !decision.rollouts.is_empty() {
        writeln!(text, "  rolls: {}", decision.rollouts.join(", ")).unwrap();
    }
    writeln!(text, "\nsets:").unwrap();
    for goal in &decision.goals {
        let omitted: Vec<&str> = goal.omitted.iter().map(|name| name.as_str()).collect();
        let omitted = if omitted.is_empty() { String::new() } else { format!(", without {}", omitted.join(" ")) };
        writeln!(
            text,
            "  {} {} for {}: {:?}, {} images{omitted}",
            goal.purpose, goal.name, goal.release, goal.state, goal.images
        )
        .unwrap();
    }
    if let Some(at) = decision.look_again {
        writeln!(text, "  to be looked at again at {at}").unwrap();
    }
    for one in report.prepared.iter().filter(|one| one.requested_until.is_some()) {
        let until = one.requested_until.unwrap();
        let state = one.state.map_or("unknown".to_owned(), |state| format!("{state:?}"));
        writeln!(text, "  {} is asked for until {until}: {state}", one.version).unwrap();
    }
    if let Some(handled) = &report.handled_refresh {
        writeln!(text, "  the refresh {handled:?} is handled").unwrap();
    }
    if let Some(admitted) = &report.admitted_images {
        writeln!(text, "\nadmitted:").unwrap();
        admitted.iter().for_each(|image| writeln!(text, "  {image}").unwrap());
    }
    if decision.verified {
        writeln!(text, "  every pinned digest was compared").unwrap();
    }
    writeln!(text, "\nfindings:").unwrap();
    for finding in &report.findings {
        writeln!(text, "  {} {}", finding.reason, finding.sentence()).unwrap();
    }
    writeln!(text, "\nconditions:").unwrap();
    for condition in &report.conditions {
        writeln!(
            text,
            "  {:<17} {:<8} {:<26} {}",
            condition.r#type.to_string(),
            condition.status.as_str(),
            condition.reason,
            condition.message
        )
        .unwrap();
    }
    writeln!(text, "\nevents:").unwrap();
    for event in &report.events {
        writeln!(text, "  {} {} {}", if event.warning { "Warning" } else { "Normal" }, event.reason, event.note)
            .unwrap();
    }
    writeln!(text, "\nmetrics:").unwrap();
    metrics(report).iter().for_each(|line| writeln!(text, "  {line}").unwrap());
    writeln!(text, "\nscreen:").unwrap();
    screen(snapshot, report).lines().for_each(|line| writeln!(text, "  {line}").unwrap());
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

/// What a scrape finds of it: what is not zero, less the conditions, which stand above, and what is about the process.
fn metrics(report: &Report) -> Vec<String> {
    let metrics = Metrics::default();
    metrics.set_leading(true);
    metrics.report(report);
    let text = metrics.render().unwrap();
    let told = |line: &&str| {
        let about_process =
            ["imageset_controller_condition{", "imageset_controller_build", "imageset_controller_leader", "process_"];
        !line.starts_with('#')
            && !line.ends_with(" 0")
            && !line.ends_with(" 0.0")
            && !about_process.iter().any(|one| line.starts_with(one))
    };
    let lines = text.lines().filter(told).map(|line| line.trim_start_matches("imageset_controller_").to_owned());
    let mut lines: Vec<String> = lines.collect();
    // The library keeps the series of a metric in no order.
    lines.sort();
    lines
}

/// What `imageset-controller status` shows of it.
fn screen(snapshot: &Snapshot, report: &Report) -> String {
    console::set_colors_enabled(false);
    let mut policy = ImageSetPolicy::new("default", ImageSetPolicySpec::default());
    policy.spec.mode = match snapshot.settings.mode {
        Mode::Observe => api::Mode::Observe,
        Mode::Apply => api::Mode::Apply,
    };
    policy.spec.suspend = snapshot.settings.suspend;
    let now = Time(snapshot.observed_at);
    policy.status = Some(status::of_report(&ImageSetPolicyStatus::default(), report, &now));
    cli::screen::of_policy(&policy, snapshot.observed_at, cli::screen::Detail::Normal, None)
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/stories");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn read(file: &Path) -> Scenario {
    let text = std::fs::read_to_string(file).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

#[test]
fn every_story_ends_as_its_golden_file_says() {
    let mut wrong = Vec::new();
    for file in stories() {
        let scenario = read(&file);
        assert!(scenario.story.len() > 20, "{}: tell the story", file.display());
        let (snapshot, decision, asked) = pass(&scenario);
        judge(&file.display().to_string(), &scenario, &snapshot, &decision);
        let outcome = Outcome { done: decision.actions.len(), at: Some(snapshot.observed_at), failure: None };
        let text = golden(&snapshot, &decision, &Report::new(&snapshot, &decision, &outcome), asked);
        let path = file.with_extension("golden");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            wrong.push(format!("{}:\n{text}", file.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(wrong.is_empty(), "other than the golden file:\n{}", wrong.join("\n"));
}

/// Nothing oscillates: when all is written that was decided, a restart writes nothing more, and where nothing is in the
/// way it asks for no image either.
#[test]
fn after_the_writes_a_restart_finds_nothing_to_do() {
    for file in stories() {
        let (mut snapshot, decision, _) = pass(&read(&file));
        let (Read::Known(sets), Read::Known(records)) = (&mut snapshot.image_sets, &mut snapshot.records) else {
            continue;
        };
        for action in &decision.actions {
            match action {
                Action::KeepInspection(inspected) => {
                    snapshot.inspections.kept.retain(|one| one.digest != inspected.digest);
                    snapshot.inspections.kept.push(Inspected::clone(inspected));
                }
                Action::StartInspection(start) => {
                    let Read::Known(jobs) = &mut snapshot.inspections.jobs else { continue };
                    jobs.push(InspectionJob {
                        uid: "new".to_owned(),
                        image: start.image.clone(),
                        digest: start.digest,
                        label: start.label.clone(),
                        attempt: start.attempt,
                        failed_before: start.failed_before.clone(),
                        state: JobState::Running { trouble: None },
                    });
                }
                Action::EndInspection { uid, .. } => {
                    let Read::Known(jobs) = &mut snapshot.inspections.jobs else { continue };
                    jobs.retain(|job| job.uid != *uid);
                }
                Action::WriteRecord(record) => {
                    records.retain(|one| one.key != record.key);
                    records.push(Record::clone(record));
                }
                Action::SetGate(enforcement) => {
                    snapshot.gate = Read::Known((*enforcement).into());
                }
                Action::PruneImageSet(prune) => sets.retain(|one| one.name != prune.image_set),
                Action::StoreImageSet(store) => {
                    sets.retain(|one| one.name != store.set.name().as_str());
                    let entries = store.set.entries().iter();
                    sets.push(StoredImageSet {
                        changed_at: Some(snapshot.observed_at),
                        name: store.set.name().to_string(),
                        resource_version: "8".to_owned(),
                        ours: true,
                        origin: Some(store.set.origin().clone()),
                        images: entries
                            .map(|(name, digest)| StoredImage { image: name.to_string(), digest: digest.to_string() })
                            .collect(),
                        manager: Some("imageset-controller".to_owned()),
                    });
                }
            }
        }
        snapshot.answers.images.clear();
        snapshot.recheck_due = false;
        let again = decide(&snapshot, Catalogue::embedded());
        let name = file.display();
        assert!(again.actions.is_empty(), "{name}: {:#?}", again.actions);
        let held = decision.goals.iter().any(|goal| goal.state == GoalState::Held);
        let in_the_way = held || decision.findings.iter().any(|finding| finding.blocks());
        let applied = snapshot.settings.mode == Mode::Apply && !in_the_way;
        assert!(!applied || again.questions.images.is_empty(), "{name}: {:?}", again.questions.images);
    }
}

/// What a person can do with a bug report: the snapshot survives being written to a file.
#[test]
fn a_snapshot_reads_back_as_it_was() {
    for file in stories() {
        let (snapshot, decision, _) = pass(&read(&file));
        let text = serde_yaml_ng::to_string(&snapshot).unwrap();
        let again: Snapshot =
            serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(again, snapshot, "{}", file.display());
        assert_eq!(decide(&again, Catalogue::embedded()), decision, "{}", file.display());
    }
}

/// The whole catalogue: an upgrade from any release to any later one in the list keeps the order, and each set pleases
/// the operator that it is for.
#[test]
fn every_release_gets_a_set_that_its_operator_accepts() {
    let mut sets = 0;
    for (release, calico, _) in Catalogue::embedded().versions() {
        let text = format!(
            "story: any release of the catalogue\ngiven: {{settings: {{mode: Apply}}, operator: !known {{image: 'quay.io/tigera/operator:{release}'}}, operatorPods: !known [{{name: a, image: 'quay.io/tigera/operator:{release}', ready: true}}]}}"
        );
        let scenario: Scenario = serde_yaml_ng::from_str(&text).unwrap();
        let (snapshot, decision, _) = pass(&scenario);
        judge(&release.to_string(), &scenario, &snapshot, &decision);
        let stored = decision.actions.iter().filter(|action| matches!(action, Action::StoreImageSet(_))).count();
        assert_eq!(stored, usize::from(!calico.is_pre_release_marker()), "{release}");
        sets += stored;
    }
    assert_eq!(sets, 263);
}
