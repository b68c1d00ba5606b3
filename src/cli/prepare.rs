//! `prepare`: has operator versions staged before they are rolled out, for pipelines and PreSync hooks. Asks by an annotation
//! with an expiry, because the spec belongs to Git; writes nothing else.

use clap::Args;
use jiff::Timestamp;
use kube::Client;
use serde_json::json;

use super::connection::{self, Connection, POLICY};
use super::output::{Answer, Failure, note};
use super::runtime;
use crate::api::requests::{MOST_REQUESTED, PREPARE_ANNOTATION, entries, version_and_time};
use crate::api::{ImageSetPolicy, ImageSetPolicyStatus, Interval, Mode, PreparedSet, PreparedState};
use crate::catalogue::Catalogue;
use crate::cluster::observe::told_before;
use crate::model::reason::Reason;
use crate::model::release::Variant;
use crate::model::settings::{InvalidPrepareVersion, PrepareVersion};
use crate::model::subject::Subject;

/// How often the annotation is read and written again when somebody else changes the policy at the same moment.
const TRIES: usize = 10;

/// Have operator versions staged, and wait until they are.
///
/// It asks by the annotation imageset-controller.io/prepare on the policy, until a time; the spec stays as Git has it.
/// Exit code 0: staged, or ready and waiting for its operator. 1: the controller says that it is held, and why. 2: no answer
/// of the controller in time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller prepare v1.42.4 --wait
  imageset-controller prepare v1.42.4 v1.43.0 --expires 72h
  imageset-controller prepare registry.example.com/tigera/operator:v1.42.4 --wait --timeout 5m")]
pub(super) struct Arguments {
    /// Operator versions, such as v1.42.4, or full references of operator images
    #[arg(value_name = "VERSION", required = true)]
    versions: Vec<String>,

    /// Wait until all of them are staged
    #[arg(long)]
    wait: bool,

    /// How long to wait
    #[arg(long, default_value = "10m", value_name = "TIME")]
    timeout: Interval,

    /// How long the versions are asked for
    #[arg(long, default_value = "24h", value_name = "TIME")]
    expires: Interval,

    #[command(flatten)]
    connection: Connection,
}

/// What became of a version, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// It is staged, or ready: the line that says so.
    Ready(String),
    /// It is held: why, and whether waiting may help.
    Held { why: String, waiting_helps: bool },
    /// The status says nothing of this request yet.
    Unknown,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let mut versions = Vec::new();
    for text in &arguments.versions {
        let version: PrepareVersion = text.parse().map_err(|error: InvalidPrepareVersion| {
            Failure::new(error.to_string())
                .hint("name versions of the operator, such as v1.42.4, or full references of its image")
        })?;
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let (expires, timeout) = (arguments.expires.duration(), arguments.timeout.duration());
    if expires.is_zero() || (arguments.wait && expires < timeout) {
        return Err(Failure::new(format!("the request would be over after {}", arguments.expires))
            .hint("give --expires a longer time than --timeout"));
    }
    runtime()?.block_on(async {
        let client = arguments.connection.client().await?;
        let seconds = i64::try_from(expires.as_secs()).unwrap_or(i64::MAX);
        let now = Timestamp::now().as_second();
        let until = Timestamp::from_second(now.saturating_add(seconds)).unwrap_or(Timestamp::MAX);
        let policy = ask(&client, &versions, until).await?;
        if let Some(why) = stopped(&policy) {
            note(&format!("note: nothing will be staged: {why}"));
        }
        if !arguments.wait {
            let asked = |version: &PrepareVersion| format!("{version} asked for until {until}");
            return Ok(Answer::lines(versions.iter().map(asked)));
        }
        let settled = |policy: &ImageSetPolicy| {
            versions.iter().all(|version| match outcome(policy, version, until) {
                Outcome::Ready(_) => true,
                Outcome::Held { waiting_helps, .. } => !waiting_helps,
                Outcome::Unknown => false,
            })
        };
        let settled = connection::wait(&client, timeout, &settled).await?;
        let policy = match settled {
            Some(policy) => policy,
            None => connection::stored_policy(&client).await?,
        };
        told(&policy, &versions, until, arguments)
    })
}

