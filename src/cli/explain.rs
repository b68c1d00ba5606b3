//! `explain`: what a message of the operator or of a pod means, and what helps. Asks nobody; the words are those of the status.

use clap::Args;
use serde::Serialize;

use super::files;
use super::output::{Answer, Failure};
use crate::domain::explain::{Row, TABLE, Words};
use crate::domain::finding::Reason;
use crate::domain::pods::{PullFailureKind, classify};

/// Say what a message of a TigeraStatus, an event or a pod means, and what helps.
///
/// Paste the message, in quotes or on standard input. Without one, all messages that are known are listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller explain
  imageset-controller explain 'ImageSets exist but none with the expected name calico-v3.32.1'
  kubectl get tigerastatus calico -o yaml | imageset-controller explain -
  kubectl -n calico-system describe pod calico-node-x7k2p | imageset-controller explain - -o json

Exit codes: 0 explained, or listed; 1 nothing in it is about images.")]
pub(super) struct Arguments {
    /// The message; - is standard input
    #[arg(value_name = "MESSAGE")]
    message: Vec<String>,

    /// How to say it
    #[arg(short, long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

/// A cause that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    reason: &'static str,
    /// What of the message it was found in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    cause: &'static str,
    next_step: &'static str,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let message = match arguments.message.as_slice() {
        [only] if only == "-" => files::read("-")?,
        words => words.join(" "),
    };
    if arguments.message.is_empty() {
        let all: Vec<Explained> = TABLE.iter().map(|row| explained(row, Vec::new())).collect();
        return match arguments.output.as_str() {
            "json" => json(&all),
            _ => Ok(Answer::text(TABLE.iter().map(listed).collect::<Vec<_>>().join("\n"))),
        };
    }
    let found = causes(&message);
    let about_images = found.iter().any(|one| one.reason != Reason::ComponentDegraded.as_str());
    let answer = match arguments.output.as_str() {
        "json" => json(&found)?,
        _ => Answer::text(found.iter().map(told).collect::<Vec<_>>().join("\n")),
    };
    Ok(if about_images { answer } else { answer.drifted() })
}

/// All causes that a text names; at least one, and the last one is that there is none.
fn causes(message: &str) -> Vec<Explained> {
    // What was copied from a terminal, or written by YAML, has line ends in the midst of a sentence.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // What the operator says has no quotes; YAML, JSON and people put some around it.
    let words = Words::of("", &message.replace(['\'', '"'], " ").split_whitespace().collect::<Vec<_>>().join(" "));
    let mut found = Vec::new();
    let mut add = |reason: Reason, part: Option<&str>, names: Vec<String>| {
        let rows = TABLE.iter().filter(|row| row.reason == reason);
        let fitting = rows.clone().find(|row| part.is_some_and(|part| row.seen.contains(part)));
        if let Some(row) = fitting.or_else(|| rows.clone().next_back()) {
            found.push(explained(row, names));
        }
    };
    if let Some(wanted) = &words.wanted {
        add(Reason::ExactImageSetMissing, None, vec![wanted.clone()]);
    }
    for name in &words.unexpected {
        add(Reason::UnexpectedImages, Some(name.as_str()), vec![name.to_string()]);
    }
    if !words.missing.is_empty() {
        add(Reason::ImagesNotListed, None, words.missing.iter().map(ToString::to_string).collect());
    }
    if !words.bad_digests.is_empty() {
        add(Reason::DigestsMalformed, None, words.bad_digests.clone());
    }
    if let Some(pull) = &words.pull {
        add(Reason::PodsCannotPull, None, vec![format!("{}: {}", pull.pods, pull.containers)]);
    }
    let pulls = ["ErrImagePull", "ImagePullBackOff", "Failed to pull image", "exec format error"];
    if let Some(kind) = pulls.iter().any(|word| message.contains(word)).then(|| classify("ErrImagePull", &message)) {
        match kind {
            _ if message.contains("exec format error") => add(Reason::ExecFormatError, None, Vec::new()),
            Some(PullFailureKind::NotFound) => add(Reason::PullNotFound, None, Vec::new()),
            Some(PullFailureKind::Unauthorized) => add(Reason::PullUnauthorized, None, Vec::new()),
            Some(PullFailureKind::PlatformMissing) => add(Reason::PullPlatformMissing, None, Vec::new()),
            Some(PullFailureKind::RateLimited) => add(Reason::PullRateLimited, None, Vec::new()),
            Some(PullFailureKind::Timeout) => add(Reason::PullTimeout, None, Vec::new()),
            _ => add(Reason::PullFailed, None, Vec::new()),
        }
    }
    if found.is_empty() {
        found.extend(
            TABLE.iter().filter(|row| row.reason == Reason::ComponentDegraded).map(|row| explained(row, Vec::new())),
        );
    }
    found
}

fn explained(row: &Row, names: Vec<String>) -> Explained {
    Explained { reason: row.reason.as_str(), names, cause: row.cause, next_step: row.fix }
}

fn told(one: &Explained) -> String {
    let names = if one.names.is_empty() { String::new() } else { format!(": {}", one.names.join(", ")) };
    format!("{}{names}\n  because  {}\n  do       {}\n", one.reason, one.cause, one.next_step)
}

fn listed(row: &Row) -> String {
    format!("{}\n  because  {}\n  do       {}\n  reason   {}\n", row.seen, row.cause, row.fix, row.reason.as_str())
}

fn json(found: &[Explained]) -> Result<Answer, Failure> {
    serde_json::to_string_pretty(found)
        .map(Answer::text)
        .map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))
}
