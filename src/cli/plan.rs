//! `plan`: what the controller would do now, and why. The controller's own road without its writes; with `--snapshot`
//! without the cluster, too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;

use super::connection::{self, Connection};
use super::output::{Answer, Failure, note};
use super::what_if::WhatIf;
use super::{image_set, recorded, runtime, screen};
use crate::api::{self, ImageSetPolicy, ImageSetPolicySpec, POLICY_NAME};
use crate::catalogue::Catalogue;
use crate::cluster::answers::RegistryAnswers;
use crate::cluster::{pass, status};
use crate::model::decision::{Decision, GoalState};
use crate::model::finding::Finding;
use crate::model::outcome::Outcome;
use crate::model::report::Report;
use crate::model::settings::Mode;
use crate::model::snapshot::Snapshot;
use crate::registry::{RegistryClient, RegistryClientSettings};
use crate::rules::decide::decide;

/// Show what the controller would do now, and why; changes nothing.
///
/// Looks at the cluster and asks the registries as the controller does. Exit code 2 means that something is in the way
/// of a complete plan; the plan says what. With another registry, path or FIPS mode than the Installation's it tells
/// beforehand whether the digests there are those that are stored; exit code 1 means that they are not.
///
/// With -o yaml it prints the ImageSets to commit: those that are stored and those that would be, all of them or none.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller plan
  imageset-controller plan --policy policy.yaml -o yaml > imagesets.yaml
  imageset-controller plan --record snapshot.yaml
  imageset-controller plan --snapshot snapshot.yaml
  imageset-controller plan --registry mirror.example.com --image-path calico
  imageset-controller plan --fips Enabled")]
pub(super) struct Arguments {
    /// How to show it; yaml prints all ImageSets that are wanted, stored or not, json the status that the policy would get
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,

    /// A file with the ImageSetPolicy to plan for, in the place of the cluster's
    #[arg(long, value_name = "FILE", conflicts_with = "snapshot")]
    policy: Option<PathBuf>,

    /// Write everything that was seen to a file, for a bug report: no credentials, and no users and queries of addresses, but the
    /// names of hosts, workloads, pods and images
    #[arg(long, value_name = "FILE", conflicts_with = "snapshot")]
    record: Option<PathBuf>,

    /// Plan for what was seen when this file was recorded; neither cluster nor registry is asked
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,

    #[command(flatten)]
    what_if: WhatIf,

    #[command(flatten)]
    connection: Connection,
}

/// How the plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// The status that the policy would get.
    Json,
    /// All ImageSets that are wanted.
    Yaml,
}

/// What is planned, and for which policy.
struct Planned {
    policy: ImageSetPolicy,
    snapshot: Snapshot,
    decision: Decision,
    report: Report,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let planned = match &arguments.snapshot {
        Some(path) => from_snapshot(path, &arguments.what_if)?,
        None => runtime()?.block_on(from_cluster(arguments))?,
    };
    let Planned { mut policy, snapshot, decision, report } = planned;
    let difference = arguments.what_if.is_asked().then(|| arguments.what_if.difference(&snapshot, &decision));
    let before = policy.status.take().unwrap_or_default();
    policy.status = Some(status::of_report(&before, &report, &Time(Timestamp::now())));
    let unwritable = |error: &dyn std::fmt::Display| Failure::new(format!("the plan cannot be written: {error}"));
    if let (Some(difference), Format::Json | Format::Yaml) = (&difference, arguments.output) {
        difference.lines.iter().for_each(|line| note(line));
    }
    let unasked = !decision.questions.is_empty();
    if unasked {
        note("note: this snapshot has no answers about these images; record one with the same flags and --record FILE");
    }
    let answer = match arguments.output {
        Format::Text => {
            let first = difference.iter().flat_map(|difference| &difference.lines);
            let first: String = first.map(|line| format!("{line}\n")).collect();
            Answer::text(first + &screen::of_policy(&policy, Timestamp::now(), screen::Detail::Normal, None))
        }
        Format::Json => Answer::text(serde_json::to_string_pretty(&policy.status).map_err(|error| unwritable(&error))?),
        Format::Yaml => Answer::text(wanted_sets(&decision, &report, unasked)?),
    };
    let blocked = report.findings.iter().any(Finding::blocks);
    let differs = difference.is_some_and(|difference| difference.differs);
    Ok(match blocked || unasked {
        true => answer.hindered(),
        false if differs => answer.drifted(),
        false => answer,
    })
}