/// Writes the request; the policy as it was read for it.
async fn ask(client: &Client, versions: &[PrepareVersion], until: Timestamp) -> Result<Box<ImageSetPolicy>, Failure> {
    for _ in 0..TRIES {
        let policy = connection::stored_policy(client).await?;
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
        if connection::patch(client, &json!({ "metadata": metadata })).await? {
            return Ok(policy);
        }
    }
    Err(Failure::new("the policy was changed by somebody else again and again while it was written").hint("try again"))
}

/// The annotation with these requests: what is over is dropped, what others ask for stays.
fn with_requests(before: &str, versions: &[PrepareVersion], until: Timestamp, now: Timestamp) -> String {
    let mut wanted: Vec<(String, Timestamp)> = versions.iter().map(|version| (version.to_string(), until)).collect();
    let mut kept = Vec::new();
    for entry in entries(before) {
        match version_and_time(entry) {
            Some((_, over)) if over <= now => {}
            Some((version, other)) => match wanted.iter_mut().find(|(one, _)| one == version) {
                Some((_, until)) => *until = other.max(*until),
                None => kept.push(entry.to_owned()),
            },
            None => kept.push(entry.to_owned()),
        }
    }
    kept.extend(wanted.into_iter().map(|(version, until)| format!("{version}={until}")));
    kept.join(",")
}

/// Why nothing is staged at all.
fn stopped(policy: &ImageSetPolicy) -> Option<&'static str> {
    match (policy.spec.suspend, policy.spec.mode) {
        (true, _) => Some("the policy is suspended (imageset-controller resume)"),
        (false, Mode::Observe) => Some(
            "the policy is in mode Observe and nothing is stored (set spec.mode: Apply, or have the set stored from where it is kept)",
        ),
        (false, Mode::Apply) => None,
    }
}

/// What the status says, if it is of a pass that has seen this request and the present spec.
fn outcome(policy: &ImageSetPolicy, version: &PrepareVersion, until: Timestamp) -> Outcome {
    let Some(status) = &policy.status else { return Outcome::Unknown };
    let named = version.to_string();
    let asked = |set: &&PreparedSet| {
        set.operator_version == named && set.requested_until.as_ref().is_some_and(|time| time.0 >= until)
    };
    let current = status.observed_generation == policy.metadata.generation;
    let Some(set) = status.prepared.iter().find(asked).filter(|_| current) else { return Outcome::Unknown };
    let name = set.image_set.as_deref().unwrap_or_default();
    let message = set.message.as_deref().unwrap_or_default();
    let planned = status.plan.iter().flat_map(|plan| &plan.changes).any(|change| change.image_set == name);
    match set.state {
        PreparedState::Staged => {
            let images = set.images.unwrap_or_default();
            Outcome::Ready(format!("{version} staged: ImageSet {name}, {images} images"))
        }
        PreparedState::Waiting | PreparedState::Conflict if !planned && stopped(policy).is_none() => {
            Outcome::Ready(format!("{version} ready: {message}"))
        }
        _ => match stopped(policy) {
            Some(why) => Outcome::Held { why: why.to_owned(), waiting_helps: false },
            None => Outcome::Held { why: message.to_owned(), waiting_helps: !is_for_good(status, set, version) },
        },
    }
}

/// Whether it takes another version or another policy, and no patience: its image may not be run, or it deploys no release.
fn is_for_good(status: &ImageSetPolicyStatus, set: &PreparedSet, version: &PrepareVersion) -> bool {
    let subject = Subject::Operator(version.clone());
    let found = status.findings.iter().filter_map(told_before).filter(|finding| finding.subject == subject);
    let reasons: Vec<Reason> = found.map(|finding| finding.reason).collect();
    // What is known, is no set's and has nothing in its way can have no set. The catalogue says of which variant that may be.
    let no_set = reasons.is_empty() && set.state == PreparedState::NeedsInspection && status.current.is_some();
    let images = version.release().and_then(|release| Catalogue::embedded().get(&release));
    let is_marker = |variant: Variant| {
        images.as_ref().is_some_and(|images| images.product_version(variant).is_pre_release_marker())
    };
    let marked = [Variant::Calico, Variant::Enterprise].into_iter().any(is_marker);
    reasons.contains(&Reason::InspectionDisabled) || (no_set && marked)
}

