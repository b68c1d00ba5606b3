//! `plan`: what the controller would do now, and why: a reconciliation without writes. With `--snapshot` it needs no cluster either.

mod what_if;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Client;

use crate::api::{ImageSetPolicy, ImageSetPolicySpec, POLICY_NAME};
use crate::catalogue::Catalogue;
use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::inputs::policy;
use crate::cli::inputs::{files, snapshot_file};
use crate::cli::output::{Failure, Output, image_set_file, note, serialized, status_view};
use crate::cli::runtime::runtime;
use crate::cluster::registry_cache::RegistryCache;
use crate::cluster::{reconcile, status};
use crate::model::{Decision, Finding, GoalState, Outcome, Report, Settings, Snapshot};
use crate::registry::{RegistryClient, RegistryClientSettings};
use crate::rules::decide::decide;
use what_if::WhatIf;

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
pub(in crate::cli) struct Arguments {
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
    cluster: ClusterFlags,
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

/// The plan for a policy.
struct Planned {
    policy: ImageSetPolicy,
    snapshot: Snapshot,
    decision: Decision,
    report: Report,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let planned = match &arguments.snapshot {
        Some(path) => from_snapshot(path, &arguments.what_if)?,
        None => runtime()?.block_on(from_cluster(arguments))?,
    };
    let Planned { mut policy, snapshot, decision, report } = planned;
    let difference = arguments.what_if.is_given().then(|| arguments.what_if.difference(&snapshot, &decision));
    let before = policy.status.take().unwrap_or_default();
    policy.status = Some(status::of_report(&before, &report, &Time(Timestamp::now())));
    if let (Some(difference), Format::Json | Format::Yaml) = (&difference, arguments.output) {
        difference.lines.iter().for_each(|line| note(line));
    }
    let lacks_lookups = !decision.lookups.is_empty();
    if lacks_lookups {
        note("note: this snapshot has no answers about these images; record one with the same flags and --record FILE");
    }
    let output = match arguments.output {
        Format::Text => {
            let first = difference.iter().flat_map(|difference| &difference.lines);
            let first: String = first.map(|line| format!("{line}\n")).collect();
            Output::text(first + &status_view::render(&policy, Timestamp::now(), status_view::Detail::Normal, None))
        }
        Format::Json => serialized::json("the plan", &policy.status)?,
        Format::Yaml => sets_to_commit(&decision, &report, lacks_lookups)?,
    };
    let blocked = report.findings.iter().any(Finding::blocks);
    let differs = difference.is_some_and(|difference| difference.differs);
    Ok(match blocked || lacks_lookups {
        true => output.incomplete(),
        false if differs => output.drifted(),
        false => output,
    })
}

/// Returns the sets to commit, each name once, in the order in which they may be applied. All or none: if a stored one were missing from the
/// file, applying the file could delete it, and the operator would go back to tags.
fn sets_to_commit(decision: &Decision, report: &Report, lacks_lookups: bool) -> Result<Output, Failure> {
    let findings = report.findings.iter().filter(|finding| finding.blocks());
    let findings = findings.chain(decision.unknown.iter().chain(&decision.unmakeable).map(|(_, finding)| finding));
    let mut failures: Vec<Failure> = findings
        .map(|finding| {
            let failure = Failure::new(format!("{}: {}", finding.subject, finding.message));
            failure.reason(finding.reason).hint(finding.reason.next_step())
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
                sets.push((vec![header], image_set_file::object(&goal.name, release, content)));
            }
            _ if failures.is_empty() => {
                let message = format!("ImageSet {} for operator {} cannot be told", goal.name, goal.release);
                failures.push(Failure::new(message).hint("imageset-controller plan says how far it is"));
            }
            _ => {}
        }
    }
    if failures.is_empty() && (lacks_lookups || sets.is_empty()) {
        failures.push(Failure::new("no ImageSet can be told").hint("imageset-controller plan says what is in the way"));
    }
    match failures.into_iter().reduce(Failure::and) {
        Some(failure) => Err(failure),
        None => image_set_file::documents(sets),
    }
}

fn from_snapshot(path: &Path, what_if: &WhatIf) -> Result<Planned, Failure> {
    let mut snapshot = snapshot_file::read(path)?;
    what_if.apply(&mut snapshot);
    let decision = decide(&snapshot, Catalogue::embedded());
    let report = Report::new(&snapshot, &decision, &Outcome::default());
    let Settings { mode, suspend, .. } = snapshot.settings;
    let spec = ImageSetPolicySpec { mode, suspend, ..ImageSetPolicySpec::default() };
    Ok(Planned { policy: ImageSetPolicy::new(POLICY_NAME, spec), snapshot, decision, report })
}

async fn from_cluster(arguments: &Arguments) -> Result<Planned, Failure> {
    let client = arguments.cluster.client().await?;
    let policy = match &arguments.policy {
        Some(path) => policy_file(path)?,
        None => policy_of_cluster(&client).await?,
    };
    let registries = RegistryCache::new(RegistryClient::new(RegistryClientSettings::of_environment()));
    let change = |snapshot: &mut Snapshot| arguments.what_if.apply(snapshot);
    let reconciled =
        reconcile::preview(client, &policy, arguments.cluster.namespace.clone(), &registries, &change).await;
    let (mut snapshot, mut decision, mut report) = (reconciled.snapshot, reconciled.decision, reconciled.report);
    if let Some(path) = &arguments.record {
        let text;
        (snapshot, text) = snapshot_file::redacted(&snapshot)?;
        snapshot_file::write(path, &text)?;
        // The plan is that of the file.
        decision = decide(&snapshot, Catalogue::embedded());
        report = Report::new(&snapshot, &decision, &Outcome::default());
    }
    Ok(Planned { policy, snapshot, decision, report })
}

async fn policy_of_cluster(client: &Client) -> Result<ImageSetPolicy, Failure> {
    let policy = policy::find(client).await?.unwrap_or_else(|| {
        note(&format!("note: there is no ImageSetPolicy {POLICY_NAME} in this cluster; this plan is for its defaults"));
        policy::defaults()
    });
    Ok(*policy)
}

fn policy_file(path: &Path) -> Result<ImageSetPolicy, Failure> {
    let text = files::read(&path.to_string_lossy())?;
    let policy: ImageSetPolicy =
        crate::yaml::from_str(&text).with_context(|| format!("{} is not one ImageSetPolicy", path.display()))?;
    Ok(policy)
}