/// The sets to commit, each name once, in the order in which they may be applied. All or none: a file that lacks one that is stored
/// has it deleted by whoever applies the file, and the operator goes back to tags.
fn wanted_sets(decision: &Decision, report: &Report, unasked: bool) -> Result<String, Failure> {
    let findings = report.findings.iter().filter(|finding| finding.blocks());
    let findings = findings.chain(decision.unknown.iter().chain(&decision.unmakeable).map(|(_, finding)| finding));
    let mut failures: Vec<Failure> = findings
        .map(|finding| {
            let told = Failure::new(format!("{}: {}", finding.subject, finding.message));
            told.reason(finding.reason).hint(finding.reason.next_step())
        })
        .collect();
    let (mut sets, mut names) = (Vec::new(), BTreeSet::new());
    for goal in decision.goals.iter().filter(|goal| names.insert(&goal.name)) {
        match (&goal.content, goal.state) {
            (Some(content), GoalState::Stored | GoalState::Ready) => {
                let count = content.len();
                let release = goal.release;
                let header = format!(
                    "Digests for tigera-operator {release}, {count} images. Planned by imageset-controller plan."
                );
                sets.push((vec![header], image_set::made(&goal.name, release, content)));
            }
            _ if failures.is_empty() => {
                let told = format!("ImageSet {} for operator {} cannot be told", goal.name, goal.release);
                failures.push(Failure::new(told).hint("imageset-controller plan says how far it is"));
            }
            _ => {}
        }
    }
    if failures.is_empty() && (unasked || sets.is_empty()) {
        failures.push(Failure::new("no ImageSet can be told").hint("imageset-controller plan says what is in the way"));
    }
    match failures.into_iter().reduce(Failure::and) {
        Some(failure) => Err(failure),
        None => image_set::documents(sets),
    }
}

fn from_snapshot(path: &Path, what_if: &WhatIf) -> Result<Planned, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut snapshot: Snapshot = serde_yaml_ng::from_str(&text)
        .with_context(|| format!("{} is not a snapshot as --record writes it", path.display()))?;
    what_if.apply(&mut snapshot);
    let decision = decide(&snapshot, Catalogue::embedded());
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    let mode = match snapshot.settings.mode {
        Mode::Observe => api::Mode::Observe,
        Mode::Apply => api::Mode::Apply,
    };
    let spec = ImageSetPolicySpec { mode, suspend: snapshot.settings.suspend, ..ImageSetPolicySpec::default() };
    Ok(Planned { policy: ImageSetPolicy::new(POLICY_NAME, spec), snapshot, decision, report })
}

async fn from_cluster(arguments: &Arguments) -> Result<Planned, Failure> {
    let client = arguments.connection.client().await?;
    let policy = match &arguments.policy {
        Some(path) => policy_file(path)?,
        None => stored_policy(&client).await?,
    };
    let answers = RegistryAnswers::new(RegistryClient::new(RegistryClientSettings::of_environment()));
    let change = |snapshot: &mut Snapshot| arguments.what_if.apply(snapshot);
    let passed = pass::look(client, &policy, arguments.connection.namespace.clone(), &answers, &change).await;
    let (mut snapshot, mut decision, mut report) = (passed.snapshot, passed.decision, passed.report);
    if let Some(path) = &arguments.record {
        let text;
        (snapshot, text) = recorded::redacted(&snapshot)?;
        recorded::write(path, &text)?;
        // What is shown is what the file leads to.
        decision = decide(&snapshot, Catalogue::embedded());
        report = Report::new(&snapshot, &decision, &Outcome::default());
    }
    Ok(Planned { policy, snapshot, decision, report })
}

async fn stored_policy(client: &Client) -> Result<ImageSetPolicy, Failure> {
    let policy = connection::policy_if_any(client).await?.unwrap_or_else(|| {
        note(&format!("note: there is no ImageSetPolicy {POLICY_NAME} in this cluster; this plan is for its defaults"));
        connection::defaults()
    });
    Ok(*policy)
}

fn policy_file(path: &Path) -> Result<ImageSetPolicy, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let policy: ImageSetPolicy =
        serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not one ImageSetPolicy", path.display()))?;
    Ok(policy)
}