fn told(
    policy: &ImageSetPolicy,
    versions: &[PrepareVersion],
    until: Timestamp,
    arguments: &Arguments,
) -> Result<Answer, Failure> {
    let (mut lines, mut failures) = (Vec::new(), Vec::new());
    for version in versions {
        match outcome(policy, version, until) {
            Outcome::Ready(line) => lines.push(line),
            Outcome::Held { why, .. } => {
                failures.push(Failure::new(format!("operator {version} is not staged: {why}")).known());
            }
            Outcome::Unknown => failures.push(
                Failure::new(format!(
                    "no answer of the controller about operator {version} within {}",
                    arguments.timeout
                ))
                .hint("is the controller running? imageset-controller status tells what is in its way"),
            ),
        }
    }
    let Some(failure) = failures.into_iter().reduce(Failure::and) else { return Ok(Answer::lines(lines)) };
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
    fn what_is_over_goes_and_what_others_ask_for_stays() {
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
        serde_yaml_ng::from_str(&text).unwrap()
    }

    #[test]
    fn only_a_status_that_has_seen_the_request_answers() {
        let set = |until: &str, state: &str, message: &str| {
            format!(
                "prepared: [{{operatorVersion: v1.42.4, imageSet: calico-v3.32.1, images: 23, state: {state}, \
                 requestedUntil: '2026-11-25T{until}:00:00Z', message: '{message}'}}]"
            )
        };
        let of = |spec: &str, status: &str| outcome(&policy(spec, status), &"v1.42.4".parse().unwrap(), at(12));
        let staged = set("12", "Staged", "");
        assert_eq!(of("mode: Apply", ""), Outcome::Unknown);
        assert_eq!(of("mode: Apply", &format!("observedGeneration: 1, {staged}")), Outcome::Unknown);
        assert_eq!(of("mode: Apply", &format!("observedGeneration: 2, {}", set("11", "Staged", ""))), Outcome::Unknown);
        for spec in ["mode: Apply", "mode: Observe"] {
            let answer = of(spec, &format!("observedGeneration: 2, {staged}"));
            assert_eq!(answer, Outcome::Ready("v1.42.4 staged: ImageSet calico-v3.32.1, 23 images".to_owned()));
        }
        // Ready for its operator, or about to be written.
        let waiting = format!("observedGeneration: 2, {}", set("12", "Waiting", "later"));
        assert_eq!(of("mode: Apply", &waiting), Outcome::Ready("v1.42.4 ready: later".to_owned()));
        let planned = format!("{waiting}, plan: {{changes: [{{action: Create, imageSet: calico-v3.32.1}}]}}");
        assert_eq!(of("mode: Apply", &planned), Outcome::Held { why: "later".to_owned(), waiting_helps: true });
        for spec in ["mode: Observe", "mode: Apply, suspend: true"] {
            assert!(matches!(of(spec, &planned), Outcome::Held { waiting_helps: false, .. }), "{spec}");
        }
        // What keeps it for good is told by a reason, and in whatever words.
        let found = |version: &str, reason: &str| {
            let found = format!("{{reason: {reason}, object: {{kind: operator, name: {version}}}, message: so it is}}");
            of(
                "mode: Apply",
                &format!("observedGeneration: 2, {}, findings: [{found}]", set("12", "NeedsInspection", "so it is")),
            )
        };
        let held = |waiting_helps| Outcome::Held { why: "so it is".to_owned(), waiting_helps };
        assert_eq!(found("v1.42.4", "InspectionDisabled"), held(false));
        assert_eq!(found("v1.42.3", "InspectionDisabled"), held(true));
        assert_eq!(found("v1.42.4", "InspectionFailed"), held(true));
        assert_eq!(found("v1.42.4", "ReasonOfTomorrow"), held(true));
        for (version, waiting_helps) in [("v1.41.0", false), ("v1.42.4", true)] {
            let state = set("12", "NeedsInspection", "so it is").replace("v1.42.4", version);
            let status = format!(
                "observedGeneration: 2, current: {{imageSet: calico-v3.31.7, stored: true, images: 18, adopted: true}}, {state}"
            );
            let outcome = outcome(&policy("mode: Apply", &status), &version.parse().unwrap(), at(12));
            assert_eq!(outcome, held(waiting_helps), "{version}");
        }
    }
}
