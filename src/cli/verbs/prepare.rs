//! `prepare`: requests that operator versions are staged before their rollout, for pipelines and PreSync hooks. The request is an annotation
//! that expires, because the spec belongs to Git. Writes nothing else.

use clap::Args;
use jiff::Timestamp;
use kube::Client;
use serde_json::json;

use crate::api::requests::{MOST_REQUESTED, PREPARE_ANNOTATION, entries, version_and_time};
use crate::api::{ImageSetPolicy, ImageSetPolicyStatus, Interval, PreparedSet, PreparedState};
use crate::catalogue::Catalogue;
use crate::cli::edits::policy_patch;
use crate::cli::flags::cluster::ClusterFlags;
use crate::cli::flags::release;
use crate::cli::flags::timeout::TimeoutFlag;
use crate::cli::inputs::policy::{self, POLICY};
use crate::cli::output::{Failure, Output, note};
use crate::cli::runtime::runtime;
use crate::cluster::status::remembered_finding;
use crate::model::{InvalidPrepareVersion, Mode, PrepareVersion, Reason, Subject, Variant};

/// Attempts to write the annotation while the policy changes concurrently.
const ATTEMPTS: usize = 10;

/// Have operator versions staged, and wait until they are.
///
/// It asks by the annotation imageset-controller.io/prepare on the policy, until a time; the spec stays as Git has it.
/// Exit code 0: staged, or ready and waiting for its operator. 1: the controller says that it is held, and why. 2: no answer
/// of the controller in time.
#[derive(Debug, Args)]
#[command(mut_arg("timeout", |timeout| timeout.default_value("10m")))]
#[command(after_help = "Examples:
  imageset-controller prepare v1.42.4 --wait
  imageset-controller prepare v1.42.4 v1.43.0 --expires 72h
  imageset-controller prepare registry.example.com/tigera/operator:v1.42.4 --wait --timeout 5m")]
pub(in crate::cli) struct Arguments {
    /// Operator versions, such as v1.42.4, or full references of operator images
    #[arg(value_name = "VERSION", required = true)]
    versions: Vec<String>,

    /// Wait until all of them are staged
    #[arg(long)]
    wait: bool,

    #[command(flatten)]
    timeout: TimeoutFlag,

    /// How long the versions are asked for
    #[arg(long, default_value = "24h", value_name = "TIME")]
    expires: Interval,

    #[command(flatten)]
    cluster: ClusterFlags,
}

