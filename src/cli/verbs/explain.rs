//! `explain`: what a message of the operator or of a pod means, and what helps, in the words of the status. Sends no request.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::cli::flags::format::TextOrJson;
use crate::cli::inputs::files;
use crate::cli::output::serialized;
use crate::cli::output::{Failure, Output};
use crate::model::{ObjectRef, Reason};
use crate::rules::explain::kubelet_messages::classify_quoted;
use crate::rules::explain::operator_messages::OperatorMessage;
use crate::rules::explain::{Row, TABLE};
use crate::yaml;

/// What cannot be written, in a failure.
const EXPLANATION: &str = "the answer";

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
pub(in crate::cli) struct Arguments {
    /// The message; - is standard input
    #[arg(value_name = "MESSAGE")]
    message: Vec<String>,

    /// How to say it
    #[arg(short, long, value_enum, default_value_t)]
    output: TextOrJson,
}

/// A row of the explain table that fits the message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    /// The object with the message, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<ObjectRef>,
    reason: Reason,
    /// Names in the message that the row is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    cause: &'static str,
    next_step: &'static str,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Result<Output, Failure> {
    if arguments.message.is_empty() {
        let all: Vec<Explained> = TABLE.iter().map(|row| explained(row, Vec::new())).collect();
        return match arguments.output {
            TextOrJson::Json => serialized::json(EXPLANATION, &all),
            TextOrJson::Text => Ok(Output::text(TABLE.iter().map(render_row).collect::<Vec<_>>().join("\n"))),
        };
    }
    let (message, empty) = match arguments.message.as_slice() {
        [only] if only == "-" => (files::read("-")?, "standard input is empty"),
        words => (words.join(" "), "the message is empty"),
    };
    if message.trim().is_empty() {
        return Err(no_message(empty));
    }
    let found = match statuses(&message)? {
        None => causes(&message),
        Some(statuses) => {
            let found: Vec<Explained> = statuses.iter().flat_map(ComponentMessage::causes).collect();
            if found.is_empty() {
                return match arguments.output {
                    TextOrJson::Json => serialized::json(EXPLANATION, &found),
                    TextOrJson::Text => {
                        Ok(Output::lines(statuses.iter().map(|one| format!("{}: not degraded", one.object))))
                    }
                };
            }
            found
        }
    };
    let about_images = found.iter().any(|one| one.reason != Reason::ComponentDegraded);
    let output = match arguments.output {
        TextOrJson::Json => serialized::json(EXPLANATION, &found)?,
        TextOrJson::Text => Output::text(found.iter().map(render).collect::<Vec<_>>().join("\n")),
    };
    Ok(if about_images { output } else { output.drifted() })
}

/// The failure where there is nothing to explain.
fn no_message(why: &str) -> Failure {
    Failure::new(why)
        .hint("paste what TigeraStatus says: kubectl get tigerastatus -o yaml | imageset-controller explain -")
}

/// A TigeraStatus, with its message while it is Degraded.
struct ComponentMessage {
    object: ObjectRef,
    degraded: Option<String>,
}

impl ComponentMessage {
    fn of(status: &Value) -> Self {
        let name = status["metadata"]["name"].as_str().unwrap_or("without a name");
        let conditions = status["status"]["conditions"].as_array().into_iter().flatten();
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

/// Returns the TigeraStatus objects of YAML or JSON, also those in lists; `None` where there are none.
fn statuses(text: &str) -> Result<Option<Vec<ComponentMessage>>, Failure> {
    let Ok(documents) = yaml::documents::<Value>(text) else { return Ok(None) };
    let is_list = |one: &Value| one["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    let mut found = Vec::new();
    let mut empty_list = false;
    for document in &documents {
        let items = match document["items"].as_array().filter(|_| is_list(document)) {
            Some(items) => items.as_slice(),
            None => std::slice::from_ref(document),
        };
        empty_list |= items.is_empty();
        found.extend(items.iter().filter(|one| one["kind"] == "TigeraStatus").map(ComponentMessage::of));
    }
    match found.is_empty() {
        true if empty_list && documents.len() == 1 => Err(no_message("the list is empty")),
        true => Ok(None),
        false => Ok(Some(found)),
    }
}

/// Returns the rows that fit a message, or the row for a message that is not about images.
fn causes(message: &str) -> Vec<Explained> {
    // Text from a terminal or in YAML has line ends within sentences.
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // Messages of the operator have no quotes; YAML, JSON and people add some.
    let words =
        OperatorMessage::of("", &message.replace(['\'', '"'], " ").split_whitespace().collect::<Vec<_>>().join(" "));
    let mut found = Vec::new();
    let mut add = |reason: Reason, entry: Option<&str>, names: Vec<String>| {
        let rows = TABLE.iter().filter(|row| row.reason == reason);
        let of_entry = |entry: Option<&str>| rows.clone().find(|row| row.entry == entry);
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
    if let Some(kind) = classify_quoted(&message) {
        add(kind.into(), None, Vec::new());
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

fn render(one: &Explained) -> String {
    let names = if one.names.is_empty() { String::new() } else { format!(": {}", one.names.join(", ")) };
    let object = one.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
    format!("{object}{}{names}\n  because  {}\n  do       {}\n", one.reason, one.cause, one.next_step)
}

fn render_row(row: &Row) -> String {
    format!("{}\n  because  {}\n  do       {}\n  reason   {}\n", row.seen, row.cause, row.fix, row.reason)
}
