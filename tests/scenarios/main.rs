//! Scenarios: each file under `stories/` tells what is in the cluster and in the registries; the golden file beside it
//! holds what is decided and said. No I/O but the files: this is the pure core, driven as the controller drives it.
//!
//! `UPDATE=1 cargo test --test scenarios` writes the golden files anew; read the difference before committing it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;

use checkout::is_current;
use imageset_controller::catalogue::Catalogue;
use imageset_controller::cli::output::status_view;
use imageset_controller::metrics::Metrics;
use imageset_controller::model::{
    Action, Decision, GoalState, ImageName, Inspection, InspectionJob, JobState, Mode, Read, Record, Report, Snapshot,
    StoredImage, StoredImageSet,
};
use imageset_controller::rules::decide::decide;

use story::{Scenario, expand, pass, policy, read, report, stories};

#[allow(dead_code)]
#[path = "../testbox/checkout.rs"]
mod checkout;
mod judge;
mod rollback;
#[allow(dead_code, missing_docs, unused_imports)]
#[path = "../testbox/rules/mod.rs"]
mod rules;
mod story;

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
    assert!(decision.lookups.blocks_no_write());
    let current = report(&snapshot, &decision).current.unwrap();
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
                    let refused: Vec<&str> = inspected.rejected.iter().map(ImageName::as_str).collect();
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
        let rolls: Vec<String> = decision.rollouts.iter().map(ToString::to_string).collect();
        writeln!(text, "  rolls: {}", rolls.join(", ")).unwrap();
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
    if let Some(at) = decision.requeue_at {
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
    let policy = policy(snapshot, report);
    status_view::render(&policy, snapshot.observed_at, status_view::Detail::Normal, None)
}

fn or_dash(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or("-")
}

#[test]
fn every_story_ends_as_its_golden_file_says() {
    let mut wrong = Vec::new();
    for file in stories() {
        let scenario = read(&file);
        assert!(scenario.story.len() > 20, "{}: tell the story", file.display());
        let (snapshot, decision, asked) = pass(&scenario);
        judge(&file.display().to_string(), &scenario, &snapshot, &decision);
        let text = golden(&snapshot, &decision, &report(&snapshot, &decision), asked);
        let path = file.with_extension("golden");
        if !is_current(&path, &text) {
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
                    snapshot.inspections.kept.push(Inspection::clone(inspected));
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
                        state: JobState::Running { start_problem: None },
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
                        applied_by: None,
                        name: store.set.name().to_string(),
                        resource_version: "8".to_owned(),
                        managed: true,
                        origin: Some(store.set.origin().clone()),
                        images: entries
                            .map(|(name, digest)| StoredImage { image: name.to_string(), digest: digest.to_string() })
                            .collect(),
                        manager: Some("imageset-controller".to_owned()),
                    });
                }
            }
        }
        snapshot.lookup_results.images.clear();
        snapshot.recheck_due = false;
        let again = decide(&snapshot, Catalogue::embedded());
        let name = file.display();
        assert!(again.actions.is_empty(), "{name}: {:#?}", again.actions);
        let held = decision.goals.iter().any(|goal| goal.state == GoalState::Held);
        let in_the_way = held || decision.findings.iter().any(|finding| finding.blocks());
        let applied = snapshot.settings.mode == Mode::Apply && !in_the_way;
        assert!(!applied || again.lookups.images.is_empty(), "{name}: {:?}", again.lookups.images);
    }
}

/// Texts are for people: other words lead to the same decision, and to a report that is the same but for its words.
#[test]
fn rewording_a_message_changes_no_decision() {
    let mut reworded_findings = 0;
    for file in stories() {
        let (snapshot, decision, _) = pass(&read(&file));
        let mut reworded = snapshot.clone();
        let remembered = &mut reworded.remembered;
        let findings = remembered.findings.iter_mut().chain(&mut reworded.objections);
        for (at, finding) in findings.enumerate() {
            finding.message = format!("other words, {at}");
            reworded_findings += 1;
        }
        for condition in &mut remembered.conditions {
            condition.message = "other words".to_owned();
        }
        let name = file.display();
        let again = decide(&reworded, Catalogue::embedded());
        let reports = (report(&reworded, &again), report(&snapshot, &decision));
        assert_eq!(without_words(again), without_words(decision), "{name}");
        assert_eq!(report_without_words(reports.0), report_without_words(reports.1), "{name}");
    }
    assert!(reworded_findings >= 8, "{reworded_findings} findings are remembered");
}

fn without_words(mut decision: Decision) -> Decision {
    let of_goals = decision.goals.iter_mut().flat_map(|goal| &mut goal.findings);
    let of_versions = decision.unmakeable.iter_mut().chain(&mut decision.unknown).map(|(_, finding)| finding);
    of_goals.chain(of_versions).chain(&mut decision.findings).for_each(|finding| finding.message.clear());
    decision
}

fn report_without_words(mut report: Report) -> Report {
    report.findings.iter_mut().for_each(|finding| finding.message.clear());
    report.conditions.iter_mut().for_each(|condition| condition.message.clear());
    report.prepared.iter_mut().for_each(|prepared| prepared.message = None);
    report.plan.waits_for.iter_mut().for_each(String::clear);
    for event in &mut report.events {
        event.note.clear();
        event.about.iter_mut().for_each(|(_, note)| note.clear());
    }
    report
}

/// What a person can do with a bug report: the snapshot survives being written to a file.
#[test]
fn a_snapshot_reads_back_as_it_was() {
    for file in stories() {
        let (snapshot, decision, _) = pass(&read(&file));
        let text = imageset_controller::yaml::to_string(&snapshot).unwrap();
        let again: Snapshot =
            imageset_controller::yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(again, snapshot, "{}", file.display());
        assert_eq!(decide(&again, Catalogue::embedded()), decision, "{}", file.display());
    }
}

/// The whole catalogue: an upgrade from any release to any later one in the list keeps the order, and each set pleases
/// the operator that it is for.
#[test]
fn every_release_gets_a_set_that_its_operator_accepts() {
    let mut sets = 0;
    // Of releases that were added since, the facts of the judge have nothing.
    let judged = |release: &str| rules::OperatorRules::for_version(release).is_ok();
    let releases = Catalogue::embedded().versions().filter(|(release, ..)| judged(&release.to_string()));
    for (release, calico, _) in releases {
        let text = format!(
            "story: any release of the catalogue\ngiven: {{settings: {{mode: Apply}}, operator: !known {{image: 'quay.io/tigera/operator:{release}'}}, operatorPods: !known [{{name: a, image: 'quay.io/tigera/operator:{release}', ready: true}}]}}"
        );
        let scenario: Scenario = imageset_controller::yaml::from_str(&text).unwrap();
        let (snapshot, decision, _) = pass(&scenario);
        judge(&release.to_string(), &scenario, &snapshot, &decision);
        let stored = decision.actions.iter().filter(|action| matches!(action, Action::StoreImageSet(_))).count();
        assert_eq!(stored, usize::from(!calico.is_pre_release_marker()), "{release}");
        sets += stored;
    }
    assert_eq!(sets, 263, "all but v1.41.0");
}