/// The state of a requested version in the status.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Staging {
    /// It is staged, or ready, with the line to print.
    Ready(String),
    /// It is held: why, and whether waiting may help.
    Held { why: String, waiting_helps: bool },
    /// The status does not cover this request yet.
    Unknown,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    let versions = versions(arguments)?;
    let (expires, timeout) = (arguments.expires.duration(), arguments.timeout.duration());
    if expires.is_zero() || (arguments.wait && expires < timeout) {
        return Err(Failure::new(format!("the request would be over after {}", arguments.expires))
            .hint("give --expires a longer time than --timeout"));
    }
    runtime()?.block_on(async {
        let client = arguments.cluster.client().await?;
        let seconds = i64::try_from(expires.as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::now().as_second();
        let until = Timestamp::from_second(now.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
        let policy = request(&client, &versions, until).await?;
        if let Some(why) = stopped(&policy) {
            note(&format!("note: nothing will be staged: {why}"));
        }
        if !arguments.wait {
            let requested = |version: &PrepareVersion| format!("{version} asked for until {until}");
            return Ok(Output::lines(versions.iter().map(requested)));
        }
        let settled = |policy: &ImageSetPolicy| {
            versions.iter().all(|version| match staging(policy, version, until) {
                Staging::Ready(_) => true,
                Staging::Held { waiting_helps, .. } => !waiting_helps,
                Staging::Unknown => false,
            })
        };
        let policy = match policy::wait_until(&client, timeout, &settled).await? {
            Some(policy) => policy,
            None => policy::require(&client).await?,
        };
        report(&policy, &versions, until, arguments)
    })
}

/// Returns the versions that are named, each once.
fn versions(arguments: &Arguments) -> Result<Vec<PrepareVersion>, Failure> {
    let mut versions = Vec::new();
    for text in &arguments.versions {
        let invalid = |error: String| {
            Failure::new(format!("{text:?} cannot be prepared: {error}"))
                .hint("name versions of the operator, such as v1.42.4, or full references of its image")
        };
        let version = match text.contains('/') {
            true => text.parse().map_err(|error: InvalidPrepareVersion| invalid(error.to_string()))?,
            false => PrepareVersion::Release(release::parse(text).map_err(invalid)?),
        };
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    Ok(versions)
}

/// Writes the request. Returns the policy as it was before.
async fn request(
    client: &Client,
    versions: &[PrepareVersion],
    until: Timestamp,
) -> Result<Box<ImageSetPolicy>, Failure> {
    for _ in 0..ATTEMPTS {
        let policy = policy::require(client).await?;
        let annotations = policy.metadata.annotations.as_ref();
        let before = annotations.and_then(|annotations| annotations.get(PREPARE_ANNOTATION)).map_or("", String::as_str);
        let text = with_requests(before, versions, until, Timestamp::now());
        if entries(&text).count() > MOST_REQUESTED {
            return Err(Failure::new(format!("no more than {MOST_REQUESTED} versions can be asked for at once")).hint(
                format!("take some off: kubectl annotate {POLICY} --overwrite {PREPARE_ANNOTATION}=VERSION=TIME,…"),
            ));
        }
        let annotations = json!({ PREPARE_ANNOTATION: text });
        let metadata = json!({ "annotations": annotations, "resourceVersion": policy.metadata.resource_version });
        if policy_patch::apply(client, &json!({ "metadata": metadata })).await? {
            return Ok(policy);
        }
    }
    Err(Failure::new("the policy was changed by somebody else again and again while it was written").hint("try again"))
}

/// Returns the annotation with these requests added. Expired requests are dropped, those of others stay.
fn with_requests(before: &str, versions: &[PrepareVersion], until: Timestamp, now: Timestamp) -> String {
    let mut requested: Vec<(String, Timestamp)> = versions.iter().map(|version| (version.to_string(), until)).collect();
    let mut kept = Vec::new();
    for entry in entries(before) {
        match version_and_time(entry) {
            Some((_, expiry)) if expiry <= now => {}
            Some((version, other)) => match requested.iter_mut().find(|(one, _)| one == version) {
                Some((_, until)) => *until = other.max(*until),
                None => kept.push(entry.to_owned()),
            },
            None => kept.push(entry.to_owned()),
        }
    }
    kept.extend(requested.into_iter().map(|(version, until)| format!("{version}={until}")));
    kept.join(",")
}

/// Returns why the controller stages nothing at all.
fn stopped(policy: &ImageSetPolicy) -> Option<&'static str> {
    match (policy.spec.suspend, policy.spec.mode) {
        (true, _) => Some("the policy is suspended (imageset-controller resume)"),
        (false, Mode::Observe) => Some(
            "the policy is in mode Observe and nothing is stored (set spec.mode: Apply, or have the set stored from where it is kept)",
        ),
        (false, Mode::Apply) => None,
    }
}

/// Returns the state in the status, if its reconciliation has seen this request and the current spec.
fn staging(policy: &ImageSetPolicy, version: &PrepareVersion, until: Timestamp) -> Staging {
    let Some(status) = &policy.status else { return Staging::Unknown };
    let name_of_version = version.to_string();
    let is_requested = |set: &&PreparedSet| {
        set.operator_version == name_of_version && set.requested_until.as_ref().is_some_and(|time| time.0 >= until)
    };
    let current = status.observed_generation == policy.metadata.generation;
    let Some(set) = status.prepared.iter().find(is_requested).filter(|_| current) else { return Staging::Unknown };
    let name = set.image_set.as_deref().unwrap_or_default();
    let message = set.message.as_deref().unwrap_or_default();
    let planned = status.plan.iter().flat_map(|plan| &plan.changes).any(|change| change.image_set == name);
    match set.state {
        PreparedState::Staged => {
            let images = set.images.unwrap_or_default();
            Staging::Ready(format!("{version} staged: ImageSet {name}, {images} images"))
        }
        PreparedState::Waiting | PreparedState::Conflict if !planned && stopped(policy).is_none() => {
            Staging::Ready(format!("{version} ready: {message}"))
        }
        _ => match stopped(policy) {
            Some(why) => Staging::Held { why: why.to_owned(), waiting_helps: false },
            None => Staging::Held { why: message.to_owned(), waiting_helps: !is_permanent(status, set, version) },
        },
    }
}

/// Whether only another version or another policy helps, and not waiting: its image may not be run, or it deploys no release.
fn is_permanent(status: &ImageSetPolicyStatus, set: &PreparedSet, version: &PrepareVersion) -> bool {
    let subject = Subject::Operator(version.clone());
    let found = status.findings.iter().filter_map(remembered_finding).filter(|finding| finding.subject == subject);
    let reasons: Vec<Reason> = found.map(|finding| finding.reason).collect();
    // A version that is known and has neither a set nor a finding can have no set. The catalogue has the variants that may be.
    let no_set = reasons.is_empty() && set.state == PreparedState::NeedsInspection && status.current.is_some();
    let images = version.release().and_then(|release| Catalogue::embedded().get(&release));
    let is_marker = |variant: Variant| {
        images.as_ref().is_some_and(|images| images.product_version(variant).is_pre_release_marker())
    };
    let marked = [Variant::Calico, Variant::Enterprise].into_iter().any(is_marker);
    reasons.contains(&Reason::InspectionDisabled) || (no_set && marked)
}

/// Returns a line for each version that is ready, and a failure for each other.
fn report(
    policy: &ImageSetPolicy,
    versions: &[PrepareVersion],
    until: Timestamp,
    arguments: &Arguments,
) -> Result<Output, Failure> {
    let (mut lines, mut failures) = (Vec::new(), Vec::new());
    for version in versions {
        match staging(policy, version, until) {
            Staging::Ready(line) => lines.push(line),
            Staging::Held { why, .. } => {
                failures.push(Failure::new(format!("operator {version} is not staged: {why}")).known());
            }
            Staging::Unknown => failures.push(
                Failure::new(format!(
                    "no answer of the controller about operator {version} within {}",
                    arguments.timeout.timeout
                ))
                .hint("is the controller running? imageset-controller status tells what is in its way"),
            ),
        }
    }
    let Some(failure) = failures.into_iter().reduce(Failure::and) else { return Ok(Output::lines(lines)) };
    lines.iter().for_each(|line| note(line));
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u32) -> Timestamp {
        format!("2026-11-25T{hour:02}:00:00Z").parse().unwrap()
    }

    #[test]
    fn expired_requests_are_dropped_and_those_of_others_stay() {
        let before = "v1.40.15=2026-11-25T09:00:00Z, v1.43.0=2026-11-25T20:00:00Z,odd,v1.42.4=2026-11-25T11:00:00Z";
        let versions = ["v1.42.4", "reg.example/operator:v1"].map(|version| version.parse().unwrap());
        assert_eq!(
            with_requests(before, &versions, at(12), at(10)),
            "v1.43.0=2026-11-25T20:00:00Z,odd,v1.42.4=2026-11-25T12:00:00Z,reg.example/operator:v1=2026-11-25T12:00:00Z"
        );
        // Nobody's time is made shorter.
        let longer = "v1.42.4=2026-11-25T18:00:00Z";
        assert_eq!(with_requests(longer, &versions[..1], at(12), at(10)), longer);
    }

    fn policy(spec: &str, status: &str) -> ImageSetPolicy {
        let text = format!(
            "apiVersion: imageset-controller.io/v1alpha1\nkind: ImageSetPolicy\n\
             metadata: {{name: default, generation: 2}}\nspec: {{{spec}}}\nstatus: {{{status}}}"
        );
        crate::yaml::from_str(&text).unwrap()
    }

    #[test]
    fn only_a_status_that_has_seen_the_request_counts() {
        let set = |until: &str, state: &str, message: &str| {
            format!(
                "prepared: [{{operatorVersion: v1.42.4, imageSet: calico-v3.32.1, images: 23, state: {state}, \
                 requestedUntil: '2026-11-25T{until}:00:00Z', message: '{message}'}}]"
            )
        };
        let of = |spec: &str, status: &str| staging(&policy(spec, status), &"v1.42.4".parse().unwrap(), at(12));
        let staged = set("12", "Staged", "");
        assert_eq!(of("mode: Apply", ""), Staging::Unknown);
        assert_eq!(of("mode: Apply", &format!("observedGeneration: 1, {staged}")), Staging::Unknown);
        assert_eq!(of("mode: Apply", &format!("observedGeneration: 2, {}", set("11", "Staged", ""))), Staging::Unknown);
        for spec in ["mode: Apply", "mode: Observe"] {
            let staging = of(spec, &format!("observedGeneration: 2, {staged}"));
            assert_eq!(staging, Staging::Ready("v1.42.4 staged: ImageSet calico-v3.32.1, 23 images".to_owned()));
        }
        // Ready for its operator, or about to be written.
        let waiting = format!("observedGeneration: 2, {}", set("12", "Waiting", "later"));
        assert_eq!(of("mode: Apply", &waiting), Staging::Ready("v1.42.4 ready: later".to_owned()));
        let planned = format!("{waiting}, plan: {{changes: [{{action: Create, imageSet: calico-v3.32.1}}]}}");
        assert_eq!(of("mode: Apply", &planned), Staging::Held { why: "later".to_owned(), waiting_helps: true });
        for spec in ["mode: Observe", "mode: Apply, suspend: true"] {
            assert!(matches!(of(spec, &planned), Staging::Held { waiting_helps: false, .. }), "{spec}");
        }
        // Whether waiting helps follows from reasons, not from messages.
        let found = |version: &str, reason: &str| {
            let found = format!("{{reason: {reason}, object: {{kind: operator, name: {version}}}, message: so it is}}");
            of(
                "mode: Apply",
                &format!("observedGeneration: 2, {}, findings: [{found}]", set("12", "NeedsInspection", "so it is")),
            )
        };
        let held = |waiting_helps| Staging::Held { why: "so it is".to_owned(), waiting_helps };
        assert_eq!(found("v1.42.4", "InspectionDisabled"), held(false));
        assert_eq!(found("v1.42.3", "InspectionDisabled"), held(true));
        assert_eq!(found("v1.42.4", "InspectionFailed"), held(true));
        assert_eq!(found("v1.42.4", "ReasonOfTomorrow"), held(true));
        for (version, waiting_helps) in [("v1.41.0", false), ("v1.42.4", true)] {
            let state = set("12", "NeedsInspection", "so it is").replace("v1.42.4", version);
            let status = format!(
                "observedGeneration: 2, current: {{imageSet: calico-v3.31.7, stored: true, images: 18, adopted: true}}, {state}"
            );
            let staging = staging(&policy("mode: Apply", &status), &version.parse().unwrap(), at(12));
            assert_eq!(staging, held(waiting_helps), "{version}");
        }
    }
}
