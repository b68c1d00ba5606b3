//! `explain`: what a message of the operator or of a pod means, and what helps. Asks nobody; the words are those of the status.

use clap::Args;
use serde::{Deserialize as _, Serialize};
use serde_yaml_ng::Value;

use super::files;
use super::output::{Answer, Failure};
use crate::model::object_ref::ObjectRef;
use crate::model::pods::PullFailureKind;
use crate::model::reason::Reason;
use crate::rules::explain::kubelet_messages::classify;
use crate::rules::explain::operator_messages::OperatorMessage;
use crate::rules::explain::{Row, TABLE};

/// Say what a message of a TigeraStatus, an event or a pod means, and what helps.
///
/// Paste the message, in quotes or on standard input; of TigeraStatus objects in YAML or JSON it is what Degraded says. Without a
/// message, all that are known are listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  imageset-controller explain
  imageset-controller explain 'ImageSets exist but none with the expected name calico-v3.32.1'
  kubectl get tigerastatus calico -o yaml | imageset-controller explain -
  kubectl get tigerastatus -o json | imageset-controller explain -
  kubectl -n calico-system describe pod calico-node-x7k2p | imageset-controller explain - -o json

Exit codes: 0 explained, listed, or not degraded; 1 nothing in it is about images; 2 there is nothing to explain.")]
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
    /// What says it, where an object was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectRef>,
    reason: Reason,
    /// What of the message it was found in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    cause: &'static str,
    next_step: &'static str,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    if arguments.message.is_empty() {
        let all: Vec<Explained> = TABLE.iter().map(|row| explained(row, Vec::new())).collect();
        return match arguments.output.as_str() {
            "json" => json(&all),
            _ => Ok(Answer::text(TABLE.iter().map(listed).collect::<Vec<_>>().join("\n"))),
        };
    }
    let (message, empty) = match arguments.message.as_slice() {
        [only] if only == "-" => (files::read("-")?, "standard input is empty"),
        words => (words.join(" "), "the message is empty"),
    };
    if message.trim().is_empty() {
        return Err(nothing(empty));
    }
    let found = match statuses(&message)? {
        None => causes(&message),
        Some(statuses) => {
            let found: Vec<Explained> = statuses.iter().flat_map(Said::causes).collect();
            if found.is_empty() {
                return match arguments.output.as_str() {
                    "json" => json(&found),
                    _ => Ok(Answer::lines(statuses.iter().map(|one| format!("{}: not degraded", one.object)))),
                };
            }
            found
        }
    };
    let about_images = found.iter().any(|one| one.reason != Reason::ComponentDegraded);
    let answer = match arguments.output.as_str() {
        "json" => json(&found)?,
        _ => Answer::text(found.iter().map(told).collect::<Vec<_>>().join("\n")),
    };
    Ok(if about_images { answer } else { answer.drifted() })
}

/// There is nothing to explain.
fn nothing(why: &str) -> Failure {
    Failure::new(why)
        .hint("paste what TigeraStatus says: kubectl get tigerastatus -o yaml | imageset-controller explain -")
}

/// A TigeraStatus, and what it says while it is Degraded.
struct Said {
    object: ObjectRef,
    degraded: Option<String>,
}

impl Said {
    fn of(status: &Value) -> Self {
        let name = status["metadata"]["name"].as_str().unwrap_or("without a name");
        let conditions = status["status"]["conditions"].as_sequence().into_iter().flatten();
        let mut degraded = conditions.filter(|one| one["type"] == "Degraded" && one["status"] == "True");
        // Releases up to v1.25 put the text into the reason. The bar ends a list of names there.
        let text = |one: &Value| [&one["reason"], &one["message"]].map(|text| text.as_str().unwrap_or("")).join(" | ");
        Self { object: ObjectRef::tigera_status(name), degraded: degraded.next().map(text) }
    }

    fn causes(&self) -> Vec<Explained> {
        let causes = self.degraded.as_deref().map(causes).unwrap_or_default();
        causes.into_iter().map(|one| Explained { object: Some(self.object.clone()), ..one }).collect()
    }
}

/// The TigeraStatus objects in YAML or JSON, in lists, too; `None` where there is none, and the text is only a text.
fn statuses(text: &str) -> Result<Option<Vec<Said>>, Failure> {
    let documents = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    let Ok(documents) = documents.collect::<Result<Vec<Value>, _>>() else { return Ok(None) };
    let is_list = |one: &Value| one["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    let mut found = Vec::new();
    let mut empty_list = false;
    for document in &documents {
        let items = match document["items"].as_sequence().filter(|_| is_list(document)) {
            Some(items) => items.as_slice(),
            None => std::slice::from_ref(document),
        };
        empty_list |= items.is_empty();
        found.extend(items.iter().filter(|one| one["kind"] == "TigeraStatus").map(Said::of));
    }
    match found.is_empty() {
        true if empty_list && documents.len() == 1 => Err(nothing("the list is empty")),
        true => Ok(None),
        false => Ok(Some(found)),
    }
}

/// All causes that a text names; at least one, and the last one is that there is none.
fn causes(message: &str) -> Vec<Explained> {
    // What was copied from a terminal, or written by YAML, has line ends in the midst of a sentence.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // What the operator says has no quotes; YAML, JSON and people put some around it.
    let words =
        OperatorMessage::of("", &message.replace(['\'', '"'], " ").split_whitespace().collect::<Vec<_>>().join(" "));
    let mut found = Vec::new();
    let mut add = |reason: Reason, entry: Option<&str>, names: Vec<String>| {
        let rows = TABLE.iter().filter(|row| row.reason == reason);
        let of_entry = |wanted: Option<&str>| rows.clone().find(|row| row.entry == wanted);
        if let Some(row) = of_entry(entry).or_else(|| of_entry(None)) {
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
    Explained { object: None, reason: row.reason, names, cause: row.cause, next_step: row.fix }
}

fn told(one: &Explained) -> String {
    let names = if one.names.is_empty() { String::new() } else { format!(": {}", one.names.join(", ")) };
    let object = one.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    format!("{object}{}{names}\n  because  {}\n  do       {}\n", one.reason, one.cause, one.next_step)
}

fn listed(row: &Row) -> String {
    format!("{}\n  because  {}\n  do       {}\n  reason   {}\n", row.seen, row.cause, row.fix, row.reason)
}

fn json(found: &[Explained]) -> Result<Answer, Failure> {
    serde_json::to_string_pretty(found)
        .map(Answer::text)
        .map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))
}
